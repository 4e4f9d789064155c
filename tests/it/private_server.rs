//! The private PostgreSQL: one server per directory, never as root, never longer than its owner, nothing lost.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use kanbu_backup::{
    fault::Classified,
    pg::{
        process::{Child, Program, Signal, Unprivileged},
        server::{PrivateServer, ServerError, ServerOptions, discover},
        tools::find_toolsets,
    },
    testing::{ScratchDirectory, toolsets},
};
use rustix::{
    fs::{FlockOperation, flock},
    process::{geteuid, kill_process},
};
use sqlx::{Connection, PgConnection};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::{interval, timeout},
};

/// Far longer than any of these may take.
const LONG: Duration = Duration::from_mins(1);

async fn options(directory: &ScratchDirectory) -> ServerOptions {
    ServerOptions::new(directory.server(), toolsets().await).throwaway()
}

async fn start(directory: &ScratchDirectory) -> Result<PrivateServer, ServerError> {
    PrivateServer::start(options(directory).await).await
}

async fn keep_a_note(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let script = "create table note (line text); insert into note values ('kept')";
    sqlx::raw_sql(script)
        .execute(&mut connection)
        .await
        .unwrap();
}

async fn read_note(url: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("select line from note")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// Runs one of the helpers below in a process of its own, and waits until it says that it is ready.
fn helper(name: &str, directory: &ScratchDirectory) -> (Child, BufReaderOfStdout) {
    let order = directory.path().join("order");
    fs::write(&order, name).unwrap();
    let mut child = Program::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact"])
        .arg(format!("private_server::{name}"))
        .env("PATH", "/usr/bin:/bin")
        .directory(directory.path())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout().unwrap().unwrap());
    (child, stdout)
}

type BufReaderOfStdout = BufReader<tokio::process::ChildStdout>;

async fn said(stdout: &mut BufReaderOfStdout, word: &str) {
    let mut line = String::new();
    let heard = async {
        while !line.contains(word) {
            line.clear();
            let read = stdout.read_line(&mut line).await.unwrap();
            assert!(read > 0, "the helper ended without saying `{word}`");
        }
    };
    timeout(LONG, heard).await.expect("the helper to be ready");
}

/// The directory that a helper was sent to; none if this runs for another reason.
fn ordered(name: &str) -> Option<PathBuf> {
    let order = fs::read_to_string("order").ok()?;
    (order == name).then(|| std::env::current_dir().unwrap())
}

#[tokio::test]
#[ignore = "not a test: a process that other tests start and kill"]
async fn owner_of_a_server() {
    let Some(place) = ordered("owner_of_a_server") else {
        return;
    };
    let options = ServerOptions::new(place.join("server"), toolsets().await);
    let server = PrivateServer::start(options).await.unwrap();
    keep_a_note(server.url()).await;
    println!("ready");
    std::future::pending::<()>().await;
}

#[tokio::test]
#[ignore = "not a test: a process that other tests start and kill"]
async fn owner_of_a_child() {
    let Some(place) = ordered("owner_of_a_child") else {
        return;
    };
    let lock = File::create(place.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut child = Program::new("/bin/sh")
        .args(["-c", "echo started; exec sleep 600"])
        .stdin_from(lock)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout().unwrap().unwrap());
    said(&mut stdout, "started").await;
    println!("ready");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_child_dies_when_its_parent_is_killed() {
    let directory = ScratchDirectory::new();
    let (owner, mut stdout) = helper("owner_of_a_child", &directory);
    said(&mut stdout, "ready").await;
    let lock = File::open(directory.path().join("lock")).unwrap();
    let taken = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    assert!(taken.is_err(), "the child holds the lock while it lives");

    kill_process(owner.id(), Signal::KILL).unwrap();
    let freed = async {
        let mut ticks = interval(Duration::from_millis(5));
        while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            ticks.tick().await;
        }
    };
    let freed = timeout(LONG, freed).await;
    freed.expect("the child to die with its parent");
}

#[tokio::test]
async fn a_server_dies_with_its_killed_owner_and_the_next_one_has_its_data() {
    let directory = ScratchDirectory::new();
    let (owner, mut stdout) = helper("owner_of_a_server", &directory);
    said(&mut stdout, "ready").await;
    let orphan = discover(&directory.server()).unwrap();
    kill_process(owner.id(), Signal::KILL).unwrap();

    let server = start(&directory).await.unwrap();
    assert_eq!(read_note(server.url()).await, "kept");
    assert_eq!(server.url(), orphan, "clients find it where it was");
}

#[tokio::test]
async fn a_killed_server_says_so_and_loses_nothing() {
    let directory = ScratchDirectory::new();
    let server = start(&directory).await.unwrap();
    keep_a_note(server.url()).await;
    kill_process(server.pid(), Signal::KILL).unwrap();
    let end = timeout(LONG, server.ended()).await.unwrap();
    assert_eq!(end.code(), "server.ended");
    assert!(directory.server().join("data/postmaster.pid").exists());
    drop(server);

    let again = start(&directory).await.unwrap();
    assert_eq!(read_note(again.url()).await, "kept");
}

#[tokio::test]
async fn a_directory_has_one_server_and_others_find_it() {
    let directory = ScratchDirectory::new();
    let server = start(&directory).await.unwrap();
    let second = start(&directory).await.unwrap_err();
    assert_eq!(second.code(), "server.already_running");

    let found = discover(&directory.server()).unwrap();
    assert_eq!(found, server.url());
    PgConnection::connect(&found).await.unwrap();

    server.stop().await.unwrap();
    let gone = discover(&directory.server()).unwrap_err();
    assert_eq!(gone.code(), "server.not_running");
    assert!(gone.hint().unwrap().contains("kanbu-backup up"));
    let never = discover(Path::new("/nowhere/at/all")).unwrap_err();
    assert_eq!(never.code(), "server.not_running");
}

#[tokio::test]
async fn a_setup_that_was_killed_half_way_does_not_block_the_next_start() {
    let directory = ScratchDirectory::new();
    let (owner, _stdout) = helper("owner_of_a_server", &directory);
    let begun = async {
        let mut ticks = interval(Duration::from_millis(2));
        while !half_made(&directory.server()) {
            ticks.tick().await;
        }
    };
    timeout(LONG, begun).await.expect("initdb to begin");
    kill_process(owner.id(), Signal::KILL).unwrap();
    owner.wait().await.unwrap();
    assert!(!directory.server().join("data").exists());

    let server = start(&directory).await.unwrap();
    PgConnection::connect(server.url()).await.unwrap();
    server.stop().await.unwrap();
    start(&directory).await.unwrap();
    assert!(
        !half_made(&directory.server()),
        "remains of the first setup"
    );
}

fn half_made(server: &Path) -> bool {
    let entries = fs::read_dir(server).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("incomplete")
        })
        .any(|entry| entry.path().join("PG_VERSION").exists())
}

#[tokio::test]
async fn a_server_never_runs_as_root_and_shows_its_password_to_nobody() {
    let directory = ScratchDirectory::new();
    let server = start(&directory).await.unwrap();
    let url = url::Url::parse(server.url()).unwrap();
    let password = url.password().unwrap();
    assert!(!format!("{server:?}").contains(password));

    let process = |what: &str| {
        let path = format!("/proc/{}/{what}", server.pid().as_raw_pid());
        fs::read(path).unwrap()
    };
    let status = String::from_utf8(process("status")).unwrap();
    let users = status.lines().find(|line| line.starts_with("Uid:"));
    assert!(
        users
            .unwrap()
            .split_whitespace()
            .skip(1)
            .all(|id| id != "0")
    );
    for what in ["cmdline", "environ"] {
        let shown = String::from_utf8_lossy(&process(what)).into_owned();
        assert!(!shown.contains(password), "{what} shows the password");
    }
    for file in ["connection.json", "data/kanbu_backup.password"] {
        let file = fs::metadata(directory.server().join(file)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
    let data = fs::metadata(directory.server().join("data")).unwrap();
    assert_eq!(data.permissions().mode() & 0o777, 0o700);
    assert_ne!(data.uid(), 0);
}

#[tokio::test]
async fn libpq_clients_of_any_user_can_use_the_url() {
    let directory = ScratchDirectory::new();
    let server = start(&directory).await.unwrap();
    let tools = toolsets().await;
    let psql = tools
        .iter()
        .find(|set| set.has_client)
        .unwrap()
        .program("psql");
    let nobody = geteuid().is_root().then(|| Unprivileged {
        name: "nobody".into(),
        uid: 65534,
        gid: 65534,
    });
    for user in [None, nobody] {
        let ask = Program::new(&psql)
            .user(user)
            .args(["-X", "-A", "-t", "-c", "select current_database()"])
            .arg(server.url());
        assert_eq!(ask.run(100, LONG).await.unwrap(), b"kanbu_backup\n");
    }
    let wrong = server.url().replacen("kanbu_backup:", "kanbu_backup:x", 1);
    assert!(PgConnection::connect(&wrong).await.is_err());
}

#[tokio::test]
async fn a_server_whose_port_is_taken_listens_on_another_one() {
    let directory = ScratchDirectory::new();
    let server = start(&directory).await.unwrap();
    let first = server.url().to_owned();
    let address = url::Url::parse(&first)
        .unwrap()
        .socket_addrs(|| None)
        .unwrap();
    server.stop().await.unwrap();
    let _squatter = TcpListener::bind(&address[..]).unwrap();
    let again = start(&directory).await.unwrap();
    assert_ne!(again.url(), first);
    PgConnection::connect(again.url()).await.unwrap();
}

#[tokio::test]
async fn without_server_binaries_one_line_says_how_to_get_them() {
    let directory = ScratchDirectory::new();
    let options = ServerOptions::new(directory.server().join("new"), Vec::new());
    let error = PrivateServer::start(options).await.unwrap_err();
    assert_eq!(error.code(), "server.not_installed");
    let hint = error.hint().unwrap();
    assert!(hint.contains("apt-get install postgresql") && !hint.contains('\n'));
    assert!(!directory.server().join("new").exists());
}

#[tokio::test]
async fn data_of_a_version_that_is_not_installed_is_left_alone() {
    let directory = ScratchDirectory::new();
    let data = directory.server().join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("PG_VERSION"), "9.6\n").unwrap();
    let error = start(&directory).await.unwrap_err();
    assert_eq!(error.code(), "server.other_version");
    assert!(error.to_string().contains("version 9.6"), "{error}");
    assert!(!data.join("postmaster.pid").exists());
}

#[tokio::test]
async fn a_server_that_outlives_its_owner_is_not_joined_by_a_second_one() {
    let directory = ScratchDirectory::new();
    start(&directory).await.unwrap().stop().await.unwrap();
    let lock = File::open(directory.server().join("server.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let options = options(&directory).await;
    let impatient = options.orphan_patience(Duration::from_millis(150));
    let error = PrivateServer::start(impatient).await.unwrap_err();
    assert_eq!(error.code(), "server.orphaned");
}

#[tokio::test]
async fn the_number_of_a_dead_server_may_be_anybodys_by_now() {
    let directory = ScratchDirectory::new();
    start(&directory).await.unwrap().stop().await.unwrap();
    let data = directory.server().join("data");
    let owner = fs::metadata(&data).unwrap();
    let servers_user = geteuid().is_root().then(|| Unprivileged {
        name: "the server's".into(),
        uid: owner.uid(),
        gid: owner.gid(),
    });
    let stranger = Program::new("/bin/sleep").arg("600").user(servers_user);
    let stranger = stranger.spawn().unwrap();
    let stale = format!("{}\n/elsewhere\n", stranger.id().as_raw_pid());
    fs::write(data.join("postmaster.pid"), stale).unwrap();
    let server = start(&directory).await.unwrap();
    PgConnection::connect(server.url()).await.unwrap();
}

#[tokio::test]
async fn root_is_told_which_directory_is_closed_to_the_server() {
    if !geteuid().is_root() {
        // As a normal user the server runs as ourselves, and there is nothing to be closed out of.
        return;
    }
    let directory = ScratchDirectory::new();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let error = start(&directory).await.unwrap_err();
    assert_eq!(error.code(), "server.closed");
    let path = fs::canonicalize(directory.path()).unwrap();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("chmod o+x"));
}

#[tokio::test]
async fn what_is_installed_is_found_once_and_newest_first() {
    let found = toolsets().await;
    let newest = found.iter().find(|set| set.has_server).unwrap();
    assert!(newest.program("initdb").is_file());
    assert!(found.is_sorted_by(|one, next| one.version >= next.version));
    let extra = [newest.directory.clone(), newest.directory.join(".")];
    let again = find_toolsets(&extra, newest.directory.as_os_str().into()).await;
    let same = again.iter().filter(|set| set.directory == newest.directory);
    assert_eq!(same.count(), 1);
}
