//! Making copies anew from a good one, under the names that the backup has on every storage.
//!
//! Nothing that may still be good is given up: an object is replaced only by bytes that were read to their end and had the
//! manifest's hash, in one step where the store can (docs/decisions/0008). The manifest comes last. The database that was
//! backed up is never asked.

use bytes::Bytes;

use super::{
    Deps, VerifyError,
    carry::Carrier,
    case::{Case, Data, Finding, Post},
    look::Copy,
};
use crate::{
    catalog::{self, CopyCheck, CopyState},
    execution::Lease,
    fault::Failure,
    storage::{Storage, StorageName},
};

/// What a repair works with.
pub(super) struct Mender<'a> {
    pub deps: &'a Deps,
    pub lease: &'a Lease,
    pub carrier: Carrier<'a>,
}

impl Mender<'_> {
    /// Makes anew all that can be. Only an order to stop is an error; everything else is said in the case.
    pub(super) async fn mend(&self, case: &mut Case) -> Result<(), Failure> {
        // A source that turns out bad is to be mended too.
        while let broken = case.broken()
            && !broken.is_empty()
        {
            let names: Vec<StorageName> = named(case, &broken);
            let announced = catalog::announce_copies(&self.deps.catalog, case.artifact.id, &names);
            if !announced.await? {
                return Ok(());
            }
            self.lease.check().await?;
            self.mend_all(case, &broken).await?;
        }
        self.clear_if_unwanted(case).await
    }

    async fn mend_all(&self, case: &mut Case, broken: &[usize]) -> Result<(), Failure> {
        for &index in broken {
            self.read_what_may_be_right(case, index).await?;
        }
        let lacking: Vec<usize> = broken
            .iter()
            .copied()
            .filter(|&index| {
                case.posts
                    .get(index)
                    .is_some_and(|post| post.data != Data::Right && post.unmended.is_none())
            })
            .collect();
        if !lacking.is_empty() {
            self.replicate(case, &lacking).await?;
        }
        for &index in broken {
            self.complete(case, index).await?;
        }
        Ok(())
    }

    /// Where the manifest alone is gone, nothing else has to be written. What no look of this run has read is read now.
    async fn read_what_may_be_right(&self, case: &mut Case, index: usize) -> Result<(), Failure> {
        let Some((post, storage)) = at(case, index) else {
            return Ok(());
        };
        if matches!(&post.finding, Finding::Bad(reason) if reason.code == "manifest.seal") {
            post.unmended = Some(VerifyError::CatalogueChanged.into());
        } else if post.data == Data::Unread {
            self.read_back(case, index, &storage).await?;
        }
        Ok(())
    }

    /// What the data of a copy is, by its bytes as they come back.
    async fn read_back(
        &self,
        case: &mut Case,
        index: usize,
        storage: &Storage,
    ) -> Result<(), Failure> {
        let read = match self.carrier.read_through(case, storage).await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.carrier.blamed(failure)?),
        };
        let Some(post) = case.posts.get_mut(index) else {
            return Ok(());
        };
        match read {
            Ok(()) => post.data = Data::Right,
            Err(failure) if CopyState::told_by(&failure).is_some() => post.data = Data::Wrong,
            Err(failure) => post.unmended = Some(failure),
        }
        Ok(())
    }

    /// Brings the data to `lacking`, from the first copy that gives it whole.
    async fn replicate(&self, case: &mut Case, lacking: &[usize]) -> Result<(), Failure> {
        for source in case.sources() {
            let Some(from) = case.posts.get(source).and_then(|post| post.storage.clone()) else {
                continue;
            };
            let Err(failure) = self.transfer(case, &from, lacking).await else {
                return Ok(());
            };
            let failure = self.carrier.blamed(failure)?;
            // Who was to blame? Reading the source again tells.
            let Err(reason) = self.carrier.read_through(case, &from).await else {
                give_up(case, lacking, &failure);
                return Ok(());
            };
            let reason = self.carrier.blamed(reason)?;
            self.condemn(case, source, reason).await?;
        }
        give_up(case, lacking, &VerifyError::NoGoodCopy.into());
        Ok(())
    }

    /// A source that isn't what was taken for it is a finding like any other.
    async fn condemn(
        &self,
        case: &mut Case,
        source: usize,
        reason: Failure,
    ) -> Result<(), Failure> {
        let Some(post) = case.posts.get_mut(source) else {
            return Ok(());
        };
        match CopyState::told_by(&reason) {
            Some(state) => post.condemn(state, reason),
            None => post.finding = Finding::Blind(reason),
        }
        let check = post.check(&case.artifact, true);
        catalog::note_checks(&self.deps.catalog, check.into_iter().collect()).await?;
        Ok(())
    }

    /// One stream from `from` to all that lack the data. Nothing appears anywhere before its last byte came and the hash
    /// was right; how it went is said in the posts. An error is the stream's own.
    async fn transfer(
        &self,
        case: &mut Case,
        from: &Storage,
        lacking: &[usize],
    ) -> Result<(), Failure> {
        let mut ready = Vec::new();
        for &index in lacking {
            let untried = case.posts.get(index).filter(|post| post.unmended.is_none());
            let Some(to) = untried.and_then(|post| post.storage.clone()) else {
                continue;
            };
            if !to.capabilities().replaces_whole {
                // The bad object has to go before the stream comes, and goes for nothing less than a good one.
                self.carrier.read_through(case, from).await?;
            }
            match self.carrier.prepare(case, &to).await {
                Ok(()) => ready.push((index, to)),
                Err(failure) => give_up(case, &[index], &self.carrier.blamed(failure)?),
            }
        }
        if ready.is_empty() {
            return Ok(());
        }
        let storages: Vec<_> = ready.iter().map(|(_, storage)| storage).collect();
        let ends = self.carrier.stream(case, from, &storages).await?;
        for ((index, storage), end) in ready.iter().zip(ends) {
            match end.result {
                // What comes back counts, not what was sent.
                Ok(()) => {
                    self.read_back(case, *index, storage).await?;
                    if case.posts.get(*index).map(|post| post.data) != Some(Data::Right) {
                        let not_taken = VerifyError::NotTaken(storage.name().clone());
                        give_up(case, &[*index], &not_taken.into());
                    }
                }
                Err(failure) => give_up(case, &[*index], &failure),
            }
        }
        Ok(())
    }

    /// Puts the manifest where it is missing or another, and says in the row that the copy is good.
    async fn complete(&self, case: &mut Case, index: usize) -> Result<(), Failure> {
        let Some((post, storage)) = at(case, index) else {
            return Ok(());
        };
        if post.data != Data::Right || post.unmended.is_some() {
            return Ok(());
        }
        self.lease.check().await?;
        let put = self.put_manifest(case, &storage);
        let put = match self.carrier.within(&storage, put).await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.carrier.blamed(failure)?),
        };
        let bytes = case.manifest.envelope.bytes;
        let Some(post) = case.posts.get_mut(index) else {
            return Ok(());
        };
        if let Err(failure) = put {
            post.unmended = Some(failure);
            return Ok(());
        }
        post.mended = Some(match &post.finding {
            Finding::Bad(reason) => reason.to_string(),
            _ => "it was not there yet".to_owned(),
        });
        post.state = CopyState::Stored;
        post.finding = Finding::Good;
        post.bytes = Some(bytes);
        let check = CopyCheck {
            artifact: case.artifact.id,
            storage: post.name.clone(),
            state: CopyState::Stored,
            bytes: Some(bytes),
            error: None,
            full: true,
        };
        catalog::note_checks(&self.deps.catalog, vec![check]).await?;
        Ok(())
    }

    async fn put_manifest(&self, case: &Case, storage: &Storage) -> Result<(), Failure> {
        let copy = Copy {
            storage,
            manifest: &case.manifest,
            text: &case.artifact.manifest,
        };
        match copy.read_manifest().await {
            Ok(_) => return Ok(()),
            Err(failure) if CopyState::told_by(&failure).is_none() => return Err(failure),
            Err(_) => {}
        }
        let text = Bytes::from(case.artifact.manifest.clone());
        let key = case.manifest.manifest_key();
        storage.replacing().put_new(&key, text).await?;
        copy.read_manifest().await?;
        // Whoever sweeps takes data without a manifest for debris, and may have been here a moment ago.
        storage.head(&case.manifest.data_key()).await?;
        Ok(())
    }

    /// Somebody decided to delete the backup while it was being mended, and may have been here before the manifest was.
    async fn clear_if_unwanted(&self, case: &Case) -> Result<(), Failure> {
        let tried = |post: &&Post| post.mended.is_some() || post.unmended.is_some();
        let posts = case.posts.iter().filter(tried);
        let storages: Vec<_> = posts.filter_map(|post| post.storage.as_ref()).collect();
        if storages.is_empty() {
            return Ok(());
        }
        if catalog::get(&self.deps.catalog, case.artifact.id)
            .await?
            .is_some()
        {
            return Ok(());
        }
        for storage in storages {
            let cleared = async { Ok(storage.delete_folder(&case.artifact.folder).await?) };
            if let Err(failure) = self.carrier.within(storage, cleared).await {
                tracing::warn!(
                    storage.name = %storage.name(), folder = %case.artifact.folder, %failure,
                    "what was mended of a deleted backup could not be removed"
                );
            }
        }
        Ok(())
    }
}

fn named(case: &Case, indices: &[usize]) -> Vec<StorageName> {
    let posts = indices.iter().filter_map(|&index| case.posts.get(index));
    posts.map(|post| post.name.clone()).collect()
}

fn at(case: &mut Case, index: usize) -> Option<(&mut Post, Storage)> {
    let post = case.posts.get_mut(index)?;
    let storage = post.storage.clone()?;
    Some((post, storage))
}

fn give_up(case: &mut Case, lacking: &[usize], failure: &Failure) {
    for &index in lacking {
        if let Some(post) = case.posts.get_mut(index) {
            post.unmended.get_or_insert_with(|| failure.clone());
        }
    }
}
