//! The whole product's worker under a login that has the rights of a worker and no others.

use kanbu_backup::queue::JobState;

use crate::world::World;

#[tokio::test]
async fn a_worker_needs_the_worker_s_role_and_no_more() {
    let mut world = World::new().await;
    let name = format!("login_{}", world.control().name);
    world
        .control()
        .run(&format!(
            "create role {name} login password 'p-{name}' in role kanbu_backup_worker"
        ))
        .await;
    let owner = world.control().url.clone();
    let (_, place) = owner.rsplit_once('@').unwrap();
    let url = format!("postgresql://{name}:p-{name}@{place}");
    world.set("KANBU_BACKUP_DATABASE_URL", &url);

    let worker = world.worker("limited").await;
    // The command line too: enqueueing, following, reading the catalog and a restore.
    world.result(&["backup", "database"]).await;
    world.result(&["backup", "source"]).await;
    world.result(&["verify", "latest"]).await;
    let restored = format!("{}_restored", world.protected.name);
    world
        .result(&["restore", "latest", "--into", &restored])
        .await;
    assert!(world.has_database(&restored).await);
    assert_eq!(world.listed().await, 2);
    assert_eq!(world.newest_job().await.state, JobState::Succeeded);

    let known = "select subject from kanbu_backup.subject order by 1";
    let known = world.control().texts(known).await;
    assert_eq!(known[0], format!("database:{}", world.protected.name));
    assert!(known[1].starts_with("source:"), "{known:?}");
    let unknown = world
        .control()
        .texts("select distinct requested_by from kanbu_backup.job")
        .await;
    assert_eq!(unknown, ["cli"]);
    world.holds().await;
    world.dismiss(worker).await;
}
