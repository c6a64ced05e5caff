//! What the machine is doing: one line, and where there is room, or on a page of its own, graphs. What is not known is absent.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::symbols::bar::NINE_LEVELS;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline, SparklineBar};

use super::panel::{Panel, panel};
use super::parts::row;
use crate::format;
use crate::run::state::Phase;
use crate::run::system_sample::{CardSample, Metric, SystemSample, ThrottleReason};
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::layout::{Areas, Density, PanelName, Region, place};

/// Those of a card and its words, in a frame.
const ROWS: u16 = 3 + 3 + 2;
/// Columns of a graph in the line.
const LINE_GRAPH: usize = 8;
/// Columns left of a graph.
const FIGURES_WIDTH: u16 = 18;
/// Rows of a graph that are enough for a gap between them.
const ROOMY: u16 = 4;
/// Columns between machine and card.
const GAP: u16 = 3;

pub static PANEL: Panel = Panel {
    name: PanelName("system"),
    places: [
        place(Region::Status, Constraint::Fill(1)),
        place(Region::Status, Constraint::Fill(1)),
        place(Region::Tables, Constraint::Length(ROWS)),
    ],
    is_shown: |app| latest(app).is_some(),
    scrolling: None,
    chart: None,
    rows: None,
    render,
};

fn latest(app: &App) -> Option<&SystemSample> {
    app.run.system.latest().filter(|sample| sample.tells_of_machine())
}

fn render(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let Some(sample) = latest(app) else { return };
    if areas.density == Density::Wide {
        return render_in(app, areas, area, frame);
    }
    let area = Rect { x: area.x + 1, width: area.width - 1, ..area };
    row(area, summary(app, areas.density, sample, area.width.into()), Line::default(), frame);
}

/// Draws the graphs, and what else there is to say, in a frame.
pub fn render_in(app: &App, areas: &Areas, area: Rect, frame: &mut Frame) {
    let inner = panel(app, areas, area, None, "System", note(app), frame);
    let Some(sample) = latest(app) else {
        let why = match app.run.other_trainer() {
            Some(_) => "The log does not tell: it is up to its trainer to look.",
            None => "The log does not tell yet: the trainer looks each second. That of an older taper never does.",
        };
        return frame.render_widget(Line::styled(why, app.ui.theme.faint()), inner);
    };
    let machine = [Metric::Cpu, Metric::Memory];
    let Some(card) = &sample.card else {
        return render_column(app, sample, &machine, machine_lines(app, sample), inner, frame);
    };
    let columns = [Constraint::Fill(1); 2];
    let [left, right] = Layout::horizontal(columns).spacing(GAP).areas(inner);
    render_column(app, sample, &machine, machine_lines(app, sample), left, frame);
    let metrics = [Metric::CardUtilisation, Metric::CardMemory, Metric::CardPower];
    render_column(app, sample, &metrics, card_lines(app, card), right, frame);
}

/// Graphs, and under them lines.
fn render_column(
    app: &App,
    sample: &SystemSample,
    metrics: &[Metric],
    lines: Vec<Line>,
    area: Rect,
    frame: &mut Frame,
) {
    let known: Vec<Metric> = metrics.iter().copied().filter(|metric| metric.of(sample).is_some()).collect();
    let [graphs, words] = Layout::vertical([Constraint::Fill(1), Constraint::Length(lines.len() as u16)]).areas(area);
    let spacing = u16::from(graphs.height >= ROOMY * known.len() as u16);
    let rows = Layout::vertical(known.iter().map(|_| Constraint::Fill(1))).spacing(spacing).split(graphs);
    for (metric, area) in known.into_iter().zip(rows.iter()) {
        render_graph(app, sample, metric, *area, frame);
    }
    frame.render_widget(Paragraph::new(lines), words);
}

fn render_graph(app: &App, sample: &SystemSample, metric: Metric, area: Rect, frame: &mut Frame) {
    let Some(value) = metric.of(sample) else { return };
    let theme = app.ui.theme;
    let [figures, graph] = Layout::horizontal([Constraint::Length(FIGURES_WIDTH), Constraint::Fill(1)]).areas(area);
    let figures = Rect { width: figures.width.saturating_sub(2), ..figures };
    let mut rows = figures.rows();
    if let Some(first) = rows.next() {
        row(first, Line::styled(label(metric), theme.faint()), Line::raw(figure(metric, value)), frame);
    }
    let limit = metric.limit(sample);
    if let (Some(second), Some(limit), false) = (rows.next(), limit, is_percent(metric)) {
        row(second, Line::default(), Line::styled(format!("of {}", figure(metric, limit)), theme.faint()), frame);
    }
    let values = values(app, metric, graph.width.into());
    let levels = u64::from(graph.height) * 8;
    let data = values.iter().map(|value| SparklineBar::from(value.map(|value| level(value, limit, &values, levels))));
    frame.render_widget(Sparkline::default().data(data).max(levels).style(theme.bars()), graph);
}

/// The last samples of a run that goes on, or the whole of one that does not.
fn values(app: &App, metric: Metric, count: usize) -> Vec<Option<f64>> {
    let history = &app.run.system;
    if is_over(app) { history.whole_run(metric, count) } else { history.recent(metric, count) }
}

fn is_over(app: &App) -> bool {
    matches!(app.run.phase, Phase::Ended(_)) || app.trainer_died()
}

/// In `levels` up to the limit, or where there is none up to the largest of `values`; only nothing at all has none.
fn level(value: f64, limit: Option<f64>, values: &[Option<f64>], levels: u64) -> u64 {
    let most = limit.unwrap_or_else(|| values.iter().flatten().copied().fold(0.0, f64::max));
    let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
    (share * levels as f64).ceil() as u64
}

fn note(app: &App) -> Line<'static> {
    let theme = app.ui.theme;
    let mut spans = Vec::new();
    if let Some(joules) = app.run.system.joules_per_image() {
        spans.extend([Span::raw(joules_figure(joules)), Span::styled(" an image", theme.faint())]);
    }
    if latest(app).is_some() && (is_over(app) || !app.run.phase.is_active()) {
        let at = Timestamp::from_millisecond(app.run.system.latest_ms() as i64).unwrap_or_default();
        let at = at.to_zoned(app.ui.zone.clone());
        let which = if is_over(app) { "whole run, " } else { "" };
        let gap = if spans.is_empty() { "" } else { "  " };
        spans.push(Span::styled(format!("{gap}{which}until {}", at.strftime("%H:%M:%S")), theme.faint()));
    }
    Line::from(spans)
}

/// As much as fits, the more important first.
fn summary(app: &App, density: Density, sample: &SystemSample, width: usize) -> Line<'static> {
    let theme = app.ui.theme;
    let gap = if density == Density::Compact { "  " } else { "   " };
    let mut parts: Vec<Vec<Span>> = Vec::new();
    let graphed = |metric: Metric, text: String| {
        let mut part = vec![Span::styled(format!("{} ", label(metric)), theme.faint())];
        if density != Density::Compact {
            part.push(Span::styled(format!("{} ", line_graph(app, sample, metric)), theme.bars()));
        }
        part.push(Span::raw(text));
        part
    };
    parts.extend(sample.cpu_percent.map(|percent| graphed(Metric::Cpu, figure(Metric::Cpu, percent))));
    if let Some(card) = &sample.card {
        let metric = Metric::CardUtilisation;
        parts.extend(card.utilisation_percent.map(|percent| graphed(metric, figure(metric, percent))));
        parts.extend(card.power_watts.map(|watts| vec![Span::raw(figure(Metric::CardPower, watts))]));
        parts.extend(card.temperature_celsius.map(|celsius| vec![Span::raw(format!("{celsius} °C"))]));
        let memory = share(card.memory_used_bytes, card.memory_total_bytes);
        parts.extend(memory.map(|memory| vec![Span::raw(memory)]));
        parts.extend(throttling(app, card).map(|words| vec![words]));
    }
    let labelled = |label: &'static str, text: String| vec![Span::styled(label, theme.faint()), Span::raw(text)];
    let memory = share(sample.memory_used_bytes, sample.memory_total_bytes);
    parts.extend(memory.map(|memory| labelled("memory ", memory)));
    parts.extend(sample.resident_bytes.map(|bytes| labelled("trainer ", format::bytes(bytes))));
    parts.extend(sample.disk_free_bytes.map(|bytes| labelled("disk free ", format::bytes(bytes))));
    parts.extend(
        app.run
            .system
            .joules_per_image()
            .map(|joules| vec![Span::raw(joules_figure(joules)), Span::styled(" an image", theme.faint())]),
    );
    let mut line = Line::default();
    for part in parts {
        let gap = if line.spans.is_empty() { "" } else { gap };
        if line.width() + gap.len() + Line::from(part.clone()).width() <= width {
            line.push_span(gap);
            line.extend(part);
        }
    }
    line
}

fn line_graph(app: &App, sample: &SystemSample, metric: Metric) -> String {
    let values = values(app, metric, LINE_GRAPH);
    let limit = metric.limit(sample);
    let symbols = [
        NINE_LEVELS.empty,
        NINE_LEVELS.one_eighth,
        NINE_LEVELS.one_quarter,
        NINE_LEVELS.three_eighths,
        NINE_LEVELS.half,
        NINE_LEVELS.five_eighths,
        NINE_LEVELS.three_quarters,
        NINE_LEVELS.seven_eighths,
        NINE_LEVELS.full,
    ];
    let graph: String =
        values.iter().map(|value| symbols[value.map_or(0, |value| level(value, limit, &values, 8)) as usize]).collect();
    format!("{graph:<LINE_GRAPH$}")
}

fn machine_lines(app: &App, sample: &SystemSample) -> Vec<Line<'static>> {
    let theme = app.ui.theme;
    let mut lines = Vec::new();
    let trainer = [
        sample.resident_bytes.map(format::bytes),
        sample.trainer_cpu_percent.map(|percent| format!("{:.1} cores", percent / 100.0)),
    ];
    lines.extend(labelled_line("trainer  ", trainer, theme.faint()));
    let free = sample.disk_free_bytes.map(|bytes| format!("{} free", format::bytes(bytes)));
    lines.extend(labelled_line("disk  ", [free], theme.faint()));
    lines.extend(ranks_line(app, sample));
    lines
}

/// How quick the ranks are, and which is the slowest: `ranks  4 on 2 hosts  1 640 to 1 810 images/s each  slowest 3 on box2`.
fn ranks_line(app: &App, sample: &SystemSample) -> Option<Line<'static>> {
    let speeds = sample.ranks.iter().map(|rank| rank.images_per_sec);
    let (slowest, least) = speeds.clone().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let most = speeds.fold(0.0, f64::max);
    let ranks = app.run.started.as_ref().map_or(&[][..], |started| &started.ranks);
    let mut hosts: Vec<&str> = ranks.iter().map(|rank| rank.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let on_hosts = if hosts.len() > 1 { format!(" on {} hosts", hosts.len()) } else { String::new() };
    let of_slowest =
        ranks.get(slowest).filter(|_| hosts.len() > 1).map_or(String::new(), |rank| format!(" on {}", rank.host));
    let [least, most] = [least, most].map(|speed| format::count(speed as u64));
    let figures = [
        Some(format!("{}{on_hosts}", sample.ranks.len())),
        Some(format!("{least} to {most} images/s each")),
        Some(format!("slowest {slowest}{of_slowest}")),
    ];
    labelled_line("ranks  ", figures, app.ui.theme.faint())
}

fn card_lines(app: &App, card: &CardSample) -> Vec<Line<'static>> {
    let theme = app.ui.theme;
    let mut lines = Vec::new();
    lines.extend(card.name.as_ref().map(|name| Line::styled(name.clone(), theme.strong())));
    let figures = [
        card.temperature_celsius.map(|celsius| format!("{celsius} °C")),
        card.sm_clock_mhz.map(|mhz| format!("SM {mhz} MHz")),
        card.memory_clock_mhz.map(|mhz| format!("memory {mhz} MHz")),
    ];
    lines.extend(labelled_line("", figures, theme.faint()));
    lines.extend(throttling(app, card).map(Line::from));
    lines
}

/// The figures that are known, where any is.
fn labelled_line<const N: usize>(
    label: &'static str,
    figures: [Option<String>; N],
    style: Style,
) -> Option<Line<'static>> {
    let known: Vec<String> = figures.into_iter().flatten().collect();
    (!known.is_empty()).then(|| Line::from(vec![Span::styled(label, style), Span::raw(known.join("  "))]))
}

/// `slowed by power cap, heat`. None: by nothing, or it is not known.
fn throttling(app: &App, card: &CardSample) -> Option<Span<'static>> {
    let reasons = card.throttle_reasons.as_ref().filter(|reasons| !reasons.is_empty())?;
    let words: Vec<&str> = reasons.iter().map(|reason| reason.words()).collect();
    let style = if reasons.iter().all(|reason| *reason == ThrottleReason::Idle) {
        app.ui.theme.faint()
    } else {
        app.ui.theme.warning()
    };
    Some(Span::styled(format!("slowed by {}", words.join(", ")), style))
}

fn label(metric: Metric) -> &'static str {
    match metric {
        Metric::Cpu => "CPU",
        Metric::Memory => "memory",
        Metric::CardUtilisation => "GPU",
        Metric::CardMemory => "memory",
        Metric::CardPower => "power",
    }
}

fn is_percent(metric: Metric) -> bool {
    matches!(metric, Metric::Cpu | Metric::CardUtilisation)
}

fn figure(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Cpu | Metric::CardUtilisation => format!("{value:.0} %"),
        Metric::Memory | Metric::CardMemory => format::bytes(value as u64),
        Metric::CardPower => format!("{value:.0} W"),
    }
}

/// `5.1 of 16.8 GB`
fn share(used: Option<u64>, total: Option<u64>) -> Option<String> {
    let used = format::bytes(used?);
    let Some(total) = total.map(format::bytes) else { return Some(used) };
    let used = match (used.split_once(' '), total.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => number.to_owned(),
        _ => used,
    };
    Some(format!("{used} of {total}"))
}

/// Three digits or so.
fn joules_figure(joules: f64) -> String {
    match joules {
        0.0..1.0 => format!("{:.1} mJ", 1e3 * joules),
        1.0..100.0 => format!("{joules:.2} J"),
        _ => format!("{joules:.0} J"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_its_unit_once_and_absence_is_no_zero() {
        assert_eq!(share(Some(5_100_000_000), Some(16_800_000_000)).as_deref(), Some("5.1 of 16.8 GB"));
        assert_eq!(share(Some(512_000_000), Some(16_800_000_000)).as_deref(), Some("512.0 MB of 16.8 GB"));
        assert_eq!(share(Some(512_000_000), None).as_deref(), Some("512.0 MB"));
        assert_eq!(share(None, Some(1)), None);
    }

    #[test]
    fn levels_are_shares_of_the_limit_or_of_the_largest() {
        let values = [Some(1.0), None, Some(4.0)];
        assert_eq!([0.0, 1.0, 50.0, 100.0, 900.0].map(|value| level(value, Some(100.0), &values, 8)), [0, 1, 4, 8, 8]);
        assert_eq!([1.0, 4.0].map(|value| level(value, None, &values, 8)), [2, 8]);
        assert_eq!(level(0.0, None, &[Some(0.0)], 8), 0);
    }

    #[test]
    fn energies_have_a_fitting_unit() {
        assert_eq!([0.0123, 1.5, 250.0].map(joules_figure), ["12.3 mJ", "1.50 J", "250 J"]);
    }
}
