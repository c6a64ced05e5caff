//! A chart on the whole screen.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::charts::marks;
use super::curves::{curve, faint_batches, legend};
use super::panel::panel;
use super::parts::row;
use crate::format;
use crate::run::metric::Metric;
use crate::run::series::{Point, Smoothing, XAxis};
use crate::tui::app::App;
use crate::tui::chart::{self, Axis, Chart, Curve, ScaleKind, Window};
use crate::tui::chart_page::ChartKind;
use crate::tui::layout::Areas;

/// The legend above the chart, and what is read off below it.
fn rows(areas: &Areas) -> [Rect; 3] {
    Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
        .areas(areas.inner(areas.page()))
}

/// Where the chart is, its scales included.
pub fn chart_area(areas: &Areas) -> Rect {
    rows(areas)[1]
}

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let page = &app.ui.chart;
    let kind = page.kind;
    let number = kind.digit().map_or(String::new(), |digit| format!("{digit} "));
    let unit = if kind.unit().is_empty() { String::new() } else { format!(" {}", kind.unit()) };
    let title = format!("{number}{}{unit}", kind.title());
    panel(app, areas, areas.page(), None, &title, settings(app), frame);
    let [top, area, bottom] = rows(areas);
    let (axis, view, columns) = (page.axis, page.visible(&app.run), chart::columns(area));
    if !kind.has_data(&app.run) {
        let middle = area.centered_vertically(Constraint::Length(1));
        let text = format!("This run has no {} so far.", kind.title());
        frame.render_widget(Line::styled(text, theme.faint()).centered(), middle);
        return;
    }
    let curves: Vec<Curve> = match kind {
        ChartKind::Loss if page.smoothing.is_off() => {
            let lines = [Metric::TrainLoss, Metric::TestLoss];
            let lines = lines.map(|metric| curve(app, metric, axis, &view, columns, Smoothing::OFF));
            std::iter::once(faint_batches(app, axis, &view, columns)).chain(lines).collect()
        }
        _ => {
            kind.metrics().into_iter().map(|metric| curve(app, metric, axis, &view, columns, page.smoothing)).collect()
        }
    };
    frame.render_widget(legend(&curves, 7, top.width.into()), top);
    let read = page.cursor.and_then(|cursor| read_off(app, kind, axis, cursor));
    let chart = Chart {
        curves: &curves,
        marks: &marks(app, kind, axis),
        axis: Axis::Run(axis),
        x: view,
        scale: page.scale,
        cursor: read.as_ref().map(|(at, _)| at.x(axis)),
        axis_style: theme.faint(),
        beyond_style: theme.alarm(),
    };
    chart.render(area, frame.buffer_mut());
    match read {
        Some((at, values)) => row(bottom, reading(app, &at, &values), Line::default(), frame),
        None => {
            let text = match page.window {
                Window::Whole => "the whole run; ↑ zooms in, ← reads off",
                Window::Newest { .. } => "following the newest; ← reads off, pgup goes back",
                Window::Fixed(_) => "end: follow the newest again",
            };
            let style = if page.follows() { theme.faint() } else { theme.warning() };
            row(bottom, Line::styled(text, style), Line::default(), frame);
        }
    }
}

/// How the chart is drawn.
fn settings(app: &App) -> Line<'static> {
    let page = &app.ui.chart;
    let axis = match page.axis {
        XAxis::Step => "by step",
        XAxis::Epoch => "by epoch",
        XAxis::Time => "by time",
    };
    let scale = match page.scale {
        ScaleKind::Linear => "linear",
        ScaleKind::Logarithmic => "log",
    };
    let smoothing = format!("smoothing {}", page.smoothing);
    Line::styled([axis, scale, &smoothing].join("  "), app.ui.theme.faint())
}

type Reading = (Point, Vec<(Metric, f64)>);

/// The step that is nearest to the cursor, and what each metric is there.
fn read_off(app: &App, kind: ChartKind, axis: XAxis, cursor: f64) -> Option<Reading> {
    let all: Vec<_> = kind.metrics().into_iter().map(|metric| (metric, app.run.series(metric))).collect();
    let densest = all.iter().filter(|(_, series)| !series.is_empty()).max_by_key(|(_, series)| series.len())?;
    let at = densest.1.nearest(axis, cursor)?;
    let values = all.iter().filter_map(|(metric, series)| Some((*metric, series.nearest(axis, at.x(axis))?.value)));
    Some((at, values.collect()))
}

fn reading(app: &App, at: &Point, values: &[(Metric, f64)]) -> Line<'static> {
    let theme = app.ui.theme;
    let clock = Timestamp::from_millisecond(at.time_ms as i64).unwrap_or_default().to_zoned(app.ui.zone.clone());
    let mut spans = Vec::new();
    let mut add = |label: &str, value: String| {
        let gap = if spans.is_empty() { "" } else { "  " };
        spans.push(Span::styled(format!("{gap}{label} "), theme.faint()));
        spans.push(Span::raw(value));
    };
    add("step", format::count(at.step));
    add("epoch", format!("{:.2}", at.epoch));
    add("after", format::duration(at.elapsed_secs));
    for &(metric, value) in values {
        let label = match metric {
            Metric::TrainLoss | Metric::TrainAccuracy => "train",
            Metric::TestLoss | Metric::TestAccuracy => app.run.judged_by().abbreviation(),
            Metric::BatchLoss => "batch",
            _ => metric.title(),
        };
        let value =
            if metric == Metric::LearningRate { format::learning_rate(value) } else { format::compact(value, 8) };
        add(label, value);
    }
    add("at", clock.strftime("%H:%M:%S").to_string());
    Line::from(spans)
}
