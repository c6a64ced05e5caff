//! `taper reproduce`: trains the runs of a table that are not finished, and tells what came of all of them.

mod outcome;
mod queue;
mod report;
mod standing;

use anyhow::Result;

use self::queue::Queue;
use self::report::Format;
use self::standing::{Planned, Standing};
use super::columns::aligned;
use super::configuration::overrides;
use super::failure::UsageError;
use super::shell::{Shell, say};
use crate::cli::ReproduceArgs;
use crate::reproduce::publication::{Provenance, publish};
use crate::reproduce::table::Table;
use crate::run::dir::RunsDir;

pub fn reproduce(runs: &RunsDir, args: &ReproduceArgs) -> Result<u8> {
    let shorthands = [
        ("--data", "data.dir", &args.data),
        ("--device", "run.device", &args.device),
        ("--threads", "run.threads", &args.threads),
    ];
    let overrides = overrides(&[], &shorthands)?;
    let mut table = Table::load(&args.table, &overrides).map_err(|error| UsageError(error.to_string()))?;
    table.keep_rows(&args.rows).map_err(|error| UsageError(error.to_string()))?;
    if args.results {
        let format = match (args.json, args.csv, args.markdown) {
            (true, ..) => Format::Json,
            (_, true, _) => Format::Csv,
            (.., true) => Format::Markdown,
            _ => Format::Text,
        };
        return report::print(&table, runs, format).map(|()| 0);
    }
    if let Some(checkout) = &args.publish {
        let published = publish(&table, runs, checkout, &Provenance { commit: args.commit.clone() })?;
        published.runs.iter().try_for_each(|run| say(format!("published run {run}")))?;
        published.files.iter().try_for_each(|file| say(format!("wrote {}", file.display())))?;
        return Ok(0);
    }
    let planned = standing::all(&table, runs)?;
    if args.dry_run {
        return print_plan(&planned).map(|()| 0);
    }
    let jobs = usize::from(args.jobs);
    let ended = Queue::new(&table, runs, &planned, &overrides, jobs)?.work()?;
    report::print(&table, runs, Format::Text)?;
    ended.tell(&Shell::new(runs), &args.table)
}

fn print_plan(planned: &[Planned]) -> Result<()> {
    let names = planned.iter().map(|planned| planned.run.name.clone()).collect();
    let standings = planned.iter().map(|planned| planned.standing.to_string()).collect();
    aligned(&[names, standings]).into_iter().try_for_each(say)?;
    let left = planned.iter().filter(|planned| !matches!(planned.standing, Standing::Finished)).count();
    say(format!("{left} of {} runs are to be trained", planned.len()))
}
