//! What of a dump is loaded, and by how many sessions: all of it by one, unless somebody asked otherwise.

use std::{env, num::NonZeroU8};

use super::{Destination, Origin, RestoreError, right::Right};
use crate::{
    catalog::Content,
    crypto::Keyring,
    execution::Phase,
    fault::Failure,
    job,
    pg::{
        cluster::Cluster,
        inventory::{Difference, Inventory},
        restore::{
            self as pg, LoadOptions, LoadReport, NotATable, Parallel, Selection, Spool, TableName,
            Toc, UseList,
        },
        tools::Toolset,
    },
    pipeline::{self, Feed},
};

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Nothing named: everything.
    pub only: Selection,
    pub jobs: Option<NonZeroU8>,
}

/// The chosen entries of an archive.
pub(super) struct Chosen {
    pub entries: Vec<u32>,
    pub list: UseList,
    pub left_out: Vec<String>,
}

impl Wanted {
    /// What a job asks for.
    pub fn of(request: &job::Restore) -> Result<Self, RestoreError> {
        let (tables, schemas) = (&request.tables, &request.schemas);
        Self::named(tables, schemas, request.jobs)
    }

    /// What somebody typed.
    pub fn named(
        tables: &[String],
        schemas: &[String],
        jobs: Option<NonZeroU8>,
    ) -> Result<Self, RestoreError> {
        let tables: Result<_, NotATable> = tables.iter().map(|name| name.parse()).collect();
        Ok(Self {
            only: Selection {
                tables: tables?,
                schemas: schemas.to_vec(),
            },
            jobs,
        })
    }

    /// Only an archive can be read in parts and by several.
    pub(super) fn require_fit(
        &self,
        content: Content,
        destination: &Destination,
    ) -> Result<(), RestoreError> {
        let is_part = !self.only.is_empty();
        match (destination, content) {
            _ if *self == Self::default() => Ok(()),
            (Destination::Live { .. }, _) if is_part => Err(RestoreError::PartReplaces),
            (_, Content::PgDumpCustom) => Ok(()),
            (_, Content::Sql | Content::Tar) => Err(RestoreError::OnlyWhole),
        }
    }

    /// What is wrong with what came of it: of a part the rows, of all everything.
    pub(super) fn differences(
        &self,
        expected: &Inventory,
        found: &Inventory,
        no_owner: bool,
    ) -> Vec<Difference> {
        if !self.only.is_empty() {
            return expected.differences_of_rows(found, |schema, table| self.has(schema, table));
        }
        if no_owner {
            expected.differences_without_owners(found)
        } else {
            expected.differences(found)
        }
    }

    fn has(&self, schema: &str, table: &str) -> bool {
        let is_it = |name: &TableName| name.schema == schema && name.table == table;
        self.only.schemas.iter().any(|name| name == schema) || self.only.tables.iter().any(is_it)
    }

    /// Finds the entries, before anything is created.
    pub(super) async fn choose(
        &self,
        origin: &Origin,
        tools: &Toolset,
        keyring: &Keyring,
        right: &Right,
    ) -> Result<Option<Chosen>, Failure> {
        if self.only.is_empty() {
            return Ok(None);
        }
        let feed = open(origin, keyring, Phase::Check, right).await?;
        let choice = self.only.choose(&Toc::read(tools, feed).await?)?;
        let list = UseList::new(&choice.entries).map_err(RestoreError::List)?;
        Ok(Some(Chosen {
            entries: choice.entries,
            list,
            left_out: choice.left_out,
        }))
    }

    /// Whether the disk can take what several sessions read.
    pub(super) fn require_room(&self, origin: &Origin) -> Result<(), Failure> {
        if let (Some(_), Some(bytes)) = (self.jobs, origin.content_bytes) {
            Spool::require_room(&env::temp_dir(), bytes)?;
        }
        Ok(())
    }
}

/// Where a load goes.
pub(super) struct Load<'a> {
    pub tools: &'a Toolset,
    pub cluster: &'a Cluster,
    pub name: &'a str,
    pub options: LoadOptions<'a>,
    pub only: Option<&'a [u32]>,
}

/// Reads a backup into a database. This reading is held to all that is known of it, whether or not there was one before: an
/// object that was changed in between ends in a failure instead of `End`.
pub(super) async fn load(
    origin: &Origin,
    into: Load<'_>,
    keyring: &Keyring,
    right: &Right,
) -> Result<LoadReport, Failure> {
    let Load {
        tools,
        cluster,
        name,
        options,
        only,
    } = into;
    let feed = open(origin, keyring, Phase::Load, right).await?;
    let (cancel, _ends) = right.cancelled();
    let Some(jobs) = origin.wanted.jobs else {
        return pg::load(tools, cluster, name, options, feed, cancel).await;
    };
    let parallel = Parallel {
        feed,
        spool: Spool::new(&env::temp_dir(), right.lease.execution())?,
        jobs,
        only,
        sizes: &origin.sizes(),
    };
    pg::load_parallel(tools, cluster, name, options, parallel, &cancel).await
}

async fn open(
    origin: &Origin,
    keyring: &Keyring,
    phase: Phase,
    right: &Right,
) -> Result<Feed, Failure> {
    let watch = right.lease.watch(phase, origin.total());
    let (input, expected) = (origin.input.clone(), origin.expected.clone());
    pipeline::open(input, expected, keyring.clone(), watch).await
}
