//! The source's stream to the storages, and the second one when the first found nobody to take it.
//!
//! A policy or a storage's own terms may leave a storage out of the stream: it gets its copy afterwards. When none of those
//! in the stream can take it, the source is read again, for the ones that were left out: a backup at the wrong place is
//! better than none.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Deps, Plan,
    copies::Copies,
    globals::Dumping,
    recipe::recipe,
    source::{self, Report},
};
use crate::{
    catalog::ArtifactKind,
    execution::{Lease, Phase, Total},
    fault::Failure,
    pipeline::{self, PartGrowth, Target, TargetEnd, Unwritten, Written},
    storage::{PartLimits, Storage, Turn},
};

/// How a dump fails whose snapshot is on another server than its session.
const NO_SNAPSHOT: &str = "database.snapshot";

/// A source that was read to its end, and where it went.
pub(super) struct Streamed {
    pub written: Written,
    pub copies: Copies,
    /// What the manifest says of the source.
    pub facts: Value,
    pub report: Report,
    pub globals: Option<Dumping>,
    /// Held for as long as the storages are at work.
    pub turn: Turn,
}

pub(super) async fn run(plan: &Plan, deps: &Deps, lease: &Arc<Lease>) -> Result<Streamed, Failure> {
    let is_streamed_to =
        |storage: &&Storage| deps.policy.streams_to(storage.role(), storage.terms().live);
    let (first, later): (Vec<_>, Vec<_>) = deps.storages.iter().partition(is_streamed_to);
    let (failure, ends) = match watched(plan, deps, &first, lease).await {
        Ok(once) => return Ok(once.streamed(deps, &[])),
        Err(Unwritten::Storages { failure, ends }) => (failure, ends),
        Err(other) => return Err(other.into()),
    };
    if later.is_empty() || deps.policy.least() > 1 {
        return Err(failure);
    }
    lease.log(format!("falling back to the other storages: {failure}"));
    match watched(plan, deps, &later, lease).await {
        Ok(once) => Ok(once.streamed(deps, &ends)),
        Err(Unwritten::Storages {
            failure,
            ends: others,
        }) => {
            let all = [ends, others].concat();
            Err(Copies::of_ends(deps, &all)
                .refusal(deps.policy)
                .unwrap_or(failure))
        }
        Err(other) => Err(other.into()),
    }
}

/// One reading of the source.
struct Once {
    written: Written,
    facts: Value,
    report: Report,
    globals: Option<Dumping>,
    turn: Turn,
}

impl Once {
    fn streamed(self, deps: &Deps, earlier: &[TargetEnd]) -> Streamed {
        let ends = [earlier, &self.written.ends].concat();
        Streamed {
            copies: Copies::of_ends(deps, &ends),
            written: self.written,
            facts: self.facts,
            report: self.report,
            globals: self.globals,
            turn: self.turn,
        }
    }
}

/// With an inventory beside the dump; and once more without one, when the dump's session does not find the snapshot.
async fn watched(
    plan: &Plan,
    deps: &Deps,
    storages: &[&Storage],
    lease: &Arc<Lease>,
) -> Result<Once, Unwritten> {
    match once(plan, deps, storages, lease, None).await {
        Err(Unwritten::Run(failure)) if failure.code == NO_SNAPSHOT => {
            lease.log(format!("dumping again in a snapshot of its own: {failure}"));
            once(plan, deps, storages, lease, Some(&failure)).await
        }
        done => done,
    }
}

async fn once(
    plan: &Plan,
    deps: &Deps,
    storages: &[&Storage],
    lease: &Arc<Lease>,
    unwatched: Option<&Failure>,
) -> Result<Once, Unwritten> {
    let turn = Turn::at(storages.iter().copied(), lease.cancelled()).await;
    let turn = turn.ok_or_else(|| Unwritten::Run(Failure::cancelled()))?;
    let mut recipe = recipe(plan, deps, lease).await.map_err(Unwritten::Run)?;
    let opened = source::open(plan, deps, lease, unwatched)
        .await
        .map_err(Unwritten::Run)?;
    recipe.limits.part_growth = part_growth(storages, opened.estimate);
    let watch = lease.watch(phase(plan), opened.estimate.map(Total::Estimate));
    let written = pipeline::write(opened.feed, recipe, targets(plan, storages), watch).await?;
    Ok(Once {
        written,
        facts: opened.facts,
        report: opened.report,
        globals: opened.globals,
        turn,
    })
}

fn phase(plan: &Plan) -> Phase {
    match plan.kind {
        ArtifactKind::Database => Phase::Dump,
        ArtifactKind::Source => Phase::Archive,
    }
}

/// Compressed, a source is seldom more than half its size; parts that grow at their end carry the rest.
fn part_growth(storages: &[&Storage], estimate: Option<u64>) -> PartGrowth {
    let demands = storages
        .iter()
        .map(|storage| storage.capabilities().parts)
        .fold(PartLimits::default(), PartLimits::and);
    PartGrowth::for_stores(demands, estimate.map(|bytes| bytes / 2))
}

fn targets(plan: &Plan, storages: &[&Storage]) -> Vec<Target> {
    let key = plan.data_key();
    let to = |storage: &&Storage| Target {
        storage: Storage::clone(storage),
        key: key.clone(),
    };
    storages.iter().map(to).collect()
}
