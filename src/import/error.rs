//! Why a file isn't taken in.

use std::{borrow::Cow, io, path::PathBuf};

use crate::{
    fault::{Classified, Fault},
    job::Subject,
};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    #[error("there is no {}", .0.display())]
    NotFound(PathBuf),
    #[error("could not read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("it is a symbolic link")]
    SymbolicLink,
    #[error("it is no regular file")]
    NotAFile,
    #[error("it is empty")]
    Empty,
    #[error("what is inside of it is empty")]
    EmptyInside,
    #[error("it is neither a dump of pg_dump nor a tar archive")]
    Foreign,
    #[error("it is a dump of a whole server, by pg_dumpall")]
    Cluster,
    #[error("the archive breaks off in its middle")]
    TarTruncated,
    #[error("its header as an archive of pg_dump breaks off")]
    HeaderTruncated,
    #[error("pg_restore can't read it to its end: {0}")]
    ArchiveTruncated(String),
    #[error("it is an archive of pg_dump, and there is no pg_restore to read it to its end")]
    NoTools,
    #[error("no key at hand opens it")]
    NoKey,
    #[error("its bytes are not those that its checksum file names")]
    Checksum,
    #[error("its checksum file can't be read as one")]
    ChecksumMalformed,
    #[error("it is the checksum of a file that isn't here")]
    ChecksumAlone,
    #[error("it changed while it was read")]
    Changed,
    #[error("what it is a backup of isn't known")]
    NoSubject,
    #[error("it is a {kind} backup, and can't be one of {subject}")]
    WrongSubject {
        kind: &'static str,
        subject: Subject,
    },
}

impl Classified for ImportError {
    fn fault(&self) -> Fault {
        Fault::Permanent
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "import.not_found",
            Self::Unreadable { .. } => "import.unreadable",
            Self::SymbolicLink => "import.symbolic_link",
            Self::NotAFile => "import.not_a_file",
            Self::Empty | Self::EmptyInside => "import.empty",
            Self::Foreign => "import.foreign",
            Self::Cluster => "import.whole_server",
            Self::TarTruncated | Self::HeaderTruncated | Self::ArchiveTruncated(_) => {
                "import.truncated"
            }
            Self::NoTools => "import.no_tools",
            Self::NoKey => "import.no_key",
            Self::Checksum => "import.checksum",
            Self::ChecksumMalformed => "import.checksum_malformed",
            Self::ChecksumAlone => "import.checksum_alone",
            Self::Changed => "import.changed",
            Self::NoSubject => "import.no_subject",
            Self::WrongSubject { .. } => "import.wrong_subject",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::SymbolicLink => "name the file that it leads to",
            Self::Cluster => "dump each database by itself, with pg_dump",
            Self::NoTools => {
                "install PostgreSQL's client tools, or name them in KANBU_BACKUP_PG_TOOLS"
            }
            Self::NoKey => {
                "set BACKUP_ENCRYPTION_KEY, or one of KANBU_BACKUP_OLD_ENCRYPTION_KEYS, to the one that it was made with"
            }
            Self::Checksum => "it was damaged or cut after it was made; take another copy of it",
            Self::Changed => "repeat this when nobody writes it any more",
            Self::NoSubject => "name it with --subject, like database:shop or source:site",
            Self::NotFound(_) => "name a file or a directory of this machine",
            Self::ArchiveTruncated(_) => {
                "it was cut or damaged, or is of a newer pg_dump than the installed tools; take another copy of it"
            }
            Self::Unreadable { .. } => "give the user that runs kanbu-backup the right to read it",
            Self::NotAFile
            | Self::Empty
            | Self::EmptyInside
            | Self::Foreign
            | Self::TarTruncated
            | Self::HeaderTruncated
            | Self::ChecksumMalformed
            | Self::ChecksumAlone
            | Self::WrongSubject { .. } => return None,
        };
        Some(Cow::Borrowed(hint))
    }
}
