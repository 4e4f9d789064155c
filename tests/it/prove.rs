//! Test restores as a whole: what is good is proven, what differs is named, and nothing of it stays.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use kanbu_backup::{
    catalog::{
        self, ArtifactView, NewArtifact, NewCopy, Proof, ProofPlace, ProofWeight, Verification,
    },
    execution::{Effects, Lease, Outcome, Phase, Stop},
    fault::{Failure, Fault},
    id::ExecutionId,
    job::{Verify, VerifyLevel},
    pg::{
        inventory::{self, Inventory},
        scratch::{self, Ground},
    },
    restore::DatabaseTarget,
    testing::{ScratchDirectory, toolsets},
    verify::{self, Deps, ProofTerms},
};
use tokio::sync::Semaphore;

use crate::{
    protected::{OBJECTS, execute},
    use_world::{Kept, World, backup_of, eventually, keyring, subject},
};

const CONTENT: &str = "
    create table board (id integer generated always as identity primary key, name text not null);
    insert into board (name) select 'board ' || n from generate_series(1, 20) as n;
    create table card (id serial primary key, board_id integer not null references board, title text);
    insert into card (board_id, title) select 1 + n % 20, 'card ' || n from generate_series(1, 300) as n;
    create index card_board_idx on card (board_id);
    create table note as select n, md5(n::text) as text from generate_series(1, 50) as n;";

/// An installation with a place for test restores.
struct Yard {
    world: World,
    directory: ScratchDirectory,
}

impl Yard {
    async fn new() -> Self {
        Self::of(CONTENT).await
    }

    async fn of(content: &str) -> Self {
        Self {
            world: World::new(content).await,
            directory: ScratchDirectory::new(),
        }
    }

    fn scratch(&self) -> PathBuf {
        self.directory.path().join("scratch")
    }

    async fn deps(&self, ground: Ground) -> Deps {
        let toolsets = toolsets().await;
        let target = DatabaseTarget {
            cluster: self.world.cluster.clone(),
            toolsets: toolsets.clone(),
        };
        Deps {
            proof: ProofTerms {
                ground,
                ..ProofTerms::new(self.scratch(), Some(target), toolsets)
            },
            ..self.world.verify_deps()
        }
    }

    async fn inventory(&self) -> Inventory {
        let cluster = &self.world.cluster;
        let patience = Duration::from_mins(1);
        inventory::take(cluster, cluster.database(), patience)
            .await
            .unwrap()
    }

    /// A backup whose manifest expects this.
    async fn expecting(&self, expected: &Inventory) -> ArtifactView {
        let (artifact, copies) = self.made("database:kanbu").await;
        let mut manifest: serde_json::Value = serde_json::from_str(&artifact.manifest).unwrap();
        manifest["source"]["expectations"] = serde_json::to_value(expected).unwrap();
        let artifact = NewArtifact {
            manifest: manifest.to_string(),
            ..artifact
        };
        self.world.list(&artifact, &copies).await
    }

    async fn made(&self, subject: &str) -> (NewArtifact, Vec<NewCopy>) {
        let lease = Arc::new(Lease::unattended());
        let made = backup_of(subject, &self.world.deps, &lease).await.unwrap();
        made.artifact.unwrap()
    }

    async fn good(&self) -> ArtifactView {
        self.expecting(&self.inventory().await).await
    }

    /// Restores in a test, and enters the proof as the end of an execution does.
    async fn prove(&self, request: &Verify, deps: &Deps) -> Result<Effects, Failure> {
        let lease = Arc::new(Lease::unattended());
        let effects = verify::perform(request, deps, &lease).await?;
        if let Some(proof) = &effects.proof {
            let mut conn = self.world.db.pool().acquire().await.unwrap();
            catalog::insert_proof(&mut conn, proof).await.unwrap();
        }
        Ok(effects)
    }

    /// Neither a directory nor a database.
    async fn assert_clean(&self, what: &str) {
        let left = scratch::directories(&self.scratch());
        assert!(left.is_empty(), "{what}: {left:?}");
        // Other tests restore on the same server.
        let left = scratch::databases(&self.world.cluster).await.unwrap();
        let ids: Vec<ExecutionId> = left.iter().map(|(id, _)| *id).collect();
        let ours = self.ours(&ids).await;
        assert!(ours.is_empty(), "{what}: {ours:?}");
    }

    async fn ours(&self, ids: &[ExecutionId]) -> Vec<ExecutionId> {
        let of_proofs = "select execution_id from kanbu_backup.proof";
        let ours: Vec<uuid::Uuid> = sqlx::query_scalar(of_proofs)
            .fetch_all(self.world.db.bare_pool())
            .await
            .unwrap();
        let is_ours = |id: &&ExecutionId| ours.contains(&id.as_uuid());
        ids.iter().filter(is_ours).copied().collect()
    }
}

fn of(artifact: &ArtifactView) -> Verify {
    Verify {
        artifact: Some(artifact.id),
        ..Verify::proof_of(artifact.subject.clone())
    }
}

fn texts(effects: &Effects, weight: ProofWeight) -> Vec<String> {
    let notes = &effects.proof.as_ref().unwrap().notes;
    let of_weight = notes.iter().filter(|note| note.weight == weight);
    of_weight.map(|note| note.text.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_backup_becomes_proven_on_either_ground_with_its_time() {
    let yard = Yard::new().await;
    let artifact = yard.good().await;
    assert_eq!(artifact.proof, Proof::Replicated);
    for (ground, place) in [
        (Ground::Scratch, ProofPlace::Scratch),
        (Ground::Auto, ProofPlace::Scratch),
        (Ground::Server, ProofPlace::Server),
    ] {
        let effects = yard.prove(&of(&artifact), &yard.deps(ground).await).await;
        let effects = effects.unwrap();
        assert_eq!(effects.outcome(), Outcome::Succeeded, "{ground:?}");
        assert_eq!(texts(&effects, ProofWeight::Real), [""; 0]);
        let proofs = catalog::proofs(&yard.world.db, artifact.id, 9).await;
        let last = proofs.unwrap().remove(0);
        assert_eq!(last.place, place);
        assert_eq!(last.storage.unwrap().as_str(), "one");
        assert_eq!((last.tables, last.rows), (Some(3), Some(370)));
        assert!(last.seconds > 0.0 && last.error.is_none());
        yard.assert_clean(&format!("{ground:?}")).await;
    }
    let view = yard.world.view(artifact.id).await;
    assert_eq!(view.proof, Proof::Proven);
    assert!(view.test_restore.unwrap().seconds > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_database_may_hold_is_proven_on_either_ground() {
    let yard = Yard::of(OBJECTS).await;
    let artifact = yard.good().await;
    for ground in [Ground::Scratch, Ground::Server] {
        let effects = yard.prove(&of(&artifact), &yard.deps(ground).await).await;
        let effects = effects.unwrap();
        assert_eq!(texts(&effects, ProofWeight::Real), [""; 0], "{ground:?}");
        assert_eq!(effects.outcome(), Outcome::Succeeded, "{ground:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_lost_on_the_way_makes_the_test_restore_fail_and_is_named() {
    let yard = Yard::new().await;
    let deps = yard.deps(Ground::Scratch).await;
    for (harm, named) in [
        (
            "delete from note where n = 7",
            "table public.note has 49 rows instead of 50",
        ),
        (
            "select setval('card_id_seq', 5)",
            "sequence public.card_id_seq stands at 5 instead of 300",
        ),
        (
            "drop index card_board_idx",
            "index public.card_board_idx is missing",
        ),
        (
            "truncate note",
            "table public.note has 0 rows instead of 49",
        ),
        ("drop table note", "table public.note is missing"),
    ] {
        // What is dumped is what was expected after that harm.
        let expected = yard.inventory().await;
        execute(&yard.world.cluster, harm).await;
        let artifact = yard.expecting(&expected).await;
        let effects = yard.prove(&of(&artifact), &deps).await.unwrap();
        assert_eq!(effects.outcome(), Outcome::Failed, "{harm}");
        let failure = effects.failed.as_ref().unwrap();
        assert_eq!(failure.code, "proof.differs", "{harm}");
        assert_eq!(failure.fault, Fault::Permanent, "{harm}");
        assert!(failure.message.contains(named), "{harm}: {failure}");
        let notes = texts(&effects, ProofWeight::Real);
        assert!(notes.iter().any(|note| note == named), "{harm}: {notes:?}");
        let view = yard.world.view(artifact.id).await;
        assert_eq!(view.proof, Proof::Failed, "{harm}");
        yard.assert_clean(harm).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_several_owners_is_proven_with_them_on_a_private_server() {
    let yard = Yard::new().await;
    let tag = &ExecutionId::new().short();
    execute(
        &yard.world.cluster,
        &format!(
            "create role owner_{tag}; create role \"Reader {tag}\"; alter table card owner to owner_{tag};
             grant select on board to \"Reader {tag}\";
             create role boss_{tag} superuser; create publication everything for all tables;
             alter publication everything owner to boss_{tag};
             create function seen() returns event_trigger language plpgsql as 'begin end';
             create event trigger watch on ddl_command_end execute function seen();
             alter event trigger watch owner to boss_{tag}; alter table note enable row level security;
             create policy only_mine on note to owner_{tag} using (n < 10)"
        ),
    )
    .await;
    let artifact = yard.good().await;
    let request = Verify {
        // Whoever asks sees every row, whatever the policies say.
        checks: vec!["select count(*) = 50 from note".to_owned()],
        ..of(&artifact)
    };
    let mut deps = yard.deps(Ground::Scratch).await;
    let target = deps.proof.target.clone();
    // The roles are known from the protected server, or only by what the load complains of.
    for target in [target, None] {
        deps.proof.target = target;
        let effects = yard.prove(&request, &deps).await.unwrap();
        assert_eq!(texts(&effects, ProofWeight::Real), [""; 0]);
    }
    let on_server = yard
        .prove(&of(&artifact), &yard.deps(Ground::Server).await)
        .await
        .unwrap();
    assert_eq!(on_server.outcome(), Outcome::Succeeded);
    let left_out = texts(&on_server, ProofWeight::Tolerable).join("; ");
    assert!(
        left_out.contains("left out") && left_out.contains("owner of table public.card"),
        "{left_out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_are_asked_one_by_one_and_can_change_nothing() {
    let yard = Yard::new().await;
    let artifact = yard.good().await;
    let mut deps = yard.deps(Ground::Scratch).await;
    deps.proof.check_limit = Duration::from_secs(2);
    let asked = async |checks: &[&str]| {
        let request = Verify {
            checks: checks.iter().map(|&check| check.to_owned()).collect(),
            ..of(&artifact)
        };
        yard.prove(&request, &deps).await.unwrap()
    };
    let good = asked(&[
        "select count(*) = 300 from card",
        "-- a word first\nselect true",
    ])
    .await;
    assert_eq!(good.outcome(), Outcome::Succeeded);
    let wrong = [
        ("select false", "is false"),
        ("select null::boolean", "is null"),
        ("select 1", "gives int4 instead of boolean"),
        ("select true, true", "gives 2 columns"),
        ("select true where false", "gives no row"),
        ("select true from card", "gives more than one row"),
        ("select count(*) = 1 from missing", "failed: relation"),
        ("select 1 / 0 = 1", "failed: division by zero"),
        ("select pg_sleep(300) is null", "did not end within 2 s"),
        (
            "delete from card returning true",
            "failed: cannot execute DELETE",
        ),
        ("copy card to program 'true'", "failed: must be superuser"),
        ("select true; select true", "failed: cannot insert multiple"),
    ];
    let checks = wrong.map(|(check, _)| check);
    let bad = asked(&checks).await;
    let failure = bad.failed.as_ref().unwrap();
    assert_eq!(failure.code, "proof.untrue");
    let said = texts(&bad, ProofWeight::Real);
    assert_eq!(said.len(), wrong.len(), "{said:#?}");
    for ((check, reason), said) in wrong.iter().zip(&said) {
        assert!(said.contains(check) && said.contains(reason), "{said}");
    }
    yard.assert_clean("checks").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_can_not_be_opened_has_failed_and_one_good_copy_is_enough() {
    let yard = Yard::new().await;
    let artifact = yard.good().await;
    let deps = yard.deps(Ground::Scratch).await;
    let locked = Deps {
        keyring: keyring(&"77".repeat(32)),
        ..deps.clone()
    };
    let effects = yard.prove(&of(&artifact), &locked).await.unwrap();
    let failure = effects.failed.as_ref().unwrap();
    assert_eq!(
        (effects.outcome(), failure.fault),
        (Outcome::Failed, Fault::Permanent)
    );
    let view = yard.world.view(artifact.id).await;
    assert_eq!(view.proof, Proof::Failed, "{failure}");

    let flip = |storage: &str| {
        let path = yard.world.object(storage, &artifact);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    flip("one");
    let effects = yard.prove(&of(&artifact), &deps).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Succeeded);
    let proof = effects.proof.as_ref().unwrap();
    assert_eq!(proof.storage.as_ref().unwrap().as_str(), "two");
    assert_eq!(effects.follow_ups.len(), 1, "the bad copy is to be mended");
    flip("two");
    let effects = yard.prove(&of(&artifact), &deps).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Failed);
    // The restore has noted both copies, and a backup without any is more than a failed one.
    let view = yard.world.view(artifact.id).await;
    assert_eq!(view.proof, Proof::Lost);
    yard.assert_clean("damage").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_restore_that_is_told_to_stop_leaves_nothing() {
    let yard = Yard::new().await;
    let artifact = yard.good().await;
    for (ground, why) in [
        (Ground::Scratch, Stop::Requested),
        (Ground::Scratch, Stop::Lost),
        (Ground::Server, Stop::Lost),
    ] {
        let deps = yard.deps(ground).await;
        let request = Verify {
            checks: vec!["select pg_sleep(50) is not null".to_owned()],
            ..of(&artifact)
        };
        let (lease, seat, keeping) = Kept::new().split();
        let execution = lease.execution();
        let (ended, ()) = tokio::select! {
            ended = async { tokio::join!(verify::perform(&request, &deps, &lease), async {
                let comparing = async || seat.progress().phase == Phase::Compare;
                eventually("the comparison", comparing).await;
                seat.stop(why);
            }) } => ended,
            () = keeping => unreachable!("the keeper goes first"),
        };
        let fault = ended.unwrap_err().fault;
        let expected = match why {
            Stop::Lost => Fault::LeaseLost,
            _ => Fault::Cancelled,
        };
        assert_eq!(fault, expected, "{ground:?} {why:?}");
        assert_eq!(scratch::directories(&yard.scratch()), []);
        let name = scratch::database_of(execution);
        assert!(!yard.world.has_database(&name).await, "{ground:?}");
    }
    assert_eq!(yard.world.view(artifact.id).await.test_restore, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_kept_on_the_protected_server_alone_and_never_swept() {
    let yard = Yard::new().await;
    let artifact = yard.good().await;
    let request = Verify {
        keep: true,
        ..of(&artifact)
    };
    let deps = yard.deps(Ground::Scratch).await;
    let private = yard.prove(&request, &deps);
    assert!(private.await.unwrap().result["database"].is_null());
    let deps = yard.deps(Ground::Server).await;
    let kept = yard.prove(&request, &deps).await.unwrap();
    let name = kept.result["database"].as_str().unwrap().to_owned();
    let execution = kept.proof.as_ref().unwrap().execution;
    end(&yard.world, execution).await;
    verify::sweep(&deps.proof, &yard.world.db).await.unwrap();
    assert!(yard.world.has_database(&name).await);
    yard.world.drop_database(&name).await;
}

/// The row of an execution that has ended.
async fn end(world: &World, execution: ExecutionId) {
    let Kept { lease, .. } = Kept::new();
    world.bury(&lease).await;
    let row = format!(
        "update kanbu_backup.execution set id = '{execution}' where id = '{}'",
        lease.execution()
    );
    let changed = sqlx::query(sqlx::AssertSqlSafe(row));
    changed.execute(world.db.bare_pool()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_installation_restores_on_the_same_server_is_not_swept() {
    let yard = Yard::new().await;
    let deps = yard.deps(Ground::Server).await;
    let (theirs, ours) = (ExecutionId::new(), ExecutionId::new());
    for execution in [theirs, ours] {
        let create = format!("create database {}", scratch::database_of(execution));
        execute(&yard.world.cluster, &create).await;
    }
    end(&yard.world, ours).await;
    assert_eq!(verify::sweep(&deps.proof, &yard.world.db).await.unwrap(), 1);
    assert!(!yard.world.has_database(&scratch::database_of(ours)).await);
    let name = scratch::database_of(theirs);
    assert!(yard.world.has_database(&name).await);
    yard.world.drop_database(&name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_test_restores_at_once_do_not_meet() {
    let yard = Yard::new().await;
    let artifact = yard.good().await;
    for ground in [Ground::Scratch, Ground::Server] {
        let mut deps = yard.deps(ground).await;
        deps.proof.turn = Arc::new(Semaphore::new(2));
        let request = of(&artifact);
        let (one, two) = tokio::join!(yard.prove(&request, &deps), yard.prove(&request, &deps));
        for effects in [one.unwrap(), two.unwrap()] {
            assert_eq!(effects.outcome(), Outcome::Succeeded, "{ground:?}");
        }
        yard.assert_clean("two at once").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_archive_is_unpacked_counted_and_removed() {
    let yard = Yard::new().await;
    let source = yard.world.source();
    for n in 0..5 {
        fs::write(source.join(format!("file {n}")), vec![b'x'; 1000]).unwrap();
    }
    let deps = yard.deps(Ground::Auto).await;
    let (artifact, copies) = yard.made("source:app").await;
    let view = yard.world.list(&artifact, &copies).await;
    let effects = yard.prove(&of(&view), &deps).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Succeeded);
    assert_eq!(effects.result["files"], 5);
    assert_eq!(yard.world.view(view.id).await.proof, Proof::Proven);
    yard.assert_clean("a tree").await;

    let (artifact, copies) = yard.made("source:app").await;
    let mut manifest: serde_json::Value = serde_json::from_str(&artifact.manifest).unwrap();
    manifest["source"]["files"] = 6.into();
    let artifact = NewArtifact {
        manifest: manifest.to_string(),
        ..artifact
    };
    let view = yard.world.list(&artifact, &copies).await;
    let effects = yard.prove(&of(&view), &deps).await.unwrap();
    let failure = effects.failed.unwrap();
    assert!(
        failure
            .message
            .contains("5 files were unpacked instead of 6"),
        "{failure}"
    );
    yard.assert_clean("a bad tree").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn structure_is_looked_at_where_the_tool_is_installed() {
    let yard = Yard::new().await;
    let artifact = yard.good().await;
    let mut deps = yard.deps(Ground::Scratch).await;
    deps.proof.with_amcheck = true;
    let effects = yard.prove(&of(&artifact), &deps).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Succeeded);
    let is_installed = deps
        .proof
        .toolsets
        .iter()
        .any(|set| set.program("pg_amcheck").is_file());
    let said = texts(&effects, ProofWeight::Tolerable).join("; ");
    assert_eq!(said.contains("pg_amcheck"), !is_installed, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_call_what_is_bad_failed_and_what_nobody_read_pending() {
    let yard = Yard::new().await;
    let db = &yard.world.db;
    let unread = yard.good().await;
    let (proven, gone) = (yard.good().await, yard.good().await);
    // Its manifest is on the storages as the catalog has it.
    let (artifact, copies) = yard.made("database:kanbu").await;
    let wrong = yard.world.list(&artifact, &copies).await;
    let deps = yard.deps(Ground::Scratch).await;
    yard.prove(&of(&proven), &deps).await.unwrap();
    fs::remove_file(yard.world.object("one", &gone)).unwrap();
    let look = |artifact: &ArtifactView, level| Verify {
        artifact: Some(artifact.id),
        level,
        ..Verify::of(artifact.subject.clone())
    };
    // A missing object is found by a quick look, a forged one by reading it.
    let quick = look(&gone, VerifyLevel::Quick);
    yard.prove(&quick, &deps).await.unwrap();
    let path = yard.world.object("two", &wrong);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let full = look(&wrong, VerifyLevel::Checked);
    yard.prove(&full, &deps).await.unwrap();

    let ladder = catalog::ladder(db).await.unwrap();
    let pending: Vec<_> = ladder.pending().map(|rung| rung.artifact).collect();
    assert_eq!(pending, [unread.id]);
    let of_gone = ladder.0.iter().find(|rung| rung.artifact == gone.id);
    assert_eq!(of_gone.unwrap().verification, Verification::Failed);
    let found = ladder.statistics();
    assert_eq!(
        (found.total, found.verified, found.failed, found.pending),
        (4, 1, 2, 1)
    );
    assert_eq!(found.by_proof[&Proof::Proven], 1);
    assert_eq!(found.by_proof[&Proof::Replicated], 1);
    assert_eq!(found.by_proof[&Proof::Stored], 2);
    assert!(found.last_verified_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_proof_counts_no_more_and_options_of_a_look_are_refused() {
    let yard = Yard::new().await;
    let artifact = yard.good().await;
    let mut deps = yard.deps(Ground::Scratch).await;
    deps.proof.holds_for = Duration::ZERO;
    yard.prove(&of(&artifact), &deps).await.unwrap();
    let view = yard.world.view(artifact.id).await;
    assert_eq!(view.proof, Proof::Replicated);
    assert!(view.test_restore.unwrap().is_good);
    for strange in [
        Verify {
            repair: true,
            ..of(&artifact)
        },
        Verify {
            checks: vec!["select true".to_owned()],
            ..Verify::of(subject("database:kanbu"))
        },
    ] {
        let refused = yard.prove(&strange, &deps).await.unwrap_err();
        assert_eq!(refused.code, "usage.options");
    }
}
