//! Alarms about content: a backup that holds far less than the one before says so, and that one stays.

use std::sync::Arc;

use kanbu_backup::{
    backup::{ContentTerms, Deps},
    catalog::{self, ArtifactView, CatalogError, HOLDS},
    execution::{Effects, Lease, Outcome},
    fault::Classified,
    id::ArtifactId,
};

use crate::{
    protected::execute,
    use_world::{World, backup_of},
};

const CARDS: &str = "create table card (id integer primary key, body text); \
    insert into card select n, repeat('x', 200) from generate_series(1, 1000) as n; \
    create table tiny as select n from generate_series(1, 9) as n; \
    create table board as select n from generate_series(1, 300) as n; \
    create index card_body_idx on card (body)";

async fn made(world: &World, deps: &Deps) -> (Effects, ArtifactView) {
    let lease = Arc::new(Lease::unattended());
    let effects = backup_of("database:kanbu", deps, &lease).await.unwrap();
    let (artifact, copies) = effects.artifact.clone().unwrap();
    let view = world.list(&artifact, &copies).await;
    (effects, view)
}

fn said<'a>(effects: &'a Effects, code: &str) -> Option<&'a str> {
    let mut warnings = effects.warnings.iter();
    warnings
        .find(|warning| warning.code == code)
        .map(|warning| warning.text.as_str())
}

async fn delete(world: &World, id: ArtifactId, force: bool) -> Result<(), CatalogError> {
    catalog::decide_deletion(&world.db, id, "test", "a test", force)
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_shrank_raises_an_alarm_that_holds_the_last_good_backup() {
    let world = World::new(CARDS).await;
    let (first, good) = made(&world, &world.deps).await;
    assert_eq!(first.warnings, []);
    execute(
        &world.cluster,
        "delete from card where id > 400; delete from tiny; drop table board; drop index card_body_idx",
    )
    .await;
    let (second, alarming) = made(&world, &world.deps).await;
    assert_eq!(second.outcome(), Outcome::Succeeded);
    assert_eq!(
        said(&second, "content.shrunk").unwrap(),
        format!(
            "since backup {} table public.board with its 300 rows is gone; table public.card shrank from 1000 rows to 400",
            good.id.short()
        )
    );
    let schema = said(&second, "content.schema_changed").unwrap();
    assert!(
        schema.contains("index public.card_body_idx is missing"),
        "{schema}"
    );
    let manifest = alarming.manifest().unwrap();
    assert_eq!(manifest.source[HOLDS], good.id.to_string());
    assert!(
        manifest
            .warnings
            .iter()
            .any(|warning| warning.code == "content.shrunk")
    );

    let refused = delete(&world, good.id, false).await.unwrap_err();
    assert_eq!(refused.code(), "catalog.held");
    assert!(
        refused.to_string().contains(&alarming.id.to_string()),
        "{refused}"
    );
    catalog::acknowledge(&world.db, alarming.id, "test", "cards were archived")
        .await
        .unwrap();
    delete(&world, good.id, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_backup_goes_by_force() {
    let world = World::new(CARDS).await;
    let (_, good) = made(&world, &world.deps).await;
    execute(&world.cluster, "truncate card").await;
    made(&world, &world.deps).await;
    delete(&world, good.id, false).await.unwrap_err();
    delete(&world, good.id, true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_threshold_and_with_alarms_off_nothing_is_said() {
    let world = World::new(CARDS).await;
    made(&world, &world.deps).await;
    execute(&world.cluster, "delete from card where id > 500").await;
    let (half, _) = made(&world, &world.deps).await;
    assert_eq!(half.warnings, []);
    execute(&world.cluster, "truncate card").await;
    let deps = Deps {
        content: ContentTerms {
            shrunk_percent: 0,
            ..ContentTerms::default()
        },
        ..world.deps.clone()
    };
    let (off, _) = made(&world, &deps).await;
    assert_eq!(off.warnings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_far_smaller_than_the_last_few_is_told() {
    let world = World::new(CARDS).await;
    for _ in 0..3 {
        let (usual, _) = made(&world, &world.deps).await;
        assert_eq!(said(&usual, "content.small"), None);
    }
    execute(&world.cluster, "truncate card").await;
    let (small, _) = made(&world, &world.deps).await;
    let text = said(&small, "content.small").unwrap();
    assert!(text.contains("usual are"), "{text}");
}
