//! Restores as a whole: what comes back, what is refused before anything exists, and that no failure leaves a database.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::Arc,
};

use kanbu_backup::{
    backup::{Deps, Format},
    catalog::{ArtifactView, CopyState},
    crypto::Keyring,
    execution::{Effects, Lease, Phase, Stop},
    fault::{Failure, Fault},
    job::Job,
    pg::{restore::table_checksums, tools::Toolset},
    restore::{self, DatabaseTarget, Destination, Origin},
    storage::Trouble,
};
use rustix::io::Errno;

use crate::{
    protected::{BULK, OBJECTS, assert_same, execute},
    use_world::{Kept, World, eventually},
};

const SMALL: &str = "create table t as select n, md5(n::text) from generate_series(1, 2000) as n";

/// A name that no other test uses.
fn unused() -> String {
    format!(
        "kanbu_restore_{}",
        kanbu_backup::id::ExecutionId::new()
            .to_string()
            .replace('-', "")
    )
}

fn into(name: &str) -> Destination {
    Destination::Database {
        name: name.to_owned(),
        no_owner: false,
    }
}

async fn restored(
    world: &World,
    artifact: &ArtifactView,
    destination: &Destination,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let deps = world.restore_deps().await;
    let origin = Origin::of_artifact(artifact.id, None, &deps.storages, &deps.catalog).await?;
    restore::perform(origin, destination, deps.parts(), lease).await
}

async fn restored_into(
    world: &World,
    artifact: &ArtifactView,
    name: &str,
) -> Result<Effects, Failure> {
    let lease = Arc::new(Lease::unattended());
    restored(world, artifact, &into(name), &lease).await
}

/// Every way a backup may be written: both formats, with a key and without.
fn forms(world: &World) -> Vec<Deps> {
    let keyless = Keyring::new(None, Vec::new());
    let mut forms = Vec::new();
    for format in [Format::Native, Format::Kanbu] {
        for keyring in [&world.deps.keyring, &keyless] {
            forms.push(Deps {
                format,
                keyring: keyring.clone(),
                ..world.deps.clone()
            });
        }
    }
    forms
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_backup_brings_every_object_back() {
    let world = World::new(OBJECTS).await;
    for deps in forms(&world) {
        let artifact = world.listed("database:kanbu", &deps).await;
        let name = unused();
        let effects = restored_into(&world, &artifact, &name).await.unwrap();
        assert_same(&world.cluster, &world.cluster.with_database(&name)).await;
        assert!(
            effects.result["rows"].as_u64().unwrap() > 4000,
            "{}",
            effects.result
        );
        world.drop_database(&name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_comes_back_as_it_was() {
    let world = World::new("").await;
    let nested = world.source().join("a/b");
    fs::create_dir_all(&nested).unwrap();
    fs::write(nested.join("c.txt"), "content").unwrap();
    std::os::unix::fs::symlink("b/c.txt", world.source().join("a/link")).unwrap();
    for deps in forms(&world) {
        let artifact = world.listed("source:app", &deps).await;
        let path = world.place(&unused());
        let destination = Destination::Directory { path: path.clone() };
        let lease = Arc::new(Lease::unattended());
        restored(&world, &artifact, &destination, &lease)
            .await
            .unwrap();
        let back = path.join("app/a");
        assert_eq!(fs::read_to_string(back.join("b/c.txt")).unwrap(), "content");
        assert_eq!(
            fs::read_link(back.join("link")).unwrap(),
            Path::new("b/c.txt")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_tables_is_restored_with_a_warning() {
    let world = World::new("create sequence alone").await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let name = unused();
    let effects = restored_into(&world, &artifact, &name).await.unwrap();
    assert_eq!(effects.warnings[0].code, "restore.no_tables");
    world.drop_database(&name).await;
}

/// A seed that is told, for numbers that look random.
fn places(test: &str, below: usize) -> impl Iterator<Item = usize> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a seed to replay is no setting of the product"
    )]
    let given = std::env::var("KANBU_BACKUP_TEST_SEED");
    let mut seed = given.map_or_else(
        |_| RandomState::new().hash_one(test),
        |seed| seed.parse().unwrap(),
    );
    println!("{test}: KANBU_BACKUP_TEST_SEED={seed}");
    std::iter::repeat_with(move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((seed >> 33) % below as u64).unwrap()
    })
}

/// 200 places: in each of the four forms, by turns a bit that is flipped and an end that is cut off.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_damaged_anywhere_is_refused_before_a_database_exists() {
    let world = World::new(SMALL).await;
    let live = async || table_checksums(&world.cluster, world.cluster.database()).await;
    let before = live().await.unwrap();
    for deps in forms(&world) {
        let artifact = world.listed("database:kanbu", &deps).await;
        let object = world.object("one", &artifact);
        let whole = fs::read(&object).unwrap();
        let name = unused();
        let parts = world.restore_deps().await;
        let named = Some("one");
        let origin = Origin::of_artifact(artifact.id, named, &parts.storages, &world.db).await;
        let origin = origin.unwrap();
        for (number, at) in places("damage", whole.len()).take(50).enumerate() {
            let mut bytes = whole.clone();
            if number % 2 == 0 {
                bytes[at] ^= 0x10;
            } else {
                bytes.truncate(at);
            }
            fs::write(&object, bytes).unwrap();
            let kept = Kept::new();
            let destination = into(&name);
            let restoring =
                restore::perform(origin.clone(), &destination, parts.parts(), &kept.lease);
            let failure = restoring.await.unwrap_err();
            assert_eq!(failure.fault, Fault::Permanent, "byte {at}: {failure}");
            // The lease's question stands between the check and the creation; nobody has got so far.
            assert_eq!(kept.seat.progress().phase, Phase::Check, "byte {at}");
        }
        assert!(!world.has_database(&name).await);
    }
    assert_eq!(live().await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_takes_another_copy_when_one_is_bad_and_marks_that_one() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let object = world.object("one", &artifact);
    let mut bytes = fs::read(&object).unwrap();
    bytes[5000] ^= 1;
    fs::write(&object, bytes).unwrap();

    // Who names a storage means that one.
    let deps = world.restore_deps().await;
    let name = unused();
    let named = Some("one");
    let origin = Origin::of_artifact(artifact.id, named, &deps.storages, &world.db).await;
    let (lease, destination) = (Arc::new(Lease::unattended()), into(&name));
    let refused = restore::perform(origin.unwrap(), &destination, deps.parts(), &lease).await;
    assert_eq!(refused.unwrap_err().fault, Fault::Permanent);
    assert!(!world.has_database(&name).await);
    let state = async || world.view(artifact.id).await.copies[0].state;
    assert_eq!(state().await, CopyState::Damaged);

    // Nobody knows of it any more.
    sqlx::query(
        "update kanbu_backup.artifact_copy set state = 'stored', error = null, bad_since = null",
    )
    .execute(world.db.bare_pool())
    .await
    .unwrap();
    let effects = restored_into(&world, &artifact, &name).await.unwrap();
    assert!(world.has_database(&name).await);
    let said = effects
        .warnings
        .iter()
        .find(|w| w.code == "restore.other_copy");
    let text = &said.expect("it to be said").text;
    assert!(text.starts_with("one:") && text.contains("two:"), "{text}");
    assert_eq!(state().await, CopyState::Damaged);
    assert!(
        matches!(&effects.follow_ups[..], [Job::Verify(mend)] if mend.repair && mend.artifact == Some(artifact.id)),
        "{:?}",
        effects.follow_ups
    );
    world.drop_database(&name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_takes_another_copy_when_a_storage_is_away_and_holds_nothing_against_it() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let away = world
        .storage(0)
        .faulty(Trouble::ReadsFail { with: Errno::IO });
    let deps = restore::Deps {
        storages: vec![away, world.storage(1).clone()],
        ..world.restore_deps().await
    };
    let name = unused();
    let origin = Origin::of_artifact(artifact.id, None, &deps.storages, &world.db).await;
    let (lease, destination) = (Arc::new(Lease::unattended()), into(&name));
    let effects = restore::perform(origin.unwrap(), &destination, deps.parts(), &lease).await;
    let warnings = effects.unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.code == "restore.other_copy"),
        "{warnings:?}"
    );
    let view = world.view(artifact.id).await;
    assert_eq!(view.copies[0].state, CopyState::Stored);
    world.drop_database(&name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changes_between_the_check_and_the_load_leaves_no_database() {
    let world = World::new(SMALL).await;
    for deps in forms(&world) {
        let artifact = world.listed("database:kanbu", &deps).await;
        let object = world.object("one", &artifact);
        let whole = fs::read(&object).unwrap();
        for at in [whole.len() / 3, whole.len() - 1] {
            let name = unused();
            let mut kept = Kept::new();
            let lease = Arc::clone(&kept.lease);
            let destination = into(&name);
            let (ended, ()) =
                tokio::join!(restored(&world, &artifact, &destination, &lease), async {
                    let asked = kept.asked().await;
                    let mut bytes = whole.clone();
                    bytes[at] ^= 1;
                    fs::write(&object, bytes).unwrap();
                    asked.reply.send(Ok(())).unwrap();
                });
            ended.unwrap_err();
            assert_eq!(kept.seat.progress().phase, Phase::Load);
            assert!(!world.has_database(&name).await, "byte {at}");
            fs::write(&object, &whole).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_stopped_in_the_middle_leaves_no_database() {
    // Filling it takes for ever anywhere but in the database it comes from.
    let world = World::new(
        "create function ready(n int) returns boolean language sql volatile as
           $$ select pg_sleep(case when current_database() like 'protected%' then 0 else 600 end) is not null $$;
         create table slow (n int check (public.ready(n)));
         insert into slow values (1)",
    )
    .await;
    for (stop, fault) in [
        (Stop::Requested, Fault::Cancelled),
        (Stop::Lost, Fault::Cancelled),
    ] {
        for format in [Format::Native, Format::Kanbu] {
            let deps = Deps {
                format,
                ..world.deps.clone()
            };
            let artifact = world.listed("database:kanbu", &deps).await;
            let name = unused();
            let destination = into(&name);
            let (lease, seat, keeping) = Kept::new().split();
            let stopping = async {
                let exists = async || world.has_database(&name).await;
                eventually("the database to exist", exists).await;
                seat.stop(stop);
            };
            let restoring = restored(&world, &artifact, &destination, &lease);
            let ended = tokio::select! {
                (ended, ()) = async { tokio::join!(restoring, stopping) } => ended,
                () = keeping => panic!("the lease has gone"),
            };
            assert_eq!(ended.unwrap_err().fault, fault);
            assert!(!world.has_database(&name).await, "{stop:?} {format:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_lost_before_the_database_is_created_creates_none() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let name = unused();
    let mut kept = Kept::new();
    let lease = Arc::clone(&kept.lease);
    let destination = into(&name);
    let (ended, ()) = tokio::join!(
        restored(&world, &artifact, &destination, &lease),
        kept.lose()
    );
    assert_eq!(ended.unwrap_err().fault, Fault::LeaseLost);
    assert!(!world.has_database(&name).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_fails_is_dropped_and_tells_why() {
    let world = World::new(
        "create function fits(n int) returns boolean language sql volatile as
           $$ select current_database() like 'protected%' $$;
         create table picky (n int check (public.fits(n)));
         insert into picky values (1)",
    )
    .await;
    for format in [Format::Native, Format::Kanbu] {
        let deps = Deps {
            format,
            ..world.deps.clone()
        };
        let artifact = world.listed("database:kanbu", &deps).await;
        let name = unused();
        let failure = restored_into(&world, &artifact, &name).await.unwrap_err();
        assert!(failure.message.contains("picky"), "{failure}");
        assert!(!world.has_database(&name).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_seen_to_fail_is_refused_before_a_byte_is_read() {
    let world = World::new(SMALL).await;
    let native = world.listed("database:kanbu", &world.deps).await;
    let kanbu = Deps {
        format: Format::Kanbu,
        ..world.deps.clone()
    };
    let plain = world.listed("database:kanbu", &kanbu).await;
    // A look at the bytes would end in another failure than those that are expected.
    for artifact in [&native, &plain] {
        fs::write(world.object("one", artifact), "not a backup").unwrap();
    }
    let deps = world.restore_deps().await;
    let good = deps.target.clone();
    let toolless = DatabaseTarget {
        toolsets: Vec::<Toolset>::new(),
        ..good.clone().unwrap()
    };
    let taken = world.cluster.database().to_owned();
    let name = unused();
    let without_owners = Destination::Database {
        name: name.clone(),
        no_owner: true,
    };
    for (artifact, destination, target, code) in [
        (&native, into(&taken), good.clone(), "database.exists"),
        (&plain, without_owners, good, "restore.plain_owners"),
        (&native, into(&name), None, "config.no_database"),
        (&native, into(&name), Some(toolless), "tools.no_client"),
    ] {
        let deps = restore::Deps {
            target,
            ..deps.clone()
        };
        let origin = Origin::of_artifact(artifact.id, None, &deps.storages, &deps.catalog)
            .await
            .unwrap();
        let lease = Arc::new(Lease::unattended());
        let failure = restore::perform(origin, &destination, deps.parts(), &lease)
            .await
            .unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
    }
    assert!(!world.has_database(&name).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_a_newer_server_asks_for_newer_tools_before_anything_is_made() {
    let world = World::new(SMALL).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let deps = world.restore_deps().await;
    let mut origin = Origin::of_artifact(artifact.id, None, &deps.storages, &deps.catalog)
        .await
        .unwrap();
    assert!(origin.server.is_some() && origin.client_major.is_some());
    origin.client_major = Some(99);
    let name = unused();
    let refused = restore::preflight(&origin, &into(&name), deps.parts()).await;
    let failure = refused.unwrap_err();
    assert!(failure.message.contains("99"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primarys_copy_is_read_first_and_a_named_storage_before_all() {
    let world = World::new(BULK).await;
    let artifact = world.listed("database:kanbu", &world.deps).await;
    let deps = world.restore_deps().await;
    let backwards: Vec<_> = deps.storages.iter().rev().cloned().collect();
    for (wanted, storages, expected) in [
        (None, &deps.storages, "one:"),
        (None, &backwards, "two:"),
        (Some("two"), &deps.storages, "two:"),
    ] {
        let origin = Origin::of_artifact(artifact.id, wanted, storages, &world.db)
            .await
            .unwrap();
        assert!(
            origin.describe().starts_with(expected),
            "{}",
            origin.describe()
        );
    }
    let unknown = Origin::of_artifact(artifact.id, Some("three"), &deps.storages, &world.db).await;
    assert_eq!(unknown.unwrap_err().code, "storage.not_configured");
    execute(&world.cluster, "drop table bulk").await;
}
