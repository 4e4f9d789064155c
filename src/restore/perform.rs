//! Carrying a restore out: see what would fail, check every byte, then fill something new.

use std::{path::Path, sync::Arc};

use serde_json::json;

use super::{
    Destination, Origin, Parts, Plan, RestoreError,
    database::{Differing, Made, NewDatabase, Terms},
    plan::plan,
    right::Right,
};
use crate::{
    archive,
    catalog::{self, Content, CopyCheck},
    control::ControlDb,
    crypto::Keyring,
    execution::{Effects, Lease, Phase, Warning},
    fault::{Failure, Fault},
    id::ArtifactId,
    job::{Job, Subject, Verify, VerifyLevel},
    pg::dump::DumpFormat,
    pipeline,
};

/// Refuses what can be seen to fail before a byte is read. Changes nothing.
pub async fn preflight(
    origin: &Origin,
    destination: &Destination,
    parts: Parts<'_>,
) -> Result<Plan, Failure> {
    let plan = plan(origin, destination, parts).await;
    plan.require()?;
    Ok(plan)
}

/// Restores `origin` into `destination`, which is new. What was half made when it fails is removed.
pub async fn perform(
    origin: Origin,
    destination: &Destination,
    parts: Parts<'_>,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    fill(origin, destination, Differing::Dropped, parts, lease).await
}

/// The same, but a database that differs from what was backed up stays, to be looked at.
pub async fn perform_and_keep(
    origin: Origin,
    destination: &Destination,
    parts: Parts<'_>,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    fill(origin, destination, Differing::Kept, parts, lease).await
}

/// The same for somebody who compares what came of it for himself.
pub async fn perform_unjudged(
    origin: Origin,
    destination: &Destination,
    parts: Parts<'_>,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    fill(origin, destination, Differing::Unjudged, parts, lease).await
}

async fn fill(
    origin: Origin,
    destination: &Destination,
    differing: Differing,
    parts: Parts<'_>,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    match destination {
        Destination::Database { name, no_owner } => {
            let terms = Terms {
                no_owner: *no_owner,
                differing,
                replaces: false,
            };
            Box::pin(into_database(origin, name, terms, parts, lease)).await
        }
        Destination::Directory { path } => {
            preflight(&origin, destination, parts).await?;
            let backup = origin.backup.clone();
            let (origin, aside) = good_copy(origin, parts, lease).await?;
            lease.check().await?;
            let mut effects = into_directory(origin, path, parts.keyring, lease).await?;
            followed_up(&mut effects, backup, aside);
            Ok(effects)
        }
        Destination::Live { name, .. } => Err(RestoreError::NotConfirmed(name.clone()).into()),
    }
}

async fn into_database(
    origin: Origin,
    name: &str,
    terms: Terms,
    parts: Parts<'_>,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let destination = Destination::Database {
        name: name.to_owned(),
        no_owner: terms.no_owner,
    };
    destination.require_fit(origin.content)?;
    let target = parts.target.ok_or(RestoreError::NoTarget)?;
    let right = Right::take(&target.cluster, name, parts.catalog, lease).await?;
    let plan = preflight(&origin, &destination, parts).await?;
    let format = format_of(origin.content);
    let database = NewDatabase::plan(name.to_owned(), format, terms, &origin, target).await?;
    let backup = origin.backup.clone();
    let (made, aside) = made_of_good_copy(database, origin, parts, &right).await?;
    let mut effects = made.effects(&right);
    followed_up(&mut effects, backup, aside);
    effects.warnings.extend(plan.warnings());
    right.guard.release().await;
    Ok(effects)
}

pub(super) fn format_of(content: Content) -> DumpFormat {
    match content {
        Content::PgDumpCustom => DumpFormat::Custom,
        Content::Sql | Content::Tar => DumpFormat::Plain,
    }
}

/// Copies that could not be used are mended by a job of their own.
pub(super) fn followed_up(
    effects: &mut Effects,
    backup: Option<(ArtifactId, Subject)>,
    aside: Vec<Warning>,
) {
    if let (Some((artifact, subject)), false) = (backup, aside.is_empty()) {
        effects.follow_ups.push(Job::Verify(Verify {
            artifact: Some(artifact),
            level: VerifyLevel::Quick,
            repair: true,
            ..Verify::of(subject)
        }));
    }
    effects.warnings.extend(aside);
}

/// A new database out of the first copy of which every byte is right, and what is to be said of those that were tried
/// before it.
pub(super) async fn made_of_good_copy(
    database: NewDatabase<'_>,
    mut origin: Origin,
    parts: Parts<'_>,
    right: &Right,
) -> Result<(Made, Vec<Warning>), Failure> {
    if !origin.is_checked_while_loaded() {
        let (origin, aside) = good_copy(origin, parts, &right.lease).await?;
        right.check().await?;
        let made = database.make(&origin, parts.keyring, right).await?;
        return Ok((made, aside));
    }
    let mut aside = Vec::new();
    loop {
        right.check().await?;
        match database.make(&origin, parts.keyring, right).await {
            Ok(made) => return Ok((made, aside)),
            // It says what became of the half-made database, too.
            Err(failure) if right.stopped().is_err() => return Err(failure),
            Err(failure) => aside.push(set_aside(&mut origin, failure, parts, &right.lease).await?),
        }
    }
}

/// The first copy of which every byte is right, and what is to be said of those that were tried before it.
async fn good_copy(
    mut origin: Origin,
    parts: Parts<'_>,
    lease: &Arc<Lease>,
) -> Result<(Origin, Vec<Warning>), Failure> {
    let mut aside = Vec::new();
    loop {
        lease.log(format!("checking every byte of {}", origin.describe()));
        match check(&origin, parts.keyring, lease).await {
            Ok(()) => return Ok((origin, aside)),
            Err(failure) => aside.push(set_aside(&mut origin, failure, parts, lease).await?),
        }
    }
}

/// Whether the failure speaks of the way to the bytes of a copy, so that another may have a better one.
fn could_not_be_read(failure: &Failure) -> bool {
    let of_the_way = |(family, _): (&str, &str)| matches!(family, "storage" | "pipeline");
    failure.fault == Fault::Transient && failure.code.split_once('.').is_some_and(of_the_way)
}

/// Goes on with the next copy, if this one is to blame for the failure and there is another.
async fn set_aside(
    origin: &mut Origin,
    failure: Failure,
    parts: Parts<'_>,
    lease: &Lease,
) -> Result<Warning, Failure> {
    lease.stopped()?;
    let found_bad = origin.found_bad(&failure);
    let is_the_copys_own = found_bad.is_some() || could_not_be_read(&failure);
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
    Ok(Warning {
        code: "restore.other_copy".to_owned(),
        text,
        degrades: false,
    })
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
