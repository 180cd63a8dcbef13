//! The files of `fixtures/traps`: one thing that a dump easily loses, as SQL that makes it and SQL that damages exactly it.
//! Owns their format, which README.md there explains, and the psql scripts made of them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Major;

/// The database of all traps that do not ask for another.
pub(super) const COMMON: &str = "common";

/// One file.
#[derive(Debug, Clone)]
pub(super) struct Trap {
    pub(super) number: u16,
    /// The file's name without its ending, as messages show it.
    pub(super) name: String,
    /// The majors that can have it.
    since: u16,
    until: u16,
    /// Traps of one word share a database.
    pub(super) database: String,
    reported: Vec<Reported>,
    setup: Part,
    damage: Part,
}

/// What the comparison must name after the damage, on some majors.
#[derive(Debug, Clone)]
struct Reported {
    since: u16,
    until: u16,
    what: String,
}

/// SQL, and the line of the file at which it begins.
#[derive(Debug, Clone, Default)]
struct Part {
    line: usize,
    sql: String,
}

/// Which part of the traps a script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Setup,
    Damage,
}

impl Trap {
    /// Whether servers of this major can have it.
    pub(super) fn serves(&self, major: Major) -> bool {
        (self.since..=self.until).contains(&major.number())
    }

    /// What the comparison must name on this major after the damage.
    pub(super) fn reported(&self, major: Major) -> impl Iterator<Item = &str> {
        let number = major.number();
        let on = move |reported: &&Reported| (reported.since..=reported.until).contains(&number);
        self.reported
            .iter()
            .filter(on)
            .map(|reported| reported.what.as_str())
    }

    /// Its schema: `trap_018`.
    pub(super) fn schema(&self) -> String {
        format!("trap_{:03}", self.number)
    }

    /// Reads one file.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub(super) fn parse(name: &str, text: &str) -> Result<Trap, String> {
        let mut trap = Trap {
            number: 0,
            name: name.to_owned(),
            since: 12,
            until: 18,
            database: COMMON.to_owned(),
            reported: Vec::new(),
            setup: Part::default(),
            damage: Part::default(),
        };
        let mut part = None;
        for (at, line) in text.lines().enumerate() {
            let next = match line.trim_end() {
                "-- setup" => Some(Step::Setup),
                "-- damage" => Some(Step::Damage),
                _ => None,
            };
            match (next, part) {
                (Some(step), _) => {
                    part = Some(step);
                    trap.part(step).line = at + 2;
                }
                (None, Some(step)) => {
                    let sql = &mut trap.part(step).sql;
                    sql.push_str(line);
                    sql.push('\n');
                }
                (None, None) => trap
                    .header(line)
                    .map_err(|problem| format!("{name}: {problem}: {line}"))?,
            }
        }
        trap.checked()
    }

    fn checked(self) -> Result<Trap, String> {
        let missing = [
            (
                self.number == 0,
                "the line `-- trap NUMBER: what is easily lost`",
            ),
            (
                !self.name.starts_with(&format!("{:03}_", self.number)),
                "the number in its name",
            ),
            (self.reported.is_empty(), "a line `-- reported: …`"),
            (self.setup.sql.trim().is_empty(), "SQL after `-- setup`"),
            (self.damage.sql.trim().is_empty(), "SQL after `-- damage`"),
        ];
        match missing.iter().find(|(is_missing, _)| *is_missing) {
            Some((_, what)) => Err(format!("{}: {what} is missing", self.name)),
            None => Ok(self),
        }
    }

    fn header(&mut self, line: &str) -> Result<(), String> {
        let said = line.strip_prefix("-- ").ok_or("not a header line")?;
        let (key, value) = said.split_once(": ").ok_or("no `: `")?;
        let number = |text: &str| {
            text.trim()
                .parse()
                .map_err(|_| format!("{text} is no number"))
        };
        match key.split(' ').collect::<Vec<_>>()[..] {
            ["trap", n] => self.number = number(n)?,
            ["since"] => self.since = number(value)?,
            ["until"] => self.until = number(value)?,
            ["database"] => value.trim().clone_into(&mut self.database),
            ["reported"] => self.report(12, 18, value),
            ["reported", "since", n] => self.report(number(n)?, 18, value),
            ["reported", "until", n] => self.report(12, number(n)?, value),
            _ => return Err("unknown header".to_owned()),
        }
        Ok(())
    }

    fn report(&mut self, since: u16, until: u16, what: &str) {
        let what = what.trim().to_owned();
        self.reported.push(Reported { since, until, what });
    }

    fn part(&mut self, step: Step) -> &mut Part {
        match step {
            Step::Setup => &mut self.setup,
            Step::Damage => &mut self.damage,
        }
    }
}

/// All traps, in the order of their numbers.
pub(super) fn all() -> Vec<Trap> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/traps");
    let mut traps: Vec<Trap> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "sql"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Trap::parse(&name, &fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|problem| panic!("{problem}"))
        })
        .collect();
    traps.sort_by_key(|trap| trap.number);
    traps
}

/// What scripts can ask with `\if`, and the roles that all may use. Roles are the cluster's: made once.
const PRELUDE: &str = r"\set ON_ERROR_STOP 1
SELECT n >= 13 AS since_13, n >= 14 AS since_14, n >= 15 AS since_15, n >= 16 AS since_16, n >= 17 AS since_17, n >= 18 AS since_18
  FROM (SELECT current_setting('server_version_num')::int / 10000 AS n) v \gset
SELECT format('CREATE ROLE %I', r) FROM unnest(ARRAY['pgark_trap_owner', 'pgark_trap_reader', 'pgark_trap_writer']) r
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) \gexec
";

/// Writes a psql script that runs one step of the traps into the folder. Each trap is a file of its own, included by the
/// script, with the SQL at the lines where the fixture has it: so psql's complaints name trap and line.
pub(super) fn write_script(folder: &Path, traps: &[&Trap], step: Step) -> PathBuf {
    let mut script = PRELUDE.to_owned();
    for trap in traps {
        let (part, schema) = match step {
            Step::Setup => (&trap.setup, format!("CREATE SCHEMA {};", trap.schema())),
            Step::Damage => (&trap.damage, "BEGIN;".to_owned()),
        };
        let file = folder.join(format!("{}.{step:?}.sql", trap.name));
        fs::write(&file, format!("{}{}", "\n".repeat(part.line - 1), part.sql)).unwrap();
        let commit = if step == Step::Damage { "COMMIT;" } else { "" };
        writeln!(
            script,
            "DISCARD ALL;\nSET client_min_messages = warning;\n{schema}\nSET search_path = {};\n\\i '{}'\n{commit}",
            trap.schema(),
            file.display()
        )
        .unwrap();
    }
    let path = folder.join(format!("{}.{step:?}.script", traps[0].database));
    fs::write(&path, script).unwrap();
    path
}

#[test]
fn a_trap_is_read_with_its_lines_and_its_mistakes_are_named() {
    let text = "-- trap 7: a thing\n-- since: 14\n-- reported: x: y\n-- reported until 15: z\n-- setup\nA;\n\nB;\n-- damage\nC;\n";
    let trap = Trap::parse("007_thing", text).unwrap();
    let major = |number: &str| number.parse::<Major>().unwrap();
    assert!(trap.serves(major("14")) && !trap.serves(major("13")));
    assert_eq!(
        trap.reported(major("15")).collect::<Vec<_>>(),
        ["x: y", "z"]
    );
    assert_eq!(trap.reported(major("16")).collect::<Vec<_>>(), ["x: y"]);
    assert_eq!((trap.setup.line, &*trap.setup.sql), (6, "A;\n\nB;\n"));
    assert_eq!((trap.damage.line, &*trap.damage.sql), (10, "C;\n"));
    let mistakes = [
        ("008_thing", text.to_owned(), "the number in its name"),
        ("007_thing", text.replace("C;", ""), "SQL after `-- damage`"),
        (
            "007_thing",
            text.replace("reported", "seen"),
            "unknown header",
        ),
        (
            "007_thing",
            text.replace("since: 14", "since: x"),
            "x is no number",
        ),
    ];
    for (name, text, expected) in mistakes {
        let problem = Trap::parse(name, &text).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
}
