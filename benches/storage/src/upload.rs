//! The product's way to a storage, without what comes before it: one stream from standard input to one object.

use std::{env, sync::Arc};

use anyhow::{Context, Result, bail};
use chrono::Utc;
use kanbu_backup::{
    id::ExecutionId,
    pipeline::{self, CHUNK_BYTES, CompressionSpec, FeedSender, Message, Recipe, Seal, Target, Watch},
    storage::{CredentialWord, Credentials, Folder, ObjectKey, Place, Role, Storage, StorageConfig},
};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

pub(crate) const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
pub(crate) const SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";

pub(crate) fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("{name} must be set"))
}

pub(crate) async fn upload(url: &str) -> Result<()> {
    let target = target(url)?;
    let recipe = Recipe::new(CompressionSpec::None, Seal::Off);
    let watch = Watch::new(CancellationToken::new(), Arc::new(|_| {}));
    let (sender, feed) = pipeline::feed();
    tokio::spawn(read_input(sender));
    let written = pipeline::write(feed, recipe, vec![target], watch).await?;
    for end in written.ends {
        if let Err(failure) = end.result {
            bail!("{}: {failure}", end.storage);
        }
    }
    Ok(())
}

fn target(url: &str) -> Result<Target> {
    let keys = Credentials::default()
        .with(CredentialWord::AccessKeyId, variable(ACCESS_KEY_ID)?)
        .with(CredentialWord::SecretAccessKey, variable(SECRET_ACCESS_KEY)?);
    let config = StorageConfig {
        name: "s3".parse()?,
        role: Role::Primary,
        place: Place::parse(url)?.with_credentials(keys)?,
    };
    let folder = Folder::of_source("bench".parse()?, Utc::now(), ExecutionId::new());
    Ok(Target {
        storage: Storage::open(&config)?,
        key: ObjectKey::Data {
            folder,
            name: "archive.tar",
        },
    })
}

async fn read_input(sender: FeedSender) -> Result<()> {
    let mut input = tokio::io::stdin();
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        while chunk.len() < CHUNK_BYTES && input.read_buf(&mut chunk).await? > 0 {}
        if chunk.is_empty() {
            sender.send(Message::End).await?;
            return Ok(());
        }
        sender.send(Message::Data(chunk.into())).await?;
    }
}
