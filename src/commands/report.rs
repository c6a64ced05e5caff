//! `taper report`: runs in one page of HTML.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::shell::say;
use crate::cli::ReportArgs;
use crate::commands::failure::UsageError;
use crate::durable;
use crate::export::RecordedRun;
use crate::export::report::{GENERATOR, report};
use crate::run::dir::RunsDir;

pub fn report_runs(runs: &RunsDir, args: &ReportArgs) -> Result<u8> {
    let mut read = vec![];
    for name in &args.runs {
        let run = runs.open(name)?;
        if read.iter().any(|earlier: &RecordedRun| earlier.dir == run) {
            return Err(UsageError(format!("report: {name} is named twice")).into());
        }
        read.push(RecordedRun::read(&run)?);
    }
    let page = report(&read, Timestamp::now(), &TimeZone::system())?;
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(default_name(&read)));
    if output == Path::new("-") {
        io::stdout().lock().write_all(page.as_bytes()).context("stdout")?;
        return Ok(0);
    }
    let shown = output.display();
    if !may_be_replaced(&output).with_context(|| shown.to_string())? {
        let advice = "is no report of taper, and is not overwritten; name another file with -o, or move it away";
        return Err(UsageError(format!("{shown} {advice}")).into());
    }
    durable::replace(&output, page.as_bytes()).with_context(|| format!("cannot write {shown}"))?;
    say(format!("wrote {shown}"))?;
    Ok(0)
}

fn default_name(runs: &[RecordedRun]) -> String {
    match runs {
        [only] => format!("{}.html", only.name()),
        _ => "report.html".to_owned(),
    }
}

/// There is nothing of that name, or an earlier report.
fn may_be_replaced(path: &Path) -> io::Result<bool> {
    const BEGINNING: u64 = 1024;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(found) if !found.is_file() => return Ok(false),
        Ok(_) => {}
    }
    let mut beginning = Vec::new();
    File::open(path)?.take(BEGINNING).read_to_end(&mut beginning)?;
    Ok(memchr::memmem::find(&beginning, GENERATOR.as_bytes()).is_some())
}
