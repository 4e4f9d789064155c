//! Environment, files and flags to validated types, secrets wrapped.
//!
//! One struct per concern, handed only to its consumer; nobody passes [`Config`] on whole. Every setting is declared once,
//! in the table [`SETTINGS`], from which `config show` and the documentation are made. Kanbu's own names and words come
//! from `kanbu::env`.

mod content;
mod control;
mod credentials;
mod encryption;
mod env;
mod file;
mod log;
mod names;
mod notify;
mod notify_means;
mod pipeline;
mod problem;
mod protected;
mod reader;
mod reference;
mod retention;
mod schedule;
mod secret;
mod setting;
mod settings;
mod source;
mod storage;
mod terms;
mod worker;

use std::path::Path;

use self::reader::Reader;
pub use self::{
    content::ContentSettings,
    control::ControlSettings,
    encryption::EncryptionSettings,
    env::Env,
    log::{LogFormat, LogSettings},
    notify::NotifySettings,
    pipeline::PipelineSettings,
    problem::{ConfigErrors, Problem},
    protected::{ProtectedSettings, ToolSettings},
    reader::{Effective, Origin},
    reference::reference,
    retention::RetentionSettings,
    schedule::ScheduleSettings,
    secret::Secret,
    setting::{Fallback, Form, Secrecy, Setting},
    settings::SETTINGS,
    source::{SourceSettings, SourceTree},
    storage::StorageSettings,
    worker::{ProofSettings, ScrubSettings, WorkerSettings},
};
pub use crate::{
    kanbu::env::{BackupFormat, SchedulerMode, StorageWord},
    pg::dump::PgMode,
};

/// Every setting of one process.
#[derive(Clone, Debug)]
pub struct Config {
    pub control: ControlSettings,
    pub protected: ProtectedSettings,
    pub source: SourceSettings,
    pub storage: StorageSettings,
    pub encryption: EncryptionSettings,
    pub pipeline: PipelineSettings,
    pub content: ContentSettings,
    pub worker: WorkerSettings,
    pub schedule: ScheduleSettings,
    pub notify: NotifySettings,
    pub retention: RetentionSettings,
    pub log: LogSettings,
    /// For `config show`, in the order of [`SETTINGS`].
    pub effective: Vec<Effective>,
}

impl Config {
    /// Reads and checks everything. `file` stands above `KANBU_BACKUP_CONFIG`.
    pub fn load(env: &Env, file: Option<&Path>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::open(env, file);
        let control = control::read(&mut reader, env);
        let protected = protected::read(&mut reader, env);
        let source = source::read(&mut reader);
        let storage = storage::read(&mut reader, env);
        let encryption = encryption::read(&mut reader);
        let pipeline = pipeline::read(&mut reader);
        let content = content::read(&mut reader);
        let worker = worker::read(&mut reader);
        let schedule = schedule::read(&mut reader);
        let notify = notify::read(&mut reader);
        let retention = retention::read(&mut reader);
        let log = log::read(&mut reader);
        if let (Some(control), Some(protected)) = (&control, &protected) {
            refuse_one_database_for_both(&mut reader, control, protected);
        }
        let (effective, problems) = reader.close();
        let config = || {
            Some(Self {
                control: control?,
                protected: protected?,
                source: source?,
                storage: storage?,
                encryption,
                pipeline: pipeline?,
                content: content?,
                worker: worker?,
                schedule: schedule?,
                notify,
                retention: retention?,
                log: log?,
                effective,
            })
        };
        match config() {
            Some(config) if problems.is_empty() => Ok(config),
            Some(_) | None => Err(ConfigErrors(problems)),
        }
    }
}

/// A restore replaces the protected database, and would take the queue that runs it along. Only equal texts are found
/// here; `control` compares what the servers say of themselves.
fn refuse_one_database_for_both(
    reader: &mut Reader<'_>,
    control: &ControlSettings,
    protected: &ProtectedSettings,
) {
    if control.url.is_some() && control.url == protected.url {
        reader.complain(
            settings::CONTROL_URL.name,
            "is the same as DATABASE_URL",
            "give the control database a database of its own, for instance kanbu_backup",
        );
    }
}
