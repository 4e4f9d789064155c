//! `inspect FILE`: what a file is, without a key and without a service.

use std::{fs::File, io::Read as _, path::Path};

use kanbu_backup::{
    bytes::ByteSize,
    crypto::{self, HEADER_BYTES, HeaderInfo, SlotKind},
    fault::Failure,
};
use serde_json::{Value, json};

use super::VerbError;
use crate::{exit::Exit, session::Session};

pub fn run(file: &Path, session: &Session) -> Result<Exit, Failure> {
    let (head, bytes) = head(file)?;
    let description = if crypto::is_kbk2(&head) {
        kbk2(&crypto::inspect(&head)?, bytes)
    } else {
        json!({ "format": by_content(file, &head), "bytes": bytes })
    };
    session
        .out
        .document("file", &description, || text(&description));
    Ok(Exit::Done)
}

fn head(file: &Path) -> Result<(Vec<u8>, u64), VerbError> {
    let failed = |error| VerbError::File("read", file.to_owned(), error);
    let opened = File::open(file).map_err(failed)?;
    let bytes = opened.metadata().map_err(failed)?.len();
    let mut head = Vec::with_capacity(HEADER_BYTES);
    opened
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(failed)?;
    Ok((head, bytes))
}

fn kbk2(info: &HeaderInfo, bytes: u64) -> Value {
    let slots: Vec<_> = info
        .slots
        .iter()
        .map(|slot| {
            let kind = match slot.kind {
                SlotKind::Raw => "raw key",
                SlotKind::Passphrase => "passphrase",
            };
            json!({ "kind": kind, "key_id": slot.key_id, "iterations": slot.iterations })
        })
        .collect();
    json!({
        "format": "kbk2",
        "version": format!("{}.{}", info.version.0, info.version.1),
        "bytes": bytes,
        "chunk_bytes": 1_u64 << info.chunk_exponent,
        "generation": info.generation,
        "keys": slots,
        "metadata_unverified": info.metadata_unverified,
    })
}

/// Kanbu's encrypted files have no magic: only their name tells.
fn by_content(file: &Path, head: &[u8]) -> &'static str {
    let is_enc = file.extension().is_some_and(|suffix| suffix == "enc");
    match head {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x1f, 0x8b, ..] => "gzip",
        [b'P', b'G', b'D', b'M', b'P', ..] => "pg_dump custom format",
        _ if is_enc => "kanbu envelope v1 (by its name; it carries nothing that tells)",
        _ if head.starts_with(b"--") => "sql",
        _ => "unknown",
    }
}

fn text(description: &Value) -> String {
    let Value::Object(members) = description else {
        return description.to_string();
    };
    let lines: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{name:20} {}", shown(name, value)))
        .collect();
    lines.join("\n")
}

fn shown(name: &str, value: &Value) -> String {
    match (name, value) {
        ("bytes" | "chunk_bytes", Value::Number(bytes)) => {
            format!(
                "{} ({bytes} bytes)",
                ByteSize(bytes.as_u64().unwrap_or_default())
            )
        }
        (_, Value::String(text)) => text.clone(),
        (_, Value::Null) => "–".to_owned(),
        (_, other) => other.to_string(),
    }
}
