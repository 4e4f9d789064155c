//! Storages as an operator sets them up.

use std::fs;

use crate::world::World;

#[tokio::test]
async fn a_mount_is_no_storage_until_somebody_says_so_while_it_is_mounted() {
    let mut world = World::new().await;
    let drive = world.path("drive");
    fs::create_dir(&drive).unwrap();
    world.set("BACKUP_STORAGE", "gdrive");
    world.set("BACKUP_GDRIVE_PATH", drive.to_str().unwrap());
    let ended = world.run(&["doctor"]).await;
    assert!(
        ended.code != 0 && ended.stdout.contains("is not mounted"),
        "{ended:?}"
    );
    assert_eq!(fs::read_dir(&drive).unwrap().count(), 0);

    world.run(&["storage", "init", "gdriev"]).await.refused(
        2,
        "usage.no_subject",
        "no storage \"gdriev\" is configured",
    );
    let ended = world.run(&["storage", "init", "gdrive", "--anyway"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stdout.contains("gdrive is ready: mounted directory"),
        "{ended:?}"
    );
    let ended = world.run(&["doctor"]).await;
    assert!(ended.stdout.contains("mounted directory"), "{ended:?}");
}
