//! The header: which run, on what, how it is going and how far it is.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::parts::row;
use crate::format;
use crate::run::describe::accuracy;
use crate::run::event::{Outcome, Severity};
use crate::run::lock::Liveness;
use crate::run::state::Phase;
use crate::tui::app::{App, PauseIntent};
use crate::tui::layout::{Areas, Density};

/// Where the bundled sample is read from.
const SAMPLE_ORIGIN: &str = "built in";
/// Shorter bars tell nothing.
const SHORTEST_BAR: usize = 7;
/// Shorter pauses are not shown.
const NOTABLE_PAUSE_SECS: f64 = 60.0;

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let area = areas.header;
    let lines: Vec<Rect> = area.rows().map(|line| Rect { x: line.x + 1, width: line.width - 2, ..line }).collect();
    let theme = app.ui.theme;
    let title = Line::from(vec![
        Span::styled("taper", theme.faint()),
        Span::raw("  "),
        Span::styled(app.name.clone(), theme.strong()),
    ]);
    row(lines[0], title, phase(app), frame);
    if areas.density == Density::Compact {
        let speed = speed(app);
        let mut subject = subject(app, areas.density, Parenthesis::Shown);
        if subject.width() + 2 + speed.width() > lines[1].width.into() {
            subject = self::subject(app, areas.density, Parenthesis::Omitted);
        }
        row(lines[1], subject, speed, frame);
        row(lines[2], Line::default(), times(app), frame);
        let width = lines[2].width.saturating_sub(times(app).width() as u16 + 3);
        progress(app, Rect { width, ..lines[2] }, frame);
    } else {
        row(lines[1], subject(app, areas.density, Parenthesis::Shown), Line::default(), frame);
        progress(app, lines[2], frame);
        let mut times = times(app);
        let (active_secs, wall_secs) =
            (app.run.active_secs(app.trainer_now_ms()), app.run.wall_secs(app.trainer_now_ms()));
        if wall_secs - active_secs >= NOTABLE_PAUSE_SECS {
            times.spans.insert(2, Span::styled(format!(" of {}", format::duration(wall_secs)), theme.faint()));
        }
        row(lines[3], figures(app), times, frame);
    }
}

/// In three lines, on a screen that is smaller than a dashboard.
pub fn render_small(app: &App, area: Rect, frame: &mut Frame) {
    let lines: Vec<Rect> = area.rows().map(|line| Rect { x: line.x + 1, width: line.width - 2, ..line }).collect();
    let theme = app.ui.theme;
    row(lines[0], Line::styled(app.name.clone(), theme.strong()), phase(app), frame);
    progress(app, lines[1], frame);
    let times = times(app);
    let mut figures = Line::default();
    let parts = [
        app.run.best().map(|best| Span::styled(format!("★ {}", accuracy(best)), theme.best())),
        app.run.learning_rate.map(|rate| Span::raw(format!("lr {}", format::learning_rate(rate)))),
        app.run.images_per_sec().map(|speed| Span::raw(format!("{} images/s", format::count(speed.round() as u64)))),
    ];
    for part in parts.into_iter().flatten() {
        if figures.width() + 2 + part.width() + 2 + times.width() <= lines[2].width.into() {
            figures.spans.extend([part, Span::raw("  ")]);
        }
    }
    row(lines[2], figures, times, frame);
}

/// The phase of the run, or the one that was asked for and is pending.
fn phase(app: &App) -> Line<'static> {
    let theme = app.ui.theme;
    let pending = app.ui.pending;
    let (text, style) = if app.trainer_died() {
        ("✗ trainer gone".to_owned(), theme.alarm())
    } else if pending.stop {
        ("■ stopping…".to_owned(), theme.pending())
    } else if let Some(intent) = pending.pause {
        let text = match intent {
            PauseIntent::Pause => "‖ pausing…",
            PauseIntent::Resume => "● resuming…",
        };
        (text.to_owned(), theme.pending())
    } else if app.run.started.is_none() {
        let text = if app.ui.caught_up { "○ waiting for the trainer" } else { "○ reading the log" };
        (text.to_owned(), theme.faint())
    } else {
        let (glyph, style) = match app.run.phase {
            Phase::Starting => ("○", Style::new()),
            Phase::Training => ("●", theme.best()),
            Phase::Evaluating => ("◐", theme.test()),
            Phase::Paused => ("‖", theme.warning()),
            Phase::Ended(Outcome::Completed) => ("✓", theme.best()),
            Phase::Ended(Outcome::Stopped | Outcome::Interrupted | Outcome::Other) => ("■", theme.warning()),
            Phase::Ended(Outcome::Failed) => ("✗", theme.alarm()),
        };
        match app.long_silence_secs() {
            Some(secs) => (format!("○ {}, silent for {}", app.run.phase, format::duration(secs)), theme.warning()),
            None => (format!("{glyph} {}", app.run.phase), style),
        }
    };
    let mut spans = Vec::new();
    let alarms = app.run.alarms.iter().filter(|alarm| alarm.kind.severity() == Severity::Alarm).count();
    if alarms > 0 {
        let word = if alarms == 1 { "alarm" } else { "alarms" };
        spans.push(Span::styled(format!("! {alarms} {word}: a  "), theme.alarm()));
    }
    if pending.checkpoint {
        spans.push(Span::styled("saving…  ", theme.pending()));
    }
    if pending.probe {
        spans.push(Span::styled("probing…  ", theme.pending()));
    }
    spans.push(Span::styled(text, style.add_modifier(ratatui::style::Modifier::BOLD)));
    Line::from(spans)
}

/// Of a device, such as how many threads it has, or why it is the CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parenthesis {
    Shown,
    Omitted,
}

/// Model, device and data; the bundled sample stands out.
fn subject(app: &App, density: Density, parenthesis: Parenthesis) -> Line<'static> {
    let Some(started) = &app.run.started else { return Line::default() };
    let is_told = |count: u64| started.trainer.is_none() || count > 0;
    let device = match (parenthesis, started.device.split_once(" (")) {
        (Parenthesis::Omitted, Some((device, _))) => device,
        _ => &started.device,
    };
    let mut parts: Vec<String> = started.trainer.iter().cloned().collect();
    parts.push(started.model.clone());
    if density != Density::Compact && is_told(started.parameters) {
        parts.push(format!("{} parameters", format::count(started.parameters)));
    }
    parts.push(match &app.liveness {
        Some(Liveness::Elsewhere { host }) if device.is_empty() => host.clone(),
        Some(Liveness::Elsewhere { host }) => format!("{device} on {host}"),
        _ => device.to_owned(),
    });
    let data = parts.len();
    parts.push(started.data.clone());
    if density != Density::Compact {
        if is_told(started.train_samples) {
            let (train, test) = (format::count(started.train_samples), format::count(started.test_samples));
            parts.push(format!("{train} + {test} images"));
        }
        if is_told(started.batch_size) {
            parts.push(format!("batch {}", started.batch_size));
        }
    }
    if density == Density::Wide {
        if started.trainer.is_none() {
            parts.push(format!("seed {}", started.seed));
            parts.push(format!("data from {}", started.data_origin));
        }
        if is_told(started.pid.into()) {
            parts.push(format!("process {} on {}", started.pid, started.host));
        }
    }
    let separator = Span::styled(" · ", app.ui.theme.faint());
    let mut spans = Vec::new();
    for (number, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        if !spans.is_empty() {
            spans.push(separator.clone());
        }
        let stands_out = number == data && started.data_origin == SAMPLE_ORIGIN;
        spans.push(Span::styled(part, if stands_out { app.ui.theme.warning() } else { Style::new() }));
    }
    Line::from(spans)
}

fn speed(app: &App) -> Line<'static> {
    let theme = app.ui.theme;
    match app.run.images_per_sec() {
        Some(speed) => {
            Line::from(vec![Span::raw(format::count(speed.round() as u64)), Span::styled(" images/s", theme.faint())])
        }
        None => Line::default(),
    }
}

fn times(app: &App) -> Line<'static> {
    let theme = app.ui.theme;
    if app.run.started.is_none() {
        return Line::default();
    }
    let mut spans = vec![
        Span::styled("elapsed ", theme.faint()),
        Span::raw(format::duration(app.run.active_secs(app.trainer_now_ms()))),
    ];
    if !matches!(app.run.phase, Phase::Ended(_)) && !app.trainer_died() {
        let remaining = match app.run.phase {
            Phase::Paused => "paused".to_owned(),
            _ => app.run.remaining_secs().map_or("–".to_owned(), format::duration),
        };
        spans.extend([Span::styled("  ETA ", theme.faint()), Span::raw(remaining)]);
    }
    Line::from(spans)
}

/// The line of numbers that there is room for beyond the smallest screen.
fn figures(app: &App) -> Line<'static> {
    let theme = app.ui.theme;
    let mut spans = Vec::new();
    let mut figure = |label: &'static str, value: String, unit: &'static str, style: Style| {
        if !spans.is_empty() {
            spans.push(Span::raw("   "));
        }
        spans.extend([
            Span::styled(label, theme.faint()),
            Span::styled(value, style),
            Span::styled(unit, theme.faint()),
        ]);
    };
    if let Some(speed) = app.run.images_per_sec() {
        figure("", format::count(speed.round() as u64), " images/s", Style::new());
    }
    if let Some(best) = app.run.best() {
        figure("best ", format!("★ {}", accuracy(best)), "", theme.best());
        figure("in epoch ", best.epoch.to_string(), "", Style::new());
    }
    // Else the system's panel says it, and what memory there is.
    if let Some(sample) = app.run.system.latest().filter(|sample| !sample.tells_of_machine())
        && let Some(bytes) = sample.resident_bytes
    {
        figure("memory ", format::bytes(bytes), "", Style::new());
    }
    Line::from(spans)
}

/// Two bars, or one where there is no room: epochs of the run, steps of the epoch.
fn progress(app: &App, area: Rect, frame: &mut Frame) {
    let Some(started) = &app.run.started else { return };
    let (epoch, step) = (app.run.epoch, app.run.steps_in_epoch());
    let run_done = share(app.run.step, started.total_steps);
    let epochs = counted("epoch", epoch, started.epochs);
    let steps = counted("step", step, started.steps_per_epoch);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(3).areas(area);
    if usize::from(left.width) < epochs.len().max(steps.len()) + SHORTEST_BAR {
        return bar(app, area, &format!("{epochs}  {steps}"), run_done, frame);
    }
    bar(app, left, &epochs, run_done, frame);
    bar(app, right, &steps, share(step, started.steps_per_epoch), frame);
}

/// None where nobody knows how many there will be.
fn share(done: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| done as f64 / all as f64)
}

fn counted(what: &str, number: u64, of: u64) -> String {
    match of {
        0 => format!("{what} {}", format::count(number)),
        of => format!("{what} {}/{}", format::count(number), format::count(of)),
    }
}

fn bar(app: &App, area: Rect, label: &str, done: Option<f64>, frame: &mut Frame) {
    let Some(done) = done else { return frame.render_widget(Line::raw(label), area) };
    let done = done.clamp(0.0, 1.0);
    let percent = if area.width >= 40 { format!(" {:3.0} %", (done * 100.0).floor()) } else { String::new() };
    let width = usize::from(area.width).saturating_sub(label.chars().count() + 1 + percent.len());
    let filled = (width as f64 * done) as usize;
    let line = Line::from(vec![
        Span::raw(format!("{label} ")),
        Span::styled("━".repeat(filled), app.ui.theme.train()),
        Span::styled("─".repeat(width - filled), app.ui.theme.faint()),
        Span::raw(percent),
    ]);
    frame.render_widget(line, area);
}
