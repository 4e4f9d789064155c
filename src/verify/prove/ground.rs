//! Where a database is restored to in a test, and whether there is room.

use std::{fs, path::Path};

use rustix::fs::statvfs;

use super::ProofTerms;
use crate::{
    bytes::ByteSize,
    pg::{
        scratch::{Ground, choose_server},
        tools::Toolset,
    },
    restore::DatabaseTarget,
    verify::VerifyError,
};

/// What a new cluster takes, with the log of its writes.
const SERVER_BYTES: u64 = 512 << 20;

/// What a tree takes besides its content.
const TREE_BYTES: u64 = 16 << 20;

/// The places that come into question, the better one first.
pub(super) struct Places<'a> {
    pub private: Option<&'a Toolset>,
    pub protected: Option<&'a DatabaseTarget>,
}

/// For a dump of a server of that version.
pub(super) fn places(terms: &ProofTerms, major: u32) -> Result<Places<'_>, VerifyError> {
    let private = || choose_server(&terms.toolsets, major);
    let protected = || terms.target.as_ref();
    let no_binaries =
        || format!("no PostgreSQL server of version {major} or newer is installed here");
    let (places, reason) = match terms.ground {
        Ground::Auto => (
            (private(), protected()),
            format!("{}, and there is no DATABASE_URL", no_binaries()),
        ),
        Ground::Scratch => ((private(), None), no_binaries()),
        Ground::Server => ((None, protected()), "there is no DATABASE_URL".to_owned()),
    };
    match places {
        (None, None) => Err(VerifyError::NoPlace(reason)),
        (private, protected) => Ok(Places { private, protected }),
    }
}

/// Refuses to fill up the disk with a database of that size.
pub(super) fn require_room_for_database(directory: &Path, bytes: u64) -> Result<(), VerifyError> {
    require_room(directory, bytes.saturating_add(bytes / 4), SERVER_BYTES)
}

pub(super) fn require_room_for_tree(directory: &Path, bytes: u64) -> Result<(), VerifyError> {
    require_room(directory, bytes.saturating_add(bytes / 10), TREE_BYTES)
}

fn require_room(directory: &Path, bytes: u64, besides: u64) -> Result<(), VerifyError> {
    let unusable = |error| VerifyError::Scratch(directory.to_owned(), error);
    fs::create_dir_all(directory).map_err(unusable)?;
    let room = statvfs(directory).map_err(|error| unusable(error.into()))?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let needed = bytes.saturating_add(besides);
    if free < needed {
        return Err(VerifyError::NoRoom {
            directory: directory.to_owned(),
            needed: ByteSize(needed),
            free: ByteSize(free),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Classified;

    #[test]
    fn what_does_not_fit_on_the_disk_is_not_begun() {
        let directory = tempfile::tempdir().unwrap();
        let scratch = directory.path().join("scratch");
        let refused = require_room_for_database(&scratch, u64::MAX / 2).unwrap_err();
        assert_eq!(refused.code(), "scratch.no_room");
        assert!(require_room_for_tree(&scratch, 1).is_ok());
    }

    #[test]
    fn without_binaries_and_server_there_is_no_place() {
        for ground in [Ground::Auto, Ground::Scratch, Ground::Server] {
            let terms = ProofTerms {
                ground,
                ..ProofTerms::new("/nonexistent".into(), None, Vec::new())
            };
            let Err(refused) = places(&terms, 15) else {
                panic!("{ground:?} has a place");
            };
            assert_eq!(refused.code(), "scratch.no_place");
        }
    }
}
