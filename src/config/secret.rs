//! A secret by reference: a configuration names where it lies and never holds it.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};

/// Where a secret lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In an environment variable: `{ env = "SHOP_PASSWORD" }`.
    Env(String),
    /// In a file, whose last newline does not count: `{ file = "/run/secrets/shop" }`.
    File(PathBuf),
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "environment variable {name}"),
            Secret::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// By hand, because a derived one would show what was written there instead, which may be the secret itself.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        from.deserialize_any(Reference)
    }
}

const HOW: &str =
    "a secret does not stand here itself: write { env = \"VARIABLE\" } or { file = \"PATH\" }";

struct Reference;

impl<'de> Visitor<'de> for Reference {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HOW)
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Secret, E> {
        Err(E::custom(HOW))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(HOW))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let problem = || A::Error::custom(HOW);
        let Some((key, value)) = map.next_entry::<String, String>().map_err(|_| problem())? else {
            return Err(problem());
        };
        let secret = match key.as_str() {
            "env" => Secret::Env(value),
            "file" => Secret::File(value.into()),
            _ => return Err(problem()),
        };
        match map.next_key::<String>() {
            Ok(None) => Ok(secret),
            _ => Err(problem()),
        }
    }
}

impl Secret {
    /// Reads the secret; `variable` gives an environment variable's value. An error names the place, never the contents.
    pub fn read(&self, variable: impl Fn(&str) -> Option<String>) -> Result<String> {
        let lacking = |problem: String| {
            Error::failed(
                self,
                problem,
                "set it, or change the configuration that names it",
            )
        };
        let secret = match self {
            Secret::Env(name) => variable(name).ok_or_else(|| lacking("is not set".to_owned()))?,
            Secret::File(path) => {
                read_file(path).map_err(|problem| lacking(problem.to_string()))?
            }
        };
        let secret = secret.strip_suffix('\n').unwrap_or(&secret);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        if secret.is_empty() {
            return Err(lacking("is empty".to_owned()));
        }
        Ok(secret.to_owned())
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a secret is a line, read once before the work begins"
)]
fn read_file(path: &std::path::Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}
