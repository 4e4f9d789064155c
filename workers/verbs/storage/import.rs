//! `storage import`: what others made becomes a backup like any other. A preview, unless it is to be applied.

use std::{
    collections::HashMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use kanbu_backup::{
    bytes::ByteSize,
    catalog::adopt,
    clock::SystemClock,
    fault::Failure,
    import::{self, Adopted, Brought, Deps, Examined, Stranded},
    job::{Scope, Subject},
    kanbu::names,
    storage::{Place, Storage},
};
use serde_json::{Value, json};

use super::configured;
use crate::{
    cli::Import,
    exit::Exit,
    output::Table,
    session::Session,
    verbs::{VerbError, list::local},
    wiring,
};

pub(super) async fn run(args: &Import, session: &Session) -> Result<Exit, Failure> {
    let places = places(args, session)?;
    let deps = deps(args, session).await?;
    let mut report = Report::default();
    let mut run = Run {
        args,
        session,
        deps: &deps,
        stranded: Stranded::default(),
        seen: HashMap::new(),
    };
    for place in &places {
        let found = import::find(place)?;
        report.directories += found.directories;
        for (path, failure) in found.left_out {
            report.rows.push(Row::left_out(&path, failure));
        }
        for path in found.files {
            if !session.out.is_json() {
                session.out.message(&format!("reading {}", path.display()));
            }
            report.rows.push(run.one(&path).await?);
        }
    }
    report.show(args, &deps, session);
    Ok(report.exit())
}

async fn deps(args: &Import, session: &Session) -> Result<Deps, Failure> {
    let config = &session.config;
    let settings = &config.storage;
    let storage = match (&args.storage, settings.storages.first()) {
        (Some(name), _) => configured(name, settings)?,
        (None, Some(primary)) => primary,
        (None, None) => return Err(VerbError::NoSubject("storage").into()),
    };
    Ok(Deps {
        environment: settings.environment.clone(),
        storage: Storage::open(storage)?,
        keyring: wiring::keyring(&config.encryption)?,
        catalog: session.control().await?,
        toolsets: wiring::toolsets(&config.protected).await,
        patience: config.pipeline.stall_timeout,
        clock: Arc::new(SystemClock),
    })
}

/// What was named; otherwise where Kanbu keeps its files: the environment's directory, and the one above, in which they
/// lay before there were environments.
fn places(args: &Import, session: &Session) -> Result<Vec<PathBuf>, Failure> {
    if let Some(path) = args.path() {
        return Ok(vec![path.map_err(VerbError::Unusable)?]);
    }
    let settings = &session.config.storage;
    let place = settings.storages.first().map(|primary| &primary.place);
    let Some(Place::Local { directory } | Place::Mounted { directory }) = place else {
        let text = "the primary storage is no directory: name the file or directory to look at";
        return Err(VerbError::Unusable(text.to_owned()).into());
    };
    let own = directory.join(settings.environment.as_str());
    let places = [own, directory.clone()];
    Ok(places.into_iter().filter(|place| place.is_dir()).collect())
}

/// One call of the verb.
struct Run<'a> {
    args: &'a Import,
    session: &'a Session,
    deps: &'a Deps,
    stranded: Stranded,
    /// By their hash: two files with the same bytes are one backup, in a preview too.
    seen: HashMap<[u8; 32], PathBuf>,
}

impl Run<'_> {
    /// A file's own fault leaves it out; what the next file would meet too ends the run.
    async fn one(&mut self, path: &Path) -> Result<Row, Failure> {
        let examined = match import::examine(&self.brought(path), self.deps).await {
            Ok(examined) => examined,
            Err(failure) => return Ok(Row::left_out(path, failure)),
        };
        let hash = examined.read.stored_sha256;
        if let Some(first) = self.seen.get(&hash) {
            let same = format!("the same bytes as {}", first.display());
            return Ok(Row::of(&examined, Fate::Known(same)));
        }
        self.seen.insert(hash, path.to_owned());
        let fate = if self.args.apply {
            match import::adopt(&examined, &mut self.stranded, self.deps).await {
                Ok(Adopted::New(id)) => Fate::Adopted(id.to_string()),
                Ok(Adopted::Known(id)) => Fate::Known(id.to_string()),
                Err(failure) if failure.code.starts_with("import.") => {
                    return Ok(Row::left_out(path, failure));
                }
                Err(failure) => return Err(failure),
            }
        } else {
            match adopt::by_hash(&self.deps.catalog, hash).await? {
                Some(id) => Fate::Known(id.to_string()),
                None => Fate::WouldAdopt,
            }
        };
        Ok(Row::of(&examined, fate))
    }

    fn brought(&self, path: &Path) -> Brought {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let kanbu = names::read(name);
        let guess = || kanbu.and_then(|kanbu| self.guess(kanbu.scope));
        Brought {
            path: path.to_owned(),
            subject: self.args.subject.clone().or_else(guess),
            stamp: kanbu.and_then(|kanbu| kanbu.stamp),
            may_be_v1: kanbu.is_some() || path.extension() == Some(OsStr::new("enc")),
        }
    }

    /// Kanbu's files are of what is backed up here.
    fn guess(&self, scope: Scope) -> Option<Subject> {
        let config = &self.session.config;
        match scope {
            Scope::Database => Some(config.protected.subject.clone()),
            Scope::Source => Some(config.source.trees.first()?.subject.clone()),
            Scope::Cluster | Scope::Directory => None,
        }
    }
}

enum Fate {
    Adopted(String),
    WouldAdopt,
    /// As what.
    Known(String),
    LeftOut(Failure),
}

/// A file and what becomes of it.
struct Row {
    path: PathBuf,
    fate: Fate,
    /// What it is, if it is anything.
    facts: Value,
}

impl Row {
    fn left_out(path: &Path, failure: Failure) -> Self {
        Self {
            path: path.to_owned(),
            fate: Fate::LeftOut(failure),
            facts: json!({}),
        }
    }

    fn of(examined: &Examined, fate: Fate) -> Self {
        Self {
            path: examined.path.clone(),
            fate,
            facts: json!({
                "subject": examined.subject,
                "content": examined.content.as_str(),
                "envelope": examined.envelope.as_str(),
                "created_at": examined.created_at,
                "bytes": examined.read.stored_bytes,
            }),
        }
    }

    fn document(&self) -> Value {
        let path = self.path.to_string_lossy();
        let said = match &self.fate {
            Fate::Adopted(id) => json!({ "path": path, "fate": "adopted", "artifact": id }),
            Fate::WouldAdopt => json!({ "path": path, "fate": "would be adopted" }),
            Fate::Known(id) => json!({ "path": path, "fate": "known", "as": id }),
            Fate::LeftOut(failure) => json!({
                "path": path, "fate": "left out",
                "code": failure.code, "reason": failure.message, "hint": failure.hint,
            }),
        };
        crate::output::extended(said, self.facts.clone())
    }

    fn line(&self) -> [String; 5] {
        let text = |name: &str| self.facts[name].as_str().unwrap_or("–").to_owned();
        let created_at = self.facts["created_at"].as_str();
        let when = created_at.and_then(|time| time.parse().ok());
        let size = self.facts["bytes"].as_u64();
        [
            match &self.fate {
                Fate::Adopted(_) => "adopted".to_owned(),
                Fate::WouldAdopt => "would be adopted".to_owned(),
                Fate::Known(_) => "known".to_owned(),
                Fate::LeftOut(_) => "LEFT OUT".to_owned(),
            },
            text("subject"),
            when.map_or_else(|| "–".to_owned(), local),
            size.map_or_else(|| "–".to_owned(), |size| ByteSize(size).to_string()),
            self.path.display().to_string(),
        ]
    }
}

#[derive(Default)]
struct Report {
    rows: Vec<Row>,
    directories: usize,
}

impl Report {
    fn exit(&self) -> Exit {
        let left_out = |row: &Row| matches!(row.fate, Fate::LeftOut(_));
        if self.rows.iter().any(left_out) {
            Exit::Findings
        } else {
            Exit::Done
        }
    }

    fn show(&self, args: &Import, deps: &Deps, session: &Session) {
        let files: Vec<Value> = self.rows.iter().map(Row::document).collect();
        let document = json!({
            "storage": deps.storage.name(),
            "applied": args.apply,
            "files": files,
            "directories_passed_over": self.directories,
        });
        let out = session.out;
        out.document("import", &document, || self.text(args.apply));
    }

    fn text(&self, applied: bool) -> String {
        if self.rows.is_empty() {
            return "no files here".to_owned();
        }
        let mut table = Table::new(&["FATE", "SUBJECT", "MADE", "SIZE", "FILE"]).right(3);
        for row in &self.rows {
            table.row(row.line());
        }
        let mut lines = vec![table.text()];
        for row in &self.rows {
            if let Fate::LeftOut(failure) = &row.fate {
                lines.push(format!(
                    "left out: {}: {failure} ({})",
                    row.path.display(),
                    failure.code
                ));
                lines.extend(failure.hint.as_ref().map(|hint| format!("  hint: {hint}")));
            }
        }
        if self.directories > 0 {
            lines.push(format!("{} directories were passed over", self.directories));
        }
        if !applied {
            lines.push("nothing was adopted: repeat it with --apply".to_owned());
        }
        lines.join("\n")
    }
}
