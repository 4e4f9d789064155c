//! One file, read to its end: what it is, whether it is whole, and whether it is what its checksum file says.
//!
//! What a file is is told by its bytes. The name is asked only for what bytes can't tell: envelope v1 has no mark.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use chrono::{DateTime, SubsecRound, Utc};
use tokio_util::sync::CancellationToken;

use super::{
    Brought, Deps, ImportError,
    content::{Look, Recognised},
};
use crate::{
    catalog::{Content, EnvelopeFormat},
    crypto::{self, HEADER_BYTES, KeyId, is_kbk2},
    fault::{Classified, Failure},
    job::Subject,
    pg::{dump::Header, restore::rehearse},
    pipeline::{self, Expected, Input, Read, Sealed, Watch},
};

/// A checksum file holds one line.
const MOST_CHECKSUM_BYTES: u64 = 4096;

/// A file that may be taken in.
#[derive(Debug)]
pub struct Examined {
    pub path: PathBuf,
    pub subject: Subject,
    pub content: Content,
    pub envelope: EnvelopeFormat,
    /// When the backup was begun, as far as anything tells.
    pub created_at: DateTime<Utc>,
    pub read: Read,
    pub(super) modified_at: DateTime<Utc>,
    pub(super) header: Option<Header>,
    pub(super) key_id: Option<KeyId>,
}

/// Reads a file to its end. Every failure is the file's own: it is left out, and others may be fine.
pub async fn examine(brought: &Brought, deps: &Deps) -> Result<Examined, Failure> {
    let Start { head, modified_at } = start(&brought.path)?;
    let (sealed, read, recognised) = recognise(brought, &head, deps).await?;
    compare_checksum(&brought.path, &read)?;
    if recognised.content == Content::PgDumpCustom {
        to_its_last_block(&brought.path, sealed, deps).await?;
    }
    let subject = brought.subject.clone().ok_or(ImportError::NoSubject)?;
    let kind = recognised.content.kind();
    if subject.scope().as_str() != kind.as_str() {
        let kind = kind.as_str();
        return Err(ImportError::WrongSubject { kind, subject }.into());
    }
    let created_at = brought.stamp.or_else(|| said_inside(&read));
    let (envelope, key_id) = match sealed {
        Sealed::V2 => (EnvelopeFormat::Kbk2, key_of(&head)),
        Sealed::V1 => (EnvelopeFormat::KanbuV1, None),
        Sealed::None | Sealed::Unknown => (EnvelopeFormat::None, None),
    };
    Ok(Examined {
        path: brought.path.clone(),
        subject,
        content: recognised.content,
        envelope,
        created_at: created_at
            .unwrap_or(modified_at)
            .min(deps.clock.now())
            .trunc_subsecs(0),
        read,
        modified_at,
        header: recognised.header,
        key_id,
    })
}

/// What is known before the content is.
struct Start {
    head: Vec<u8>,
    modified_at: DateTime<Utc>,
}

fn start(path: &Path) -> Result<Start, ImportError> {
    let unreadable = |source| ImportError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let data = file.metadata().map_err(unreadable)?;
    let mut head = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    if head.is_empty() {
        return Err(ImportError::Empty);
    }
    Ok(Start {
        head,
        modified_at: data.modified().unwrap_or(SystemTime::UNIX_EPOCH).into(),
    })
}

/// Opens it the way its first bytes tell. What has no mark and a name of envelope v1 is tried as that first, and taken for
/// what it looks like if no key fits.
async fn recognise(
    brought: &Brought,
    head: &[u8],
    deps: &Deps,
) -> Result<(Sealed, Read, Recognised), Failure> {
    if is_kbk2(head) {
        return opened(brought, Sealed::V2, deps).await;
    }
    if !brought.may_be_v1 {
        return opened(brought, Sealed::None, deps).await;
    }
    match opened(brought, Sealed::V1, deps).await {
        Ok(opened) => Ok(opened),
        Err(locked) => match opened(brought, Sealed::None, deps).await {
            Err(foreign) if foreign.code == ImportError::Foreign.code() => Err(locked),
            other => other,
        },
    }
}

async fn opened(
    brought: &Brought,
    sealed: Sealed,
    deps: &Deps,
) -> Result<(Sealed, Read, Recognised), Failure> {
    let look = (Look::new(), Look::see as pipeline::See<Look>);
    let (input, expected) = (input(&brought.path), expected(sealed));
    let (read, look) =
        pipeline::peruse(&input, &expected, &deps.keyring, unwatched(), look).await?;
    if read.opened.is_none() {
        return Err(ImportError::NoKey.into());
    }
    let recognised = look.verdict()?;
    Ok((sealed, read, recognised))
}

fn expected(sealed: Sealed) -> Expected {
    Expected {
        sealed,
        ..Expected::default()
    }
}

/// A newer header beside the file is set aside: the copy will be without one.
fn input(path: &Path) -> Input {
    Input::File {
        path: path.to_owned(),
        sidecar: None,
    }
}

pub(super) fn unwatched() -> Watch {
    Watch::new(CancellationToken::new(), std::sync::Arc::new(|_| {}))
}

async fn to_its_last_block(path: &Path, sealed: Sealed, deps: &Deps) -> Result<(), Failure> {
    let newest = deps.toolsets.iter().max_by_key(|tools| tools.major());
    let tools = newest.ok_or(ImportError::NoTools)?;
    let keyring = deps.keyring.clone();
    let feed = pipeline::open(input(path), expected(sealed), keyring, unwatched()).await?;
    match rehearse(tools, feed).await? {
        None => Ok(()),
        Some(said) => Err(ImportError::ArchiveTruncated(said).into()),
    }
}

/// `FILE.sha256`, if there is one: of the file, or of what Kanbu hashed, which is the payload before it was encrypted.
fn compare_checksum(path: &Path, read: &Read) -> Result<(), ImportError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".sha256");
    let Ok(file) = File::open(&beside) else {
        return Ok(());
    };
    let mut text = String::new();
    file.take(MOST_CHECKSUM_BYTES)
        .read_to_string(&mut text)
        .map_err(|_| ImportError::ChecksumMalformed)?;
    let mut said = [0; 32];
    let digits = text.split_whitespace().next().unwrap_or_default();
    hex::decode_to_slice(digits, &mut said).map_err(|_| ImportError::ChecksumMalformed)?;
    let payload = read.opened.as_ref().map(|opened| opened.payload_sha256);
    if said == read.stored_sha256 || Some(said) == payload {
        Ok(())
    } else {
        Err(ImportError::Checksum)
    }
}

/// When the header of envelope v2, which is authentic by now, says that it was made.
fn said_inside(read: &Read) -> Option<DateTime<Utc>> {
    let metadata = read.opened.as_ref()?.metadata.as_ref()?;
    metadata.created.as_ref()?.parse().ok()
}

fn key_of(head: &[u8]) -> Option<KeyId> {
    let header = crypto::inspect(head).ok()?;
    Some(header.slots.first()?.key_id)
}
