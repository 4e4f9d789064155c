//! A protected database for the tests: objects of every kind, and what it takes to dump, load and compare one.

use kanbu_backup::{
    fault::Failure,
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        dump::{DumpFormat, DumpReport, Route, dump},
        facts::Shape,
        restore::{LoadOptions, LoadReport, create_database, load, table_checksums},
        tools::Toolset,
    },
    pipeline::{CHUNK_BYTES, Feed, Message, feed},
    testing::{TestDatabase, TestServer, toolsets},
};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

/// The objects that a dump has to carry.
pub(crate) const OBJECTS: &str = include_str!("../support/protected.sql");

/// More than all buffers between a server and a reader hold, so that a dump of it waits for its reader.
pub(crate) const BULK: &str = "create table bulk as select n, repeat(md5(n::text), 32) as text from generate_series(1, 20000) as n";

/// The client tools of this host.
pub(crate) async fn tools() -> Toolset {
    let mut found = toolsets().await;
    found.retain(|toolset| toolset.has_client);
    found
        .into_iter()
        .next()
        .expect("PostgreSQL's client tools are installed")
}

/// A database on the server, with the result of these statements in it.
pub(crate) async fn database(server: &TestServer, statements: &str) -> (TestDatabase, Cluster) {
    let database = server.database("protected").await;
    let cluster = Cluster::from_url(&database.url).unwrap();
    execute(&cluster, statements).await;
    (database, cluster)
}

pub(crate) async fn execute(cluster: &Cluster, statements: &str) {
    let mut connection = cluster.connect(None).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// Everything that a feed gives, and how it ends.
pub(crate) async fn drain(feed: &mut Feed) -> (Vec<u8>, Result<(), Failure>) {
    let mut bytes = Vec::new();
    loop {
        match feed.next().await {
            Message::Data(data) => {
                assert!(data.len() <= CHUNK_BYTES, "a chunk of {} bytes", data.len());
                bytes.extend_from_slice(&data);
            }
            Message::End => return (bytes, Ok(())),
            Message::Fail(failure) => return (bytes, Err(failure)),
        }
    }
}

/// A feed of these bytes that ends as told.
pub(crate) fn feed_of(bytes: Vec<u8>, end: Message) -> Feed {
    let (sender, feed) = feed();
    tokio::spawn(async move {
        for chunk in bytes.chunks(CHUNK_BYTES) {
            if sender
                .send(Message::Data(bytes::Bytes::copy_from_slice(chunk)))
                .await
                .is_err()
            {
                return;
            }
        }
        let _ = sender.send(end).await;
    });
    feed
}

/// A whole dump.
pub(crate) async fn dumped(
    route: &Route,
    cluster: &Cluster,
    format: DumpFormat,
) -> (Vec<u8>, DumpReport) {
    let (mut feed, handle) = dump(
        route,
        cluster,
        format,
        ExecutionId::new(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let (bytes, end) = drain(&mut feed).await;
    end.unwrap();
    let report = handle.report().await.unwrap();
    assert_eq!(report.bytes, bytes.len() as u64);
    (bytes, report)
}

/// A new database on the cluster's server, not filled yet.
pub(crate) async fn new_database(
    cluster: &Cluster,
    shape: &Shape,
    execution: ExecutionId,
) -> Cluster {
    let name = format!("kanbu_restore_{}", execution.short());
    let differences = create_database(cluster, &name, shape, execution)
        .await
        .unwrap();
    assert!(differences.is_empty(), "{differences:?}");
    cluster.with_database(&name)
}

/// Loads a feed into the cluster's database.
pub(crate) async fn loaded(
    cluster: &Cluster,
    options: LoadOptions<'_>,
    feed: Feed,
) -> Result<LoadReport, Failure> {
    load(
        &tools().await,
        cluster,
        cluster.database(),
        options,
        feed,
        CancellationToken::new(),
    )
    .await
}

/// Both databases hold the same: rows, large objects, sequences, and the definition of every object.
pub(crate) async fn assert_same(left: &Cluster, right: &Cluster) {
    let left_rows = table_checksums(left, left.database()).await.unwrap();
    let right_rows = table_checksums(right, right.database()).await.unwrap();
    assert!(
        left_rows.iter().map(|table| table.rows).sum::<u64>() > 4000,
        "{left_rows:?}"
    );
    assert_eq!(left_rows, right_rows);
    let (left_objects, right_objects) = (definitions(left).await, definitions(right).await);
    assert!(left_objects.len() > 40, "{left_objects:#?}");
    assert_eq!(left_objects, right_objects);
}

async fn definitions(cluster: &Cluster) -> Vec<String> {
    let mut connection = cluster.connect(None).await.unwrap();
    sqlx::query_scalar(include_str!("../support/definitions.sql"))
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

/// How many sessions of this execution the server sees.
pub(crate) async fn sessions_of(connection: &mut PgConnection, execution: ExecutionId) -> i64 {
    sqlx::query_scalar("select count(*) from pg_stat_activity where application_name = $1")
        .bind(format!("kanbu_backup/{execution}"))
        .fetch_one(connection)
        .await
        .unwrap()
}
