//! A database that was harmed after it was loaded: every way of restoring finds it by itself and names it.
//!
//! The harm is in the backup: a materialized view, which a load fills at its very end, does it anywhere but where it comes
//! from. What is compared are the expectations that the backup took in its own snapshot.

use std::sync::Arc;

use kanbu_backup::{
    backup::Format, execution::Lease, fault::Fault, pg::scratch::Ground, testing::TestServer,
};

use crate::fault_world::{Stage, Way};

fn harmed(statement: &str) -> String {
    format!(
        "create table note as select n, md5(n::text) as text from generate_series(1, 50) as n;
         create index note_n_idx on note (n);
         create sequence numbers;
         select setval('numbers', 42), lo_from_bytea(4242, 'large');
         create table harm as select $harm$ {statement} $harm$::text as statement;
         create function harm() returns integer language plpgsql volatile as $$
         declare
           harm text;
         begin
           if not public.is_live() then
             select statement into harm from public.harm;
             execute harm;
           end if;
           return 1;
         end $$;
         create materialized view zz_last as select harm()"
    )
}

/// What is done to the restored database, and how that is told.
const HARM: [(&str, &str); 8] = [
    (
        "delete from public.note where n = 7",
        "table public.note has 49 rows instead of 50",
    ),
    (
        "select setval('public.numbers', 5)",
        "sequence public.numbers stands at 5 instead of 42",
    ),
    (
        "drop index public.note_n_idx",
        "index public.note_n_idx is missing",
    ),
    (
        "truncate public.note",
        "table public.note has 0 rows instead of 50",
    ),
    (
        "insert into public.note values (51, 'one more')",
        "table public.note has 51 rows instead of 50",
    ),
    ("drop table public.note", "table public.note is missing"),
    (
        "create table public.stray ()",
        "table public.stray was not there before",
    ),
    (
        "select lo_unlink(4242)",
        "there are 0 large objects instead of 1",
    ),
];

const WAYS: [Way; 4] = [
    Way::Test(Ground::Scratch),
    Way::Test(Ground::Server),
    Way::Beside,
    Way::Replace,
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_restored_database_lost_is_named_by_every_way_of_restoring() {
    let server = TestServer::start(&[]).await;
    for (number, (harm, named)) in HARM.into_iter().enumerate() {
        let stage = Stage::new(&server, &harmed(harm), Format::Native).await;
        // A private server takes its time to begin: that one sees the first half of all this.
        for &way in WAYS.get(number / 4..).unwrap() {
            let failure = stage.failed(way).await;
            let what = format!("{harm} {way:?}: {failure}");
            let code = match way {
                Way::Beside | Way::ByTwo | Way::Replace => "restore.differs",
                Way::Test(_) => "proof.differs",
            };
            assert_eq!(
                (&*failure.code, failure.fault),
                (code, Fault::Permanent),
                "{what}"
            );
            assert!(failure.message.contains(named), "{what}");
            stage.assert_unharmed(&what).await;
        }
    }
}

/// What an inventory can't see: it counts rows, and doesn't read them. Whoever wants more says so in a check of his own.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_changed_after_the_load_is_found_by_a_check_and_by_nothing_else() {
    let server = TestServer::start(&[]).await;
    let harm = harmed("update public.note set text = 'forged' where n = 7");
    let mut stage = Stage::new(&server, &harm, Format::Native).await;
    for ground in [Ground::Scratch, Ground::Server] {
        let lease = Arc::new(Lease::unattended());
        stage.checks = Vec::new();
        stage.restored(Way::Test(ground), &lease).await.unwrap();
        stage.checks = vec!["select bool_and(text = md5(n::text)) from note".to_owned()];
        let failure = stage.failed(Way::Test(ground)).await;
        assert_eq!(failure.code, "proof.untrue");
        assert!(failure.message.contains("bool_and(text"), "{failure}");
        stage.assert_unharmed("a forged value").await;
    }
}
