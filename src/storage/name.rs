//! The names that become path segments and columns: of a storage, of an environment.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The text can't be a storage's or environment's name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a name: use 1 to 64 letters, digits, '.', '_' or '-', not starting with '.'")]
pub struct BadStorageName(String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadStorageName;

            fn from_str(text: &str) -> Result<Self, BadStorageName> {
                if is_segment(text) { Ok(Self(text.to_owned())) } else { Err(BadStorageName(text.to_owned())) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadStorageName;

            fn try_from(text: String) -> Result<Self, BadStorageName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name! {
    /// The name of a configured storage: `local`, `s3-eu`.
    StorageName
}
name! {
    /// Keeps installations apart on one storage: `KANBU_ENVIRONMENT`.
    Environment
}

fn is_segment(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_path_segment() {
        assert_eq!(
            "s3-eu.1".parse::<StorageName>().unwrap().as_str(),
            "s3-eu.1"
        );
        for text in ["", "..", ".hidden", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(
                text.parse::<Environment>().is_err(),
                "{text:?} was accepted"
            );
        }
    }
}
