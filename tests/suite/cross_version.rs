//! From one major to another: everything to a newer one; to an older one what it can hold, with all rows, and a report
//! before the first change that names each thing that is lost or left out.

use std::path::Path;
use std::sync::{Arc, Mutex};

use pgark::archive::Archive;
use pgark::dump::DumpOptions;
use pgark::progress::{Event, Progress};
use pgark::restore::{Check, RestoreOptions, RestoreReport, restore};

use crate::kind_matrix::load_all_kinds;
use crate::round_trip::{dump_to_memory, settings};
use crate::support::compare::{CompareOptions, Excuse, report};
use crate::support::pair::{Pair, snapshot};
use crate::support::{Database, Major, Server, pgark};

/// Keeps what is told before the first change.
#[derive(Debug, Default)]
struct Foretold {
    told: Mutex<Vec<String>>,
    begun: Mutex<bool>,
}

impl Progress for Foretold {
    fn event(&self, event: Event) {
        match event {
            Event::Phase {
                name: "definitions",
                ..
            } => {
                *self.begun.lock().unwrap() = true;
            }
            Event::Warning(text) if !*self.begun.lock().unwrap() => {
                self.told.lock().unwrap().push(text);
            }
            _ => {}
        }
    }
}

/// The same database in two majors.
struct Crossing {
    source: Database,
    target: Database,
    archive: Archive,
}

impl Crossing {
    async fn prepare(from: u16, to: u16) -> Crossing {
        let major = |number: u16| number.to_string().parse::<Major>().unwrap();
        let pair = Pair::across(major(from), major(to));
        let source = pair.source.create_database("source");
        load_all_kinds(&source);
        let target = pair.target.create_database("target");
        pair.copy_globals(&source, &target);
        let options = DumpOptions {
            jobs: 4,
            ..DumpOptions::default()
        };
        let archive = dump_to_memory(&settings(&source.conninfo()), &options)
            .await
            .unwrap();
        Crossing {
            source,
            target,
            archive,
        }
    }

    fn target_version(&self) -> String {
        let number: u32 = self
            .target
            .psql("SHOW server_version_num")
            .trim()
            .parse()
            .unwrap();
        format!("{}.{}", number / 10_000, number % 10_000)
    }

    /// What the restore says, and what it said before the first change.
    async fn restore(&self, skip_unsupported: bool) -> (pgark::Result<RestoreReport>, Vec<String>) {
        let options = RestoreOptions {
            jobs: 4,
            check: Check::Content,
            skip_unsupported,
            ..RestoreOptions::default()
        };
        let foretold = Arc::new(Foretold::default());
        let target = settings(&self.target.conninfo());
        let outcome = restore(
            &self.archive,
            &target,
            &options,
            Arc::<Foretold>::clone(&foretold),
        )
        .await;
        let told = std::mem::take(&mut *foretold.told.lock().unwrap());
        (outcome, told)
    }

    /// Both databases are the same but for what is excused, and every excuse is needed.
    async fn assert_same(&self, excuses: &[(&'static str, &'static str)]) {
        let excuse = excuses
            .iter()
            .map(|(pattern, reason)| Excuse::new(pattern, reason));
        let options = CompareOptions {
            cross_version: true,
            excuse: excuse.collect(),
            ..CompareOptions::default()
        };
        let left = snapshot(&self.source, &options).await;
        let right = snapshot(&self.target, &options).await;
        let found = left.differences(&right, &options);
        let what = format!("{} to {}", self.source.major(), self.target.major());
        assert!(found.is_empty(), "{what}: {}", report(&found));
        let accepted = left.accepted(&right, &options);
        for (pattern, reason) in excuses {
            let needed = accepted.iter().any(|(_, used)| used == reason);
            assert!(needed, "{what} no longer needs the excuse {pattern}");
        }
    }
}

fn installed(majors: &[u16]) -> bool {
    let there = crate::support::matrix();
    let all = majors
        .iter()
        .all(|wanted| there.iter().any(|major| major.number() == *wanted));
    if !all {
        println!("left out: not all of {majors:?} are asked for");
    }
    all
}

/// What every crossing has.
const ALWAYS: [(&str, &str); 3] = [
    (
        r"^pg_dump TRIGGER k_key_trigger\.part_2 RI_ConstraintTrigger_c_\d+$",
        "its name holds its OID; the state is compared in the catalogs, by what it does",
    ),
    (
        r"^collation k_table\.coll: collencoding$",
        "a copy of \"C\" is for every encoding, one that is made anew for the database's",
    ),
    (
        r"^(materialized view k_materialized_view\.stale: relispopulated|rows of k_materialized_view\.stale)$",
        "what it was filled from is empty now, so that it cannot be filled again",
    ),
];

const PUBLIC: (&str, &str) = (
    r"^(pg_dump (ACL |COMMENT )?SCHEMA public(: owner)?|schema public: nsp(acl|owner))$",
    "15 gave the schema to the owner of the database; before it belongs to whoever made the cluster",
);

const DROPPED_NOT_NULL: (&str, &str) = (
    r"^pg_dump TABLE k_table\.(strict|lax): text$",
    "before 18 a child may drop a NOT NULL; since then its parent says that it is not inherited",
);

/// An upward crossing loses nothing; `left_out` are objects that the newer version gave up.
async fn goes_up(from: u16, to: u16, left_out: &[&str], excuses: &[(&'static str, &'static str)]) {
    if !installed(&[from, to]) {
        return;
    }
    let crossing = Crossing::prepare(from, to).await;
    if !left_out.is_empty() {
        let (outcome, _) = crossing.restore(false).await;
        let refusal = outcome.unwrap_err().to_string();
        for object in left_out {
            assert!(
                refusal.contains(object) && refusal.contains("--skip-unsupported"),
                "{refusal}"
            );
        }
    }
    let (outcome, _) = crossing.restore(!left_out.is_empty()).await;
    let report = outcome.unwrap();
    assert_eq!(report.failed, []);
    assert_eq!(report.lost, []);
    assert_eq!(report.checked.unwrap().different, []);
    let skipped: Vec<&str> = report
        .skipped
        .iter()
        .map(|skip| skip.object.as_str())
        .collect();
    assert_eq!(skipped, left_out);
    let all: Vec<_> = ALWAYS.iter().chain(excuses).copied().collect();
    crossing.assert_same(&all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_from_12_to_18_but_postfix_operators() {
    let excuses = [
        PUBLIC,
        DROPPED_NOT_NULL,
        (
            r"^(aggregate|comment on proc|pg_dump (ACL|AGGREGATE|COMMENT)) k_aggregate\..*collected\(",
            "14 widened the types of the built-in functions over arrays, and the aggregate's with them",
        ),
        (
            r"^(comment on |pg_dump COMMENT |pg_dump )?(operator |OPERATOR )?k_operator\.(OPERATOR )?!#",
            "14 gave up postfix operators",
        ),
        (
            r"^pg_dump (ACL|COMMENT) k_function\.PROCEDURE proc\(",
            "since 14 the arguments of procedures say their direction",
        ),
        (
            r"^pg_dump OPERATOR (CLASS|FAMILY) k_operator_class\.",
            "14 ties optional members to the family instead of the class",
        ),
    ];
    goes_up(
        12,
        18,
        &["operator k_operator.!# (integer, NONE)"],
        &excuses,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_from_14_to_17() {
    goes_up(14, 17, &[], &[PUBLIC]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_from_15_to_18() {
    goes_up(15, 18, &[], &[DROPPED_NOT_NULL]).await;
}

/// The differences that the report names, but for those that are left out.
const LOST_ON_15: [(&str, &str); 14] = [
    (
        r"(temporal_pkey|xp1?_r_excl|part_nv|period_id_v_fkey|k_event_trigger_login)",
        "left out",
    ),
    (
        r"k_collation\.(builtin|plain|rules): ",
        "the provider and the rules",
    ),
    (
        r#"("?late N"?|late_b|nn_d) on |k_constraint\.nnv (late N|late_b)$|k_table\.nn nn_d$|^column k_constraint\.nnv(_kid)?\.[ab]: attnotnull$|^column k_table\.nn(_kid)?\.d: attnotnull$"#,
        "a NOT NULL that is NOT VALID",
    ),
    (
        r#"(constraint|CONSTRAINT) "(is N|n N)""#,
        "comments on NOT NULLs",
    ),
    (
        r"(\.| )ne(_c|_fk| ne_c| ne_fk)?( on k_[a-z_]*\.ne)?$",
        "constraints that are NOT ENFORCED",
    ),
    (r"k_sequence\.part", "the identity of a partitioned table"),
    (
        r"k_table\.(virt|eager|gen_other|gen_part1)",
        "columns and parameters",
    ),
    (
        r"(default privileges for role pgark_k_owner on large objects|FOR LARGE OBJECTS)$",
        "default privileges on large objects",
    ),
    (
        r"(?i)publication k_publication_generated: (text|pubgencols)$",
        "published generated columns",
    ),
    (
        r"(?i)subscription k_subscription",
        "options of subscriptions",
    ),
    (
        r"^pg_dump TABLE .*: text$",
        "names of NOT NULLs, which stand in the text alone",
    ),
    (
        r"^pg_dump DOMAIN k_domain\.(named_null|present): text$",
        "names of a domain's NOT NULLs",
    ),
    (
        r"^table k_(constraint|table)\.(ne|nnv|nnv_kid|nn|nn_kid): relchecks$",
        "NOT NULLs that became CHECKs, and a CHECK that is NOT ENFORCED",
    ),
    (
        r"^rows of k_table\.gen_part: digest$",
        "values that the parent's expression computes",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_server_gets_what_it_can_hold_and_the_rest_is_named_before_the_first_change() {
    if !installed(&[18, 15]) {
        return;
    }
    let crossing = Crossing::prepare(18, 15).await;
    let (outcome, _) = crossing.restore(false).await;
    let refusal = outcome.unwrap_err().to_string();
    assert!(refusal.contains("before anything was changed"), "{refusal}");

    let (outcome, told) = crossing.restore(true).await;
    let report = outcome.unwrap();
    assert!(!report.is_complete(), "what is left out makes exit code 3");
    assert_eq!(report.failed, []);
    let skipped = report
        .skipped
        .iter()
        .map(|skip| format!("left out: {}: {}", skip.object, skip.reason));
    let lost = report
        .lost
        .iter()
        .map(|loss| format!("not as before: {}: {}", loss.object, loss.what));
    let reported: Vec<String> = skipped.chain(lost).collect();
    let is_loss = |text: &String| {
        ["left out: ", "not as before: "]
            .iter()
            .any(|head| text.starts_with(head))
    };
    let told: Vec<String> = told.into_iter().filter(is_loss).collect();
    assert_eq!(
        told, reported,
        "told before the first change, and reported at the end"
    );
    let text = format!("{}\n", told.join("\n")).replace(&crossing.target_version(), "15");
    assert_golden("fixtures/versions/18-to-15.txt", &text);

    for skip in &report.skipped {
        assert!(
            refusal.contains(&skip.object),
            "{} is not in {refusal}",
            skip.object
        );
        assert!(
            !skip.object.starts_with("table"),
            "rows always come: {}",
            skip.object
        );
    }
    let checked = report.checked.unwrap();
    assert_eq!(
        (checked.different, checked.not_compared),
        (Vec::new(), Vec::new())
    );
    let all: Vec<_> = ALWAYS.iter().chain(&LOST_ON_15).copied().collect();
    crossing.assert_same(&all).await;
}

/// Compares with a file, which `UPDATE_GOLDEN=1` renews.
fn assert_golden(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, expected,
        "run it with UPDATE_GOLDEN=1 and read the change"
    );
}

#[test]
fn the_program_names_what_it_leaves_out_and_ends_with_3() {
    if !installed(&[18, 15]) {
        return;
    }
    let major = |number: u16| number.to_string().parse::<Major>().unwrap();
    let source = Server::shared(major(18)).create_database("newer");
    source.psql(
        "CREATE TABLE p (r int4range, EXCLUDE USING gist (r WITH =)) PARTITION BY LIST (r); CREATE TABLE p1 PARTITION OF p DEFAULT;
         INSERT INTO p VALUES ('[1,2)'); COMMENT ON CONSTRAINT p_r_excl ON p IS 'x'",
    );
    let target = Server::shared(major(15)).create_database("older");
    let folder = tempfile::TempDir::new().unwrap();
    let run = |arguments: &[&str], database: &Database| {
        let mut command = pgark();
        command.args(arguments).arg("-r").arg(folder.path());
        command.arg("-d").arg(database.conninfo()).output().unwrap()
    };
    assert!(run(&["dump"], &source).status.success());
    let refused = run(&["restore", "latest"], &target);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && told.contains("--skip-unsupported"),
        "{told}"
    );
    let restored = run(&["restore", "latest", "--skip-unsupported"], &target);
    let told = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert_eq!(restored.status.code(), Some(3), "{told}");
    assert!(told.contains("p_r_excl"), "{told}");
    assert_eq!(target.psql("SELECT r FROM p").trim(), "[1,2)");
}
