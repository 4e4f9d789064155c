//! What a storage says of itself against what the catalog knows.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use kanbu_backup::{
    catalog::{
        self, ArtifactKind, BackupOrigin, Compression, Content, CopyState, EnvelopeFacts,
        EnvelopeFormat, Filter, Manifest,
        restock::{self, Restocked, Sources},
    },
    clock::{Clock, SystemClock},
    control::ControlDb,
    crypto::Keyring,
    id::{ArtifactId, ExecutionId, JobId},
    storage::{Environment, Place, Role, Storage, StorageConfig, Terms, sweep},
    testing,
};
use serde_json::json;
use tempfile::TempDir;

const CONTENT: &str = "what was dumped";

fn environment() -> Environment {
    "prod".parse().unwrap()
}

/// Of the backup so many minutes after the first.
fn manifest(minutes: i64) -> Manifest {
    Manifest {
        artifact: ArtifactId::new(),
        execution: ExecutionId::new(),
        job: JobId::new(),
        kind: ArtifactKind::Database,
        subject: "database:kanbu".parse().unwrap(),
        environment: environment(),
        created_at: DateTime::from_timestamp(1_768_732_200, 0).unwrap()
            + TimeDelta::minutes(minutes),
        label: None,
        pinned: false,
        origin: BackupOrigin::default(),
        writer: "kanbu-backup test".to_owned(),
        content: Content::PgDumpCustom,
        compression: Compression::Zstd,
        content_bytes: 4096,
        stored_sha256: [2; 32],
        source: json!({}),
        warnings: Vec::new(),
        envelope: EnvelopeFacts {
            format: EnvelopeFormat::None,
            bytes: CONTENT.len() as u64,
            payload_bytes: CONTENT.len() as u64,
            payload_sha256: [2; 32],
            generation: None,
        },
        key_id: None,
    }
}

struct Shelf {
    _place: TempDir,
    storage: Storage,
}

impl Shelf {
    fn new(name: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig {
            name: name.parse().unwrap(),
            role: Role::Primary,
            place: Place::Local {
                directory: place.path().to_owned(),
            },
            terms: Terms::default(),
        });
        Self {
            _place: place,
            storage: storage.unwrap(),
        }
    }

    async fn put(&self, manifest: &Manifest) {
        self.put_manifest(manifest).await;
        let data = Bytes::from_static(CONTENT.as_bytes());
        self.storage
            .put_new(&manifest.data_key(), data)
            .await
            .unwrap();
    }

    async fn put_manifest(&self, manifest: &Manifest) {
        let text = Bytes::from(manifest.render(None).unwrap());
        self.storage
            .put_new(&manifest.manifest_key(), text)
            .await
            .unwrap();
    }
}

async fn restock(db: &ControlDb, shelves: &[&Shelf], dry_run: bool) -> Vec<Restocked> {
    let storages: Vec<_> = shelves.iter().map(|shelf| shelf.storage.clone()).collect();
    let sources = Sources {
        storages: &storages,
        environment: &environment(),
        keyring: &Keyring::new(None, Vec::new()),
    };
    restock::restock(db, &sources, dry_run).await.unwrap()
}

fn counts(one: &Restocked) -> [u64; 5] {
    assert!(one.failure.is_none(), "{one:?}");
    [
        one.manifests,
        one.backups,
        one.copies,
        one.deleted,
        one.doubted,
    ]
}

async fn copies(db: &ControlDb, id: ArtifactId) -> Vec<(String, CopyState)> {
    let view = catalog::get(db, id).await.unwrap().unwrap();
    let copies = view.copies.iter();
    copies
        .map(|copy| (copy.storage.to_string(), copy.state))
        .collect()
}

#[tokio::test]
async fn hundreds_of_manifests_on_two_storages_become_one_catalog() {
    let (_database, db) = testing::control_db().await;
    let (one, two) = (Shelf::new("one"), Shelf::new("two"));
    let manifests: Vec<_> = (0..230).map(manifest).collect();
    for (number, manifest) in manifests.iter().enumerate() {
        one.put(manifest).await;
        if number % 2 == 0 {
            two.put(manifest).await;
        }
    }
    two.put(&manifest(1000)).await;
    let planned = restock(&db, &[&one, &two], true).await;
    assert_eq!(counts(&planned[0]), [230, 230, 0, 0, 0]);
    assert_eq!(counts(&planned[1]), [116, 1, 115, 0, 0]);
    assert_eq!(
        catalog::list(&db, &Filter::default()).await.unwrap().len(),
        0
    );

    let entered = restock(&db, &[&one, &two], false).await;
    assert_eq!(counts(&entered[0]), counts(&planned[0]));
    assert_eq!(counts(&entered[1]), counts(&planned[1]));
    assert_eq!(
        catalog::list(&db, &Filter::default()).await.unwrap().len(),
        231
    );
    let first = copies(&db, manifests[0].artifact).await;
    assert_eq!(
        first,
        [
            ("one".into(), CopyState::Stored),
            ("two".into(), CopyState::Stored)
        ]
    );
    let again = restock(&db, &[&one, &two], false).await;
    assert_eq!(counts(&again[0]), [230, 0, 0, 0, 0]);
    assert_eq!(counts(&again[1]), [116, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_manifest_without_its_data_is_a_missing_copy_once_another_storage_vouches_for_it() {
    for vouched_first in [true, false] {
        let (_database, db) = testing::control_db().await;
        let (empty, full) = (Shelf::new("empty"), Shelf::new("full"));
        let (known, alone) = (manifest(0), manifest(1));
        empty.put_manifest(&known).await;
        empty.put_manifest(&alone).await;
        full.put(&known).await;
        let order = if vouched_first {
            [&full, &empty]
        } else {
            [&empty, &full]
        };
        let brought = restock(&db, &order, false).await;
        let empty = brought
            .iter()
            .find(|one| one.storage.as_str() == "empty")
            .unwrap();
        assert_eq!(counts(empty), [2, 0, 1, 0, 1], "{empty:?}");
        assert_eq!(empty.doubts[0].doubt.code, "catalog.no_data");
        assert_eq!(empty.doubts[0].folder, alone.folder());
        let copies = copies(&db, known.artifact).await;
        assert_eq!(
            copies,
            [
                ("empty".into(), CopyState::Missing),
                ("full".into(), CopyState::Stored)
            ]
        );
    }
}

#[tokio::test]
async fn a_manifest_that_contradicts_a_known_one_changes_nothing() {
    let (_database, db) = testing::control_db().await;
    let (one, two) = (Shelf::new("one"), Shelf::new("two"));
    let known = manifest(0);
    one.put(&known).await;
    let changed = Manifest {
        pinned: true,
        ..known.clone()
    };
    two.put(&changed).await;
    let other = Manifest {
        artifact: ArtifactId::new(),
        ..known.clone()
    };
    let three = Shelf::new("three");
    three.put(&other).await;
    let brought = restock(&db, &[&one, &two, &three], false).await;
    assert_eq!(counts(&brought[0]), [1, 1, 0, 0, 0]);
    for brought in &brought[1..] {
        assert_eq!(counts(brought), [1, 0, 0, 0, 1]);
        assert_eq!(brought.doubts[0].doubt.code, "catalog.other_manifest");
    }
    let view = catalog::get(&db, known.artifact).await.unwrap().unwrap();
    assert!(!view.pinned);
    assert_eq!(view.copies.len(), 1);
}

#[tokio::test]
async fn damage_that_was_read_stays_and_a_copy_that_came_back_is_seen() {
    let (database, db) = testing::control_db().await;
    let shelf = Shelf::new("one");
    let (rotten, back) = (manifest(0), manifest(1));
    shelf.put(&rotten).await;
    shelf.put(&back).await;
    restock(&db, &[&shelf], false).await;
    for (manifest, state) in [(&rotten, "damaged"), (&back, "missing")] {
        let id = manifest.artifact;
        database
            .run(&format!(
                "update kanbu_backup.artifact_copy
                    set state = '{state}', error = 'it was looked at', bad_since = now()
                  where artifact_id = '{id}'"
            ))
            .await;
    }
    let brought = restock(&db, &[&shelf], false).await;
    assert_eq!(counts(&brought[0]), [2, 0, 1, 0, 0]);
    assert_eq!(
        copies(&db, rotten.artifact).await,
        [("one".into(), CopyState::Damaged)]
    );
    assert_eq!(
        copies(&db, back.artifact).await,
        [("one".into(), CopyState::Stored)]
    );
}

#[tokio::test]
async fn two_storages_that_are_let_go_at_once_leave_every_backup_a_copy() {
    for round in 0..10 {
        let (_database, db) = testing::control_db().await;
        let (one, two) = (Shelf::new("one"), Shelf::new("two"));
        let manifest = manifest(round);
        one.put(&manifest).await;
        two.put(&manifest).await;
        restock(&db, &[&one, &two], false).await;
        let (first, second) = tokio::join!(
            catalog::retire(&db, one.storage.name()),
            catalog::purge(&db, &two.storage),
        );
        let gone = [first, second].into_iter().flatten().count();
        assert_eq!(gone, 1, "round {round}");
        let copies = copies(&db, manifest.artifact).await;
        assert_eq!(copies.len(), 1, "round {round}");
        assert_eq!(copies[0].1, CopyState::Stored, "round {round}");
    }
}

#[tokio::test]
async fn a_repair_that_died_is_no_debris_while_the_catalog_knows_its_backup() {
    let (_database, db) = testing::control_db().await;
    let (whole, half) = (Shelf::new("whole"), Shelf::new("half"));
    let (known, deleted, unknown) = (manifest(0), manifest(1), manifest(2));
    whole.put(&known).await;
    whole.put(&deleted).await;
    restock(&db, &[&whole], false).await;
    catalog::decide_deletion(&db, deleted.artifact, "ann", "unwanted", true)
        .await
        .unwrap();
    // All that a repair, an import and a backup leave when they die is data without a manifest.
    for manifest in [&known, &deleted, &unknown] {
        let data = Bytes::from_static(CONTENT.as_bytes());
        half.storage
            .put_new(&manifest.data_key(), data)
            .await
            .unwrap();
    }
    let later = SystemClock.now() + TimeDelta::hours(1);
    let live = std::collections::BTreeSet::new();
    let mut debris = sweep::look(&half.storage, &environment(), &live, later)
        .await
        .unwrap();
    let executions: Vec<_> = debris.iter().map(|d| d.folder.execution()).collect();
    assert_eq!(
        executions,
        [known.execution, deleted.execution, unknown.execution]
    );
    let spared = catalog::adopt::known(&db, &executions).await.unwrap();
    assert_eq!(spared, [known.execution]);
    debris.retain(|debris| !spared.contains(&debris.folder.execution()));
    let removed = sweep::remove(&half.storage, debris).await.unwrap();
    assert_eq!(removed.len(), 2);
    let left = half.storage.folders(&environment()).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].folder, known.folder());
}
