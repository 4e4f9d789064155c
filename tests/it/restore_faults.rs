//! Every fault in the middle of a restore, by every way of restoring: the live database is what it was, nothing that was
//! half made stays, and the outcome says what happened.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use kanbu_backup::{
    backup::Format,
    execution::Lease,
    fault::Fault,
    pg::{
        cluster::Cluster,
        process::Program,
        scratch::Ground,
        tools::{Toolset, find_toolsets},
    },
    testing::{ScratchDirectory, TestServer, toolsets},
};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::PgConnection;

use crate::{
    fault_world::{EVERY_WAY, GATED, Line, ON_THE_SERVER, Stage, Way},
    protected::execute,
    use_world::keyring,
};

/// A table whose row is refused with this state and these words wherever it is loaded. It comes after `people`.
fn refused(state: &str, words: &str) -> String {
    format!(
        "create function fits(n int) returns boolean language plpgsql volatile as $$
         begin
           if not public.is_live() then
             raise exception using errcode = '{state}', message = '{words}';
           end if;
           return true;
         end $$;
         create table picky (n int check (public.fits(n)));
         insert into picky values (1)"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_fails_in_the_middle_of_a_dump_harms_nothing_and_is_told() {
    let server = TestServer::start(&[]).await;
    for (state, words, code, fault) in [
        (
            "P0001",
            "picky will have none of it",
            "restore.load_failed",
            Fault::Permanent,
        ),
        // As a server says it that is out of room.
        (
            "53100",
            "could not extend file \"base/1/2\": No space left on device",
            "database.full",
            Fault::Transient,
        ),
    ] {
        for format in [Format::Native, Format::Kanbu] {
            let stage = Stage::new(&server, &refused(state, words), format).await;
            for way in EVERY_WAY.into_iter().filter(|way| way.takes(format)) {
                let failure = stage.failed(way).await;
                let what = format!("{format:?} {way:?}: {failure}");
                assert_eq!((&*failure.code, failure.fault), (code, fault), "{what}");
                assert!(failure.message.contains(words), "{what}");
                stage.assert_unharmed(&what).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_in_mid_load_harms_nothing_and_is_told() {
    let server = TestServer::start(&[]).await;
    let stage = Stage::new(&server, GATED, Format::Native).await;
    for way in EVERY_WAY {
        let lease = Arc::new(Lease::unattended());
        let (ended, ()) = tokio::join!(stage.restored(way, &lease), async {
            let mut admin = stage.until_it_loads(way, lease.execution()).await;
            run(
                &mut admin,
                "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'",
            )
            .await;
        });
        let failure = ended.unwrap_err();
        let what = format!("{way:?}: {failure}");
        assert_eq!(failure.code, "database.went_away", "{what}");
        assert_eq!(failure.fault, Fault::Transient, "{what}");
        assert!(failure.message.contains("terminating connection"), "{what}");
        stage.assert_unharmed(&what).await;
    }
}

async fn run(connection: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_cut_in_mid_load_harms_nothing_and_is_told() {
    let server = TestServer::start(&[]).await;
    let mut stage = Stage::new(&server, GATED, Format::Native).await;
    let line = Line::to(&stage.world.url(stage.live())).await;
    stage.target = line.cluster.clone();
    for way in ON_THE_SERVER {
        let lease = Arc::new(Lease::unattended());
        let (ended, ()) = tokio::join!(stage.restored(way, &lease), async {
            stage.until_it_loads(way, lease.execution()).await;
            line.cut();
        });
        let failure = ended.unwrap_err();
        let what = format!("{way:?}: {failure}");
        assert_eq!(failure.code, "restore.guard_lost", "{what}");
        assert_eq!(failure.fault, Fault::Transient, "{what}");
        stage.assert_unharmed(&what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_and_comes_again_in_mid_load_has_what_it_had_and_nothing_else() {
    let mut server = TestServer::start(&[]).await;
    let stage = Stage::new(&server, GATED, Format::Native).await;
    for way in ON_THE_SERVER {
        let lease = Arc::new(Lease::unattended());
        let (ended, again) = tokio::join!(stage.restored(way, &lease), async {
            stage.until_it_loads(way, lease.execution()).await;
            server.crashed_and_restarted().await
        });
        server = again;
        let failure = ended.unwrap_err();
        let what = format!("{way:?}: {failure}");
        assert_eq!(failure.code, "restore.guard_lost", "{what}");
        assert_eq!(failure.fault, Fault::Transient, "{what}");
        stage.assert_unharmed(&what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_server_that_dies_in_mid_load_says_nothing_against_the_backup() {
    let server = TestServer::start(&[]).await;
    let stage = Stage::new(&server, GATED, Format::Native).await;
    let way = Way::Test(Ground::Scratch);
    let lease = Arc::new(Lease::unattended());
    let (ended, ()) = tokio::join!(stage.restored(way, &lease), async {
        let mut admin = stage.until_it_loads(way, lease.execution()).await;
        let data: String = sqlx::query_scalar("show data_directory")
            .fetch_one(&mut admin)
            .await
            .unwrap();
        let file = fs::read_to_string(Path::new(&data).join("postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    });
    let failure = ended.unwrap_err();
    assert_eq!(failure.fault, Fault::Transient, "{failure}");
    assert_eq!(failure.code, "server.ended", "{failure}");
    stage.assert_unharmed("a dead private server").await;
    assert_eq!(stage.world.view(stage.artifact.id).await.test_restore, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_harms_nothing_and_is_told() {
    let server = TestServer::start(&[]).await;
    for format in [Format::Native, Format::Kanbu] {
        let mut stage = Stage::new(&server, "", format).await;
        stage.keyring = keyring(&"77".repeat(32));
        for way in EVERY_WAY.into_iter().filter(|way| way.takes(format)) {
            let failure = stage.failed(way).await;
            let what = format!("{format:?} {way:?}: {failure}");
            // Who reads while it loads is told by the one who opens it, others by the one who has read all of it.
            let code = match way {
                Way::ByTwo => "key.no_match",
                _ => "key.none_fits",
            };
            assert_eq!(
                (&*failure.code, failure.fault),
                (code, Fault::Permanent),
                "{what}"
            );
            stage.assert_unharmed(&what).await;
        }
    }
}

/// The places at which a restore beside the live database is refused are random, and 200: `use_restore`. Here it is the
/// other ways that are to refuse as early.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_or_changed_replaces_nothing_and_is_proven_by_nobody() {
    let server = TestServer::start(&[]).await;
    let stage = Stage::new(&server, "", Format::Native).await;
    let objects = ["one", "two"].map(|storage| stage.world.object(storage, &stage.artifact));
    let whole = fs::read(&objects[0]).unwrap();
    for (number, way) in ON_THE_SERVER.into_iter().cycle().take(24).enumerate() {
        // Spread over all of it, the last byte included.
        let at = (whole.len() - 1) * number / 23;
        let mut bytes = whole.clone();
        if number % 2 == 0 {
            bytes[at] ^= 0x10;
        } else {
            bytes.truncate(at);
        }
        for object in &objects {
            fs::write(object, &bytes).unwrap();
        }
        let failure = stage.failed(way).await;
        let what = format!("byte {at} {way:?}: {failure}");
        assert_eq!(failure.fault, Fault::Permanent, "{what}");
        let family = failure.code.split('.').next().unwrap();
        assert!(
            ["envelope", "integrity", "storage"].contains(&family),
            "{what}"
        );
        stage.assert_unharmed(&what).await;
        // That the copies are bad was noted; the next one is to read them all the same.
        sqlx::query("update kanbu_backup.artifact_copy set state = 'stored', error = null, bad_since = null")
            .execute(stage.world.db.bare_pool())
            .await
            .unwrap();
    }
}

/// A PostgreSQL that sees a small disk where `place` is. The mount is its own and ends with it. `None` where this host
/// forbids mounts.
async fn programs_with_a_small_disk(directory: &Path, place: &Path) -> Option<Vec<Toolset>> {
    let real = toolsets().await.into_iter().find(|set| set.has_server)?;
    let bin = directory.join("bin");
    for made in [&bin, place] {
        fs::create_dir(made).unwrap();
        fs::set_permissions(made, Permissions::from_mode(0o755)).unwrap();
    }
    for name in ["initdb", "pg_dump", "pg_restore", "psql"] {
        symlink(real.program(name), bin.join(name)).unwrap();
    }
    let script = format!(
        r#"#!/bin/sh
        exec unshare --user --map-root-user --mount /bin/sh -c '
            mount -t tmpfs -o size=12m,mode=700 tmpfs {place} || exit 77
            exec unshare --user --map-user={uid} --map-group={gid} setpriv --pdeathsig QUIT {postgres} "$@"
        ' sh "$@""#,
        place = place.display(),
        uid = 4242,
        gid = 4242,
        postgres = real.program("postgres").display(),
    );
    let postgres = bin.join("postgres");
    fs::write(&postgres, script).unwrap();
    fs::set_permissions(&postgres, Permissions::from_mode(0o755)).unwrap();
    let patience = std::time::Duration::from_mins(1);
    let tried = Program::new(&postgres)
        .arg("--version")
        .run(4096, patience)
        .await;
    if let Err(error) = tried {
        eprintln!("no real disk was filled, no mounts on this host: {error}");
        return None;
    }
    let mut found = find_toolsets(std::slice::from_ref(&bin), None).await;
    let bin = fs::canonicalize(bin).unwrap();
    found.retain(|set| set.directory == bin);
    Some(found)
}

/// Where mounts are forbidden a full disk is only told of: the test of statements that fail has that one, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_in_mid_load_harms_nothing_and_is_told() {
    let directory = ScratchDirectory::new();
    let place: PathBuf = directory.path().join("small");
    let Some(programs) = programs_with_a_small_disk(directory.path(), &place).await else {
        return;
    };
    let server = TestServer::start_with(programs).await;
    let admin = Cluster::from_url(&server.url()).unwrap();
    let tablespace = format!("create tablespace small location '{}'", place.display());
    execute(&admin, &tablespace).await;
    let statements = "create table zeal (n int, bytes bytea) tablespace small;
         alter table zeal alter bytes set storage external;
         insert into zeal select n, decode(repeat(md5(n::text), 64), 'hex') from generate_series(1, 6000) as n";
    let stage = Stage::new(&server, statements, Format::Native).await;
    for way in ON_THE_SERVER {
        let failure = stage.failed(way).await;
        let what = format!("{way:?}: {failure}");
        assert_eq!(failure.code, "database.full", "{what}");
        assert_eq!(failure.fault, Fault::Transient, "{what}");
        assert!(
            failure.message.contains("No space left on device"),
            "{what}"
        );
        stage.assert_unharmed(&what).await;
    }
    execute(&stage.world.cluster, "drop table zeal").await;
}
