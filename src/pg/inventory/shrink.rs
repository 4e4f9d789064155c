//! What an inventory lost since an earlier one of the same database. Pure.

use std::collections::BTreeMap;

use super::{Inventory, TableRows};

/// A table with fewer rows than this is too small to tell anything by its growing or shrinking.
pub const LEAST_ROWS: u64 = 100;

/// A table that lost rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// `public.card`
    pub table: String,
    pub before: u64,
    /// `None` when the table is gone.
    pub now: Option<u64>,
}

impl Inventory {
    /// The tables that have lost more than `percent` of their rows in `later`, or are gone. Estimates tell nothing.
    pub fn shrunk(&self, later: &Self, percent: u64) -> Vec<Shrunk> {
        let level = self.fold.max(later.fold);
        let (earlier, later) = (
            self.clone().folded_to(level),
            later.clone().folded_to(level),
        );
        let key = |table: &TableRows| (table.schema.clone(), table.table.clone());
        let now: BTreeMap<_, _> = later.tables.iter().map(|t| (key(t), t)).collect();
        let lost = earlier
            .tables
            .iter()
            .filter(|table| table.rows >= LEAST_ROWS);
        lost.filter_map(|table| {
            let there = now.get(&key(table));
            let is_lost = match there {
                None => true,
                Some(there) => {
                    let kept = u128::from(there.rows) * 100;
                    let least = u128::from(table.rows) * u128::from(100 - percent.min(100));
                    table.exact && there.exact && kept < least
                }
            };
            is_lost.then(|| Shrunk {
                table: format!("{}.{}", table.schema, table.table),
                before: table.rows,
                now: there.map(|there| there.rows),
            })
        })
        .collect()
    }
}
