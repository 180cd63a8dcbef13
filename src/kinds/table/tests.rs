//! Tables built by hand: what stands in the CREATE, what follows, what is an entry of its own.

use postgres_types::{FromSql, Type};

use super::create::forms_by_target;
use super::*;
use crate::kinds::arena::Catalog;
use crate::kinds::core::{
    ColumnRow, DefaultRow, DependRow, InheritsRow, NamespaceRow, RelationRow,
};
use crate::pg::version::{ServerVersion, V15, V16};

const PARENT: Oid = 20_001;
const CHILD: Oid = 20_002;
const FUNCTION: Oid = 20_003;
const DEFAULT: Oid = 20_004;
const CHECK: Oid = 20_005;

fn server_sql(text: &str) -> ServerSql {
    ServerSql::from_sql(&Type::TEXT, text.as_bytes()).unwrap()
}

fn column(relation: Oid, number: i16, name: &str) -> ColumnRow {
    ColumnRow {
        relation,
        number,
        name: name.into(),
        ty: server_sql("integer"),
        ty_oid: 23,
        ty_major: 12,
        not_null: false,
        local: true,
        has_default: false,
        identity: Letter('\0'),
        generated: Letter('\0'),
        collation_schema: None,
        collation_name: None,
        storage: Letter('p'),
        type_storage: Letter('p'),
        compression: Letter('\0'),
        statistics_target: -1,
        options: None,
        fdw_options: None,
    }
}

fn relation(oid: Oid, name: &str) -> RelationRow {
    RelationRow {
        oid,
        name: name.into(),
        schema: 1,
        kind: Letter('r'),
        owner: 10,
        row_type: 0,
        is_partition: false,
    }
}

fn constraint(oid: Oid, relation: Oid, kind: char, name: &str) -> ConstraintRow {
    ConstraintRow {
        oid,
        name: name.into(),
        schema: 1,
        kind: Letter(kind),
        relation,
        domain: 0,
        index: 0,
        parent: 0,
        ref_relation: 0,
        deferrable: false,
        deferred: false,
        validated: true,
        enforced: true,
        local: true,
        n_inherited: 0,
        no_inherit: false,
        period: false,
        columns: Some(vec![1]),
        ref_columns: None,
        set_columns: None,
    }
}

fn depends(class: Oid, oid: Oid, ref_class: Oid, ref_oid: Oid) -> DependRow {
    DependRow {
        class,
        oid,
        column: 0,
        ref_class,
        ref_oid,
        ref_column: 0,
        kind: Letter('n'),
    }
}

/// Parent `p (a)` and child `c`, which inherits `a`.
fn family() -> Core {
    let mut core = Core::default();
    core.schemas.insert(
        1,
        NamespaceRow {
            oid: 1,
            name: "s".into(),
            owner: 10,
        },
    );
    core.relations.insert(PARENT, relation(PARENT, "p"));
    core.relations.insert(CHILD, relation(CHILD, "c"));
    core.columns.insert(PARENT, vec![column(PARENT, 1, "a")]);
    let mut inherited = column(CHILD, 1, "a");
    inherited.local = false;
    core.columns.insert(CHILD, vec![inherited]);
    let link = InheritsRow {
        child: CHILD,
        parent: PARENT,
        detach_pending: false,
    };
    core.parents.insert(CHILD, vec![link]);
    core.children.insert(PARENT, vec![CHILD]);
    core
}

fn default_row(relation: Oid) -> DefaultRow {
    DefaultRow {
        oid: DEFAULT,
        relation,
        column: 1,
        expression: server_sql("(1 + 2)"),
    }
}

fn table(oid: Oid, name: &str) -> Table {
    Table {
        row: TableRow {
            oid,
            name: name.into(),
            schema: 1,
            owner: 10,
            kind: Letter('r'),
            persistence: Letter('p'),
            options: None,
            toast_options: None,
            tablespace: None,
            access_method: Some("heap".into()),
            replica_identity: Letter('d'),
            row_security: false,
            force_row_security: false,
        },
        text: TableText {
            oid,
            partition_key: None,
            bound: None,
            of_type: None,
            checks: Vec::new(),
            definitions: Vec::new(),
        },
        checks: Vec::new(),
        absorbed: Vec::new(),
    }
}

fn child_statements(core: Core, server: ServerVersion, target: ServerVersion) -> Vec<String> {
    let catalog = Catalog::new(core);
    let cx = RenderCx {
        catalog: &catalog,
        server,
    };
    let statements = table(CHILD, "c").statements(&cx, target).unwrap();
    statements.sql.iter().map(Sql::text).collect()
}

#[test]
fn an_inherited_column_is_not_stated_and_its_settings_follow() {
    let mut core = family();
    let inherited = &mut core.columns.get_mut(&CHILD).unwrap()[0];
    inherited.statistics_target = 0;
    inherited.not_null = true;
    inherited.options = Some(vec!["pg_attver=7".into(), "n_distinct=-0.5".into()]);
    assert_eq!(
        child_statements(core, V15, V15),
        [
            r#"CREATE TABLE "s"."c" () INHERITS ("s"."p")"#,
            r#"ALTER TABLE ONLY "s"."c" ALTER COLUMN "a" SET NOT NULL"#,
            r#"ALTER TABLE ONLY "s"."c" ALTER COLUMN "a" SET STATISTICS 0"#,
            r#"ALTER TABLE ONLY "s"."c" ALTER COLUMN "a" SET ("n_distinct"='-0.5')"#,
        ]
    );
}

#[test]
fn a_default_that_was_dropped_on_the_child_stays_dropped() {
    let mut core = family();
    core.columns.get_mut(&PARENT).unwrap()[0].has_default = true;
    let texts = child_statements(core, V15, V15);
    assert_eq!(
        texts[1],
        r#"ALTER TABLE ONLY "s"."c" ALTER COLUMN "a" SET DEFAULT NULL"#
    );
}

#[test]
fn a_child_that_takes_nulls_under_its_parent_still_does() {
    let mut core = family();
    core.columns.get_mut(&PARENT).unwrap()[0].not_null = true;
    let texts = child_statements(core, V15, V15);
    assert_eq!(
        texts[1],
        r#"ALTER TABLE ONLY "s"."c" ALTER COLUMN "a" DROP NOT NULL"#
    );
}

#[test]
fn a_partition_states_all_its_columns_and_no_parents() {
    let mut core = family();
    core.relations.get_mut(&CHILD).unwrap().is_partition = true;
    assert_eq!(
        child_statements(core, V15, V15),
        ["CREATE TABLE \"s\".\"c\" (\n    \"a\" integer\n)"]
    );
}

#[test]
fn not_nulls_have_names_since_18() {
    let mut core = family();
    let mut not_null = constraint(CHECK, CHILD, 'n', "n N");
    not_null.no_inherit = true;
    core.constraints.insert(CHILD, vec![not_null]);
    core.columns.get_mut(&CHILD).unwrap()[0].not_null = true;
    let texts = child_statements(core, V18, V18);
    assert_eq!(
        texts[0],
        "CREATE TABLE \"s\".\"c\" (\n    CONSTRAINT \"n N\" NOT NULL \"a\" NO INHERIT\n) INHERITS (\"s\".\"p\")"
    );
}

#[test]
fn what_a_default_needs_decides_whether_it_is_inline() {
    let mut core = family();
    core.depends = vec![depends(class::ATTRDEF, DEFAULT, class::RELATION, PARENT)];
    core.columns.get_mut(&PARENT).unwrap()[0].has_default = true;
    core.defaults.insert(PARENT, vec![default_row(PARENT)]);
    assert!(inline::default_is_inline(&core, DEFAULT, PARENT, 1));
    core.depends
        .push(depends(class::ATTRDEF, DEFAULT, class::PROC, FUNCTION));
    assert!(!inline::default_is_inline(&core, DEFAULT, PARENT, 1));
    core.members
        .insert(CatalogId::new(class::PROC, FUNCTION), 5);
    assert!(inline::default_is_inline(&core, DEFAULT, PARENT, 1));
    core.members.clear();
    core.columns.get_mut(&PARENT).unwrap()[0].generated = Letter('s');
    assert!(inline::default_is_inline(&core, DEFAULT, PARENT, 1));
}

#[test]
fn a_check_is_inline_separate_or_inherited() {
    let mut core = family();
    let mut check = constraint(CHECK, CHILD, 'c', "k");
    assert!(inline::check_is_inline(&core, &check) && !inline::is_separate(&core, &check));
    check.validated = false;
    assert!(!inline::check_is_inline(&core, &check) && inline::is_separate(&core, &check));
    check.local = false;
    assert!(!inline::is_separate(&core, &check));
    // Validated on the child alone.
    check.validated = true;
    assert!(!inline::is_separate(&core, &check));
    let mut parent = constraint(CHECK + 1, PARENT, 'c', "k");
    parent.validated = false;
    core.constraints.insert(PARENT, vec![parent]);
    assert!(inline::is_separate(&core, &check) && inline::is_validated_here(&core, &check));
}

#[test]
fn a_check_with_a_function_waits_for_all_rows_unless_it_is_shared() {
    let mut core = family();
    core.parents.clear();
    core.children.clear();
    let check = constraint(CHECK, CHILD, 'c', "k");
    assert!(!inline::may_read_tables(&core, &check));
    core.depends
        .push(depends(class::CONSTRAINT, CHECK, class::PROC, FUNCTION));
    assert!(inline::may_read_tables(&core, &check));
    core.members
        .insert(CatalogId::new(class::PROC, FUNCTION), 5);
    assert!(!inline::may_read_tables(&core, &check));
    core.members.clear();
    core.children.insert(CHILD, vec![PARENT]);
    assert!(!inline::may_read_tables(&core, &check));
}

#[test]
fn older_targets_get_forms_of_their_own() {
    let mut core = family();
    let own = &mut core.columns.get_mut(&CHILD).unwrap()[0];
    (own.local, own.generated, own.has_default) = (true, Letter('v'), true);
    core.defaults.insert(CHILD, vec![default_row(CHILD)]);
    let catalog = Catalog::new(core);
    let cx = RenderCx {
        catalog: &catalog,
        server: V18,
    };
    let forms = forms_by_target(|target| table(CHILD, "c").statements(&cx, target));
    // A generated child column of a plain parent column: none before 16, stored before 18.
    let ranges: Vec<_> = forms
        .iter()
        .map(|form| (form.form.since, form.form.until))
        .collect();
    assert_eq!(ranges, [(Some(V16), Some(V18)), (Some(V18), None)]);
    assert!(forms[0].form.lost.is_some() && forms[1].form.lost.is_none());
    let text = |i: usize| forms[i].form.steps[0].sql[0].text();
    assert!(text(0).contains("GENERATED ALWAYS AS ((1 + 2)) STORED"));
    assert!(text(1).contains("GENERATED ALWAYS AS ((1 + 2)) VIRTUAL"));
}
