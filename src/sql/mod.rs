//! SQL text that is safe by construction: names and literals enter only through quoting types. No I/O.

mod deparsed;
mod escape;
mod ident;
mod literal;
mod pattern;
mod printable;
pub mod script;
mod secrets;
mod statement;

pub use deparsed::ServerSql;
pub(crate) use escape::has_escapes_in;
pub use escape::{ReadText, SentText, escape, escaped_byte, has_escapes, unescape};
pub use ident::{Ident, QualifiedName, leading_quoted};
pub use literal::{Condition, DollarQuoted, Literal};
pub use pattern::{Pattern, PatternScope};
pub use printable::{printable, shown, shown_json};
pub use secrets::hide_passwords;
pub use statement::{DatabaseName, Fragment, Grantee, Piece, Role, Sql};

/// Builds a [`Sql`] from fragments: `sql!["DROP TABLE ", &name]`.
///
/// A part is a string literal, a quoting type ([`Ident`], [`QualifiedName`], [`Literal`], [`Role`], [`Grantee`]), text the
/// server deparsed ([`ServerSql`]), a number, another [`Sql`], or an `Option` of one. `String` and a borrowed `&str` do not compile:
///
/// ```compile_fail
/// let name = String::from("t; DROP TABLE u");
/// let text = pgark::sql::sql!["DROP TABLE ", name.as_str()];
/// ```
#[macro_export]
macro_rules! sql {
    ($($part:expr),* $(,)?) => {{
        #[allow(unused_mut)]
        let mut out = $crate::sql::Sql::default();
        $( $crate::sql::Fragment::append(&$part, &mut out); )*
        out
    }};
}
pub use crate::sql;
