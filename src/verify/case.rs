//! One backup under verification: what the rows say of its copies, what was seen of them, and what was done about it.

use super::plan::Chosen;
use crate::{
    catalog::{ArtifactView, CopyCheck, CopyState, CopyView, Manifest},
    fault::Failure,
    storage::{Storage, StorageName},
};

/// The backup, with every place that holds it or should.
#[derive(Debug)]
pub(super) struct Case {
    pub artifact: ArtifactView,
    pub manifest: Manifest,
    /// The primary's first, and last those on storages that are configured no more.
    pub posts: Vec<Post>,
}

/// One place.
#[derive(Debug)]
pub(super) struct Post {
    pub name: StorageName,
    /// `None`: not configured here.
    pub storage: Option<Storage>,
    /// Whether it is to be looked at.
    pub is_chosen: bool,
    /// The row's, until more is known.
    pub state: CopyState,
    /// Why the row says that it is bad.
    pub known_error: Option<String>,
    pub finding: Finding,
    pub data: Data,
    pub bytes: Option<u64>,
    /// It was made anew; this was wrong with it before.
    pub mended: Option<String>,
    /// Why it couldn't be made anew.
    pub unmended: Option<Failure>,
}

/// What a look found.
#[derive(Clone, Debug)]
pub(super) enum Finding {
    /// Nobody looked, or there was nothing to be found yet.
    Nothing,
    Good,
    Bad(Failure),
    /// The way to the copy was the trouble. That says nothing about the copy.
    Blind(Failure),
    /// Its storage is configured no more. What it is like is unknown, and that nobody can restore from it is not.
    OutOfReach(Failure),
}

/// What is known of the bytes of a data object, as opposed to its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Unread,
    Right,
    Wrong,
}

impl Case {
    /// With `all_required` also the storages that have no copy yet.
    pub(super) fn new(
        artifact: ArtifactView,
        manifest: Manifest,
        chosen: &Chosen,
        storages: &[Storage],
        all_required: bool,
    ) -> Self {
        let copy_on =
            |name: &StorageName| artifact.copies.iter().find(|copy| copy.storage == *name);
        let mut posts = Vec::new();
        for storage in storages {
            match copy_on(storage.name()) {
                Some(copy) => posts.extend(Post::of_copy(copy, Some(storage), chosen)),
                None if all_required => posts.push(Post::absent(storage)),
                None => {}
            }
        }
        let is_configured = |name: &StorageName| storages.iter().any(|s| s.name() == name);
        let others = artifact
            .copies
            .iter()
            .filter(|copy| !is_configured(&copy.storage));
        posts.extend(others.filter_map(|copy| Post::of_copy(copy, None, chosen)));
        Self {
            artifact,
            manifest,
            posts,
        }
    }

    /// What is to be made anew and can be: nobody has tried yet, and the storage answers.
    pub(super) fn broken(&self) -> Vec<usize> {
        self.indices(|post| {
            let is_ailing = post.state.is_bad() || post.state == CopyState::Pending;
            let is_in_reach = post.storage.is_some() && !matches!(post.finding, Finding::Blind(_));
            is_ailing && is_in_reach && post.unmended.is_none()
        })
    }

    /// Whose data may be read to make others anew: first what was read and found right in this very run.
    pub(super) fn sources(&self) -> Vec<usize> {
        let mut sources = self.indices(|post| {
            let is_good = post.state == CopyState::Stored || post.data == Data::Right;
            let is_blind = matches!(post.finding, Finding::Blind(_));
            is_good && post.storage.is_some() && post.data != Data::Wrong && !is_blind
        });
        sources.sort_by_key(|&index| self.posts.get(index).map(|post| post.data != Data::Right));
        sources
    }

    fn indices(&self, is_meant: impl Fn(&Post) -> bool) -> Vec<usize> {
        let posts = self.posts.iter().enumerate();
        posts
            .filter(|(_, post)| is_meant(post))
            .map(|(index, _)| index)
            .collect()
    }
}

impl Post {
    /// A copy that is being deleted is nobody's promise any more.
    fn of_copy(copy: &CopyView, storage: Option<&Storage>, chosen: &Chosen) -> Option<Self> {
        match copy.state {
            CopyState::Pending | CopyState::Stored | CopyState::Missing | CopyState::Damaged => {}
            CopyState::Deleting | CopyState::Deleted => return None,
        }
        Some(Self {
            name: copy.storage.clone(),
            storage: storage.cloned(),
            is_chosen: chosen.storages().any(|name| *name == copy.storage),
            state: copy.state,
            known_error: copy.error.clone(),
            finding: Finding::Nothing,
            data: Data::Unread,
            bytes: None,
            mended: None,
            unmended: None,
        })
    }

    fn absent(storage: &Storage) -> Self {
        Self {
            name: storage.name().clone(),
            storage: Some(storage.clone()),
            is_chosen: false,
            state: CopyState::Pending,
            known_error: None,
            finding: Finding::Nothing,
            data: Data::Unread,
            bytes: None,
            mended: None,
            unmended: None,
        }
    }

    /// The row that follows from the look, if any does.
    pub(super) fn check(&self, artifact: &ArtifactView, is_full: bool) -> Option<CopyCheck> {
        let error = match &self.finding {
            Finding::Good => None,
            Finding::Bad(reason) => Some(reason.to_string()),
            Finding::Nothing | Finding::Blind(_) | Finding::OutOfReach(_) => return None,
        };
        Some(CopyCheck {
            artifact: artifact.id,
            storage: self.name.clone(),
            state: self.state,
            bytes: self.bytes,
            error,
            full: is_full,
        })
    }

    /// It was read in full and isn't what was written.
    pub(super) fn condemn(&mut self, state: CopyState, reason: Failure) {
        self.state = state;
        self.data = Data::Wrong;
        self.finding = Finding::Bad(reason);
    }
}
