//! Two clusters of which a database goes from one to the other and must be the same there: `pg_dump`, the catalogs and all
//! rows are asked. Which database, and what is excused, is each test's own business.

use std::collections::BTreeSet;
use std::process::Command;

use pgark::archive::Archive;
use pgark::dump::DumpOptions;
use pgark::restore::RestoreReport;

use super::compare::{CompareOptions, Excuse, Side, Snapshot, report};
use super::{Database, Major, Server, oracle, output_of};
use crate::round_trip::{dump_to_memory, restore_all, settings};

/// What each role may do with each relation, be it written down or by default.
const PRIVILEGES: &str = "
SELECT n.nspname, c.relname, pg_catalog.pg_get_userbyid(a.grantor), CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
       a.privilege_type, a.is_grantable
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
       pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r' END, c.relowner))) a
 WHERE n.nspname !~ '^pg_toast' AND c.relkind NOT IN ('i', 'I') AND (c.oid < 16384 OR n.nspname <> 'pg_catalog')
 ORDER BY 1, 2, 3, 4, 5";

/// A difference that no dump as SQL can avoid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unavoidable {
    /// The first major that has it.
    pub(crate) since: u16,
    /// What the comparison calls it; anchored by whoever writes it.
    pub(crate) pattern: &'static str,
    /// Why it cannot be avoided.
    pub(crate) reason: &'static str,
}

/// A source and a target, in no shared server: fixtures make roles, tablespaces and subscriptions.
pub(crate) struct Pair {
    pub(crate) source: Server,
    pub(crate) target: Server,
}

impl Pair {
    /// Both of one major.
    pub(crate) fn start(major: Major) -> Pair {
        Pair::across(major, major)
    }

    /// From one major to another.
    pub(crate) fn across(source: Major, target: Major) -> Pair {
        let start = |major| Server::start_with(major, &[("allow_in_place_tablespaces", "on")]);
        Pair {
            source: start(source),
            target: start(target),
        }
    }

    /// Makes the source's roles, tablespaces and privileges on parameters in the target's cluster. The roles in the order in
    /// which the source has them: `pg_dump` prints a policy's roles in the order of the cluster's.
    pub(crate) fn copy_globals(&self, from: &Database, into: &Database) {
        let roles = from.psql(
            "SELECT pg_catalog.format('CREATE ROLE %I;', rolname) FROM pg_catalog.pg_authid WHERE oid >= 16384 ORDER BY oid",
        );
        let mut command = Command::new(oracle("pg_dumpall"));
        command.args(["--globals-only", "--restrict-key=pgark", "-d"]);
        let script = output_of(command.arg(self.source.conninfo("postgres")));
        let rest = script
            .lines()
            .filter(|line| !line.starts_with("CREATE ROLE "));
        let script = [&*roles]
            .into_iter()
            .chain(rest)
            .collect::<Vec<_>>()
            .join("\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        into.psql_file(file.path());
    }

    /// Takes the database across into a new one, with the source's globals: the archive, what the restore says, the new one.
    pub(crate) async fn take_across(
        &self,
        source: &Database,
    ) -> (Archive, RestoreReport, Database) {
        let target = self.target.create_database("target");
        self.copy_globals(source, &target);
        let (archive, restored) = self.take_into(source, &target).await;
        (archive, restored, target)
    }

    /// Takes the contents of a database into another, whose cluster has what the contents need of it.
    pub(crate) async fn take_into(
        &self,
        source: &Database,
        target: &Database,
    ) -> (Archive, RestoreReport) {
        let what = source.conninfo();
        let options = DumpOptions {
            jobs: 4,
            ..DumpOptions::default()
        };
        let archive = dump_to_memory(&settings(&source.conninfo()), &options)
            .await
            .unwrap_or_else(|error| panic!("dump of {what}: {error:#?}"));
        let restored = restore_all(&archive, &settings(&target.conninfo()), 4)
            .await
            .unwrap_or_else(|error| panic!("restore of {what}: {error:#?}"));
        (archive, restored)
    }
}

/// A restore that left nothing out and lost nothing.
pub(crate) fn assert_whole(what: &str, restored: &RestoreReport) {
    assert!(
        restored.is_complete(),
        "{what}: {:#?} {:#?} {:#?}",
        restored.failed,
        restored.skipped,
        restored.checked
    );
    assert_eq!(restored.lost, [], "{what}");
}

/// Both databases are the same but for what is excused, and every excuse is needed. Gives what the comparison saw of the source.
pub(crate) async fn assert_same(
    what: &str,
    source: &Database,
    target: &Database,
    excuses: &[Unavoidable],
) -> Snapshot {
    let [left, right] = [source, target].map(|side| side.psql(PRIVILEGES));
    let of = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    let differ: Vec<String> = of(&left)
        .symmetric_difference(&of(&right))
        .cloned()
        .collect();
    assert_eq!(differ, [""; 0], "{what}: privileges that only one side has");
    let major = source.major().number();
    let excuses: Vec<&Unavoidable> = excuses
        .iter()
        .filter(|excuse| excuse.since <= major)
        .collect();
    let options = CompareOptions {
        excuse: excuses
            .iter()
            .map(|excuse| Excuse::new(excuse.pattern, excuse.reason))
            .collect(),
        ..CompareOptions::default()
    };
    let (left, right) = (
        snapshot(source, &options).await,
        snapshot(target, &options).await,
    );
    let found = left.differences(&right, &options);
    assert!(found.is_empty(), "{what}: {}", report(&found));
    let accepted = left.accepted(&right, &options);
    for excuse in excuses {
        assert!(
            accepted.iter().any(|(_, reason)| *reason == excuse.reason),
            "{what} no longer needs the excuse {}",
            excuse.pattern
        );
    }
    left
}

/// What the comparison sees of a database.
pub(crate) async fn snapshot(database: &Database, options: &CompareOptions) -> Snapshot {
    let (conninfo, pg_dump) = (database.conninfo(), oracle("pg_dump"));
    let side = Side {
        conninfo: &conninfo,
        pg_dump: &pg_dump,
    };
    Snapshot::take(&side, options).await.unwrap()
}
