//! Text that is HTML: markup comes from this program's source only, everything else is escaped. Knows nothing of what is shown.

use std::fmt::{self, Display, Write as _};

use crate::sql::printable;

/// A piece of a page. The only way to add markup is a literal.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup of this program.
    pub(super) fn markup(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Adds text: nothing in it is markup, neither in an element nor in a quoted attribute. Characters that are not seen, or that
    /// turn the order of what follows, are shown by their numbers.
    pub(super) fn text(&mut self, text: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(Escaping(&mut self.0), "{text}");
    }

    /// The HTML.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in printable(text).chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c if is_misleading(c) => self.0.extend(c.escape_unicode()),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Characters that turn the direction of text, join or hide.
fn is_misleading(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Adds literals as markup and `{expressions}` as text, in order.
macro_rules! put {
    (@one $to:expr, {$value:expr}) => { $to.text($value) };
    (@one $to:expr, $markup:literal) => { $to.markup($markup) };
    ($to:expr, $($part:tt),+ $(,)?) => {{ $( put!(@one $to, $part); )+ }};
}
pub(super) use put;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let mut html = Html::default();
        let hostile =
            "</td><script>alert(1)</script>\" onload='x' & \u{202e}txt.exe\u{0} \u{2028}\n";
        put!(html, "<td title=\"", { hostile }, "\">", { 7 }, "</td>");
        assert_eq!(
            html.finish(),
            "<td title=\"&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; &amp; \
             \\u{202e}txt.exe\\u{0} \\u{2028}\\n\">7</td>"
        );
    }
}
