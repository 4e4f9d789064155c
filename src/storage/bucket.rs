//! Places that are reached over HTTP: what a URL says of a bucket, a container, a folder of a drive.

use url::Url;

use super::credentials::Credentials;

/// How a bucket is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// With the credentials that are configured.
    #[default]
    Keys,
    /// As whom the platform says that this machine is: a web identity, a container's role, the instance's own.
    Role,
    /// By anybody.
    Nobody,
}

impl Login {
    pub const ALL: [Self; 3] = [Self::Keys, Self::Role, Self::Nobody];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Role => "role",
            Self::Nobody => "nobody",
        }
    }
}

/// What all of them have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Of the bucket or container, or the id of the folder.
    pub name: String,
    /// Empty, or the path within it, without a slash at either end.
    pub prefix: String,
    /// Where it is served, if not where the provider does.
    pub endpoint: Option<Url>,
    pub login: Login,
    pub credentials: Credentials,
}

impl Bucket {
    /// Whether somebody on the way could read and change what is sent.
    pub(super) fn is_plain(&self) -> bool {
        matches!(&self.endpoint, Some(url) if url.scheme() == "http")
    }
}

/// A bucket of S3 or a look-alike, with what look-alikes differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the URL, and they don't depend on one another"
)]
pub struct S3Bucket {
    pub bucket: Bucket,
    pub region: Option<String>,
    /// Whether the bucket stands in the path, and not in the host name.
    pub path_style: bool,
    /// Whether all parts of an upload but the last must have one size.
    pub equal_parts: bool,
    /// Whether the store can list unfinished uploads.
    pub lists_uploads: bool,
    /// Whether the store takes many deletions in one request.
    pub bulk_delete: bool,
    /// Whether the store can write an object that replaces nothing.
    pub conditional_put: bool,
    /// Whether the store checks what it was sent against a checksum that travels beside it.
    pub checksums: bool,
}

/// A container of an account at Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureContainer {
    pub bucket: Bucket,
    pub account: String,
}

/// A folder of Google Drive, by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveFolder {
    pub bucket: Bucket,
    /// Whether what is deleted goes to the trash, for want of the right to more.
    pub trash: bool,
}
