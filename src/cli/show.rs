//! `pgark show`: what is in an archive.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::output::columns;
use super::{Context, choose, exit::Outcome, human, place};
use crate::archive::Archive;
use crate::archive::manifest::{ClusterSet, Manifest, Skipped};
use crate::archive::records::Drilled;
use crate::error::Result;
use crate::selection::list;
use crate::toc::{DataOf, Entry, Part, printable};

/// Shows what is in an archive: objects, tables with rows and bytes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark show                                   the newest archive
  pgark show shop-20261122T020000Z
  pgark show -v                                every object, in the order of restoring
  pgark show --list > toc                      the same as a list for restore -L
  pgark show --json | jq '.tables[] | select(.rows > 1000000) | .name'")]
pub(crate) struct Show {
    /// Archive: its name, a unique beginning of it, or latest [default: the newest]
    #[arg(value_name = "ARCHIVE")]
    archive: Option<String>,
    /// The newest archive of this database
    #[arg(short, long, value_name = "NAME", conflicts_with = "archive")]
    dbname: Option<String>,
    /// Print the entries as a list that `restore -L` and `sql -L` take; delete lines, or begin them with a semicolon
    #[arg(short, long)]
    list: bool,
}

/// Drills that are named, the newest first.
const DRILLS_SHOWN: usize = 10;

/// `show --json`. The fields are API.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    location: String,
    database: &'a str,
    group: String,
    created: jiff::Timestamp,
    server_version: &'a str,
    encoding: &'a str,
    tool: &'a str,
    selection: &'a [String],
    skipped: &'a [Skipped],
    set: Option<&'a ClusterSet>,
    tags: &'a BTreeMap<String, String>,
    rows: u64,
    raw_bytes: u64,
    stored_bytes: u64,
    new_bytes: u64,
    tables: Vec<TableRow>,
    entries: Vec<EntryRow>,
    drills: &'a [Drilled],
}

#[derive(Debug, Serialize)]
struct TableRow {
    name: String,
    rows: u64,
    raw_bytes: u64,
    segments: usize,
    fingerprint: String,
}

#[derive(Debug, Serialize)]
struct EntryRow {
    id: u32,
    kind: String,
    name: String,
    stage: crate::toc::Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part>,
}

impl Show {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let repository = place::open(cx).await?;
        let filter = choose::of_database(self.dbname.as_deref());
        let archive = choose::archive(&repository, self.archive.as_deref(), &filter).await?;
        let entries = archive.entries().await?;
        if self.list && !cx.common.json {
            print_list(&archive, &entries, cx)?;
            return Ok(Outcome::Done);
        }
        let tables = tables(&archive, &entries).await?;
        let mut drills = repository.drills_of(archive.name(), DRILLS_SHOWN).await?;
        drills.retain(|drilled| drilled.manifest == archive.seal());
        if cx.common.json {
            let mut shown = shown(&archive, &entries, tables);
            shown.drills = &drills;
            cx.output.json(&shown)?;
        } else {
            print(&archive, &entries, tables, cx)?;
            print_drills(&drills, cx)?;
        }
        Ok(Outcome::Done)
    }
}

async fn tables(archive: &Archive, entries: &[Entry]) -> Result<Vec<TableRow>> {
    let names: HashMap<u32, String> = entries
        .iter()
        .filter_map(|entry| {
            let name = match entry.data.as_ref()? {
                DataOf::Table { .. } => entry.name.to_string(),
                DataOf::LargeObjects => "large objects".to_owned(),
            };
            Some((entry.id.0, name))
        })
        .collect();
    let indexes = archive.table_indexes().await?;
    let rows = indexes.into_iter().map(|index| TableRow {
        name: names
            .get(&index.entry.0)
            .cloned()
            .unwrap_or_else(|| format!("entry {}", index.entry.0)),
        rows: index.n_rows,
        raw_bytes: index.n_bytes,
        segments: index.segments.len(),
        fingerprint: index.fingerprint,
    });
    Ok(rows.collect())
}

fn shown<'a>(archive: &'a Archive, entries: &[Entry], tables: Vec<TableRow>) -> Shown<'a> {
    let manifest = archive.manifest();
    Shown {
        name: manifest.name.as_str(),
        location: archive.repository().location(),
        database: &manifest.group.database,
        group: manifest.group.to_string(),
        created: manifest.created,
        server_version: &manifest.source.server_version_text,
        encoding: &manifest.source.encoding,
        tool: &manifest.tool,
        selection: &manifest.selection,
        skipped: &manifest.skipped,
        set: manifest.set.as_ref(),
        tags: &manifest.tags,
        rows: manifest.totals.n_rows,
        raw_bytes: manifest.totals.raw_bytes,
        stored_bytes: manifest.totals.stored_bytes,
        new_bytes: manifest.totals.new_bytes,
        tables,
        entries: entries.iter().map(entry_row).collect(),
        drills: &[],
    }
}

fn entry_row(entry: &Entry) -> EntryRow {
    let mut parts: Vec<Part> = entry.after.iter().map(|after| after.part).collect();
    if !entry.grants.is_empty() {
        parts.push(Part::Acl);
    }
    parts.dedup();
    EntryRow {
        id: entry.id.0,
        kind: entry.label.clone(),
        name: entry.name.to_string(),
        stage: entry.stage,
        owner: entry.owner.as_ref().map(|owner| owner.role.0.clone()),
        parts,
    }
}

fn print(
    archive: &Archive,
    entries: &[Entry],
    mut tables: Vec<TableRow>,
    cx: &Context,
) -> Result<()> {
    cx.output.line(head(archive.manifest()))?;
    cx.output.line(format!("objects: {}", kinds(entries)))?;
    if let Some(set) = &archive.manifest().set {
        cx.output
            .line(format!("part of set {}", printable(&set.name)))?;
        for member in &set.members {
            let database = printable(&member.database);
            cx.output
                .line(format!("  {} of database {database}", member.name))?;
        }
        for missing in &set.missing {
            let (what, why) = (printable(&missing.what), printable(&missing.reason));
            cx.output.line(format!("  missing: {what}: {why}"))?;
        }
    }
    for skipped in &archive.manifest().skipped {
        cx.output
            .line(format!("left out: {}: {}", skipped.what, skipped.reason))?;
    }
    if !tables.is_empty() {
        tables.sort_by(|a, b| {
            b.raw_bytes
                .cmp(&a.raw_bytes)
                .then_with(|| a.name.cmp(&b.name))
        });
        let rows: Vec<Vec<String>> = tables
            .into_iter()
            .map(|table| {
                vec![
                    table.name,
                    human::exact(table.rows),
                    human::bytes(table.raw_bytes),
                ]
            })
            .collect();
        let text = columns(&["TABLE", "ROWS", "RAW"], &rows, &[false, true, true]);
        cx.output.line(format!("\n{text}"))?;
    }
    if cx.common.verbose {
        let rows: Vec<Vec<String>> = entries.iter().map(entry_row).map(entry_cells).collect();
        let head = ["ENTRY", "KIND", "NAME", "OWNER"];
        let text = columns(&head, &rows, &[true, false, false, false]);
        cx.output.line(format!("\n{text}"))?;
    }
    Ok(())
}

fn print_drills(drills: &[Drilled], cx: &Context) -> Result<()> {
    for (at, drilled) in drills.iter().enumerate() {
        let space = if at == 0 { "\n" } else { "" };
        let restoring = human::duration(std::time::Duration::from_millis(drilled.restore_ms));
        let became = match drilled.problems.first() {
            None => format!("passed, restored in {restoring}"),
            Some(problem) => format!("FAILED: {}", printable(problem)),
        };
        cx.output.line(format!(
            "{space}drill at {} on {}: {became}",
            human::time(drilled.at),
            printable(&drilled.server)
        ))?;
    }
    Ok(())
}

fn print_list(archive: &Archive, entries: &[Entry], cx: &Context) -> Result<()> {
    let manifest = archive.manifest();
    cx.output.line(format!(
        "; Archive {} of {} at {}\n; number; kind; schema; name; owner",
        manifest.name,
        manifest.group,
        human::time(manifest.created)
    ))?;
    for entry in entries {
        cx.output.line(list::line(entry))?;
    }
    Ok(())
}

fn entry_cells(row: EntryRow) -> Vec<String> {
    let owner = row.owner.unwrap_or_default();
    vec![
        row.id.to_string(),
        printable(&row.kind),
        row.name,
        printable(&owner),
    ]
}

fn head(manifest: &Manifest) -> String {
    let totals = &manifest.totals;
    let mut text = format!(
        "{}\nof {} at {}, PostgreSQL {}, {}, by {}\n{}, {}, {} → {} ({} new)",
        manifest.name,
        manifest.group,
        human::time(manifest.created),
        printable(&manifest.source.server_version_text),
        printable(&manifest.source.encoding),
        printable(&manifest.tool),
        human::things(totals.n_tables, "table"),
        human::things(totals.n_rows, "row"),
        human::bytes(totals.raw_bytes),
        human::bytes(totals.stored_bytes),
        human::bytes(totals.new_bytes),
    );
    if !manifest.selection.is_empty() {
        let options: Vec<String> = manifest
            .selection
            .iter()
            .map(|one| printable(one))
            .collect();
        text.push_str("\nselected by ");
        text.push_str(&options.join(" "));
    }
    for (key, value) in &manifest.tags {
        text.push_str("\ntagged ");
        text.push_str(&printable(&format!("{key}={value}")));
    }
    text
}

/// `12 tables, 3 views`: the kinds by number.
fn kinds(entries: &[Entry]) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.data.is_none()) {
        *counts.entry(entry.label.as_str()).or_default() += 1;
    }
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let texts: Vec<String> = counts
        .iter()
        .map(|(label, n)| format!("{} {n}", printable(label)))
        .collect();
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}
