//! Stages that misbehave: nothing of what they made may become visible.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::*;
use crate::{
    fault::Fault,
    id::ExecutionId,
    pipeline::{
        Message, feed,
        stage::{Sink, Stage, StageSummary, Through, size},
    },
    storage::{Folder, ObjectKey, Place, Role, Storage, StorageConfig, Terms},
};

/// What a stage does instead of its work, once this many bytes are through.
#[derive(Clone, Copy, Debug)]
enum Misdeed {
    Panic {
        after: u64,
    },
    Fail {
        after: u64,
    },
    /// Ends well and passed on less than it says.
    Swallow,
    /// Ends well and says that it took less than it was given.
    Undercount,
    PanicAtTheEnd,
}

struct Bad {
    misdeed: Misdeed,
    taken: u64,
}

impl Stage for Bad {
    fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Halt> {
        self.taken += size(bytes);
        match self.misdeed {
            Misdeed::Panic { after } => assert!(self.taken < after, "on purpose"),
            Misdeed::Fail { after } if self.taken >= after => {
                return Err(Failure::new(Fault::Permanent, "test.stage", "on purpose").into());
            }
            Misdeed::Swallow => return sink.accept(&bytes[1..]),
            Misdeed::Fail { .. } | Misdeed::Undercount | Misdeed::PanicAtTheEnd => {}
        }
        sink.accept(bytes)
    }

    fn finish(self: Box<Self>, _: &mut dyn Sink) -> Result<StageSummary, Halt> {
        match self.misdeed {
            Misdeed::Undercount => Ok(StageSummary {
                taken: self.taken - 1,
                given: self.taken,
            }),
            Misdeed::PanicAtTheEnd => panic!("on purpose"),
            Misdeed::Panic { .. } | Misdeed::Fail { .. } | Misdeed::Swallow => Ok(StageSummary {
                taken: self.taken,
                given: self.taken,
            }),
        }
    }
}

/// Two million bytes through the stages to a directory. Returns the failure and every file that is left.
async fn refused(stages: Stages) -> (Failure, Vec<PathBuf>) {
    let place = tempfile::tempdir().unwrap();
    let storage = Storage::open(&StorageConfig {
        name: "one".parse().unwrap(),
        role: Role::Primary,
        place: Place::Local {
            directory: place.path().to_owned(),
        },
        terms: Terms::default(),
    })
    .unwrap();
    let began = chrono::DateTime::from_timestamp(1_768_732_200, 0).unwrap();
    let folder = Folder::of_database("prod".parse().unwrap(), began, ExecutionId::new());
    let key = ObjectKey::Data {
        folder,
        name: "dump.kbk",
    };
    let (sender, source) = feed();
    tokio::spawn(async move {
        for _ in 0..200 {
            let chunk = Message::Data(Bytes::from_static(&[7; 10_000]));
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
        let _gone = sender.send(Message::End).await;
    });
    let watch = Watch::new(CancellationToken::new(), std::sync::Arc::new(|_| {}));
    let targets = vec![Target { storage, key }];
    let failure: Failure = run(source, stages, Limits::default(), targets, watch)
        .await
        .expect_err("a bad stage's work was published")
        .into();
    (failure, files(place.path()))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test]
async fn nothing_of_a_stage_that_misbehaves_is_published() {
    for (misdeed, code) in [
        (Misdeed::Panic { after: 1 }, "pipeline.stage_panicked"),
        (
            Misdeed::Panic { after: 2_000_000 },
            "pipeline.stage_panicked",
        ),
        (Misdeed::PanicAtTheEnd, "pipeline.stage_panicked"),
        (Misdeed::Fail { after: 1 }, "test.stage"),
        (Misdeed::Fail { after: 2_000_000 }, "test.stage"),
        (Misdeed::Swallow, "pipeline.counts_disagree"),
        (Misdeed::Undercount, "pipeline.counts_disagree"),
    ] {
        for bad_compressor in [true, false] {
            let bad = Box::new(Bad { misdeed, taken: 0 });
            let good = Box::<Through>::default();
            let stages = if bad_compressor {
                Stages {
                    compress: bad,
                    seal: good,
                }
            } else {
                Stages {
                    compress: good,
                    seal: bad,
                }
            };
            let (failure, left) = refused(stages).await;
            assert_eq!(
                failure.code, code,
                "{misdeed:?}, compressor: {bad_compressor}"
            );
            assert!(left.is_empty(), "{misdeed:?} left {left:?}");
        }
    }
}
