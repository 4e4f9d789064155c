//! A database that was backed up and has changed since, on a server of its own; every way of restoring it; and what must
//! be true after one that failed.

use std::{net::Ipv4Addr, num::NonZeroU8, path::PathBuf, sync::Arc};

use kanbu_backup::{
    backup::{Deps, Format},
    catalog::ArtifactView,
    crypto::Keyring,
    execution::{Effects, Lease},
    fault::Failure,
    id::ExecutionId,
    job::{Restore, RestoreInto, Verify},
    pg::{
        cluster::Cluster,
        restore::{TableChecksum, table_checksums},
        scratch::{self, Ground},
        server,
        tools::Toolset,
    },
    restore::{self, DatabaseTarget, Destination, Origin, Safety, Wanted},
    testing::{ScratchDirectory, TestServer, toolsets},
    verify::{self, ProofTerms},
};
use sqlx::{Connection, PgConnection};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    protected::execute,
    use_world::{World, eventually},
};

const TWO: NonZeroU8 = NonZeroU8::new(2).unwrap();

/// How a backup is brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Beside,
    /// The same by two sessions, which begin before all of the backup was read.
    ByTwo,
    Replace,
    Test(Ground),
}

pub(crate) const ON_THE_SERVER: [Way; 4] = [
    Way::Beside,
    Way::ByTwo,
    Way::Replace,
    Way::Test(Ground::Server),
];

pub(crate) const EVERY_WAY: [Way; 5] = [
    Way::Beside,
    Way::ByTwo,
    Way::Replace,
    Way::Test(Ground::Server),
    Way::Test(Ground::Scratch),
];

/// What is in every database here, before whatever a test adds.
const PEOPLE: &str = "
    create table people (id serial primary key, name text not null);
    insert into people (name) select 'person ' || n from generate_series(1, 500) as n;
    create function is_live() returns boolean language sql stable as
      $$ select pg_catalog.current_database() ~ '^protected_[0-9a-f]{12}$' $$;";

/// A table whose load waits, anywhere but in the database that it comes from, while there is a role of this name: roles
/// are known in all databases, and on the private server of a test restore.
pub(crate) const GATED: &str = "
    create function ready(n int) returns boolean language plpgsql volatile as $$
    begin
      while not public.is_live() and exists (select from pg_catalog.pg_roles where rolname = 'gate') loop
        perform pg_catalog.pg_sleep(0.02);
      end loop;
      return true;
    end $$;
    create table slow (n int check (public.ready(n)));
    insert into slow values (1);
    create role gate";

/// What a restore would take back.
const LATER: &str =
    "insert into people (name) values ('newcomer'); delete from people where id = 7";

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) artifact: ArtifactView,
    pub(crate) backed_up: Vec<TableChecksum>,
    /// Where the product finds the server.
    pub(crate) target: Cluster,
    pub(crate) keyring: Keyring,
    pub(crate) toolsets: Vec<Toolset>,
    pub(crate) no_owner: bool,
    /// Restored instead of the backup.
    pub(crate) file: Option<PathBuf>,
    /// Of a test restore.
    pub(crate) checks: Vec<String>,
    directory: ScratchDirectory,
    before: State,
}

/// All that a failed restore leaves alone: the bytes of the live database, and of every database on the server name,
/// identity, owner, rights, settings and comment.
#[derive(Debug, PartialEq, Eq)]
struct State {
    content: Vec<TableChecksum>,
    databases: Vec<String>,
}

const DATABASES: &str = "
    select concat_ws(' ', d.datname, d.oid, d.datdba::regrole, d.datallowconn, d.datconnlimit, d.datacl::text,
                     s.setconfig::text, shobj_description(d.oid, 'pg_database'))
      from pg_database d left join pg_db_role_setting s on s.setdatabase = d.oid and s.setrole = 0
     order by d.datname";

impl Way {
    /// Only an archive can be loaded by several sessions.
    pub(crate) fn takes(self, format: Format) -> bool {
        self != Self::ByTwo || format == Format::Native
    }
}

impl Stage {
    pub(crate) async fn new(server: &TestServer, statements: &str, format: Format) -> Self {
        let world = World::on(server, &format!("{PEOPLE} {statements}")).await;
        let deps = Deps {
            format,
            ..world.deps.clone()
        };
        let artifact = world.listed("database:kanbu", &deps).await;
        let backed_up = content(&world.cluster).await;
        execute(&world.cluster, LATER).await;
        let before = state(&world.cluster).await;
        assert_ne!(before.content, backed_up);
        Self {
            artifact,
            backed_up,
            target: world.cluster.clone(),
            keyring: world.deps.keyring.clone(),
            toolsets: toolsets().await,
            no_owner: false,
            file: None,
            checks: Vec::new(),
            directory: ScratchDirectory::new(),
            before,
            world,
        }
    }

    pub(crate) fn live(&self) -> &str {
        self.world.cluster.database()
    }

    fn scratch(&self) -> PathBuf {
        self.directory.path().join("scratch")
    }

    fn database_target(&self) -> DatabaseTarget {
        DatabaseTarget {
            cluster: self.target.clone(),
            toolsets: self.toolsets.clone(),
        }
    }

    pub(crate) async fn deps(&self) -> restore::Deps {
        restore::Deps {
            target: Some(self.database_target()),
            keyring: self.keyring.clone(),
            ..self.world.restore_deps().await
        }
    }

    fn proof_deps(&self, ground: Ground) -> verify::Deps {
        let target = Some(self.database_target());
        verify::Deps {
            keyring: self.keyring.clone(),
            proof: ProofTerms {
                ground,
                ..ProofTerms::new(self.scratch(), target, self.toolsets.clone())
            },
            ..self.world.verify_deps()
        }
    }

    /// Restores the backup; a test restore that says something against it has failed.
    pub(crate) async fn restored(&self, way: Way, lease: &Arc<Lease>) -> Result<Effects, Failure> {
        match way {
            Way::Beside | Way::ByTwo => {
                let deps = self.deps().await;
                let name = format!("{}_beside", self.live());
                let into = Destination::Database {
                    name,
                    no_owner: self.no_owner,
                };
                let wanted = Wanted {
                    jobs: (way == Way::ByTwo).then_some(TWO),
                    ..Wanted::default()
                };
                let origin = self.origin(&deps).await?.wanting(wanted);
                restore::perform(origin, &into, deps.parts(), lease).await
            }
            Way::Replace => {
                let (deps, name) = (self.deps().await, self.live().to_owned());
                let request = Restore {
                    confirm: Some(restore::confirmation(&deps, &name)),
                    no_owner: self.no_owner,
                    ..Restore::of(self.artifact.id, RestoreInto::Live { name })
                };
                let origin = self.origin(&deps).await?;
                let begun = restore::begin(&request, self.live(), origin, &deps, lease).await?;
                restore::replace(begun, Safety::Declined("a test".to_owned())).await
            }
            Way::Test(ground) => {
                let request = Verify {
                    artifact: Some(self.artifact.id),
                    checks: self.checks.clone(),
                    ..Verify::proof_of(self.artifact.subject.clone())
                };
                let deps = self.proof_deps(ground);
                let effects = verify::perform(&request, &deps, lease).await?;
                effects.failed.clone().map_or(Ok(effects), Err)
            }
        }
    }

    /// Takes what is there now for what must stay.
    pub(crate) async fn remember(&mut self) {
        self.before = state(&self.world.cluster).await;
    }

    /// Takes back what a restore replaced, and drops what had replaced it.
    pub(crate) async fn rolled_back(&self, restore: ExecutionId) {
        let deps = self.deps().await;
        let confirm = restore::confirmation(&deps, self.live());
        let lease = Arc::new(Lease::unattended());
        let effects = restore::rollback(&restore.to_string(), Some(&confirm), &deps, &lease).await;
        let undone = effects.unwrap().result["rollback"]["kept_as"].clone();
        self.world.drop_database(undone.as_str().unwrap()).await;
    }

    pub(crate) async fn origin(&self, deps: &restore::Deps) -> Result<Origin, Failure> {
        if let Some(file) = &self.file {
            return Ok(Origin::of_file(file)?);
        }
        Origin::of_artifact(self.artifact.id, None, &deps.storages, &deps.catalog).await
    }

    /// The same for one that is to fail.
    pub(crate) async fn failed(&self, way: Way) -> Failure {
        let lease = Arc::new(Lease::unattended());
        let failure = self.restored(way, &lease).await.unwrap_err();
        println!("{way:?}: {}: {failure}", failure.code);
        failure
    }

    /// The live database is what it was to the last byte, and nothing that was made is there any more.
    pub(crate) async fn assert_unharmed(&self, what: &str) {
        assert_eq!(state(&self.world.cluster).await, self.before, "{what}");
        assert_eq!(scratch::directories(&self.scratch()), [], "{what}");
    }

    /// What the server that is restored to asks its administrators to call it.
    fn url(&self, way: Way, execution: ExecutionId) -> Option<String> {
        match way {
            Way::Test(Ground::Scratch) => {
                server::discover(&self.scratch().join(execution.to_string())).ok()
            }
            _ => Some(self.world.url("postgres")),
        }
    }

    /// An administrator's connection to the server that is restored to, once a load on it waits in its middle.
    pub(crate) async fn until_it_loads(&self, way: Way, execution: ExecutionId) -> PgConnection {
        let mut found = None;
        eventually("a load in its middle", async || {
            let Some(url) = self.url(way, execution) else {
                return false;
            };
            let Ok(mut connection) = PgConnection::connect(&url).await else {
                return false;
            };
            let loads = "select exists (select from pg_stat_activity where wait_event = 'PgSleep')";
            let is_there = sqlx::query_scalar(loads).fetch_one(&mut connection).await;
            found = Some(connection);
            matches!(is_there, Ok(true))
        })
        .await;
        found.unwrap()
    }
}

pub(crate) async fn content(cluster: &Cluster) -> Vec<TableChecksum> {
    table_checksums(cluster, cluster.database()).await.unwrap()
}

async fn state(cluster: &Cluster) -> State {
    let mut connection = cluster.connect(Some("postgres")).await.unwrap();
    State {
        content: content(cluster).await,
        databases: sqlx::query_scalar(DATABASES)
            .fetch_all(&mut connection)
            .await
            .unwrap(),
    }
}

/// A way to a server that can be cut: all connections end at once, and new ones are made as before.
pub(crate) struct Line {
    pub(crate) cluster: Cluster,
    cuts: watch::Sender<u32>,
    work: JoinHandle<()>,
}

impl Line {
    pub(crate) async fn to(url: &str) -> Self {
        let mut url = url::Url::parse(url).unwrap();
        let server = (Ipv4Addr::LOCALHOST, url.port().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let cuts = watch::Sender::new(0);
        let seen = cuts.clone();
        let work = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut cut = seen.subscribe();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(server).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self {
            cluster: Cluster::from_url(url.as_str()).unwrap(),
            cuts,
            work,
        }
    }

    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.work.abort();
    }
}
