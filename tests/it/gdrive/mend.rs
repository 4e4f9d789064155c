//! A copy on a drive is mended, too, though a drive can't replace an object in one step.

use std::fs;

use bytes::Bytes;
use kanbu_backup::{backup, catalog::CopyState, execution::Outcome, storage::Storage, verify};

use super::{by_url, fake::FakeDrive};
use crate::{
    scrub::{SMALL, codes, copy, done, flip, scrub},
    use_world::World,
};

/// Puts something else in an object's place.
async fn spoil(drive: &Storage, key: &kanbu_backup::storage::ObjectKey, with: Vec<u8>) {
    drive.delete(key).await.unwrap();
    let mut upload = drive.upload(key).await.unwrap();
    upload.put_part(Bytes::from(with)).await.unwrap();
    upload.complete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_copy_on_a_drive_gives_way_to_a_good_one_and_to_nothing_less() {
    let world = World::new(SMALL).await;
    let fake = FakeDrive::start().await;
    let drive = by_url(&fake);
    let storages = vec![world.storage(0).clone(), drive.clone()];
    let backup = backup::Deps {
        storages: storages.clone(),
        ..world.deps.clone()
    };
    let deps = verify::Deps {
        storages,
        ..world.verify_deps()
    };
    let artifact = world.listed("database:kanbu", &backup).await;
    let manifest = artifact.manifest().unwrap();
    let (data, note) = (manifest.data_key(), manifest.manifest_key());
    let local = world.object("one", &artifact);
    let good = fs::read(&local).unwrap();
    let mut bad = good.clone();
    bad[4000] ^= 1;

    // With its manifest, and with nothing else in the folder.
    for manifest_too in [false, true] {
        spoil(&drive, &data, bad.clone()).await;
        if manifest_too {
            drive.delete(&note).await.unwrap();
        }
        let mended = done(&scrub(), &deps).await.unwrap();
        assert_eq!(mended.outcome(), Outcome::Succeeded, "{mended:?}");
        assert!(fake.content(&data.to_string()) == good);
        assert_eq!(
            fake.content(&note.to_string()),
            artifact.manifest.as_bytes()
        );
        fake.assert_clean(2);
    }

    spoil(&drive, &data, bad.clone()).await;
    flip(&local, 900);
    let lost = done(&scrub(), &deps).await.unwrap();
    assert!(codes(&lost).contains(&"backup.lost"), "{lost:?}");
    assert!(fake.content(&data.to_string()) == bad);
    let view = world.view(artifact.id).await;
    assert_eq!(copy(&view, "drive").state, CopyState::Damaged);
}
