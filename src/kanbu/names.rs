//! The names of Kanbu's own backups: what they are of, and when they were begun.

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::job::Scope;

/// Without a zone: Kanbu's clock is UTC.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S";
const STAMP_BYTES: usize = 19;

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KanbuName {
    pub scope: Scope,
    /// Kanbu recognises files of its kind with any middle; not every one has a stamp.
    pub stamp: Option<DateTime<Utc>>,
}

/// What Kanbu takes a file of this name for; none if it would pass it over.
pub fn read(name: &str) -> Option<KanbuName> {
    let plain = name.strip_suffix(".enc").unwrap_or(name);
    let (scope, middle) = if let Some(rest) = plain.strip_prefix("kanbu_backup_") {
        let rest = rest.strip_suffix(".gz").unwrap_or(rest);
        (Scope::Database, rest.strip_suffix(".sql")?)
    } else {
        let rest = plain.strip_prefix("kanbu_source_")?;
        (Scope::Source, rest.strip_suffix(".tar.gz")?)
    };
    let stamp = middle.get(..STAMP_BYTES);
    let stamp = stamp.and_then(|stamp| NaiveDateTime::parse_from_str(stamp, STAMP).ok());
    Some(KanbuName {
        scope,
        stamp: stamp.map(|stamp| stamp.and_utc()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_what_kanbu_would_take_the_file_for() {
        let at = Some("2026-01-18T10:30:00Z".parse().unwrap());
        for (name, expected) in [
            (
                "kanbu_backup_2026-01-18T10-30-00.sql",
                Some((Scope::Database, at)),
            ),
            (
                "kanbu_backup_2026-01-18T10-30-00.sql.gz",
                Some((Scope::Database, at)),
            ),
            (
                "kanbu_backup_2026-01-18T10-30-00_v1.sql.gz.enc",
                Some((Scope::Database, at)),
            ),
            (
                "kanbu_backup_by hand.sql.enc",
                Some((Scope::Database, None)),
            ),
            (
                "kanbu_source_2026-01-18T10-30-00.tar.gz.enc",
                Some((Scope::Source, at)),
            ),
            ("kanbu_source_2026-01-18T10-30-00.tar", None),
            ("kanbu_backup_2026-01-18T10-30-00.tar.gz", None),
            (
                "kanbu_backup_é2026-01-18T10-30-0.sql",
                Some((Scope::Database, None)),
            ),
            ("backup.sql", None),
        ] {
            let found = read(name).map(|found| (found.scope, found.stamp));
            assert_eq!(found, expected, "{name}");
        }
    }
}
