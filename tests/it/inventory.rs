//! What a database holds, taken from real servers: equal for equal databases, and telling every change.

use std::time::Duration;

use kanbu_backup::{
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        dump::{DumpFormat, Route},
        inventory::{Difference, Inventory, Weight, take},
        restore::{LoadOptions, drop_database},
    },
    pipeline::Message,
    testing::TestServer,
};

use crate::protected::{OBJECTS, database, dumped, execute, feed_of, loaded, new_database, tools};

/// Enough for every count here, on any machine.
const PATIENCE: Duration = Duration::from_mins(10);

pub(crate) async fn taken(cluster: &Cluster) -> Inventory {
    take(cluster, cluster.database(), PATIENCE).await.unwrap()
}

fn texts(differences: &[Difference]) -> Vec<&str> {
    differences
        .iter()
        .map(|difference| difference.text.as_str())
        .collect()
}

#[tokio::test]
async fn an_inventory_tells_rows_sequences_and_objects() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, OBJECTS).await;
    let inventory = taken(&cluster).await;
    let pages = inventory
        .tables
        .iter()
        .find(|table| table.table == "wiki_pages")
        .unwrap();
    assert_eq!(
        (pages.schema.as_str(), pages.rows, pages.exact),
        ("public", 4000, true)
    );
    let invoices = inventory
        .sequences
        .iter()
        .find(|value| value.sequence == "invoice_numbers")
        .unwrap();
    assert_eq!((invoices.last_value, invoices.is_called), (1007, true));
    assert_eq!(inventory.large_objects, 2);
    let kinds = [
        "table",
        "columns",
        "index",
        "table constraint",
        "trigger",
        "function",
        "view",
        "type",
    ];
    for kind in kinds {
        assert!(
            inventory.objects.iter().any(|object| object.kind == kind),
            "{kind}"
        );
    }
    let json = serde_json::to_string(&inventory).unwrap();
    let mut read: Inventory = serde_json::from_str(&json).unwrap();
    read.installable.clone_from(&inventory.installable);
    assert_eq!(read, inventory);
}

#[tokio::test]
async fn a_database_that_was_dumped_and_loaded_has_the_same_inventory() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, OBJECTS).await;
    let expected = taken(&cluster).await;
    let route = Route::Direct(tools().await);
    let (bytes, _) = dumped(&route, &cluster, DumpFormat::Custom).await;
    let execution = ExecutionId::new();
    let shape = cluster.facts().await.unwrap().shape;
    let copy = new_database(&cluster, &shape, execution).await;
    let options = LoadOptions {
        format: DumpFormat::Custom,
        no_owner: false,
        execution,
        list: None,
    };
    loaded(&copy, options, feed_of(bytes, Message::End))
        .await
        .unwrap();
    assert_eq!(
        texts(&expected.differences(&taken(&copy).await)),
        Vec::<&str>::new()
    );

    execute(
        &copy,
        "delete from users where id = 200; drop index wiki_pages_recent; select setval('invoice_numbers', 1)",
    )
    .await;
    let differences = expected.differences(&taken(&copy).await);
    assert!(
        differences
            .iter()
            .all(|difference| difference.weight == Weight::Real)
    );
    let texts = texts(&differences);
    for text in [
        "table public.users has 199 rows instead of 200",
        "index public.wiki_pages_recent is missing",
        "sequence public.invoice_numbers stands at 1 instead of 1007",
    ] {
        assert!(texts.contains(&text), "{texts:?}");
    }
    drop_database(&cluster, copy.database(), execution)
        .await
        .unwrap();
}
