//! `completions`: what a shell needs to complete our commands.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::screen::unwritten;

pub(crate) fn run(shell: Shell) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "mainspring", &mut text);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &text).map_err(unwritten)?;
    Ok(Exit::Done)
}
