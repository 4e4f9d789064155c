//! `list`: what there is.

use std::path::Path;

use chrono::{DateTime, Local, Utc};
use kanbu_backup::{
    bytes::ByteSize,
    catalog::{self, ArtifactKind, ArtifactView, CopyState, Filter, Proof, Risk, rebuild},
    clock::{Clock, SystemClock},
    control::ControlDb,
    fault::Failure,
};
use serde_json::{Value, json};

use super::time;
use crate::{
    cli::{List, What},
    exit::Exit,
    output::Table,
    session::Session,
    wiring,
};

pub async fn run(args: List, session: &Session) -> Result<Exit, Failure> {
    if let Some(directory) = &args.from {
        return offline(directory, session).await;
    }
    let since = args
        .since
        .as_deref()
        .map(|text| time::since(text, SystemClock.now()))
        .transpose()?;
    let filter = Filter {
        kind: args.kind.map(kind),
        since,
        limit: Some(args.limit),
        // Whoever lost a backup must not have to ask for it.
        include_lost: true,
        ..Filter::default()
    };
    let artifacts = catalog::list(&session.control().await?, &filter).await?;
    session
        .out
        .document("backups", &artifacts, || table(&artifacts));
    Ok(Exit::Done)
}

pub(super) fn kind(what: What) -> ArtifactKind {
    match what {
        What::Database => ArtifactKind::Database,
        What::Source => ArtifactKind::Source,
    }
}

fn table(artifacts: &[ArtifactView]) -> String {
    if artifacts.is_empty() {
        return "no backups yet: `kanbu-backup backup database` makes the first one".to_owned();
    }
    let mut table =
        Table::new(&["ID", "WHEN", "SUBJECT", "SIZE", "PROOF", "COPIES", "LABEL"]).right(3);
    for artifact in artifacts {
        table.row([
            artifact.id.short(),
            local(artifact.created_at),
            artifact.subject.to_string(),
            ByteSize(artifact.stored_bytes).to_string(),
            proof(artifact),
            copies(artifact),
            note(artifact),
        ]);
    }
    let lost = artifacts.iter().filter(|a| a.risk() == Some(Risk::Lost));
    let lost = lost.map(|artifact| {
        format!(
            "\n✘ backup {} of {} is LOST: no good copy of it is left ({}). See `kanbu-backup show {0}`",
            artifact.id.short(),
            artifact.subject,
            artifact.ailments()
        )
    });
    format!("{}{}", table.text(), lost.collect::<String>())
}

fn proof(artifact: &ArtifactView) -> String {
    match artifact.proof {
        Proof::Lost => "LOST".to_owned(),
        Proof::Failed => "FAILED".to_owned(),
        proof => proof.to_string(),
    }
}

fn copies(artifact: &ArtifactView) -> String {
    let good = artifact
        .copies
        .iter()
        .filter(|copy| copy.state == CopyState::Stored)
        .count();
    let is_bad = artifact.copies.iter().any(|copy| copy.state.is_bad());
    let mark = if is_bad { " !" } else { "" };
    format!("{good}/{}{mark}", artifact.copies.len())
}

fn note(artifact: &ArtifactView) -> String {
    let pin = if artifact.pinned { "[pinned] " } else { "" };
    format!("{pin}{}", artifact.label.as_deref().unwrap_or_default())
}

/// An instant in the zone of whoever reads it.
pub(super) fn local(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local)
        .format("%Y-%m-%d %H:%M:%S %:z")
        .to_string()
}

/// What a directory says of itself, with no service anywhere.
async fn offline(directory: &Path, session: &Session) -> Result<Exit, Failure> {
    let storage = wiring::existing_directory(directory)?;
    let keyring = wiring::keyring(&session.config.encryption)?;
    let mut rows = Vec::new();
    for environment in wiring::environments(directory)? {
        let found = rebuild::scan(&storage, &environment, &keyring).await?;
        rows.extend(found.iter().map(row));
    }
    session
        .out
        .document("backups", &rows, || offline_table(&rows));
    Ok(Exit::Done)
}

fn row(found: &rebuild::FoundManifest) -> Value {
    let mut row = json!({
        "folder": found.folder,
        "copy": found.copy.as_str(),
        "seal": seal(&found.seal),
    });
    match &found.manifest {
        Ok(manifest) => {
            row["id"] = json!(manifest.artifact);
            row["created_at"] = json!(manifest.created_at);
            row["subject"] = json!(manifest.subject);
            row["stored_bytes"] = json!(manifest.envelope.bytes);
        }
        Err(error) => row["error"] = json!(error.to_string()),
    }
    row
}

fn seal(seal: &rebuild::Seal) -> &'static str {
    match seal {
        rebuild::Seal::Good => "sealed",
        rebuild::Seal::Absent => "not sealed",
        rebuild::Seal::Unchecked => "not checked: no key",
        rebuild::Seal::Refused(_) => "REFUSED",
    }
}

fn offline_table(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "no backups here".to_owned();
    }
    let mut table = Table::new(&["ID", "FOLDER", "SIZE", "COPY", "MANIFEST"]).right(2);
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or("–").to_owned();
        let id = row["id"]
            .as_str()
            .map_or("–", |id| &id[id.len().saturating_sub(8)..])
            .to_owned();
        let size = row["stored_bytes"]
            .as_u64()
            .map_or_else(|| "–".to_owned(), |n| ByteSize(n).to_string());
        table.row([id, text("folder"), size, text("copy"), text("seal")]);
    }
    table.text()
}

/// The backup that a person means: an id, the end of one, or `latest` of a kind.
pub(super) async fn meant(
    text: &str,
    which: Option<What>,
    db: &ControlDb,
) -> Result<ArtifactView, Failure> {
    let text = match (text, which) {
        ("latest", Some(What::Source)) => "latest-source",
        (text, _) => text,
    };
    let id = catalog::resolve(db, text).await?;
    let artifact = catalog::get(db, id).await?;
    artifact.ok_or_else(|| catalog::CatalogError::NotFound(id.to_string()).into())
}
