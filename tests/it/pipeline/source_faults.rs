//! A run that does not end well leaves nothing, whatever ended it and when.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use kanbu_backup::{
    fault::{Failure, Fault},
    pipeline::{CompressionSpec, Feed, Message, Sealed, Tick, Watch, feed},
};
use tokio_util::sync::CancellationToken;

use super::{Chance, ENVELOPES, Last, World, ZSTD, source, unwatched};

const MIB: usize = 1 << 20;
const FORMS: [CompressionSpec; 3] = [
    ZSTD,
    CompressionSpec::Gzip { level: 1 },
    CompressionSpec::None,
];

async fn refused(
    world: &World,
    source: Feed,
    form: (CompressionSpec, Sealed),
    watch: Watch,
) -> Failure {
    let storages = [world.storage("one"), world.storage("two")];
    let (compression, sealed) = form;
    let written = world
        .write(source, compression, sealed, &storages, watch)
        .await;
    let failure = written.expect_err("a run that did not end well was published");
    world.assert_nothing_is_left(&format!("{form:?}, ended by {}", failure.code));
    failure
}

fn forms() -> impl Iterator<Item = (CompressionSpec, Sealed)> {
    FORMS
        .into_iter()
        .flat_map(|compression| ENVELOPES.map(|sealed| (compression, sealed)))
}

#[tokio::test]
async fn a_source_that_closes_without_a_word_is_never_published() {
    let mut chance = Chance::new("silence");
    let content = chance.noise(7 * MIB);
    for form in forms() {
        let cut = chance.below(content.len());
        let input = source(chance.pieces(&content[..cut]), Last::Silence);
        let failure = refused(&World::new(), input, form, unwatched()).await;
        assert_eq!(failure.code, "pipeline.source_vanished", "{form:?}");
    }
}

#[tokio::test]
async fn a_source_that_closes_before_its_first_byte_is_never_published() {
    for form in forms() {
        let input = source(Vec::new(), Last::Silence);
        let failure = refused(&World::new(), input, form, unwatched()).await;
        assert_eq!(failure.code, "pipeline.source_vanished", "{form:?}");
    }
}

#[tokio::test]
async fn a_source_that_fails_after_all_its_output_is_never_published() {
    let mut chance = Chance::new("exit status");
    let content = chance.noise(7 * MIB);
    for form in forms() {
        let input = source(chance.pieces(&content), Last::Fail);
        let failure = refused(&World::new(), input, form, unwatched()).await;
        assert_eq!(failure, super::broken(), "{form:?}");
    }
}

#[tokio::test]
async fn a_source_that_panics_is_never_published() {
    let (sender, input) = feed();
    tokio::spawn(async move {
        sender
            .send(Message::Data(Bytes::from_static(b"half")))
            .await
            .unwrap();
        panic!("on purpose");
    });
    let form = (ZSTD, Sealed::V2);
    let failure = refused(&World::new(), input, form, unwatched()).await;
    assert_eq!(failure.code, "pipeline.source_vanished");
}

#[tokio::test]
async fn a_run_cancelled_at_any_point_leaves_nothing() {
    let mut chance = Chance::new("cancel");
    let content = chance.noise(12 * MIB);
    for round in 0..24 {
        let form = forms().nth(round % 9).unwrap();
        let cancel = CancellationToken::new();
        let at = chance.next() % (content.len() as u64 + 1);
        let by_content = chance.below(2) == 0;
        let tick = {
            let cancel = cancel.clone();
            move |tick: Tick| {
                let reached = if by_content {
                    tick.content_bytes
                } else {
                    tick.stored_bytes
                };
                if reached >= at {
                    cancel.cancel();
                }
            }
        };
        let input = source(chance.pieces(&content), Last::End);
        let watch = Watch::new(cancel, Arc::new(tick));
        let failure = refused(&World::new(), input, form, watch).await;
        assert_eq!(
            failure.fault,
            Fault::Cancelled,
            "{form:?} at {at}: {failure}"
        );
    }
}

#[tokio::test]
async fn a_run_is_cancelled_while_its_source_says_nothing() {
    let (sender, input) = feed();
    let cancel = CancellationToken::new();
    let reached = cancel.clone();
    let watch = Watch::new(cancel, Arc::new(move |_: Tick| reached.cancel()));
    let first = Message::Data(Bytes::from_static(b"the only chunk"));
    sender.send(first).await.unwrap();
    let failure = refused(&World::new(), input, (ZSTD, Sealed::V2), watch).await;
    assert_eq!(failure.fault, Fault::Cancelled);
    drop(sender);
}

#[tokio::test]
async fn a_run_cancelled_before_it_begins_leaves_nothing() {
    let watch = unwatched();
    watch.cancel.cancel();
    let input = source(vec![Bytes::from_static(b"content")], Last::End);
    let failure = refused(&World::new(), input, (ZSTD, Sealed::V2), watch).await;
    assert_eq!(failure.fault, Fault::Cancelled);
}

fn lease_lost() -> Failure {
    Failure::new(Fault::LeaseLost, "lease.lost", "the lease is lost")
}

#[tokio::test]
async fn a_closed_gate_takes_everything_back() {
    let content = Chance::new("gate").noise(7 * MIB);
    for form in forms() {
        let watch = unwatched().with_gate(Box::new(|| Box::pin(async { Err(lease_lost()) })));
        let input = source(vec![content.clone().into()], Last::End);
        let failure = refused(&World::new(), input, form, watch).await;
        assert_eq!(failure, lease_lost(), "{form:?}");
    }
}

#[tokio::test]
async fn the_gate_is_not_asked_for_a_run_that_failed_and_sees_no_object_of_one_that_did_not() {
    let world = World::new();
    let asked = Arc::new(AtomicBool::new(false));
    let gate = |world: &World| {
        let (asked, object) = (Arc::clone(&asked), world.object("one", Sealed::V2));
        unwatched().with_gate(Box::new(move || {
            Box::pin(async move {
                asked.store(true, Ordering::Relaxed);
                assert!(!object.exists(), "it was visible before the gate opened");
                Ok(())
            })
        }))
    };
    let storages = [world.storage("one")];
    let input = source(vec![Bytes::from_static(b"content")], Last::Fail);
    let failed = world
        .write(input, ZSTD, Sealed::V2, &storages, gate(&world))
        .await;
    assert!(failed.is_err() && !asked.load(Ordering::Relaxed));

    let input = source(vec![Bytes::from_static(b"content")], Last::End);
    world
        .write(input, ZSTD, Sealed::V2, &storages, gate(&world))
        .await
        .unwrap();
    assert!(asked.load(Ordering::Relaxed));
    assert!(world.object("one", Sealed::V2).exists());
}

#[tokio::test]
async fn a_run_without_a_storage_is_refused() {
    let input = source(Vec::new(), Last::End);
    let written = World::new()
        .write(input, ZSTD, Sealed::V2, &[], unwatched())
        .await;
    assert_eq!(written.unwrap_err().code, "pipeline.no_storage");
}
