//! The rules of the house that the compiler can't keep: who may import whom, where a crate is at home, charters, budgets,
//! and promises that lead to a test. `docs/ARCHITECTURE.md` says why; a broken rule is printed with its line.

#![expect(
    clippy::unwrap_used,
    reason = "a file of the repository that can't be read fails the test, as it should"
)]

#[path = "architecture/broken.rs"]
mod broken;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;

use self::{rules::*, source::*};

fn product() -> Vec<Source> {
    let mut all = sources("src", "rs");
    all.extend(sources("workers", "rs"));
    assert!(
        all.len() > 20,
        "found only {} files: is this the right folder?",
        all.len()
    );
    all
}

fn pass(offences: impl IntoIterator<Item = Offence>) {
    let lines: Vec<String> = offences
        .into_iter()
        .map(|offence| offence.to_string())
        .collect();
    assert!(
        lines.is_empty(),
        "{} broken rules\n{}",
        lines.len(),
        lines.join("\n")
    );
}

#[test]
fn imports_go_downwards_only() {
    pass(product().iter().flat_map(imports));
}

#[test]
fn external_crates_stay_at_home() {
    pass(product().iter().flat_map(homes));
}

#[test]
fn every_file_opens_with_its_charter() {
    let mut all = product();
    all.extend(sources("tests", "rs"));
    pass(all.iter().flat_map(charter));
}

#[test]
fn every_file_keeps_its_budget() {
    pass(product().iter().flat_map(budget));
}

#[test]
fn nothing_is_left_for_later() {
    let mut all = product();
    all.extend(sources("tests", "rs"));
    pass(all.iter().flat_map(debts));
}

#[test]
fn every_promise_in_the_docs_leads_somewhere() {
    let mut pages = sources("", "md");
    pages.extend(sources("docs", "md"));
    pass(pages.iter().flat_map(|page| promises(page, read)));
}

#[test]
fn guarded_packages_come_in_through_their_wrappers() {
    pass(bans(&read("Cargo.lock").unwrap()));
}

#[test]
fn every_module_of_the_library_has_a_row_in_the_order() {
    let lib = read("src/lib.rs").unwrap();
    let modules = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "))
        .map(|line| line.trim_end_matches(';'));
    let strangers: Vec<_> = modules.filter(|module| rank(module).is_none()).collect();
    assert!(strangers.is_empty(), "give {strangers:?} a row in ORDER");
}
