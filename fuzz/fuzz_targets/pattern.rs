//! Any pattern is read or refused, and matching ends whatever the names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgark::sql::{Pattern, PatternScope};

fuzz_target!(|texts: (&str, &str, &str)| {
    let (pattern, schema, name) = texts;
    for scope in [PatternScope::Name, PatternScope::Schema, PatternScope::Relation] {
        if let Ok(pattern) = Pattern::parse(pattern, scope) {
            let _ = pattern.matches_name(name);
            let _ = pattern.matches_relation(schema, name, true);
        }
    }
});
