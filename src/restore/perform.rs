//! Carrying a restore out: see what would fail, check every byte, then fill something new.

use std::{path::Path, sync::Arc};

use serde_json::json;

use super::{DatabaseTarget, Destination, Origin, Parts, RestoreError, database::NewDatabase};
use crate::{
    archive,
    catalog::Content,
    crypto::Keyring,
    execution::{Effects, Lease, Phase, Warning},
    fault::Failure,
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
    Parts { target, keyring }: Parts<'_>,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let way = plan(&origin, destination, target).await?;
    lease.log(format!("checking every byte of {}", origin.describe()));
    check(&origin, keyring, lease).await?;
    lease.check().await?;
    match way {
        Way::Database(database) => database.make(origin, keyring, lease).await,
        Way::Directory(path) => into_directory(origin, path, keyring, lease).await,
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
