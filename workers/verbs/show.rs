//! `show ID`: everything that is known of one backup.

use kanbu_backup::{
    bytes::ByteSize,
    catalog::{self, ArtifactView, Manifest, ProofView, ProofWeight},
    fault::Failure,
};
use serde_json::json;

use super::list;
use crate::{exit::Exit, output::Table, session::Session};

/// Test restores that are shown, the newest first.
const MOST_PROOFS: u32 = 5;

pub async fn run(id: &str, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let artifact = list::meant(id, None, &db).await?;
    let manifest = artifact.manifest()?;
    let proofs = catalog::proofs(&db, artifact.id, MOST_PROOFS).await?;
    let document = json!({ "backup": artifact, "manifest": manifest, "test_restores": proofs });
    session.out.document("detail", &document, || {
        format!("{}{}", text(&artifact, &manifest), restored(&proofs))
    });
    Ok(Exit::Done)
}

fn text(artifact: &ArtifactView, manifest: &Manifest) -> String {
    let mut table = Table::new(&["backup", &artifact.id.to_string()]);
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    line("subject", artifact.subject.to_string());
    line("made", list::local(artifact.created_at));
    line("made for", artifact.origin.to_string());
    line("proof", artifact.proof.to_string());
    if let Some(last) = artifact.test_restore.filter(|last| last.is_good) {
        line(
            "recovery time",
            format!("{:.1} s, as measured", last.seconds),
        );
    }
    line(
        "label",
        artifact.label.clone().unwrap_or_else(|| "–".to_owned()),
    );
    line(
        "pinned",
        if artifact.pinned { "yes" } else { "no" }.to_owned(),
    );
    line(
        "content",
        format!("{}, {}", artifact.content, ByteSize(artifact.content_bytes)),
    );
    line(
        "compressed",
        format!(
            "{}, {}",
            artifact.compression,
            ByteSize(artifact.payload_bytes)
        ),
    );
    line(
        "stored",
        format!(
            "{} ({} bytes)",
            ByteSize(artifact.stored_bytes),
            artifact.stored_bytes
        ),
    );
    line("sha256", artifact.sha256());
    line(
        "key",
        artifact
            .key_id
            .map_or_else(|| "not encrypted".to_owned(), |key| key.to_string()),
    );
    line("object", manifest.data_key().to_string());
    line("execution", artifact.execution.to_string());
    line("source", manifest.source.to_string());
    for warning in &manifest.warnings {
        line("warning", format!("{} ({})", warning.text, warning.code));
    }
    format!("{}\n\n{}", table.text(), copies(artifact))
}

fn copies(artifact: &ArtifactView) -> String {
    let mut table = Table::new(&["COPY ON", "STATE", "SEEN", "READ IN FULL", "ERROR"]);
    for copy in &artifact.copies {
        table.row([
            copy.storage.to_string(),
            copy.bad_since.map_or_else(
                || copy.state.to_string(),
                |since| format!("{} since {}", copy.state, list::local(since)),
            ),
            list::local(copy.seen_at),
            copy.checked_at.map_or_else(|| "–".to_owned(), list::local),
            copy.error.clone().unwrap_or_default(),
        ]);
    }
    table.text()
}

fn restored(proofs: &[ProofView]) -> String {
    if proofs.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["TEST RESTORE", "ON", "COPY OF", "TOOK", "RESULT"]).right(3);
    for proof in proofs {
        let result = match &proof.error {
            None => "proven".to_owned(),
            Some(error) => format!("FAILED: {error}"),
        };
        table.row([
            list::local(proof.ended_at),
            proof.place.to_string(),
            proof
                .storage
                .as_ref()
                .map_or_else(|| "–".to_owned(), ToString::to_string),
            format!("{:.1} s", proof.seconds),
            result,
        ]);
    }
    let last = proofs.iter().take(1).flat_map(|proof| &proof.notes);
    let notes = last.map(|note| {
        let mark = match note.weight {
            ProofWeight::Real => "✘",
            ProofWeight::Tolerable => "·",
        };
        format!("\n{mark} {} ({})", note.text, note.code)
    });
    format!("\n{}{}", table.text(), notes.collect::<String>())
}
