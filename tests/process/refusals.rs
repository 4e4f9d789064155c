//! What is refused before anything is done: settings, start-up, wrong usage.

use std::fs;

use crate::world::World;

#[tokio::test]
async fn every_mistake_in_the_settings_is_told_at_once_with_the_nearest_name() {
    let mut world = World::new().await;
    world.set("KANBU_BACKUP_LEASE_SECOND", "3");
    world.set("BACKUP_FORMAT", "kanboo");
    world.set("KANBU_BACKUP_ZSTD_LEVEL", "99");
    let ended =
        world
            .run(&["list"])
            .await
            .refused(2, "config.invalid", "KANBU_BACKUP_LEASE_SECOND");
    for part in [
        "BACKUP_FORMAT",
        "kanboo",
        "native or kanbu",
        "KANBU_BACKUP_ZSTD_LEVEL",
        "KANBU_BACKUP_LEASE_SECONDS",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn the_protected_database_is_refused_as_control_database_before_a_table_is_made_in_it() {
    let mut world = World::new().await;
    let url = world.protected.url.clone();
    // As the same text, it is a mistake in the settings.
    world.set("KANBU_BACKUP_DATABASE_URL", &url);
    world
        .run(&["worker"])
        .await
        .refused(2, "config.invalid", "is the same as DATABASE_URL");
    // By another address, the servers are asked.
    world.set(
        "KANBU_BACKUP_DATABASE_URL",
        &url.replace("127.0.0.1", "localhost"),
    );
    for verb in [&["worker"][..], &["up"], &["migrate", "db"]] {
        world.run(verb).await.refused(
            2,
            "control.same_database",
            "the control database may not be the database that is backed up",
        );
    }
    let ours = "select nspname::text from pg_namespace where nspname like 'kanbu%'";
    assert_eq!(world.protected.texts(ours).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_control_database_that_is_away_is_told_by_worker_and_verbs() {
    let mut world = World::new().await;
    let url = "postgres://kanbu_backup:hunter2@127.0.0.1:1/kanbu_backup";
    world.set("KANBU_BACKUP_DATABASE_URL", url);
    for args in [&["worker"][..], &["list"], &["backup"], &["migrate", "db"]] {
        let ended = world.run(args).await.refused(
            8,
            "control.unreachable",
            "could not connect to the control database at 127.0.0.1:1",
        );
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
    let doctor = world.run(&["doctor"]).await.with(1);
    assert!(
        doctor.stdout.contains("✘ control database"),
        "{}",
        doctor.stdout
    );
}

#[tokio::test]
async fn up_is_refused_while_another_runs_on_its_directory() {
    let world = World::alone().await;
    let first = world.start(&["up"]);
    first.until_it_says("working").await;
    world
        .run(&["up"])
        .await
        .refused(5, "server.already_running", "already runs");
    world.run(&["job", "list"]).await.with(0);
    world.dismiss(first).await;
    // And without it the verbs say what to start.
    world.run(&["job", "list"]).await.refused(
        8,
        "server.not_running",
        "no private PostgreSQL is running",
    );
}

#[tokio::test]
async fn a_worker_needs_to_be_told_its_control_database() {
    let world = World::alone().await;
    world.run(&["worker"]).await.refused(
        2,
        "config.no_control_database",
        "`worker` needs a control database",
    );
}

#[tokio::test]
async fn a_host_without_postgresql_is_told_how_to_install_it() {
    let mut world = World::new().await;
    // In a mount namespace of its own: no program of PostgreSQL, in none of the usual places.
    let hidden = r#"for place in /usr/lib/postgresql /usr/pgsql-* /usr/local/pgsql; do
            [ ! -d "$place" ] || mount -t tmpfs tmpfs "$place" || exit 77
        done
        PATH=/nowhere; export PATH; exec "$@""#;
    world.wrap(&[
        "/usr/bin/unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "/bin/sh",
        "-c",
        hidden,
        "sh",
    ]);
    let version = world.run(&["version"]).await;
    if version.code != 0 {
        eprintln!("not tested, no mounts on this host: {}", version.stderr);
        return;
    }
    let worker = world.start(&["worker"]);
    worker.until_it_says("working").await;
    let tools = world.run(&["backup"]).await;
    tools.refused(
        8,
        "tools.no_client",
        "no PostgreSQL client tools were found",
    );
    assert_eq!(world.newest_job().await.attempts, 1);

    world.unset("KANBU_BACKUP_DATABASE_URL");
    let up = world.run(&["up"]).await.refused(
        8,
        "server.not_installed",
        "is not installed on this host",
    );
    assert!(
        up.stderr.contains("apt-get install postgresql"),
        "{}",
        up.stderr
    );
}

#[tokio::test]
async fn an_unknown_backup_a_wrong_subject_and_a_wrong_word_have_their_own_exit_codes() {
    let world = World::new().await;
    world
        .run(&["show", "0123abcd"])
        .await
        .refused(4, "catalog.not_found", "0123abcd");
    world
        .run(&["restore", "latest"])
        .await
        .refused(4, "catalog.not_found", "latest");
    world
        .run(&["job", "show", "0123abcd"])
        .await
        .refused(4, "queue.not_found", "0123abcd");
    world
        .run(&["backup", "database", "--subject", "other"])
        .await
        .with(2);
    world.run(&["backup", "everything"]).await.with(2);
    world.run(&["list", "--since", "yesterweek"]).await.with(2);
    let empty = world.run(&["list", "--from", "nowhere"]).await;
    empty.refused(7, "storage.unreachable", "");
    fs::create_dir(world.path("void")).unwrap();
    let void = world.path("void");
    world
        .run(&["restore", "--from", void.to_str().unwrap(), "--into", "x"])
        .await
        .with(4);
}
