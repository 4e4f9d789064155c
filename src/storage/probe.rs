//! The proof that a storage works: one small object is written, read back, listed and deleted.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{ObjectKey, Storage, StorageError};
use crate::id::ExecutionId;

const CONTENT: &[u8] = b"kanbu-backup was here\n";

/// How long each step took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    pub write: Duration,
    pub read: Duration,
    pub list: Duration,
    pub delete: Duration,
}

impl Storage {
    /// Tries all that a backup, its verification and its deletion need. Leaves nothing.
    pub async fn probe(&self) -> Result<ProbeReport, StorageError> {
        let key = ObjectKey::Probe {
            nonce: ExecutionId::new(),
        };
        let looked_at = self.write_and_look(&key).await;
        let started = Instant::now();
        let deleted = self.delete(&key).await;
        let delete = started.elapsed();
        let (write, read, list) = looked_at?;
        deleted?;
        self.remove_empty_folder_of(&key).await?;
        Ok(ProbeReport {
            write,
            read,
            list,
            delete,
        })
    }

    async fn write_and_look(
        &self,
        key: &ObjectKey,
    ) -> Result<(Duration, Duration, Duration), StorageError> {
        let started = Instant::now();
        self.put_new(key, Bytes::from_static(CONTENT)).await?;
        let written = started.elapsed();
        let started = Instant::now();
        let content = self.read_small(key, CONTENT.len() as u64).await?;
        let read = started.elapsed();
        let started = Instant::now();
        let names = self.list_beside(key).await?;
        let list = started.elapsed();
        if content != CONTENT {
            return Err(self.lies(key, "it reads back other bytes than were written"));
        }
        if !names.contains(&key.to_string()) {
            return Err(self.lies(key, "its listing leaves out an object that was written"));
        }
        Ok((written, read, list))
    }

    pub(super) fn lies(&self, key: &ObjectKey, how: &str) -> StorageError {
        StorageError::Other {
            storage: self.name().clone(),
            key: key.to_string(),
            source: io::Error::other(how),
        }
    }
}
