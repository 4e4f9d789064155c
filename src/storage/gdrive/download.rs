//! The bytes of a file as a stream that goes on after a cut, and ends only where it should.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_RANGE, HeaderValue, RANGE},
};
use std::sync::Arc;

use super::{
    DriveError,
    client::{Client, Request},
    pauses::Pauses,
    tree::Tree,
};

/// A range of a file, as far as it was read.
#[derive(Debug)]
pub(super) struct Download {
    tree: Arc<Tree>,
    id: String,
    /// What is still to come.
    left: Range<u64>,
    body: Option<Response>,
    pauses: Pauses,
}

impl Download {
    /// Begins to read. An error that is there from the start is told here, not in the stream.
    pub(super) async fn begin(
        tree: Arc<Tree>,
        id: String,
        range: Range<u64>,
    ) -> Result<Self, DriveError> {
        let mut download = Self {
            pauses: tree.files.client.pauses(),
            tree,
            id,
            left: range,
            body: None,
        };
        while download.body.is_none() && !download.left.is_empty() {
            match download.open().await {
                Err(error) if download.pauses.pause(&error).await => {}
                opened => download.body = Some(opened?),
            }
        }
        Ok(download)
    }

    pub(super) fn into_stream(self, path: Path) -> BoxStream<'static, object_store::Result<Bytes>> {
        stream::try_unfold(self, move |mut download| {
            let path = path.clone();
            async move {
                let next = download.next().await;
                let next = next.map_err(|error| error.into_store(&path))?;
                Ok(next.map(|bytes| (bytes, download)))
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, DriveError> {
        while !self.left.is_empty() {
            match self.step().await {
                Ok(bytes) => {
                    self.left.start += bytes.len() as u64;
                    self.pauses = self.client().pauses();
                    return Ok(Some(bytes));
                }
                Err(error) => {
                    self.body = None;
                    if !self.pauses.pause(&error).await {
                        return Err(error);
                    }
                }
            }
        }
        Ok(None)
    }

    async fn step(&mut self) -> Result<Bytes, DriveError> {
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.open().await?,
        };
        let bytes = self.client().in_time(body.chunk()).await?;
        let bytes = bytes.ok_or_else(DriveError::cut)?;
        if bytes.len() as u64 > self.left.end - self.left.start {
            return Err(DriveError::Nonsense("more bytes came than were asked for"));
        }
        self.body = Some(body);
        Ok(bytes)
    }

    async fn open(&self) -> Result<Response, DriveError> {
        let path = format!("drive/v3/files/{}", self.id);
        let url = self.client().url(&path, &[("alt", "media")])?;
        let range = format!("bytes={}-{}", self.left.start, self.left.end - 1);
        let range = HeaderValue::from_str(&range)
            .map_err(|_| DriveError::Nonsense("a range is no header"))?;
        let request = Request::new(Method::GET, url).header(RANGE, range);
        let response = self.client().send(&request).await?;
        let begins = format!("bytes {}-", self.left.start);
        let told = response.headers().get(CONTENT_RANGE);
        let as_asked = told.is_some_and(|told| told.as_bytes().starts_with(begins.as_bytes()));
        let whole = response.status() == StatusCode::OK && self.left.start == 0;
        if as_asked || whole {
            Ok(response)
        } else {
            Err(DriveError::Nonsense(
                "it is another range than was asked for",
            ))
        }
    }

    fn client(&self) -> &Client {
        &self.tree.files.client
    }
}
