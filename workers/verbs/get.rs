//! `get ID`: a backup as a file, as it is stored or decrypted.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use kanbu_backup::{
    catalog::{
        ArtifactView, Compression, Content, EnvelopeFormat, KeptGlobals, Manifest, object_name,
    },
    execution::{Lease, Phase, Total},
    fault::Failure,
    pipeline::{self, Expected, Input, Message},
    restore::Origin,
};

use super::list;
use crate::{cli::Get, exit::Exit, output::sink, session::Session, wiring};

pub async fn run(args: Get, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let artifact = list::meant(&args.id, args.kind, &db).await?;
    let manifest = artifact.manifest()?;
    if args.globals {
        return globals(&args, &manifest, session).await;
    }
    let storages = wiring::storages(&session.config.storage)?;
    let origin = Origin::of_artifact(artifact.id, args.storage.as_deref(), &storages, &db).await?;
    let keyring = wiring::keyring(&session.config.encryption)?;
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| name(&artifact, &manifest, args.decrypt));
    let expected = if args.decrypt {
        origin.expected
    } else {
        as_stored(&manifest)
    };
    let watch =
        Arc::new(Lease::unattended()).watch(Phase::Check, expected.stored_bytes.map(Total::Known));
    let feed = pipeline::open(bare(origin.input, args.decrypt), expected, keyring, watch).await?;
    sink::deliver(feed, &output, session.out).await?;
    Ok(Exit::Done)
}

/// The text that lies in the manifest.
async fn globals(args: &Get, manifest: &Manifest, session: &Session) -> Result<Exit, Failure> {
    let sql = read_globals(manifest, session).await?;
    let (sender, feed) = pipeline::feed();
    let sending = async {
        // Whoever stops to listen says why itself.
        let _ = sender.send(Message::Data(sql.into())).await;
        let _ = sender.send(Message::End).await;
    };
    let output = args.output.as_deref().unwrap_or(Path::new("-"));
    let (delivered, ()) = tokio::join!(sink::deliver(feed, output, session.out), sending);
    delivered.map(|()| Exit::Done)
}

/// The SQL of the roles and tablespaces beside a backup.
pub(super) async fn read_globals(
    manifest: &Manifest,
    session: &Session,
) -> Result<String, Failure> {
    let keyring = wiring::keyring(&session.config.encryption)?;
    let kept = KeptGlobals::of(manifest)?;
    // Deriving a passphrase's key is long and pure work.
    let opening = tokio::task::spawn_blocking(move || kept.open(&keyring));
    let opened = opening.await.map_err(|_| Failure::cancelled())?;
    Ok(opened?)
}

/// The object byte for byte; its hash is compared all the same.
fn as_stored(manifest: &Manifest) -> Expected {
    Expected::opaque(manifest.envelope.bytes, manifest.stored_sha256)
}

fn bare(input: Input, opened: bool) -> Input {
    match input {
        Input::Object { storage, key, .. } if !opened => Input::Object {
            storage,
            key,
            sidecar: None,
        },
        other => other,
    }
}

/// `kanbu-2026-11-22T02-00-00Z-7f3a….kbk`, or what is inside of it.
fn name(artifact: &ArtifactView, manifest: &Manifest, opened: bool) -> PathBuf {
    let stored = if opened {
        object_name(artifact.content, Compression::None, EnvelopeFormat::None)
    } else {
        object_name(
            artifact.content,
            artifact.compression,
            manifest.envelope.format,
        )
    };
    let suffix = stored.split_once('.').map_or("", |(_, suffix)| suffix);
    let what = match artifact.content {
        Content::Tar => "source",
        Content::PgDumpCustom | Content::Sql => "database",
    };
    let subject: String = artifact
        .subject
        .name()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    format!(
        "{what}-{subject}-{}-{}.{suffix}",
        artifact.folder.stamp_text(),
        artifact.id.short()
    )
    .into()
}
