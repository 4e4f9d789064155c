//! Importing beside others, over a crash, and under changing files.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use kanbu_backup::{
    catalog::{self, Filter},
    clock::SystemClock,
    control::ControlDb,
    crypto::Keyring,
    import::{self, Adopted, Brought, Deps, Stranded},
    storage::{Place, Role, Storage, StorageConfig, Terms},
    testing,
};
use tempfile::TempDir;

const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\nselect 1;\n\n--\n-- PostgreSQL database dump complete\n--\n\n";

struct World {
    place: TempDir,
    deps: Deps,
}

impl World {
    fn new(catalog: &ControlDb) -> Self {
        let place = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig {
            name: "local".parse().unwrap(),
            role: Role::Primary,
            place: Place::Local {
                directory: place.path().join("storage"),
            },
            terms: Terms::default(),
        });
        let deps = Deps {
            environment: "prod".parse().unwrap(),
            storage: storage.unwrap(),
            keyring: Keyring::new(None, Vec::new()),
            catalog: catalog.clone(),
            toolsets: Vec::new(),
            patience: Duration::from_mins(1),
            clock: Arc::new(SystemClock),
        };
        Self { place, deps }
    }

    fn file(&self, content: &str) -> Brought {
        let path: PathBuf = self.place.path().join("old.sql");
        fs::write(&path, content).unwrap();
        Brought {
            path,
            subject: Some("database:old".parse().unwrap()),
            stamp: Some("2025-03-04T05:06:07Z".parse().unwrap()),
            may_be_v1: false,
        }
    }

    async fn folders(&self) -> usize {
        let folders = self.deps.storage.folders(&self.deps.environment).await;
        folders.unwrap().len()
    }
}

async fn adopt(brought: &Brought, deps: &Deps) -> Adopted {
    let examined = import::examine(brought, deps).await.unwrap();
    import::adopt(&examined, &mut Stranded::default(), deps)
        .await
        .unwrap()
}

#[tokio::test]
async fn one_file_that_is_imported_twice_at_once_becomes_one_backup() {
    let (_database, db) = testing::control_db().await;
    for round in 0..5 {
        let world = World::new(&db);
        let brought = world.file(&DUMP.replace("select 1", &format!("select {round}")));
        let (first, second) =
            tokio::join!(adopt(&brought, &world.deps), adopt(&brought, &world.deps));
        let (new, known) = match (first, second) {
            (Adopted::New(new), Adopted::Known(known))
            | (Adopted::Known(known), Adopted::New(new)) => (new, known),
            both => panic!("round {round}: {both:?}"),
        };
        assert_eq!(new, known);
        assert_eq!(world.folders().await, 1, "round {round}");
    }
}

#[tokio::test]
async fn an_import_that_died_before_the_catalog_knew_is_taken_up_again() {
    let (_database, db) = testing::control_db().await;
    let mut world = World::new(&db);
    let brought = world.file(DUMP);
    let first = adopt(&brought, &world.deps).await;
    // To another catalog it is a backup that nobody entered.
    let (_other, other) = testing::control_db().await;
    world.deps.catalog = other.clone();
    let second = adopt(&brought, &world.deps).await;
    assert_eq!(first, second);
    assert_eq!(world.folders().await, 1);
    let listed = catalog::list(&other, &Filter::default()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        listed[0].created_at.to_rfc3339(),
        "2025-03-04T05:06:07+00:00"
    );
    // Once it was deleted on purpose, the file may be brought again.
    let Adopted::New(id) = second else {
        panic!("{second:?}")
    };
    for deletion in catalog::decide_deletion(&other, id, "ann", "unwanted", true)
        .await
        .unwrap()
    {
        catalog::perform_deletion(&other, &deletion, &world.deps.storage)
            .await
            .unwrap();
    }
    assert!(matches!(adopt(&brought, &world.deps).await, Adopted::New(again) if again != id));
}

#[tokio::test]
async fn a_file_that_changes_after_it_was_read_leaves_nothing_behind() {
    let (_database, db) = testing::control_db().await;
    let world = World::new(&db);
    let brought = world.file(DUMP);
    let examined = import::examine(&brought, &world.deps).await.unwrap();
    for changed in [
        DUMP.replace("select 1", "select 2"),
        DUMP[..40].to_owned(),
        format!("{DUMP}x"),
    ] {
        fs::write(&brought.path, changed).unwrap();
        let failure = import::adopt(&examined, &mut Stranded::default(), &world.deps).await;
        assert_eq!(failure.unwrap_err().code, "import.changed");
        assert_eq!(world.folders().await, 0);
    }
    fs::remove_file(&brought.path).unwrap();
    let failure = import::adopt(&examined, &mut Stranded::default(), &world.deps).await;
    assert_eq!(failure.unwrap_err().code, "import.unreadable");
    assert_eq!(world.folders().await, 0);
    assert!(
        catalog::list(&db, &Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
}
