//! Rows that a policy hides are never taken for rows that aren't there.

use kanbu_backup::{
    pg::{cluster::Cluster, inventory::TableRows},
    testing::TestServer,
};

use crate::{inventory::taken, protected::database};

/// Of thirty rows the policies show ten.
const HIDDEN: &str = "
    create role keeper login password 'x';
    create role seer login bypassrls password 'x';
    create role reader login password 'x';
    create table open_to_owner as select n from generate_series(1, 30) as n;
    create table closed_to_all as select n from generate_series(1, 30) as n;
    alter table open_to_owner enable row level security;
    alter table closed_to_all enable row level security;
    alter table closed_to_all force row level security;
    create policy a_third on open_to_owner using (n <= 10);
    create policy a_third on closed_to_all using (n <= 10);
    alter table open_to_owner owner to keeper;
    alter table closed_to_all owner to keeper;
    grant select on all tables in schema public to seer, reader;
    analyze";

#[tokio::test]
async fn rows_behind_a_policy_are_counted_by_who_sees_them_all_and_estimated_for_others() {
    let server = TestServer::start(&[]).await;
    let (protected, cluster) = database(&server, HIDDEN).await;
    let (_, place) = protected.url.rsplit_once('@').unwrap();
    let as_role = |role: &str| Cluster::from_url(&format!("postgres://{role}:x@{place}")).unwrap();
    // Whether `closed_to_all` and `open_to_owner` are counted.
    for (who, cluster, counted) in [
        ("a superuser", cluster, [true, true]),
        ("who bypasses policies", as_role("seer"), [true, true]),
        ("the owner", as_role("keeper"), [false, true]),
        ("a reader", as_role("reader"), [false, false]),
    ] {
        let found = taken(&cluster).await;
        let exact: Vec<_> = found.tables.iter().map(|table| table.exact).collect();
        assert_eq!(exact, counted, "{who}");
        // Never the ten that a policy shows.
        for TableRows { table, rows, .. } in &found.tables {
            assert_eq!(*rows, 30, "{who}: {table}");
        }
    }
}
