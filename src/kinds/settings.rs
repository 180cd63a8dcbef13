//! Settings as the catalog stores them (`name=value` in `proconfig`, `setconfig`) and as `SET` takes them. Pure.

use crate::sql::{Ident, Literal, Sql, sql};

/// Settings whose value is a list of quoted names (`GUC_LIST_QUOTE`, 18): each element is a literal of its own,
/// because one literal for all would be read as one element.
const LISTS: [&str; 8] = [
    "local_preload_libraries",
    "oauth_validator_libraries",
    "output_plugin_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// The name in a stored setting.
pub fn name_of(setting: &str) -> &str {
    setting.split_once('=').map_or(setting, |(name, _)| name)
}

/// `SET "name" TO 'value'` of a stored setting.
pub fn set_clause(setting: &str) -> Sql {
    let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
    sql!["SET ", Ident::new(name), " TO ", set_value(name, value)]
}

/// A setting's stored value as `SET` takes it.
pub fn set_value(name: &str, value: &str) -> Sql {
    let is_list = LISTS.iter().any(|list| list.eq_ignore_ascii_case(name));
    let elements = if is_list { split_list(value) } else { None };
    match elements {
        Some(elements) if !elements.is_empty() => {
            Sql::list(elements.iter().map(|element| Literal(element)))
        }
        _ => sql![Literal(value)],
    }
}

/// The elements of a stored list, quotes removed; `None` if it is not one (`SplitGUCList`).
fn split_list(value: &str) -> Option<Vec<String>> {
    let mut elements = Vec::new();
    let mut rest = value.trim_start();
    while !rest.is_empty() {
        let (element, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_element(quoted)?
        } else {
            let end = rest.find(|c: char| c == ',' || c.is_whitespace());
            let (element, after) = rest.split_at(end.unwrap_or(rest.len()));
            (element.to_owned(), after)
        };
        elements.push(element);
        rest = match after.trim_start() {
            "" => "",
            more => more.strip_prefix(',')?.trim_start(),
        };
    }
    Some(elements)
}

/// What stands up to the closing quote, and what follows it; two quotes in a row are one.
fn quoted_element(text: &str) -> Option<(String, &str)> {
    let mut element = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        element.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                element.push('"');
                rest = more;
            }
            None => return Some((element, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_set_element_by_element() {
        let text = |setting| set_clause(setting).text();
        assert_eq!(
            text(r#"search_path="A b", pg_temp"#),
            r#"SET "search_path" TO 'A b', 'pg_temp'"#
        );
        assert_eq!(text(r#"search_path="""#), r#"SET "search_path" TO ''"#);
        assert_eq!(text("search_path="), r#"SET "search_path" TO ''"#);
        assert_eq!(
            text(r#"Search_Path="a""b,c""#),
            r#"SET "Search_Path" TO 'a"b,c'"#
        );
    }

    #[test]
    fn other_values_are_one_literal() {
        let text = |setting| set_clause(setting).text();
        assert_eq!(
            text("DateStyle=ISO, DMY"),
            r#"SET "DateStyle" TO 'ISO, DMY'"#
        );
        assert_eq!(text("my.opt=a=b'c"), r#"SET "my.opt" TO 'a=b''c'"#);
    }
}
