//! Re-wrapped headers: object stores can't edit in place, so a new header lies beside the file (`<name>.khdr`).
//!
//! A newer sidecar *is* the header: if it fails there is no silent way back to the inline one. A re-wrap changes who can
//! open the file from now on; whoever has the old key and the old header still can.

use super::{
    error::EnvelopeError,
    header::{HEADER_BYTES, Header},
    keyring::Keyring,
    layout::array_at,
    slot::Wrap,
    unlock::unlock,
};

/// What became of the sidecar header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SidecarUse {
    Absent,
    Used,
    /// It is not newer than the inline header, which was used instead: worth a note.
    Ignored,
}

/// The header that counts, unopened. Of the inline header only identity and generation matter if a newer sidecar exists.
pub(super) fn effective_header(
    inline: Header,
    sidecar: Option<&[u8]>,
) -> Result<(Header, SidecarUse), EnvelopeError> {
    let Some(bytes) = sidecar else {
        return Ok((inline, SidecarUse::Absent));
    };
    let sidecar: &[u8; HEADER_BYTES] = bytes
        .try_into()
        .map_err(|_| EnvelopeError::SidecarInvalid { bytes: bytes.len() })?;
    let sidecar = inline
        .rewrapped(sidecar)
        .ok_or(EnvelopeError::SidecarMismatch)?;
    if sidecar.generation() > inline.generation() {
        Ok((sidecar, SidecarUse::Used))
    } else {
        Ok((inline, SidecarUse::Ignored))
    }
}

/// One slot of a re-wrapped header.
#[derive(Clone, Copy, Debug)]
pub enum NewSlot<'a> {
    /// The slot at this index of the effective header, byte for byte; its key isn't needed.
    Keep(usize),
    /// A new wrap for the active key of this keyring.
    Wrap(&'a Keyring),
}

/// A slot whose bytes are settled, or whose random values are.
pub(super) enum SlotSource {
    Keep(usize),
    Wrap(Wrap),
}

/// The sidecar that replaces the effective header of a file: same data key, next generation, these slots in this order.
///
/// `opening` must hold a key of the effective header. May derive keys: call it where blocking is allowed.
pub fn rewrap(
    inline: &[u8],
    sidecar: Option<&[u8]>,
    opening: &Keyring,
    slots: &[NewSlot<'_>],
) -> Result<Vec<u8>, EnvelopeError> {
    let (header, _) = effective_header(Header::parse(inline)?, sidecar)?;
    let generation = header
        .generation()
        .checked_add(1)
        .ok_or(EnvelopeError::bad_header("the generation can grow no more"))?;
    let sources: Vec<SlotSource> = slots
        .iter()
        .map(|slot| match slot {
            NewSlot::Keep(index) => Ok(SlotSource::Keep(*index)),
            NewSlot::Wrap(keyring) => keyring.wrap().map(SlotSource::Wrap),
        })
        .collect::<Result<_, _>>()?;
    rewrap_header(header, opening, &sources, generation)
}

pub(super) fn rewrap_header(
    header: Header,
    opening: &Keyring,
    sources: &[SlotSource],
    generation: u32,
) -> Result<Vec<u8>, EnvelopeError> {
    let old = header.slots()?;
    let head = unlock(header, opening, None)?;
    let identity = array_at(head.header.identity(), 0);
    let slots = sources
        .iter()
        .map(|source| match source {
            SlotSource::Wrap(wrap) => Ok(wrap.seal(&identity, &head.data_key)),
            SlotSource::Keep(index) => old
                .get(*index)
                .map(|slot| *slot.bytes())
                .ok_or_else(|| EnvelopeError::bad_header(format!("there is no slot {index}"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let new = Header::assemble(
        &identity,
        &head.data_key,
        &slots,
        head.header.metadata(),
        generation,
    )?;
    Ok(new.bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyMaterial, Metadata, OpenOptions, Opener, Sealer, inspect};

    fn ring(digits: &str) -> Keyring {
        Keyring::new(
            Some(KeyMaterial::parse(&digits.repeat(32)).unwrap()),
            Vec::new(),
        )
    }

    fn file(keyring: &Keyring) -> Vec<u8> {
        let mut sealer = Sealer::new(keyring, &Metadata::default()).unwrap();
        let mut out = Vec::new();
        sealer.push(b"payload", &mut out).unwrap();
        sealer.finish(&mut out).unwrap();
        out
    }

    fn open(file: &[u8], keyring: &Keyring, sidecar: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let options = OpenOptions {
            sidecar: Some(sidecar.to_vec()),
            minimum_generation: None,
        };
        let (mut opener, mut out) = (Opener::new(keyring, options), Vec::new());
        opener.push(file, &mut out)?;
        let end = opener.finish(&mut out)?;
        assert_eq!(end.sidecar, SidecarUse::Used);
        Ok(out)
    }

    #[test]
    fn a_rewrapped_file_opens_with_the_new_key_and_a_kept_one_and_no_longer_with_the_old() {
        let (old, new, third) = (ring("01"), ring("02"), ring("03"));
        let file = file(&old);
        let first = rewrap(
            &file,
            None,
            &old,
            &[NewSlot::Wrap(&new), NewSlot::Wrap(&third)],
        )
        .unwrap();
        assert_eq!(open(&file, &new, &first).unwrap(), b"payload");
        assert_eq!(
            open(&file, &old, &first).unwrap_err().name(),
            "NoMatchingKey"
        );

        let second = rewrap(&file, Some(&first), &new, &[NewSlot::Keep(1)]).unwrap();
        assert_eq!(inspect(&second).unwrap().generation, 3);
        assert_eq!(open(&file, &third, &second).unwrap(), b"payload");
        assert_eq!(
            open(&file, &new, &second).unwrap_err().name(),
            "NoMatchingKey"
        );
    }

    #[test]
    fn a_wrap_for_the_same_key_never_repeats_its_salt() {
        let old = ring("01");
        let file = file(&old);
        let again = rewrap(&file, None, &old, &[NewSlot::Wrap(&old)]).unwrap();
        assert_ne!(file[168..248], again[168..248]);
    }

    #[test]
    fn a_header_is_rewrapped_only_by_who_can_open_it_and_only_into_1_to_8_slots() {
        let (old, other) = (ring("01"), ring("02"));
        let file = file(&old);
        let wraps = [NewSlot::Wrap(&other); 9];
        let name = |result: Result<Vec<u8>, EnvelopeError>| result.unwrap_err().name();
        assert_eq!(
            name(rewrap(&file, None, &other, &wraps[..1])),
            "NoMatchingKey"
        );
        assert_eq!(name(rewrap(&file, None, &old, &[])), "BadHeader");
        assert_eq!(name(rewrap(&file, None, &old, &wraps)), "BadHeader");
        assert_eq!(
            name(rewrap(&file, None, &old, &[NewSlot::Keep(1)])),
            "BadHeader"
        );
    }
}
