//! `completions SHELL`, from the same definitions that parse the command line. Needs no settings.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, exit::Exit};

pub fn run(shell: Shell) -> Exit {
    clap_complete::generate(
        shell,
        &mut Cli::command(),
        "kanbu-backup",
        &mut std::io::stdout(),
    );
    Exit::Done
}
