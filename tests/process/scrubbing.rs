//! Copies that are read again and mended by the service itself.

use std::{fs, path::Path};

use kanbu_backup::{
    catalog,
    fault::Fault,
    job::Kind,
    pg::process::Signal,
    queue::{self, JobFilter, JobState},
};

use crate::{
    running::{everything_in, until},
    world::World,
};

#[tokio::test]
async fn two_workers_scrub_a_subject_once_and_mend_what_is_bad() {
    let mut world = World::new().await;
    let replica = world.path("replica");
    world.set(
        "KANBU_BACKUP_REPLICAS",
        &format!("replica={}", replica.display()),
    );
    let worker = world.worker("first").await;
    world.result(&["backup", "database"]).await;
    world.dismiss(worker).await;
    let object = world.object();
    let good = fs::read(&object).unwrap();
    let mut bad = good.clone();
    bad[2000] ^= 1;
    fs::write(&object, bad).unwrap();

    world.set("KANBU_BACKUP_SCRUB_DAYS", "7");
    let mut workers = vec![world.worker("one").await, world.worker("two").await];
    let filter = JobFilter {
        kind: Some(Kind::Verify),
        ..JobFilter::default()
    };
    let job = until("a scrub", async || {
        let jobs = queue::jobs(world.db(), &filter).await.unwrap();
        jobs.first().map(|job| job.id)
    })
    .await;
    world.until_job(job, JobState::Succeeded).await;
    assert!(fs::read(&object).unwrap() == good, "the copy is as it was");
    // That it is done changes nothing for whoever starts in the same period.
    workers.push(world.worker("three").await);
    for worker in workers {
        world.dismiss(worker).await;
    }
    let scrubs =
        "select count(*)::text from kanbu_backup.job where kind = 'verify' and origin = 'cron'";
    assert_eq!(world.control().texts(scrubs).await, ["1"]);
    world.holds().await;
}

#[tokio::test]
async fn a_lost_backup_stays_listed_and_the_doctor_names_it() {
    let mut world = World::new().await;
    let replica = world.path("replica");
    world.set(
        "KANBU_BACKUP_REPLICAS",
        &format!("replica={}", replica.display()),
    );
    let worker = world.worker("one").await;
    world.result(&["backup", "database"]).await;
    let id = catalog::list(world.db(), &catalog::Filter::default())
        .await
        .unwrap()
        .remove(0)
        .id
        .short();
    let flip = |path: &str| {
        let mut bytes = fs::read(path).unwrap();
        bytes[3000] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let here = world.object_of("database");
    flip(&here);
    let looked = world.run(&["verify", &id, "--json"]).await.with(6);
    assert!(
        looked.stdout.contains("copy.last_at_risk"),
        "{}",
        looked.stdout
    );
    let doctor = world.run(&["doctor"]).await;
    let fix = format!("kanbu-backup verify {id} --repair");
    assert!(doctor.stdout.contains(&fix), "{}", doctor.stdout);
    let mended = world.result(&["verify", &id, "--repair"]).await;
    assert_eq!(
        (&mended["repaired"], &mended["bad"]),
        (&1.into(), &0.into())
    );
    assert_eq!(
        everything_in(&world.path("backups")).len(),
        everything_in(&replica).len()
    );

    flip(&here);
    flip(&world.object_in("replica", "database"));
    let verified = world
        .run(&["verify", &id, "--repair", "--json"])
        .await
        .with(6);
    assert!(
        verified.stdout.contains("backup.lost"),
        "{}",
        verified.stdout
    );
    let list = world.run(&["list"]).await.with(0);
    assert!(
        list.stdout.contains("LOST") && list.stdout.contains(&id),
        "{}",
        list.stdout
    );
    let doctor = world.run(&["doctor"]).await.with(1);
    assert!(doctor.stdout.contains("is LOST"), "{}", doctor.stdout);
    world.dismiss(worker).await;
}

/// Files with their content, named as on any storage.
fn content(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut paths = everything_in(directory);
    paths.retain(|path| fs::metadata(path).unwrap().is_file());
    let root = directory.display().to_string();
    paths
        .into_iter()
        .map(|path| (path.replace(&root, ""), fs::read(path).unwrap()))
        .collect()
}

#[tokio::test]
async fn a_new_storage_gets_every_copy_though_the_worker_that_makes_them_is_killed() {
    let mut world = World::large().await;
    let worker = world.worker("first").await;
    world.result(&["backup", "database"]).await;
    world.dismiss(worker).await;
    let (here, second) = (world.path("backups"), world.path("second"));
    let good = content(&here);

    let replica = format!("second={}", second.display());
    world.set("KANBU_BACKUP_REPLICAS", &replica);
    // So slow that it is certain to be under way when its worker dies.
    world.set("KANBU_BACKUP_STORAGE_SECOND_BANDWIDTH", "65536");
    let victim = world.worker("victim").await;
    let queued = world.run(&["storage", "sync", "second", "--no-wait"]).await;
    queued.with(0);
    until("the copy to be under way", async || {
        let staged = |path: &String| path.contains('#');
        everything_in(&second).iter().any(staged).then_some(())
    })
    .await;
    victim.signal(Signal::KILL);
    victim.end().await;
    assert!(content(&here) == good, "the good copy is as it was");

    world.unset("KANBU_BACKUP_STORAGE_SECOND_BANDWIDTH");
    let heir = world.worker("heir").await;
    let job = world.newest_job().await.id;
    world.until_job(job, JobState::Succeeded).await;
    let runs = world.executions(job).await;
    let faults: Vec<_> = runs.iter().map(|run| run.fault).collect();
    assert_eq!(faults, [Some(Fault::LeaseLost), None]);
    // Nothing of the first try lies there either.
    assert!(content(&second) == good, "{:?}", everything_in(&second));
    assert!(content(&here) == good, "the good copy is as it was");

    // All that is in it: without the directory it would only be away.
    for entry in fs::read_dir(&second).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    world.run(&["verify", "latest", "--quick"]).await.with(6);
    let synced = world.run(&["storage", "sync", "second"]).await.with(0);
    let said = "1 of 1 copies were made";
    assert!(synced.stdout.contains(said), "{synced:?}");
    assert!(content(&second) == good, "{:?}", everything_in(&second));
    let again = world.run(&["storage", "sync", "second"]).await.with(0);
    assert!(again.stdout.contains("lacks nothing"), "{again:?}");
    world.holds().await;
    world.dismiss(heir).await;
}
