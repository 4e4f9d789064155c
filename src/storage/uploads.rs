//! Uploads at S3 that were begun and never ended. `object_store` can abort one but not list them, so the list is a signed
//! request of our own.
//!
//! Their parts are paid for and in no listing of objects. Only what lies in an execution's folder is looked at.

use std::{sync::Arc, time::Duration};

use http::Method;
use object_store::{
    Error, Result,
    aws::AmazonS3,
    client::{HttpClient, HttpRequestBody},
    multipart::MultipartStore,
    path::Path,
    signer::{SignedUrlOptions, Signer},
};
use serde::Deserialize;

use super::wire::in_short;

/// For the request to arrive, and for clocks that differ.
const SIGNED_FOR: Duration = Duration::from_mins(5);

/// The unfinished uploads of a bucket, below a prefix.
#[derive(Clone, Debug)]
pub(super) struct S3Uploads {
    store: AmazonS3,
    prefix: Path,
    client: Arc<HttpClient>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// Of the object it would have become, relative to the storage.
    pub(super) key: String,
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: String,
    #[serde(default)]
    next_upload_id_marker: String,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    upload_id: String,
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic {
        store: "S3",
        source: source.into(),
    }
}

impl S3Uploads {
    pub(super) fn new(store: AmazonS3, prefix: Path, client: Arc<HttpClient>) -> Self {
        Self {
            store,
            prefix,
            client,
        }
    }

    /// All below `folder`, which is relative to the storage.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Unfinished>> {
        let own: String = if self.prefix.as_ref().is_empty() {
            String::new()
        } else {
            format!("{}/", self.prefix)
        };
        let mut found = Vec::new();
        let mut marker = Vec::new();
        loop {
            let page = self.page(format!("{own}{folder}/"), &marker).await?;
            found.extend(page.uploads.into_iter().filter_map(|upload| {
                Some(Unfinished {
                    key: upload.key.strip_prefix(&own)?.to_owned(),
                    id: upload.upload_id,
                })
            }));
            if !page.is_truncated || page.next_key_marker.is_empty() {
                return Ok(found);
            }
            marker = vec![
                ("key-marker", page.next_key_marker),
                ("upload-id-marker", page.next_upload_id_marker),
            ];
        }
    }

    async fn page(&self, prefix: String, marker: &[(&'static str, String)]) -> Result<Page> {
        let query = [("uploads", String::new()), ("prefix", prefix)];
        let options =
            SignedUrlOptions::new().with_query(query.into_iter().chain(marker.iter().cloned()));
        let bucket = Path::default();
        let url = self
            .store
            .signed_url_opts(Method::GET, &bucket, SIGNED_FOR, &options);
        let request = http::Request::get(url.await?.as_str())
            .body(HttpRequestBody::empty())
            .map_err(failed)?;
        let answer = self.client.execute(request).await.map_err(failed)?;
        let status = answer.status();
        let body = answer.into_body().bytes().await.map_err(failed)?;
        if !status.is_success() {
            let text = in_short(&String::from_utf8_lossy(&body));
            let source = format!("{status} to a list of unfinished uploads: {text}").into();
            let path = self.prefix.to_string();
            return Err(match status.as_u16() {
                401 | 403 => Error::PermissionDenied { path, source },
                _ => failed(source),
            });
        }
        quick_xml::de::from_reader(body.as_ref()).map_err(failed)
    }

    /// Drops its parts. One that is gone is fine.
    pub(super) async fn abort(&self, upload: &Unfinished) -> Result<()> {
        let path: Path = Path::parse(&self.prefix)?
            .parts()
            .chain(Path::parse(&upload.key)?.parts())
            .collect();
        match self.store.abort_multipart(&path, &upload.id).await {
            Err(Error::NotFound { .. }) => Ok(()),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::storage::{CredentialWord, Credentials, Pace, Place, remote};

    /// Answers one request after another with these documents, and returns what was asked.
    async fn answers(listener: TcpListener, documents: [&'static str; 2]) -> Vec<String> {
        let mut asked = Vec::new();
        for document in documents {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let length = document.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{document}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            asked.push(String::from_utf8(request).unwrap());
        }
        asked
    }

    #[tokio::test]
    async fn a_list_of_many_pages_is_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "s3://backups/ours?endpoint=http://{}",
            listener.local_addr().unwrap()
        );
        let keys = Credentials::default()
            .with(CredentialWord::AccessKeyId, "AKIA")
            .with(CredentialWord::SecretAccessKey, "secret");
        let Ok(Place::S3(place)) = Place::parse(&url).unwrap().with_credentials(keys) else {
            panic!("{url} is no bucket")
        };
        let uploads = remote::s3(&place, Pace::default())
            .unwrap()
            .uploads
            .unwrap();
        let pages = [
            "<R><IsTruncated>true</IsTruncated><NextKeyMarker>ours/prod/a</NextKeyMarker>\
             <NextUploadIdMarker>id 1</NextUploadIdMarker>\
             <Upload><Key>ours/prod/a</Key><UploadId>id 1</UploadId></Upload></R>",
            "<R><IsTruncated>false</IsTruncated>\
             <Upload><Key>ours/prod/b</Key><UploadId>2</UploadId></Upload></R>",
        ];
        let (found, asked) = tokio::join!(uploads.list("prod"), answers(listener, pages));
        let keys: Vec<String> = found.unwrap().into_iter().map(|found| found.key).collect();
        assert_eq!(keys, ["prod/a", "prod/b"]);
        for part in [
            "GET /backups/?",
            "uploads=",
            "prefix=ours%2Fprod%2F",
            "X-Amz-Signature=",
        ] {
            assert!(
                asked.iter().all(|request| request.contains(part)),
                "{part}: {asked:?}"
            );
        }
        assert!(!asked[0].contains("marker"), "{asked:?}");
        let next = "key-marker=ours%2Fprod%2Fa&upload-id-marker=id%201";
        assert!(asked[1].contains(next), "{asked:?}");
    }

    #[test]
    fn a_page_is_read_with_and_without_uploads() {
        let empty = "<ListMultipartUploadsResult xmlns=\"x\"><Bucket>b</Bucket><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";
        let page: Page = quick_xml::de::from_str(empty).unwrap();
        assert!(page.uploads.is_empty() && !page.is_truncated);
        let two = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>\
            <NextUploadIdMarker>2</NextUploadIdMarker><Upload><Key>a/b</Key><UploadId>1</UploadId><Initiated>x</Initiated></Upload>\
            <Upload><Key>k</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>";
        let page: Page = quick_xml::de::from_str(two).unwrap();
        assert_eq!(
            (page.uploads.len(), page.next_key_marker.as_str()),
            (2, "k")
        );
        assert_eq!(page.uploads[1].upload_id, "2");
    }
}
