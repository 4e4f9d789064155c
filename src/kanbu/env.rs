//! Kanbu's environment: the names an installation already has, what they default to, and the words they take.
//!
//! All of Kanbu's names keep their meaning; where Kanbu silently takes an unknown word for its default, it is refused
//! here. `config` reads the values; this module only knows how Kanbu spells them.

use crate::pg::dump::PgMode;

pub const BACKUP_STORAGE: &str = "BACKUP_STORAGE";
pub const BACKUP_LOCAL_PATH: &str = "BACKUP_LOCAL_PATH";
pub const BACKUP_GDRIVE_PATH: &str = "BACKUP_GDRIVE_PATH";
pub const KANBU_ENVIRONMENT: &str = "KANBU_ENVIRONMENT";
pub const BACKUP_PG_MODE: &str = "BACKUP_PG_MODE";
pub const DATABASE_URL: &str = "DATABASE_URL";
pub const POSTGRES_CONTAINER: &str = "POSTGRES_CONTAINER";
pub const POSTGRES_CONTAINER_PATTERN: &str = "POSTGRES_CONTAINER_PATTERN";
pub const POSTGRES_DB: &str = "POSTGRES_DB";
pub const POSTGRES_USER: &str = "POSTGRES_USER";
pub const KANBU_SOURCE_PATH: &str = "KANBU_SOURCE_PATH";
pub const BACKUP_ENCRYPTION_KEY: &str = "BACKUP_ENCRYPTION_KEY";
pub const BACKUP_SCHEDULER_MODE: &str = "BACKUP_SCHEDULER_MODE";
pub const BACKUP_CRON_TIMEZONE: &str = "BACKUP_CRON_TIMEZONE";

/// The words of `BACKUP_PG_MODE`, in any case.
pub const PG_MODES: &[&str] = &["auto", "direct", "docker"];

pub const DEFAULT_STORAGE: &str = "local";
pub const DEFAULT_LOCAL_PATH: &str = "/data/backups";
pub const DEFAULT_ENVIRONMENT: &str = "default";
pub const DEFAULT_PG_MODE: &str = "auto";
pub const DEFAULT_CONTAINER_PATTERN: &str = "postgres-";
/// Kanbu's role and its database bear the same name.
pub const DEFAULT_DATABASE: &str = "kanbu";
pub const DEFAULT_SOURCE_PATH: &str = "/app";
pub const DEFAULT_SCHEDULER_MODE: &str = "internal";
pub const DEFAULT_TIMEZONE: &str = "Europe/Amsterdam";

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $case:ident: $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            pub const WORDS: &[&str] = &[$($word),+];

            pub fn parse(text: &str) -> Option<Self> {
                $(if $case(text, $word) { return Some(Self::$variant) })+
                None
            }

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

fn exactly(text: &str, word: &str) -> bool {
    text == word
}

fn any_case(text: &str, word: &str) -> bool {
    text.eq_ignore_ascii_case(word)
}

words! {
    /// Where Kanbu keeps its backups.
    StorageWord, exactly:
    Local = "local",
    /// A Google Drive: a directory in which it is mounted, or a folder of it.
    Gdrive = "gdrive",
    /// Not among Kanbu's own words, and so are the next ones.
    S3 = "s3",
    Gcs = "gs",
    Azure = "az"
}

words! {
    /// Who makes schedules due.
    SchedulerMode, any_case:
    Internal = "internal",
    /// Nothing happens by itself; the trigger runs schedules.
    External = "external",
    Both = "both"
}

words! {
    /// The form in which backups are written.
    BackupFormat, exactly:
    Native = "native",
    /// Kanbu's own: plain SQL, gzip, envelope v1, flat names.
    Kanbu = "kanbu"
}

/// How the protected server is reached.
pub fn pg_mode(text: &str) -> Option<PgMode> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Some(PgMode::Auto),
        "direct" => Some(PgMode::Direct),
        "docker" => Some(PgMode::Docker),
        _ => None,
    }
}

impl StorageWord {
    /// Kanbu's words for people.
    pub fn display_name(self) -> &'static str {
        match self {
            Self::Local => "Local Storage",
            Self::Gdrive => "Google Drive",
            Self::S3 => "S3",
            Self::Gcs => "Google Cloud Storage",
            Self::Azure => "Azure Blob Storage",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_in_any_case_as_kanbu_does() {
        assert_eq!(pg_mode("Docker"), Some(PgMode::Docker));
        assert_eq!(
            SchedulerMode::parse("EXTERNAL"),
            Some(SchedulerMode::External)
        );
        assert_eq!(pg_mode("podman"), None);
        assert_eq!(StorageWord::parse("Local"), None);
    }

    #[test]
    fn every_word_is_read_back() {
        assert!(PG_MODES.iter().all(|word| pg_mode(word).is_some()));
        for word in StorageWord::WORDS {
            assert_eq!(
                StorageWord::parse(word).map(StorageWord::as_str),
                Some(*word)
            );
        }
    }
}
