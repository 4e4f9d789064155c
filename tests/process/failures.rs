//! What goes wrong while a job runs: the operator reads a sentence, a stable code and a hint; the exit code fits; nothing
//! is listed that can't be restored, and nothing half made stays.

use std::{fs, net::TcpListener, os::unix::fs::FileExt, path::Path};

use kanbu_backup::{execution::Outcome, queue::JobState, testing::TestServer};

use crate::{
    running::{Running, everything_in, until},
    world::World,
};

/// Starts what follows with a small disk, or a read-only one, mounted where the first argument says. The mount is seen by
/// nobody else and ends with the process.
const MOUNTED: [&str; 7] = [
    "/usr/bin/unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "/bin/sh",
    "-c",
    r#"options=$1 directory=$2; shift 2; mount -t tmpfs -o "$options" tmpfs "$directory" && exec "$@""#,
];

/// A worker whose storage is such a mount; verbs see it as it was. `None` where this host forbids mounts.
async fn worker_on_mount(world: &mut World, options: &str) -> Option<Running> {
    let place = world.path("backups");
    fs::create_dir(&place).unwrap();
    let place = place.to_str().unwrap().to_owned();
    let wrapper = [&MOUNTED[..], &["sh", options, &place]].concat();
    world.wrap(&wrapper);
    let worker = world.start(&["worker"]);
    world.wrap(&[]);
    let said = until("a worker, or why there is none", async || {
        let said = worker.said();
        (said.contains("working") || said.contains("unshare") || said.contains("mount:"))
            .then_some(said)
    })
    .await;
    if !said.contains("working") {
        eprintln!("not tested, no mounts on this host: {said}");
        return None;
    }
    Some(worker)
}

/// The mounted storage as its worker sees it.
fn seen_by(worker: &Running, world: &World) -> Vec<String> {
    let place = world.path("backups");
    let root = format!("/proc/{}/root", worker.pid());
    let mut files = everything_in(&Path::new(&root).join(place.strip_prefix("/").unwrap()));
    files.retain(|path| Path::new(path).is_file());
    files
}

#[tokio::test]
async fn a_full_disk_fails_the_backup_and_keeps_nothing_of_it() {
    let mut world = World::large().await;
    world.without_retries().await;
    let Some(worker) = worker_on_mount(&mut world, "size=256k").await else {
        return;
    };
    world
        .run(&["backup"])
        .await
        .refused(7, "storage.full", "storage local is full");
    assert_eq!(world.listed().await, 0);
    assert_eq!(seen_by(&worker, &world), Vec::<String>::new());
    world.holds().await;
}

#[tokio::test]
async fn a_storage_that_may_only_be_read_fails_the_backup_at_once() {
    let mut world = World::new().await;
    let Some(_worker) = worker_on_mount(&mut world, "ro").await else {
        return;
    };
    // No attempt is repeated: it would fail the same way.
    world
        .run(&["backup"])
        .await
        .refused(7, "storage.denied", "refused access");
    assert_eq!(world.newest_job().await.attempts, 1);
    assert_eq!(world.listed().await, 0);
}

#[tokio::test]
async fn a_storage_that_went_away_is_not_made_anew_beneath_its_mount_point() {
    let world = World::new().await;
    world.without_retries().await;
    let _worker = world.worker("one").await;
    fs::remove_dir_all(world.path("backups")).unwrap();
    world
        .run(&["backup"])
        .await
        .refused(7, "storage.unreachable", "could not reach storage local");
    assert!(!world.path("backups").exists());
    assert_eq!(world.listed().await, 0);
}

#[tokio::test]
async fn a_replica_that_went_away_degrades_the_backup_and_costs_it_nothing_else() {
    let mut world = World::new().await;
    let (near, far) = (world.path("near"), world.path("far"));
    let replicas = format!("near={},far={}", near.display(), far.display());
    world.set("KANBU_BACKUP_REPLICAS", &replicas);
    let _worker = world.worker("one").await;
    fs::remove_dir_all(&far).unwrap();
    let ended = world.run(&["backup", "--json"]).await.with(3);
    let result = ended.result();
    assert_eq!(
        (&result["outcome"], &result["copies"]),
        (&"degraded".into(), &2.into())
    );
    assert!(ended.stdout.contains("storage.no_copy"), "{}", ended.stdout);
    assert!(ended.stdout.contains("no copy on far"), "{}", ended.stdout);
    let list = world.run(&["list"]).await.with(0).stdout;
    assert!(list.contains("2/3 !"), "{list}");
    // The primary is lost as well; the restore takes the copy that is there.
    fs::remove_file(world.object()).unwrap();
    world.run(&["verify", "latest"]).await.with(6);
    let target = format!("{}_back", world.protected.name);
    world
        .result(&["restore", "latest", "--into", &target])
        .await;
    let before = world.checksums(&world.protected.name).await;
    assert_eq!(world.checksums(&target).await, before);
    world
        .protected
        .run(&format!("drop database {target}"))
        .await;
    world.holds().await;
}

#[tokio::test]
async fn a_storage_that_can_not_be_opened_stops_the_worker_at_its_start() {
    let world = World::new().await;
    fs::write(world.path("backups"), "a file").unwrap();
    world
        .run(&["worker"])
        .await
        .refused(7, "storage.not_a_directory", "storage local");
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_server_that_is_down_is_told_with_its_place_and_nothing_is_listed() {
    let mut world = World::new().await;
    world.without_retries().await;
    let port = closed_port();
    world.set(
        "DATABASE_URL",
        &format!("postgres://kanbu:hunter2@127.0.0.1:{port}/kanbu"),
    );
    let worker = world.worker("one").await;
    let ended = world.run(&["backup"]).await.refused(
        8,
        "database.unreachable",
        &format!("could not reach the server at 127.0.0.1:{port}"),
    );
    assert!(!ended.stderr.contains("hunter2"));
    let ended = world.run(&["backup", "--json"]).await.with(8);
    let error = ended.result();
    assert_eq!(
        (&error["type"], &error["code"]),
        (&"error".into(), &"database.unreachable".into())
    );
    assert_eq!(error["retryable"], true);
    assert!(
        error["hint"].as_str().unwrap().contains("DATABASE_URL"),
        "{error}"
    );
    assert_eq!(world.listed().await, 0);
    assert_eq!(world.stored(), Vec::<String>::new());
    assert!(!worker.said().contains("hunter2"), "{}", worker.said());
    // What the row keeps is shown later, too.
    let id = world.newest_job().await.id.to_string();
    let show = world.run(&["job", "show", &id]).await.with(0).stdout;
    assert!(show.contains("hint: check that the server runs"), "{show}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_once_and_for_all() {
    let mut world = World::new().await;
    let (user_and_password, rest) = {
        let url = world.protected.url.strip_prefix("postgres://").unwrap();
        let (login, rest) = url.split_once('@').unwrap();
        (login.to_owned(), rest.to_owned())
    };
    let (user, _) = user_and_password.split_once(':').unwrap();
    world.set(
        "DATABASE_URL",
        &format!("postgres://{user}:wrong-guess@{rest}"),
    );
    let worker = world.worker("one").await;
    let ended = world
        .run(&["backup"])
        .await
        .refused(8, "database.authentication", "refused user");
    assert!(!ended.stderr.contains("wrong-guess") && !worker.said().contains("wrong-guess"));
    assert_eq!(world.newest_job().await.attempts, 1);
    assert_eq!(world.listed().await, 0);
}

#[tokio::test]
async fn a_server_that_ends_the_connection_in_mid_dump_leaves_nothing_on_the_storage() {
    let world = World::large().await;
    world.without_retries().await;
    let worker = world.worker("one").await;
    let _held = world.hold_dumps().await;
    let backup = world.start(&["backup"]);
    world.until_dump_waits(&worker).await;
    world
        .protected
        .run(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and application_name like 'kanbu_backup/%'",
        )
        .await;
    backup
        .end()
        .await
        .refused(8, "database.went_away", "lost its connection");
    assert_eq!(world.listed().await, 0);
    assert_eq!(world.stored(), Vec::<String>::new());
}

#[tokio::test]
async fn a_restore_without_the_right_key_creates_nothing() {
    let mut world = World::new().await;
    let worker = world.worker("one").await;
    world.result(&["backup"]).await;
    world.dismiss(worker).await;
    let target = format!("{}_back", world.protected.name);
    let restore = ["restore", "latest", "--into", &target];

    world.unset("BACKUP_ENCRYPTION_KEY");
    let worker = world.worker("without a key").await;
    world
        .run(&restore)
        .await
        .refused(10, "key.none_fits", "no key at hand opens");
    assert!(!world.has_database(&target).await);
    world.dismiss(worker).await;

    world.set("BACKUP_ENCRYPTION_KEY", &"ab".repeat(32));
    let worker = world.worker("with another key").await;
    world
        .run(&restore)
        .await
        .refused(10, "key.none_fits", "no key at hand opens");
    assert!(!world.has_database(&target).await);
    // The stored bytes can be checked without it, and the copy isn't blamed.
    world.result(&["verify", "latest"]).await;
    world.dismiss(worker).await;

    world.set("KANBU_BACKUP_OLD_ENCRYPTION_KEYS", crate::world::KEY);
    let _worker = world.worker("with the old key too").await;
    world.result(&restore).await;
    let before = world.checksums(&world.protected.name).await;
    assert_eq!(world.checksums(&target).await, before);
    world
        .protected
        .run(&format!("drop database {target}"))
        .await;
}

#[tokio::test]
async fn a_restore_never_touches_a_database_that_is_there() {
    let world = World::new().await;
    let _worker = world.worker("one").await;
    world.result(&["backup"]).await;
    let before = world.checksums(&world.protected.name).await;
    for extra in [&[][..], &["--dry-run"]] {
        let restore = ["restore", "latest", "--into", &world.protected.name];
        world.run(&[&restore[..], extra].concat()).await.refused(
            5,
            "database.exists",
            "exists already",
        );
    }
    assert_eq!(world.checksums(&world.protected.name).await, before);
}

/// Backed up, then spoilt by `spoil`; verify and restore must both notice.
async fn spoilt_is_noticed(spoil: impl Fn(&fs::File, u64), code: &str) {
    let world = World::new().await;
    let _worker = world.worker("one").await;
    let backup = world.result(&["backup"]).await;
    let object = world.object();
    let file = fs::OpenOptions::new().write(true).open(&object).unwrap();
    spoil(&file, file.metadata().unwrap().len());
    let target = format!("{}_back", world.protected.name);
    let restore = ["restore", "latest", "--into", &target];
    world.run(&restore).await.refused(6, code, "");
    assert!(!world.has_database(&target).await);
    let verified = world.run(&["verify", "latest", "--json"]).await.with(6);
    assert_eq!(verified.result()["bad"], 1);
    assert!(
        verified.stdout.contains("copy.damaged"),
        "{}",
        verified.stdout
    );
    assert!(
        verified.stdout.contains("backup.lost"),
        "{}",
        verified.stdout
    );
    // Now it is known to be bad, and isn't even tried.
    let list = world.run(&["list", "--json"]).await.with(0);
    assert_eq!(list.document()["backups"][0]["proof"], "lost");
    let id = backup["artifact"].as_str().unwrap();
    world
        .run(&["restore", id, "--into", &target])
        .await
        .refused(7, "storage.no_copy", "has no good copy");
    assert!(!world.has_database(&target).await);
    world.holds().await;
}

#[tokio::test]
async fn a_flipped_byte_is_found_before_a_database_is_created() {
    let flip = |file: &fs::File, len: u64| {
        file.write_all_at(&[0x5a, 0xa5, 0x5a, 0xa5], len - 200)
            .unwrap();
    };
    spoilt_is_noticed(flip, "envelope.chunk_auth").await;
}

#[tokio::test]
async fn a_cut_object_is_found_before_a_database_is_created() {
    let cut = |file: &fs::File, len: u64| file.set_len(len - 100).unwrap();
    spoilt_is_noticed(cut, "envelope.length_mismatch").await;
}

#[tokio::test]
async fn a_lost_object_is_found_by_a_glance() {
    let world = World::new().await;
    let _worker = world.worker("one").await;
    world.result(&["backup"]).await;
    fs::remove_file(world.object()).unwrap();
    let verified = world
        .run(&["verify", "latest", "--quick", "--json"])
        .await
        .with(6);
    assert!(
        verified.stdout.contains("copy.missing"),
        "{}",
        verified.stdout
    );
}

#[tokio::test]
async fn a_restart_of_the_control_database_costs_a_running_backup_nothing() {
    let server = TestServer::start(&[]).await;
    let mut world = World::large_on(&server).await;
    world.set("KANBU_BACKUP_LEASE_SECONDS", "30");
    let worker = world.worker("one").await;
    let held = world.hold_dumps().await;
    let backup = world.start(&["backup"]);
    world.until_dump_waits(&worker).await;
    let job = world.newest_job().await.id;
    let _server = server.crashed_and_restarted().await;
    drop(held);
    backup.end().await.with(0);
    world.until_job(job, JobState::Succeeded).await;
    let runs = world.executions(job).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].outcome, Some(Outcome::Succeeded));
    assert_eq!(world.listed().await, 1);
    world.holds().await;
    world.dismiss(worker).await;
}
