//! Each rule, broken on purpose: a rule that can't fail keeps nothing.

use super::{
    rules::*,
    source::{Offence, Source},
};

fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.into(),
        text: text.into(),
    }
}

fn only(offences: &[Offence]) -> String {
    assert_eq!(
        offences.len(),
        1,
        "{}",
        offences.iter().map(ToString::to_string).collect::<String>()
    );
    offences[0].to_string()
}

#[test]
fn an_upward_import_in_a_group_is_named_with_its_line() {
    let text = "//! x\nuse crate::{\n    fault::{Failure, Fault},\n    queue::Crew,\n};\n";
    let said = only(&imports(&source("src/storage/open.rs", text)));
    assert!(
        said.starts_with("src/storage/open.rs:4: queue::Crew,"),
        "{said}"
    );
    assert!(said.contains("`storage` stands below `queue`"), "{said}");
}

#[test]
fn neighbours_of_one_row_may_not_import_each_other() {
    only(&imports(&source(
        "src/backup/mod.rs",
        "//! x\nfn f() { crate::verify::perform() }\n",
    )));
}

#[test]
fn a_use_case_may_not_reach_into_the_queue_nor_a_handler_into_a_mechanism() {
    only(&imports(&source(
        "src/backup/mod.rs",
        "use crate::queue::enqueue;\n",
    )));
    only(&imports(&source(
        "workers/backup.rs",
        "use kanbu_backup::{backup, pg::Cluster};\n",
    )));
}

#[test]
fn comments_and_unit_tests_may_name_anything() {
    let text = "/// See crate::queue::Crew.\nuse crate::id::JobId;\n\n#[cfg(test)]\nmod tests {\n    use crate::testing::x;\n}\n";
    assert!(imports(&source("src/job/mod.rs", text)).is_empty());
    assert!(imports(&source("src/job/tests.rs", "use crate::testing::x;\n")).is_empty());
}

#[test]
fn a_crate_away_from_home_is_named() {
    let said = only(&homes(&source(
        "src/backup/mod.rs",
        "use crate::id;\nuse object_store::path::Path;\n",
    )));
    assert!(
        said.contains(":2:") && said.contains("at home in src/storage/"),
        "{said}"
    );
    assert!(
        homes(&source(
            "src/backup/mod.rs",
            "let x = self.tar::<u8>(my_tar::y());\n"
        ))
        .is_empty()
    );
}

#[test]
fn missing_charters_debts_and_overlong_files_are_named() {
    only(&charter(&source("src/job/mod.rs", "use x;\n")));
    only(&debts(&source(
        "src/job/mod.rs",
        concat!("// TO", "DO later\n"),
    )));
    only(&budget(&source("workers/main.rs", &"x();\n".repeat(81))));
    assert!(budget(&source("workers/main.rs", &"x();\n".repeat(80))).is_empty());
}

#[test]
fn a_guarantee_without_its_test_is_named() {
    let tests = |path: &str| (path == "tests/it.rs").then(|| "fn it_holds() {}".to_owned());
    let page = |text| source("README.md", text);
    assert!(promises(&page("## Guarantees\n- [x](tests/it.rs#it_holds)\n"), tests).is_empty());
    only(&promises(&page("## Guarantees\n- just words\n"), tests));
    only(&promises(
        &page("see [x](tests/it.rs#it_does_not)\n"),
        tests,
    ));
    only(&promises(&page("see [x](docs/NOWHERE.md)\n"), tests));
}

#[test]
fn a_guarded_package_under_a_stranger_is_named() {
    let lock = "[[package]]\nname = \"kanbu-backup-workers\"\ndependencies = [\n \"serde\",\n \"sqlx 0.9.0\",\n]\n";
    assert!(only(&bans(lock)).contains("`kanbu-backup-workers` depends on `sqlx`"));
}
