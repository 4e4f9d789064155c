//! A restore that takes the live database's place: loaded and compared beside it, then live in its stead.
//!
//! [`begin`] fences others off and refuses what can be seen to fail; the caller makes the safety backup, under the same
//! execution; [`replace`] does the rest. Until the names are exchanged the live database is merely read from. The row in
//! the catalog is written before it is fenced, so that whoever comes after a crash knows what to settle.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{
    DatabaseTarget, Deps, Destination, Origin, Plan, RestoreError,
    database::{Made, NewDatabase, Terms, dropped, said},
    perform::{followed_up, format_of, made_of_good_copy},
    plan::plan,
    right::Right,
    settle,
};
use crate::{
    catalog::{self, NewArtifact, NewCopy, Replacement, ReplacementState},
    execution::{Effects, Lease, Phase},
    fault::Failure,
    id::{ArtifactId, ExecutionId},
    job::Restore,
    pg::{guard::Guard, swap},
};

/// After this long the sessions on a live database that will not end have won.
pub(super) const SESSIONS_END_WITHIN: Duration = Duration::from_secs(20);

/// PostgreSQL cuts longer names silently.
const MAX_NAME_BYTES: usize = 63;

/// A replacement that nothing speaks against, and that nobody else can begin.
#[derive(Debug)]
pub struct Begun<'a> {
    request: &'a Restore,
    deps: &'a Deps,
    target: &'a DatabaseTarget,
    origin: Origin,
    plan: Plan,
    live: String,
    old_oid: u32,
    right: Right,
}

/// The backup of the live database that was made before all, or why there is none.
#[derive(Clone, Debug)]
pub enum Safety {
    Made(Box<Effects>),
    Declined(String),
}

/// What somebody has to type before a live database gives way.
pub fn confirmation(deps: &Deps, live: &str) -> String {
    format!("{}/{live}", deps.environment)
}

pub(super) fn require_confirmed(
    given: Option<&str>,
    deps: &Deps,
    live: &str,
) -> Result<(), RestoreError> {
    let wanted = confirmation(deps, live);
    if given == Some(wanted.as_str()) {
        Ok(())
    } else {
        Err(RestoreError::NotConfirmed(wanted))
    }
}

/// Takes the right to replace the live database, removes what a dead attempt left, and makes the plan.
pub async fn begin<'a>(
    request: &'a Restore,
    live: &str,
    origin: Origin,
    deps: &'a Deps,
    lease: &Arc<Lease>,
) -> Result<Begun<'a>, Failure> {
    require_confirmed(request.confirm.as_deref(), deps, live)?;
    if request
        .no_safety_backup
        .as_ref()
        .is_some_and(|reason| reason.trim().is_empty())
    {
        return Err(RestoreError::NoReason.into());
    }
    let target = deps.target.as_ref().ok_or(RestoreError::NoTarget)?;
    let right = Right::take(&target.cluster, live, Some(&deps.catalog), lease).await?;
    for settled in settle::abandoned(&right.guard, target, &deps.catalog).await? {
        lease.log(settled.text);
    }
    let destination = Destination::Live {
        name: live.to_owned(),
        no_owner: request.no_owner,
    };
    let plan = plan(&origin, &destination, deps.parts()).await;
    plan.require()?;
    let old = plan.live.as_ref();
    let old = old.ok_or_else(|| RestoreError::NoLive(live.to_owned()))?;
    Ok(Begun {
        request,
        deps,
        target,
        origin,
        live: live.to_owned(),
        old_oid: old.oid,
        plan,
        right,
    })
}

/// The safety backup counts from now on, whatever becomes of the restore.
pub async fn record_safety(
    artifact: NewArtifact,
    copies: Vec<NewCopy>,
    deps: &Deps,
) -> Result<(), Failure> {
    Ok(catalog::enter(&deps.catalog, artifact, copies).await?)
}

/// Loads, compares, and exchanges the names. Of one that fails nothing stays but the safety backup.
pub async fn replace(begun: Begun<'_>, safety: Safety) -> Result<Effects, Failure> {
    let Begun {
        request,
        deps,
        target,
        origin,
        plan,
        live,
        old_oid,
        right,
    } = begun;
    right.check().await?;
    let backup = origin.backup.clone();
    let names = Names::of(&live, right.lease.execution());
    let terms = Terms {
        no_owner: request.no_owner,
        keep: request.keep,
        replaces: true,
    };
    let format = format_of(origin.content);
    let database = NewDatabase::plan(names.load.clone(), format, terms, &origin, target).await?;
    let (mut made, aside) = made_of_good_copy(database, origin, deps.parts(), &right).await?;
    let swapping = Swapping {
        request,
        deps,
        target,
        live: &live,
        old_oid,
        names: &names,
        system_identifier: plan.system_identifier.clone(),
        safety: &safety,
    };
    let pause = match swapping.swap(&mut made, &right).await {
        Ok(pause) => pause,
        Err(failure) => {
            let failure = right.explain(failure).await;
            return Err(dropped(&target.cluster, &names.load, failure, &right).await);
        }
    };
    let mut effects = made.effects(&right);
    effects.warnings.extend(plan.warnings());
    tell(&mut effects, &swapping, pause, right.lease.execution());
    followed_up(&mut effects, backup, aside);
    right.guard.release().await;
    Ok(effects)
}

fn tell(
    effects: &mut Effects,
    swapping: &Swapping<'_>,
    pause: Option<Duration>,
    execution: ExecutionId,
) {
    let pause = pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    effects.result["database"] = json!(swapping.live);
    effects.result["replacement"] = json!({
        "restore": execution,
        "kept_as": swapping.names.old,
        "keep_days": swapping.keep_days(),
        "pause_ms": pause,
        "safety_backup": swapping.safety_backup(),
        "no_safety_backup": swapping.declined(),
    });
    match swapping.safety {
        Safety::Made(made) => {
            effects.follow_ups.extend(made.follow_ups.iter().cloned());
            effects.warnings.extend(made.warnings.iter().cloned());
        }
        Safety::Declined(reason) => effects.warnings.push(said(
            "restore.no_safety_backup",
            format!("the live database was not backed up first: {reason}"),
        )),
    }
}

/// What the databases are called before and after.
#[derive(Debug)]
pub(super) struct Names {
    pub load: String,
    pub old: String,
    pub undone: String,
}

impl Names {
    pub(super) fn of(live: &str, restore: ExecutionId) -> Self {
        let short = restore.short();
        let named = |word: &str| {
            let end = format!("_{word}_{short}");
            let room = live.floor_char_boundary(MAX_NAME_BYTES - end.len());
            format!("{}{end}", &live[..room])
        };
        Self {
            load: named("restore"),
            old: named("before"),
            undone: named("undone"),
        }
    }
}

/// The exchange of the names, with all that has to be known about it.
struct Swapping<'a> {
    request: &'a Restore,
    deps: &'a Deps,
    target: &'a DatabaseTarget,
    live: &'a str,
    old_oid: u32,
    names: &'a Names,
    system_identifier: Option<String>,
    safety: &'a Safety,
}

impl Swapping<'_> {
    fn keep_days(&self) -> u16 {
        self.request
            .keep_old_days
            .unwrap_or(self.deps.keep_old)
            .into()
    }

    fn safety_backup(&self) -> Option<ArtifactId> {
        match self.safety {
            Safety::Made(made) => made.artifact.as_ref().map(|(artifact, _)| artifact.id),
            Safety::Declined(_) => None,
        }
    }

    fn declined(&self) -> Option<&str> {
        match self.safety {
            Safety::Made(_) => None,
            Safety::Declined(reason) => Some(reason),
        }
    }

    /// `None`: it took place, but how long it took nobody saw.
    async fn swap(&self, made: &mut Made, right: &Right) -> Result<Option<Duration>, Failure> {
        NewDatabase::prepare(made, &self.target.cluster, self.live, right).await?;
        right.lease.begin(Phase::Swap, None);
        let row = self.row(right).await?;
        // The last moment to notice that somebody else took over.
        right.check().await?;
        catalog::intend(&self.deps.catalog, &row).await?;
        right.lease.log(format!(
            "{} gives way and is kept as {}",
            self.live, self.names.old
        ));
        let exchange = settle::exchange_of(&row);
        let swapped = swap::exchange(&right.guard, &exchange, SESSIONS_END_WITHIN).await;
        match swapped {
            Ok(pause) => {
                settle::note(&self.deps.catalog, &row, ReplacementState::Replaced, None).await;
                Ok(Some(pause))
            }
            Err(error) => {
                let state = settle::at_once(&row, self.target, &self.deps.catalog, right).await;
                match state {
                    Ok(ReplacementState::Replaced) => Ok(None),
                    Ok(_) => Err(error.into()),
                    Err(failure) => {
                        right.lease.log(format!("not settled: {failure}"));
                        Err(error.into())
                    }
                }
            }
        }
    }

    async fn row(&self, right: &Right) -> Result<Replacement, Failure> {
        let live = standing(&right.guard, self.live).await?;
        let new = standing(&right.guard, &self.names.load).await?;
        if live.oid != self.old_oid {
            return Err(RestoreError::LiveChanged.into());
        }
        Ok(Replacement {
            execution: right.lease.execution(),
            job: right.lease.job(),
            artifact: self.request.artifact,
            rollback: None,
            system_identifier: self.system_identifier.clone(),
            database: self.live.to_owned(),
            old_oid: self.old_oid,
            new_oid: new.oid,
            load_name: self.names.load.clone(),
            old_name: self.names.old.clone(),
            undone_name: self.names.undone.clone(),
            state: ReplacementState::Replacing,
            keep_days: self.keep_days(),
            keep_until: None,
            safety_backup: self.safety_backup(),
            no_safety_backup: self.declined().map(str::to_owned),
        })
    }
}

async fn standing(guard: &Guard, name: &str) -> Result<swap::Standing, Failure> {
    let found = swap::standing(guard, name).await?;
    Ok(found.ok_or_else(|| RestoreError::NoLive(name.to_owned()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_replacement_fit_and_differ_by_their_ends() {
        let restore = ExecutionId::new();
        let names = Names::of("kanbu", restore);
        assert_eq!(names.old, format!("kanbu_before_{}", restore.short()));
        let long = "ü".repeat(31);
        let names = Names::of(&long, restore);
        for name in [&names.load, &names.old, &names.undone] {
            assert!(name.len() <= MAX_NAME_BYTES, "{name}");
        }
        assert!(
            names
                .load
                .ends_with(&format!("_restore_{}", restore.short()))
        );
    }
}
