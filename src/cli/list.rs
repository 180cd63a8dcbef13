//! `pgark list`: the archives of a repository.

use super::output::{columns, diagnostic};
use super::{Context, choose, exit::Outcome, human, place};
use crate::error::Result;
use crate::manage::list::{ArchiveList, ListRow, list};
use crate::toc::printable;

/// Lists the archives, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark list                        what is in ./backups
  pgark list -r /mnt/backups -d shop
  pgark list --json | jq '.[-1].name'")]
pub(crate) struct List {
    /// Only archives of this database
    #[arg(short, long, value_name = "NAME")]
    dbname: Option<String>,
}

impl List {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let repository = place::open(cx).await?;
        if let Some(problem) = repository.marker_problem() {
            diagnostic(format!("warning: {problem}"));
        }
        let listed = list(&repository, &choose::of_database(self.dbname.as_deref())).await?;
        if cx.common.json {
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

fn table(listed: &ArchiveList) -> String {
    let mut head = vec![
        "ARCHIVE", "CREATED", "DATABASE", "SCOPE", "TABLES", "ROWS", "RAW", "STORED", "NEW",
        "VERIFIED", "DRILLED",
    ];
    let right = [
        false, false, false, false, true, true, true, true, true, false, false, false,
    ];
    let mut rows: Vec<Vec<String>> = listed.archives.iter().map(row).collect();
    if listed.archives.iter().any(|one| one.set.is_some()) {
        head.push("SET");
        for (row, one) in rows.iter_mut().zip(&listed.archives) {
            let set = one.set.as_deref().unwrap_or_default();
            row.push(printable(set));
        }
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
