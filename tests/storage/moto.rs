//! Unfinished uploads at S3, against moto, which lists them: what a killed process leaves is found and dropped.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::TimeDelta;
use kanbu_backup::{
    pg::process::Program,
    storage::{CredentialWord, Storage, conformance, sweep},
};

use crate::{
    servers::{Server, installed},
    things::{PACE, began, data, environment, folder, manifest, open, part},
};

struct Moto {
    server: Server,
}

impl Moto {
    async fn start() -> Self {
        let program = installed("moto/bin/moto_server");
        let server = Server::start(|port, directory| {
            Program::new(&program)
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .directory(directory)
        })
        .await;
        let created = server.ask("PUT", "/backups", &[]).await;
        assert!(created.contains(" 200 "), "{created}");
        Self { server }
    }

    fn storage(&self, prefix: &str) -> Storage {
        let port = self.server.port;
        let url = format!("s3://backups/{prefix}?endpoint=http://127.0.0.1:{port}");
        let keys = [
            (CredentialWord::AccessKeyId, "AKIATEST".to_owned()),
            (CredentialWord::SecretAccessKey, "not-a-secret".to_owned()),
        ];
        open(&url, keys, PACE)
    }

    /// The keys of all unfinished uploads, of whomever.
    async fn unfinished(&self) -> usize {
        let list = self.server.ask("GET", "/backups?uploads", &[]).await;
        list.matches("<UploadId>").count()
    }
}

/// Begins an upload as a process does that dies then.
async fn die_uploading(storage: &Storage, key: &kanbu_backup::storage::ObjectKey) {
    let mut upload = storage.upload(key).await.unwrap();
    upload.put_part(part()).await.unwrap();
    std::mem::forget(upload);
}

#[tokio::test]
async fn a_bucket_of_another_make_keeps_every_promise_of_a_storage() {
    let moto = Moto::start().await;
    conformance::keeps_every_promise(&moto.storage("below/it")).await;
}

#[tokio::test]
async fn the_sweep_drops_uploads_of_dead_executions_and_no_others() {
    let moto = Moto::start().await;
    let (storage, neighbour) = (moto.storage("ours"), moto.storage("theirs"));
    let [dead, live, half, backup] = [(); 4].map(|()| folder());
    for folder in [&dead, &live, &backup] {
        die_uploading(&storage, &data(folder)).await;
    }
    die_uploading(&neighbour, &data(&dead)).await;
    die_uploading(&storage, &data(&half)).await;
    // A sidecar's upload died beside an object without a manifest.
    storage
        .put_new(&data(&half), Bytes::from_static(b"12345"))
        .await
        .unwrap();
    storage
        .put_new(&manifest(&backup), Bytes::from_static(b"{}"))
        .await
        .unwrap();
    assert_eq!(moto.unfinished().await, 5);

    let live_ones = BTreeSet::from([live.execution()]);
    let young = began() - TimeDelta::hours(1);
    let swept = sweep::sweep(&storage, &environment(), &live_ones, young).await;
    assert_eq!(swept.unwrap(), [], "what is younger than the safe age went");
    let old = began() + TimeDelta::hours(1);
    let swept = sweep::sweep(&storage, &environment(), &live_ones, old).await;
    let swept: BTreeSet<_> = swept
        .unwrap()
        .into_iter()
        .map(|debris| (debris.folder.to_string(), debris.files, debris.bytes))
        .collect();
    let expected = [(dead.to_string(), 1, 0), (half.to_string(), 2, 5)];
    assert_eq!(swept, BTreeSet::from(expected));
    // The live one's, the backup's and the neighbour's.
    assert_eq!(moto.unfinished().await, 3);
    let left = storage.folders(&environment()).await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].folder, backup);
}

#[tokio::test]
async fn several_uploads_of_one_object_are_all_swept() {
    let moto = Moto::start().await;
    let storage = moto.storage("");
    let dead = folder();
    for _ in 0..3 {
        die_uploading(&storage, &data(&dead)).await;
    }
    let old = began() + TimeDelta::hours(1);
    let swept = sweep::sweep(&storage, &environment(), &BTreeSet::new(), old).await;
    assert_eq!(swept.unwrap()[0].files, 3);
    assert_eq!(moto.unfinished().await, 0);
}
