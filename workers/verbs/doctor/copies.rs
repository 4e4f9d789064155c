//! The backups' part of `doctor`: those that are lost, those that hang by their last copy, and those of which a test restore
//! failed.

use kanbu_backup::{
    catalog::{self, ArtifactView, Filter, Proof, Risk},
    control::ControlDb,
    fault::Failure,
};

use super::finding::Finding;

/// So many backups are named one by one.
const NAMED: usize = 5;

/// Looks at what the catalogue says; `verify` is what looks at the copies.
pub(super) async fn look(db: &ControlDb) -> Vec<Finding> {
    match all(db).await {
        Ok(artifacts) => told(&artifacts),
        Err(failure) => vec![Finding::bad("backups", &failure)],
    }
}

async fn all(db: &ControlDb) -> Result<Vec<ArtifactView>, Failure> {
    let filter = Filter {
        include_lost: true,
        ..Filter::default()
    };
    Ok(catalog::list(db, &filter).await?)
}

fn told(artifacts: &[ArtifactView]) -> Vec<Finding> {
    let at_risk = artifacts
        .iter()
        .filter_map(|artifact| Some((artifact, artifact.risk()?)));
    let at_risk: Vec<_> = at_risk.collect();
    let mut findings: Vec<_> = at_risk
        .iter()
        .take(NAMED)
        .map(|(artifact, risk)| finding(artifact, risk))
        .collect();
    let unnamed = at_risk.iter().skip(NAMED);
    let lost = unnamed
        .clone()
        .filter(|(_, risk)| *risk == Risk::Lost)
        .count();
    match (unnamed.count(), lost) {
        (0, _) => {}
        (others, 0) => findings.push(Finding::warning(
            "backups",
            format!("{others} more have only one good copy left"),
            "kanbu-backup verify --all --quick --repair",
        )),
        (others, lost) => findings.push(Finding::wrong(
            "backups",
            format!("{others} more are in trouble, {lost} of them lost"),
            "kanbu-backup verify --all --repair",
        )),
    }
    let failed: Vec<_> = artifacts
        .iter()
        .filter(|artifact| artifact.proof == Proof::Failed)
        .collect();
    findings.extend(failed.iter().take(NAMED).copied().map(unproven));
    if let Some(others) = failed.len().checked_sub(NAMED).filter(|others| *others > 0) {
        findings.push(Finding::wrong(
            "backups",
            format!("{others} more failed their last test restore"),
            "kanbu-backup list",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::good(
            "backups",
            format!(
                "{}, none of them lost, on its last copy, or found bad by a test restore",
                artifacts.len()
            ),
        ));
    }
    findings
}

/// One that cannot be relied on although its bytes are right.
fn unproven(artifact: &ArtifactView) -> Finding {
    let id = artifact.id.short();
    Finding::wrong(
        format!("backup {id}"),
        format!("of {}, FAILED its last test restore", artifact.subject),
        &format!("kanbu-backup show {id} says why; then kanbu-backup test-restore {id}"),
    )
}

fn finding(artifact: &ArtifactView, risk: &Risk) -> Finding {
    let id = artifact.id.short();
    let what = format!("backup {id}");
    let subject = &artifact.subject;
    let ailments = artifact.ailments();
    match risk {
        Risk::Lost => Finding::wrong(
            what,
            format!("of {subject}, is LOST: no good copy is left ({ailments})"),
            &format!(
                "bring a good copy back to its storage, then kanbu-backup verify {id} --repair"
            ),
        ),
        Risk::LastCopy { storage } => Finding::warning(
            what,
            format!("of {subject}, has its only good copy on {storage} ({ailments})"),
            &format!("kanbu-backup verify {id} --repair"),
        ),
    }
}
