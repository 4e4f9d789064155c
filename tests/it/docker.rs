//! Dumps by the tools inside a container, against a real engine.

use kanbu_backup::{
    fault::{Classified, Fault},
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        docker::{ContainerChoice, DEFAULT_NAME, end_leftovers, find},
        dump::{DumpFormat, PgMode, Route, dump, route},
        restore::{LoadOptions, drop_database},
    },
    pipeline::Message,
    testing::{TestServer, toolsets},
};
use tokio_util::sync::CancellationToken;

use crate::{
    containers::{TestContainer, engine, inside, named, pattern},
    cut_socket::{Cut, serve},
    protected::{
        BULK, OBJECTS, assert_same, database, drain, dumped, feed_of, loaded, new_database,
    },
};

/// A dump through a container of which the first bytes are read and the rest waits.
macro_rules! begun_dump {
    ($route:expr, $execution:expr, $cancel:expr) => {{
        let (mut feed, handle) = dump($route, &inside(), DumpFormat::Custom, $execution, $cancel)
            .await
            .unwrap();
        assert!(matches!(feed.next().await, Message::Data(_)));
        (feed, handle)
    }};
}

/// The text of a plain dump without versions, keys and owners, which differ from server to server.
fn comparable(dump: &[u8]) -> Vec<String> {
    let text = String::from_utf8(dump.to_vec()).unwrap();
    let kept = text.lines().filter(|line| {
        let skipped = ["-- Dumped ", "\\restrict ", "\\unrestrict "];
        !skipped.iter().any(|start| line.starts_with(start)) && !line.contains(" OWNER TO ")
    });
    kept.map(|line| line.split("; Owner: ").next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_dump_through_a_container_holds_what_a_direct_one_holds() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-dump")).await;
    container.execute(OBJECTS).await;
    let server = TestServer::shared().await;
    let (_twin, twin) = database(server, OBJECTS).await;
    let through = container.route().await;

    let (plain, report) = dumped(&through, &inside(), DumpFormat::Plain).await;
    assert!(report.header.unwrap().server_version.starts_with("15."));
    let direct = Route::Direct(crate::protected::tools().await);
    let (expected, _) = dumped(&direct, &twin, DumpFormat::Plain).await;
    assert_eq!(comparable(&plain), comparable(&expected));

    let (custom, _) = dumped(&through, &inside(), DumpFormat::Custom).await;
    let execution = ExecutionId::new();
    let shape = twin.facts().await.unwrap().shape;
    let copy = new_database(&twin, &shape, execution).await;
    let options = LoadOptions {
        format: DumpFormat::Custom,
        no_owner: true,
        execution,
        list: None,
    };
    loaded(&copy, options, feed_of(custom, Message::End))
        .await
        .unwrap();
    assert_same(&twin, &copy).await;
    drop_database(&twin, copy.database(), execution)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_facts_of_a_server_are_asked_inside_its_container() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-facts")).await;
    let facts = container.route().await.facts(&inside()).await.unwrap();
    assert_eq!((facts.major(), facts.database.as_str()), (15, "kanbu"));
    assert_eq!(facts.shape.owner.as_deref(), Some("kanbu"));
    assert!(facts.system_identifier.is_some());
}

#[tokio::test]
async fn a_container_is_found_by_its_name_or_by_a_pattern_that_fits_one() {
    let socket = engine().await;
    let name = TestContainer::unique("kanbu-found");
    let longer = format!("{name}-longer");
    let _container = TestContainer::create(&name, Vec::new()).await.unwrap();
    assert_eq!(find(&named(socket, &name)).await.unwrap().name(), name);
    let by = |text: &str| ContainerChoice {
        socket: socket.to_owned(),
        name: None,
        pattern: pattern(text),
    };
    assert_eq!(find(&by(&name)).await.unwrap().name(), name);

    let error = find(&named(socket, &longer)).await.unwrap_err();
    assert_eq!(error.code(), "docker.container_missing");
    assert!(error.to_string().contains(&longer), "{error}");

    let _other = TestContainer::create(&longer, Vec::new()).await.unwrap();
    let error = find(&by(&name)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.fault()),
        ("docker.container_ambiguous", Fault::Permanent)
    );
    assert!(
        error.to_string().ends_with(&format!("{name}, {longer}")),
        "{error}"
    );
    assert_eq!(find(&named(socket, &name)).await.unwrap().name(), name);
}

#[tokio::test]
async fn the_name_that_kanbu_gives_is_found_when_the_pattern_fits_none() {
    let socket = engine().await;
    let choice = ContainerChoice {
        socket: socket.to_owned(),
        name: None,
        pattern: pattern("nothing fits this"),
    };
    // Only one container of an engine can have the name: another run of the tests may have it at the moment.
    loop {
        let _container = TestContainer::create(DEFAULT_NAME, Vec::new()).await;
        if let Ok(found) = find(&choice).await {
            assert_eq!(found.name(), DEFAULT_NAME);
            return;
        }
    }
}

#[tokio::test]
async fn without_an_address_the_way_leads_through_the_container() {
    let socket = engine().await;
    let name = TestContainer::unique("kanbu-auto");
    let _container = TestContainer::create(&name, Vec::new()).await.unwrap();
    let choice = named(socket, &name);
    let found = route(PgMode::Auto, &inside(), &choice, &toolsets().await)
        .await
        .unwrap();
    assert!(matches!(found, Route::Docker(container) if container.name() == name));
    let refused = route(PgMode::Direct, &inside(), &choice, &toolsets().await)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "database.no_address");
}

#[tokio::test]
async fn a_dump_that_is_killed_in_its_container_does_not_end_well() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-killed")).await;
    container.execute(BULK).await;
    let route = container.route().await;
    let (mut feed, handle) = begun_dump!(&route, ExecutionId::new(), CancellationToken::new());
    container.kill_dumps().await;
    let (_, end) = drain(&mut feed).await;
    let failure = end.unwrap_err();
    assert_eq!(failure.code, "database.dump_failed");
    assert!(failure.message.contains("137"), "{failure}");
    assert!(handle.report().await.is_some());
}

#[tokio::test]
async fn a_container_that_goes_away_during_a_dump_makes_it_fail() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-gone")).await;
    container.execute(BULK).await;
    let route = container.route().await;
    let (mut feed, _handle) = begun_dump!(&route, ExecutionId::new(), CancellationToken::new());
    drop(container);
    let (_, end) = drain(&mut feed).await;
    assert_eq!(end.unwrap_err().fault, Fault::Transient);
}

#[tokio::test]
async fn a_cancelled_dump_leaves_nothing_running_in_the_container() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-cancel")).await;
    container.execute(BULK).await;
    let route = container.route().await;
    let cancel = CancellationToken::new();
    let (mut feed, _handle) = begun_dump!(&route, ExecutionId::new(), cancel.clone());
    assert!(container.dumps().await, "{}", container.processes().await);
    cancel.cancel();
    let (_, end) = drain(&mut feed).await;
    assert_eq!(end.unwrap_err().fault, Fault::Cancelled);
    assert!(!container.dumps().await, "{}", container.processes().await);
}

#[tokio::test]
async fn what_a_dead_worker_left_in_a_container_is_ended_by_its_execution_alone() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-left")).await;
    container.execute("create table t (a int)").await;
    let Route::Docker(found) = container.route().await else {
        panic!("another route")
    };
    // Nobody waits for the end of this one: it holds the table for as long as the container lives.
    let hold = "begin; lock table t; select pg_sleep(100000)";
    let words = ["psql", "-X", "-U", "kanbu", "-c", hold];
    let holding = container.run(&words);
    let execution = ExecutionId::new();
    let leaving = async {
        while !container.processes().await.contains("SELECT") {}
        let worker = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let route = Route::Docker(find(&named(engine().await, &container.name)).await.unwrap());
        let begun = worker.spawn(async move {
            dump(
                &route,
                &inside(),
                DumpFormat::Custom,
                execution,
                CancellationToken::new(),
            )
            .await
            .map(drop)
        });
        begun.await.unwrap().unwrap();
        while !container.dumps().await {}
        worker.shutdown_background();

        assert_eq!(
            end_leftovers(&found, &[ExecutionId::new()]).await.unwrap(),
            0
        );
        assert!(
            container.dumps().await,
            "the dump was ended by a stranger, or by itself"
        );
        // The shell and the tool that it started.
        assert_eq!(
            end_leftovers(&found, &[ExecutionId::new(), execution])
                .await
                .unwrap(),
            2
        );
        assert!(!container.dumps().await, "{}", container.processes().await);
        assert_eq!(end_leftovers(&found, &[execution]).await.unwrap(), 0);
    };
    tokio::select! {
        ended = holding => panic!("the holder of the lock ended: {ended:?}"),
        () = leaving => {}
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_is_a_failure_and_ends_the_dump_inside() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-cut")).await;
    container.execute(BULK).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = serve(directory.path(), engine().await, Cut::After(1_000_000));
    let route = container.route_by(&socket).await;
    let (mut feed, _handle) = begun_dump!(&route, ExecutionId::new(), CancellationToken::new());
    let (bytes, end) = drain(&mut feed).await;
    assert!(bytes.len() < 1_000_000);
    let failure = end.unwrap_err();
    assert_eq!(
        (failure.code.as_ref(), failure.fault),
        ("docker.stream", Fault::Transient)
    );
    assert!(!container.dumps().await, "{}", container.processes().await);
}

#[tokio::test]
async fn a_stream_that_lost_its_end_is_a_failure_though_the_status_is_zero() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-lost")).await;
    container.execute(OBJECTS).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = serve(
        directory.path(),
        engine().await,
        Cut::Before("\nkanbu-backup-end:"),
    );
    let route = container.route_by(&socket).await;
    let (mut feed, _handle) = dump(
        &route,
        &inside(),
        DumpFormat::Custom,
        ExecutionId::new(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let (_, end) = drain(&mut feed).await;
    let failure = end.unwrap_err();
    assert_eq!(
        (failure.code.as_ref(), failure.fault),
        ("database.dump_incomplete", Fault::Transient)
    );
}

#[tokio::test]
async fn a_tool_that_fails_in_a_container_says_why() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-fails")).await;
    let route = container.route().await;
    let cases = [
        (
            Cluster::in_container("kanbu", "no_such_database", None),
            "database.missing",
        ),
        (
            Cluster::in_container("no_such_role", "kanbu", None),
            "database.authentication",
        ),
    ];
    for (cluster, code) in cases {
        let (mut feed, handle) = dump(
            &route,
            &cluster,
            DumpFormat::Custom,
            ExecutionId::new(),
            CancellationToken::new(),
        )
        .await
        .unwrap();
        let (bytes, end) = drain(&mut feed).await;
        let failure = end.unwrap_err();
        assert_eq!(
            (failure.code.as_ref(), failure.fault, bytes.len()),
            (code, Fault::Permanent, 0)
        );
        assert!(failure.message.contains("exit status: 1"), "{failure}");
        assert!(handle.report().await.unwrap().stderr.contains("FATAL"));
        assert_eq!(route.facts(&cluster).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn an_image_without_the_tools_is_said_to_be_one() {
    let name = TestContainer::unique("kanbu-bare");
    let container = TestContainer::create(&name, vec!["PATH=/bin".into()])
        .await
        .unwrap();
    let route = container.route().await;
    let (mut feed, _handle) = dump(
        &route,
        &inside(),
        DumpFormat::Custom,
        ExecutionId::new(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let (_, end) = drain(&mut feed).await;
    assert_eq!(end.unwrap_err().code, "tools.no_client");
}
