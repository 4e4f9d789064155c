//! Files and folders as the API knows them: by id, never by path.

use chrono::{DateTime, Utc};
use object_store::{Extensions, ObjectMeta, PutResult, path::Path};
use reqwest::Method;
use serde::Deserialize;

use super::{
    Deletion, DriveError,
    client::{Client, Request},
};

const FOLDER_TYPE: &str = "application/vnd.google-apps.folder";
/// Documents, shortcuts and other things that have no bytes of their own.
const GOOGLE_TYPES: &str = "application/vnd.google-apps.";
pub(super) const FIELDS: &str =
    "id,name,mimeType,parents,size,md5Checksum,headRevisionId,createdTime,modifiedTime,trashed";
const PAGE: &str = "1000";

/// A file or a folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File {
    pub(super) id: String,
    pub(super) name: String,
    mime_type: String,
    #[serde(default)]
    parents: Vec<String>,
    /// A number in the words of JSON's strings.
    size: Option<String>,
    md5_checksum: Option<String>,
    head_revision_id: Option<String>,
    created_time: DateTime<Utc>,
    modified_time: DateTime<Utc>,
    #[serde(default)]
    pub(super) trashed: bool,
}

impl File {
    pub(super) fn is_folder(&self) -> bool {
        self.mime_type == FOLDER_TYPE
    }

    /// Whether it has bytes, and so may be an object.
    pub(super) fn is_object(&self) -> bool {
        !self.mime_type.starts_with(GOOGLE_TYPES)
    }

    pub(super) fn lies_in(&self, parent: &str) -> bool {
        !self.trashed && self.parents.iter().any(|id| id == parent)
    }

    pub(super) fn md5(&self) -> Option<&str> {
        self.md5_checksum.as_deref()
    }

    pub(super) fn bytes(&self) -> Result<u64, DriveError> {
        let size = self.size.as_deref().and_then(|size| size.parse().ok());
        size.ok_or(DriveError::Nonsense("a file has no size"))
    }

    /// Of several of one name, the least in this order is the one that stays.
    pub(super) fn seniority(&self) -> (DateTime<Utc>, &str) {
        (self.created_time, &self.id)
    }

    pub(super) fn meta(&self, location: Path) -> Result<ObjectMeta, DriveError> {
        Ok(ObjectMeta {
            location,
            last_modified: self.modified_time,
            size: self.bytes()?,
            e_tag: self.md5_checksum.clone(),
            version: self.head_revision_id.clone(),
        })
    }
}

impl From<File> for PutResult {
    fn from(file: File) -> Self {
        Self {
            e_tag: file.md5_checksum,
            version: file.head_revision_id,
            extensions: Extensions::default(),
        }
    }
}

/// The verbs of the API on files.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) client: Client,
    deletion: Deletion,
}

impl Files {
    pub(super) fn new(client: Client, deletion: Deletion) -> Self {
        Self { client, deletion }
    }

    /// A file by its id, trashed or not.
    pub(super) async fn get(&self, id: &str) -> Result<Option<File>, DriveError> {
        let path = format!("drive/v3/files/{id}");
        let url = self.client.url(&path, &[("fields", FIELDS)])?;
        match self.client.ask(&Request::new(Method::GET, url)).await {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What lies in a folder, or what of it has a name; nothing from the trash. All pages, or an error.
    pub(super) async fn children(
        &self,
        parent: &str,
        name: Option<&str>,
    ) -> Result<Vec<File>, DriveError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            files: Vec<File>,
            next_page_token: Option<String>,
            #[serde(default)]
            incomplete_search: bool,
        }
        let mut query = format!("'{}' in parents and trashed = false", escaped(parent));
        if let Some(name) = name {
            query = format!("{query} and name = '{}'", escaped(name));
        }
        let fields = format!("nextPageToken,incompleteSearch,files({FIELDS})");
        let mut found = Vec::new();
        let mut next = None::<String>;
        loop {
            let mut asked = vec![
                ("q", query.as_str()),
                ("fields", &fields),
                ("pageSize", PAGE),
                ("includeItemsFromAllDrives", "true"),
            ];
            asked.extend(next.as_deref().map(|token| ("pageToken", token)));
            let url = self.client.url("drive/v3/files", &asked)?;
            let page: Page = self.client.ask(&Request::new(Method::GET, url)).await?;
            if page.incomplete_search {
                return Err(DriveError::Nonsense("a listing is incomplete"));
            }
            found.extend(page.files);
            match page.next_page_token {
                Some(token) => next = Some(token),
                None => break,
            }
        }
        // The query's `=` doesn't mind case; paths do.
        found.retain(|file| name.is_none_or(|name| file.name == name));
        Ok(found)
    }

    /// Makes a folder. Not repeated: when the answer is lost, there may be one.
    pub(super) async fn create_folder(&self, parent: &str, name: &str) -> Result<File, DriveError> {
        let url = self.client.url("drive/v3/files", &[("fields", FIELDS)])?;
        let folder = serde_json::json!({
            "name": name, "mimeType": FOLDER_TYPE, "parents": [parent],
        });
        let request = Request::new(Method::POST, url).json(&folder);
        self.client.ask_once(&request).await
    }

    /// Removes a file or a folder with all that is in it. One that is gone is fine.
    pub(super) async fn remove(&self, id: &str) -> Result<(), DriveError> {
        let url = self.client.url(&format!("drive/v3/files/{id}"), &[])?;
        let request = match self.deletion {
            Deletion::Permanent => Request::new(Method::DELETE, url),
            Deletion::Trash => {
                Request::new(Method::PATCH, url).json(&serde_json::json!({ "trashed": true }))
            }
        };
        match self.client.tell(&request).await {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    }
}

/// Text within the quotes of a query.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
