//! Copies that are read again and mended by the service itself.

use std::fs;

use kanbu_backup::{
    catalog,
    job::Kind,
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
