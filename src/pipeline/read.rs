//! A stored object back to content, or through and through without anybody to take it.
//!
//! Invariant: `End` follows the last byte of content only when all of it was right: the envelope's tags, the recorded
//! lengths and hashes, the compressed data to its end. Of envelope v1 nothing is handed on before a first pass has found
//! its tag good. What envelope v2 gives is authentic chunk by chunk and provisional until `End`.

use tokio::{runtime::Handle, task::spawn_blocking};

use super::{
    Compression, Feed, Input, PipelineError, Sealed, Watch, decompress, feed,
    feed_sink::FeedSink,
    input::Source,
    pass::Pass,
    stage::{Halt, IntoStage, Sink, agree, size},
    tally::{Tallied, Tally, Tallying},
    unseal::Unsealer,
    watch::{Meter, Waiter},
};
use crate::{
    crypto::{
        Claim, EnvelopeError, HEADER_BYTES, Keyring, LegacyCheck, LegacyTicket, ManifestKey,
        Metadata, OpenOptions, Opener,
    },
    fault::Failure,
};

/// What is known of an object beforehand. What isn't known isn't compared.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub stored_bytes: Option<u64>,
    pub stored_sha256: Option<[u8; 32]>,
    pub payload_bytes: Option<u64>,
    pub payload_sha256: Option<[u8; 32]>,
    /// `None`: the first bytes of the payload tell.
    pub compression: Option<Compression>,
    pub sealed: Sealed,
    /// The highest generation of its header that was ever seen.
    pub minimum_generation: Option<u32>,
}

impl Expected {
    /// Bytes that are compared with what was written and not opened: the read-back of a fresh copy.
    pub fn opaque(stored_bytes: u64, stored_sha256: [u8; 32]) -> Self {
        Self {
            stored_bytes: Some(stored_bytes),
            stored_sha256: Some(stored_sha256),
            compression: Some(Compression::None),
            sealed: Sealed::None,
            ..Self::default()
        }
    }
}

/// An object that was read to its end, and whose bytes were right as far as could be told.
#[derive(Debug)]
pub struct Read {
    pub stored_bytes: u64,
    pub stored_sha256: [u8; 32],
    /// `None` if no key fitted: only the stored bytes were looked at then.
    pub opened: Option<Opened>,
}

/// What the inside of an object was.
#[derive(Debug)]
pub struct Opened {
    pub payload_bytes: u64,
    pub payload_sha256: [u8; 32],
    pub content_bytes: u64,
    /// As it was recorded, or else as the payload's first bytes told.
    pub compression: Compression,
    /// Of an object in envelope v2.
    pub manifest_key: Option<ManifestKey>,
    pub metadata: Option<Metadata>,
    pub generation: Option<u32>,
}

/// Reads every byte and compares all there is to compare. Without a fitting key that is the stored hash alone.
pub async fn check(
    input: &Input,
    expected: &Expected,
    keyring: &Keyring,
    watch: Watch,
) -> Result<Read, Failure> {
    let reading = Reading::new(input.clone(), expected.clone(), keyring.clone(), watch).await?;
    on_a_thread(move || reading.check(&mut Discard)).await
}

/// Takes a look at content, or wants no more of it.
pub type See<S> = fn(&mut S, &[u8]) -> Result<(), Failure>;

/// The same, and the content is shown to `see` as it passes, which may refuse more of it. Whatever was seen is provisional
/// until this returns.
pub async fn peruse<S: Send + 'static>(
    input: &Input,
    expected: &Expected,
    keyring: &Keyring,
    watch: Watch,
    (state, see): (S, See<S>),
) -> Result<(Read, S), Failure> {
    let reading = Reading::new(input.clone(), expected.clone(), keyring.clone(), watch).await?;
    on_a_thread(move || {
        let mut shown = Shown { state, see };
        let read = reading.check(&mut shown)?;
        Ok((read, shown.state))
    })
    .await
}

/// The content as a stream. Whoever consumes it must be able to throw it away until it has ended with `End`.
pub async fn open(
    input: Input,
    expected: Expected,
    keyring: Keyring,
    watch: Watch,
) -> Result<Feed, Failure> {
    let reading = Reading::new(input, expected, keyring, watch).await?;
    let (reading, unlocked) = on_a_thread(move || reading.begin()).await?;
    let (sender, content) = feed();
    spawn_blocking(move || {
        let mut sink = FeedSink::new(sender);
        match reading.through(unlocked, &mut sink) {
            // Nobody listens any more if this fails.
            Ok(_) => drop(sink.end()),
            Err(halt) => sink.fail(halt.into()),
        }
    });
    Ok(content)
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Halt> + Send + 'static,
) -> Result<T, Failure> {
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(PipelineError::StagePanicked { stage: "read" }.into()),
    }
}

struct Reading {
    source: Source,
    sidecar: Option<Vec<u8>>,
    named: Sealed,
    expected: Expected,
    keyring: Keyring,
    meter: Meter,
    waiter: Waiter,
}

/// Stored bytes, from the first on, and what opens them.
type Unlocked = (Pass, Unsealer);

/// No key at hand fits, or so it seems.
struct Locked {
    cause: EnvelopeError,
    /// Of what was read so far.
    stored: Tally,
    rest: Option<Pass>,
}

impl Reading {
    async fn new(
        input: Input,
        expected: Expected,
        keyring: Keyring,
        watch: Watch,
    ) -> Result<Self, Failure> {
        Ok(Self {
            sidecar: input.read_sidecar().await?,
            named: input.named(),
            source: input.open()?,
            expected,
            keyring,
            meter: Meter::new(watch.tick),
            waiter: Waiter {
                runtime: Handle::current(),
                stop: watch.cancel,
            },
        })
    }

    fn check(mut self, sink: &mut dyn Sink) -> Result<Read, Halt> {
        match self.unlock()? {
            Ok(unlocked) => self.through(unlocked, sink),
            Err(locked) => self.stored_only(locked),
        }
    }

    fn begin(mut self) -> Result<(Self, Unlocked), Halt> {
        let unlocked = self.unlock()?.map_err(|locked| locked.cause)?;
        Ok((self, unlocked))
    }

    fn unlock(&mut self) -> Result<Result<Unlocked, Locked>, Halt> {
        let mut pass = self.pass()?;
        let first = pass.first(HEADER_BYTES)?;
        match self.expected.sealed.settle(first, self.named) {
            Sealed::Unknown | Sealed::None => Ok(Ok((pass, Unsealer::none()))),
            Sealed::V2 => match self.try_header(first) {
                Ok(()) => Ok(Ok((pass, Unsealer::v2(&self.keyring, self.options())))),
                Err(cause @ EnvelopeError::NoMatchingKey { .. }) => Ok(Err(Locked {
                    cause,
                    stored: Tally::default(),
                    rest: Some(pass),
                })),
                Err(error) => Err(error.into()),
            },
            Sealed::V1 => match self.authenticate(pass)? {
                Ok(ticket) => Ok(Ok((self.pass()?, Unsealer::v1(ticket)))),
                Err(locked) => Ok(Err(locked)),
            },
        }
    }

    /// The size is compared before anything is read.
    fn pass(&mut self) -> Result<Pass, Halt> {
        let (bytes, feed) = self.waiter.wait(self.source.pass())??;
        match self.expected.stored_bytes {
            Some(expected) if expected != bytes => Err(EnvelopeError::LengthMismatch {
                what: "the file",
                expected,
                found: bytes,
            }
            .into()),
            Some(_) | None => {
                self.meter.rewind();
                Ok(Pass::new(feed, self.meter.clone(), self.waiter.clone()))
            }
        }
    }

    fn options(&self) -> OpenOptions {
        OpenOptions {
            sidecar: self.sidecar.clone(),
            minimum_generation: self.expected.minimum_generation,
        }
    }

    /// Whether a key fits, before anybody is promised content. What was derived stays in the keyring for the real opening.
    fn try_header(&self, first: &[u8]) -> Result<(), EnvelopeError> {
        Opener::new(&self.keyring, self.options()).push(first, &mut Vec::new())
    }

    /// The first pass over envelope v1.
    fn authenticate(&self, mut pass: Pass) -> Result<Result<LegacyTicket, Locked>, Halt> {
        let mut stored = Tally::default();
        let mut check = LegacyCheck::new(&self.keyring);
        while let Some(bytes) = pass.next()? {
            stored.add(&bytes);
            check.push(&bytes)?;
        }
        match check.finish() {
            Ok(ticket) => Ok(Ok(ticket)),
            Err(cause @ (EnvelopeError::LegacyAuth | EnvelopeError::NoKey)) => Ok(Err(Locked {
                cause,
                stored,
                rest: None,
            })),
            Err(error) => Err(error.into()),
        }
    }

    /// The whole way: stored bytes, payload, content. Every byte of it is right if this returns.
    fn through(
        &self,
        (mut pass, mut unsealer): Unlocked,
        sink: &mut dyn Sink,
    ) -> Result<Read, Halt> {
        let (mut stored, mut payload) = (Tally::default(), Tally::default());
        let mut decompress = decompress::stage(self.expected.compression)?;
        let mut content = Metered {
            meter: &self.meter,
            next: sink,
        };
        let mut opened = IntoStage {
            stage: decompress.as_mut(),
            sink: &mut content,
        };
        let mut opened = Tallying {
            tally: &mut payload,
            next: &mut opened,
        };
        let is_sealed = unsealer.is_sealed();
        while let Some(bytes) = pass.next()? {
            if is_sealed {
                stored.add(&bytes);
            }
            unsealer.push(&bytes, &mut opened)?;
        }
        let inside = unsealer.finish(&mut opened)?;
        let payload = payload.finish();
        // Without an envelope the payload is what is stored, and is not hashed a second time.
        let stored = if is_sealed { stored.finish() } else { payload };
        self.compare(stored, payload)?;
        let counted = decompress.finish(&mut content)?;
        agree(
            ("the storage", stored.bytes),
            ("the envelope", inside.stored_bytes),
        )?;
        agree(
            ("the envelope", inside.payload_bytes),
            ("the hash", payload.bytes),
        )?;
        agree(
            ("the hash", payload.bytes),
            ("the decompressor", counted.taken),
        )?;
        Ok(Read {
            stored_bytes: stored.bytes,
            stored_sha256: stored.sha256,
            opened: Some(Opened {
                payload_bytes: payload.bytes,
                payload_sha256: payload.sha256,
                content_bytes: counted.given,
                compression: self
                    .expected
                    .compression
                    .unwrap_or_else(|| decompress::by_magic(&payload.first)),
                manifest_key: inside.manifest_key,
                metadata: inside.metadata,
                generation: inside.generation,
            }),
        })
    }

    fn compare(&self, stored: Tallied, payload: Tallied) -> Result<(), Failure> {
        let claim = Claim {
            stored_bytes: self.expected.stored_bytes,
            payload_bytes: self.expected.payload_bytes,
            payload_sha256: self.expected.payload_sha256,
        };
        claim.check(stored.bytes, payload.bytes, &payload.sha256)?;
        self.compare_stored(stored)
    }

    fn compare_stored(&self, stored: Tallied) -> Result<(), Failure> {
        match self.expected.stored_sha256 {
            Some(expected) if expected != stored.sha256 => {
                Err(PipelineError::StoredDigestMismatch.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// All that can be said of an object that no key opens: whether it still is what was written.
    fn stored_only(&self, locked: Locked) -> Result<Read, Halt> {
        let Locked {
            cause,
            mut stored,
            rest,
        } = locked;
        if let Some(mut rest) = rest {
            while let Some(bytes) = rest.next()? {
                stored.add(&bytes);
            }
        }
        let stored = stored.finish();
        self.compare_stored(stored)?;
        // Envelope v1 can't tell a wrong key from damage; only a recorded hash can.
        if cause == EnvelopeError::LegacyAuth && self.expected.stored_sha256.is_none() {
            return Err(cause.into());
        }
        Ok(Read {
            stored_bytes: stored.bytes,
            stored_sha256: stored.sha256,
            opened: None,
        })
    }
}

struct Metered<'a> {
    meter: &'a Meter,
    next: &'a mut dyn Sink,
}

impl Sink for Metered<'_> {
    fn accept(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        self.meter.content(size(bytes));
        self.next.accept(bytes)
    }
}

struct Discard;

impl Sink for Discard {
    fn accept(&mut self, _: &[u8]) -> Result<(), Halt> {
        Ok(())
    }
}

/// Content that somebody looks at.
struct Shown<S> {
    state: S,
    see: See<S>,
}

impl<S> Sink for Shown<S> {
    fn accept(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        (self.see)(&mut self.state, bytes).map_err(Halt::Failed)
    }
}
