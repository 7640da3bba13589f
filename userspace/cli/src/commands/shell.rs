// SPDX-License-Identifier: GPL-2.0

//! `shadowmm completions` and `shadowmm man`: what a shell and man(1) want.

use crate::args::Cli;
use crate::context::Context;
use crate::error::Error;
use crate::error::Result;
use clap::CommandFactory;
use clap_complete::Shell;
use std::fs;
use std::path::Path;

/// Prints the completions of a shell.
pub fn completions(context: &Context, shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "shadowmm", &mut text);
    context.write(&String::from_utf8_lossy(&text))
}

/// Prints the man page, or writes the pages of all commands into a directory.
pub fn man(context: &Context, directory: Option<&Path>) -> Result<()> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return context.write(&String::from_utf8_lossy(&page));
    };
    let failed = |error| {
        Error::failed(format!(
            "could not write to {}: {error}",
            directory.display()
        ))
    };
    fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)
}
