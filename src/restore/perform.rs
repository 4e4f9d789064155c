//! Carrying a restore out: see what would fail, check every byte, then fill something new.

use std::{path::Path, sync::Arc};

use serde_json::json;

use super::{DatabaseTarget, Destination, Origin, Parts, RestoreError, database::NewDatabase};
use crate::{
    archive,
    catalog::{self, Content, CopyCheck},
    control::ControlDb,
    crypto::Keyring,
    execution::{Effects, Lease, Phase, Warning},
    fault::{Failure, Fault},
    job::{Job, Verify, VerifyLevel},
    pg::dump::DumpFormat,
    pipeline,
};

/// Refuses what can be seen to fail before a byte is read. Changes nothing.
pub async fn preflight(
    origin: &Origin,
    destination: &Destination,
    target: Option<&DatabaseTarget>,
) -> Result<(), Failure> {
    plan(origin, destination, target).await.map(drop)
}

/// Restores `origin` into `destination`. What was half made when it fails is removed.
pub async fn perform(
    origin: Origin,
    destination: &Destination,
    parts: Parts<'_>,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let keyring = parts.keyring;
    let way = plan(&origin, destination, parts.target).await?;
    let backup = origin.backup.clone();
    let (origin, set_aside) = good_copy(origin, parts, lease).await?;
    lease.check().await?;
    let mut effects = match way {
        Way::Database(database) => database.make(origin, keyring, lease).await,
        Way::Directory(path) => into_directory(origin, path, keyring, lease).await,
    }?;
    if let (Some((artifact, subject)), false) = (backup, set_aside.is_empty()) {
        effects.follow_ups.push(Job::Verify(Verify {
            artifact: Some(artifact),
            level: VerifyLevel::Quick,
            repair: true,
            ..Verify::of(subject)
        }));
    }
    effects.warnings.extend(set_aside);
    Ok(effects)
}

/// The first copy of which every byte is right, and what is to be said of those that were tried before it.
async fn good_copy(
    mut origin: Origin,
    parts: Parts<'_>,
    lease: &Arc<Lease>,
) -> Result<(Origin, Vec<Warning>), Failure> {
    let mut set_aside = Vec::new();
    loop {
        lease.log(format!("checking every byte of {}", origin.describe()));
        let Err(failure) = check(&origin, parts.keyring, lease).await else {
            return Ok((origin, set_aside));
        };
        lease.stopped()?;
        let found_bad = origin.found_bad(&failure);
        let is_the_copys_own = found_bad.is_some() || failure.fault == Fault::Transient;
        note(found_bad, parts.catalog).await;
        let at = origin.describe();
        if !is_the_copys_own || !origin.fall_back() {
            return Err(failure);
        }
        let text = format!(
            "{at} can't be used ({failure}), and {} is taken instead",
            origin.describe()
        );
        lease.log(&text);
        set_aside.push(Warning {
            code: "restore.other_copy".to_owned(),
            text,
            degrades: false,
        });
    }
}

/// The row is what lists and repairs go by; a restore doesn't fail for its sake.
async fn note(found_bad: Option<CopyCheck>, catalog: Option<&ControlDb>) {
    let (Some(check), Some(db)) = (found_bad, catalog) else {
        return;
    };
    let (artifact, storage) = (check.artifact, check.storage.clone());
    tracing::error!(
        error.code = "copy.damaged", artifact.id = %artifact, storage.name = %storage,
        "a restore found a copy that can't be restored from"
    );
    if let Err(error) = catalog::note_checks(db, vec![check]).await {
        tracing::warn!(artifact.id = %artifact, %error, "the copy's row could not be marked");
    }
}

/// Where it goes, and with what.
enum Way<'a> {
    Database(NewDatabase<'a>),
    Directory(&'a Path),
}

async fn plan<'a>(
    origin: &Origin,
    destination: &'a Destination,
    target: Option<&'a DatabaseTarget>,
) -> Result<Way<'a>, Failure> {
    destination.require_fit(origin.content)?;
    match destination {
        Destination::Database { name, no_owner } => {
            let format = match origin.content {
                Content::PgDumpCustom => DumpFormat::Custom,
                Content::Sql | Content::Tar => DumpFormat::Plain,
            };
            let target = target.ok_or(RestoreError::NoTarget)?;
            let database = NewDatabase::plan(name, format, *no_owner, origin, target).await?;
            Ok(Way::Database(database))
        }
        Destination::Directory { path } => {
            archive::require_vacant(path)?;
            Ok(Way::Directory(path))
        }
    }
}

/// Every byte is read and found right before anything is created.
async fn check(origin: &Origin, keyring: &Keyring, lease: &Arc<Lease>) -> Result<(), Failure> {
    let watch = lease.watch(Phase::Check, origin.total());
    let read = pipeline::check(&origin.input, &origin.expected, keyring, watch).await?;
    if read.opened.is_some() {
        Ok(())
    } else {
        Err(RestoreError::NoKey(origin.describe()).into())
    }
}

async fn into_directory(
    origin: Origin,
    path: &Path,
    keyring: &Keyring,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let watch = lease.watch(Phase::Unpack, origin.total());
    let feed = pipeline::open(origin.input, origin.expected, keyring.clone(), watch).await?;
    let report = archive::unpack(feed, path, lease.cancelled().clone()).await?;
    lease.log(format!(
        "unpacked {} files into {}",
        report.files,
        path.display()
    ));
    let owners = (!report.owners_kept).then(|| Warning {
        code: "restore.owners".to_owned(),
        text: "the files belong to the user that restored them: only root can give files away"
            .to_owned(),
        degrades: false,
    });
    Ok(Effects {
        warnings: owners.into_iter().collect(),
        result: json!({ "directory": path, "files": report.files, "bytes": report.bytes }),
        bytes_out: report.bytes,
        ..Effects::default()
    })
}
