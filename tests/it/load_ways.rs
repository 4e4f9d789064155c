//! Loading parts of an archive, and loading it by several sessions at once.

use std::{fs, num::NonZeroU8, path::Path};

use kanbu_backup::{
    fault::{Classified, Failure, Fault},
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        dump::{DumpFormat, Route},
        facts::Shape,
        restore::{
            self as pg, LoadOptions, LoadReport, NotThere, Parallel, Selection, Spool, SpoolError,
            Toc, UseList, load_parallel, table_checksums,
        },
    },
    pipeline::{Feed, Message},
    testing::TestServer,
};
use tokio_util::sync::CancellationToken;

use crate::protected::{
    OBJECTS, assert_same, database, dumped, execute, feed_of, loaded, new_database, tools,
};

const THREE: NonZeroU8 = NonZeroU8::new(3).unwrap();

fn options(execution: ExecutionId, list: Option<&UseList>) -> LoadOptions<'_> {
    LoadOptions {
        format: DumpFormat::Custom,
        no_owner: false,
        execution,
        list,
    }
}

async fn archive(cluster: &Cluster) -> Vec<u8> {
    let route = Route::Direct(tools().await);
    dumped(&route, cluster, DumpFormat::Custom).await.0
}

fn selection(tables: &[&str], schemas: &[&str]) -> Selection {
    Selection {
        tables: tables.iter().map(|name| name.parse().unwrap()).collect(),
        schemas: schemas.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// A new database with what was chosen in it, and what was left out.
async fn select(
    cluster: &Cluster,
    archive: &[u8],
    selection: &Selection,
) -> (Cluster, Vec<String>) {
    let feed = feed_of(archive.to_vec(), Message::End);
    let toc = Toc::read(&tools().await, feed).await.unwrap();
    let choice = selection.choose(&toc).unwrap();
    let list = UseList::new(&choice.entries).unwrap();
    let execution = ExecutionId::new();
    let copy = new_database(cluster, &Shape::default(), execution).await;
    let feed = feed_of(archive.to_vec(), Message::End);
    loaded(&copy, options(execution, Some(&list)), feed)
        .await
        .unwrap();
    (copy, choice.left_out)
}

async fn in_parallel(
    cluster: &Cluster,
    execution: ExecutionId,
    feed: Feed,
    directory: &Path,
    only: Option<&[u32]>,
) -> Result<LoadReport, Failure> {
    let parallel = Parallel {
        feed,
        spool: Spool::new(directory, execution)?,
        jobs: THREE,
        only,
        sizes: &[("board_members".parse().unwrap(), 1_000_000)],
    };
    // Nobody can open what lies there, from the first byte on.
    assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
    load_parallel(
        &tools().await,
        cluster,
        cluster.database(),
        options(execution, None),
        parallel,
        &CancellationToken::new(),
    )
    .await
}

async fn rows_of(cluster: &Cluster) -> Vec<(String, u64, String)> {
    let tables = table_checksums(cluster, cluster.database()).await.unwrap();
    let told = tables.into_iter();
    told.map(|t| (format!("{}.{}", t.schema, t.table), t.rows, t.checksum))
        .collect()
}

#[tokio::test]
async fn chosen_tables_come_with_their_rows_and_all_that_belongs_to_them() {
    let server = TestServer::shared().await;
    let (_database, cluster) = database(server, OBJECTS).await;
    let archive = archive(&cluster).await;
    let all = rows_of(&cluster).await;
    let wanted = selection(&["wiki_pages", r#""Odd ""schema"""."select""#], &[]);
    let (copy, left_out) = select(&cluster, &archive, &wanted).await;
    let chosen = ["Odd \"schema\".select", "public.wiki_pages"];
    let expected: Vec<_> = all
        .iter()
        .filter(|t| chosen.contains(&t.0.as_str()))
        .cloned()
        .collect();
    assert_eq!(expected.len(), 2, "{all:?}");
    assert_eq!(rows_of(&copy).await, expected);
    assert_eq!(
        left_out,
        [
            "fk constraint public.wiki_pages wiki_pages_author_id_fkey is left out: it needs public.users, which was not asked for"
        ]
    );
    // The trigger fills the search vector, the identity goes on, the index and the domain are there.
    execute(
        &copy,
        "insert into wiki_pages (author_id, slug, title, content) values (1, 'new', 'New', 'page');
         do $$ begin
             assert (select search_vector is not null and id = 4001 from wiki_pages where slug = 'new');
             assert to_regclass('wiki_pages_search_idx') is not null and to_regtype('slug') is not null;
             assert to_regclass('users') is null and to_regclass('authors') is null;
         end $$",
    )
    .await;
}

#[tokio::test]
async fn a_chosen_partition_comes_with_its_parent_and_without_its_sisters() {
    let server = TestServer::shared().await;
    let (_database, cluster) = database(server, OBJECTS).await;
    let archive = archive(&cluster).await;
    let (copy, left_out) = select(&cluster, &archive, &selection(&["events_2025"], &[])).await;
    let tables = rows_of(&copy).await;
    let names: Vec<_> = tables.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!((names, left_out.len()), (vec!["public.events_2025"], 0));
    let (copy, _) = select(&cluster, &archive, &selection(&[], &["public"])).await;
    let mut all = rows_of(&cluster).await;
    all.retain(|(name, ..)| name.starts_with("public."));
    assert_eq!(rows_of(&copy).await, all);
}

#[tokio::test]
async fn what_the_archive_does_not_have_is_named_before_anything_is_created() {
    let server = TestServer::shared().await;
    let (_database, cluster) = database(server, OBJECTS).await;
    let feed = feed_of(archive(&cluster).await, Message::End);
    let toc = Toc::read(&tools().await, feed).await.unwrap();
    let missing = selection(&["wiki_page"], &[]).choose(&toc).unwrap_err();
    assert_eq!(missing, NotThere::Table("public.wiki_page".to_owned()));
    let damaged = feed_of(b"PGDMPnothing".to_vec(), Message::End);
    let refused = Toc::read(&tools().await, damaged).await.unwrap_err();
    assert!(refused.message.contains("pg_restore"), "{refused}");
    let cut = feed_of(Vec::new(), Message::Fail(Failure::cancelled()));
    assert_eq!(
        Toc::read(&tools().await, cut).await.unwrap_err().fault,
        Fault::Cancelled
    );
}

#[tokio::test]
async fn several_sessions_bring_every_object_back_from_a_file_that_nobody_can_open() {
    let server = TestServer::shared().await;
    let (_database, cluster) = database(server, OBJECTS).await;
    let archive = archive(&cluster).await;
    let bytes = archive.len() as u64;
    let directory = tempfile::tempdir().unwrap();
    let execution = ExecutionId::new();
    let shape = cluster.facts().await.unwrap().shape;
    let copy = new_database(&cluster, &shape, execution).await;
    let feed = feed_of(archive, Message::End);
    let loaded = in_parallel(&copy, execution, feed, directory.path(), None).await;
    assert_eq!(loaded.unwrap().bytes, bytes);
    assert_same(&cluster, &copy).await;
}

#[tokio::test]
async fn several_sessions_bring_chosen_tables_back() {
    let server = TestServer::shared().await;
    let (_database, cluster) = database(server, OBJECTS).await;
    let archive = archive(&cluster).await;
    let feed = feed_of(archive.clone(), Message::End);
    let toc = Toc::read(&tools().await, feed).await.unwrap();
    let wanted = selection(&["wiki_pages", "users"], &[]);
    let choice = wanted.choose(&toc).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let execution = ExecutionId::new();
    let copy = new_database(&cluster, &Shape::default(), execution).await;
    let (feed, only) = (feed_of(archive, Message::End), Some(&*choice.entries));
    in_parallel(&copy, execution, feed, directory.path(), only)
        .await
        .unwrap();
    let mut all = rows_of(&cluster).await;
    all.retain(|(name, ..)| ["public.wiki_pages", "public.users"].contains(&name.as_str()));
    assert_eq!((all.len(), rows_of(&copy).await), (2, all));
}

#[tokio::test]
async fn what_speaks_against_a_parallel_load_is_said_as_it_is() {
    let server = TestServer::shared().await;
    let (_database, cluster) = database(server, OBJECTS).await;
    let archive = archive(&cluster).await;
    let directory = tempfile::tempdir().unwrap();
    let half = archive[..archive.len() / 2].to_vec();
    let vanished = Failure::new(Fault::Transient, "storage.gone", "the storage is gone");
    let cases = [
        (
            archive.clone(),
            Message::End,
            "create table users ()",
            "restore.load_failed",
        ),
        (half.clone(), Message::Fail(vanished), "", "storage.gone"),
        (half, Message::End, "", "restore.load_failed"),
        (Vec::new(), Message::End, "", "database.dump_incomplete"),
        (
            archive,
            Message::Fail(Failure::cancelled()),
            "",
            "execution.cancelled",
        ),
    ];
    for (bytes, end, obstacle, code) in cases {
        let execution = ExecutionId::new();
        let copy = new_database(&cluster, &Shape::default(), execution).await;
        execute(&copy, obstacle).await;
        let feed = feed_of(bytes, end);
        let refused = in_parallel(&copy, execution, feed, directory.path(), None).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
        // Whoever loaded has ended.
        pg::drop_database(&copy, copy.database(), execution)
            .await
            .unwrap();
    }
}

#[test]
fn a_dump_that_has_no_room_is_never_spooled() {
    let directory = tempfile::tempdir().unwrap();
    Spool::require_room(directory.path(), 1).unwrap();
    let refused = Spool::require_room(directory.path(), u64::MAX).unwrap_err();
    assert!(matches!(refused, SpoolError::NoRoom { .. }), "{refused}");
    assert_eq!(refused.code(), "restore.no_room");
}
