use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use taper::cli::Cli;
use taper::commands::{self, failure};

fn main() -> ExitCode {
    match commands::run(Cli::parse()) {
        Ok(code) => code.into(),
        Err(error) if failure::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to complain to: the exit code remains.
            let _ = writeln!(io::stderr(), "error: {}", failure::describe(&error));
            failure::exit_code(&error).into()
        }
    }
}
