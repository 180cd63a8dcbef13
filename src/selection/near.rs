//! Names that a mistyped pattern may have meant.

/// How many are named.
const N_MAX: usize = 3;
/// Longer names are compared by their beginning: the comparison is quadratic.
const CHARS_MAX: usize = 64;

/// `; near it: a, b`, or nothing. Candidates are the printed name and the name by which it is compared.
pub(super) fn hint(pattern: &str, candidates: impl Iterator<Item = (String, String)>) -> String {
    let wanted = bare(pattern);
    let reach = (wanted.chars().count() / 3).clamp(1, 2);
    let mut found: Vec<(usize, String)> = candidates
        .map(|(shown, name)| (distance(&wanted, &name.to_lowercase()), shown))
        .filter(|(distance, _)| *distance <= reach)
        .collect();
    found.sort();
    found.dedup();
    let names: Vec<String> = found
        .into_iter()
        .take(N_MAX)
        .map(|(_, shown)| shown)
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("; near it: {}", names.join(", "))
    }
}

/// What a pattern says of the last name, without quotes and wildcards.
fn bare(pattern: &str) -> String {
    let last = pattern.rsplit('.').next().unwrap_or(pattern);
    let letters = last.chars().filter(|c| !matches!(c, '"' | '*' | '?'));
    letters.collect::<String>().to_lowercase()
}

/// Letters to put in, take out or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(CHARS_MAX).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(CHARS_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["orders", "Orders", "order_lines", "users"];
        let candidates = || names.iter().map(|n| (format!("s.{n}"), (*n).to_owned()));
        assert_eq!(
            hint("sales.ordres", candidates()),
            "; near it: s.Orders, s.orders"
        );
        assert_eq!(hint("customers", candidates()), "");
        assert_eq!(hint("", candidates()), "");
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
