//! `storage`: what an operator does to a storage itself.

mod import;
mod list;
mod retire;
mod sync;
mod test;

use kanbu_backup::{
    config::StorageSettings,
    fault::Failure,
    storage::{self, Place, StorageConfig},
};
use serde_json::json;

use super::VerbError;
use crate::{cli::Storage, exit::Exit, session::Session};

pub async fn run(args: Storage, session: &Session) -> Result<Exit, Failure> {
    match args {
        Storage::Init { name, anyway } => init(&name, anyway, session),
        Storage::List => list::run(session).await,
        Storage::Test { name } => test::run(name.as_deref(), session).await,
        Storage::Sync(args) => sync::run(args, session).await,
        Storage::Import(args) => import::run(&args, session).await,
        Storage::Rm(args) => retire::run(&args, session).await,
    }
}

/// Needs no service and no control database: a mount is set up before anything runs.
fn init(name: &str, anyway: bool, session: &Session) -> Result<Exit, Failure> {
    let config = configured(name, &session.config.storage)?;
    let storage = storage::Storage::init(config, anyway)?;
    let document = json!({ "name": name, "place": config.place.to_string() });
    session.out.document("storage", &document, || {
        format!("{name} is ready: {}", storage.description())
    });
    Ok(Exit::Done)
}

/// The storage of that name.
pub(super) fn configured<'a>(
    name: &str,
    settings: &'a StorageSettings,
) -> Result<&'a StorageConfig, Failure> {
    let storages = &settings.storages;
    let found = storages
        .iter()
        .find(|storage| storage.name.as_str() == name);
    Ok(found.ok_or_else(|| unknown(name))?)
}

pub(super) fn unknown(name: &str) -> VerbError {
    VerbError::UnknownSubject {
        what: "storage",
        name: name.to_owned(),
    }
}

/// The storages of these names or URLs, each once; all that are configured if none is named.
pub(super) fn chosen(
    named: &[String],
    settings: &StorageSettings,
) -> Result<Vec<StorageConfig>, Failure> {
    if named.is_empty() {
        return Ok(settings.storages.clone());
    }
    let mut chosen: Vec<StorageConfig> = Vec::new();
    for text in named {
        let config = by_name_or_place(text, settings)?;
        if chosen.iter().all(|known| known.name != config.name) {
            chosen.push(config.clone());
        }
    }
    Ok(chosen)
}

/// The catalog names copies by their storage's name, so that a place needs one before it can be of use.
fn by_name_or_place<'a>(
    text: &str,
    settings: &'a StorageSettings,
) -> Result<&'a StorageConfig, Failure> {
    if !text.contains('/') {
        return configured(text, settings);
    }
    let place =
        Place::parse(text).map_err(|error| VerbError::Unusable(format!("the URL {error}")))?;
    let mut storages = settings.storages.iter();
    let found = storages.find(|storage| storage.place.is_same_as(&place));
    Ok(found.ok_or_else(|| unknown(text))?)
}
