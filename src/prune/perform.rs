//! Carrying plans out.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Deps, Planned, PruneError, Wish, look,
    plan::{in_force, plans},
    report::Report,
};
use crate::{
    catalog::{self, CatalogError, Class, Family, NewPlan, OpenPlan, PendingDeletion},
    execution::{Effects, Lease},
    fault::Failure,
    id::{ArtifactId, PlanId},
    job::{Prune, Subject},
};

/// Carries on what a dead execution left, makes and stores plans for the rest, and performs them.
pub async fn perform(request: &Prune, deps: &Deps, lease: &Arc<Lease>) -> Result<Effects, Failure> {
    let mut run = Run {
        subject: &request.subject,
        deps,
        lease,
        report: Report::default(),
    };
    let family = catalog::family(&deps.catalog, run.subject).await?;
    let begun = catalog::open_plans(&deps.catalog, run.subject).await?;
    let new = run.planned(request, &family, &begun);
    run.store(new).await?;
    let open = catalog::open_plans(&deps.catalog, run.subject).await?;
    let pending = catalog::pending_of(&deps.catalog, run.subject).await?;
    if !pending.is_empty() || open.iter().any(|plan| !plan.undecided.is_empty()) {
        let there = look::there(deps).await?;
        look::require_survivors(&family, &there)?;
    }
    run.delete(pending).await?;
    for plan in open {
        run.carry_out(plan).await?;
    }
    Ok(run.report.effects())
}

struct Run<'a> {
    subject: &'a Subject,
    deps: &'a Deps,
    lease: &'a Arc<Lease>,
    report: Report,
}

impl Run<'_> {
    /// A class whose plan waits to be carried on gets no second one in the same run: an imported schedule's first cycle
    /// would be two.
    fn planned(&mut self, request: &Prune, family: &Family, begun: &[OpenPlan]) -> Vec<Planned> {
        let begun: BTreeSet<Class> = begun.iter().map(|plan| plan.class).collect();
        if !begun.is_empty() {
            self.lease
                .log("carrying on what an earlier execution planned");
        }
        let wish = Wish {
            schedule: request.schedule,
            ..Wish::default()
        };
        let mut planned = plans(family, &wish, &self.deps.terms, self.deps.clock.now());
        planned.retain(|planned| !begun.contains(&planned.class));
        for planned in &planned {
            self.report.planned(planned, self.lease);
        }
        planned
    }

    async fn store(&self, planned: Vec<Planned>) -> Result<(), Failure> {
        self.lease.check().await?;
        let plans = planned.into_iter().map(|planned| NewPlan {
            id: PlanId::new(),
            subject: self.subject.clone(),
            class: planned.class,
            schedule: planned.schedule,
            job: self.lease.job(),
            execution: self.lease.execution(),
            zone: planned.zone,
            policy: planned.policy,
            plan: planned.plan,
        });
        Ok(catalog::store_plans(&self.deps.catalog, &plans.collect::<Vec<_>>()).await?)
    }

    async fn carry_out(&mut self, plan: OpenPlan) -> Result<(), Failure> {
        for items in plan.undecided.chunks(at_once(plan.undecided.len())) {
            self.lease.check().await?;
            let expired = self.decide(&plan, items).await?;
            let mut pending = catalog::pending_of(&self.deps.catalog, self.subject).await?;
            pending.retain(|deletion| expired.contains(&deletion.artifact));
            self.delete(pending).await?;
        }
        Ok(catalog::end_plan(&self.deps.catalog, plan.id).await?)
    }

    /// By the policies and the rows as they are now.
    async fn decide(
        &mut self,
        plan: &OpenPlan,
        items: &[ArtifactId],
    ) -> Result<Vec<ArtifactId>, Failure> {
        let (class, terms, now) = (plan.class, self.deps.terms.clone(), self.deps.clock.now());
        let again = move |family: &Family| in_force(family, class, &terms, now);
        let catalog = &self.deps.catalog;
        let decided = catalog::decide_expired(catalog, plan.id, self.subject, items, again).await?;
        for (id, why) in &decided.spared {
            self.report.spared(*id, why, self.lease);
        }
        Ok(decided.expired)
    }

    /// One that fails doesn't keep the others from being tried.
    async fn delete(&mut self, deletions: Vec<PendingDeletion>) -> Result<(), Failure> {
        for deletion in deletions {
            self.lease.check().await?;
            match self.delete_one(&deletion).await {
                Ok(objects) => self.report.deleted(&deletion, objects, self.lease),
                Err(failure) => {
                    let why = failure.to_string();
                    catalog::deletion_failed(&self.deps.catalog, &deletion, &why).await?;
                    self.report.failed(&deletion, failure, self.lease);
                }
            }
        }
        Ok(catalog::settle_deleted(&self.deps.catalog, self.subject).await?)
    }

    async fn delete_one(&self, deletion: &PendingDeletion) -> Result<u64, Failure> {
        let mut storages = self.deps.storages.iter();
        let storage = storages
            .find(|storage| *storage.name() == deletion.storage)
            .ok_or_else(|| PruneError::UnknownStorage(deletion.storage.clone()))?;
        let done: Result<u64, CatalogError> =
            catalog::perform_deletion(&self.deps.catalog, deletion, storage).await;
        Ok(done?)
    }
}

/// Items that are decided in one transaction, and deleted before the next are decided. Each transaction plans for the whole
/// subject, so that a great many items can't each have one.
fn at_once(items: usize) -> usize {
    (items / 100).clamp(20, 500)
}
