//! Carrying a restore out: check, create, load, count.

use std::{path::Path, sync::Arc};

use serde_json::json;

use super::{DatabaseTarget, Destination, Origin, Parts, RestoreError};
use crate::{
    archive,
    bytes::ByteSize,
    catalog::Content,
    crypto::Keyring,
    execution::{Effects, Lease, Phase, Warning},
    fault::Failure,
    pg::{
        cluster::Cluster,
        dump::DumpFormat,
        restore::{self as pg, LoadOptions, TableCount},
        tools::choose_client,
    },
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
    Parts { target, keyring }: Parts<'_>,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    preflight(&origin, destination, target).await?;
    lease.log(format!("checking every byte of {}", origin.describe()));
    check(&origin, keyring, lease).await?;
    lease.check().await?;
    match destination {
        Destination::Database { name, no_owner } => {
            let target = target.ok_or(RestoreError::NoTarget)?;
            into_database(origin, name, *no_owner, (target, keyring), lease).await
        }
        Destination::Directory { path } => into_directory(origin, path, keyring, lease).await,
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

/// Creates the database, fills it, counts it; whatever fails, nothing half made stays.
async fn into_database(
    origin: Origin,
    name: &str,
    no_owner: bool,
    (target, keyring): (&DatabaseTarget, &Keyring),
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let shape = origin
        .server
        .as_ref()
        .map(|server| server.shape.clone())
        .unwrap_or_default();
    let cluster = &target.cluster;
    let mut differences = pg::create_database(cluster, name, &shape, lease.execution()).await?;
    lease.log(format!("created database {name}"));
    let filled = async {
        load(origin, name, no_owner, (target, keyring), lease).await?;
        if !no_owner {
            differences.extend(pg::give_properties(cluster, name, &shape).await?);
        }
        Ok(pg::table_counts(cluster, name).await?)
    };
    match filled.await {
        Ok(counts) => Ok(counted(name, &counts, differences, lease)),
        Err(failure) => Err(dropped(failure, cluster, name, lease).await),
    }
}

fn counted(name: &str, counts: &[TableCount], differences: Vec<String>, lease: &Lease) -> Effects {
    let rows: u64 = counts.iter().map(|count| count.rows).sum();
    lease.log(format!("{} tables, {rows} rows in {name}", counts.len()));
    let warnings = differences
        .into_iter()
        .map(|text| Warning {
            code: "restore.difference".to_owned(),
            text,
            degrades: false,
        })
        .collect();
    let result =
        json!({ "database": name, "tables": counts.len(), "rows": rows, "counts": counts });
    Effects {
        warnings,
        result,
        ..Effects::default()
    }
}

async fn load(
    origin: Origin,
    name: &str,
    no_owner: bool,
    (target, keyring): (&DatabaseTarget, &Keyring),
    lease: &Arc<Lease>,
) -> Result<(), Failure> {
    let format = match origin.content {
        Content::PgDumpCustom => DumpFormat::Custom,
        Content::Sql | Content::Tar => DumpFormat::Plain,
    };
    let DatabaseTarget { cluster, toolsets } = target;
    let tools = choose_client(toolsets, newest_major(&origin, cluster).await?)?;
    let watch = lease.watch(Phase::Load, origin.total());
    let feed = pipeline::open(origin.input, origin.expected, keyring.clone(), watch).await?;
    let options = LoadOptions {
        format,
        no_owner,
        execution: lease.execution(),
    };
    let cancel = lease.cancelled().clone();
    let report = pg::load(tools, cluster, name, options, feed, cancel).await?;
    lease.log(format!("loaded {}", ByteSize(report.bytes)));
    Ok(())
}

/// The tools must be as new as both servers: the one that was dumped and the one that is filled.
async fn newest_major(origin: &Origin, cluster: &Cluster) -> Result<u32, Failure> {
    let target = cluster.facts().await?.major();
    Ok(origin
        .server
        .as_ref()
        .map_or(target, |dumped| dumped.major().max(target)))
}

/// If even dropping fails, both reasons are told.
async fn dropped(failure: Failure, cluster: &Cluster, name: &str, lease: &Lease) -> Failure {
    match pg::drop_database(cluster, name, lease.execution()).await {
        Ok(()) => {
            lease.log(format!("dropped the half-made database {name}"));
            failure
        }
        Err(error) => {
            let still_there = format!("the half-made database {name} is still there: {error}");
            Failure {
                message: format!("{}; {still_there}", failure.message),
                ..failure
            }
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
    lease.log(format!(
        "unpacked {} files into {}",
        report.files,
        path.display()
    ));
    let result = json!({ "directory": path, "files": report.files, "bytes": report.bytes });
    Ok(Effects {
        result,
        ..Effects::default()
    })
}
