//! Restores of a part of a backup, and by several sessions: as whole restores, from the storage to the comparison.

use std::{fs, num::NonZeroU8, sync::Arc};

use kanbu_backup::{
    backup::{Deps, Format},
    catalog::{ArtifactView, CopyState},
    execution::{Effects, Lease},
    fault::Failure,
    id::ExecutionId,
    pg::restore::table_checksums,
    restore::{self, Destination, Origin, Wanted},
};

use crate::{
    protected::{OBJECTS, assert_same},
    use_world::World,
};

fn wanted(tables: &[&str], schemas: &[&str], jobs: Option<u8>) -> Wanted {
    let owned = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    Wanted::named(
        &owned(tables),
        &owned(schemas),
        jobs.and_then(NonZeroU8::new),
    )
    .unwrap()
}

fn unused() -> String {
    format!("parts_{}", ExecutionId::new().as_uuid().simple())
}

async fn restored(
    world: &World,
    artifact: &ArtifactView,
    wanted: Wanted,
    destination: &Destination,
) -> Result<Effects, Failure> {
    let deps = world.restore_deps().await;
    let origin = Origin::of_artifact(artifact.id, None, &deps.storages, &deps.catalog).await?;
    let lease = Arc::new(Lease::unattended());
    restore::perform(origin.wanting(wanted), destination, deps.parts(), &lease).await
}

fn into(name: &str) -> Destination {
    Destination::Database {
        name: name.to_owned(),
        no_owner: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_tables_are_restored_beside_and_what_they_lack_is_said() {
    let world = World::new(OBJECTS).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let name = unused();
    let beside = into(&name);
    let effects = restored(
        &world,
        &artifact,
        wanted(&["wiki_pages"], &[], None),
        &beside,
    );
    let effects = effects.await.unwrap();
    let tables = table_checksums(&world.cluster, &name).await.unwrap();
    let told: Vec<_> = tables.iter().map(|t| (t.table.as_str(), t.rows)).collect();
    assert_eq!(told, [("wiki_pages", 4000)]);
    let left_out = effects
        .warnings
        .iter()
        .find(|w| w.code == "restore.left_out");
    assert!(
        left_out.unwrap().text.contains("wiki_pages_author_id_fkey"),
        "{:?}",
        effects.warnings
    );
    let compared = effects
        .warnings
        .iter()
        .any(|w| w.code == "restore.not_compared");
    assert!(!compared, "{:?}", effects.warnings);
    world.drop_database(&name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sessions_restore_the_whole_database() {
    let world = World::new(OBJECTS).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let name = unused();
    restored(&world, &artifact, wanted(&[], &[], Some(3)), &into(&name))
        .await
        .unwrap();
    assert_same(&world.cluster, &world.cluster.with_database(&name)).await;
    world.drop_database(&name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sessions_take_another_copy_when_one_turns_out_bad_and_leave_nothing_of_it() {
    let world = World::new(OBJECTS).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let damage = |storage| {
        let object = world.object(storage, &artifact);
        let mut bytes = fs::read(&object).unwrap();
        let at = bytes.len() - 100;
        bytes[at] ^= 1;
        fs::write(&object, bytes).unwrap();
    };
    let name = unused();
    damage("one");
    let by_three = || wanted(&[], &[], Some(3));
    let effects = restored(&world, &artifact, by_three(), &into(&name)).await;
    let warnings = effects.unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.code == "restore.other_copy"),
        "{warnings:?}"
    );
    assert_same(&world.cluster, &world.cluster.with_database(&name)).await;
    world.drop_database(&name).await;
    assert_eq!(
        world.view(artifact.id).await.copies[0].state,
        CopyState::Damaged
    );

    damage("two");
    let refused = restored(&world, &artifact, by_three(), &into(&name)).await;
    let failure = refused.unwrap_err();
    assert_eq!(failure.code, "envelope.chunk_auth", "{failure}");
    assert!(!world.has_database(&name).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_in_part_is_refused_and_nothing_is_created() {
    let world = World::new(OBJECTS).await;
    let native = world.listed("database:kanbu", &world.deps).await;
    let by_kanbu = Deps {
        format: Format::Kanbu,
        ..world.deps.clone()
    };
    let plain = world.listed("database:kanbu", &by_kanbu).await;
    let name = unused();
    let live = Destination::Live {
        name: world.cluster.database().to_owned(),
        no_owner: false,
    };
    let beside = into(&name);
    for (artifact, wanted, destination, code) in [
        (
            &plain,
            wanted(&["users"], &[], None),
            &beside,
            "restore.only_whole",
        ),
        (
            &plain,
            wanted(&[], &[], Some(2)),
            &beside,
            "restore.only_whole",
        ),
        (
            &native,
            wanted(&["user"], &[], None),
            &beside,
            "restore.not_in_backup",
        ),
        (
            &native,
            wanted(&[], &["publik"], None),
            &beside,
            "restore.not_in_backup",
        ),
    ] {
        let refused = restored(&world, artifact, wanted, destination)
            .await
            .unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
        assert!(!world.has_database(&name).await);
    }
    let deps = world.restore_deps().await;
    let origin = Origin::of_artifact(native.id, None, &deps.storages, &deps.catalog)
        .await
        .unwrap();
    let origin = origin.wanting(wanted(&["users"], &[], None));
    let told = restore::plan(&origin, &live, deps.parts()).await;
    assert_eq!(told.refusal().unwrap().code, "usage.wrong_destination");
    assert!(Wanted::named(&["a.b.c".to_owned()], &[], None).is_err());
}
