//! `pgark list`: the archives of a repository.

use super::output::{columns, diagnostic};
use super::{Context, choose, exit::Outcome, human, place};
use crate::archive::Repository;
use crate::error::Result;
use crate::manage::list::{ArchiveList, ListCache, ListRow, SealedRow, list, list_with};
use crate::store::At;
use crate::toc::printable;

/// Lists the archives, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark list                        what is in ./backups
  pgark list -r /mnt/backups -d shop
  pgark list -r s3://backups/pg --no-cache
  pgark list --json | jq '.[-1].name'")]
pub(crate) struct List {
    /// Only archives of this database
    #[arg(short, long, value_name = "NAME")]
    dbname: Option<String>,
    /// Read every archive in a bucket anew, and remember nothing (else summaries are kept below ~/.cache/pgark)
    #[arg(long, env = "PGARK_NO_CACHE", hide_env_values = true)]
    no_cache: bool,
}

impl List {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let repository = place::open_maybe_locked(cx).await?;
        if let Some(problem) = repository.marker_problem() {
            diagnostic(format!("warning: {problem}"));
        }
        let filter = choose::of_database(self.dbname.as_deref());
        let listed = match self.cache(cx, &repository).await? {
            Some(cache) => list_with(&repository, &filter, &cache).await?,
            None => list(&repository, &filter).await?,
        };
        if repository.is_locked() {
            print_sealed(&listed, cx)?;
        } else if cx.common.json {
            cx.output.json(&listed.archives)?;
        } else if listed.archives.is_empty() && listed.damaged.is_empty() {
            cx.output
                .line(format!("no archives in {}", repository.location()))?;
        } else {
            cx.output.line(table(&listed))?;
        }
        for damaged in &listed.damaged {
            diagnostic(format!("damaged: {}: {}", damaged.name, damaged.error));
        }
        Ok(if listed.damaged.is_empty() {
            Outcome::Done
        } else {
            Outcome::Damaged
        })
    }
}

impl List {
    /// Where a bucket's summaries are remembered. A folder is read as quickly as they are, and shows more of its damage so.
    async fn cache(&self, cx: &Context, repository: &Repository) -> Result<Option<ListCache>> {
        let far = At::parse(&place::of(cx).await?.place)?.is_far();
        if self.no_cache || !far || repository.marker_problem().is_some() {
            return Ok(None);
        }
        Ok(place::cache_folder().map(ListCache::in_folder))
    }
}

/// What is known without the key.
fn print_sealed(listed: &ArchiveList, cx: &Context) -> Result<()> {
    diagnostic("the repository is encrypted; with its passphrase there is more to see");
    if cx.common.json {
        return cx.output.json(&listed.sealed);
    }
    let text = |text: Option<&String>| text.map_or_else(|| "?".to_owned(), |text| printable(text));
    let row = |one: &SealedRow| {
        vec![
            one.name.to_string(),
            one.created.map_or_else(|| "?".to_owned(), human::time),
            text(one.database.as_ref()),
            one.scope
                .map_or_else(|| "?".to_owned(), |scope| scope.to_string()),
            printable(&one.location),
        ]
    };
    let rows: Vec<Vec<String>> = listed.sealed.iter().map(row).collect();
    let head = ["ARCHIVE", "CREATED", "DATABASE", "SCOPE", "LOCATION"];
    cx.output.line(columns(&head, &rows, &[false; 5]))
}

fn table(listed: &ArchiveList) -> String {
    let mut head = vec![
        "ARCHIVE", "CREATED", "DATABASE", "SCOPE", "TABLES", "ROWS", "RAW", "STORED", "NEW",
        "VERIFIED", "DRILLED",
    ];
    let right = [
        false, false, false, false, true, true, true, true, true, false, false, false, false,
    ];
    let mut rows: Vec<Vec<String>> = listed.archives.iter().map(row).collect();
    if listed.archives.iter().any(|one| one.set.is_some()) {
        head.push("SET");
        for (row, one) in rows.iter_mut().zip(&listed.archives) {
            let set = one.set.as_deref().unwrap_or_default();
            row.push(printable(set));
        }
    }
    // The widest comes last, where it pushes nothing aside.
    head.push("LOCATION");
    for (row, one) in rows.iter_mut().zip(&listed.archives) {
        row.push(printable(&one.location));
    }
    columns(&head, &rows, &right)
}

fn row(one: &ListRow) -> Vec<String> {
    vec![
        one.name.to_string(),
        human::time(one.created),
        printable(&one.database),
        one.scope.to_string(),
        human::count(one.tables),
        human::count(one.rows),
        human::bytes(one.raw_bytes),
        human::bytes(one.stored_bytes),
        human::bytes(one.new_bytes),
        one.verified.map_or_else(|| "never".to_owned(), human::time),
        match one.drilled {
            None => "never".to_owned(),
            Some(drill) if drill.passed => human::time(drill.at),
            Some(drill) => format!("failed {}", human::time(drill.at)),
        },
    ]
}
