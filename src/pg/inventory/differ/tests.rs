//! Every kind of difference between two inventories, one at a time: whether it is told, with which weight and words.

use chrono::DateTime;

use super::{super::Extension, *};

/// A database with one of everything.
fn inventory() -> Inventory {
    let object = |kind: &str, name: &str| ObjectPrint {
        kind: kind.to_owned(),
        schema: "public".to_owned(),
        name: name.to_owned(),
        print: "one".to_owned(),
    };
    Inventory {
        taken_at: DateTime::UNIX_EPOCH,
        server_version_num: 150_018,
        encoding: "UTF8".to_owned(),
        collation: "C".to_owned(),
        ctype: "C".to_owned(),
        large_objects: 2,
        fold: Fold::None,
        extensions: vec![Extension {
            name: "pg_trgm".to_owned(),
            version: "1.9".to_owned(),
            needed: false,
        }],
        kanbu: None,
        tables: vec![TableRows {
            schema: "public".to_owned(),
            table: "card".to_owned(),
            rows: 300,
            exact: true,
            bytes: 8192,
        }],
        sequences: vec![SequenceValue {
            schema: "public".to_owned(),
            sequence: "numbers".to_owned(),
            last_value: 42,
            is_called: true,
            moved_to: None,
        }],
        objects: vec![
            object("columns", "public.card"),
            object("comment", "schema public"),
            object("database owner", ""),
            object("database setting", "work_mem"),
            object("grants", "table public.card"),
            object("index", "public.card_idx"),
            object("owner", "table public.card"),
            object("table", "public.card"),
        ],
        installable: vec!["pg_trgm".to_owned()],
    }
}

fn object<'a>(inventory: &'a mut Inventory, kind: &str) -> &'a mut ObjectPrint {
    let mut objects = inventory.objects.iter_mut();
    objects.find(|object| object.kind == kind).unwrap()
}

/// What becomes of an expected inventory and of a found one, and how that is told: nothing, or weight, code and text.
type Case = (
    fn(&mut Inventory, &mut Inventory),
    Option<(Weight, &'static str, &'static str)>,
);

fn told(expected: &Inventory, found: &Inventory) -> Vec<(Weight, &'static str, String)> {
    let differences = expected.differences(found).into_iter();
    differences.map(|d| (d.weight, d.code, d.text)).collect()
}

fn hold(cases: &[Case]) {
    for (number, (change, text)) in cases.iter().enumerate() {
        let (mut expected, mut found) = (inventory(), inventory());
        change(&mut expected, &mut found);
        let wanted = text.map(|(weight, code, text)| (weight, code, text.to_owned()));
        let wanted: Vec<_> = wanted.into_iter().collect();
        assert_eq!(told(&expected, &found), wanted, "case {number}");
    }
}

use Weight::{Real, Tolerable};

const ROWS_AND_SEQUENCES: &[Case] = &[
    (|_, _| {}, None),
    (
        |_, found| found.tables[0].rows = 299,
        Some((
            Real,
            "content.rows",
            "table public.card has 299 rows instead of 300",
        )),
    ),
    (
        |_, found| found.tables[0].rows = 301,
        Some((
            Real,
            "content.rows",
            "table public.card has 301 rows instead of 300",
        )),
    ),
    // That it is missing is told among the objects.
    (|_, found| found.tables.clear(), None),
    // An estimate is right to a tenth.
    (
        |expected, found| {
            expected.tables[0].exact = false;
            found.tables[0].rows = 280;
        },
        None,
    ),
    (
        |expected, found| {
            expected.tables[0].exact = false;
            found.tables[0].rows = 200;
        },
        Some((
            Tolerable,
            "content.rows_estimated",
            "table public.card has 200 rows; 300 were only estimated",
        )),
    ),
    (
        |_, found| found.tables[0].exact = false,
        Some((
            Tolerable,
            "content.rows_estimated",
            "table public.card should have 300 rows and was not counted",
        )),
    ),
    (
        |_, found| found.sequences[0].last_value = 41,
        Some((
            Real,
            "content.sequence",
            "sequence public.numbers stands at 41 instead of 42",
        )),
    ),
    (
        |_, found| found.sequences[0].is_called = false,
        Some((
            Real,
            "content.sequence",
            "sequence public.numbers stands at 42 instead of 42",
        )),
    ),
    // It moved while the dump ran: any value on the way is right, in either direction, and none beyond.
    (
        |expected, found| {
            expected.sequences[0].moved_to = Some(50);
            found.sequences[0].last_value = 50;
        },
        None,
    ),
    (
        |expected, found| {
            expected.sequences[0].moved_to = Some(30);
            found.sequences[0].last_value = 35;
        },
        None,
    ),
    (
        |expected, found| {
            expected.sequences[0].moved_to = Some(50);
            found.sequences[0].last_value = 51;
        },
        Some((
            Real,
            "content.sequence",
            "sequence public.numbers stands at 51 instead of 42",
        )),
    ),
];

#[test]
fn rows_and_sequences_are_compared_as_exactly_as_they_are_known() {
    hold(ROWS_AND_SEQUENCES);
}

const OBJECTS: &[Case] = &[
    (
        |_, found| object(found, "index").print = "two".to_owned(),
        Some((
            Real,
            "content.object_differs",
            "index public.card_idx differs",
        )),
    ),
    (
        |_, found| found.objects.retain(|object| object.kind != "index"),
        Some((
            Real,
            "content.object_missing",
            "index public.card_idx is missing",
        )),
    ),
    (
        |expected, _| expected.objects.retain(|object| object.kind != "index"),
        Some((
            Real,
            "content.object_unexpected",
            "index public.card_idx was not there before",
        )),
    ),
    (
        |_, found| object(found, "columns").print = "two".to_owned(),
        Some((
            Real,
            "content.object_differs",
            "the set of columns of public.card differs",
        )),
    ),
    (
        |_, found| object(found, "owner").print = "two".to_owned(),
        Some((
            Real,
            "content.object_differs",
            "the owner of table public.card differs",
        )),
    ),
    (
        |_, found| object(found, "grants").print = "two".to_owned(),
        Some((
            Real,
            "content.object_differs",
            "the set of grants of table public.card differs",
        )),
    ),
    (
        |_, found| object(found, "database setting").print = "two".to_owned(),
        Some((
            Tolerable,
            "content.object_differs",
            "database setting work_mem differs",
        )),
    ),
    (
        |_, found| object(found, "database owner").print = "two".to_owned(),
        Some((
            Tolerable,
            "content.object_differs",
            "the owner of the database differs",
        )),
    ),
    (
        |_, found| found.objects.retain(|object| object.kind != "comment"),
        Some((
            Tolerable,
            "content.object_missing",
            "the comment of schema public is missing",
        )),
    ),
    (
        |_, found| found.large_objects = 1,
        Some((
            Real,
            "content.large_objects",
            "there are 1 large objects instead of 2",
        )),
    ),
    (
        |_, found| found.collation = "de_DE".to_owned(),
        Some((
            Tolerable,
            "content.locale",
            "the database's collation is de_DE instead of C",
        )),
    ),
    (
        |_, found| found.encoding = "LATIN1".to_owned(),
        Some((
            Tolerable,
            "content.locale",
            "the database's encoding is LATIN1 instead of UTF8",
        )),
    ),
    (|_, found| found.tables[0].bytes = 0, None),
    (
        |_, found| found.taken_at = DateTime::from_timestamp(9, 0).unwrap(),
        None,
    ),
];

#[test]
fn an_object_that_is_missing_new_or_different_is_named_and_what_no_dump_holds_is_tolerable() {
    hold(OBJECTS);
}

const EXTENSIONS: &[Case] = &[
    (
        |_, found| found.extensions[0].version = "1.10".to_owned(),
        Some((
            Tolerable,
            "content.extension_version",
            "extension pg_trgm has version 1.10 instead of 1.9",
        )),
    ),
    (
        |_, found| found.extensions[0].version = "1.8".to_owned(),
        Some((
            Real,
            "content.extension_version",
            "extension pg_trgm has version 1.8 instead of 1.9",
        )),
    ),
    // The server could have installed it, so it was lost.
    (
        |_, found| found.extensions.clear(),
        Some((
            Real,
            "content.extension_missing",
            "extension pg_trgm is missing",
        )),
    ),
    (
        |_, found| {
            found.extensions.clear();
            found.installable.clear();
        },
        Some((
            Tolerable,
            "content.extension_missing",
            "extension pg_trgm is missing",
        )),
    ),
    (
        |expected, found| {
            expected.extensions[0].needed = true;
            found.extensions.clear();
            found.installable.clear();
        },
        Some((
            Real,
            "content.extension_missing",
            "extension pg_trgm is missing",
        )),
    ),
];

#[test]
fn an_extension_may_be_newer_and_may_be_missing_where_nobody_needs_it_and_nobody_can_install_it() {
    hold(EXTENSIONS);
}

const VERSIONS: &[Case] = &[
    (
        |_, found| {
            found.server_version_num = 170_010;
            object(found, "index").print = "two".to_owned();
        },
        None,
    ),
    (
        |_, found| {
            found.server_version_num = 170_010;
            found.objects.retain(|object| object.kind != "index");
        },
        Some((
            Real,
            "content.object_missing",
            "index public.card_idx is missing",
        )),
    ),
    (
        |expected, found| {
            found.server_version_num = 170_010;
            expected.objects.retain(|object| object.kind != "index");
        },
        Some((
            Tolerable,
            "content.object_unexpected",
            "index public.card_idx was not there before",
        )),
    ),
    (
        |_, found| {
            found.server_version_num = 170_010;
            found.tables[0].rows = 1;
        },
        Some((
            Real,
            "content.rows",
            "table public.card has 1 rows instead of 300",
        )),
    ),
];

#[test]
fn between_two_versions_names_are_compared_and_definitions_are_not() {
    hold(VERSIONS);
}

#[test]
fn owners_and_grants_that_were_left_out_are_tolerable_and_nothing_else_is() {
    let expected = inventory();
    let mut found = inventory();
    for kind in ["owner", "grants", "index"] {
        object(&mut found, kind).print = "two".to_owned();
    }
    let weights: Vec<_> = expected
        .differences_without_owners(&found)
        .into_iter()
        .map(|difference| (difference.text, difference.weight))
        .collect();
    let owner = "the owner of table public.card differs".to_owned();
    let grants = "the set of grants of table public.card differs".to_owned();
    let index = "index public.card_idx differs".to_owned();
    assert_eq!(weights.len(), 3, "{weights:?}");
    for wanted in [(owner, Tolerable), (grants, Tolerable), (index, Real)] {
        assert!(weights.contains(&wanted), "{weights:?}");
    }
}
