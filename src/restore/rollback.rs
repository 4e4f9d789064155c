//! The way back: the database that a restore replaced gets its name again. What was live until then is kept.

use std::sync::Arc;

use serde_json::json;

use super::{
    Deps, RestoreError,
    replace::{SESSIONS_END_WITHIN, require_confirmed},
    right::Right,
    settle,
};
use crate::{
    catalog::{self, Replacement, ReplacementState, Replacements},
    control::ControlDb,
    execution::{Effects, Lease, Phase},
    fault::Failure,
    pg::swap,
};

/// The replacement that a person means by an id of its restore or its job, or the end of one.
pub async fn replacement(db: &ControlDb, text: &str) -> Result<Replacement, Failure> {
    let mut found = catalog::replacements(db, Replacements::Of(text)).await?;
    match (found.pop(), found.is_empty()) {
        (Some(one), true) if text.len() >= 4 => Ok(one),
        (Some(one), false) => {
            found.push(one);
            let matches = found.iter().map(|row| row.execution.to_string()).collect();
            let text = text.to_owned();
            Err(RestoreError::SeveralReplacements { text, matches }.into())
        }
        _ => Err(RestoreError::NoReplacement(text.to_owned()).into()),
    }
}

/// Exchanges the names back. Takes as long as the sessions on the live database take to end.
pub async fn rollback(
    restore: &str,
    confirm: Option<&str>,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let target = deps.target.as_ref().ok_or(RestoreError::NoTarget)?;
    let found = replacement(&deps.catalog, restore).await?;
    require_confirmed(confirm, deps, &found.database)?;
    let right = Right::take(&target.cluster, &found.database, Some(&deps.catalog), lease).await?;
    for settled in settle::abandoned(&right.guard, target, &deps.catalog).await? {
        lease.log(settled.text);
    }
    // Whoever held the lock until now may have settled it, or undone it.
    let mut row = replacement(&deps.catalog, restore).await?;
    require_replaced(&row, &right).await?;
    lease.begin(Phase::Swap, None);
    right.check().await?;
    let (from, to) = (ReplacementState::Replaced, ReplacementState::Undoing);
    let own = Some(lease.execution());
    if !catalog::advance(&deps.catalog, row.execution, (from, to), own).await? {
        return Err(not_replaced(&row));
    }
    row.state = to;
    let exchange = settle::exchange_of(&row);
    let pause = match swap::exchange(&right.guard, &exchange, SESSIONS_END_WITHIN).await {
        Ok(pause) => {
            settle::note(&deps.catalog, &row, ReplacementState::Undone, None).await;
            Some(pause)
        }
        Err(error) => match settle::at_once(&row, target, &deps.catalog, &right).await {
            Ok(ReplacementState::Undone) => None,
            Ok(_) | Err(_) => return Err(right.explain(error.into()).await),
        },
    };
    lease.log(format!(
        "{} is the old database again; what was live until now is kept as {}",
        row.database, row.undone_name
    ));
    right.guard.release().await;
    let pause = pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    Ok(Effects {
        result: json!({
            "database": row.database,
            "rollback": {
                "restore": row.execution, "kept_as": row.undone_name, "keep_days": row.keep_days, "pause_ms": pause,
            },
        }),
        ..Effects::default()
    })
}

/// Both databases have to be the ones that were exchanged.
async fn require_replaced(row: &Replacement, right: &Right) -> Result<(), Failure> {
    if row.state != ReplacementState::Replaced {
        return Err(not_replaced(row));
    }
    for (name, oid) in [(&row.database, row.new_oid), (&row.old_name, row.old_oid)] {
        let found = swap::standing(&right.guard, name).await?;
        if found.is_none_or(|found| found.oid != oid) {
            return Err(RestoreError::Stranger(name.clone()).into());
        }
    }
    Ok(())
}

fn not_replaced(row: &Replacement) -> Failure {
    RestoreError::NotReplaced {
        restore: row.execution.short(),
        state: row.state.to_string(),
    }
    .into()
}
