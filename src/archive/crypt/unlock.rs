//! Passphrases, and where they come from. Asking people for them belongs to `cli`.

use std::fmt;

use zeroize::Zeroizing;

use super::slot::KdfCost;
use crate::config::{Place, Secret};
use crate::error::{Error, Result};

/// The environment variable of a passphrase that nothing else names.
pub const PASSPHRASE_VARIABLE: &str = "PGARK_PASSPHRASE";

/// A passphrase; nothing shows it, and it is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// The passphrase, which must have a character.
    pub fn new(text: String) -> Result<Passphrase> {
        let text = Zeroizing::new(text);
        if text.is_empty() {
            return Err(Error::Usage("a passphrase cannot be empty".to_owned()));
        }
        Ok(Passphrase(text))
    }

    /// Reads it from where `secret` says that it lies.
    pub fn read(secret: &Secret, variable: impl Fn(&str) -> Option<String>) -> Result<Passphrase> {
        Passphrase::new(secret.read(variable)?)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// What opens an encrypted repository: a passphrase, or nothing. A passphrase says that the repository is encrypted: a new one is made so, and one
/// that is not is refused, because somebody may have put it in the place of the right one.
#[derive(Debug, Clone, Default)]
pub struct Unlock {
    /// The passphrase.
    pub passphrase: Option<Passphrase>,
    /// What the slots of a new repository cost.
    pub cost: KdfCost,
}

impl Unlock {
    /// No passphrase.
    pub fn nothing() -> Unlock {
        Unlock::default()
    }

    /// This passphrase.
    pub fn with(passphrase: Passphrase) -> Unlock {
        Unlock {
            passphrase: Some(passphrase),
            ..Unlock::default()
        }
    }

    /// The passphrase that the configuration names for `place`, else that of [`PASSPHRASE_VARIABLE`]; `variable` gives an environment
    /// variable's value.
    pub fn of(place: &Place, variable: impl Fn(&str) -> Option<String>) -> Result<Unlock> {
        let passphrase = match &place.passphrase {
            Some(secret) => Some(Passphrase::read(secret, variable)?),
            None => match variable(PASSPHRASE_VARIABLE).filter(|text| !text.is_empty()) {
                Some(text) => Some(Passphrase::new(text)?),
                None => None,
            },
        };
        Ok(Unlock {
            passphrase,
            ..Unlock::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_comes_before_the_environment_and_nothing_shows_a_passphrase() {
        let variable = |name: &str| match name {
            "PGARK_PASSPHRASE" => Some("general".to_owned()),
            "OWN" => Some("own".to_owned()),
            _ => None,
        };
        let of = |secret: Option<Secret>| {
            let place = Place {
                passphrase: secret,
                ..Place::of("x")
            };
            Unlock::of(&place, variable)
        };
        let text = |unlock: &Unlock| unlock.passphrase.as_ref().map(|one| one.0.to_string());
        let own = of(Some(Secret::Env("OWN".into()))).unwrap();
        assert_eq!(text(&own).unwrap(), "own");
        assert_eq!(text(&of(None).unwrap()).unwrap(), "general");
        assert!(of(Some(Secret::Env("NOT_SET".into()))).is_err());
        let none = Unlock::of(&Place::of("x"), |_| None).unwrap();
        assert!(none.passphrase.is_none());
        assert!(!format!("{own:?}").contains("own"));
        assert!(Passphrase::new(String::new()).is_err());
    }
}
