//! The thorough proof that a storage can be used: every sort of request that a backup's life needs, each with its time.
//!
//! Stops at the first that fails, and leaves nothing either way, as far as the storage still listens.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{ObjectKey, Storage, StorageError};
use crate::id::ExecutionId;

const CONTENT: &[u8] = b"kanbu-backup was here\n";
const OTHER_CONTENT: &[u8] = b"kanbu-backup was here twice\n";
const RANGE: std::ops::Range<u64> = 6..12;

/// Two of them: small, for they are never completed.
const PART_BYTES: usize = 256 * 1024;

/// One sort of request that worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub what: &'static str,
    pub took: Duration,
}

/// What worked, and what didn't.
#[derive(Debug, Default)]
pub struct Trial {
    pub steps: Vec<Step>,
    /// The step that failed; those after it weren't tried.
    pub failed: Option<(&'static str, StorageError)>,
}

/// The objects of one trial.
struct Keys {
    small: ObjectKey,
    large: ObjectKey,
}

impl Storage {
    /// Tries all that backups, their verification, their repair and their deletion need.
    pub async fn trial(&self) -> Trial {
        let [small, large] = [(); 2].map(|()| ObjectKey::Probe {
            nonce: ExecutionId::new(),
        });
        let keys = Keys { small, large };
        let mut trial = Trial::default();
        if trial.try_all(self, &keys).await.is_none() {
            // What failed was said; that its leftovers can't be removed either would only repeat it.
            let _ = self.delete(&keys.small).await;
            let _ = self.delete(&keys.large).await;
        }
        let _ = self.remove_empty_folder_of(&keys.small).await;
        trial
    }

    async fn reads_back(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let content = self.read_small(key, CONTENT.len() as u64).await?;
        self.demand(
            content == CONTENT,
            key,
            "it reads back other bytes than were written",
        )
    }

    async fn reads_a_range(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let content = self.read_range(key, RANGE).await?;
        let is_right = content == CONTENT[6..12];
        self.demand(
            is_right,
            key,
            "it gives other bytes than those of the range that was asked for",
        )
    }

    async fn lists(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let listed = self.list_beside(key).await?.contains(&key.to_string());
        self.demand(
            listed,
            key,
            "its listing leaves out an object that was written",
        )
    }

    async fn refuses_to_replace(&self, key: &ObjectKey) -> Result<(), StorageError> {
        match self.put_new(key, Bytes::from_static(OTHER_CONTENT)).await {
            Err(StorageError::AlreadyExists { .. }) => self.reads_back(key).await,
            Err(error) => Err(error),
            Ok(()) => self.demand(false, key, "it lets one object replace another"),
        }
    }

    async fn aborts_an_upload(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let mut upload = self.upload(key).await?;
        let part = Bytes::from(vec![0; PART_BYTES]);
        for _ in 0..2 {
            if let Err(error) = upload.put_part(part.clone()).await {
                let _ = upload.abort().await;
                return Err(error);
            }
        }
        upload.abort().await?;
        let is_there = self.exists(key).await?;
        self.demand(
            !is_there,
            key,
            "an upload that was aborted became an object",
        )
    }

    async fn deletes(&self, key: &ObjectKey) -> Result<(), StorageError> {
        self.delete(key).await?;
        let is_there = self.exists(key).await?;
        self.demand(!is_there, key, "an object that was deleted is still there")
    }

    fn demand(&self, kept: bool, key: &ObjectKey, otherwise: &str) -> Result<(), StorageError> {
        if kept {
            Ok(())
        } else {
            Err(self.lies(key, otherwise))
        }
    }
}

impl Trial {
    /// `None` once something failed.
    async fn try_all(&mut self, storage: &Storage, Keys { small, large }: &Keys) -> Option<()> {
        let content = Bytes::from_static(CONTENT);
        self.step("write", storage.put_new(small, content)).await?;
        self.step("read", storage.reads_back(small)).await?;
        self.step("read a range", storage.reads_a_range(small))
            .await?;
        self.step("list", storage.lists(small)).await?;
        self.step("refuse to replace", storage.refuses_to_replace(small))
            .await?;
        self.step("abort an upload", storage.aborts_an_upload(large))
            .await?;
        self.step("delete", storage.deletes(small)).await
    }

    async fn step(
        &mut self,
        what: &'static str,
        work: impl Future<Output = Result<(), StorageError>>,
    ) -> Option<()> {
        let started = Instant::now();
        match work.await {
            Ok(()) => {
                let took = started.elapsed();
                self.steps.push(Step { what, took });
                Some(())
            }
            Err(error) => {
                self.failed = Some((what, error));
                None
            }
        }
    }
}
