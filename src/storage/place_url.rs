//! Places as URLs, in both directions.
//!
//! A URL is printed in lists, logs and errors: one with a user, a password or an option that isn't known is refused, and
//! the refusal repeats names only.

use std::{collections::BTreeMap, path::PathBuf};

use object_store::path::Path;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::{
    bucket::{AzureContainer, Bucket, DriveFolder, Login, S3Bucket},
    place::{BadPlace, Place},
};

/// What a path keeps in a URL.
const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

fn bad(sentence: impl Into<String>) -> BadPlace {
    BadPlace(sentence.into())
}

pub(super) fn parse(text: &str) -> Result<Place, BadPlace> {
    if text.starts_with('/') {
        return Ok(Place::Local {
            directory: PathBuf::from(text),
        });
    }
    let url = Url::parse(text).map_err(|error| bad(format!("is not a URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            "has a user or a password in its URL: credentials have settings of their own",
        ));
    }
    if url.fragment().is_some() {
        return Err(bad("has a '#' in its URL: write it as %23"));
    }
    let mut options = Options::of(&url)?;
    let place = match url.scheme() {
        "file" => Place::Local {
            directory: directory(&url)?,
        },
        "mount" => Place::Mounted {
            directory: directory(&url)?,
        },
        "s3" => Place::S3(s3(&url, &mut options)?),
        "gs" => Place::Gcs(bucket(&url, &mut options)?),
        "az" => Place::Azure(AzureContainer {
            account: options
                .take("account")
                .ok_or_else(|| bad("doesn't name its account: add account=… to its URL"))?,
            bucket: bucket(&url, &mut options)?,
        }),
        "gdrive" => {
            let folder = bucket(&url, &mut options)?;
            if !folder.prefix.is_empty() {
                return Err(bad("has a path behind the id of the folder"));
            }
            Place::GoogleDrive(DriveFolder {
                trash: options.flag("trash", false)?,
                bucket: folder,
            })
        }
        other => {
            let known = Place::SCHEMES.join(", ");
            return Err(bad(format!("begins with {other}; there are {known}")));
        }
    };
    options.finish()?;
    Ok(place)
}

fn directory(url: &Url) -> Result<PathBuf, BadPlace> {
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err(bad("names a host: a directory has three slashes in front"));
    }
    let path = percent_decode_str(url.path()).decode_utf8();
    let path = PathBuf::from(path.map_err(|_| bad("is not UTF-8"))?.as_ref());
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(bad("names no absolute path"))
    }
}

fn bucket(url: &Url, options: &mut Options) -> Result<Bucket, BadPlace> {
    let name = url.host_str().filter(|host| !host.is_empty());
    let name = name.ok_or_else(|| bad("names no bucket, container or folder"))?;
    if url.port().is_some() {
        return Err(bad(
            "names a port: where it is served is said by endpoint=…",
        ));
    }
    let prefix = Path::from_url_path(url.path())
        .map_err(|_| bad("has a path that can't be one within a bucket"))?;
    Ok(Bucket {
        name: name.to_owned(),
        prefix: prefix.to_string(),
        endpoint: options.endpoint()?,
        login: options.word("login", Login::default(), |word| {
            Login::ALL.into_iter().find(|login| login.as_str() == word)
        })?,
        credentials: super::Credentials::default(),
    })
}

fn s3(url: &Url, options: &mut Options) -> Result<S3Bucket, BadPlace> {
    let bucket = bucket(url, options)?;
    Ok(S3Bucket {
        region: options.take("region"),
        path_style: options.flag("path_style", bucket.endpoint.is_some())?,
        equal_parts: options.flag("equal_parts", false)?,
        lists_uploads: options.flag("list_uploads", true)?,
        bulk_delete: options.flag("bulk_delete", true)?,
        conditional_put: options.flag("conditional_put", true)?,
        checksums: options.flag("checksums", true)?,
        bucket,
    })
}

/// The query of a URL, each name once.
struct Options(BTreeMap<String, String>);

impl Options {
    fn of(url: &Url) -> Result<Self, BadPlace> {
        let mut options = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            if options
                .insert(name.to_string(), value.into_owned())
                .is_some()
            {
                return Err(bad(format!("has the option {name:?} twice")));
            }
        }
        Ok(Self(options))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    fn word<T>(
        &mut self,
        name: &str,
        default: T,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, BadPlace> {
        match self.take(name) {
            None => Ok(default),
            Some(word) => {
                read(&word).ok_or_else(|| bad(format!("has an option {name:?} that says nothing")))
            }
        }
    }

    fn flag(&mut self, name: &str, default: bool) -> Result<bool, BadPlace> {
        self.word(name, default, |word| word.parse().ok())
    }

    fn endpoint(&mut self) -> Result<Option<Url>, BadPlace> {
        let Some(text) = self.take("endpoint") else {
            return Ok(None);
        };
        let url = Url::parse(&text).ok().filter(|url| {
            let names_only_a_server = url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none();
            matches!(url.scheme(), "http" | "https") && names_only_a_server
        });
        let url = url.ok_or_else(|| {
            bad("has an endpoint that isn't http:// or https:// with a host and nothing secret")
        })?;
        Ok(Some(url))
    }

    fn finish(self) -> Result<(), BadPlace> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(bad(format!(
                "has an option {name:?} that such a place doesn't know; credentials have settings of their own"
            ))),
        }
    }
}

pub(super) fn format(place: &Place) -> String {
    let scheme = place.scheme();
    let (bucket, own) = match place {
        Place::Local { directory } | Place::Mounted { directory } => {
            let path = directory.to_string_lossy();
            return format!("{scheme}://{}", utf8_percent_encode(&path, IN_PATH));
        }
        Place::S3(place) => (&place.bucket, s3_options(place)),
        Place::Azure(place) => (
            &place.bucket,
            vec![("account", Some(place.account.clone()))],
        ),
        Place::GoogleDrive(place) => {
            let trash = place.trash.then(|| place.trash.to_string());
            (&place.bucket, vec![("trash", trash)])
        }
        Place::Gcs(bucket) => (bucket, Vec::new()),
    };
    let mut text = format!("{scheme}://{}", bucket.name);
    if !bucket.prefix.is_empty() {
        text.push('/');
        text.extend(utf8_percent_encode(&bucket.prefix, IN_PATH));
    }
    let endpoint = bucket.endpoint.as_ref().map(ToString::to_string);
    let login = (bucket.login != Login::default()).then(|| bucket.login.as_str().to_owned());
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in own
        .into_iter()
        .chain([("endpoint", endpoint), ("login", login)])
    {
        query.extend_pairs(value.map(|value| (name, value)));
    }
    let query = query.finish();
    if !query.is_empty() {
        text.push('?');
        text.push_str(&query);
    }
    text
}

/// What differs from the defaults.
fn s3_options(place: &S3Bucket) -> Vec<(&'static str, Option<String>)> {
    let unless = |value: bool, default: bool| (value != default).then(|| value.to_string());
    vec![
        ("region", place.region.clone()),
        (
            "path_style",
            unless(place.path_style, place.bucket.endpoint.is_some()),
        ),
        ("equal_parts", unless(place.equal_parts, false)),
        ("list_uploads", unless(place.lists_uploads, true)),
        ("bulk_delete", unless(place.bulk_delete, true)),
        ("conditional_put", unless(place.conditional_put, true)),
        ("checksums", unless(place.checksums, true)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_from_its_url() {
        for text in [
            "file:///data/backups",
            "file:///data/a%20b%231",
            "mount:///mnt/drive",
            "s3://bucket",
            "s3://bucket/deep/prefix?region=eu-central-1",
            "s3://bucket?list_uploads=false&bulk_delete=false&conditional_put=false&checksums=false",
            "s3://bucket?endpoint=http%3A%2F%2F127.0.0.1%3A9000%2F&login=nobody",
            "s3://bucket?path_style=false&equal_parts=true&endpoint=https%3A%2F%2Fr2.example%2F",
            "gs://bucket/prefix?login=role",
            "az://container/prefix?account=acc",
            "gdrive://1AbCdEf_-9",
            "gdrive://1AbCdEf_-9?trash=true",
        ] {
            let place = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let again = parse(&place.to_string()).unwrap();
            assert_eq!((&again, again.to_string()), (&place, place.to_string()));
        }
        assert_eq!(
            parse("/data/a b#1").unwrap().to_string(),
            "file:///data/a%20b%231"
        );
        assert_eq!(
            parse("file:///data/a%20b%231").unwrap(),
            parse("/data/a b#1").unwrap()
        );
    }

    #[test]
    fn path_style_is_the_default_with_an_endpoint_alone() {
        let style = |text| match parse(text) {
            Ok(Place::S3(place)) => place.path_style,
            other => panic!("{other:?}"),
        };
        assert!(!style("s3://b"));
        assert!(style("s3://b?endpoint=https://minio.example"));
        assert!(!style(
            "s3://b?endpoint=https://minio.example&path_style=false"
        ));
    }

    #[test]
    fn what_is_no_place_is_refused_without_repeating_a_secret() {
        for text in [
            "s3://hunter2:hunter2@bucket/x",
            "s3://hunter2@bucket/x",
            "s3://bucket?secret_access_key=hunter2",
            "s3://bucket?endpoint=https://u:hunter2@h",
            "s3://bucket?endpoint=https://h/?key=hunter2",
            "s3://bucket#hunter2",
            "s3://bucket?region=a&region=hunter2",
            "s3://bucket?path_style=hunter2",
            "s3:///prefix",
            "az://container",
            "gdrive://folder/below",
            "ftp://host/x",
            "file://host/x",
            "mount://drive",
            "backups",
            "gs://bucket:1234/x",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}
