//! A job: what is dumped, when, where to, how long it is kept, how it is proved, who is told.

use serde::Deserialize;

use super::keep::Keep;
use super::period::Period;
use super::schedule::Schedule;
use super::secret::Secret;
use crate::error::Error;

/// Something that is done regularly.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// The database: a URL or `key=value` settings without a password, or a name.
    pub source: String,
    /// The password, if it is not in a password file.
    pub password: Option<Secret>,
    /// Every database of the cluster, with roles and tablespaces, as one set.
    #[serde(default)]
    pub all_databases: bool,
    /// The repository's name.
    pub repository: String,
    /// When: minute, hour, day of month, month, day of week, as cron has them.
    pub schedule: Option<String>,
    /// The recovery point objective: the newest archive must never be older.
    pub rpo: Option<Period>,
    /// Connections that read rows; the number of cores otherwise.
    pub jobs: Option<u16>,
    /// zstd's level, 1 to 19.
    pub level: Option<i32>,
    /// Attached to each archive.
    #[serde(default)]
    pub tags: std::collections::BTreeMap<String, String>,
    /// What is dumped; everything if it is not said.
    #[serde(default)]
    pub select: Tables,
    /// What stays.
    #[serde(default)]
    pub keep: Keep,
    /// How each new archive is proved before older ones may go.
    #[serde(default)]
    pub verify: VerifyDepth,
    /// Further repositories that get copies.
    #[serde(default, rename = "replica")]
    pub replicas: Vec<Replica>,
    /// Programs before and after.
    #[serde(default)]
    pub hooks: Hooks,
    /// When a size or a number of rows is strange.
    #[serde(default)]
    pub trend: Trend,
    /// A restore that is tried regularly.
    pub drill: Option<Drill>,
    /// Names of channels.
    #[serde(default)]
    pub notify: Vec<String>,
}

/// What is chosen of a database; the words and patterns are those of `pgark dump`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tables {
    /// `-n`
    pub schemas: Vec<String>,
    /// `-N`
    pub exclude_schemas: Vec<String>,
    /// `-t`
    pub tables: Vec<String>,
    /// `-T`
    pub exclude_tables: Vec<String>,
    /// `--exclude-table-data`
    pub exclude_table_data: Vec<String>,
    /// `--skip-unreadable`
    pub skip_unreadable: bool,
}

/// How a new archive is proved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyDepth {
    /// Every stored byte is hashed again.
    #[default]
    Bytes,
    /// Also decoded, counted, and compared with the fingerprints.
    Full,
}

/// A copy elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// The repository's name.
    pub repository: String,
    /// Only archives that these rules choose are copied; all if there are none.
    #[serde(default)]
    pub only: Keep,
    /// What stays there.
    #[serde(default)]
    pub keep: Keep,
    /// An alert when the newest copy is older.
    pub rpo: Option<Period>,
}

/// Programs that are started without a shell. They know of the run by environment variables `PGARK_JOB`, `PGARK_ARCHIVE`, `PGARK_OUTCOME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// Before the dump. If one fails the run fails.
    pub before: Vec<Command>,
    /// After the run, whatever became of it.
    pub after: Vec<Command>,
    /// A hook that runs longer is ended, and has failed. Ten minutes if it is not said.
    pub timeout: Option<Period>,
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Command(pub Vec<String>);

impl Command {
    /// True if there is a program to start.
    pub fn is_sound(&self) -> bool {
        self.0.first().is_some_and(|program| !program.is_empty())
    }
}

/// When a size or a number of rows is strange: compared with the median of the group's last archives.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trend {
    /// Raw bytes or rows that fall by more than so many percent.
    pub shrinks_percent: f64,
    /// Raw bytes or rows that grow by more than so many percent.
    pub grows_percent: f64,
    /// Archives that the median is of; with fewer than three nothing is compared.
    pub archives: u32,
}

impl Default for Trend {
    fn default() -> Trend {
        Trend {
            shrinks_percent: 20.0,
            grows_percent: 100.0,
            archives: 7,
        }
    }
}

/// A restore that is tried regularly.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// When, as a job's.
    pub schedule: Option<String>,
    /// The server: a URL or `key=value` settings; the job's own if it is not said.
    pub server: Option<String>,
    /// The password there.
    pub password: Option<Secret>,
    /// The recovery time objective: a drill that takes longer has failed.
    pub rto: Option<Period>,
    /// The longest time between two drills that passed; four months if it is not said.
    pub every: Option<Period>,
    /// Connections that work at once.
    pub jobs: Option<u16>,
    /// What must be true of the restored database.
    #[serde(default, rename = "check")]
    pub checks: Vec<SqlCheck>,
}

/// The longest time between two drills that passed, if the configuration does not say: four months.
pub const DRILL_EVERY: std::time::Duration = std::time::Duration::from_secs(120 * 86_400);

/// A question to the restored database, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct SqlCheck {
    /// Its name, for people.
    pub name: String,
    /// A query that gives one value.
    pub sql: String,
    /// The value as text.
    pub expect: String,
}

impl SqlCheck {
    /// Reads `NAME: SQL = VALUE`: the name ends at the first colon with a blank behind it, the value begins after the last
    /// equals sign between blanks.
    pub fn parse(text: &str) -> Result<SqlCheck, String> {
        let problem = || format!("{text:?} is no check; write it as 'NAME: SQL = VALUE'");
        let (name, rest) = text.split_once(": ").ok_or_else(problem)?;
        let (sql, expect) = rest.rsplit_once(" = ").ok_or_else(problem)?;
        let [name, sql] = [name, sql].map(str::trim);
        if name.is_empty() || sql.is_empty() {
            return Err(problem());
        }
        Ok(SqlCheck {
            name: name.to_owned(),
            sql: sql.to_owned(),
            expect: expect.to_owned(),
        })
    }

    /// Reads a file of checks: `[[check]]` with `name`, `sql` and `expect`. `file` stands in errors.
    pub fn parse_file(text: &str, file: &str) -> Result<Vec<SqlCheck>, Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Checks {
            #[serde(default)]
            check: Vec<SqlCheck>,
        }
        let checks: Checks = toml::from_str(text)
            .map_err(|problem| Error::Usage(format!("{file}: {}", problem.to_string().trim())))?;
        Ok(checks.check)
    }
}

impl Job {
    /// What cannot be meant, as far as the text says.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.keep.problems();
        for replica in &self.replicas {
            problems.extend(replica.keep.problems());
            problems.extend(replica.only.problems());
            if replica.repository == self.repository {
                problems.push("a replica in the job's own repository is none".to_owned());
            }
        }
        if self.source.is_empty() {
            problems.push("source is empty; give a database".to_owned());
        }
        let server = self
            .drill
            .as_ref()
            .and_then(|drill| drill.server.as_deref());
        for source in [Some(self.source.as_str()), server].into_iter().flatten() {
            if holds_password(source) {
                problems.push(
                    "a connection holds a password; put it into a file or a variable and name that with password = { env = \"NAME\" }".to_owned(),
                );
            }
        }
        for (what, schedule) in [
            ("schedule", self.schedule.as_ref()),
            (
                "drill: schedule",
                self.drill
                    .as_ref()
                    .and_then(|drill| drill.schedule.as_ref()),
            ),
        ] {
            if let Some(schedule) = schedule
                && let Err(problem) = Schedule::parse(schedule)
            {
                problems.push(format!("{what}: {problem}"));
            }
        }
        if self.level.is_some_and(|level| !(1..=19).contains(&level)) {
            problems.push("level is 1 to 19".to_owned());
        }
        if self.jobs == Some(0) {
            problems.push("jobs is at least 1".to_owned());
        }
        if self.all_databases && self.select != Tables::default() {
            problems.push("select means nothing with all_databases".to_owned());
        }
        if !self
            .hooks
            .before
            .iter()
            .chain(&self.hooks.after)
            .all(Command::is_sound)
        {
            problems.push("a hook is a list that begins with a program".to_owned());
        }
        let about = |problem: String| format!("job {:?}: {problem}", self.name);
        problems.into_iter().map(about).collect()
    }
}

/// True if the connection string seems to have a password in it, as `user:secret@` or `password=secret`.
fn holds_password(source: &str) -> bool {
    let in_url = source.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    });
    let words = source.split([' ', '?', '&']);
    in_url
        || words
            .into_iter()
            .any(|word| word.trim_start().starts_with("password"))
}
