//! Carrying a restore out: check, create, load, count.

use std::sync::Arc;

use std::path::Path;

use serde_json::json;

use super::{DatabaseTarget, Deps, Destination, Origin, RestoreError};
use crate::{
    archive,
    catalog::Content,
    crypto::Keyring,
    execution::{Effects, Lease, Phase},
    fault::Failure,
    pg::{self, DumpFormat, LoadOptions},
    pipeline,
};

/// Refuses what can be seen to fail before a byte is read. Changes nothing.
pub async fn preflight(
    origin: &Origin,
    destination: &Destination,
    target: Option<&DatabaseTarget>,
) -> Result<(), Failure> {
    destination.require_fit(origin.content)?;
    match destination {
        Destination::Database { name, .. } => {
            let target = target.ok_or(RestoreError::NoTarget)?;
            pg::require_absent(&target.cluster, name).await?;
        }
        Destination::Directory { path } => archive::require_vacant(path)?,
    }
    Ok(())
}

/// Restores `origin` into `destination`. What was half made when it fails is removed.
pub async fn perform(
    origin: Origin,
    destination: &Destination,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    preflight(&origin, destination, deps.target.as_ref()).await?;
    lease.log(format!("checking every byte of {}", origin.describe()));
    check(&origin, &deps.keyring, lease).await?;
    lease.check().await?;
    let effects = match destination {
        Destination::Database { name, no_owner } => {
            let target = deps.target.as_ref().ok_or(RestoreError::NoTarget)?;
            let options = LoadOptions { no_owner: *no_owner };
            into_database(origin, name, options, (target, &deps.keyring), lease).await?
        }
        Destination::Directory { path } => into_directory(origin, path, &deps.keyring, lease).await?,
    };
    Ok(effects)
}

/// Every byte is read and found right before anything is created.
async fn check(origin: &Origin, keyring: &Keyring, lease: &Arc<Lease>) -> Result<(), Failure> {
    let watch = lease.watch(Phase::Check, origin.total());
    let read = pipeline::check(&origin.input, &origin.expected, keyring, watch).await?;
    if read.opened.is_some() { Ok(()) } else { Err(RestoreError::NoKey(origin.describe()).into()) }
}

async fn into_database(
    origin: Origin,
    name: &str,
    options: LoadOptions,
    (target, keyring): (&DatabaseTarget, &Keyring),
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let DatabaseTarget { cluster, toolsets } = target;
    pg::create_database(cluster, name, lease.execution()).await?;
    lease.log(format!("created database {name}"));
    let loaded = load(origin, name, options, (target, keyring), lease).await;
    let counts = match loaded {
        Ok(()) => pg::table_counts(cluster, name).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    match counts {
        Ok(counts) => {
            let rows: u64 = counts.iter().map(|count| count.rows).sum();
            lease.log(format!("{} tables, {rows} rows in {name}", counts.len()));
            Ok(reported(json!({ "database": name, "tables": counts.len(), "rows": rows, "counts": counts })))
        }
        Err(failure) => Err(dropped(failure, cluster, name, lease).await),
    }
}

async fn load(
    origin: Origin,
    name: &str,
    options: LoadOptions,
    (target, keyring): (&DatabaseTarget, &Keyring),
    lease: &Arc<Lease>,
) -> Result<(), Failure> {
    let format = match origin.content {
        Content::PgDumpCustom => DumpFormat::Custom,
        Content::Sql | Content::Tar => DumpFormat::Plain,
    };
    let watch = lease.watch(Phase::Load, origin.total());
    let feed = pipeline::open(origin.input, origin.expected, keyring.clone(), watch).await?;
    let DatabaseTarget { cluster, toolsets } = target;
    let database = cluster.with_database(name);
    let load = pg::load(toolsets, &database, format, options, feed, lease.cancelled().clone());
    let report = load.await?;
    lease.log(format!("loaded {} bytes", report.bytes));
    Ok(())
}

/// Nothing half made stays; if even dropping fails, both reasons are told.
async fn dropped(failure: Failure, cluster: &pg::Cluster, name: &str, lease: &Arc<Lease>) -> Failure {
    match pg::drop_database(cluster, name).await {
        Ok(()) => {
            lease.log(format!("dropped the half-made database {name}"));
            failure
        }
        Err(error) => {
            let message = format!("{}; the half-made database {name} is still there: {error}", failure.message);
            Failure { message, ..failure }
        }
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
    lease.log(format!("unpacked {} files into {}", report.files, path.display()));
    Ok(reported(json!({ "directory": path, "files": report.files, "bytes": report.bytes })))
}

fn reported(result: serde_json::Value) -> Effects {
    Effects { result, ..Effects::default() }
}
