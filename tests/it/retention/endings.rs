//! Prunes that don't come to their end: killed, fenced out, or refused by a storage.

use super::*;

/// Five nights, of which the policy keeps the last two.
async fn five_nights() -> (Shelf, Vec<ArtifactView>) {
    let shelf = Shelf::new().await;
    let nightly = shelf.schedule("nightly", TREE, &last(2)).await;
    let made = shelf.days(TREE, &[1, 2, 3, 4, 5], Some(nightly)).await;
    shelf.prove(made[4]).await;
    let mut views = Vec::new();
    for id in made {
        views.push(shelf.world.view(id).await);
    }
    (shelf, views)
}

fn expected(views: &[ArtifactView]) -> BTreeSet<ArtifactId> {
    views[3..].iter().map(|view| view.id).collect()
}

/// The promises that hold at any moment, and that the next prune finishes what this one began.
async fn holds_and_resumes(shelf: &Shelf, views: &[ArtifactView], when: &str) {
    let listed = shelf.listed().await;
    assert!(listed.is_superset(&expected(views)), "{when}: {listed:?}");
    let whole = shelf.whole(views);
    assert!(
        whole.is_superset(&listed),
        "{when}: what is listed is not there"
    );
    let again = shelf.prune().await;
    assert_eq!(again.outcome(), Outcome::Succeeded, "{when}: {again:?}");
    assert_eq!(shelf.listed().await, expected(views), "{when}");
    assert_eq!(shelf.whole(views), expected(views), "{when}");
    for storage in ["one", "two"] {
        let lying = shelf.world.lying_on(storage).len();
        assert_eq!(
            lying,
            2 * 2,
            "{when}: data and manifest of two on {storage}"
        );
    }
    let open = "select count(*)::text from kanbu_backup.prune_plan where ended_at is null";
    assert_eq!(shelf.text(open).await, "0", "{when}");
    let loose = "select count(*)::text from kanbu_backup.prune_item where verdict = 'expired' and fate <> 'deleted'";
    assert_eq!(shelf.text(loose).await, "0", "{when}");
    let journal = catalog::journal(&shelf.world.db, Some(&tree()), 100)
        .await
        .unwrap();
    let told: Vec<_> = journal
        .iter()
        .map(|entry| (entry.by.as_str(), &entry.fate))
        .collect();
    assert_eq!(told, vec![("prune", &Fate::Deleted); 3], "{when}");
}

fn tree() -> Subject {
    subject(TREE)
}

/// Every step that touches the world outside of the run asks for the lease first: the plan, each batch, each copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_dies_before_any_of_its_steps_keeps_its_promises_and_is_carried_on() {
    let mut steps = 0;
    loop {
        let (shelf, views) = five_nights().await;
        let mut kept = Kept::new();
        let (lease, deps) = (kept.lease.clone(), shelf.deps());
        let mut run =
            tokio::spawn(async move { prune::perform(&Prune::of(tree()), &deps, &lease).await });
        for _ in 0..steps {
            kept.renew().await;
        }
        // Nobody answers it, as if the process had gone.
        let asked = tokio::select! {
            asked = kept.asked() => asked,
            ended = &mut run => {
                ended.unwrap().unwrap();
                break;
            }
        };
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
        drop(asked);
        holds_and_resumes(&shelf, &views, &format!("dead before step {steps}")).await;
        steps += 1;
    }
    // One plan, one batch, three backups with two copies each.
    assert_eq!(steps, 1 + 1 + 3 * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_whose_lease_is_lost_stops_before_its_next_step() {
    for steps in [0, 1, 2, 5] {
        let (shelf, views) = five_nights().await;
        let mut kept = Kept::new();
        let (lease, deps) = (kept.lease.clone(), shelf.deps());
        let run =
            tokio::spawn(async move { prune::perform(&Prune::of(tree()), &deps, &lease).await });
        for _ in 0..steps {
            kept.renew().await;
        }
        kept.lose().await;
        let failure = run.await.unwrap().unwrap_err();
        assert_eq!(failure.code, "lease.lost", "after {steps}");
        holds_and_resumes(&shelf, &views, &format!("lost after {steps}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_cannot_be_deleted_keeps_no_other_and_is_tried_again() {
    let (shelf, views) = five_nights().await;
    let mut deps = shelf.deps();
    deps.storages[1] = deps.storages[1].faulty(Trouble::DeletesFail { with: Errno::IO });
    let effects = shelf.try_prune(&deps).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Degraded);
    assert_eq!(effects.result["pending"], 3);
    let warning = &effects.warnings[0];
    assert_eq!(warning.code, "prune.incomplete");
    for view in &views[..3] {
        let named = format!("{} on two", view.id.short());
        assert!(warning.text.contains(&named), "{}", warning.text);
        assert!(!shelf.world.object("one", view).exists());
    }
    assert_eq!(shelf.listed().await, expected(&views));
    let journal = catalog::journal(&shelf.world.db, None, 1).await.unwrap();
    let Fate::Pending { on, error } = &journal[0].fate else {
        panic!("{journal:?}")
    };
    assert_eq!(on[0].as_str(), "two");
    assert!(error.is_some());
    holds_and_resumes(&shelf, &views, "after a failed deletion").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_could_delete_nothing_has_failed_and_may_be_tried_again() {
    let (shelf, views) = five_nights().await;
    let mut deps = shelf.deps();
    for storage in &mut deps.storages {
        *storage = storage.faulty(Trouble::DeletesFail { with: Errno::IO });
    }
    let effects = shelf.try_prune(&deps).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Failed);
    assert_eq!(effects.failed.as_ref().unwrap().code, "prune.failed");
    holds_and_resumes(&shelf, &views, "after nothing could be deleted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_stops_the_prune_before_anything_goes() {
    let (shelf, views) = five_nights().await;
    let mut deps = shelf.deps();
    deps.storages[1] = deps.storages[1].faulty(Trouble::ListingFails { with: Errno::IO });
    shelf.try_prune(&deps).await.unwrap_err();
    assert_eq!(shelf.listed().await.len(), 5);
    assert_eq!(shelf.whole(&views).len(), 5);
    holds_and_resumes(&shelf, &views, "after a failed listing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_for_a_survivor_that_only_the_catalog_knows_of() {
    let (shelf, views) = five_nights().await;
    for storage in ["one", "two"] {
        let manifest = shelf.world.manifest_file(storage, &views[4]);
        std::fs::rename(&manifest, manifest.with_extension("away")).unwrap();
    }
    let failure = shelf.try_prune(&shelf.deps()).await.unwrap_err();
    assert_eq!(failure.code, "prune.survivor_missing");
    assert_eq!(shelf.listed().await.len(), 5);
    for storage in ["one", "two"] {
        let manifest = shelf.world.manifest_file(storage, &views[4]);
        std::fs::rename(manifest.with_extension("away"), &manifest).unwrap();
    }
    holds_and_resumes(&shelf, &views, "with its manifest back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_on_a_storage_that_is_configured_no_more_is_told_and_waits() {
    let (shelf, views) = five_nights().await;
    let mut deps = shelf.deps();
    deps.storages.truncate(1);
    let effects = shelf.try_prune(&deps).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Degraded);
    assert!(
        effects.warnings[0]
            .text
            .contains("storage two is not configured")
    );
    holds_and_resumes(&shelf, &views, "with the storage back").await;
}
