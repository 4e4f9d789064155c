//! A producer of ticks, as a scheduler is one: each tick is enqueued in a transaction under a request key of its own, again
//! and again until the database has answered.

use std::{path::Path, process, time::Duration};

use clap::Args;
use kanbu_backup_faults::journal::{Entry, Journal, What};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::script::pause;

/// A connection may die without saying so.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Produce {
    #[arg(long)]
    ticks: u32,
    /// Stops for ever in the transaction of this tick, between its insert and its commit.
    #[arg(long)]
    stall_at: Option<u32>,
}

impl Produce {
    pub(crate) async fn run(
        &self,
        url: &str,
        directory: &Path,
        journal: &Journal,
    ) -> anyhow::Result<()> {
        for tick in 0..self.ticks {
            while let Err(error) = self.enqueue(url, directory, journal, tick).await {
                eprintln!("tick {tick}: {error:#}");
                pause(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    async fn enqueue(
        &self,
        url: &str,
        directory: &Path,
        journal: &Journal,
        tick: u32,
    ) -> anyhow::Result<()> {
        let mut conn = timeout(ANSWER_WITHIN, PgConnection::connect(url)).await??;
        let mut transaction = conn.begin().await?;
        sqlx::query("select kanbu_backup.enqueue_backup($1, '{\"label\": \"sleep:20\"}', $2)")
            .bind(format!("database:tick{tick}"))
            .bind(format!("tick {tick}"))
            .execute(&mut *transaction)
            .await?;
        if self.stall_at == Some(tick) {
            journal.write(&Entry::now(What::Effect, "stalled"))?;
            std::fs::write(directory.join(format!("{}.stalled", process::id())), "")?;
            std::future::pending::<()>().await;
        }
        timeout(ANSWER_WITHIN, transaction.commit()).await??;
        journal.write(&Entry::now(What::Effect, format!("tick {tick}")))?;
        Ok(())
    }
}
