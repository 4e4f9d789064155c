//! The local store is held to the promises of every store, and to some of its own.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use futures::FutureExt;
use kanbu_backup::{
    fault::Classified,
    id::ExecutionId,
    storage::{
        Environment, Folder, ObjectKey, Place, Role, Storage, StorageConfig, StorageError, Terms,
        Trouble, conformance, sweep,
    },
};
use rustix::io::Errno;

fn local(directory: &Path) -> StorageConfig {
    StorageConfig {
        name: "local".parse().unwrap(),
        role: Role::Primary,
        place: Place::Local {
            directory: directory.to_owned(),
        },
        terms: Terms::default(),
    }
}

fn open(directory: &Path) -> Storage {
    Storage::open(&local(directory)).unwrap()
}

fn environment() -> Environment {
    "prod".parse().unwrap()
}

fn folder_of(execution: ExecutionId) -> Folder {
    Folder::of_database(environment(), began(), execution)
}

/// An execution's id as it was made when the folders' executions began.
fn of_then() -> ExecutionId {
    let seconds = began().timestamp().unsigned_abs();
    let then = uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0);
    uuid::Uuid::new_v7(then).into()
}

fn began() -> DateTime<chrono::Utc> {
    DateTime::from_timestamp(1_768_732_200, 0).unwrap()
}

fn data(folder: &Folder) -> ObjectKey {
    ObjectKey::Data {
        folder: folder.clone(),
        name: "dump.kbk",
    }
}

fn manifest(folder: &Folder) -> ObjectKey {
    ObjectKey::Manifest {
        folder: folder.clone(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_local_storage_keeps_every_promise_of_a_storage() {
    let place = tempfile::tempdir().unwrap();
    conformance::keeps_every_promise(&open(&place.path().join("a b#1/é"))).await;
}

fn mounted(directory: &Path) -> StorageConfig {
    StorageConfig {
        place: Place::Mounted {
            directory: directory.to_owned(),
        },
        ..local(directory)
    }
}

#[tokio::test]
async fn a_mounted_storage_keeps_every_promise_of_a_storage() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("a b#1 é");
    fs::create_dir(&directory).unwrap();
    let storage = Storage::init(&mounted(&directory), true).unwrap();
    conformance::keeps_every_promise(&storage).await;
}

#[tokio::test]
async fn an_unmounted_storage_is_down_and_nothing_is_made_beneath_its_mount_point() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("drive");
    let elsewhere = place.path().join("elsewhere");
    fs::create_dir(&directory).unwrap();
    let storage = Storage::init(&mounted(&directory), true).unwrap();
    let folder = folder_of(ExecutionId::new());
    let mut late = storage.upload(&data(&folder)).await.unwrap();
    late.put_part(Bytes::from_static(b"late")).await.unwrap();
    // As an unmount does it: what was there is elsewhere, and an empty directory shows.
    fs::rename(&directory, &elsewhere).unwrap();
    fs::create_dir(&directory).unwrap();

    let error = late.complete().await.unwrap_err();
    assert_eq!(error.code(), "storage.not_mounted");
    conformance::an_unmounted_place_says_so(&storage).await;
    let error = Storage::open_existing(&mounted(&directory)).unwrap_err();
    assert_eq!(error.code(), "storage.not_mounted");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);

    fs::remove_dir(&directory).unwrap();
    fs::rename(&elsewhere, &directory).unwrap();
    storage
        .put_new(&manifest(&folder), Bytes::from_static(b"{}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_mounted_storage_that_is_away_can_be_opened_and_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("drive");
    let storage = Storage::open(&mounted(&directory)).unwrap();
    let error = storage.probe().await.unwrap_err();
    assert_eq!(error.code(), "storage.not_mounted");
    assert!(!directory.exists());
    fs::create_dir(&directory).unwrap();
    Storage::init(&mounted(&directory), true).unwrap();
    storage.probe().await.unwrap();
}

#[tokio::test]
async fn a_directory_of_the_root_file_system_is_not_taken_for_mounted() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let on_root = device(place.path()) == device(Path::new("/"));
    let init = Storage::init(&mounted(place.path()), false);
    match init {
        Err(error) if on_root => assert_eq!(error.code(), "storage.unusable"),
        Ok(_) if !on_root => {}
        other => panic!("on the root file system: {on_root}, and {other:?}"),
    }
}

#[tokio::test]
async fn a_place_that_refuses_writes_says_denied() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write anywhere but in the kernel's own file systems.
    let root = rustix::process::geteuid().is_root();
    let refusing = if root {
        Path::new("/sys")
    } else {
        place.path()
    };
    conformance::a_place_that_refuses_writes_says_denied(&open(refusing)).await;
}

#[tokio::test]
async fn a_vanished_directory_is_unreachable_and_not_empty() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("mounted");
    let storage = open(&directory);
    fs::remove_dir(&directory).unwrap();
    conformance::a_vanished_place_is_unreachable(&storage).await;
    assert!(!directory.exists(), "a storage that is gone was made anew");
}

#[tokio::test]
async fn a_storage_to_read_from_is_not_made_by_opening_it() {
    let place = tempfile::tempdir().unwrap();
    let mistyped = place.path().join("backpus");
    let error = Storage::open_existing(&local(&mistyped)).unwrap_err();
    assert_eq!(error.code(), "storage.unreachable");
    assert!(!mistyped.exists());
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Storage::open_existing(&local(&file)).unwrap_err();
    assert_eq!(error.code(), "storage.not_a_directory");
    Storage::open_existing(&local(place.path())).unwrap();
}

#[tokio::test]
async fn backups_are_for_their_owner_alone() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("made");
    let storage = open(&root);
    let folder = folder_of(ExecutionId::new());
    let mut upload = storage.upload(&data(&folder)).await.unwrap();
    upload.put_part(Bytes::from_static(b"x")).await.unwrap();
    upload.complete().await.unwrap();
    storage
        .put_new(&manifest(&folder), Bytes::from_static(b"{}"))
        .await
        .unwrap();
    for directory in ["", "prod", "prod/database", &folder.to_string()] {
        assert_eq!(mode(&root.join(directory)), 0o700, "{directory:?}");
    }
    for key in [data(&folder), manifest(&folder)] {
        assert_eq!(mode(&root.join(key.to_string())), 0o600, "{key}");
    }
}

#[tokio::test]
async fn an_unreadable_folder_is_an_error_and_not_an_empty_list() {
    let place = tempfile::tempdir().unwrap();
    let storage = open(place.path());
    // A file where a directory of folders belongs: unlike missing rights, this stops root too.
    fs::create_dir(place.path().join("prod")).unwrap();
    fs::write(place.path().join("prod/database"), "").unwrap();
    let listed = storage.folders(&environment()).await;
    assert!(
        matches!(listed, Err(StorageError::NotADirectory { .. })),
        "{listed:?}"
    );
}

#[tokio::test]
async fn the_sweep_takes_dead_executions_leftovers_and_never_a_backup() {
    let place = tempfile::tempdir().unwrap();
    let storage = open(place.path());
    let [dead, live, backup, empty] = [(); 4].map(|()| folder_of(of_then()));
    let young = Folder::of_source(environment(), began() + TimeDelta::hours(2), of_then());
    // What is imported stands under the date of its origin.
    let begun_now = folder_of(ExecutionId::new());
    for folder in [&dead, &live, &backup, &young, &begun_now] {
        storage
            .put_new(&data(folder), Bytes::from_static(b"12345"))
            .await
            .unwrap();
        // What a killed upload leaves, which the store's own listing hides.
        fs::write(place.path().join(format!("{folder}/dump.kbk#1")), "678").unwrap();
    }
    storage
        .put_new(&manifest(&backup), Bytes::from_static(b"{}"))
        .await
        .unwrap();
    fs::create_dir(place.path().join(empty.to_string())).unwrap();

    let live_ones = BTreeSet::from([live.execution()]);
    let before = began() + TimeDelta::hours(1);
    let removed = sweep::sweep(&storage, &environment(), &live_ones, before)
        .await
        .unwrap();

    let removed: HashSet<_> = removed
        .into_iter()
        .map(|d| (d.folder, d.files, d.bytes))
        .collect();
    assert_eq!(
        removed,
        HashSet::from([(dead.clone(), 2, 8), (empty.clone(), 0, 0)])
    );
    for gone in [&dead, &empty] {
        assert!(!place.path().join(gone.to_string()).exists());
    }
    for kept in [&live, &backup, &young, &begun_now] {
        assert!(place.path().join(format!("{kept}/dump.kbk")).exists());
        assert!(place.path().join(format!("{kept}/dump.kbk#1")).exists());
    }
}

#[tokio::test]
async fn a_dropped_upload_leaves_debris_that_the_sweep_takes() {
    let place = tempfile::tempdir().unwrap();
    let storage = open(place.path());
    let folder = folder_of(of_then());
    let mut upload = storage.upload(&data(&folder)).await.unwrap();
    upload.put_part(Bytes::from_static(b"half")).await.unwrap();
    // As if the process had died: nothing runs any more that could clean up.
    std::mem::forget(upload);
    let before = began() + TimeDelta::hours(1);
    let removed = sweep::sweep(&storage, &environment(), &BTreeSet::new(), before)
        .await
        .unwrap();
    assert_eq!(
        (removed.len(), removed[0].files, removed[0].bytes),
        (1, 1, 4)
    );
    assert_eq!(storage.folders(&environment()).await.unwrap(), []);
}

#[tokio::test]
async fn an_upload_whose_completion_fails_leaves_nothing() {
    for trouble in [
        Trouble::CompletionFails { with: Errno::NOSPC },
        Trouble::CompletionUnanswered,
    ] {
        let place = tempfile::tempdir().unwrap();
        let storage = open(place.path()).faulty(trouble);
        let folder = folder_of(ExecutionId::new());
        let mut upload = storage.upload(&data(&folder)).await.unwrap();
        upload.put_part(Bytes::from_static(b"x")).await.unwrap();
        let expected = match trouble {
            Trouble::CompletionUnanswered => "storage.unreachable",
            _ => "storage.full",
        };
        let error = upload.complete().await.unwrap_err();
        assert_eq!(error.code(), expected, "{trouble:?}");
        assert_eq!(
            storage.folders(&environment()).await.unwrap(),
            [],
            "{trouble:?}"
        );
    }
}

#[tokio::test]
async fn a_part_that_failed_keeps_its_upload_from_completing() {
    let place = tempfile::tempdir().unwrap();
    let trouble = Trouble::PartsFail {
        from: 1,
        with: Errno::IO,
    };
    let storage = open(place.path()).faulty(trouble);
    let folder = folder_of(ExecutionId::new());
    let mut upload = storage.upload(&data(&folder)).await.unwrap();
    upload.put_part(Bytes::from_static(b"first")).await.unwrap();
    upload
        .put_part(Bytes::from_static(b"second"))
        .await
        .unwrap_err();
    let error = upload.complete().await.unwrap_err();
    assert_eq!(error.code(), "storage.incomplete");
    assert_eq!(storage.folders(&environment()).await.unwrap(), []);
}

#[tokio::test]
async fn a_hung_part_can_be_given_up_and_its_upload_aborted() {
    let place = tempfile::tempdir().unwrap();
    let storage = open(place.path()).faulty(Trouble::PartsHang { from: 0 });
    let folder = folder_of(ExecutionId::new());
    let mut upload = storage.upload(&data(&folder)).await.unwrap();
    let part = upload.put_part(Bytes::from_static(b"x"));
    assert!(part.now_or_never().is_none());
    upload.abort().await.unwrap();
    assert_eq!(storage.folders(&environment()).await.unwrap(), []);
}

#[tokio::test]
async fn a_listing_that_fails_half_way_is_an_error_and_sweeps_nothing() {
    let place = tempfile::tempdir().unwrap();
    let sound = open(place.path());
    let folder = folder_of(ExecutionId::new());
    sound
        .put_new(&manifest(&folder), Bytes::from_static(b"{}"))
        .await
        .unwrap();
    let storage = sound.faulty(Trouble::ListingFails { with: Errno::IO });
    let before = began() + TimeDelta::hours(1);
    let swept = sweep::sweep(&storage, &environment(), &BTreeSet::new(), before).await;
    assert_eq!(swept.unwrap_err().code(), "storage.failed");
    assert!(sound.exists(&manifest(&folder)).await.unwrap());
}

#[tokio::test]
async fn a_probe_says_how_long_each_step_took() {
    let place = tempfile::tempdir().unwrap();
    let report = open(place.path()).probe().await.unwrap();
    for step in [report.write, report.read, report.list, report.delete] {
        assert!(step > Duration::ZERO, "{report:?}");
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

/// Names the directory of [`a_full_disk_says_full`] to its second half.
const FULL_DISK: &str = "KANBU_BACKUP_TEST_FULL_DISK";

/// Needs a file system of its own. It gets one in a mount namespace of its own, where this test runs a second time; the
/// mount ends with that process however it ends. Where namespaces are forbidden the fault is made up.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test starts itself in another mount namespace and hands it a directory"
)]
async fn a_full_disk_says_full() {
    if let Some(directory) = std::env::var_os(FULL_DISK) {
        let storage = open(directory.as_ref());
        return conformance::a_full_place_says_full_and_keeps_nothing(&storage).await;
    }
    let place = tempfile::tempdir().unwrap();
    let me = std::env::current_exe().unwrap();
    let script = r#"mount -t tmpfs -o size=256k tmpfs "$1" || exit 77
        exec "$2" --exact storage::a_full_disk_says_full --nocapture"#;
    let ran = std::process::Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .args([place.path(), &me])
        .env(FULL_DISK, place.path())
        .output()
        .unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    if ran.status.code() == Some(77) || complained.contains("unshare failed") {
        eprintln!("no file system of its own, a made-up fault instead: {complained}");
        return a_made_up_full_disk_says_full(&open(place.path())).await;
    }
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "{:?}\n{said}\n{complained}",
        ran.status,
    );
}

async fn a_made_up_full_disk_says_full(storage: &Storage) {
    let with = Errno::NOSPC;
    let folder = folder_of(ExecutionId::new());
    let full = storage.faulty(Trouble::PartsFail { from: 0, with });
    let mut upload = full.upload(&data(&folder)).await.unwrap();
    let error = upload.put_part(Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.code(), "storage.full");
    upload.abort().await.unwrap();
    let full = storage.faulty(Trouble::PutsFail { with });
    let error = full
        .put_new(&manifest(&folder), Bytes::new())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "storage.full");
}

#[tokio::test]
async fn a_trial_names_the_step_that_failed_and_leaves_nothing() {
    for (trouble, expected) in [
        (
            Trouble::PutsFail { with: Errno::NOSPC },
            ("write", "storage.full"),
        ),
        (Trouble::ReadsLie, ("read", "storage.failed")),
        (
            Trouble::ReadsFail {
                with: Errno::ACCESS,
            },
            ("read", "storage.denied"),
        ),
        (
            Trouble::ListingFails {
                with: Errno::ACCESS,
            },
            ("list", "storage.denied"),
        ),
        (
            Trouble::PartsFail {
                from: 1,
                with: Errno::NOSPC,
            },
            ("abort an upload", "storage.full"),
        ),
    ] {
        let place = tempfile::tempdir().unwrap();
        let trial = open(place.path()).faulty(trouble).trial().await;
        let (step, error) = trial.failed.unwrap();
        assert_eq!((step, error.code()), expected, "{trouble:?}");
        let left = fs::read_dir(place.path()).unwrap().count();
        assert_eq!(left, 0, "{trouble:?} left something");
    }
}
