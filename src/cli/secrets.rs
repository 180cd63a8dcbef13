//! Keeps passwords out of what is printed as JSON. What a password looks like is known to `sql`.

use serde_json::Value;

pub(crate) use crate::sql::hide_passwords as hidden;

/// Hides passwords in all texts of a JSON value.
pub(crate) fn hide_in(value: &mut Value) {
    match value {
        Value::String(text) => *text = hidden(text).into_owned(),
        Value::Array(values) => values.iter_mut().for_each(hide_in),
        Value::Object(fields) => fields.values_mut().for_each(hide_in),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
