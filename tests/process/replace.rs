//! A live database is replaced by its backup and comes back, by the binary; and its worker is killed at every stage.

use kanbu_backup::{
    id::JobId,
    pg::{process::Signal, restore::TableChecksum},
    queue::JobState,
};

use crate::{
    running::{Running, until},
    world::World,
};

/// A table whose rows are checked by a function that waits wherever it is loaded while a role of a certain name is there:
/// roles are known in every database.
const SLOW: &str = "
    create function ready(n int) returns boolean language plpgsql volatile as $$
    begin
      while exists (select from pg_catalog.pg_roles r
                     where r.rolname like '%\\_gate'
                       and starts_with(current_database(), left(r.rolname, -5) || '_')) loop
        perform pg_sleep(0.02);
      end loop;
      return true;
    end $$;
    create table slow (n int check (public.ready(n)));
    insert into slow values (1)";

const LATER: &str =
    "insert into people (name) values ('newcomer'); delete from people where id = 7";

struct Scene {
    world: World,
    live: String,
    old: Vec<TableChecksum>,
    backed_up: Vec<TableChecksum>,
}

impl Scene {
    /// A database that was backed up, and has changed since.
    async fn new(statements: &str) -> Self {
        let mut world = World::new().await;
        world.set("KANBU_ENVIRONMENT", "prod");
        world.protected.run(statements).await;
        let live = world.protected.name.clone();
        let worker = world.worker("first").await;
        world.result(&["backup"]).await;
        world.dismiss(worker).await;
        let backed_up = world.checksums(&live).await;
        world.protected.run(LATER).await;
        let old = world.checksums(&live).await;
        assert_ne!(old, backed_up);
        Self {
            world,
            live,
            old,
            backed_up,
        }
    }

    fn confirm(&self) -> String {
        format!("prod/{}", self.live)
    }

    /// Asks for the replacement, by somebody who doesn't wait.
    async fn asked(&self) -> JobId {
        let confirm = self.confirm();
        let restore = [
            "restore",
            "latest",
            "--replace",
            "--confirm",
            &confirm,
            "--no-safety-backup",
            "--reason",
            "a test",
            "--no-wait",
        ];
        let job = self.world.result(&restore).await;
        job["job"].as_str().unwrap().parse().unwrap()
    }

    /// Whoever loads the database waits from now on.
    async fn hold_loads(&self) {
        let role = format!("create role {}_gate", self.live);
        self.world.control().run(&role).await;
    }

    async fn release_loads(&self) {
        let role = format!("drop role {}_gate", self.live);
        self.world.control().run(&role).await;
    }

    /// Waits until a restore is in the middle of its load.
    async fn until_it_loads(&self) {
        until("a load in its middle", async || {
            let waiting = format!(
                "select pid::text from pg_stat_activity where starts_with(datname, '{}_') and wait_event = 'PgSleep'",
                self.live
            );
            (!self.world.control().texts(&waiting).await.is_empty()).then_some(())
        })
        .await;
    }

    /// Kills a worker as the kernel would, and waits until its lease is over and another one has put things in order.
    async fn kill(&self, worker: Running, job: JobId) -> Running {
        worker.signal(Signal::KILL);
        worker.end().await;
        let next = self.world.worker("next").await;
        self.world.until_job(job, JobState::Dead).await;
        next
    }

    async fn content(&self) -> Vec<TableChecksum> {
        self.world.checksums(&self.live).await
    }

    async fn until_databases(&self, count: usize) {
        until("nothing half-made", async || {
            (self.databases().await.len() == count).then_some(())
        })
        .await;
    }

    async fn databases(&self) -> Vec<String> {
        let query = format!(
            "select datname::text from pg_database where starts_with(datname, '{}') or starts_with(datname, 'kanbu_backup_making') order by 1",
            self.live
        );
        self.world.control().texts(&query).await
    }

    async fn is_open(&self) -> bool {
        let query = format!(
            "select datallowconn::text from pg_database where datname = '{}'",
            self.live
        );
        self.world.control().texts(&query).await == ["true"]
    }

    async fn state(&self) -> Option<String> {
        let rows = self
            .world
            .control()
            .texts("select state from kanbu_backup.replacement order by created_at desc")
            .await;
        rows.into_iter().next()
    }

    async fn clear(&self) {
        for name in self.databases().await {
            if name != self.live {
                let drop = format!("drop database if exists \"{name}\" with (force)");
                self.world.control().run(&drop).await;
            }
        }
    }
}

#[tokio::test]
async fn a_replacement_needs_its_confirmation_is_backed_up_first_and_can_be_rolled_back() {
    let scene = Scene::new("").await;
    let (world, live) = (&scene.world, &scene.live);
    let confirm = scene.confirm();
    let words = format!("replaces database {live} on prod");
    for extra in [
        &[][..],
        &["--confirm", "prod"],
        &["--confirm", "test/kanbu"],
    ] {
        let restore = [&["restore", "latest", "--replace"], extra].concat();
        let refused = world.run(&restore).await;
        let refused = refused.refused(2, "usage.not_confirmed", &words);
        assert!(
            refused.stderr.contains(&format!("--confirm {confirm}")),
            "{refused:?}"
        );
    }
    let worker = world.worker("one").await;
    let plan = world
        .run(&["restore", "latest", "--replace", "--dry-run", "--json"])
        .await
        .with(0)
        .document();
    let verdict = |name: &str| {
        let checks = plan["plan"]["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("no check {name} in {plan}"))["verdict"].clone()
    };
    for name in ["backup", "age", "key", "versions", "live", "rights", "room"] {
        assert_eq!(verdict(name), "pass", "{name}");
    }
    assert_eq!(scene.content().await, scene.old);

    let replaced = world
        .result(&["restore", "latest", "--replace", "--confirm", &confirm])
        .await;
    assert_eq!(scene.content().await, scene.backed_up);
    let told = &replaced["replacement"];
    assert!(
        told["pause_ms"].is_u64() && told["kept_as"].is_string(),
        "{told}"
    );
    // The safety backup holds what was live; it is the newest now.
    assert_eq!(world.listed().await, 2);
    let safety = told["safety_backup"].as_str().unwrap();
    let beside = format!("{live}_beside");
    world.result(&["restore", safety, "--into", &beside]).await;
    assert_eq!(world.checksums(&beside).await, scene.old);

    let restore = told["restore"].as_str().unwrap();
    world
        .run(&["rollback", restore])
        .await
        .refused(2, "usage.not_confirmed", "gives");
    let back = world
        .result(&["rollback", restore, "--confirm", &confirm])
        .await;
    assert!(back["rollback"]["pause_ms"].is_u64(), "{back}");
    assert_eq!(scene.content().await, scene.old);
    world.holds().await;
    world.dismiss(worker).await;
    scene.clear().await;
}

#[tokio::test]
async fn a_restore_that_is_killed_in_its_middle_leaves_nothing_and_can_be_retried() {
    let scene = Scene::new(SLOW).await;
    let worker = scene.world.worker("one").await;
    scene.hold_loads().await;
    let job = scene.asked().await;
    scene.until_it_loads().await;
    let next = scene.kill(worker, job).await;
    scene.until_databases(1).await;
    assert_eq!(scene.content().await, scene.old);
    assert!(scene.is_open().await);
    assert_eq!(scene.state().await, None);
    scene.release_loads().await;
    let retry = ["job", "retry", &job.to_string()];
    scene.world.run(&retry).await.with(0);
    scene.world.until_job(job, JobState::Succeeded).await;
    assert_eq!(scene.content().await, scene.backed_up);
    scene.world.holds().await;
    scene.world.dismiss(next).await;
    scene.clear().await;
}

#[tokio::test]
async fn a_restore_into_a_new_database_that_is_killed_can_be_retried() {
    let scene = Scene::new(SLOW).await;
    let worker = scene.world.worker("one").await;
    scene.hold_loads().await;
    let beside = format!("{}_back", scene.live);
    let asked = ["restore", "latest", "--into", &beside, "--no-wait"];
    let asked = scene.world.result(&asked).await;
    let job: JobId = asked["job"].as_str().unwrap().parse().unwrap();
    scene.until_it_loads().await;
    let next = scene.kill(worker, job).await;
    scene.until_databases(1).await;
    assert_eq!(scene.content().await, scene.old);
    let ended = scene.world.executions(job).await.remove(0);
    assert_eq!(ended.error_code.as_deref(), Some("lease.lost"));
    scene.release_loads().await;
    let retry = ["job", "retry", &job.to_string()];
    scene.world.run(&retry).await.with(0);
    scene.world.until_job(job, JobState::Succeeded).await;
    assert_eq!(scene.world.checksums(&beside).await, scene.backed_up);
    scene.world.dismiss(next).await;
    scene.clear().await;
}

/// Who comes after a worker that was killed.
#[derive(Clone, Copy, Debug)]
enum Settles {
    Worker,
    Doctor,
}

#[tokio::test]
async fn a_worker_that_is_killed_behind_the_fence_leaves_the_old_database_open() {
    killed_behind_the_fence(Settles::Worker).await;
}

#[tokio::test]
async fn doctor_opens_what_a_killed_worker_left_behind_its_fence_and_says_so() {
    killed_behind_the_fence(Settles::Doctor).await;
}

/// Kills the worker; who comes next opens the live database and says so. Returns a worker.
async fn settled(scene: &Scene, worker: Running, job: JobId, who: Settles) -> Running {
    match who {
        Settles::Worker => {
            let next = scene.kill(worker, job).await;
            until("the fence to be lifted", async || {
                scene.is_open().await.then_some(())
            })
            .await;
            next.until_it_says("which is as it was and open").await;
            next
        }
        Settles::Doctor => {
            worker.signal(Signal::KILL);
            worker.end().await;
            // Not before the dead worker's lease is over.
            until("doctor to settle it", async || {
                let told = scene.world.run(&["doctor"]).await;
                told.stdout
                    .contains("which is as it was and open")
                    .then_some(())
            })
            .await;
            assert!(scene.is_open().await);
            let again = scene.world.run(&["doctor"]).await;
            assert!(
                again.stdout.contains("none was left half done"),
                "{again:?}"
            );
            let next = scene.world.worker("next").await;
            scene.world.until_job(job, JobState::Dead).await;
            next
        }
    }
}

async fn killed_behind_the_fence(who: Settles) {
    let mut scene = Scene::new("").await;
    let (live, role) = (scene.live.clone(), format!("{}_plain", scene.live));
    let setup = format!(
        "create role {role} login createdb password 'plain'; alter database {live} owner to {role};
         grant all on schema public to {role}; grant select on all tables in schema public to {role};
         grant select on all sequences in schema public to {role}"
    );
    scene.world.protected.run(&setup).await;
    let url = scene.world.protected.url.clone();
    let (_, place) = url.split_once('@').unwrap();
    scene
        .world
        .set("DATABASE_URL", &format!("postgres://{role}:plain@{place}"));
    // A superuser's, which a plain role can't end: the exchange waits for it.
    let held = scene.world.protected.session().await;
    let worker = scene.world.worker("one").await;
    let confirm = scene.confirm();
    let asked = [
        "restore",
        "latest",
        "--replace",
        "--confirm",
        &confirm,
        "--no-owner",
        "--no-safety-backup",
        "--reason",
        "a test",
        "--no-wait",
    ];
    let asked = scene.world.result(&asked).await;
    let job: JobId = asked["job"].as_str().unwrap().parse().unwrap();
    until("the fence", async || (!scene.is_open().await).then_some(())).await;
    let next = settled(&scene, worker, job, who).await;
    drop(held);
    scene.until_databases(1).await;
    assert_eq!(scene.state().await.as_deref(), Some("reverted"));
    assert_eq!(scene.content().await, scene.old);
    scene.world.dismiss(next).await;
    let undress = format!(
        "alter database {live} owner to current_user; reassign owned by {role} to current_user;
         drop owned by {role}; drop role {role}"
    );
    scene.world.protected.run(&undress).await;
}

#[tokio::test]
async fn a_worker_that_is_killed_after_the_exchange_leaves_the_new_database_and_the_way_back() {
    let scene = Scene::new("").await;
    // What has happened can't be noted, and it takes a while to find that out.
    scene
        .world
        .control()
        .run(
            "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(4); raise 'too late'; end $$;
             create trigger slow before update on kanbu_backup.replacement for each row execute function slow()",
        )
        .await;
    let worker = scene.world.worker("one").await;
    let job = scene.asked().await;
    until("the exchange", async || {
        let databases = scene.databases().await;
        databases
            .iter()
            .any(|name| name.contains("_before_"))
            .then_some(())
    })
    .await;
    assert_eq!(scene.state().await.as_deref(), Some("replacing"));
    worker.signal(Signal::KILL);
    worker.end().await;
    scene
        .world
        .control()
        .run("drop trigger slow on kanbu_backup.replacement")
        .await;
    let next = scene.world.worker("next").await;
    scene.world.until_job(job, JobState::Dead).await;
    next.until_it_says("which is the restored database").await;
    assert_eq!(scene.state().await.as_deref(), Some("replaced"));
    assert_eq!(scene.content().await, scene.backed_up);
    assert!(scene.is_open().await);
    let (confirm, job) = (scene.confirm(), job.to_string());
    scene
        .world
        .result(&["rollback", &job, "--confirm", &confirm])
        .await;
    assert_eq!(scene.content().await, scene.old);
    scene.world.dismiss(next).await;
    scene.clear().await;
}

#[tokio::test]
async fn a_worker_that_slept_through_its_restore_does_no_harm_when_it_wakes() {
    let scene = Scene::new(SLOW).await;
    let sleeper = scene.world.worker("sleeper").await;
    scene.hold_loads().await;
    let job = scene.asked().await;
    scene.until_it_loads().await;
    sleeper.signal(Signal::STOP);
    let heir = scene.world.worker("heir").await;
    scene.world.until_job(job, JobState::Dead).await;
    scene.until_databases(1).await;
    assert_eq!(scene.content().await, scene.old);
    scene.release_loads().await;
    let retry = ["job", "retry", &job.to_string()];
    scene.world.run(&retry).await.with(0);
    scene.world.until_job(job, JobState::Succeeded).await;
    let databases = scene.databases().await;
    sleeper.signal(Signal::CONT);
    sleeper.until_it_says("the lease").await;
    scene.world.dismiss(sleeper).await;
    assert_eq!(scene.content().await, scene.backed_up);
    assert_eq!(scene.databases().await, databases);
    scene.world.holds().await;
    scene.world.dismiss(heir).await;
    scene.clear().await;
}

#[tokio::test]
async fn a_backup_waits_while_its_database_is_being_replaced() {
    let scene = Scene::new(SLOW).await;
    let (one, two) = (
        scene.world.worker("one").await,
        scene.world.worker("two").await,
    );
    scene.hold_loads().await;
    let restore = scene.asked().await;
    scene.until_it_loads().await;
    let backup = scene.world.result(&["backup", "--no-wait"]).await;
    let backup: JobId = backup["job"].as_str().unwrap().parse().unwrap();
    let renewed = scene.world.job(restore).await.running.unwrap().lease_until;
    until("the lease to be renewed", async || {
        let running = scene.world.job(restore).await.running.unwrap();
        (running.lease_until > renewed).then_some(())
    })
    .await;
    assert_eq!(scene.world.job(backup).await.state, JobState::Queued);
    scene.release_loads().await;
    scene.world.until_job(restore, JobState::Succeeded).await;
    scene.world.until_job(backup, JobState::Succeeded).await;
    assert_eq!(scene.content().await, scene.backed_up);
    scene.world.dismiss(one).await;
    scene.world.dismiss(two).await;
    scene.clear().await;
}
