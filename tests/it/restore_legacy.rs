//! Dumps that others made, Kanbu's before all, go the same way; and what is in a dump's text that the server or its tools
//! don't know is told in plain words.

use std::{fs, path::PathBuf, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use kanbu_backup::{
    backup::Format,
    execution::Lease,
    fault::Fault,
    pg::dump::{DumpFormat, Route},
    testing::TestServer,
};

use crate::{
    fault_world::{Stage, Way, content},
    protected::{dumped, execute, tools},
};

const TO_A_DATABASE: [Way; 2] = [Way::Beside, Way::Replace];

/// The stage's database as plain SQL, as it was when it was backed up.
async fn sql(stage: &Stage) -> String {
    let route = Route::Direct(tools().await);
    let (bytes, _) = dumped(&route, &stage.world.cluster, DumpFormat::Plain).await;
    String::from_utf8(bytes).unwrap()
}

fn file(stage: &Stage, name: &str, bytes: &[u8]) -> PathBuf {
    let path = stage.world.place(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kanbus_three_forms_are_restored_beside_and_in_place_of_the_live_database() {
    let server = TestServer::start(&[]).await;
    let mut stage = Stage::new(&server, "", Format::Kanbu).await;
    let sql = sql(&stage).await;
    let sealed = fs::read(stage.world.object("one", &stage.artifact)).unwrap();
    let live = content(&stage.world.cluster).await;
    for (name, bytes, holds) in [
        (
            "kanbu_backup_2026-01-18T10-30-00.sql",
            sql.clone().into_bytes(),
            &live,
        ),
        (
            "kanbu_backup_2026-01-18T10-30-00.sql.gz",
            gzip(sql.as_bytes()),
            &live,
        ),
        (
            "kanbu_backup_2026-01-18T10-30-00.sql.gz.enc",
            sealed,
            &stage.backed_up.clone(),
        ),
    ] {
        stage.file = Some(file(&stage, name, &bytes));
        for way in TO_A_DATABASE {
            let lease = Arc::new(Lease::unattended());
            let effects = stage.restored(way, &lease).await.unwrap();
            let restored = effects.result["database"].as_str().unwrap();
            let restored = stage.world.cluster.with_database(restored);
            assert_eq!(&content(&restored).await, holds, "{name} {way:?}");
            // Nobody wrote down what it must hold, and that is said.
            let codes: Vec<_> = effects.warnings.iter().map(|w| w.code.as_str()).collect();
            assert!(codes.contains(&"restore.not_compared"), "{name}: {codes:?}");
            match way {
                Way::Replace => stage.rolled_back(lease.execution()).await,
                _ => stage.world.drop_database(restored.database()).await,
            }
            stage.assert_unharmed(name).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_text_names_that_is_not_there_is_told_in_plain_words_and_harms_nothing() {
    let server = TestServer::start(&[]).await;
    let mut stage = Stage::new(&server, "", Format::Kanbu).await;
    let sql = sql(&stage).await;
    let owned = sql.replace("OWNER TO kanbu_backup", "OWNER TO nobody_here");
    let granted = sql.replace(
        "-- PostgreSQL database dump complete",
        "GRANT SELECT ON TABLE public.people TO nobody_here;\n\n--\n-- PostgreSQL database dump complete",
    );
    // What a psql says that is older than the word.
    let restricted = sql
        .lines()
        .map(|line| line.replace("\\restrict ", "\\restrictx "))
        .collect::<Vec<_>>()
        .join("\n");
    for (what, text, code, words, hint) in [
        (
            "owner",
            &owned,
            "restore.role_missing",
            "a role that the server does not have",
            "create the role \"nobody_here\"",
        ),
        (
            "grant",
            &granted,
            "restore.role_missing",
            "a role that the server does not have",
            "create the role \"nobody_here\"",
        ),
        (
            "restrict",
            &restricted,
            "tools.client_too_old",
            "is too old for the dump",
            "update the PostgreSQL client tools",
        ),
    ] {
        assert_ne!(text, &sql, "{what}");
        stage.file = Some(file(&stage, &format!("{what}.sql"), text.as_bytes()));
        for way in TO_A_DATABASE {
            let failure = stage.failed(way).await;
            let what = format!("{what} {way:?}: {failure}");
            assert_eq!(
                (&*failure.code, failure.fault),
                (code, Fault::Permanent),
                "{what}"
            );
            assert!(failure.message.contains(words), "{what}");
            assert!(
                failure.hint.as_ref().unwrap().contains(hint),
                "{what}: {:?}",
                failure.hint
            );
            stage.assert_unharmed(&what).await;
        }
    }
    // The same words by a psql that knows them.
    assert!(sql.contains("\\restrict "), "pg_dump writes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_whose_owner_is_gone_says_so_and_is_restored_without_owners() {
    let server = TestServer::start(&[]).await;
    let owner =
        "create role gone; alter table people owner to gone; grant select on people to gone";
    let mut stage = Stage::new(&server, owner, Format::Native).await;
    execute(
        &stage.world.cluster,
        "reassign owned by gone to current_user; drop owned by gone; drop role gone",
    )
    .await;
    stage.remember().await;
    for way in TO_A_DATABASE {
        stage.no_owner = false;
        let failure = stage.failed(way).await;
        let what = format!("{way:?}: {failure}");
        assert_eq!(
            (&*failure.code, failure.fault),
            ("restore.role_missing", Fault::Permanent),
            "{what}"
        );
        let hint = failure.hint.as_ref().unwrap();
        assert!(
            hint.contains("\"gone\"") && hint.contains("--no-owner"),
            "{hint}"
        );
        stage.assert_unharmed(&what).await;

        stage.no_owner = true;
        let lease = Arc::new(Lease::unattended());
        let effects = stage.restored(way, &lease).await.unwrap();
        let restored = effects.result["database"].as_str().unwrap();
        let restored = stage.world.cluster.with_database(restored);
        assert_eq!(content(&restored).await, stage.backed_up, "{way:?}");
        let told = effects
            .warnings
            .iter()
            .any(|w| w.text.contains("the owner of table public.people"));
        assert!(told, "{:?}", effects.warnings);
        match way {
            Way::Replace => stage.rolled_back(lease.execution()).await,
            _ => stage.world.drop_database(restored.database()).await,
        }
        stage.assert_unharmed("without owners").await;
    }
}

/// A private server lacks the tablespaces of the protected one; where a table lay says nothing about what is in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_in_a_tablespace_of_its_own_is_proven_on_a_private_server() {
    let server = TestServer::start(&[("allow_in_place_tablespaces", "on")]).await;
    for format in [Format::Native, Format::Kanbu] {
        let admin = kanbu_backup::pg::cluster::Cluster::from_url(&server.url()).unwrap();
        let name = format!("fast_{format:?}").to_lowercase();
        execute(&admin, &format!("create tablespace {name} location ''")).await;
        let lies = format!(
            "create table there tablespace {name} as select 1 as n; create index on there (n) tablespace {name}"
        );
        let stage = Stage::new(&server, &lies, format).await;
        for way in crate::fault_world::EVERY_WAY {
            if matches!(way, Way::Test(_)) {
                let lease = Arc::new(Lease::unattended());
                stage.restored(way, &lease).await.unwrap();
                stage.assert_unharmed("a tablespace").await;
            }
        }
    }
}
