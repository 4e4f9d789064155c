//! A feed into `pg_restore` or `psql`, which fill a new database.
//!
//! RACE: a plain load is one transaction that `psql` commits when its input ends. So its input is closed only after the
//! feed said `End` and the dump's own end mark was seen; whatever breaks before kills the tool while its input is open.

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, process::ChildStdin};
use tokio_util::sync::CancellationToken;

use super::selection::UseList;
use crate::{
    fault::Failure,
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        dump::{Completeness, DumpFormat, Header, application, major_of},
        error::{PgError, Work},
        process::{Child, ProcessError, Program},
        quote::conninfo,
        tools::Toolset,
    },
    pipeline::{Feed, Message},
};

/// How a dump is loaded.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions<'a> {
    pub format: DumpFormat,
    /// Everything belongs to the connecting user, and grants are left out. Without it the roles that the dump names have
    /// to exist. A plain dump can't be loaded so.
    pub no_owner: bool,
    pub execution: ExecutionId,
    /// Only these entries of the archive. Of a plain dump nothing can be chosen.
    pub list: Option<&'a UseList>,
}

impl LoadOptions<'_> {
    pub(super) fn tool(self) -> &'static str {
        match self.format {
            DumpFormat::Custom => "pg_restore",
            DumpFormat::Plain => "psql",
        }
    }
}

/// What was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    pub bytes: u64,
    /// The end of the tool's standard error: warnings.
    pub stderr: String,
}

/// Fills `database` from the feed. On any failure the database is half-made and has to be dropped; if the feed failed,
/// its failure is the one reported. The tool has ended when this returns.
pub async fn load(
    tools: &Toolset,
    cluster: &Cluster,
    database: &str,
    options: LoadOptions<'_>,
    feed: Feed,
    cancel: CancellationToken,
) -> Result<LoadReport, Failure> {
    let reading = Reading {
        feed,
        cancel,
        to_end: true,
    };
    carried(tools, cluster, database, options, reading).await
}

/// Fills `database` with the listed entries. What of the feed comes behind them is somebody else's to read.
pub(super) async fn load_part(
    tools: &Toolset,
    cluster: &Cluster,
    database: &str,
    options: LoadOptions<'_>,
    feed: Feed,
    cancel: CancellationToken,
) -> Result<LoadReport, Failure> {
    let reading = Reading {
        feed,
        cancel,
        to_end: false,
    };
    carried(tools, cluster, database, options, reading).await
}

async fn carried(
    tools: &Toolset,
    cluster: &Cluster,
    database: &str,
    options: LoadOptions<'_>,
    reading: Reading,
) -> Result<LoadReport, Failure> {
    let mut child = program(tools, cluster, database, options)?
        .piped_stdin()
        .spawn()
        .map_err(PgError::from)?;
    let input = child.stdin().map_err(PgError::from)?;
    let mut tool = Tool { child, input };
    let mut loading = Loading {
        client: tools.major(),
        options,
        reading,
        seen: Completeness::new(options.format),
        version_checked: false,
        bytes: 0,
    };
    let result = loading.carry(&mut tool).await;
    if result.is_err() {
        end(&tool.child, options.tool()).await;
    }
    result.map(|()| LoadReport {
        bytes: loading.bytes,
        stderr: tool.child.stderr_tail(),
    })
}

/// The running tool. The fields are dropped in this order: it is killed before its input is closed.
struct Tool {
    child: Child,
    input: Option<ChildStdin>,
}

/// All but where the dump comes from.
pub(super) fn program(
    tools: &Toolset,
    cluster: &Cluster,
    database: &str,
    options: LoadOptions<'_>,
) -> Result<Program, PgError> {
    let mut program = Program::new(tools.program(options.tool())).without_stdout();
    for (name, value) in cluster.environment(database, &application(options.execution)) {
        program = program.env(name, value);
    }
    program = match options.format {
        DumpFormat::Custom => {
            // It takes no database from its environment. A bare name with a `=` in it would be read as settings.
            let target = format!("--dbname=dbname={}", conninfo(database));
            program
                .args(["--exit-on-error", "--no-password"])
                .arg(target)
        }
        DumpFormat::Plain if options.no_owner => return Err(PgError::PlainOwners),
        DumpFormat::Plain => program
            .args([
                "--no-psqlrc",
                "--no-password",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
            ])
            .args(["--single-transaction", "--file=-"]),
    };
    if options.no_owner {
        program = program.args(["--no-owner", "--no-privileges"]);
    }
    if let Some(list) = options.list {
        program = program.arg(format!("--use-list={}", list.path()));
    }
    Ok(program)
}

pub(super) async fn end(child: &Child, tool: &'static str) {
    if let Err(error) = child.terminate().await {
        tracing::warn!(%error, tool, "how the tool ended could not be learned");
    }
}

pub(super) async fn ended_well(
    child: &Child,
    tool: &'static str,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let status = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(Failure::cancelled()),
        status = child.wait() => status.map_err(PgError::from)?,
    };
    if status.success() {
        return Ok(());
    }
    Err(PgError::tool(tool, Work::Load, status.to_string(), &child.stderr_tail()).into())
}

/// An older tool may read a newer dump and misunderstand it.
pub(super) fn require_client(header: &Header, client: u32) -> Result<(), PgError> {
    match major_of(&header.client_version) {
        Some(dump) if dump > client => Err(PgError::DumpTooNew { dump, client }),
        Some(_) | None => Ok(()),
    }
}

struct Reading {
    feed: Feed,
    cancel: CancellationToken,
    /// Even when the tool has all that it needs: only the feed's `End` says that what was loaded is sound.
    to_end: bool,
}

struct Loading<'a> {
    client: u32,
    options: LoadOptions<'a>,
    reading: Reading,
    seen: Completeness,
    version_checked: bool,
    bytes: u64,
}

impl Loading<'_> {
    /// Carries the feed to the tool. Its input is closed only when the data is known to be complete.
    async fn carry(&mut self, tool: &mut Tool) -> Result<(), Failure> {
        while let Some(data) = self.next().await? {
            self.check_version()?;
            // A tool that stopped reading has either failed, which ends this, or has all it needs.
            if !self.write(&mut tool.input, &data).await? {
                tool.input = None;
                self.ended_well(&tool.child).await?;
                if !self.reading.to_end {
                    return Ok(());
                }
            }
        }
        self.seen.verdict()?;
        tool.input = None;
        self.ended_well(&tool.child).await
    }

    /// The next bytes; `None` at the feed's end.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let message = tokio::select! {
            biased;
            () = self.reading.cancel.cancelled() => return Err(Failure::cancelled()),
            message = self.reading.feed.next() => message,
        };
        match message {
            Message::Data(data) => {
                self.seen.see(&data);
                self.bytes += data.len() as u64;
                Ok(Some(data))
            }
            Message::End => Ok(None),
            Message::Fail(failure) => Err(failure),
        }
    }

    fn check_version(&mut self) -> Result<(), PgError> {
        if self.version_checked {
            return Ok(());
        }
        let Some(header) = self.seen.header() else {
            return Ok(());
        };
        self.version_checked = true;
        require_client(&header, self.client)
    }

    /// False when the tool no longer reads.
    async fn write(&self, input: &mut Option<ChildStdin>, data: &[u8]) -> Result<bool, Failure> {
        let Some(input) = input else { return Ok(false) };
        let written = tokio::select! {
            biased;
            () = self.reading.cancel.cancelled() => return Err(Failure::cancelled()),
            written = input.write_all(data) => written,
        };
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(source) => {
                let program = self.options.tool().to_owned();
                Err(PgError::Process(ProcessError::Pipe { program, source }).into())
            }
        }
    }

    async fn ended_well(&self, child: &Child) -> Result<(), Failure> {
        ended_well(child, self.options.tool(), &self.reading.cancel).await
    }
}
