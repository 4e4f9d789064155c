//! Azure Blob Storage, against azurite.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use kanbu_backup::{
    pg::process::Program,
    storage::{CredentialWord, Storage, conformance},
};
use sha2::Sha256;

use crate::{
    servers::{Server, installed},
    things::{PACE, open},
};

const ACCOUNT: &str = "backups";
const KEY: &[u8] = b"not-a-secret";
const VERSION: &str = "2023-11-03";

struct Azurite {
    server: Server,
}

impl Azurite {
    async fn start() -> Self {
        let program = installed("azurite/node_modules/.bin/azurite-blob");
        let server = Server::start(|port, directory| {
            let account = format!("{ACCOUNT}:{}", STANDARD.encode(KEY));
            Program::new("/usr/bin/env")
                .arg(&program)
                .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
                .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"])
                .args(["--inMemoryPersistence"])
                .env("AZURITE_ACCOUNTS", account)
                .env("PATH", search_path())
                .directory(directory)
        })
        .await;
        let azurite = Self { server };
        azurite.create_container("copies").await;
        azurite
    }

    /// Creating containers is no affair of a storage, so the test signs this itself.
    async fn create_container(&self, name: &str) {
        let path = format!("/{ACCOUNT}/{name}");
        let date = now();
        let signed = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{VERSION}\n/{ACCOUNT}{path}\nrestype:container"
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
        mac.update(signed.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let headers = [
            ("x-ms-date", date),
            ("x-ms-version", VERSION.to_owned()),
            ("authorization", format!("SharedKey {ACCOUNT}:{signature}")),
        ];
        let created = self
            .server
            .ask("PUT", &format!("{path}?restype=container"), &headers)
            .await;
        assert!(created.contains(" 201 "), "{created}");
    }

    fn storage(&self, container: &str, key: &[u8]) -> Storage {
        let port = self.server.port;
        let url = format!(
            "az://{container}/below?account={ACCOUNT}&endpoint=http://127.0.0.1:{port}/{ACCOUNT}"
        );
        let key = (CredentialWord::AccountKey, STANDARD.encode(key));
        open(&url, [key], PACE)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "azurite needs the node that the developer's shell finds"
)]
fn search_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "azurite refuses a request that was signed at another time"
)]
fn now() -> String {
    Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[tokio::test]
async fn an_azure_container_keeps_every_promise_of_a_storage() {
    let azurite = Azurite::start().await;
    let storage = azurite.storage("copies", KEY);
    conformance::keeps_every_promise(&storage).await;
    conformance::a_missing_bucket_says_so(&azurite.storage("elsewhere", KEY)).await;
    conformance::a_closed_place_says_denied(&azurite.storage("copies", b"another key")).await;
}
