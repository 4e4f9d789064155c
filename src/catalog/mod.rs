//! WHAT we possess: artifacts, their copies, their manifests.
//!
//! The truth is on the storages (a manifest means a backup exists); the rows here are derived from it and can be rebuilt.
//! Nothing here decides what may be deleted.

pub mod adopt;
mod alarm;
mod artifact;
mod copies;
mod copy;
mod deletion;
mod error;
mod expected;
mod globals;
mod holdings;
mod manifest;
mod object;
mod origin;
mod proof;
mod pruning;
pub mod rebuild;
mod replacement;
pub mod restock;
mod retire;
mod store;
mod view;

pub use self::{
    alarm::{Earlier, HOLDS, acknowledge, earlier},
    artifact::{ArtifactKind, Compression, Content, NewArtifact, Proof},
    copies::{Standing, announce_copies, note_checks, standings, subjects},
    copy::{CopyCheck, CopyState, NewCopy},
    deletion::{
        PendingDeletion, decide_deletion, deletion_done, pending_deletions, perform_deletion,
    },
    error::CatalogError,
    globals::{GlobalsError, KeptGlobals},
    holdings::{Holding, Holdings, Lack, holdings, lacking},
    manifest::{
        EnvelopeFacts, MANIFEST_VERSION, MAX_MANIFEST_BYTES, Manifest, ManifestError,
        ManifestWarning, check_seal,
    },
    object::{EnvelopeFormat, object_name},
    origin::{BackupOrigin, Reason, ScheduleName, origin_of},
    proof::{
        Ladder, NewProof, ProofNote, ProofPlace, ProofView, ProofWeight, Rung, Statistics,
        Verification, insert_proof, ladder, proofs,
    },
    pruning::{
        Class, Decided, Deleted, Family, Fate, FirstCycle, Member, NewPlan, OpenPlan,
        ScheduleTerms, decide_expired, deletion_failed, end_plan, family, import_rule, journal,
        open_plans, pending_of, schedule_named, settle_deleted, store_plans,
    },
    replacement::{
        Replacement, ReplacementState, Replacements, advance, enter, intend, replacements,
    },
    retire::{Retirement, plan_retirement, purge, retire},
    store::{Filter, get, insert, list, newest, pin, resolve, unpin},
    view::{ArtifactView, CHECK_HOLDS_DAYS, CopyView, Risk, TestRestore, proof, risk},
};
