//! Carrying a plan out.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    BackupError, Deps, Plan, adopt, alarms,
    clear::clear,
    source::Told,
    store::{Made, Ready},
    stream::{self, Streamed},
    warnings,
};
use crate::{
    catalog::{EnvelopeFormat, HOLDS},
    execution::{Effects, Lease},
    fault::Failure,
    job::Backup,
    pipeline::Written,
    storage::StorageName,
};

/// Makes the backup, or adopts the one that an earlier execution of this job completed without being able to say so.
pub async fn perform(
    request: &Backup,
    plan: Plan,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let effects = match adopt::completed_earlier(request, deps, lease).await? {
        Some(effects) => effects,
        None => make(request, &plan, deps, lease).await?,
    };
    for warning in &effects.warnings {
        lease.log(format!("warning: {}", warning.text));
    }
    Ok(effects)
}

/// Of a run that fails nothing stays. Until there is a manifest that is safe whatever became of the lease: the folder bears
/// this execution's id, so nobody else writes in it, and without a manifest nobody takes it over.
async fn make(
    request: &Backup,
    plan: &Plan,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    say_what_is_planned(plan, lease);
    match until_manifest(request, plan, deps, lease).await {
        Ok(ready) => ready.publish(deps, lease).await,
        Err(failure) => {
            clear(&plan.folder, deps.storages.iter(), lease).await;
            Err(failure)
        }
    }
}

fn say_what_is_planned(plan: &Plan, lease: &Lease) {
    let storages: Vec<_> = plan.storages.iter().map(StorageName::as_str).collect();
    lease.log(format!(
        "backing up {} to {} as {}",
        plan.subject,
        storages.join(", "),
        plan.folder
    ));
}

/// Everything up to the commit point: one stream to the storages, whole and read back.
async fn until_manifest<'a>(
    request: &'a Backup,
    plan: &'a Plan,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Ready<'a>, Failure> {
    let Streamed {
        written,
        copies,
        facts,
        report,
        globals,
        turn: _turn,
    } = stream::run(plan, deps, lease).await?;
    refuse_empty(plan, &written)?;
    let is_encrypted = plan.envelope != EnvelopeFormat::None;
    let Told {
        facts: found,
        inventory,
        mut warnings,
    } = report.told(is_encrypted).await?;
    if !is_encrypted {
        warnings.push(warnings::unencrypted());
    }
    let alarms = alarms::look(plan, deps, written.content_bytes, inventory.as_ref(), lease).await;
    drop(inventory);
    warnings.extend(alarms.warnings);
    let mut facts = merged(facts, found);
    if let Some(globals) = globals
        && let Some(kept) = globals.told(&mut warnings).await
    {
        facts["globals"] = kept;
    }
    if let Some(held) = alarms.holds {
        facts[HOLDS] = json!(held);
    }
    let made = Made {
        request,
        plan,
        written,
        copies,
        facts,
        warnings,
    };
    made.read_back(deps, lease).await
}

fn refuse_empty(plan: &Plan, written: &Written) -> Result<(), BackupError> {
    if written.content_bytes == 0 {
        Err(BackupError::Empty(plan.subject.clone()))
    } else {
        Ok(())
    }
}

fn merged(facts: Value, found: Value) -> Value {
    match (facts, found) {
        (Value::Object(mut facts), Value::Object(found)) => {
            facts.extend(found);
            Value::Object(facts)
        }
        (facts, _) => facts,
    }
}
