//! Paths as folders and files below the root folder, with the ids that were seen on the way.
//!
//! Names on Google Drive aren't unique. Folders and files are made so that of several of one name the oldest stays and the
//! others are removed by whoever made them; where two are met nevertheless, it is an error, not a guess. A remembered id
//! may be stale, so that nothing is called missing unless the folder where it would be is there.

use std::collections::HashMap;

use object_store::path::Path;

use super::{
    DriveError,
    files::{File, Files},
    ids::Ids,
};

/// My Drive itself, which can't go away and which a narrow scope may not look at.
const MY_DRIVE: &str = "root";

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) files: Files,
    root: String,
    folders: Ids,
    objects: Ids,
    /// Within this process nobody makes a folder that somebody else is making.
    making: tokio::sync::Mutex<()>,
}

/// What lies directly in a folder.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) folders: Vec<Path>,
    pub(super) objects: Vec<(Path, File)>,
}

impl Tree {
    pub(super) fn new(files: Files, root: String) -> Self {
        Self {
            files,
            root,
            folders: Ids::default(),
            objects: Ids::default(),
            making: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// Fails when the root folder is gone, or in the trash.
    pub(super) async fn present(&self) -> Result<(), DriveError> {
        self.must_be_there(&self.root).await
    }

    /// The one file at a path.
    pub(super) async fn find(&self, path: &Path) -> Result<Option<File>, DriveError> {
        if let Some(file) = self.remembered(path).await? {
            return Ok(Some(file));
        }
        let mut pauses = self.files.client.pauses_for_rivals();
        loop {
            let mut found = self.find_all(path).await?;
            if found.len() < 2 {
                return Ok(found.pop().inspect(|file| self.objects.put(path, &file.id)));
            }
            let error = ambiguous(path, &found);
            if !pauses.pause(&error).await {
                return Err(error);
            }
        }
    }

    /// Every file at a path. None only if the place where one would be is there.
    pub(super) async fn find_all(&self, path: &Path) -> Result<Vec<File>, DriveError> {
        match self.look_for(path).await {
            Err(error) if error.is_missing() => {
                self.folders.forget_all();
                self.look_for(path).await
            }
            done => done,
        }
    }

    async fn look_for(&self, path: &Path) -> Result<Vec<File>, DriveError> {
        let (folder, name) = split(path)?;
        let Some(folder) = self.folder(&folder).await? else {
            return Ok(Vec::new());
        };
        let mut found = self.children(&folder, Some(name)).await?;
        found.retain(File::is_object);
        if found.is_empty() {
            self.must_be_there(&folder).await?;
        }
        Ok(found)
    }

    /// What lies directly in a folder; nothing if there is no such folder.
    pub(super) async fn entries(&self, folder: &Path) -> Result<Entries, DriveError> {
        let mut pauses = self.files.client.pauses_for_rivals();
        loop {
            match self.look_into(folder).await {
                Err(error) if error.is_missing() => {
                    self.folders.forget_all();
                    return self.look_into(folder).await;
                }
                Err(error) if pauses.pause(&error).await => {}
                done => return done,
            }
        }
    }

    async fn look_into(&self, path: &Path) -> Result<Entries, DriveError> {
        let mut entries = Entries::default();
        let Some(folder) = self.folder(path).await? else {
            return Ok(entries);
        };
        let children = self.children(&folder, None).await?;
        if children.is_empty() {
            self.must_be_there(&folder).await?;
        }
        let mut seen: HashMap<Path, File> = HashMap::new();
        for child in children {
            // A name that can't be part of a path is nobody's that goes by paths.
            if let Ok(at) = Path::parse(format!("{path}/{}", child.name))
                && (child.is_folder() || child.is_object())
                && let Some(other) = seen.insert(at.clone(), child.clone())
            {
                return Err(ambiguous(&at, &[other, child]));
            }
        }
        for (at, child) in seen {
            if child.is_folder() {
                self.folders.put(&at, &child.id);
                entries.folders.push(at);
            } else {
                entries.objects.push((at, child));
            }
        }
        Ok(entries)
    }

    /// The id of the folder that a new file of this path goes into, made if it isn't there.
    pub(super) async fn parent_of(&self, path: &Path) -> Result<String, DriveError> {
        let (folder, _) = split(path)?;
        if let Some(id) = self.folder(&folder).await? {
            return Ok(id);
        }
        let _making = self.making.lock().await;
        let mut id = self.root.clone();
        let mut at = Path::default();
        for name in folder.parts() {
            at = at.join(name.clone());
            id = match self.folders.get(&at) {
                Some(id) => id,
                None => self.make(&id, name.as_ref(), &at).await?,
            };
        }
        Ok(id)
    }

    /// Forgets what was remembered of a path and its folders, after it turned out to be otherwise.
    pub(super) fn forget(&self, path: &Path) {
        self.objects.forget(path);
        self.folders.forget_all();
    }

    pub(super) fn forget_object(&self, path: &Path) {
        self.objects.forget(path);
    }

    /// The second look after a write: the file stays only if it is the oldest of its name, and not in the trash.
    pub(super) async fn settle(
        &self,
        path: &Path,
        parent: &str,
        file: File,
    ) -> Result<File, DriveError> {
        let (_, name) = split(path)?;
        if file.trashed {
            self.files.remove(&file.id).await?;
            self.forget(path);
            return Err(DriveError::Gone);
        }
        let others = self.children(parent, Some(name)).await?;
        let older = |other: &File| other.is_object() && other.seniority() < file.seniority();
        if others.iter().any(older) {
            self.files.remove(&file.id).await?;
            return Err(DriveError::Exists);
        }
        self.objects.put(path, &file.id);
        Ok(file)
    }

    /// Removes the folder that a path lies in, if nothing is in it: object stores know no folders, but people who look
    /// into their Drive see them. One that lies directly below the root is everybody's and stays.
    ///
    /// RACE: what somebody puts into it between the look and the removal goes with it. An execution's folder has one
    /// owner, whose uploads and deletions come one after the other.
    pub(super) async fn remove_if_empty(&self, path: &Path) -> Result<(), DriveError> {
        let (folder, _) = split(path)?;
        if folder.parts_count() < 2 {
            return Ok(());
        }
        let children = match self.folder(&folder).await {
            Ok(None) => return Ok(()),
            Ok(Some(id)) => self
                .files
                .children(&id, None)
                .await
                .map(|inside| (id, inside)),
            Err(error) => Err(error),
        };
        match children {
            Ok((id, inside)) if inside.is_empty() => {
                self.files.remove(&id).await?;
                self.folders.forget(&folder);
                Ok(())
            }
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    }

    async fn folder(&self, path: &Path) -> Result<Option<String>, DriveError> {
        let mut id = self.root.clone();
        let mut at = Path::default();
        for name in path.parts() {
            at = at.join(name.clone());
            let known = match self.folders.get(&at) {
                Some(known) => Some(known),
                None => self.subfolder(&id, name.as_ref(), &at).await?,
            };
            let Some(known) = known else {
                self.must_be_there(&id).await?;
                return Ok(None);
            };
            id = known;
        }
        Ok(Some(id))
    }

    async fn subfolder(
        &self,
        parent: &str,
        name: &str,
        at: &Path,
    ) -> Result<Option<String>, DriveError> {
        let mut pauses = self.files.client.pauses_for_rivals();
        loop {
            let mut found = self.children(parent, Some(name)).await?;
            found.retain(File::is_folder);
            if found.len() < 2 {
                let found = found.pop().map(|folder| folder.id);
                return Ok(found.inspect(|id| self.folders.put(at, id)));
            }
            let error = ambiguous(at, &found);
            if !pauses.pause(&error).await {
                return Err(error);
            }
        }
    }

    /// Makes a folder; one that is there by the time is as good. When an answer is lost, the next look tells what it was.
    async fn make(&self, parent: &str, name: &str, at: &Path) -> Result<String, DriveError> {
        let mut pauses = self.files.client.pauses();
        loop {
            if let Some(id) = self.subfolder(parent, name, at).await? {
                return Ok(id);
            }
            match self.files.create_folder(parent, name).await {
                Ok(made) => return self.settle_folder(parent, at, made).await,
                Err(error) if pauses.pause(&error).await => {}
                Err(error) => return Err(self.on_the_way(parent, error)),
            }
        }
    }

    /// The second look after a folder was made: of two makers both take the older one.
    async fn settle_folder(
        &self,
        parent: &str,
        at: &Path,
        made: File,
    ) -> Result<String, DriveError> {
        let mut all = self.children(parent, Some(&made.name)).await?;
        all.retain(File::is_folder);
        let oldest = all
            .into_iter()
            .min_by(|a, b| a.seniority().cmp(&b.seniority()));
        let id = match oldest {
            Some(other) if other.seniority() < made.seniority() => {
                if self.files.children(&made.id, None).await?.is_empty() {
                    self.files.remove(&made.id).await?;
                }
                other.id
            }
            _ => made.id,
        };
        self.folders.put(at, &id);
        Ok(id)
    }

    async fn remembered(&self, path: &Path) -> Result<Option<File>, DriveError> {
        let Some(id) = self.objects.get(path) else {
            return Ok(None);
        };
        let (folder, name) = split(path)?;
        if let (Some(file), Some(folder)) = (self.files.get(&id).await?, self.known(&folder))
            && file.name == name
            && file.lies_in(&folder)
        {
            return Ok(Some(file));
        }
        self.objects.forget(path);
        Ok(None)
    }

    fn known(&self, folder: &Path) -> Option<String> {
        if folder.is_root() {
            return Some(self.root.clone());
        }
        self.folders.get(folder)
    }

    async fn children(&self, folder: &str, name: Option<&str>) -> Result<Vec<File>, DriveError> {
        let found = self.files.children(folder, name).await;
        found.map_err(|error| self.on_the_way(folder, error))
    }

    /// A missing root is a missing storage; a missing folder below it is only stale knowledge.
    fn on_the_way(&self, folder: &str, error: DriveError) -> DriveError {
        match error.is_missing() {
            true if folder == self.root => self.no_root(),
            true => DriveError::Gone,
            false => error,
        }
    }

    async fn must_be_there(&self, folder: &str) -> Result<(), DriveError> {
        if folder == MY_DRIVE {
            return Ok(());
        }
        match self.files.get(folder).await? {
            Some(found) if !found.trashed => Ok(()),
            _ if folder == self.root => Err(self.no_root()),
            _ => Err(DriveError::Gone),
        }
    }

    fn no_root(&self) -> DriveError {
        DriveError::NoRoot {
            folder: self.root.clone(),
        }
    }
}

fn split(path: &Path) -> Result<(Path, &str), DriveError> {
    let name = path
        .filename()
        .ok_or(DriveError::BadConfig("an object needs a name"))?;
    Ok((path.parent().unwrap_or_default(), name))
}

fn ambiguous(path: &Path, files: &[File]) -> DriveError {
    DriveError::Ambiguous {
        path: path.to_string(),
        ids: files.iter().map(|file| file.id.clone()).collect(),
    }
}
