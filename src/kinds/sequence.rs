//! Sequences: standalone ones, those owned by a column, and those behind identity columns, which are made by the column.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, NoText, Oid, catalog_row};
use super::table::aspects::is_defined;
use super::table::inline;
use super::toc_builder::{Aspect, Draft, DraftKey, TocBuilder};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, clauses};
use crate::error::{Error, Result};
use crate::pg::version::{V15, V17};
use crate::sql::{Ident, Literal, Sql, sql};
use crate::toc::{After, EntryName, LockMode, Part, Stage, Targets};

catalog_row! {
    /// `pg_sequence`, with the column that owns it (deptype `a`) or whose identity it is (`i`).
    pub struct SequenceRow from
        "pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid \
         LEFT JOIN pg_catalog.pg_depend d ON d.classid = 1259 AND d.objid = s.seqrelid AND d.objsubid = 0 \
         AND d.refclassid = 1259 AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
         LEFT JOIN pg_catalog.pg_class t ON t.oid = d.refobjid \
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
        where "c.relpersistence <> 't'" {
        oid: Oid = col("s.seqrelid"),
        name: String = col("c.relname"),
        schema: Oid = col("c.relnamespace"),
        owner: Oid = col("c.relowner"),
        /// p permanent, u unlogged.
        persistence: Letter = col("c.relpersistence"),
        /// 21 smallint, 23 integer, 20 bigint.
        ty: Oid = col("s.seqtypid"),
        start: i64 = col("s.seqstart"),
        increment: i64 = col("s.seqincrement"),
        min: i64 = col("s.seqmin"),
        max: i64 = col("s.seqmax"),
        cache: i64 = col("s.seqcache"),
        cycle: bool = col("s.seqcycle"),
        table: Option<Oid> = col("t.oid"),
        table_persistence: Option<Letter> = col("t.relpersistence"),
        column: Option<String> = col("a.attname"),
        /// a owned, i identity.
        dependency: Option<Letter> = col("d.deptype"),
        /// a always, d by default, as the column says.
        identity: Option<Letter> = col("a.attidentity"),
    }
}

/// A sequence.
#[derive(Debug)]
pub struct Sequence {
    row: SequenceRow,
    owner: Option<Column>,
}

/// The column that a sequence belongs to.
#[derive(Debug, Clone)]
struct Column {
    table: Oid,
    name: Ident,
    /// True for `GENERATED … AS IDENTITY`, false for `OWNED BY`.
    is_identity: bool,
}

impl ObjectKind for Sequence {
    const FACTS: KindFacts = KindFacts {
        label: "sequence",
        keyword: "SEQUENCE",
        stage: Stage::PreData,
        priority: 140,
        grant: Some("SEQUENCE"),
        owned: true,
        postponable: false,
        catalog: "pg_class",
        class: class::RELATION,
    };
    type Row = SequenceRow;
    type Text = NoText;

    fn subject(row: &SequenceRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::relation(row.oid);
        Some(Subject {
            id,
            follows: Follows::Itself,
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: SequenceRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        if type_limits(row.ty).is_none() {
            return Err(Error::failed(
                format!("sequence {:?}", row.name),
                format!("counts in a type that is no integer (OID {})", row.ty),
                "use a version of pgark that knows this server",
            ));
        }
        let owner = match (row.table, &row.column, row.dependency) {
            (Some(table), Some(column), Some(dependency)) => Some(Column {
                table,
                name: Ident::new(&**column),
                is_identity: dependency == 'i',
            }),
            _ => None,
        };
        Ok(Sequence { row, owner })
    }
}

/// SQL name, least and greatest value of a sequence's type (`pg_type.dat`: fixed OIDs).
fn type_limits(ty: Oid) -> Option<(&'static str, i64, i64)> {
    match ty {
        21 => Some(("smallint", i16::MIN.into(), i16::MAX.into())),
        23 => Some(("integer", i32::MIN.into(), i32::MAX.into())),
        20 => Some(("bigint", i64::MIN, i64::MAX)),
        _ => None,
    }
}

impl Sequence {
    fn identity(&self) -> Option<&Column> {
        self.owner.as_ref().filter(|column| column.is_identity)
    }

    /// `START WITH 1 INCREMENT BY 1 …`, limits that are the type's own left to it.
    fn options(&self) -> Sql {
        let row = &self.row;
        let (_, least, greatest) = type_limits(row.ty).expect("build() refuses other types");
        let (min, max) = if row.increment > 0 {
            (1, greatest)
        } else {
            (least, -1)
        };
        sql![
            " START WITH ",
            row.start,
            " INCREMENT BY ",
            row.increment,
            if row.min == min {
                sql![" NO MINVALUE"]
            } else {
                sql![" MINVALUE ", row.min]
            },
            if row.max == max {
                sql![" NO MAXVALUE"]
            } else {
                sql![" MAXVALUE ", row.max]
            },
            " CACHE ",
            row.cache,
            if row.cycle { " CYCLE" } else { "" },
        ]
    }

    /// The statement; `persistence` where the target can tell unlogged sequences from others (15 and newer).
    fn statement(&self, cx: &RenderCx<'_>, persistence: bool) -> Sql {
        let unlogged = self.row.persistence == 'u';
        let Some(column) = self.identity() else {
            let (ty, ..) = type_limits(self.row.ty).expect("build() refuses other types");
            return sql![
                if unlogged && persistence {
                    "CREATE UNLOGGED SEQUENCE "
                } else {
                    "CREATE SEQUENCE "
                },
                self.address(cx),
                (ty != "bigint").then(|| sql![" AS ", ty]),
                self.options(),
            ];
        };
        // Without ONLY, which is refused: on a partitioned table (17) partitions that are attached take the identity at once.
        let foreign = cx
            .core()
            .relations
            .get(&column.table)
            .is_some_and(|row| row.kind == 'f');
        let always = self.row.identity.is_some_and(|letter| letter == 'a');
        let differs = self
            .row
            .table_persistence
            .is_some_and(|table| table != self.row.persistence);
        let word = if unlogged { " UNLOGGED" } else { " LOGGED" };
        sql![
            if foreign {
                "ALTER FOREIGN TABLE "
            } else {
                "ALTER TABLE "
            },
            cx.core().relation(column.table),
            " ALTER COLUMN ",
            &column.name,
            if always {
                " ADD GENERATED ALWAYS"
            } else {
                " ADD GENERATED BY DEFAULT"
            },
            " AS IDENTITY (SEQUENCE NAME ",
            self.address(cx),
            if differs && persistence { word } else { "" },
            self.options(),
            ")",
        ]
    }

    /// The identity column of a partitioned table, which 17 brought.
    fn of_partitioned(&self, cx: &RenderCx<'_>) -> Option<&Column> {
        self.identity().filter(|column| {
            let relation = cx.core().relations.get(&column.table);
            relation.is_some_and(|row| row.kind == 'p')
        })
    }

    /// A sequence by itself, and a default of the column instead of an identity.
    fn as_default(&self, column: &Column, cx: &RenderCx<'_>) -> Vec<Sql> {
        let name = cx
            .core()
            .qualified(self.row.schema, &self.row.name)
            .quoted();
        let (ty, ..) = type_limits(self.row.ty).expect("build() refuses other types");
        let create = sql![
            "CREATE SEQUENCE ",
            self.address(cx),
            " AS ",
            ty,
            self.options()
        ];
        let default = sql![
            "ALTER TABLE ",
            cx.core().relation(column.table),
            " ALTER COLUMN ",
            &column.name,
            " SET DEFAULT pg_catalog.nextval(",
            Literal(&name),
            "::pg_catalog.regclass)"
        ];
        vec![create, default]
    }

    fn owned_by(&self, cx: &RenderCx<'_>) -> Option<Draft> {
        let column = self.owner.as_ref().filter(|column| !column.is_identity)?;
        let (id, table) = (
            CatalogId::relation(self.row.oid),
            CatalogId::relation(column.table),
        );
        if !is_defined(cx, id) || !is_defined(cx, table) {
            return None;
        }
        let owner = cx.core().relation(column.table);
        let statement = sql![
            "ALTER SEQUENCE ",
            self.address(cx),
            " OWNED BY ",
            owner,
            ".",
            &column.name
        ];
        let locks = vec![(column.table, LockMode::AccessShare)];
        let key = DraftKey::aspect(id, Aspect::OwnedBy);
        let draft = Draft::new(key, "sequence owned by", self.name(cx), Stage::PreData, 142)
            .form(DraftForm::plain(vec![statement], locks))
            .needs([DraftKey::define(table)]);
        Some(draft)
    }
}

impl Ddl for Sequence {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::relation(self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        // The server gives an identity sequence its table's owner and refuses another.
        self.identity().is_none().then_some(self.row.owner)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_in(self.row.schema, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![cx.core().qualified(self.row.schema, &self.row.name)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        vec![self.statement(cx, true)]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        // Partitions that are attached by then are altered too.
        let table = self.identity().map(|column| column.table);
        let relations = table
            .into_iter()
            .flat_map(|table| std::iter::once(table).chain(cx.core().descendants(table)))
            .filter(|relation| {
                Some(*relation) == table || inline::is_partition(cx.core(), *relation)
            });
        let locks: Vec<_> = relations
            .map(|oid| (oid, LockMode::AccessExclusive))
            .collect();
        let whole = self.statement(cx, true);
        clauses::by_target(|target| {
            let known = self.statement(cx, target >= V15);
            let mut lost = Vec::new();
            if known != whole {
                lost.push("whether the sequence is unlogged");
            }
            let statements = match self.of_partitioned(cx).filter(|_| target < V17) {
                Some(column) => {
                    lost.push("the identity: a default of the partitioned table takes its place, for which those who insert need USAGE on the sequence");
                    self.as_default(column, cx)
                }
                None => vec![known],
            };
            let mut form = DraftForm::plain(statements, locks.clone());
            form.form.lost = clauses::joined(&lost);
            Some(form)
        })
    }

    /// An identity's sequence belongs to its table's owner, and takes no other; where it stands alone it must be told so.
    fn parts_after(&self, cx: &RenderCx<'_>) -> Vec<After> {
        let alone = self.of_partitioned(cx);
        let owner = alone.map(|_| {
            let role = cx.core().role(self.row.owner);
            let sql = sql!["ALTER SEQUENCE ", self.address(cx), " OWNER TO ", role];
            let targets = Targets {
                until: Some(V17),
                ..Targets::default()
            };
            let part = Part::Owner;
            After { part, sql, targets }
        });
        owner.into_iter().collect()
    }

    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        let own = self.identity().is_none();
        own.then(|| sql!["DROP SEQUENCE ", self.address(cx)])
    }

    fn hidden_needs(&self, _: &RenderCx<'_>) -> Vec<CatalogId> {
        self.identity()
            .map(|column| CatalogId::relation(column.table))
            .into_iter()
            .collect()
    }

    fn more(&self, cx: &RenderCx<'_>, builder: &mut TocBuilder<'_>) {
        if let Some(draft) = self.owned_by(cx) {
            builder.add(draft);
        }
        let id = CatalogId::relation(self.row.oid);
        if cx.catalog.parts_of(id).has(Part::Data) {
            let key = DraftKey::aspect(id, Aspect::SequenceValue);
            builder.add(Draft::new(
                key,
                "sequence value",
                self.name(cx),
                Stage::Data,
                162,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::arena::Catalog;
    use crate::pg::version::{V14, V18};

    fn sequence(ty: Oid, increment: i64, (min, max): (i64, i64)) -> SequenceRow {
        SequenceRow {
            oid: 1,
            name: "q".into(),
            schema: 2,
            owner: 3,
            persistence: Letter('p'),
            ty,
            start: 5,
            increment,
            min,
            max,
            cache: 1,
            cycle: false,
            table: None,
            table_persistence: None,
            column: None,
            dependency: None,
            identity: None,
        }
    }

    fn texts(row: SequenceRow) -> Vec<String> {
        let catalog = Catalog::default();
        let core = &catalog.core;
        let relations = std::collections::BTreeMap::new();
        let load = LoadCx {
            core,
            relations: &relations,
            server: V18,
        };
        let cx = RenderCx {
            catalog: &catalog,
            server: V18,
        };
        let sequence = Sequence::build(row, None, &load).unwrap();
        let forms = sequence.forms(&cx).into_iter();
        forms.map(|form| form.form.steps[0].sql[0].text()).collect()
    }

    #[test]
    fn limits_that_are_the_types_own_are_left_to_it() {
        let up = texts(sequence(20, 1, (1, i64::MAX)));
        assert_eq!(
            up[0],
            r#"CREATE SEQUENCE "schema 2"."q" START WITH 5 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1"#
        );
        let down = texts(sequence(21, -2, (-32768, 7)));
        assert_eq!(
            down[0],
            r#"CREATE SEQUENCE "schema 2"."q" AS smallint START WITH 5 INCREMENT BY -2 NO MINVALUE MAXVALUE 7 CACHE 1"#
        );
    }

    #[test]
    fn an_unlogged_sequence_is_a_plain_one_before_15() {
        let mut row = sequence(20, 1, (1, i64::MAX));
        row.persistence = Letter('u');
        let forms = texts(row);
        assert!(forms[0].starts_with("CREATE SEQUENCE"));
        assert!(forms[1].starts_with("CREATE UNLOGGED SEQUENCE"));
    }

    #[test]
    fn an_identity_sequence_is_made_by_its_column() {
        let mut row = sequence(23, 1, (1, i64::from(i32::MAX)));
        row.table = Some(9);
        row.column = Some("C c".into());
        row.dependency = Some(Letter('i'));
        row.identity = Some(Letter('a'));
        row.table_persistence = Some(Letter('p'));
        let forms = texts(row.clone());
        assert_eq!(
            forms[0],
            "ALTER TABLE \"relation 9\" ALTER COLUMN \"C c\" ADD GENERATED ALWAYS AS IDENTITY \
             (SEQUENCE NAME \"schema 2\".\"q\" START WITH 5 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1)"
        );
        let catalog = Catalog::default();
        let relations = std::collections::BTreeMap::new();
        let load = LoadCx {
            core: &catalog.core,
            relations: &relations,
            server: V14,
        };
        let sequence = Sequence::build(row, None, &load).unwrap();
        let cx = RenderCx {
            catalog: &catalog,
            server: V14,
        };
        assert!(Ddl::owner(&sequence).is_none() && sequence.drop(&cx).is_none());
    }
}
