//! `storage`: what an operator does to a storage itself.

use kanbu_backup::{fault::Failure, storage};
use serde_json::json;

use super::VerbError;
use crate::{cli::Storage, exit::Exit, session::Session};

pub fn run(args: Storage, session: &Session) -> Result<Exit, Failure> {
    match args {
        Storage::Init { name, anyway } => init(&name, anyway, session),
    }
}

/// Needs no service and no control database: a mount is set up before anything runs.
fn init(name: &str, anyway: bool, session: &Session) -> Result<Exit, Failure> {
    let storages = &session.config.storage.storages;
    let unknown = || VerbError::UnknownSubject {
        what: "storage",
        name: name.to_owned(),
    };
    let config = storages
        .iter()
        .find(|storage| storage.name.as_str() == name)
        .ok_or_else(unknown)?;
    let storage = storage::Storage::init(config, anyway)?;
    let document = json!({ "name": name, "place": config.place.to_string() });
    session.out.document("storage", &document, || {
        format!("{name} is ready: {}", storage.description())
    });
    Ok(Exit::Done)
}
