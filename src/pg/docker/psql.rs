//! The `psql` inside a container, spoken to by its standard input.
//!
//! What it prints is rows of JSON, one a line, and behind each answer a line of our own with the statement's SQLSTATE. Its
//! process carries the execution's id as the dump's does, so both are ended alike.

use bollard::container::LogOutput;
use futures::StreamExt;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;

use super::{Command, Container, EXECUTION_VARIABLE, Exec, StderrTail};
use crate::{
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        dump::application,
        error::{PgError, Work},
    },
};

const TOOL: &str = "psql";

/// Begins the line behind an answer. No row begins so: rows are JSON.
const MARK: &str = "kanbu-backup-asked ";

/// SQLSTATE of success.
const SUCCESS: &str = "00000";

/// What a statement came to.
#[derive(Debug)]
pub(in crate::pg) enum Asked<T> {
    Rows(Vec<T>),
    /// The server said no; the transaction goes on.
    Refused(String),
}

#[derive(Debug)]
pub(in crate::pg) struct Psql {
    container: Container,
    exec: Exec,
    execution: ExecutionId,
    /// What was printed and is no whole line yet.
    printed: Vec<u8>,
    stderr: StderrTail,
}

impl Psql {
    pub(in crate::pg) async fn start(
        container: &Container,
        cluster: &Cluster,
        execution: ExecutionId,
    ) -> Result<Self, PgError> {
        let mut environment = cluster.login(cluster.database(), &application(execution));
        environment.push((EXECUTION_VARIABLE.to_owned(), execution.to_string()));
        let words = [TOOL, "-X", "-A", "-t", "-q", "-w"]
            .map(str::to_owned)
            .to_vec();
        let command = Command { words, environment };
        Ok(Self {
            container: container.clone(),
            exec: container.converse(command).await?,
            execution,
            printed: Vec::new(),
            stderr: StderrTail::default(),
        })
    }

    /// Begins the transaction in which everything is asked.
    pub(in crate::pg) async fn begin(&mut self, statement: &str) -> Result<(), PgError> {
        match self.ask_plainly::<()>(statement).await? {
            Asked::Rows(_) => Ok(()),
            Asked::Refused(state) => Err(self.ended(&format!("SQLSTATE {state}"))),
        }
    }

    /// A refusal doesn't end the transaction. Of several statements only the last one's is noticed.
    pub(in crate::pg) async fn ask<T: DeserializeOwned>(
        &mut self,
        statements: &str,
    ) -> Result<Asked<T>, PgError> {
        let statements = format!("\\set ON_ERROR_ROLLBACK on\n{statements}");
        self.ask_plainly(&statements).await
    }

    /// A refusal ends the transaction.
    pub(in crate::pg) async fn ask_plainly<T: DeserializeOwned>(
        &mut self,
        statements: &str,
    ) -> Result<Asked<T>, PgError> {
        let input =
            format!("{statements}\n;\n\\echo '{MARK}':SQLSTATE\n\\set ON_ERROR_ROLLBACK off\n");
        if let Err(source) = self.exec.input.write_all(input.as_bytes()).await {
            return Err(self.container.broken(source.into()));
        }
        let mut rows = Vec::new();
        loop {
            let line = self.line().await?;
            match line.strip_prefix(MARK) {
                Some(SUCCESS) => return Ok(Asked::Rows(rows)),
                Some(state) => return Ok(Asked::Refused(self.refusal(state))),
                None if line.is_empty() => {}
                None => rows.push(serde_json::from_str(&line).map_err(PgError::Facts)?),
            }
        }
    }

    async fn line(&mut self) -> Result<String, PgError> {
        loop {
            if let Some(end) = self.printed.iter().position(|byte| *byte == b'\n') {
                let rest = self.printed.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.printed, rest);
                line.pop();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            match self.exec.output.next().await {
                Some(Ok(LogOutput::StdOut { message })) => self.printed.extend_from_slice(&message),
                Some(Ok(LogOutput::StdErr { message })) => self.stderr.push(&message),
                Some(Ok(LogOutput::Console { .. } | LogOutput::StdIn { .. })) => {
                    return Err(PgError::CutFrame {
                        container: self.container.name().to_owned(),
                    });
                }
                Some(Err(source)) => return Err(self.container.broken(source)),
                None => return Err(self.ended("its output ended")),
            }
        }
    }

    /// The reason comes by another stream, and may be late.
    fn refusal(&self, state: &str) -> String {
        let stderr = self.stderr.text();
        let told = stderr
            .lines()
            .rev()
            .find_map(|line| line.split_once("ERROR:  "));
        told.map_or_else(
            || format!("SQLSTATE {state}"),
            |(_, reason)| reason.to_owned(),
        )
    }

    fn ended(&self, end: &str) -> PgError {
        PgError::tool(TOOL, Work::Ask, end.to_owned(), &self.stderr.text())
    }

    /// The end of its input ends it.
    pub(in crate::pg) async fn close(mut self) {
        let said = self.exec.input.write_all(b"\\q\n").await;
        let closed = self.exec.input.shutdown().await;
        if let Err(error) = said.and(closed) {
            tracing::debug!(%error, "psql in the container did not take its leave");
            return;
        }
        while let Some(Ok(_)) = self.exec.output.next().await {}
    }

    /// Ends it, and everything else of its execution inside the container.
    pub(in crate::pg) async fn kill(self) {
        let Self {
            container,
            exec,
            execution,
            ..
        } = self;
        let exec_id = exec.close();
        if let Err(error) = container.end(&exec_id, execution).await {
            tracing::warn!(
                %error,
                container.name = container.name(),
                execution.id = %execution,
                "a count may still run in its container"
            );
        }
    }
}
