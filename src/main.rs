use std::io::{self, Write};
use std::process::ExitCode;

use taper::commands::failure::ToldByTheFirst;
use taper::commands::{self, completions, failure, near_misses};

fn main() -> ExitCode {
    completions::answer_shell();
    match commands::run(near_misses::parse()) {
        Ok(code) => code.into(),
        Err(error) if failure::is_broken_pipe(&error) => ExitCode::SUCCESS,
        // The first says it, and has the exit code. A launcher that sees another code before ends the first, which then says nothing.
        Err(error) if error.is::<ToldByTheFirst>() => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to complain to: the exit code remains.
            let _ = writeln!(io::stderr(), "error: {}", failure::describe(&error));
            failure::exit_code(&error).into()
        }
    }
}
