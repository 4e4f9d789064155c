//! The rules: each a table, and a function from a file to the offences in it.

use std::path::Path;

use super::source::{Offence, Source, continues_a_word};

/// The library's modules from the ground up. A module imports from the rows above its own, never from its own row.
const ORDER: &[&[&str]] = &[
    &["id", "clock", "fault", "bytes"],
    &["retention"],
    &["job"],
    &["crypto"],
    &["storage"],
    &["pipeline"],
    &["archive", "pg"],
    &["control"],
    &["catalog"],
    &["execution"],
    &["queue"],
    &["schedule"],
    &["backup", "restore", "prune", "import", "notify"],
    &["verify"],
    &["kanbu"],
    &["config"],
    &["testing"],
];

/// What the order alone would allow, and why it isn't.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "src/backup/ src/restore/ src/verify/ src/prune/ src/import/ src/notify/",
        &["queue"],
        "a use case never claims, renews or enqueues: it returns what follows as an effect",
    ),
    (
        "src/kanbu/ src/config/",
        &["backup", "restore", "verify", "prune"],
        "the edges know settings and names; wiring hands them to the use cases",
    ),
    (
        "workers/backup.rs workers/restore.rs workers/verify.rs workers/prune.rs workers/notify.rs",
        &["crypto", "pipeline", "archive", "pg", "queue", "kanbu"],
        "a handler unpacks the payload and calls its use case; mechanisms meet in wiring.rs and verbs/",
    ),
    (
        "workers/dispatch.rs",
        &[
            "crypto", "storage", "pipeline", "archive", "pg", "control", "catalog", "kanbu",
        ],
        "dispatch is one exhaustive match from a job to its handler",
    ),
];

/// External crates and the only places that may name them; an empty list means nowhere.
const HOMES: &[(&str, &str)] = &[
    ("object_store", "src/storage/"),
    ("reqwest", "src/storage/ src/notify/poster.rs"),
    ("lettre", "src/notify/email.rs"),
    ("http", "src/storage/"),
    ("http_body", "src/storage/wire.rs"),
    ("quick_xml", "src/storage/"),
    ("ring", "src/storage/gdrive/"),
    ("rustls", "src/storage/ src/notify/poster.rs"),
    (
        "bollard",
        "src/pg/docker src/pg/dump/container.rs src/pg/error.rs",
    ),
    (
        "sqlx",
        "src/control/ src/catalog/ src/execution/ src/queue/ src/schedule/ src/pg/ src/kanbu/ src/testing",
    ),
    (
        "apalis",
        "src/queue/apalis.rs src/queue/crew workers/roles/",
    ),
    (
        "apalis_core",
        "src/queue/apalis.rs src/queue/crew workers/roles/",
    ),
    (
        "apalis_codec",
        "src/queue/apalis.rs src/queue/crew workers/roles/",
    ),
    ("croner", "src/schedule/cron.rs"),
    ("aes", "src/crypto/"),
    ("aes_gcm", "src/crypto/"),
    ("ctr", "src/crypto/"),
    ("ghash", "src/crypto/"),
    ("hkdf", "src/crypto/"),
    ("hmac", "src/crypto/ src/kanbu/webhook.rs"),
    ("pbkdf2", "src/crypto/"),
    ("subtle", "src/crypto/"),
    ("zstd", "src/pipeline/"),
    ("flate2", "src/pipeline/"),
    ("tar", "src/archive/ src/testing"),
    ("walkdir", "src/archive/ src/testing"),
    ("anyhow", "workers/main.rs workers/verbs/"),
];

/// Packages that only these packages may depend on, in the lock file and so in fact.
const WRAPPERS: &[(&str, &[&str])] = &[
    // The fault suite compares rows, and its producers are somebody else's program.
    ("sqlx", &["kanbu-backup", "kanbu-backup-faults"]),
    ("object_store", &["kanbu-backup"]),
    ("bollard", &["kanbu-backup"]),
    ("aes-gcm", &["kanbu-backup"]),
    ("reqwest", &["kanbu-backup", "object_store"]),
    ("lettre", &["kanbu-backup"]),
    ("aws-lc-rs", &[]),
    ("openssl-sys", &[]),
];

/// Lines without tests: a file, by the longest path that fits.
const BUDGETS: &[(&str, usize)] = &[
    ("src/", 400),
    ("workers/", 400),
    ("workers/main.rs", 80),
    ("workers/backup.rs", 120),
    ("workers/restore.rs", 120),
    ("workers/verify.rs", 120),
    ("workers/prune.rs", 120),
    ("workers/notify.rs", 120),
];

pub(crate) fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|row| row.contains(&module))
}

pub(crate) fn imports(source: &Source) -> Vec<Offence> {
    let own = source
        .path
        .trim_start_matches("src/")
        .split(['/', '.'])
        .next()
        .unwrap_or_default();
    let mut offences = Vec::new();
    for (line, module) in source.modules() {
        if source.path.starts_with("src/") && module != own {
            match (rank(own), rank(&module)) {
                (_, None) => {
                    offences.push(source.offence(line, format!("`{module}` has no row in ORDER")));
                }
                (Some(here), Some(there)) if there >= here => {
                    offences.push(source.offence(
                        line,
                        format!("`{own}` stands below `{module}` and may not import it"),
                    ));
                }
                _ => {}
            }
        }
        let forbidden = FORBIDDEN
            .iter()
            .filter(|(places, names, _)| source.lies_in(places) && names.contains(&&*module));
        offences.extend(
            forbidden.map(|(_, _, why)| source.offence(line, format!("no `{module}` here: {why}"))),
        );
    }
    offences
}

fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let after = &line[at + name.len()..];
        let used = line[..at].ends_with("use ") && after.starts_with([';', ' ']);
        !continues_a_word(line, at) && (after.starts_with("::") || used)
    })
}

pub(crate) fn homes(source: &Source) -> Vec<Offence> {
    let strangers = |line| {
        HOMES
            .iter()
            .filter(move |(name, places)| names_crate(line, name) && !source.lies_in(places))
    };
    let lines = source.code();
    lines
        .flat_map(|(number, line)| {
            strangers(line).map(move |(name, places)| {
                source.offence(number, format!("`{name}` is at home in {places}"))
            })
        })
        .collect()
}

pub(crate) fn charter(source: &Source) -> Vec<Offence> {
    let missing = !source.text.starts_with("//! ");
    let offence = || {
        source.offence(
            1,
            "a file opens with `//!`: what it is, what it keeps, who its neighbours are",
        )
    };
    missing.then(offence).into_iter().collect()
}

pub(crate) fn budget(source: &Source) -> Vec<Offence> {
    let limit = BUDGETS
        .iter()
        .filter(|(place, _)| source.path.starts_with(place))
        .map(|(_, limit)| *limit)
        .min();
    let lines = source.product().lines().count();
    let over = limit.filter(|limit| lines > *limit);
    over.map(|limit| {
        source.offence(
            lines,
            format!("{lines} lines without tests, {limit} are the budget"),
        )
    })
    .into_iter()
    .collect()
}

pub(crate) fn debts(source: &Source) -> Vec<Offence> {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let lines = source.text.lines().enumerate();
    let debts = lines.filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)));
    debts
        .map(|(index, _)| source.offence(index + 1, "nothing is left for later in the code"))
        .collect()
}

/// A relative link leads to a file, and a fragment on a Rust file names a function in it. Under `## Guarantees` each item
/// holds such a link.
pub(crate) fn promises(page: &Source, read: impl Fn(&str) -> Option<String>) -> Vec<Offence> {
    let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
    let mut offences = Vec::new();
    let mut guarantees = false;
    let mut fenced = false;
    for (number, line) in page
        .text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
    {
        fenced ^= line.starts_with("```");
        if fenced {
            continue;
        }
        if line.starts_with("## ") {
            guarantees = line.starts_with("## Guarantees");
        }
        let links = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(link, _)| link);
        let mut proofs = 0;
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let found = read(&folder.join(file).to_string_lossy());
            let names_test = Path::new(file)
                .extension()
                .is_some_and(|extension| extension == "rs")
                && !fragment.is_empty();
            proofs += usize::from(names_test);
            match found {
                None => offences.push(page.offence(number, format!("there is no {file}"))),
                Some(code) if names_test && !code.contains(&format!("fn {fragment}(")) => {
                    offences.push(page.offence(number, format!("{file} has no test `{fragment}`")));
                }
                Some(_) => {}
            }
        }
        if guarantees && line.starts_with("- ") && proofs == 0 {
            offences.push(page.offence(
                number,
                "a guarantee links to the test that shows it (file.rs#name_of_the_test)",
            ));
        }
    }
    offences
}

/// Who depends on whom, from the lock file: a banned package outside its wrappers.
pub(crate) fn bans(lock: &str) -> Vec<Offence> {
    let mut offences = Vec::new();
    let mut package = "";
    let mut listed = false;
    for (index, line) in lock.lines().enumerate() {
        if let Some(name) = line.strip_prefix("name = ") {
            package = name.trim_matches('"');
        }
        listed = line.starts_with("dependencies = [") || listed && line != "]";
        let needs = line
            .trim()
            .trim_matches(['"', ','])
            .split(' ')
            .next()
            .unwrap_or_default();
        let ban = WRAPPERS
            .iter()
            .find(|(name, wrappers)| listed && *name == needs && !wrappers.contains(&package));
        if let Some((name, wrappers)) = ban {
            let rule = format!("`{package}` depends on `{name}`, which only {wrappers:?} may");
            offences.push(Offence {
                path: "Cargo.lock".into(),
                line: index + 1,
                text: line.into(),
                rule,
            });
        }
    }
    offences
}
