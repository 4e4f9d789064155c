//! The catalog on a real control database, and against real directories.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use kanbu_backup::{
    catalog::{
        self, ArtifactKind, BackupOrigin, CatalogError, Compression, Content, CopyCheck, CopyState,
        EnvelopeFacts, EnvelopeFormat, Filter, Manifest, NewArtifact, NewCopy, PendingDeletion,
        Proof, adopt,
        rebuild::{self, Seal},
    },
    control::ControlDb,
    crypto::{KeyMaterial, Keyring, Metadata, Sealer},
    id::{ArtifactId, ExecutionId, JobId},
    storage::{Environment, ObjectKey, Place, Role, Storage, StorageConfig, StorageName, Terms},
    testing,
};
use serde_json::json;
use tempfile::TempDir;

fn name(text: &str) -> StorageName {
    text.parse().unwrap()
}

fn environment() -> Environment {
    "prod".parse().unwrap()
}

fn began() -> DateTime<Utc> {
    DateTime::from_timestamp(1_768_732_200, 0).unwrap()
}

/// The manifest of an unencrypted backup of `database:kanbu` whose object is `CONTENT`.
fn manifest() -> Manifest {
    Manifest {
        artifact: ArtifactId::new(),
        execution: ExecutionId::new(),
        job: JobId::new(),
        kind: ArtifactKind::Database,
        subject: "database:kanbu".parse().unwrap(),
        environment: environment(),
        created_at: began(),
        label: Some("nightly".to_owned()),
        pinned: false,
        origin: BackupOrigin::default(),
        writer: "kanbu-backup test".to_owned(),
        content: Content::PgDumpCustom,
        compression: Compression::Zstd,
        content_bytes: 4096,
        stored_sha256: [2; 32],
        source: json!({ "server_version": "16.10" }),
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

const CONTENT: &str = "what was dumped";

fn artifact() -> NewArtifact {
    artifact_of(&manifest())
}

fn artifact_of(manifest: &Manifest) -> NewArtifact {
    NewArtifact::from_manifest(manifest, manifest.render(None).unwrap())
}

/// A backup of that subject, so much later than the first.
fn later(subject: &str, hours: i64) -> NewArtifact {
    artifact_of(&Manifest {
        subject: subject.parse().unwrap(),
        created_at: began() + TimeDelta::hours(hours),
        ..manifest()
    })
}

fn copy_on(storage: &str, state: CopyState) -> NewCopy {
    NewCopy {
        storage: name(storage),
        state,
        error: (state != CopyState::Stored).then(|| "it failed".to_owned()),
        checked_at: None,
    }
}

async fn enter(db: &ControlDb, artifact: &NewArtifact, copies: &[NewCopy]) {
    let mut conn = db.pool().acquire().await.unwrap();
    catalog::insert(&mut conn, artifact, copies).await.unwrap();
}

async fn enter_stored(db: &ControlDb, artifact: &NewArtifact) {
    enter(db, artifact, &[copy_on("local", CopyState::Stored)]).await;
}

async fn record(db: &ControlDb, checks: &[CopyCheck]) -> u64 {
    catalog::note_checks(db, checks.to_vec()).await.unwrap()
}

fn look(artifact: ArtifactId, storage: &str, state: CopyState, full: bool) -> CopyCheck {
    CopyCheck {
        artifact,
        storage: name(storage),
        state,
        bytes: Some(4096),
        error: (state != CopyState::Stored).then(|| "it differs".to_owned()),
        full,
    }
}

async fn ids(db: &ControlDb, filter: &Filter) -> Vec<ArtifactId> {
    let views = catalog::list(db, filter).await.unwrap();
    views.into_iter().map(|view| view.id).collect()
}

#[tokio::test]
async fn the_words_that_columns_allow_are_those_of_the_types() {
    fn all<T: ToString>(values: &[T]) -> BTreeSet<String> {
        values.iter().map(ToString::to_string).collect()
    }
    let (_database, db) = testing::control_db().await;
    for (table, column, expected) in [
        ("artifact", "kind", all(ArtifactKind::ALL)),
        ("artifact", "content", all(Content::ALL)),
        ("artifact", "compression", all(Compression::ALL)),
        ("artifact_copy", "state", all(CopyState::ALL)),
    ] {
        let rule: String = sqlx::query_scalar(
            "select pg_get_constraintdef(oid) from pg_constraint
              where conrelid = ('kanbu_backup.' || $1)::regclass and conname = $1 || '_' || $2 || '_check'",
        )
        .bind(table)
        .bind(column)
        .fetch_one(db.bare_pool())
        .await
        .unwrap();
        let words = rule.split('\'').skip(1).step_by(2).map(str::to_owned);
        assert_eq!(
            words.collect::<BTreeSet<_>>(),
            expected,
            "{table}.{column}: {rule}"
        );
    }
}

#[tokio::test]
async fn a_backup_is_read_back_as_it_was_entered_and_entering_it_twice_changes_nothing() {
    let (_database, db) = testing::control_db().await;
    let manifest = manifest();
    let new = artifact_of(&manifest);
    let copies = [
        copy_on("local", CopyState::Stored),
        copy_on("s3-eu", CopyState::Missing),
    ];
    enter(&db, &new, &copies).await;
    enter(
        &db,
        &NewArtifact {
            label: None,
            ..new.clone()
        },
        &copies,
    )
    .await;

    let view = catalog::get(&db, new.id).await.unwrap().unwrap();
    assert_eq!(view.manifest().unwrap(), manifest);
    assert_eq!(
        (view.subject, view.folder, view.label),
        (new.subject, new.folder, new.label)
    );
    assert_eq!(
        (view.stored_sha256, view.stored_bytes),
        (new.stored_sha256, new.stored_bytes)
    );
    let copies: Vec<_> = view
        .copies
        .iter()
        .map(|c| (c.storage.as_str(), c.state))
        .collect();
    assert_eq!(
        copies,
        [("local", CopyState::Stored), ("s3-eu", CopyState::Missing)]
    );
    assert_eq!(view.copies[1].error.as_deref(), Some("it failed"));
    assert_eq!(view.proof, Proof::Stored);
}

#[tokio::test]
async fn a_list_is_filtered_and_begins_with_the_newest() {
    let (_database, db) = testing::control_db().await;
    let [a, b, c] = [
        later("database:a", 1),
        later("database:b", 3),
        later("database:a", 2),
    ];
    for artifact in [&a, &b, &c] {
        enter_stored(&db, artifact).await;
    }
    let lost = later("database:a", 4);
    enter(&db, &lost, &[copy_on("local", CopyState::Damaged)]).await;

    let all = Filter::default();
    assert_eq!(ids(&db, &all).await, [b.id, c.id, a.id]);
    let of_a = Filter {
        subject: Some(a.subject.clone()),
        ..all.clone()
    };
    assert_eq!(ids(&db, &of_a).await, [c.id, a.id]);
    let with_lost = Filter {
        include_lost: true,
        limit: Some(2),
        ..all.clone()
    };
    assert_eq!(ids(&db, &with_lost).await, [lost.id, b.id]);
    let since = Filter {
        since: Some(c.created_at),
        ..all.clone()
    };
    assert_eq!(ids(&db, &since).await, [b.id, c.id]);
    let sources = Filter {
        kind: Some(ArtifactKind::Source),
        ..all
    };
    assert_eq!(ids(&db, &sources).await, []);

    let newest = catalog::newest(&db, &a.subject).await.unwrap().unwrap();
    assert_eq!(newest.id, c.id, "the newest must be one that can be read");
    assert_eq!(
        catalog::get(&db, lost.id).await.unwrap().unwrap().proof,
        Proof::Lost
    );
}

#[tokio::test]
async fn a_backup_is_found_by_its_id_its_end_or_as_the_latest() {
    let (_database, db) = testing::control_db().await;
    let (old, new) = (later("database:a", 1), later("database:b", 2));
    // Two ids that end alike.
    let twin = |id: &str| NewArtifact {
        id: id.parse().unwrap(),
        ..artifact()
    };
    let twins = [
        twin("01890a5d-ac96-774b-bcce-1111eeeeffff"),
        twin("01890a5d-ac96-774b-bcce-2222eeeeffff"),
    ];
    for artifact in [&old, &new, &twins[0], &twins[1]] {
        enter_stored(&db, artifact).await;
    }

    let resolved = catalog::resolve(&db, &old.id.to_string()).await.unwrap();
    assert_eq!(resolved, old.id);
    assert_eq!(
        catalog::resolve(&db, &old.id.short()).await.unwrap(),
        old.id
    );
    assert_eq!(
        catalog::resolve(&db, "1111EEEEffff").await.unwrap(),
        twins[0].id
    );
    assert_eq!(catalog::resolve(&db, "latest").await.unwrap(), new.id);
    match catalog::resolve(&db, "eeeeffff").await {
        Err(CatalogError::Ambiguous { matches, .. }) => {
            assert_eq!(
                BTreeSet::from_iter(matches),
                twins.iter().map(|t| t.id).collect()
            );
        }
        other => panic!("{other:?}"),
    }
    for nothing in ["", "fff", "0000-0000", "latest-source", "%", "x' or 1=1"] {
        let missing = catalog::resolve(&db, nothing).await;
        assert!(
            matches!(missing, Err(CatalogError::NotFound(_))),
            "{nothing:?}: {missing:?}"
        );
    }
}

#[tokio::test]
async fn proof_climbs_and_falls_with_what_checks_find() {
    let (_database, db) = testing::control_db().await;
    let new = artifact();
    enter(
        &db,
        &new,
        &[
            copy_on("local", CopyState::Stored),
            copy_on("nas", CopyState::Stored),
        ],
    )
    .await;
    let proof = async || catalog::get(&db, new.id).await.unwrap().unwrap().proof;
    let found =
        async |storage, state, full| record(&db, &[look(new.id, storage, state, full)]).await;

    assert_eq!(proof().await, Proof::Replicated);
    found("local", CopyState::Stored, true).await;
    assert_eq!(
        proof().await,
        Proof::Replicated,
        "one copy of two was checked"
    );
    found("nas", CopyState::Stored, true).await;
    assert_eq!(proof().await, Proof::Checked);

    found("nas", CopyState::Damaged, true).await;
    assert_eq!(proof().await, Proof::Stored);
    assert_eq!(found("nas", CopyState::Stored, false).await, 0);
    assert_eq!(
        proof().await,
        Proof::Stored,
        "a quick look cleared a damage that it can't see"
    );
    found("nas", CopyState::Stored, true).await;
    assert_eq!(proof().await, Proof::Checked);

    sqlx::query(
        "update kanbu_backup.artifact_copy set checked_at = checked_at - make_interval(days => $1)",
    )
    .bind(catalog::CHECK_HOLDS_DAYS + 1)
    .execute(db.bare_pool())
    .await
    .unwrap();
    assert_eq!(
        proof().await,
        Proof::Replicated,
        "an old check still counted"
    );
}

#[tokio::test]
async fn checks_of_backups_that_are_unknown_or_to_be_deleted_are_passed_over() {
    let (_database, db) = testing::control_db().await;
    let (going, staying) = (later("database:a", 1), later("database:a", 2));
    enter_stored(&db, &going).await;
    enter_stored(&db, &staying).await;
    catalog::decide_deletion(&db, going.id, "ann", "expired", false)
        .await
        .unwrap();

    let unknown = ArtifactId::new();
    let checks =
        [going.id, staying.id, unknown].map(|id| look(id, "local", CopyState::Stored, true));
    assert_eq!(record(&db, &checks).await, 1);
    assert_eq!(
        record(&db, &[look(going.id, "nas", CopyState::Stored, true)]).await,
        0
    );
    assert_eq!(catalog::pending_deletions(&db).await.unwrap().len(), 1);
}

#[tokio::test]
async fn pinned_backups_and_the_last_stored_one_are_not_deleted_by_accident() {
    let (_database, db) = testing::control_db().await;
    let (only, lost) = (later("database:a", 1), later("database:a", 2));
    enter_stored(&db, &only).await;
    enter(&db, &lost, &[copy_on("local", CopyState::Missing)]).await;
    // Another subject's backup is no substitute.
    enter_stored(&db, &later("database:b", 3)).await;
    let delete = async |id, force| catalog::decide_deletion(&db, id, "ann", "expired", force).await;

    let refused = delete(only.id, false).await;
    assert!(
        matches!(refused, Err(CatalogError::LastOfSubject { .. })),
        "{refused:?}"
    );
    let second = later("database:a", 4);
    enter_stored(&db, &second).await;
    catalog::pin(&db, only.id).await.unwrap();
    let refused = delete(only.id, false).await;
    assert!(
        matches!(refused, Err(CatalogError::Pinned(_))),
        "{refused:?}"
    );
    catalog::unpin(&db, only.id).await.unwrap();
    assert_eq!(delete(only.id, false).await.unwrap().len(), 1);
    delete(lost.id, false).await.unwrap();
    delete(second.id, true).await.unwrap();

    assert_eq!(
        catalog::get(&db, only.id).await.unwrap().map(|v| v.id),
        None
    );
    let gone = catalog::pin(&db, only.id).await;
    assert!(matches!(gone, Err(CatalogError::NotFound(_))), "{gone:?}");
    let never = delete(ArtifactId::new(), true).await;
    assert!(matches!(never, Err(CatalogError::NotFound(_))), "{never:?}");
}

#[tokio::test]
async fn two_deletions_at_once_leave_a_subject_its_last_backup() {
    let (_database, db) = testing::control_db().await;
    for round in 0..10 {
        let subject = format!("database:{round}");
        let (a, b) = (later(&subject, 1), later(&subject, 2));
        enter_stored(&db, &a).await;
        enter_stored(&db, &b).await;
        let (first, second) = tokio::join!(
            catalog::decide_deletion(&db, a.id, "ann", "expired", false),
            catalog::decide_deletion(&db, b.id, "bob", "expired", false),
        );
        let refused = [first, second]
            .into_iter()
            .filter_map(Result::err)
            .collect::<Vec<_>>();
        assert!(
            matches!(refused.as_slice(), [CatalogError::LastOfSubject { .. }]),
            "round {round}: {refused:?}"
        );
    }
}

/// A backup on a real directory, with a sidecar, as far as it was written.
struct World {
    place: TempDir,
    storage: Storage,
    manifest: Manifest,
    sidecar: ObjectKey,
}

impl World {
    async fn with_a_backup() -> Self {
        let place = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig {
            name: name("local"),
            role: Role::Primary,
            place: Place::Local {
                directory: place.path().to_owned(),
            },
            terms: Terms::default(),
        })
        .unwrap();
        let manifest = manifest();
        let sidecar = ObjectKey::Sidecar {
            folder: manifest.folder(),
            name: manifest.object_name(),
        };
        let text = manifest.render(None).unwrap();
        for (key, content) in [
            (&manifest.data_key(), CONTENT.to_owned()),
            (&sidecar, "header".to_owned()),
            (&manifest.manifest_key(), text),
        ] {
            storage.put_new(key, Bytes::from(content)).await.unwrap();
        }
        Self {
            place,
            storage,
            manifest,
            sidecar,
        }
    }

    fn folder_exists(&self) -> bool {
        self.place
            .path()
            .join(self.manifest.folder().to_string())
            .exists()
    }
}

#[tokio::test]
async fn a_deletion_that_crashed_at_any_step_is_completed_by_whoever_comes_next() {
    let (_database, db) = testing::control_db().await;
    for steps in 0..=4 {
        let world = World::with_a_backup().await;
        let id = world.manifest.artifact;
        enter_stored(&db, &artifact_of(&world.manifest)).await;
        catalog::decide_deletion(&db, id, "ann", "expired", true)
            .await
            .unwrap();

        // What the one that crashed had done of it, in the order of a deletion.
        let keys = [
            world.manifest.manifest_key(),
            world.sidecar.clone(),
            world.manifest.data_key(),
        ];
        for key in keys.iter().take(steps) {
            world.storage.delete(key).await.unwrap();
        }
        if steps == 4 {
            world
                .storage
                .delete_folder(&world.manifest.folder())
                .await
                .unwrap();
        }

        let pending = catalog::pending_deletions(&db).await.unwrap();
        let expected = PendingDeletion {
            artifact: id,
            folder: world.manifest.folder(),
            storage: name("local"),
        };
        assert_eq!(pending, [expected], "after {steps} steps");
        let deleted = catalog::perform_deletion(&db, &pending[0], &world.storage)
            .await
            .unwrap();
        assert_eq!(
            deleted,
            3_u64.saturating_sub(steps as u64),
            "after {steps} steps"
        );
        assert!(!world.folder_exists(), "after {steps} steps");
        assert_eq!(catalog::pending_deletions(&db).await.unwrap(), []);

        // And once more, as after a reply that was lost.
        assert_eq!(
            catalog::perform_deletion(&db, &pending[0], &world.storage)
                .await
                .unwrap(),
            0
        );
        assert_eq!(
            catalog::decide_deletion(&db, id, "bob", "again", false)
                .await
                .unwrap(),
            []
        );
    }
}

#[tokio::test]
async fn a_deletion_is_not_performed_on_another_storage() {
    let (_database, db) = testing::control_db().await;
    let world = World::with_a_backup().await;
    enter(
        &db,
        &artifact_of(&world.manifest),
        &[copy_on("nas", CopyState::Stored)],
    )
    .await;
    let id = world.manifest.artifact;
    let pending = catalog::decide_deletion(&db, id, "ann", "expired", true)
        .await
        .unwrap();
    let refused = catalog::perform_deletion(&db, &pending[0], &world.storage).await;
    assert!(
        matches!(refused, Err(CatalogError::WrongStorage { .. })),
        "{refused:?}"
    );
    assert!(world.folder_exists());
}

#[tokio::test]
async fn a_finished_backup_of_an_earlier_execution_is_adopted() {
    let world = World::with_a_backup().await;
    let of = |execution| vec![ExecutionId::new(), execution];
    let executions = of(world.manifest.execution);
    let found = adopt::find(&world.storage, &environment(), &executions)
        .await
        .unwrap();
    let (manifest, text) = found.unwrap();
    assert_eq!(manifest, world.manifest);
    assert_eq!(text, manifest.render(None).unwrap());

    let others = of(ExecutionId::new());
    assert_eq!(
        adopt::find(&world.storage, &environment(), &others)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_backup_that_is_not_whole_is_not_adopted() {
    let cut = async |world: &World| {
        let path = world
            .place
            .path()
            .join(world.manifest.data_key().to_string());
        std::fs::write(path, &CONTENT[..4]).unwrap();
    };
    let without_data = async |world: &World| {
        world
            .storage
            .delete(&world.manifest.data_key())
            .await
            .unwrap();
    };
    let without_manifest = async |world: &World| {
        world
            .storage
            .delete(&world.manifest.manifest_key())
            .await
            .unwrap();
    };
    let scribbled = async |world: &World| {
        let path = world
            .place
            .path()
            .join(world.manifest.manifest_key().to_string());
        std::fs::write(path, "{\"version\":1,").unwrap();
    };
    for damage in 0..4 {
        let world = World::with_a_backup().await;
        match damage {
            0 => cut(&world).await,
            1 => without_data(&world).await,
            2 => without_manifest(&world).await,
            _ => scribbled(&world).await,
        }
        let found = adopt::find(&world.storage, &environment(), &[world.manifest.execution]).await;
        assert_eq!(found.unwrap(), None, "damage {damage}");
    }
}

#[tokio::test]
async fn a_storage_alone_tells_which_backups_it_holds() {
    let world = World::with_a_backup().await;
    let key = |text: &str| KeyMaterial::parse(text).unwrap();
    let ours = Keyring::new(Some(key(&"07".repeat(32))), Vec::new());
    let sealed = put_sealed(&world.storage, &ours).await;
    let swapped = put_sealed(&world.storage, &ours).await;
    let path = world.place.path().join(swapped.manifest_key().to_string());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("nightly", "hacked!")).unwrap();

    let seal_of = async |keyring: &Keyring, id: ArtifactId| {
        let found = rebuild::scan(&world.storage, &environment(), keyring)
            .await
            .unwrap();
        assert_eq!(found.len(), 3);
        let found = found
            .into_iter()
            .find(|f| f.manifest.as_ref().unwrap().artifact == id)
            .unwrap();
        assert_eq!(found.copy, CopyState::Stored);
        found.seal
    };
    assert!(matches!(seal_of(&ours, sealed.artifact).await, Seal::Good));
    assert!(matches!(
        seal_of(&ours, swapped.artifact).await,
        Seal::Refused(_)
    ));
    assert!(matches!(
        seal_of(&ours, world.manifest.artifact).await,
        Seal::Absent
    ));
    let none = Keyring::new(None, Vec::new());
    assert!(matches!(
        seal_of(&none, sealed.artifact).await,
        Seal::Unchecked
    ));
    let foreign = Keyring::new(Some(key(&"08".repeat(32))), Vec::new());
    assert!(matches!(
        seal_of(&foreign, sealed.artifact).await,
        Seal::Unchecked
    ));
}

async fn put_sealed(storage: &Storage, keyring: &Keyring) -> Manifest {
    let mut sealer = Sealer::new(keyring, &Metadata::default()).unwrap();
    let (seal, key_id) = (sealer.manifest_key(), sealer.key_id());
    let mut file = Vec::new();
    sealer.push(CONTENT.as_bytes(), &mut file).unwrap();
    let summary = sealer.finish(&mut file).unwrap();
    let manifest = Manifest {
        envelope: EnvelopeFacts {
            format: EnvelopeFormat::Kbk2,
            bytes: summary.stored_bytes,
            payload_bytes: summary.payload_bytes,
            payload_sha256: [2; 32],
            generation: Some(1),
        },
        key_id: Some(key_id),
        ..manifest()
    };
    let text = manifest.render(Some(&seal)).unwrap();
    storage
        .put_new(&manifest.data_key(), Bytes::from(file))
        .await
        .unwrap();
    storage
        .put_new(&manifest.manifest_key(), Bytes::from(text))
        .await
        .unwrap();
    manifest
}
