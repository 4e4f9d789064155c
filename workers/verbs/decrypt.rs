//! `decrypt FILE`: with a key and nothing else. The file appears under its name only when every byte of it was right.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use kanbu_backup::{
    crypto::{KeyMaterial, Keyring},
    execution::{Lease, Phase},
    fault::Failure,
    pipeline::{self, Compression, Expected, Input, Sealed},
};

use super::VerbError;
use crate::{cli::Decrypt, exit::Exit, output::sink, session::Session, wiring};

pub async fn run(args: Decrypt, session: &Session) -> Result<Exit, Failure> {
    let keyring = keyring(&args, session)?;
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| stripped(&args.file, args.decompress));
    let mut input = Input::file(&args.file);
    if let (Input::File { sidecar, .. }, true) = (&mut input, args.no_sidecar) {
        *sidecar = None;
    }
    let compression = (!args.decompress).then_some(Compression::None);
    let expected = Expected {
        compression,
        sealed: sealed(&args.file),
        ..Expected::default()
    };
    let lease = Arc::new(Lease::unattended());
    let feed = pipeline::open(input, expected, keyring, lease.watch(Phase::Check, None)).await?;
    sink::deliver(feed, &output, session.out).await?;
    Ok(Exit::Done)
}

/// Something that was never encrypted, or whose beginning is damaged, must not pass for decrypted.
fn sealed(file: &Path) -> Sealed {
    if file.extension().is_some_and(|suffix| suffix == "enc") {
        Sealed::Unknown
    } else {
        Sealed::V2
    }
}

fn keyring(args: &Decrypt, session: &Session) -> Result<Keyring, Failure> {
    let Some(file) = &args.key_file else {
        return wiring::keyring(&session.config.encryption);
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| VerbError::File("read", file.clone(), error))?;
    Ok(Keyring::new(
        Some(KeyMaterial::parse_file(&text)?),
        Vec::new(),
    ))
}

/// `dump.kbk` becomes `dump`, `x.sql.gz.enc` becomes `x.sql.gz` (and `x.sql` when decompressed).
fn stripped(file: &Path, decompressed: bool) -> PathBuf {
    let mut name = file.to_owned();
    let suffixes: &[&str] = if decompressed {
        &["enc", "kbk", "gz", "zst"]
    } else {
        &["enc", "kbk"]
    };
    for suffix in suffixes {
        if name.extension().is_some_and(|s| s == *suffix) {
            name.set_extension("");
        }
    }
    if name == file {
        let mut named = OsString::from(name);
        named.push(".decrypted");
        return named.into();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_loses_the_suffixes_that_no_longer_hold() {
        for (file, decompressed, output) in [
            ("dump.kbk", false, "dump"),
            ("a/x.sql.gz.enc", false, "a/x.sql.gz"),
            ("a/x.sql.gz.enc", true, "a/x.sql"),
            ("odd", false, "odd.decrypted"),
        ] {
            assert_eq!(stripped(Path::new(file), decompressed), Path::new(output));
        }
    }
}
