//! Names and SQL as text for people. What goes to the server is quoted in `ident` and `literal`.

/// `text` with control characters escaped, so that a name can break neither a line nor a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}
