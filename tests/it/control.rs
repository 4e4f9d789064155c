//! The control database.

use kanbu_backup::testing;

#[tokio::test]
async fn a_migrated_control_database_is_there_for_every_test() {
    let (_first_database, first) = testing::control_db().await;
    let (_second_database, second) = testing::control_db().await;
    let ours = first.identity().await.unwrap();
    assert!(ours.is(&first.identity().await.unwrap()));
    assert!(!ours.is(&second.identity().await.unwrap()));
    let applied: i64 = sqlx::query_scalar("select count(*) from kanbu_backup.migration")
        .fetch_one(second.pool())
        .await
        .unwrap();
    assert!(applied >= 1);
}
