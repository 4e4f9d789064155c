//! Entering what storages say of themselves: the catalog anew, or what it lacks of them.
//!
//! Invariant: what the catalog knows is never overwritten by what a storage merely claims. A backup that was deleted on
//! purpose stays away, a manifest that contradicts a known one is doubted, and a copy is looked at anew only where nobody
//! has looked since this began. Doing it again changes nothing. Reading belongs to `rebuild`.

mod entering;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use futures::{TryStreamExt, stream::StreamExt};
use serde::Serialize;

pub use self::entering::Doubt;
use self::entering::{Batch, Fate};
use super::{
    CatalogError, CopyState,
    rebuild::{self, FoundManifest, Seen},
};
use crate::{
    control::ControlDb,
    crypto::Keyring,
    fault::Failure,
    id::ArtifactId,
    storage::{Environment, Folder, Storage, StorageName},
};

/// Manifests that are entered in one transaction.
const BATCH: usize = 50;

/// Doubtful manifests that are named, and manifests without their data that are kept for a second look; of more, only
/// the number is told.
const MOST_NAMED: usize = 1000;

/// What one storage brought.
#[derive(Debug, Serialize)]
pub struct Restocked {
    pub storage: StorageName,
    /// Manifests that were read.
    pub manifests: u64,
    /// Backups that the catalog didn't know.
    pub backups: u64,
    /// Copies of known backups that it didn't know, or knew otherwise.
    pub copies: u64,
    /// Backups that stay away because they were deleted on purpose.
    pub deleted: u64,
    /// Manifests that can't be believed.
    pub doubted: u64,
    /// Those of them that come with their reason.
    pub doubts: Vec<Doubted>,
    /// Why it wasn't read to its end.
    #[serde(skip)]
    pub failure: Option<Failure>,
    #[serde(skip)]
    since: DateTime<Utc>,
    #[serde(skip)]
    without_data: Vec<FoundManifest>,
}

/// A manifest that is there and enters nothing.
#[derive(Debug, Serialize)]
pub struct Doubted {
    pub folder: Folder,
    #[serde(flatten)]
    pub doubt: Doubt,
}

/// What a catalog is made from.
#[derive(Debug)]
pub struct Sources<'a> {
    pub storages: &'a [Storage],
    pub environment: &'a Environment,
    pub keyring: &'a Keyring,
}

/// Enters every backup that the storages hold, with a copy for each storage that holds it. With `dry_run` nothing is
/// written. A storage that fails doesn't keep the others from being read.
pub async fn restock(
    db: &ControlDb,
    sources: &Sources<'_>,
    dry_run: bool,
) -> Result<Vec<Restocked>, CatalogError> {
    let mut stock = Stock {
        db,
        dry_run,
        planned: HashSet::new(),
    };
    let mut all = Vec::new();
    for storage in sources.storages {
        all.push(stock.one(storage, sources).await?);
    }
    // A manifest whose data is gone is believed once another storage has shown the same one with its data.
    for one in &mut all {
        let without_data = std::mem::take(&mut one.without_data);
        for batch in without_data.chunks(BATCH) {
            stock.enter(batch, one, Retry::Last).await?;
        }
    }
    Ok(all)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    Later,
    Last,
}

struct Stock<'a> {
    db: &'a ControlDb,
    dry_run: bool,
    /// What a dry run would have entered by now.
    planned: HashSet<ArtifactId>,
}

impl Stock<'_> {
    async fn one(
        &mut self,
        storage: &Storage,
        sources: &Sources<'_>,
    ) -> Result<Restocked, CatalogError> {
        let since = entering::now(self.db).await?;
        let mut one = Restocked::new(storage.name().clone(), since);
        let walk = rebuild::walk(storage, sources.environment, sources.keyring).await;
        let mut batches = match walk {
            Ok(walk) => walk.try_chunks(BATCH),
            Err(error) => {
                one.failure = Some(error.into());
                return Ok(one);
            }
        };
        while let Some(batch) = batches.next().await {
            let (seen, end) = match batch {
                Ok(seen) => (seen, None),
                Err(broken) => (broken.0, Some(broken.1)),
            };
            let readable = one.sift(seen);
            let unsettled = self.enter(&readable, &mut one, Retry::Later).await?;
            one.keep(readable, &unsettled);
            if let Some(error) = end {
                one.failure = Some(error.into());
                break;
            }
        }
        Ok(one)
    }

    /// Returns the folders of which another storage may know more.
    async fn enter(
        &mut self,
        batch: &[FoundManifest],
        one: &mut Restocked,
        retry: Retry,
    ) -> Result<HashSet<Folder>, CatalogError> {
        let mut unsettled = HashSet::new();
        if batch.is_empty() {
            return Ok(unsettled);
        }
        let entering = Batch {
            storage: &one.storage,
            found: batch,
            since: one.since,
            planned: &self.planned,
            dry_run: self.dry_run,
        };
        let fates = entering.enter(self.db).await?;
        for (found, fate) in batch.iter().zip(fates) {
            match fate {
                Fate::Entered(id) => {
                    one.backups += 1;
                    if self.dry_run {
                        self.planned.insert(id);
                    }
                }
                Fate::Copied => one.copies += 1,
                Fate::Known => {}
                Fate::Deleted => one.deleted += 1,
                Fate::Doubted(_) if retry == Retry::Later && lacks_data(found) => {
                    unsettled.insert(found.folder.clone());
                }
                Fate::Doubted(doubt) => one.doubt(&found.folder, doubt),
            }
        }
        Ok(unsettled)
    }
}

fn lacks_data(found: &FoundManifest) -> bool {
    found.manifest.is_ok() && found.copy == CopyState::Missing
}

impl Restocked {
    /// Of a storage that couldn't even be opened.
    pub fn unopened(storage: StorageName, failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::new(storage, DateTime::UNIX_EPOCH)
        }
    }

    fn new(storage: StorageName, since: DateTime<Utc>) -> Self {
        Self {
            storage,
            manifests: 0,
            backups: 0,
            copies: 0,
            deleted: 0,
            doubted: 0,
            doubts: Vec::new(),
            failure: None,
            since,
            without_data: Vec::new(),
        }
    }

    fn doubt(&mut self, folder: &Folder, doubt: Doubt) {
        self.doubted += 1;
        if self.doubts.len() < MOST_NAMED {
            let folder = folder.clone();
            self.doubts.push(Doubted { folder, doubt });
        }
    }

    /// Those that could be read; the others are doubted.
    fn sift(&mut self, seen: Vec<Seen>) -> Vec<FoundManifest> {
        let mut readable = Vec::new();
        for Seen { folder, found } in seen {
            self.manifests += 1;
            match found {
                Ok(found) => readable.push(found),
                Err(error) => self.doubt(&folder, Doubt::of(&error)),
            }
        }
        readable
    }

    /// For a second look. Of more than are named at most, the rest is doubted at once.
    fn keep(&mut self, batch: Vec<FoundManifest>, unsettled: &HashSet<Folder>) {
        for found in batch {
            if !unsettled.contains(&found.folder) {
                continue;
            }
            if self.without_data.len() < MOST_NAMED {
                self.without_data.push(found);
            } else {
                self.doubt(&found.folder, Doubt::without_data());
            }
        }
    }
}
