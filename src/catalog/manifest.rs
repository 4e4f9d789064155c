//! The manifest: what a backup says of itself, written last; where there is none, there is no backup.
//!
//! One line of JSON with its members in a fixed order (docs/formats/manifest.md). Over a sealed backup it ends in a seal
//! made with a key that only this backup's data key yields, so it can't be swapped or edited. The stored bytes count: a
//! manifest is never rendered again once it is written.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::Error};

use super::{
    ArtifactKind, Compression, Content, NewArtifact,
    alarm::HOLDS,
    object::{EnvelopeFormat, object_name},
    origin::BackupOrigin,
};
use crate::{
    crypto::{EnvelopeError, KeyId, ManifestKey, verify_seal},
    fault::{Classified, Fault},
    id::{ArtifactId, ExecutionId, JobId},
    job::{Scope, Subject},
    storage::{Environment, Folder, ObjectKey},
};

/// The version that is written, and the only one so far.
pub const MANIFEST_VERSION: u32 = 1;

/// No manifest is larger; what is larger is no manifest.
pub const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// The word that may stand in the file only as the seal's name, and how it is written inside any other string.
const SEAL_WORD: &str = r#""seal""#;
const SEAL_WORD_ESCAPED: &str = r#""\u0073eal""#;
const SEAL_DIGITS: usize = 64;

/// What envelope v1 adds to its payload: an IV and a tag.
const V1_EXTRA_BYTES: u64 = 32;

/// All that a backup says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub artifact: ArtifactId,
    pub execution: ExecutionId,
    pub job: JobId,
    pub kind: ArtifactKind,
    pub subject: Subject,
    pub environment: Environment,
    /// Start of the execution; to the second also part of the folder's name.
    pub created_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default)]
    pub pinned: bool,
    #[serde(default)]
    pub origin: BackupOrigin,
    /// Program and version.
    pub writer: String,
    pub content: Content,
    pub compression: Compression,
    /// Bytes read from the source, before compression.
    pub content_bytes: u64,
    /// Of the data object as it lies on the storage.
    #[serde(with = "digest")]
    pub stored_sha256: [u8; 32],
    /// One JSON object of facts about what was backed up: server and client versions, database size ….
    pub source: serde_json::Value,
    #[serde(default)]
    pub warnings: Vec<ManifestWarning>,
    pub envelope: EnvelopeFacts,
    /// The key that sealed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
}

/// Something an operator should know although the backup was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestWarning {
    pub code: String,
    pub text: String,
    /// Whether it made the outcome *degraded*.
    #[serde(default)]
    pub degrades: bool,
}

/// The container of the payload, and the payload: compressed, not encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeFacts {
    pub format: EnvelopeFormat,
    /// Of the data object as it lies on the storage.
    pub bytes: u64,
    pub payload_bytes: u64,
    #[serde(with = "digest")]
    pub payload_sha256: [u8; 32],
    /// Of the header, when it was written. Envelope v2 alone has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
}

/// The members that are computed, and the rest.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    version: u32,
    object: Cow<'a, str>,
    #[serde(flatten)]
    manifest: Cow<'a, Manifest>,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// A manifest that can't be written, or isn't one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    #[error("the manifest is not in the form of docs/formats/manifest.md")]
    Malformed(#[source] serde_json::Error),
    #[error("the manifest has version {0}, and this program reads {MANIFEST_VERSION}")]
    Version(u32),
    #[error("the manifest contradicts itself: {0}")]
    Contradiction(&'static str),
    #[error("the manifest belongs to folder {belongs} and was found in {found}")]
    Misplaced { belongs: Folder, found: Folder },
    #[error("the manifest's seal is not good")]
    Seal(#[source] EnvelopeError),
}

impl Classified for ManifestError {
    fn fault(&self) -> Fault {
        match self {
            Self::Malformed(_)
            | Self::Version(_)
            | Self::Contradiction(_)
            | Self::Misplaced { .. }
            | Self::Seal(_) => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "manifest.malformed",
            Self::Version(_) => "manifest.version",
            Self::Contradiction(_) => "manifest.contradiction",
            Self::Misplaced { .. } => "manifest.misplaced",
            Self::Seal(_) => "manifest.seal",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Version(_) => {
                "read it with the version of kanbu-backup that wrote it, or a newer one"
            }
            Self::Misplaced { .. } => {
                "somebody moved or copied it; put it back, or take another copy of the backup"
            }
            Self::Seal(_) => {
                "the file was changed, or belongs to another backup; take another copy"
            }
            Self::Malformed(_) => "the file was cut or changed; take another copy",
            Self::Contradiction(_) => return None,
        };
        Some(Cow::Borrowed(hint))
    }
}

impl Manifest {
    /// The file's exact bytes. `key` comes from the sealed object itself, and is there exactly if the envelope is v2.
    pub fn render(&self, key: Option<&ManifestKey>) -> Result<String, ManifestError> {
        self.agrees_with_itself()?;
        if key.is_some() != (self.envelope.format == EnvelopeFormat::Kbk2) {
            return Err(ManifestError::Contradiction(
                "a seal goes with envelope v2 and with no other",
            ));
        }
        let wire = Wire {
            version: MANIFEST_VERSION,
            object: Cow::Borrowed(self.object_name()),
            manifest: Cow::Borrowed(self),
        };
        let text = serde_json::to_string(&wire).map_err(ManifestError::Malformed)?;
        let mut text = text.replace(SEAL_WORD, SEAL_WORD_ESCAPED);
        if let Some(key) = key {
            // The closing brace makes room for one more member.
            text.pop();
            let blank = |digits: &str| format!("{text},{SEAL_WORD}:\"{digits}\"}}\n");
            let seal = key.seal(blank(&"0".repeat(SEAL_DIGITS)).as_bytes());
            return Ok(blank(&seal));
        }
        text.push('\n');
        Ok(text)
    }

    /// Reads a manifest. Members it doesn't know are skipped; the seal isn't looked at ([`check_seal`] does that).
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| ManifestError::Malformed(serde_json::Error::custom(error)))?;
        let VersionOnly { version } =
            serde_json::from_str(text).map_err(ManifestError::Malformed)?;
        if version != MANIFEST_VERSION {
            return Err(ManifestError::Version(version));
        }
        let wire: Wire<'_> = serde_json::from_str(text).map_err(ManifestError::Malformed)?;
        let manifest = wire.manifest.into_owned();
        manifest.agrees_with_itself()?;
        if wire.object == manifest.object_name() {
            Ok(manifest)
        } else {
            Err(ManifestError::Contradiction(
                "the object's name is not the one of its content",
            ))
        }
    }

    /// Reads a manifest that lies in `folder`, and in no other.
    pub fn parse_in(folder: &Folder, bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest = Self::parse(bytes)?;
        let belongs = manifest.folder();
        if belongs == *folder {
            Ok(manifest)
        } else {
            Err(ManifestError::Misplaced {
                belongs,
                found: folder.clone(),
            })
        }
    }

    /// Where the backup lies, on every storage.
    pub fn folder(&self) -> Folder {
        let (environment, stamp) = (self.environment.clone(), self.created_at);
        match self.kind {
            ArtifactKind::Database => Folder::of_database(environment, stamp, self.execution),
            ArtifactKind::Source => Folder::of_source(environment, stamp, self.execution),
        }
    }

    /// The data object's name in that folder.
    pub fn object_name(&self) -> &'static str {
        object_name(self.content, self.compression, self.envelope.format)
    }

    pub fn data_key(&self) -> ObjectKey {
        ObjectKey::Data {
            folder: self.folder(),
            name: self.object_name(),
        }
    }

    pub fn manifest_key(&self) -> ObjectKey {
        ObjectKey::Manifest {
            folder: self.folder(),
        }
    }

    /// Where a newer header of the data object would be. Envelope v2 alone has one.
    pub fn sidecar_key(&self) -> Option<ObjectKey> {
        (self.envelope.format == EnvelopeFormat::Kbk2).then(|| ObjectKey::Sidecar {
            folder: self.folder(),
            name: self.object_name(),
        })
    }

    /// The backup that this one's content alarm holds, if it raised one.
    pub fn holds(&self) -> Option<ArtifactId> {
        self.source[HOLDS].as_str()?.parse().ok()
    }

    fn agrees_with_itself(&self) -> Result<(), ManifestError> {
        let EnvelopeFacts {
            format,
            bytes,
            payload_bytes,
            payload_sha256,
            generation,
        } = self.envelope;
        let scope = match self.kind {
            ArtifactKind::Database => Scope::Database,
            ArtifactKind::Source => Scope::Source,
        };
        let sealed_as_v2 = format == EnvelopeFormat::Kbk2;
        let sizes_fit = match format {
            EnvelopeFormat::Kbk2 => bytes > payload_bytes,
            EnvelopeFormat::KanbuV1 => payload_bytes.checked_add(V1_EXTRA_BYTES) == Some(bytes),
            EnvelopeFormat::None => bytes == payload_bytes && self.stored_sha256 == payload_sha256,
        };
        let rules = [
            (
                self.subject.scope() == scope,
                "its kind and its subject differ",
            ),
            (
                self.content.kind() == self.kind,
                "its kind and its content differ",
            ),
            (self.source.is_object(), "its source is no JSON object"),
            (
                self.origin.agrees_with_itself(),
                "a schedule goes with its reason and with no other",
            ),
            (
                generation.is_some() == sealed_as_v2,
                "a generation goes with envelope v2 and with no other",
            ),
            (
                !sealed_as_v2 || self.key_id.is_some(),
                "it is sealed and names no key",
            ),
            (
                format != EnvelopeFormat::None || self.key_id.is_none(),
                "it names a key and isn't sealed",
            ),
            (sizes_fit, "its sizes or hashes don't fit its envelope"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ManifestError::Contradiction(rule)),
            None => Ok(()),
        }
    }
}

/// Whether the manifest is the one that was written with this backup. `bytes` are the file's own.
pub fn check_seal(bytes: &[u8], key: &ManifestKey) -> Result<(), ManifestError> {
    verify_seal(bytes, key).map_err(ManifestError::Seal)
}

impl NewArtifact {
    /// The catalog's row of a backup, from its manifest and the file's own text.
    pub fn from_manifest(manifest: &Manifest, text: String) -> Self {
        Self {
            id: manifest.artifact,
            kind: manifest.kind,
            subject: manifest.subject.clone(),
            folder: manifest.folder(),
            execution: manifest.execution,
            job: manifest.job,
            label: manifest.label.clone(),
            pinned: manifest.pinned,
            created_at: manifest.created_at,
            origin: manifest.origin.clone(),
            holds: manifest.holds(),
            content: manifest.content,
            compression: manifest.compression,
            key_id: manifest.key_id,
            content_bytes: manifest.content_bytes,
            payload_bytes: manifest.envelope.payload_bytes,
            payload_sha256: manifest.envelope.payload_sha256,
            stored_bytes: manifest.envelope.bytes,
            stored_sha256: manifest.stored_sha256,
            manifest: text,
        }
    }
}

/// A SHA-256 as 64 lower-case hex digits.
pub(super) mod digest {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(in crate::catalog) fn serialize<S: Serializer>(
        digest: &[u8; 32],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        hex::encode(digest).serialize(to)
    }

    pub(in crate::catalog) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let mut digest = [0; 32];
        hex::decode_to_slice(&text, &mut digest)
            .map_err(|_| D::Error::custom("a SHA-256 of 64 hex digits was expected"))?;
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::Reason;

    fn unsealed() -> Manifest {
        Manifest {
            artifact: "01890a5d-ac96-774b-bcce-b302099a8051".parse().unwrap(),
            execution: "01890a5d-ac96-774b-bcce-b302099a8052".parse().unwrap(),
            job: "01890a5d-ac96-774b-bcce-b302099a8053".parse().unwrap(),
            kind: ArtifactKind::Database,
            subject: "database:kanbu".parse().unwrap(),
            environment: "prod".parse().unwrap(),
            created_at: DateTime::from_timestamp(1_768_732_200, 250_000_000).unwrap(),
            label: Some("before the import".to_owned()),
            pinned: false,
            origin: BackupOrigin::default(),
            writer: "kanbu-backup 0.1.0".to_owned(),
            content: Content::PgDumpCustom,
            compression: Compression::Zstd,
            content_bytes: 4096,
            stored_sha256: [0xab; 32],
            source: json!({ "server_version": "16.10", "database_bytes": 39_845_888 }),
            warnings: Vec::new(),
            envelope: EnvelopeFacts {
                format: EnvelopeFormat::None,
                bytes: 1000,
                payload_bytes: 1000,
                payload_sha256: [0xab; 32],
                generation: None,
            },
            key_id: None,
        }
    }

    fn contradiction(manifest: &Manifest) -> &'static str {
        match manifest.render(None) {
            Err(ManifestError::Contradiction(rule)) => rule,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_manifest_is_written_in_a_fixed_order_and_read_back() {
        let text = unsealed().render(None).unwrap();
        let digits = "ab".repeat(32);
        assert_eq!(
            text,
            format!(
                concat!(
                    r#"{{"version":1,"object":"dump.pgc.zst","artifact":"01890a5d-ac96-774b-bcce-b302099a8051","#,
                    r#""execution":"01890a5d-ac96-774b-bcce-b302099a8052","job":"01890a5d-ac96-774b-bcce-b302099a8053","#,
                    r#""kind":"database","subject":"database:kanbu","environment":"prod","#,
                    r#""created_at":"2026-01-18T10:30:00.250Z","label":"before the import","pinned":false,"origin":{{"reason":"manual","schedule":null}},"#,
                    r#""writer":"kanbu-backup 0.1.0","content":"pg_dump-custom","compression":"zstd","content_bytes":4096,"#,
                    r#""stored_sha256":"{0}","source":{{"server_version":"16.10","database_bytes":39845888}},"warnings":[],"#,
                    r#""envelope":{{"format":"none","bytes":1000,"payload_bytes":1000,"payload_sha256":"{0}"}}}}"#,
                    "\n"
                ),
                digits
            )
        );
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), unsealed());
    }

    #[test]
    fn a_manifest_from_before_there_were_schedules_is_a_manual_backups() {
        let text = unsealed().render(None).unwrap();
        let older = text.replace(r#""origin":{"reason":"manual","schedule":null},"#, "");
        assert!(older.len() < text.len());
        assert_eq!(Manifest::parse(older.as_bytes()).unwrap(), unsealed());
    }

    #[test]
    fn members_that_are_not_known_are_skipped() {
        let text = unsealed().render(None).unwrap();
        let newer = text.replacen('{', r#"{"colour":"blue","deep":{"er":[1,2]},"#, 1);
        assert_eq!(Manifest::parse(newer.as_bytes()).unwrap(), unsealed());
    }

    #[test]
    fn a_newer_version_is_named_before_its_members_are_looked_at() {
        let error = Manifest::parse(br#"{"version":2,"everything":"else"}"#).unwrap_err();
        assert!(matches!(error, ManifestError::Version(2)), "{error:?}");
    }

    #[test]
    fn what_is_cut_off_or_no_text_is_malformed() {
        let text = unsealed().render(None).unwrap();
        let mut foreign = text.clone().into_bytes();
        foreign.splice(1..1, *b"\"x\":\"\xff\",");
        let error = Manifest::parse(&foreign).unwrap_err();
        assert!(matches!(error, ManifestError::Malformed(_)), "{error:?}");
        for end in [0, 1, 40, text.len() - 3] {
            let error = Manifest::parse(&text.as_bytes()[..end]).unwrap_err();
            assert!(
                matches!(error, ManifestError::Malformed(_)),
                "{end}: {error:?}"
            );
        }
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_neither_written_nor_read() {
        let mut manifest = unsealed();
        manifest.envelope.payload_bytes = 999;
        assert_eq!(
            contradiction(&manifest),
            "its sizes or hashes don't fit its envelope"
        );
        let mut manifest = unsealed();
        manifest.kind = ArtifactKind::Source;
        assert_eq!(contradiction(&manifest), "its kind and its subject differ");
        let mut manifest = unsealed();
        manifest.content = Content::Tar;
        assert_eq!(contradiction(&manifest), "its kind and its content differ");
        let mut manifest = unsealed();
        manifest.key_id = Some(KeyId([1; 16]));
        assert_eq!(contradiction(&manifest), "it names a key and isn't sealed");
        let mut manifest = unsealed();
        manifest.origin.reason = Reason::Schedule;
        assert_eq!(
            contradiction(&manifest),
            "a schedule goes with its reason and with no other"
        );

        let text = unsealed().render(None).unwrap();
        let renamed = text.replace("dump.pgc.zst", "../../etc/passwd");
        let error = Manifest::parse(renamed.as_bytes()).unwrap_err();
        assert!(
            matches!(error, ManifestError::Contradiction(_)),
            "{error:?}"
        );
    }

    #[test]
    fn a_manifest_in_another_backups_folder_is_misplaced() {
        let text = unsealed().render(None).unwrap();
        let at_home = unsealed().folder();
        assert_eq!(
            Manifest::parse_in(&at_home, text.as_bytes()).unwrap(),
            unsealed()
        );
        let elsewhere = Folder::of_database(
            at_home.environment().clone(),
            at_home.stamp(),
            ExecutionId::new(),
        );
        let error = Manifest::parse_in(&elsewhere, text.as_bytes()).unwrap_err();
        assert!(
            matches!(error, ManifestError::Misplaced { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn the_words_of_an_object_each_have_a_name_of_their_own() {
        let mut names = std::collections::HashSet::new();
        for envelope in [EnvelopeFormat::KanbuV1, EnvelopeFormat::None] {
            for content in Content::ALL {
                for compression in Compression::ALL {
                    assert!(names.insert(object_name(*content, *compression, envelope)));
                }
            }
        }
    }

    mod sealed {
        use super::*;
        use crate::crypto::{KeyMaterial, Keyring, Metadata, OpenOptions, Opener, Sealer};

        fn keyring() -> Keyring {
            let key = KeyMaterial::parse(&"07".repeat(32)).unwrap();
            Keyring::new(Some(key), Vec::new())
        }

        /// A manifest of a sealed file, and the key that this file yields to its writer and to a reader.
        fn sealed() -> (Manifest, ManifestKey, ManifestKey) {
            let mut sealer = Sealer::new(&keyring(), &Metadata::default()).unwrap();
            let (writer, key_id) = (sealer.manifest_key(), sealer.key_id());
            let mut file = Vec::new();
            sealer.push(b"payload", &mut file).unwrap();
            let summary = sealer.finish(&mut file).unwrap();
            let mut opener = Opener::new(&keyring(), OpenOptions::default());
            opener.push(&file, &mut Vec::new()).unwrap();
            let reader = opener.manifest_key().unwrap();
            let mut manifest = unsealed();
            manifest.envelope = EnvelopeFacts {
                format: EnvelopeFormat::Kbk2,
                bytes: summary.stored_bytes,
                payload_bytes: summary.payload_bytes,
                payload_sha256: [1; 32],
                generation: Some(1),
            };
            manifest.key_id = Some(key_id);
            (manifest, writer, reader)
        }

        #[test]
        fn a_seal_holds_against_the_file_and_breaks_with_any_byte() {
            let (manifest, writer, reader) = sealed();
            let text = manifest.render(Some(&writer)).unwrap();
            assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
            check_seal(text.as_bytes(), &reader).unwrap();
            for at in 0..text.len() {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= 1;
                assert!(
                    check_seal(&changed, &reader).is_err(),
                    "byte {at} may be changed"
                );
            }
            let (_, _, other) = sealed();
            assert!(
                check_seal(text.as_bytes(), &other).is_err(),
                "another file's key fits"
            );
        }

        #[test]
        fn the_word_seal_in_somebodys_text_does_not_break_the_seal() {
            let (mut manifest, writer, reader) = sealed();
            for label in ["seal", "\"seal", "x\"seal\":\"0", "\"seal\""] {
                manifest.label = Some(label.to_owned());
                manifest.source = json!({ "seal": label });
                let text = manifest.render(Some(&writer)).unwrap();
                assert_eq!(text.matches(SEAL_WORD).count(), 1, "{text}");
                check_seal(text.as_bytes(), &reader).unwrap();
                assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
            }
        }

        #[test]
        fn a_sealed_backup_without_a_sealed_manifest_is_not_written() {
            let (manifest, _, _) = sealed();
            assert_eq!(
                contradiction(&manifest),
                "a seal goes with envelope v2 and with no other"
            );
        }
    }
}
