//! What each kind of store can and can't do, as data: read it here instead of finding it out at three in the morning.

use super::place::Place;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What a store promises. What it doesn't, others have to make up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a table of independent yes and no, shown as one"
)]
pub struct Capabilities {
    /// A small object can be written so that it replaces nothing, decided by the store itself.
    pub create_only_put: bool,
    /// The same for an upload's completion. Without it an upload relies on its name being one execution's own.
    pub conditional_complete: bool,
    /// An object can be replaced in one step: readers meet the old one or the new one, whole.
    pub replaces_whole: bool,
    /// Uploads that were never ended can be listed, and so be swept.
    pub lists_unfinished_uploads: bool,
    /// The store drops uploads that were never ended by itself, in time.
    pub drops_unfinished_uploads: bool,
    /// The store refuses bytes that were changed on their way.
    pub end_to_end_checksum: bool,
    /// What was confirmed survives. Otherwise it counts only once it was read back.
    pub durable_when_confirmed: bool,
    /// The last bytes of an object can be read without knowing its size.
    pub range_suffix: bool,
    pub parts: PartLimits,
}

/// What a store demands of the parts of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLimits {
    /// How many there may be; none if there is no limit.
    pub most: Option<u32>,
    /// Bytes of any part but the last.
    pub smallest: u64,
    pub largest: u64,
    /// Whether all but the last must have one size.
    pub equal: bool,
}

const ANY_PARTS: PartLimits = PartLimits {
    most: None,
    smallest: 1,
    largest: u64::MAX,
    equal: false,
};

const S3_PARTS: PartLimits = PartLimits {
    most: Some(10_000),
    smallest: 5 * MIB,
    largest: 5 * GIB,
    equal: false,
};

const LOCAL: Capabilities = Capabilities {
    create_only_put: true,
    conditional_complete: false,
    replaces_whole: true,
    lists_unfinished_uploads: true,
    drops_unfinished_uploads: false,
    end_to_end_checksum: false,
    durable_when_confirmed: true,
    range_suffix: true,
    parts: ANY_PARTS,
};

const S3: Capabilities = Capabilities {
    create_only_put: true,
    conditional_complete: false,
    replaces_whole: true,
    lists_unfinished_uploads: true,
    drops_unfinished_uploads: false,
    end_to_end_checksum: true,
    durable_when_confirmed: true,
    range_suffix: true,
    parts: S3_PARTS,
};

const GCS: Capabilities = Capabilities {
    lists_unfinished_uploads: false,
    end_to_end_checksum: false,
    ..S3
};

const AZURE: Capabilities = Capabilities {
    create_only_put: true,
    conditional_complete: false,
    replaces_whole: true,
    lists_unfinished_uploads: false,
    drops_unfinished_uploads: true,
    end_to_end_checksum: false,
    durable_when_confirmed: true,
    range_suffix: false,
    parts: PartLimits {
        most: Some(50_000),
        smallest: 1,
        largest: 4000 * MIB,
        equal: false,
    },
};

const GOOGLE_DRIVE: Capabilities = Capabilities {
    create_only_put: false,
    conditional_complete: false,
    replaces_whole: false,
    lists_unfinished_uploads: false,
    drops_unfinished_uploads: true,
    end_to_end_checksum: true,
    durable_when_confirmed: true,
    range_suffix: false,
    parts: ANY_PARTS,
};

impl Capabilities {
    /// Those of a place, as its kind and its URL declare them.
    pub fn of(place: &Place) -> Self {
        match place {
            Place::Local { .. } => LOCAL,
            Place::Mounted { .. } => Self {
                durable_when_confirmed: false,
                ..LOCAL
            },
            Place::S3(place) => Self {
                create_only_put: place.conditional_put,
                lists_unfinished_uploads: place.lists_uploads,
                end_to_end_checksum: place.checksums,
                parts: PartLimits {
                    equal: place.equal_parts,
                    ..S3_PARTS
                },
                ..S3
            },
            Place::Gcs(_) => GCS,
            Place::Azure(_) => AZURE,
            Place::GoogleDrive(_) => GOOGLE_DRIVE,
        }
    }

    /// Each with the words that lists and documents use.
    pub fn table(&self) -> [(&'static str, bool); 8] {
        [
            ("create-only put", self.create_only_put),
            ("conditional completion", self.conditional_complete),
            ("replaces whole", self.replaces_whole),
            ("lists unfinished uploads", self.lists_unfinished_uploads),
            ("drops unfinished uploads", self.drops_unfinished_uploads),
            ("end-to-end checksum", self.end_to_end_checksum),
            ("durable when confirmed", self.durable_when_confirmed),
            ("suffix ranges", self.range_suffix),
        ]
    }
}

impl PartLimits {
    /// What suits several stores at once, for they share their parts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let most = match (self.most, other.most) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self {
            most,
            smallest: self.smallest.max(other.smallest),
            largest: self.largest.min(other.largest),
            equal: self.equal || other.equal,
        }
    }
}

impl Default for PartLimits {
    /// Nothing is demanded.
    fn default() -> Self {
        ANY_PARTS
    }
}
