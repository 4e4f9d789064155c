//! Loading an archive by several sessions while it arrives.
//!
//! What has no rows and is needed by what has is made first. Then every session reads the archive for itself and loads the
//! tables of its share. Indexes, constraints, grants and whatever else is left follow when the archive is known to be
//! whole, by as many sessions again. The order within each step is the archive's.

use std::{cmp::Reverse, collections::BTreeSet, num::NonZeroU8};

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{
    load::{LoadOptions, LoadReport, end, ended_well, load_part, program},
    selection::{TableName, UseList},
    spool::{Spool, SpoolError},
    toc::{Entry, Toc},
};
use crate::{
    fault::{Failure, Fault},
    pg::{cluster::Cluster, error::PgError, tools::Toolset},
    pipeline::Feed,
};

const ROWS: &str = "TABLE DATA";

/// They may take from the loading user what it needs for loading.
const GRANTS: &[&str] = &["ACL", "DEFAULT ACL"];

/// What several sessions are to load.
#[derive(Debug)]
pub struct Parallel<'a> {
    pub feed: Feed,
    /// Where the archive lies meanwhile.
    pub spool: Spool,
    pub jobs: NonZeroU8,
    /// Only these entries.
    pub only: Option<&'a [u32]>,
    /// How large the tables were, as far as that is known.
    pub sizes: &'a [(TableName, u64)],
}

/// Fills `database`. On any failure the database is half-made and has to be dropped; if the feed failed, its failure is the
/// one reported. All tools have ended when this returns. `options.list` is not looked at.
pub async fn load_parallel(
    tools: &Toolset,
    cluster: &Cluster,
    database: &str,
    options: LoadOptions<'_>,
    parallel: Parallel<'_>,
    cancel: &CancellationToken,
) -> Result<LoadReport, Failure> {
    let Parallel {
        feed,
        spool,
        jobs,
        only,
        sizes,
    } = parallel;
    let stop = cancel.child_token();
    let work = Loader {
        tools,
        cluster,
        database,
        options,
        spool: &spool,
        stop: &stop,
    };
    let loading = async {
        let loaded = work.load(jobs, only, sizes).await;
        if loaded.is_err() {
            stop.cancel();
        }
        loaded
    };
    let (filled, loaded) = tokio::join!(spool.fill(feed, tools.major(), &stop), loading);
    match (filled, loaded) {
        (Ok(bytes), Ok(stderr)) => Ok(LoadReport { bytes, stderr }),
        // The one was stopped because of the other.
        (Err(failure), Err(other)) if failure.fault == Fault::Cancelled => Err(other),
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
    }
}

#[derive(Clone, Copy)]
struct Loader<'a> {
    tools: &'a Toolset,
    cluster: &'a Cluster,
    database: &'a str,
    options: LoadOptions<'a>,
    spool: &'a Spool,
    stop: &'a CancellationToken,
}

impl Loader<'_> {
    /// What the tools said on their standard error.
    async fn load(
        self,
        jobs: NonZeroU8,
        only: Option<&[u32]>,
        sizes: &[(TableName, u64)],
    ) -> Result<String, Failure> {
        let toc = Toc::read(self.tools, self.spool.read()).await?;
        let steps = Steps::of(&toc, only, jobs, sizes);
        let mut said = self.part(&steps.first).await?;
        let shares = steps.rows.iter().map(|share| async move {
            let loaded = self.part(share).await;
            if loaded.is_err() {
                self.stop.cancel();
            }
            loaded
        });
        said.push_str(&all_or_why(join_all(shares).await)?);
        said.push_str(&self.rest(&steps.rest, jobs).await?);
        Ok(said)
    }

    async fn part(self, entries: &[u32]) -> Result<String, Failure> {
        if entries.is_empty() {
            return Ok(String::new());
        }
        let list = list(entries)?;
        let options = LoadOptions {
            list: Some(&list),
            ..self.options
        };
        let (feed, stop) = (self.spool.read(), self.stop.clone());
        let loaded = load_part(self.tools, self.cluster, self.database, options, feed, stop).await;
        loaded.map(|report| report.stderr)
    }

    async fn rest(self, entries: &[u32], jobs: NonZeroU8) -> Result<String, Failure> {
        let file = self.spool.whole().await?;
        let list = list(entries)?;
        let options = LoadOptions {
            list: Some(&list),
            ..self.options
        };
        // Each session opens the archive for itself, by a name that is the same for all.
        let program = program(self.tools, self.cluster, self.database, options)?
            .arg(format!("--jobs={jobs}"))
            .arg("/dev/stdin")
            .stdin_from(file);
        let child = program.spawn().map_err(PgError::from)?;
        let ended = ended_well(&child, options.tool(), self.stop).await;
        if ended.is_err() {
            end(&child, options.tool()).await;
        }
        ended.map(|()| child.stderr_tail())
    }
}

fn list(entries: &[u32]) -> Result<UseList, Failure> {
    Ok(UseList::new(entries).map_err(SpoolError::List)?)
}

/// Of several failures the one that stopped the others.
fn all_or_why(results: Vec<Result<String, Failure>>) -> Result<String, Failure> {
    let (mut said, mut failures) = (String::new(), Vec::new());
    for result in results {
        match result {
            Ok(text) => said.push_str(&text),
            Err(failure) => failures.push(failure),
        }
    }
    failures.sort_by_key(|failure| failure.fault == Fault::Cancelled);
    failures.into_iter().next().map_or(Ok(said), Err)
}

/// Who restores which entries, and when.
#[derive(Debug, PartialEq, Eq)]
struct Steps {
    first: Vec<u32>,
    /// A share for each session.
    rows: Vec<Vec<u32>>,
    rest: Vec<u32>,
}

impl Steps {
    fn of(toc: &Toc, only: Option<&[u32]>, jobs: NonZeroU8, sizes: &[(TableName, u64)]) -> Self {
        let only: Option<BTreeSet<u32>> = only.map(|ids| ids.iter().copied().collect());
        let is_wanted = |entry: &&Entry| only.as_ref().is_none_or(|only| only.contains(&entry.id));
        let wanted: Vec<&Entry> = toc.0.iter().filter(is_wanted).collect();
        let begin = wanted.iter().position(|entry| entry.what == ROWS);
        let (before, behind) = wanted.split_at(begin.unwrap_or(0));
        let (grants, first): (Vec<_>, Vec<_>) = before
            .iter()
            .partition(|entry| GRANTS.contains(&entry.what.as_str()));
        let (rows, rest): (Vec<_>, Vec<_>) = behind.iter().partition(|entry| entry.what == ROWS);
        let ids = |entries: &[&&Entry]| entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
        Self {
            first: ids(&first),
            rows: shares(&rows, jobs, sizes),
            rest: [ids(&grants), ids(&rest)].concat(),
        }
    }
}

/// The largest table first, each to the session that has the least to do.
fn shares(rows: &[&&Entry], jobs: NonZeroU8, sizes: &[(TableName, u64)]) -> Vec<Vec<u32>> {
    let size = |entry: &Entry| {
        let found = sizes
            .iter()
            .find(|(name, _)| entry.is_of(&name.schema, &name.table));
        found.map_or(1, |(_, bytes)| bytes.saturating_add(1))
    };
    let mut places: Vec<(u64, usize)> = rows.iter().map(|e| size(e)).zip(0..).collect();
    places.sort_by_key(|&(bytes, _)| Reverse(bytes));
    let mut shares = vec![(0_u64, BTreeSet::new()); usize::from(jobs.get()).min(rows.len())];
    for (bytes, place) in places {
        if let Some((load, share)) = shares.iter_mut().min_by_key(|(load, _)| *load) {
            *load = load.saturating_add(bytes);
            share.insert(place);
        }
    }
    let ids = |share: BTreeSet<usize>| share.into_iter().filter_map(|at| Some(rows.get(at)?.id));
    shares
        .into_iter()
        .map(|(_, share)| ids(share).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
;
1; 1259 1 TABLE public board kanbu
2; 0 0 ACL public TABLE board kanbu
3; 1259 2 TABLE public card kanbu
4; 0 0 COMMENT public TABLE card kanbu
5; 1259 3 TABLE public note kanbu
6; 0 1 TABLE DATA public board kanbu
7; 0 2 TABLE DATA public card kanbu
8; 0 3 TABLE DATA public note kanbu
9; 0 0 SEQUENCE SET public card_id_seq kanbu
10; 2606 4 CONSTRAINT public card card_pkey kanbu
";

    fn steps(only: Option<&[u32]>, jobs: u8, sizes: &[(&str, u64)]) -> Steps {
        let sizes: Vec<_> = sizes
            .iter()
            .map(|(name, bytes)| (name.parse().unwrap(), *bytes))
            .collect();
        Steps::of(
            &Toc::parse(LIST),
            only,
            NonZeroU8::new(jobs).unwrap(),
            &sizes,
        )
    }

    #[test]
    fn the_largest_table_has_a_session_for_itself_and_grants_come_last() {
        assert_eq!(
            steps(None, 2, &[("board", 10), ("card", 1000), ("note", 20)]),
            Steps {
                first: vec![1, 3, 4, 5],
                rows: vec![vec![7], vec![6, 8]],
                rest: vec![2, 9, 10],
            }
        );
    }

    #[test]
    fn no_session_is_without_a_table_and_what_was_not_asked_for_is_in_no_step() {
        let chosen = steps(Some(&[3, 7, 10]), 4, &[]);
        let expected = Steps {
            first: vec![3],
            rows: vec![vec![7]],
            rest: vec![10],
        };
        assert_eq!(chosen, expected);
        let nothing_in_it = steps(Some(&[1, 2, 10]), 2, &[]);
        assert_eq!((nothing_in_it.first, nothing_in_it.rows), (vec![], vec![]));
        assert_eq!(nothing_in_it.rest, [1, 2, 10]);
    }
}
