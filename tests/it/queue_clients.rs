//! The page about enqueueing, word for word: its examples run in psql, Node and Python under the login that it sets up, and
//! the jobs are read as a worker reads them.

use std::{fs, path::Path};

use kanbu_backup::{
    control::ControlConfig,
    job::{Verify, VerifyLevel},
    pg::process::Program,
    testing::TestServer,
};

use sqlx::{Connection, PgConnection};
use url::Url;

use super::*;

const PAGE: &str = include_str!("../../docs/enqueue.md");

/// The fenced blocks of one language under a heading of the page.
fn examples(heading: &str, language: &str) -> Vec<&'static str> {
    let (_, after) = PAGE
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("docs/enqueue.md has no {heading:?}"));
    let section = after.split("\n## ").next().unwrap();
    let opening = format!("```{language}\n");
    let blocks = section.split(&opening).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

/// The only such block.
fn example(heading: &str, language: &str) -> &'static str {
    let [only] = examples(heading, language)[..] else {
        panic!("docs/enqueue.md has not one {language} example under {heading:?}")
    };
    only
}

/// What `tests/support/enqueue-clients` installs.
fn tools() -> &'static Path {
    let tools = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools"));
    assert!(
        tools.join("node_modules/pg").exists() && tools.join("venv/bin/python").exists(),
        "the database clients of the examples are not installed: run tests/support/enqueue-clients"
    );
    tools
}

/// A client with the connection in its environment, as the page says.
struct Client {
    url: Url,
}

impl Client {
    /// Runs a text by its interpreter; the answer is what it prints, without the line's end.
    async fn runs(&self, interpreter: &str, name: &str, text: &str) -> String {
        // Below the tools, because Node looks for its packages upwards from the file.
        let directory = tempfile::tempdir_in(tools()).unwrap();
        let file = directory.path().join(name);
        fs::write(&file, text).unwrap();
        let program = Program::new("/usr/bin/env")
            .arg(interpreter)
            .arg(&file)
            .env("PATH", path())
            .env("PGHOST", self.url.host_str().unwrap())
            .env("PGPORT", self.url.port().unwrap().to_string())
            .env("PGDATABASE", self.url.path().trim_start_matches('/'))
            .env("PGUSER", self.url.username())
            .env("PGPASSWORD", self.url.password().unwrap());
        let output = program.run(64 * 1024, PATIENCE).await;
        let output = output.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        String::from_utf8(output).unwrap().trim().to_owned()
    }

    async fn shell(&self, text: &str) -> String {
        self.runs("sh", "example.sh", text).await
    }

    async fn node(&self, text: &str) -> String {
        self.runs("node", "example.mjs", text).await
    }

    async fn python(&self, text: &str) -> String {
        let python = tools().join("venv/bin/python");
        self.runs(python.to_str().unwrap(), "example.py", text)
            .await
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clients are those that the developer's shell finds"
)]
fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap()
}

async fn connect(url: &Url) -> ControlDb {
    let config = ControlConfig::new(url.as_str(), "test");
    ControlDb::connect(&config).await.unwrap()
}

async fn run(url: &Url, sql: &str) {
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The installation that the page describes: roles by an administrator, a schema owned by one of them, two logins.
async fn set_up(admin: &Url) {
    let rights = examples("Rights", "sql");
    let [logins, roles, grant, owner] = rights[..] else {
        panic!("docs/enqueue.md has other blocks under Rights: {rights:?}")
    };
    run(admin, roles).await;
    run(admin, owner).await;
    let database = admin.path().trim_start_matches('/');
    run(
        admin,
        &format!("grant create on database {database} to kanbu_backup_owner"),
    )
    .await;
    let migrating = login(admin, "kanbu_migrate", "this-too");
    connect(&migrating).await.migrate().await.unwrap();
    run(&migrating, grant).await;
    run(admin, logins).await;
    // The administrator here is called as our schema is, and would make the table in it.
    let trigger = example("A trigger", "sql");
    run(admin, &format!("set search_path = public; {trigger}")).await;
    run(
        admin,
        "grant insert on public.announced_import to kanbu_app",
    )
    .await;
}

fn login(admin: &Url, user: &str, password: &str) -> Url {
    let mut url = admin.clone();
    url.set_username(user).unwrap();
    url.set_password(Some(password)).unwrap();
    url
}

fn a_backup(subject: &str, label: &str, pin: bool) -> Job {
    Job::Backup(Backup {
        label: Some(label.to_owned()),
        pin,
        ..Backup::of(subject.parse().unwrap())
    })
}

#[tokio::test]
async fn the_examples_of_the_page_do_what_it_says() {
    tools();
    let server = TestServer::start(&[]).await;
    let database = server.database("control").await;
    let admin = Url::parse(&database.url).unwrap();
    set_up(&admin).await;
    let db = connect(&login(&admin, "kanbu_worker", "this-too")).await;
    db.migrate().await.expect("nothing to migrate");
    let mut hands = Hands::with(&db, |crew| {
        crew.slots = BTreeMap::from([(Kind::Backup, 1), (Kind::Verify, 1)]);
    });
    let client = Client {
        url: login(&admin, "kanbu_app", "change-this"),
    };

    let asked = client.shell(example("psql", "sh")).await;
    let act = hands.next().await;
    assert_eq!(act.lease.job().to_string(), asked);
    assert_eq!(act.job, a_backup("database:kanbu", "before import", false));
    act.succeeds();
    let again = client.shell(example("psql", "sh")).await;
    assert_eq!(again, asked, "a repeated request");

    let asked = client.node(example("Node", "js")).await;
    let act = hands.next().await;
    assert_eq!(act.lease.job().to_string(), asked);
    assert_eq!(act.job, a_backup("source:app", "before release 7", true));
    act.succeeds();

    // Python waits for the end of its job.
    let (printed, job) = tokio::join!(client.python(example("Python", "python")), async {
        let act = hands.next().await;
        let job = (act.lease.job(), act.job.clone());
        act.succeeds();
        job
    });
    assert_eq!(printed, format!("{} succeeded", job.0));
    let quick = Verify {
        level: VerifyLevel::Quick,
        ..Verify::of("database:kanbu".parse().unwrap())
    };
    assert_eq!(job.1, Job::Verify(quick));

    run(&client.url, "insert into announced_import values (43)").await;
    let act = hands.next().await;
    assert_eq!(
        act.job,
        a_backup("database:kanbu", "before import 43", false)
    );
    let named = database
        .texts("select backup_job::text from public.announced_import")
        .await;
    assert_eq!(named, [act.lease.job().to_string()]);
    act.succeeds();
    hands.go_home().await;
    assert_eq!(queue::invariants(&db).await.unwrap(), []);
}
