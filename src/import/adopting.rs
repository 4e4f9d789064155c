//! A file becomes a backup: copied, read back, described, entered.
//!
//! The original is only read. The manifest is written last, so that whatever breaks before leaves debris and no backup;
//! what breaks after it leaves a backup that the next import of the same file finds (`stranded`).

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{task::spawn_blocking, time::timeout};

use super::{Deps, Examined, ImportError, Stranded, examine::unwatched};
use crate::{
    catalog::{
        self, BackupOrigin, Compression, CopyState, EnvelopeFacts, EnvelopeFormat, Manifest,
        NewArtifact, NewCopy,
    },
    crypto::Keyring,
    execution::unless_stalled,
    fault::Failure,
    id::{ArtifactId, ExecutionId, JobId},
    pipeline::{
        self, CHUNK_BYTES, CompressionSpec, Expected, Feed, FeedSender, Input, Message, Opened,
        PipelineError, Recipe, Seal, Target,
    },
    storage::{Storage, StorageError},
};

const WRITER: &str = concat!("kanbu-backup ", env!("CARGO_PKG_VERSION"));

/// Labels are one line of so many bytes.
const MOST_LABEL_BYTES: usize = 200;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    New(ArtifactId),
    /// A backup with the same bytes was there.
    Known(ArtifactId),
}

/// Takes a file in. A failure is the file's own if its code begins with `import.`; any other is the storage's or the
/// catalog's, and the next file would meet it too.
pub async fn adopt(
    examined: &Examined,
    stranded: &mut Stranded,
    deps: &Deps,
) -> Result<Adopted, Failure> {
    let hash = examined.read.stored_sha256;
    if let Some(known) = catalog::adopt::by_hash(&deps.catalog, hash).await? {
        return Ok(Adopted::Known(known));
    }
    if let Some((manifest, text)) = stranded.find(examined, deps).await? {
        return enter(&manifest, text, deps).await;
    }
    let (manifest, text) = describe(examined, deps, deps.clock.now())?;
    if let Err(failure) = store(examined, &manifest, &text, deps).await {
        // Best effort: the sweep takes what is left.
        let _ = deps.storage.delete_folder(&manifest.folder()).await;
        return Err(failure);
    }
    let folder = manifest.folder();
    let entered = enter(&manifest, text, deps).await?;
    if let Adopted::Known(_) = entered {
        deps.storage.delete_folder(&folder).await?;
    }
    Ok(entered)
}

async fn enter(manifest: &Manifest, text: String, deps: &Deps) -> Result<Adopted, Failure> {
    let artifact = NewArtifact::from_manifest(manifest, text);
    let copy = NewCopy {
        storage: deps.storage.name().clone(),
        state: CopyState::Stored,
        error: None,
        checked_at: None,
    };
    let known = catalog::adopt::enter(&deps.catalog, &artifact, &copy).await?;
    Ok(known.map_or(Adopted::New(artifact.id), Adopted::Known))
}

/// The ids are of nobody's job and execution: what a backup of ours is called, and where it lies, is made of them.
fn describe(
    examined: &Examined,
    deps: &Deps,
    now: DateTime<Utc>,
) -> Result<(Manifest, String), Failure> {
    let read = &examined.read;
    let opened = read.opened.as_ref().ok_or(ImportError::NoKey)?;
    let name = examined
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let manifest = Manifest {
        artifact: ArtifactId::new(),
        execution: ExecutionId::new(),
        job: JobId::new(),
        kind: examined.content.kind(),
        subject: examined.subject.clone(),
        environment: deps.environment.clone(),
        created_at: examined.created_at,
        label: Some(label(&name)),
        pinned: false,
        origin: BackupOrigin::default(),
        writer: WRITER.to_owned(),
        content: examined.content,
        compression: compression(opened),
        content_bytes: opened.content_bytes,
        stored_sha256: read.stored_sha256,
        source: json!({
            "imported": {
                "from": examined.path.to_string_lossy(),
                "modified_at": examined.modified_at,
                "imported_at": now,
            },
            "server_version": examined.header.as_ref().map(|header| &header.server_version),
            "client_version": examined.header.as_ref().map(|header| &header.client_version),
        }),
        warnings: Vec::new(),
        envelope: EnvelopeFacts {
            format: examined.envelope,
            bytes: read.stored_bytes,
            payload_bytes: opened.payload_bytes,
            payload_sha256: opened.payload_sha256,
            generation: opened.generation,
        },
        key_id: examined.key_id,
    };
    let sealed = examined.envelope == EnvelopeFormat::Kbk2;
    let key = opened.manifest_key.as_ref().filter(|_| sealed);
    let text = manifest.render(key)?;
    Ok((manifest, text))
}

fn compression(opened: &Opened) -> Compression {
    match opened.compression {
        pipeline::Compression::Zstd => Compression::Zstd,
        pipeline::Compression::Gzip => Compression::Gzip,
        pipeline::Compression::None => Compression::None,
    }
}

fn label(name: &str) -> String {
    let clean = name.replace(char::is_control, "?");
    let mut label = format!("imported from {clean}");
    label.truncate(label.floor_char_boundary(MOST_LABEL_BYTES));
    label
}

async fn store(
    examined: &Examined,
    manifest: &Manifest,
    text: &str,
    deps: &Deps,
) -> Result<(), Failure> {
    let key = manifest.data_key();
    let target = Target {
        storage: deps.storage.clone(),
        key: key.clone(),
    };
    let mut recipe = Recipe::new(CompressionSpec::None, Seal::Off);
    recipe.limits.stall_timeout = deps.patience;
    recipe.limits.part_growth = pipeline::PartGrowth::for_stores(
        deps.storage.capabilities().parts,
        Some(examined.read.stored_bytes),
    );
    let file = same_bytes(&examined.path, examined.read.stored_sha256);
    let written = pipeline::write(file, recipe, vec![target], unwatched()).await?;
    let mut ends = written.ends.into_iter();
    ends.try_for_each(|end| end.result)?;
    let input = Input::Object {
        storage: deps.storage.clone(),
        key,
        sidecar: None,
    };
    let expected = Expected::opaque(examined.read.stored_bytes, examined.read.stored_sha256);
    let keyless = Keyring::new(None, Vec::new());
    let read = unless_stalled(unwatched(), deps.patience, |watch| {
        pipeline::check(&input, &expected, &keyless, watch)
    });
    read.await.unwrap_or_else(|| Err(stalled(deps)))?;
    put_manifest(manifest, text, &deps.storage, deps).await
}

/// A request that failed for us may have been done all the same.
async fn put_manifest(
    manifest: &Manifest,
    text: &str,
    storage: &Storage,
    deps: &Deps,
) -> Result<(), Failure> {
    let key = manifest.manifest_key();
    let put = storage.put_new(&key, Bytes::from(text.to_owned()));
    match timeout(deps.patience, put).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(StorageError::AlreadyExists { .. })) => {
            let there = storage.read_small(&key, text.len() as u64).await?;
            let is_ours = there == text.as_bytes();
            is_ours
                .then_some(())
                .ok_or_else(|| ImportError::Changed.into())
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(stalled(deps)),
    }
}

fn stalled(deps: &Deps) -> Failure {
    let error = PipelineError::Stalled {
        storage: deps.storage.name().clone(),
        seconds: deps.patience.as_secs(),
    };
    error.into()
}

/// The file's bytes, whose end is said only if they are those that were examined.
fn same_bytes(path: &Path, sha256: [u8; 32]) -> Feed {
    let (sender, feed) = pipeline::feed();
    let path = path.to_owned();
    spawn_blocking(move || {
        let end = match send(&path, &sender) {
            Ok(Some(read)) if read == sha256 => Message::End,
            Ok(Some(_)) => Message::Fail(ImportError::Changed.into()),
            Ok(None) => return,
            Err(source) => Message::Fail(ImportError::Unreadable { path, source }.into()),
        };
        // Nobody listens any more if this fails.
        drop(sender.blocking_send(end));
    });
    feed
}

/// The hash of what was sent; none if nobody listens any more.
fn send(path: &PathBuf, sender: &FeedSender) -> std::io::Result<Option<[u8; 32]>> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(hash.finalize().into())),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        hash.update(&buffer[..count]);
        let data = Message::Data(Bytes::copy_from_slice(&buffer[..count]));
        if sender.blocking_send(data).is_err() {
            return Ok(None);
        }
    }
}
