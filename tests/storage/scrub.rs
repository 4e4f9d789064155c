//! Repairs between a directory and an S3 server: each of them makes the other's copies anew.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use kanbu_backup::{
    catalog::{
        self, ArtifactKind, BackupOrigin, Compression, Content, CopyState, EnvelopeFacts,
        EnvelopeFormat, Manifest, NewArtifact, NewCopy,
    },
    control::ControlDb,
    crypto::Keyring,
    execution::{Effects, Lease, Outcome},
    id::{ArtifactId, ExecutionId, JobId},
    job::Verify,
    storage::{Place, Role, Storage, StorageConfig, Terms},
    testing::{self, TestDatabase},
    verify::{self, Deps, ProofTerms},
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    s3_server::S3Server,
    things::{PACE, began, environment},
};

/// Three parts at S3, and not the same anywhere.
fn content() -> Bytes {
    let block = |n: u32| Sha256::digest(n.to_le_bytes());
    (0..400_000_u32).flat_map(block).collect()
}

struct World {
    server: S3Server,
    place: TempDir,
    deps: Deps,
    manifest: Manifest,
    text: String,
    _control: TestDatabase,
}

impl World {
    /// One backup, not encrypted, on both.
    async fn new() -> Self {
        let server = S3Server::start().await;
        let (control, db) = testing::control_db().await;
        let place = tempfile::tempdir().unwrap();
        let local = Storage::open(&StorageConfig {
            name: "local".parse().unwrap(),
            role: Role::Primary,
            place: Place::Local {
                directory: place.path().to_owned(),
            },
            terms: Terms::default(),
        });
        let storages = vec![local.unwrap(), server.storage(PACE)];
        let manifest = manifest();
        let text = manifest.render(None).unwrap();
        for storage in &storages {
            let mut upload = storage.upload(&manifest.data_key()).await.unwrap();
            for part in content().chunks(5 << 20) {
                upload.put_part(Bytes::copy_from_slice(part)).await.unwrap();
            }
            upload.complete().await.unwrap();
            let key = manifest.manifest_key();
            storage.put_new(&key, text.clone().into()).await.unwrap();
        }
        enter(&db, &manifest, &text, &storages).await;
        Self {
            server,
            place,
            deps: Deps {
                storages,
                keyring: Keyring::new(None, Vec::new()),
                stall_timeout: Duration::from_secs(40),
                catalog: db,
                proof: ProofTerms::new("/nonexistent".into(), None, Vec::new()),
            },
            manifest,
            text,
            _control: control,
        }
    }

    /// The data object and the manifest where they lie, for the S3 server keeps its objects in files too.
    fn files(&self, storage: &str) -> [PathBuf; 2] {
        let root = match storage {
            "local" => self.place.path().to_owned(),
            _ => self.server.files(),
        };
        let keys = [self.manifest.data_key(), self.manifest.manifest_key()];
        keys.map(|key| root.join(key.to_string()))
    }

    async fn scrubbed(&self) -> Effects {
        let request = Verify {
            repair: true,
            ..Verify::of(self.manifest.subject.clone())
        };
        let lease = Arc::new(Lease::unattended());
        verify::perform(&request, &self.deps, &lease).await.unwrap()
    }

    fn assert_whole(&self, what: &str) {
        for storage in ["local", "remote"] {
            let [data, manifest] = self.files(storage);
            assert!(fs::read(data).unwrap() == content(), "{what} on {storage}");
            assert_eq!(
                fs::read_to_string(manifest).unwrap(),
                self.text,
                "{what} on {storage}"
            );
        }
        let mut unfinished = self.server.unfinished();
        unfinished.retain(|name| name.contains("upload"));
        assert!(unfinished.is_empty(), "{what}: {unfinished:?}");
    }
}

fn manifest() -> Manifest {
    let sha256 = Sha256::digest(content()).into();
    let bytes = content().len() as u64;
    Manifest {
        artifact: ArtifactId::new(),
        execution: ExecutionId::new(),
        job: JobId::new(),
        kind: ArtifactKind::Source,
        subject: "source:app".parse().unwrap(),
        environment: environment(),
        created_at: began(),
        label: None,
        pinned: false,
        origin: BackupOrigin::default(),
        writer: "a test".to_owned(),
        content: Content::Tar,
        compression: Compression::None,
        content_bytes: bytes,
        stored_sha256: sha256,
        source: serde_json::json!({}),
        warnings: Vec::new(),
        envelope: EnvelopeFacts {
            format: EnvelopeFormat::None,
            bytes,
            payload_bytes: bytes,
            payload_sha256: sha256,
            generation: None,
        },
        key_id: None,
    }
}

async fn enter(db: &ControlDb, manifest: &Manifest, text: &str, storages: &[Storage]) {
    let new = NewArtifact::from_manifest(manifest, text.to_owned());
    let copies: Vec<_> = storages
        .iter()
        .map(|storage| NewCopy {
            storage: storage.name().clone(),
            state: CopyState::Stored,
            error: None,
            checked_at: None,
        })
        .collect();
    let mut conn = db.pool().acquire().await.unwrap();
    catalog::insert(&mut conn, &new, &copies).await.unwrap();
}

fn flip(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_and_a_directory_mend_each_other_byte_for_byte() {
    let world = World::new().await;
    for storage in ["remote", "local"] {
        let [data, manifest] = world.files(storage);
        for what in [
            "deleted",
            "truncated",
            "flipped",
            "manifest deleted",
            "manifest flipped",
            "all gone",
        ] {
            match what {
                "deleted" => fs::remove_file(&data).unwrap(),
                "truncated" => {
                    let file = fs::OpenOptions::new().write(true).open(&data).unwrap();
                    file.set_len(1000).unwrap();
                }
                "flipped" => flip(&data),
                "manifest deleted" => fs::remove_file(&manifest).unwrap(),
                "manifest flipped" => flip(&manifest),
                _ => {
                    fs::remove_file(&data).unwrap();
                    fs::remove_file(&manifest).unwrap();
                }
            }
            let what = format!("{what} on {storage}");
            let effects = world.scrubbed().await;
            assert_eq!(effects.outcome(), Outcome::Succeeded, "{what}: {effects:?}");
            assert_eq!(effects.result["repaired"], 1, "{what}");
            world.assert_whole(&what);
        }
    }
}
