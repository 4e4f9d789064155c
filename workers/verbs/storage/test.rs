//! `storage test`: every sort of request is tried on a storage, with its time. Needs no service and no control database.

use kanbu_backup::{
    fault::Failure,
    storage::{Step, Storage, StorageConfig, Trial},
};
use serde_json::{Value, json};

use super::configured;
use crate::{exit::Exit, output::Table, session::Session};

pub(super) async fn run(name: Option<&str>, session: &Session) -> Result<Exit, Failure> {
    let settings = &session.config.storage;
    let configs = match name {
        Some(name) => vec![configured(name, settings)?.clone()],
        None => settings.storages.clone(),
    };
    let mut tested = Vec::new();
    for config in &configs {
        tested.push(Tested::of(config).await);
    }
    let documents: Vec<Value> = tested.iter().map(Tested::document).collect();
    session
        .out
        .document("storages", &documents, || text(&tested));
    let mut failures = tested.iter().filter_map(|one| one.failure.as_ref());
    Ok(failures
        .next()
        .map_or(Exit::Done, |(_, failure)| Exit::of(failure)))
}

/// A storage and how it did.
struct Tested<'a> {
    config: &'a StorageConfig,
    steps: Vec<Step>,
    /// The step that failed, and why.
    failure: Option<(&'static str, Failure)>,
}

impl<'a> Tested<'a> {
    async fn of(config: &'a StorageConfig) -> Self {
        let Trial { steps, failed } = match Storage::open(config) {
            Ok(storage) => storage.trial().await,
            Err(error) => Trial {
                steps: Vec::new(),
                failed: Some(("open", error)),
            },
        };
        Self {
            config,
            steps,
            failure: failed.map(|(step, error)| (step, error.into())),
        }
    }

    fn document(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| json!({ "step": step.what, "ms": step.took.as_millis() }))
            .collect();
        let error = self.failure.as_ref().map(|(step, failure)| {
            json!({ "step": step, "code": failure.code, "text": failure.message, "hint": failure.hint })
        });
        json!({
            "name": self.config.name,
            "role": self.config.role.as_str(),
            "place": self.config.place.to_string(),
            "ok": self.failure.is_none(),
            "steps": steps,
            "error": error,
        })
    }
}

fn text(tested: &[Tested<'_>]) -> String {
    let mut table = Table::new(&["STORAGE", "STEP", "TIME"]).right(2);
    for one in tested {
        let name = one.config.name.to_string();
        for step in &one.steps {
            let took = format!("{} ms", step.took.as_millis());
            table.row([name.clone(), step.what.to_owned(), took]);
        }
        if let Some((step, _)) = &one.failure {
            table.row([name, (*step).to_owned(), "FAILED".to_owned()]);
        }
    }
    let mut lines = vec![table.text()];
    for one in tested {
        let name = &one.config.name;
        match &one.failure {
            None => lines.push(format!("{name} can be used: {}", one.config.place)),
            Some((step, failure)) => {
                lines.push(format!("{name} can't be used: to {step}: {failure}"));
                lines.extend(failure.hint.as_ref().map(|hint| format!("  hint: {hint}")));
            }
        }
    }
    lines.join("\n")
}
