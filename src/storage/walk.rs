//! The backups of a storage one after another, for those who can't hold a hundred thousand folders at once.

use futures::{
    TryStreamExt,
    stream::{self, BoxStream, StreamExt},
};
use object_store::path::Path;

use super::{Environment, Found, Storage, StorageError, listing::placed};

impl Storage {
    /// Every folder of an environment that holds a manifest, each once, in the order of the storage's own listing.
    ///
    /// A storage that lists a folder's objects apart from each other tells some of them only: one that isn't named here
    /// may be there all the same.
    pub async fn complete_folders(
        &self,
        environment: &Environment,
    ) -> Result<BoxStream<'static, Result<Found, StorageError>>, StorageError> {
        self.present(environment).await?;
        let listing = self
            .store()
            .list(Some(&Path::from(environment.as_str())))
            .fuse();
        let (storage, scope) = (self.clone(), environment.clone());
        let folders = stream::try_unfold((listing, None), async |(mut listing, mut open)| {
            while let Some(meta) = listing.try_next().await? {
                let Some((folder, name)) = placed(&meta) else {
                    continue;
                };
                let left: Option<Found> = open.take_if(|open: &mut Found| open.folder != folder);
                open.get_or_insert_with(|| Found::empty(folder))
                    .add(name, meta.size);
                if let Some(left) = left.filter(|left| left.has_manifest) {
                    return Ok(Some((left, (listing, open))));
                }
            }
            let last = open.filter(|last| last.has_manifest);
            Ok(last.map(|last| (last, (listing, None))))
        });
        Ok(folders
            .map_err(move |error| storage.error(&scope, &error))
            .boxed())
    }
}
