//! What is protected, written `scope:name`, for instance `database:kanbu`. It is also the key of exclusion, in which role
//! it may carry a facet (`database:kanbu#prune`) so that pruning doesn't wait for a dump.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest subject in bytes, facet included; the `CHECK` of `job.subject` says the same.
pub(super) const MAX_SUBJECT_BYTES: usize = 1024;

/// What sort of thing a subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One database of the protected cluster.
    Database,
    /// A source tree that is archived.
    Source,
    /// A whole PostgreSQL server instance.
    Cluster,
    /// A directory that a source archive is restored into; the name is its absolute path.
    Directory,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Database, Self::Source, Self::Cluster, Self::Directory];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Source => "source",
            Self::Cluster => "cluster",
            Self::Directory => "directory",
        }
    }
}

/// A separate line of exclusion beside the subject itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    Prune,
    Verify,
}

impl Facet {
    fn as_str(self) -> &'static str {
        match self {
            Self::Prune => "prune",
            Self::Verify => "verify",
        }
    }
}

/// A validated subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subject {
    scope: Scope,
    name: String,
    facet: Option<Facet>,
}

/// Why a text is no subject.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a subject: write scope:name, with a scope of database, source, cluster or directory and a name without control characters or '#'"
)]
pub struct BadSubject(String);

impl Subject {
    pub fn new(scope: Scope, name: impl Into<String>) -> Result<Self, BadSubject> {
        let name = name.into();
        let subject = Self {
            scope,
            name,
            facet: None,
        };
        let bad = subject.name.is_empty()
            || subject.name.chars().any(|c| c.is_control() || c == '#')
            || subject.to_string().len() + "#verify".len() > MAX_SUBJECT_BYTES;
        if bad {
            Err(BadSubject(subject.to_string()))
        } else {
            Ok(subject)
        }
    }

    /// A key for something whose real name can't be a subject; `name` must be plain (an id).
    pub(super) fn unnamed(scope: Scope, name: String) -> Self {
        Self {
            scope,
            name,
            facet: None,
        }
    }

    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The name without scope and facet.
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn with_facet(&self, facet: Facet) -> Self {
        Self {
            facet: Some(facet),
            ..self.clone()
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scope.as_str(), self.name)?;
        match self.facet {
            Some(facet) => write!(f, "#{}", facet.as_str()),
            None => Ok(()),
        }
    }
}

impl FromStr for Subject {
    type Err = BadSubject;

    fn from_str(text: &str) -> Result<Self, BadSubject> {
        let bad = || BadSubject(text.to_owned());
        let (scope, rest) = text.split_once(':').ok_or_else(bad)?;
        let scope = Scope::ALL
            .into_iter()
            .find(|s| s.as_str() == scope)
            .ok_or_else(bad)?;
        let (name, facet) = match rest.split_once('#') {
            None => (rest, None),
            Some((name, "prune")) => (name, Some(Facet::Prune)),
            Some((name, "verify")) => (name, Some(Facet::Verify)),
            Some(_) => return Err(bad()),
        };
        let subject = Self::new(scope, name).map_err(|_| bad())?;
        Ok(Self { facet, ..subject })
    }
}

impl TryFrom<String> for Subject {
    type Error = BadSubject;

    fn try_from(text: String) -> Result<Self, BadSubject> {
        text.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_survives_the_way_through_text() {
        for text in [
            "database:kanbu",
            "source:app",
            "database:kanbu#prune",
            "directory:/srv/a b:c",
        ] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        let long = format!("database:{}", "x".repeat(MAX_SUBJECT_BYTES));
        for text in [
            "",
            "kanbu",
            "database:",
            "table:x",
            "database:a#b",
            "database:a\nb",
            &long,
        ] {
            assert!(text.parse::<Subject>().is_err(), "{text:?} was accepted");
        }
    }
}
