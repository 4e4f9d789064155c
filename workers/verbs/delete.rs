//! `delete`: decided in the catalog, then performed on every storage, the manifest first.

use kanbu_backup::{
    bytes::ByteSize,
    catalog::{self, ArtifactView},
    control::ControlDb,
    fault::Failure,
    storage::Storage,
};
use serde_json::json;

use super::{VerbError, list};
use crate::{cli::Delete, exit::Exit, output::Output, session::Session, wiring};

pub async fn run(args: Delete, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let mut artifacts = Vec::new();
    for id in &args.ids {
        artifacts.push(list::meant(id, None, &db).await?);
    }
    if args.dry_run || !args.yes {
        return look(&artifacts, args.dry_run, session);
    }
    let storages = wiring::storages(&session.config.storage)?;
    let by = By {
        args: &args,
        storages: &storages,
        db: &db,
    };
    let pending = if let [only] = artifacts.as_slice() {
        delete(only, by, session.out).await?
    } else {
        let mut pending = 0;
        for artifact in &artifacts {
            pending += delete(artifact, by, session.out.part()).await?;
        }
        let count = artifacts.len();
        session.out.result(
            json!({ "artifacts": count, "pending": pending }),
            &format!("deleted {count} backups"),
        );
        pending
    };
    Ok(if pending == 0 {
        Exit::Done
    } else {
        Exit::Findings
    })
}

fn look(artifacts: &[ArtifactView], dry_run: bool, session: &Session) -> Result<Exit, Failure> {
    let names: Vec<_> = artifacts.iter().map(describe).collect();
    if !dry_run {
        return Err(VerbError::NotConfirmed(names.join(", ")).into());
    }
    session.out.document("plan", &names, || {
        format!("would delete {}", names.join(", "))
    });
    Ok(Exit::Done)
}

fn describe(artifact: &ArtifactView) -> String {
    let ArtifactView {
        id,
        subject,
        stored_bytes,
        created_at,
        ..
    } = artifact;
    format!(
        "{} ({subject}, {}, {})",
        id.short(),
        list::local(*created_at),
        ByteSize(*stored_bytes)
    )
}

/// What a deletion is done with.
#[derive(Clone, Copy)]
struct By<'a> {
    args: &'a Delete,
    storages: &'a [Storage],
    db: &'a ControlDb,
}

/// Returns how many copies could not be deleted yet: they stay written down and are tried again by the next deletion.
async fn delete(
    artifact: &ArtifactView,
    By { args, storages, db }: By<'_>,
    out: Output,
) -> Result<usize, Failure> {
    let reason = args.reason.as_deref().unwrap_or("deleted by hand");
    let deletions =
        catalog::decide_deletion(db, artifact.id, "cli", reason, args.force_last).await?;
    let mut pending = 0;
    for deletion in &deletions {
        let storage = storages
            .iter()
            .find(|storage| *storage.name() == deletion.storage);
        let deleted = match storage {
            Some(storage) => catalog::perform_deletion(db, deletion, storage)
                .await
                .map_err(Failure::from),
            None => Err(VerbError::Unusable(format!(
                "storage {} is not configured",
                deletion.storage
            ))
            .into()),
        };
        if let Err(failure) = deleted {
            pending += 1;
            out.warning(
                &failure.code,
                &format!("still on {}: {failure}", deletion.storage),
            );
        }
    }
    let text = format!(
        "deleted {} from {} of {} storages",
        describe(artifact),
        deletions.len() - pending,
        deletions.len()
    );
    out.result(
        json!({ "artifact": artifact.id, "pending": pending }),
        &text,
    );
    Ok(pending)
}
