//! PostgreSQL's own look at the structure of tables and indexes, `pg_amcheck`, where it is installed.

use std::time::Duration;

use tokio::{io::AsyncReadExt, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    cluster::{APPLICATION, Cluster},
    error::PgError,
    process::{ProcessError, Program},
    tools::Toolset,
};

const TOOL: &str = "pg_amcheck";

/// How long it may take.
const PATIENCE: Duration = Duration::from_hours(2);

/// The most that is kept of what it finds.
const KEPT_BYTES: u64 = 4096;

/// The status by which it says that something is corrupt.
const CORRUPT: i32 = 2;

/// What it says of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Structure {
    Sound,
    /// The beginning of what it found.
    Corrupt(String),
    /// It can't be asked: the tool or its extension is missing, or it took too long.
    Unknown(String),
}

/// Asks it of a database in which its extension may be installed. `None`: told to stop.
pub async fn structure(
    tools: &Toolset,
    cluster: &Cluster,
    database: &str,
    cancel: &CancellationToken,
) -> Result<Option<Structure>, PgError> {
    let path = tools.program(TOOL);
    if !path.is_file() {
        return Ok(Some(Structure::Unknown(format!("{TOOL} is not installed"))));
    }
    let mut program = Program::new(path).args(["--install-missing", "--no-password"]);
    for (name, value) in cluster.environment(database, APPLICATION) {
        program = program.env(name, value);
    }
    let mut child = program.spawn()?;
    let looking = async {
        let mut said = Vec::new();
        if let Some(mut stdout) = child.stdout()? {
            let kept = (&mut stdout).take(KEPT_BYTES).read_to_end(&mut said).await;
            let rest = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
            kept.and(rest).map_err(|source| ProcessError::Pipe {
                program: TOOL.to_owned(),
                source,
            })?;
        }
        let status = child.wait().await?;
        Ok::<_, PgError>((status, said, child.stderr_tail()))
    };
    let ended = tokio::select! {
        () = cancel.cancelled() => return Ok(None),
        ended = timeout(PATIENCE, looking) => ended,
    };
    let Ok(ended) = ended else {
        let text = format!("{TOOL} did not end within {} s", PATIENCE.as_secs());
        return Ok(Some(Structure::Unknown(text)));
    };
    let (status, said, stderr) = ended?;
    Ok(Some(match status.code() {
        Some(0) => Structure::Sound,
        Some(CORRUPT) => Structure::Corrupt(String::from_utf8_lossy(&said).trim().to_owned()),
        _ => Structure::Unknown(format!("{TOOL} failed ({status}): {}", stderr.trim())),
    }))
}
