//! From a command to the role or the verb that carries it out: the single exhaustive match.

use kanbu_backup::fault::Failure;

use crate::{
    cli::{Command, Config, Migrate},
    exit::Exit,
    roles,
    session::Session,
    verbs,
};

/// Carries a command out.
pub async fn run(command: Command, session: &Session) -> Result<Exit, Failure> {
    match command {
        Command::Up(args) => roles::up::run(args, session).await,
        Command::Worker(args) => roles::worker::run(args, session).await,
        Command::Cron => roles::cron::run(session).await,
        Command::Migrate(Migrate::Db) => verbs::migrate::run(session).await,
        Command::Backup(args) => verbs::backup::run(args, session).await,
        Command::List(args) => verbs::list::run(args, session).await,
        Command::Show { id } => verbs::show::run(&id, session).await,
        Command::Pin(args) => verbs::pin::run(&args, true, session).await,
        Command::Unpin(args) => verbs::pin::run(&args, false, session).await,
        Command::Retention(args) => verbs::retention::run(args, session).await,
        Command::TestRestore(args) => verbs::test_restore::run(args, session).await,
        Command::Verify(args) => verbs::verify::run(args, session).await,
        Command::Restore(args) => verbs::restore::run(args, session).await,
        Command::Rollback(args) => verbs::rollback::run(args, session).await,
        Command::Get(args) => verbs::get::run(args, session).await,
        Command::Inspect(args) => verbs::inspect::run(&args.file, session),
        Command::Decrypt(args) => verbs::decrypt::run(args, session).await,
        Command::Delete(args) => verbs::delete::run(args, session).await,
        Command::Job(args) => verbs::job::run(args, session).await,
        Command::Execution(args) => verbs::execution::run(args, session).await,
        Command::Queue(args) => verbs::queue::run(args, session).await,
        Command::Drain(args) => verbs::drain::run(args, session).await,
        Command::Enqueue(args) => verbs::enqueue::run(args, session).await,
        Command::Schedule(args) => verbs::schedule::run(*args, session).await,
        Command::Storage(args) => verbs::storage::run(args, session).await,
        Command::Catalog(args) => verbs::catalog::run(&args, session).await,
        Command::Notify(args) => verbs::notify::run(args, session).await,
        Command::Doctor { queue } => verbs::doctor::run(queue, session).await,
        Command::Config(Config::Show { origin }) => Ok(verbs::config::show(origin, session)),
        Command::Version => Ok(verbs::version::run(session.out)),
        Command::Completions { shell } => Ok(verbs::completions::run(shell)),
    }
}
