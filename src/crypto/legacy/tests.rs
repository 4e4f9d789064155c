//! The three steps together.

use std::{fs, path::Path};

use super::*;
use crate::crypto::{
    EnvelopeError, KeyForm, KeyMaterial, Keyring, layout::array_at, secret::Secret, tests::payload,
};

fn ring(keys: &[&str]) -> Keyring {
    let mut keys = keys.iter().map(|text| KeyMaterial::parse(text).unwrap());
    Keyring::new(keys.next(), keys.collect())
}

fn raw(byte: &str) -> String {
    byte.repeat(32)
}

fn seal(keyring: &Keyring, payload: &[u8]) -> Vec<u8> {
    let (mut sealer, mut out) = (LegacySealer::new(keyring).unwrap(), Vec::new());
    sealer.push(payload, &mut out).unwrap();
    let summary = sealer.finish(&mut out).unwrap();
    assert_eq!(summary.payload_bytes, payload.len() as u64);
    assert_eq!(summary.stored_bytes, out.len() as u64);
    out
}

fn check(keyring: &Keyring, file: &[u8]) -> Result<LegacyTicket, EnvelopeError> {
    let mut check = LegacyCheck::new(keyring);
    check.push(file)?;
    check.finish()
}

fn open(ticket: LegacyTicket, file: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    let (mut opener, mut out) = (LegacyOpener::new(ticket), Vec::new());
    opener.push(file, &mut out)?;
    assert_eq!(opener.finish()?, out.len() as u64);
    Ok(out)
}

#[test]
fn a_file_opens_with_whichever_key_of_the_ring_made_it() {
    let file = seal(&ring(&[&raw("02")]), b"payload");
    let keys = ring(&[&raw("01"), &raw("02"), &raw("03")]);
    let ticket = check(&keys, &file).unwrap();
    assert_eq!(
        (ticket.form(), ticket.payload_bytes()),
        (KeyForm::AsGiven, 7)
    );
    assert_eq!(open(ticket, &file).unwrap(), b"payload");
    let error = check(&ring(&[&raw("01")]), &file).unwrap_err();
    assert_eq!(error, EnvelopeError::LegacyAuth);
    let error = check(&ring(&[]), &file).unwrap_err();
    assert_eq!(error, EnvelopeError::NoKey);
}

#[test]
fn a_stray_newline_in_the_setting_that_sealed_is_found_and_said() {
    let with = seal(&ring(&["correct horse\n"]), b"payload");
    let without = seal(&ring(&["correct horse"]), b"payload");
    let ticket = check(&ring(&["correct horse"]), &with).unwrap();
    assert_eq!(ticket.form(), KeyForm::NewlineAdded);
    assert!(ticket.form().note().unwrap().contains("newline added"));
    assert_eq!(open(ticket, &with).unwrap(), b"payload");
    let ticket = check(&ring(&["correct horse\n"]), &without).unwrap();
    assert_eq!(ticket.form(), KeyForm::NewlineRemoved);
    let ticket = check(&ring(&["correct horse"]), &without).unwrap();
    assert_eq!(
        (ticket.form(), ticket.form().note()),
        (KeyForm::AsGiven, None)
    );
}

#[test]
fn a_file_that_changes_between_the_passes_is_refused() {
    let keyring = ring(&[&raw("01")]);
    let file = seal(&keyring, &[7; 1000]);
    let longer = [&file[..], &[0]].concat();
    let another = seal(&keyring, &[7; 1000]);
    let mut changes: Vec<Vec<u8>> = vec![longer, another, file[..999].to_vec(), Vec::new()];
    for at in [0, 16, 1015, 1016, 1031] {
        let mut flipped = file.clone();
        flipped[at] ^= 1;
        changes.push(flipped);
    }
    for changed in changes {
        let ticket = check(&keyring, &file).unwrap();
        assert_eq!(open(ticket, &changed), Err(EnvelopeError::SourceChanged));
    }
}

#[test]
fn the_writer_makes_each_good_vector_again_byte_for_byte() {
    let digits = hex::encode((0..32).collect::<Vec<u8>>());
    let key = Secret::from_hex(&digits).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/envelope-v1");
    for (name, payload_bytes) in [
        ("counter-wraps-ffffffff-100.enc", 100),
        ("counter-wraps-fffffffe-1000.enc", 1000),
        ("counter-wraps-ffffff00-300001.enc", 300_001),
        ("empty.enc", 0),
        ("one-byte.enc", 1),
        ("block.enc", 16),
    ] {
        let file = fs::read(folder.join(name)).unwrap();
        let (mut sealer, mut out) = (LegacySealer::with_iv(&key, array_at(&file, 0)), Vec::new());
        for piece in payload(name, payload_bytes).chunks(997) {
            sealer.push(piece, &mut out).unwrap();
        }
        sealer.finish(&mut out).unwrap();
        assert!(out == file, "{name} came out differently");
    }
}
