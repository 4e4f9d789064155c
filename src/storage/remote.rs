//! Opening the stores that are reached over HTTP. Nothing is asked of them yet: whoever first makes a request learns
//! whether they are there.

use std::sync::Arc;

use object_store::{
    ObjectStore, Result, StaticCredentialProvider,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GcpCredential, GoogleCloudStorageBuilder},
    path::Path,
    prefix::PrefixStore,
};
use url::Url;

use super::{
    bucket::{AzureContainer, Bucket, DriveFolder, Login, S3Bucket},
    credentials::CredentialWord,
    gdrive::{
        Credentials as DriveCredentials, Deletion, DriveConfig, DriveError, GoogleDrive, Patience,
    },
    uploads::S3Uploads,
    wire::{Pace, Wire, client},
};

/// An open bucket.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    /// For what `object_store` can't ask of S3.
    pub(super) uploads: Option<S3Uploads>,
}

pub(super) fn s3(wanted: &S3Bucket, pace: Pace) -> Result<Opened> {
    let bucket = &wanted.bucket;
    let plain = bucket.is_plain();
    let mut builder = AmazonS3Builder::new()
        .with_http_connector(Wire { pace })
        .with_client_options(pace.options(plain))
        .with_retry(pace.retry())
        .with_bucket_name(&bucket.name)
        .with_virtual_hosted_style_request(!wanted.path_style)
        .with_disable_bulk_delete(!wanted.bulk_delete)
        // TLS guards what is sent, so that hashing it once more for the signature would only cost time.
        .with_unsigned_payload(!plain)
        .with_skip_signature(bucket.login == Login::Nobody);
    if wanted.checksums {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    if !wanted.conditional_put {
        builder = builder.with_conditional_put(S3ConditionalPut::Disabled);
    }
    if let Some(region) = &wanted.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(s3_endpoint(endpoint, wanted));
    }
    let words = [
        (CredentialWord::AccessKeyId, AmazonS3ConfigKey::AccessKeyId),
        (
            CredentialWord::SecretAccessKey,
            AmazonS3ConfigKey::SecretAccessKey,
        ),
        (CredentialWord::SessionToken, AmazonS3ConfigKey::Token),
    ];
    builder = match bucket.login {
        Login::Keys => given(bucket, &words).fold(builder, |builder, (key, text)| {
            builder.with_config(key, text)
        }),
        Login::Role => surrounding(bucket).fold(builder, |builder, (key, text)| {
            builder.with_config(key, text)
        }),
        Login::Nobody => builder,
    };
    let s3 = builder.build()?;
    let prefix = Path::parse(&bucket.prefix)?;
    let uploads = wanted.lists_uploads.then(|| {
        Ok::<_, object_store::Error>(S3Uploads::new(s3.clone(), prefix, client(pace, plain)?))
    });
    Ok(Opened {
        store: within(s3, bucket)?,
        uploads: uploads.transpose()?,
    })
}

/// `object_store` takes an endpoint with the bucket in its host name as it stands.
fn s3_endpoint(endpoint: &Url, place: &S3Bucket) -> String {
    let text = endpoint.as_str().trim_end_matches('/');
    match (place.path_style, text.split_once("://")) {
        (false, Some((scheme, rest))) => format!("{scheme}://{}.{rest}", place.bucket.name),
        _ => text.to_owned(),
    }
}

pub(super) fn gcs(bucket: &Bucket, pace: Pace) -> Result<Opened> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_http_connector(Wire { pace })
        .with_client_options(pace.options(bucket.is_plain()))
        .with_retry(pace.retry())
        .with_bucket_name(&bucket.name);
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_base_url(endpoint.as_str().trim_end_matches('/'));
    }
    let credentials = &bucket.credentials;
    builder = match bucket.login {
        Login::Keys => {
            let key = credentials.get(CredentialWord::ServiceAccountKey);
            let path = credentials.get(CredentialWord::ApplicationCredentials);
            match (key, path) {
                (Some(key), _) => builder.with_service_account_key(key),
                (None, Some(path)) => builder.with_application_credentials(path),
                (None, None) => builder,
            }
        }
        Login::Role => builder,
        Login::Nobody => {
            let nobody = GcpCredential {
                bearer: String::new(),
            };
            builder
                .with_credentials(Arc::new(StaticCredentialProvider::new(nobody)))
                .with_skip_signature(true)
        }
    };
    Ok(Opened {
        store: within(builder.build()?, bucket)?,
        uploads: None,
    })
}

pub(super) fn azure(wanted: &AzureContainer, pace: Pace) -> Result<Opened> {
    let bucket = &wanted.bucket;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_http_connector(Wire { pace })
        .with_client_options(pace.options(bucket.is_plain()))
        .with_retry(pace.retry())
        .with_account(&wanted.account)
        .with_container_name(&bucket.name)
        .with_skip_signature(bucket.login == Login::Nobody);
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint.to_string());
    }
    let words = [
        (CredentialWord::AccountKey, AzureConfigKey::AccessKey),
        (CredentialWord::SasToken, AzureConfigKey::SasKey),
        (CredentialWord::TenantId, AzureConfigKey::AuthorityId),
        (CredentialWord::ClientId, AzureConfigKey::ClientId),
        (CredentialWord::ClientSecret, AzureConfigKey::ClientSecret),
    ];
    builder = match bucket.login {
        Login::Keys => given(bucket, &words).fold(builder, |builder, (key, text)| {
            builder.with_config(key, text)
        }),
        Login::Role => surrounding(bucket).fold(builder, |builder, (key, text)| {
            builder.with_config(key, text)
        }),
        Login::Nobody => builder,
    };
    Ok(Opened {
        store: within(builder.build()?, bucket)?,
        uploads: None,
    })
}

/// One folder, by its id; paths within it are Drive's own affair.
pub(super) fn google_drive(folder: &DriveFolder, pace: Pace) -> Result<Opened> {
    let unusable = |error: DriveError| object_store::Error::Generic {
        store: "GoogleDrive",
        source: Box::new(error),
    };
    let config = drive_config(folder, pace).map_err(unusable)?;
    let drive = GoogleDrive::new(config).map_err(unusable)?;
    Ok(Opened {
        store: Arc::new(drive),
        uploads: None,
    })
}

fn drive_config(folder: &DriveFolder, pace: Pace) -> std::result::Result<DriveConfig, DriveError> {
    let bucket = &folder.bucket;
    let text = |word| bucket.credentials.get(word).unwrap_or_default();
    let service_account = text(CredentialWord::ServiceAccountKey);
    let credentials = if service_account.is_empty() {
        DriveCredentials::refresh_token(
            text(CredentialWord::ClientId),
            text(CredentialWord::ClientSecret),
            text(CredentialWord::RefreshToken),
        )
    } else {
        DriveCredentials::service_account(service_account)?
    };
    let mut config = DriveConfig::new(&bucket.name, credentials)?;
    if let Some(endpoint) = &bucket.endpoint {
        config.api = endpoint.clone();
        config.token_url = endpoint.join("token").unwrap_or_else(|_| endpoint.clone());
    }
    if folder.trash {
        config.deletion = Deletion::Trash;
    }
    config.patience = Patience {
        answer_within: pace.base,
        least_rate: pace.slowest.into(),
        retries: u32::try_from(pace.retries).unwrap_or(u32::MAX),
        ..Patience::default()
    };
    Ok(config)
}

fn given<'a, K: Copy>(
    bucket: &'a Bucket,
    words: &'a [(CredentialWord, K)],
) -> impl Iterator<Item = (K, &'a str)> {
    let texts = words
        .iter()
        .map(|(word, key)| Some((*key, bucket.credentials.get(*word)?)));
    texts.flatten()
}

/// The variables that this kind of store knows.
fn surrounding<K: std::str::FromStr>(bucket: &Bucket) -> impl Iterator<Item = (K, &str)> {
    let variables = bucket.credentials.surroundings();
    variables.filter_map(|(name, text)| Some((name.to_ascii_lowercase().parse().ok()?, text)))
}

fn within<S: ObjectStore>(store: S, bucket: &Bucket) -> Result<Arc<dyn ObjectStore>> {
    if bucket.prefix.is_empty() {
        return Ok(Arc::new(store));
    }
    let prefix = Path::parse(&bucket.prefix)?;
    Ok(Arc::new(PrefixStore::new(store, prefix)))
}
