//! `taper lr-find`: a learning-rate range test of a configuration, in the terminal, as a table, and as a figure.

mod command_line;
mod figure;
mod interruption;
mod lines;
mod report;
mod screen;

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ratatui::layout::Size;

use self::figure::FigureFile;
use self::interruption::Interruption;
use self::report::Report;
use super::failure::UsageError;
use super::own_images::configuration_for_data;
use super::shell::{Shell, say, say_json};
use crate::cli::LrFindArgs;
use crate::export::table::io_error;
use crate::format;
use crate::run::dir::RunsDir;
use crate::run::limits;
use crate::run::signals::exit_code;
use crate::run::spawn;
use crate::terminal_image::half_blocks::Symbols;
use crate::terminal_image::{self, Background, Images, variable};
use crate::terminal_kind::no_cursor;
use crate::train::range_test::{Curve, Finding, Point, RangeTest, Rates, Suggestion, usual_range};
use crate::tui::theme::{Theme, ThemeChoice};

pub fn lr_find(runs: &RunsDir, args: &LrFindArgs) -> Result<u8> {
    let (config, _) = configuration_for_data(args.config.as_deref(), &args.set, &args.shorthands())?;
    let rates = Rates::new(args.from, args.to, usual_range(config.optimizer.kind), args.steps)
        .map_err(|bad| UsageError(bad.to_string()))?;
    let figure = args.png.as_deref().map(FigureFile::at).transpose()?;
    spawn::restart_with_threads(config.run.threads).context("cannot restart with the threads of the run")?;
    limits::check_memory().context("cannot train")?;
    let interruption = Interruption::listen().context("cannot listen for signals")?;

    let test = RangeTest::open(config.clone())?;
    test.notices.iter().for_each(|notice| eprintln!("{notice}"));
    let subject = test.subject.clone();
    interruption.begin();
    let bar = progress(rates.steps())?;
    let measured = test.run(rates, |curve| {
        tell(&bar, curve);
        interruption.signal().is_none()
    });
    bar.finish_and_clear();
    let (curve, end) = measured?;

    let finding = Finding::of(&curve);
    let suggestion = finding.suggestion();
    let shell = Shell::new(runs);
    let command = |rate| command_line::train_command(&shell, args, &config, rate);
    let report = Report::new(subject, &config, rates, (&curve, end), finding, command);
    if args.json {
        say_json(&report)?;
    } else if args.csv {
        csv(curve.points()).context("stdout")?;
    } else {
        say(report.subject())?;
        let drawn = screen().map(|size| draw(curve.points(), suggestion.as_ref(), size, args.theme)).transpose()?;
        drawn.flatten().unwrap_or_else(|| report.table()).iter().try_for_each(say)?;
        say("")?;
        report.conclusion().iter().try_for_each(say)?;
    }
    if let Some(figure) = figure.filter(|_| !curve.points().is_empty()) {
        let path = figure.write(&curve, suggestion.as_ref())?;
        if !args.json && !args.csv {
            say(format!("\nwrote {}", path.display()))?;
        }
    }
    Ok(interruption.signal().map_or(0, exit_code))
}

/// A bar on stderr, where that is a terminal.
fn progress(steps: u64) -> Result<ProgressBar> {
    let bar = ProgressBar::new(steps);
    bar.set_style(ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}")?);
    if no_cursor().is_some() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    Ok(bar)
}

fn tell(bar: &ProgressBar, curve: &Curve) {
    if let Some(point) = curve.points().last() {
        let rate = format::learning_rate(point.learning_rate);
        bar.set_message(format!("learning rate {rate:<7}  loss {}", format::loss(point.smoothed_loss, 6)));
        bar.set_position(point.step);
    }
}

/// The size of the terminal at stdout, where there is one that can draw.
fn screen() -> Option<Size> {
    let stdout = io::stdout();
    if !stdout.is_terminal() || no_cursor().is_some() {
        return None;
    }
    let usual = Size::new(80, 24);
    let found = rustix::termios::tcgetwinsize(&stdout).map(|size| Size::new(size.ws_col, size.ws_row));
    Some(found.ok().filter(|size| size.width > 0 && size.height > 0).unwrap_or(usual))
}

/// The lines of the drawn curve; None where there is too little of it.
fn draw(
    points: &[Point],
    suggestion: Option<&Suggestion>,
    size: Size,
    choice: ThemeChoice,
) -> Result<Option<Vec<String>>> {
    let background = if choice.asks(&variable) { Background::Asked } else { Background::Unasked };
    let detected = terminal_image::detect_in_shell(Images::Off, background)?;
    let theme: Theme = choice.choose(detected.background, detected.palette, &variable).theme;
    let symbols = Symbols::of(detected.is_utf8);
    Ok(screen::draw(points, suggestion, size, theme, symbols).map(|buffer| lines::lines(&buffer)))
}

fn csv(points: &[Point]) -> io::Result<()> {
    let mut out = csv::Writer::from_writer(io::stdout().lock());
    let write = |out: &mut csv::Writer<_>| {
        out.write_record(["step", "learning_rate", "loss", "smoothed_loss"])?;
        points.iter().try_for_each(|&Point { step, learning_rate, loss, smoothed_loss }| {
            out.write_record([step.to_string(), learning_rate.to_string(), loss.to_string(), smoothed_loss.to_string()])
        })
    };
    write(&mut out).map_err(io_error)?;
    out.flush()
}
