//! A restore that goes nowhere: whether an archive of `pg_dump` can be read to its last block.
//!
//! An archive has no mark at its end, so that one which was cut between two blocks looks whole. Only its table of contents
//! tells what must come, and only `pg_restore` reads that in every version.

use tokio::io::AsyncWriteExt;

use crate::{
    fault::Failure,
    pg::{
        error::PgError,
        process::{ProcessError, Program},
        tools::Toolset,
    },
    pipeline::{Feed, Message},
};

const TOOL: &str = "pg_restore";

/// Reads an archive as if to restore it, and throws the SQL away. Returns what the tool complained of if it couldn't.
pub async fn rehearse(tools: &Toolset, mut feed: Feed) -> Result<Option<String>, Failure> {
    let program = Program::new(tools.program(TOOL))
        .arg("--file=/dev/null")
        .piped_stdin()
        .without_stdout();
    let mut child = program.spawn().map_err(PgError::from)?;
    let mut input = child.stdin().map_err(PgError::from)?;
    loop {
        let data = match feed.next().await {
            Message::Data(data) => data,
            Message::End => break,
            Message::Fail(failure) => return Err(failure),
        };
        let Some(open) = &mut input else { continue };
        match open.write_all(&data).await {
            Ok(()) => {}
            // It has failed, which its status tells, or has all it needs.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => input = None,
            Err(source) => {
                let program = TOOL.to_owned();
                return Err(PgError::Process(ProcessError::Pipe { program, source }).into());
            }
        }
    }
    drop(input);
    let status = child.wait().await.map_err(PgError::from)?;
    let said = child.stderr_tail();
    Ok((!status.success()).then(|| said.trim().to_owned()))
}
