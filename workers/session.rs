//! What every verb is handed: the settings, the way to talk, and the way to the control database.

use kanbu_backup::{
    config::{Config, Env},
    control::ControlDb,
    fault::Failure,
};

use crate::{cli::Global, output::Output, wiring};

/// One call of the program.
#[derive(Debug)]
pub struct Session {
    pub config: Config,
    pub out: Output,
}

impl Session {
    pub fn open(env: &Env, global: &Global) -> Result<Self, Failure> {
        let config = Config::load(env, global.config.as_deref())?;
        Ok(Self {
            config,
            out: Output::new(global),
        })
    }

    /// The control database of the running service.
    pub async fn control(&self) -> Result<ControlDb, Failure> {
        wiring::control(&self.config.control).await
    }
}
