//! Draws the comparison: the curves over each other, and a table that is their legend too.

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::keys::BINDINGS;
use super::state::{Compare, Contender, LogRead};
use crate::format;
use crate::run::comparison::Score;
use crate::run::listing::standing;
use crate::run::metric::Metric;
use crate::run::series::XAxis;
use crate::text;
use crate::tui::chart::{self, Axis, Chart, Curve, ScaleKind, Stroke};
use crate::tui::key_table;
use crate::tui::layout::SMALLEST;
use crate::tui::view::parts::{key_line, row, scrolled_help};
use crate::tui::view::table::{self, Column, cut};

/// Columns left of the table: which run is chosen, and its marker.
const MARGIN: u16 = 4;
/// Rows that the chart keeps where there are many runs, and on a screen that is smaller than usual.
const LEAST_CHART: u16 = 7;
const LEAST_CHART_IN_PART: u16 = 4;
/// Rows of a screen that has room for what else there is to say.
const LEAST_WITH_NOTICE: u16 = 12;

/// The parts of the screen.
struct Areas {
    title: Rect,
    curves: Rect,
    notice: Rect,
    headings: Rect,
    table: Rect,
    message: Rect,
    footer: Rect,
    /// Of the runs, the first that is in the table.
    first: usize,
}

impl Areas {
    fn of(compare: &Compare, screen: Rect, with_notice: bool) -> Self {
        let runs = compare.contenders.len();
        let is_small = screen.height < SMALLEST.height;
        // Where rows are scarce, only what is said takes one.
        let message_rows = u16::from(!is_small || has_message(compare));
        let notice_rows = u16::from(with_notice && screen.height >= LEAST_WITH_NOTICE);
        // Beside title, headings and footer.
        let room = screen.height.saturating_sub(3 + message_rows + notice_rows);
        let fitting =
            if is_small { room.saturating_sub(LEAST_CHART_IN_PART) / 2 + 1 } else { room.saturating_sub(LEAST_CHART) };
        let rows = fitting.max(1).min(runs as u16);
        let [title, curves, notice, headings, table, message, footer] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(notice_rows),
            Constraint::Length(1),
            Constraint::Length(rows),
            Constraint::Length(message_rows),
            Constraint::Length(1),
        ])
        .areas(screen);
        let first = compare.chosen.saturating_sub(usize::from(table.height) / 2);
        let first = first.min(runs.saturating_sub(table.height.into()));
        Self { title, curves, notice, headings, table, message, footer, first }
    }
}

/// What lies at a place of the screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// A place on the axis.
    Chart(f64),
    /// By its number.
    Run(usize),
}

/// What lies at that place of the screen, if anything does that the mouse has to do with.
pub fn target_at(compare: &Compare, at: Position) -> Option<Target> {
    let areas = Areas::of(compare, compare.size.into(), notice(compare, &compare.scores()).is_some());
    if chart::graph_area(areas.curves).contains(at) {
        return Some(Target::Chart(chart::x_at(areas.curves, &compare.view()?, at.x)));
    }
    let number = areas.first + usize::from(at.y.checked_sub(areas.table.y)?);
    (areas.table.contains(at) && number < compare.contenders.len()).then_some(Target::Run(number))
}

pub fn render(compare: &Compare, frame: &mut Frame) {
    let screen = frame.area();
    let scores = compare.scores();
    let warning = notice(compare, &scores);
    let areas = Areas::of(compare, screen, warning.is_some());
    title_line(compare, areas.title, frame);
    curves_of(compare, areas.curves, frame);
    if let Some(warning) = warning {
        let text = cut(&warning, usize::from(areas.notice.width).saturating_sub(2));
        frame.render_widget(Line::styled(format!(" {text}"), compare.theme.warning()), areas.notice);
    }
    table_of(compare, &scores, &areas, frame);
    message_line(compare, areas.message, frame);
    key_line(compare.theme, key_table::labels(BINDINGS), areas.footer, frame);
    if let Some(first) = compare.help {
        scrolled_help(compare.theme, &compare.help_lines(), first, screen, frame);
    }
}

/// What nobody should miss.
fn notice(compare: &Compare, scores: &[Option<Score>]) -> Option<String> {
    compare.data_warning(scores).map(|warning| format!("! {warning}"))
}

/// The metric with its unit.
fn title_of(metric: Metric) -> String {
    match metric.unit() {
        "" => metric.title().to_owned(),
        unit => format!("{} ({unit})", metric.title()),
    }
}

fn axis_name(axis: XAxis) -> &'static str {
    match axis {
        XAxis::Epoch => "epochs",
        XAxis::Step => "steps",
        XAxis::Time => "time",
    }
}

fn title_line(compare: &Compare, area: Rect, frame: &mut Frame) {
    let theme = compare.theme;
    let mut right = Vec::new();
    if let Some(percent) = compare.progress() {
        right.push(format!("reading the logs, {percent} %"));
    }
    if compare.scale == ScaleKind::Logarithmic {
        right.push("logarithmic".to_owned());
    }
    if !compare.smoothing.is_off() {
        right.push(format!("smoothing {}", compare.smoothing));
    }
    if !compare.is_whole() {
        right.push("zoomed: 0 shows all".to_owned());
    }
    let right = Line::styled(format!("{} ", right.join(" · ")), theme.faint());
    let title = Span::styled(title_of(compare.metric), theme.strong());
    let over = Span::styled(format!("  over {}", axis_name(compare.axis)), theme.faint());
    let runs = Span::styled(format!(", {} runs", compare.contenders.len()), theme.faint());
    let room = usize::from(area.width).saturating_sub(right.width() + 2);
    let whole = [Span::raw(" "), Span::styled("taper  ", theme.faint()), title.clone(), over.clone(), runs.clone()];
    let shorter = [Span::raw(" "), title.clone(), over.clone(), runs];
    let still_shorter = [Span::raw(" "), title.clone(), over];
    let shortest = Line::from_iter([Span::raw(" "), title]);
    let left = [Line::from_iter(whole), Line::from_iter(shorter), Line::from_iter(still_shorter)];
    let left = left.into_iter().find(|line| line.width() <= room).unwrap_or(shortest);
    row(area, left, right, frame);
}

fn curves_of(compare: &Compare, area: Rect, frame: &mut Frame) {
    let theme = compare.theme;
    let Some(view) = compare.view() else {
        let text = if compare.progress().is_some() {
            "Reading the logs…".to_owned()
        } else {
            format!("No run has a {} yet; m shows another metric.", compare.metric.title().to_lowercase())
        };
        let middle = area.centered_vertically(Constraint::Length(1));
        frame.render_widget(Line::styled(text, theme.faint()).centered(), middle);
        return;
    };
    let columns = chart::columns(area);
    let curve = |(number, contender): (usize, &Contender)| {
        let series = contender.state()?.series(compare.metric);
        let looks = theme.series(number);
        let smoothing = if Curve::is_noisy(compare.metric) { compare.smoothing } else { Default::default() };
        let mut curve = Curve::of(&series, compare.axis, &view, columns, smoothing);
        // Of many runs only the raw values of the chosen one are shown: more would be a cloud.
        if number != compare.chosen {
            curve.spread.clear();
        }
        curve.marker = Some(looks.marker);
        curve.stroke = Stroke::ALL[number % Stroke::ALL.len()];
        Some((number, curve.named(contender.name.clone(), looks.style, theme.faint())))
    };
    let mut curves: Vec<(usize, Curve)> = compare.contenders.iter().enumerate().filter_map(curve).collect();
    // The chosen one lies over the others.
    curves.sort_by_key(|(number, _)| *number == compare.chosen);
    let curves: Vec<Curve> = curves.into_iter().map(|(_, curve)| curve).collect();
    let chart = Chart {
        curves: &curves,
        marks: &[],
        axis: Axis::Run(compare.axis),
        x: view,
        scale: compare.scale,
        cursor: compare.cursor,
        axis_style: theme.faint(),
        beyond_style: theme.alarm(),
    };
    chart.render(area, frame.buffer_mut());
}

/// A column and its cell for each run.
struct Figures<'a> {
    title: Cow<'a, str>,
    alignment: Alignment,
    most: usize,
    least: usize,
    rank: u8,
    cells: Vec<String>,
}

impl<'a> Figures<'a> {
    fn new(title: impl Into<Cow<'a, str>>, rank: u8, cells: Vec<String>) -> Self {
        Self { title: title.into(), alignment: Alignment::Right, most: 24, least: 5, rank, cells }
    }

    fn left(self, least: usize, most: usize) -> Self {
        Self { alignment: Alignment::Left, most, least, ..self }
    }

    fn column(&self) -> Column<'_> {
        let &Self { alignment, most, least, rank, .. } = self;
        Column { title: &self.title, alignment, most, least, rank }
    }
}

fn table_of(compare: &Compare, scores: &[Option<Score>], areas: &Areas, frame: &mut Frame) {
    let theme = compare.theme;
    let &Areas { headings, table: area, first, .. } = areas;
    let mut figures = figures(compare, scores);
    // The name stays where it is.
    let passed_by = compare.first_column.min(figures.len().saturating_sub(2));
    figures.drain(1..1 + passed_by);
    let columns: Vec<Column> = figures.iter().map(Figures::column).collect();
    let wanted: Vec<usize> = figures
        .iter()
        .map(|figures| figures.cells.iter().map(|cell| Line::raw(cell.as_str()).width()).max().unwrap_or(0))
        .collect();
    let widths = table::widths(&columns, &wanted, usize::from(area.width.saturating_sub(MARGIN + 1)));
    let within = |area: Rect| Rect { x: area.x + MARGIN, width: area.width.saturating_sub(MARGIN), ..area };
    let titles = columns.iter().map(|column| (column.title.to_owned(), theme.faint())).collect();
    frame.render_widget(table::row(&columns, &widths, titles), within(headings));
    for (number, row) in (first..compare.contenders.len()).zip(area.rows()) {
        let looks = theme.series(number);
        let is_chosen = number == compare.chosen;
        let margin = Line::from(vec![
            Span::styled(if is_chosen { " ▸" } else { "  " }, theme.strong()),
            Span::styled(format!("{} ", looks.marker), looks.style),
        ]);
        frame.render_widget(margin, Rect { width: MARGIN.min(row.width), ..row });
        let mut style = Style::new();
        if is_chosen {
            style = style.add_modifier(Modifier::BOLD);
        }
        let cells = figures.iter().enumerate().map(|(index, figures)| {
            let text = figures.cells.get(number).cloned().unwrap_or_default();
            let text = if index == 0 { text::cut(&text, widths[0]) } else { text };
            (text, if index == 0 { looks.style.patch(style) } else { style })
        });
        frame.render_widget(table::row(&columns, &widths, cells.collect()), within(row));
    }
}

fn figures<'a>(compare: &'a Compare, scores: &[Option<Score>]) -> Vec<Figures<'a>> {
    let none = || "–".to_owned();
    let of_scores = |text: &dyn Fn(&Score) -> Option<String>| -> Vec<String> {
        scores.iter().map(|score| score.as_ref().and_then(text).unwrap_or_else(none)).collect()
    };
    let names = compare.contenders.iter().map(|contender| contender.name.clone()).collect();
    let reached_title = match compare.target() {
        Some(target) => format!("to {target:.2} %"),
        None => "to –".to_owned(),
    };
    let mut figures = vec![
        Figures::new("run", 0, names).left(10, 30),
        Figures::new(read_off_title(compare), 1, read_off(compare)),
        Figures::new(
            "best",
            2,
            of_scores(&|score| {
                let accuracies = score.accuracies;
                let mark = accuracies.best_augmentation.mark();
                Some(format!("{:.2} %{mark} ({})", accuracies.best?, accuracies.best_epoch?))
            }),
        ),
        Figures::new(
            "last",
            6,
            of_scores(&|score| {
                Some(format!("{:.2} %{}", score.accuracies.last?, score.accuracies.last_augmentation.mark()))
            }),
        ),
        Figures::new("time", 4, of_scores(&|score| Some(format::duration(score.active_secs)))),
        Figures::new(
            reached_title,
            3,
            of_scores(&|score| {
                let reached = score.reached?;
                let mark = reached.test_time_augmentation.mark();
                Some(format!("epoch {}{mark}, {}", reached.epoch, format::duration(reached.elapsed_secs)))
            }),
        ),
        Figures::new("step", 5, of_scores(&|score| Some(format::millis(score.step_millis? / 1e3)))),
        Figures::new("phase", 7, compare.contenders.iter().map(|contender| phase(compare, contender)).collect())
            .left(8, 24),
    ];
    for figures in &mut figures[1..] {
        // A number that is cut is worse than none.
        figures.least = figures.cells.iter().map(|cell| Line::raw(cell.as_str()).width()).max().unwrap_or(0);
    }
    // Its title has a number, too.
    figures[1].least = figures[1].least.max(Line::raw(figures[1].title.as_ref()).width());
    for difference in &compare.differences {
        let cells = difference.values.iter().map(|value| value.clone().unwrap_or_else(none)).collect();
        let rank = u8::try_from(figures.len()).unwrap_or(u8::MAX);
        figures.push(Figures::new(short(&difference.key, compare), rank, cells).left(4, 24));
    }
    let data: Vec<String> = of_scores(&|score| Some(score.data.clone()).filter(|data| !data.is_empty()));
    let rank = u8::try_from(figures.len()).unwrap_or(u8::MAX);
    figures.push(Figures::new("data", rank, data).left(8, 44));
    figures
}

/// The key without its section, where that is enough.
fn short<'a>(key: &'a str, compare: &Compare) -> &'a str {
    let last = |key: &'a str| key.rsplit_once('.').map_or(key, |(_, last)| last);
    let others = compare.differences.iter().filter(|other| other.key != key);
    let is_ambiguous = others.into_iter().any(|other| other.key.rsplit_once('.').is_some_and(|(_, o)| o == last(key)));
    if is_ambiguous { key } else { last(key) }
}

fn phase(compare: &Compare, contender: &Contender) -> String {
    match (&contender.log, &contender.liveness) {
        (_, _) if contender.fault.is_some() && contender.state().is_none() => "cannot be read".to_owned(),
        (LogRead::Reading(percent), _) => format!("reading {percent} %"),
        (LogRead::Read(state), Some(liveness)) => standing(liveness, &state.summary(), compare.now_ms),
        (LogRead::Read(state), None) => state.phase.to_string(),
    }
}

/// What the read-off values are of.
fn read_off_title(compare: &Compare) -> String {
    match compare.cursor {
        None => "now".to_owned(),
        Some(x) => match compare.axis {
            XAxis::Epoch => format!("at epoch {}", format::compact(x, 6)),
            XAxis::Step => format!("at step {}", format::count(x.round().max(0.0) as u64)),
            XAxis::Time => format!("at {}", format::duration(x)),
        },
    }
}

/// Of each run the value of the metric at the cursor, or its latest.
fn read_off(compare: &Compare) -> Vec<String> {
    let value = |contender: &Contender| {
        let series = contender.state()?.series(compare.metric);
        let point = match compare.cursor {
            Some(x) => {
                let (start, end) = series.extent(compare.axis)?;
                // Beyond its end a run has no value.
                let view = compare.view()?;
                let slack = (view.end - view.start) / 100.0;
                if x < start - slack || x > end + slack {
                    return None;
                }
                series.nearest(compare.axis, x)?
            }
            None => series.last()?,
        };
        Some(match compare.metric.unit() {
            "%" => format!("{:.2} %", point.value),
            "" => format::compact(point.value, 8),
            unit => format!("{} {unit}", format::compact(point.value, 8)),
        })
    };
    compare.contenders.iter().map(|contender| value(contender).unwrap_or_else(|| "–".to_owned())).collect()
}

fn has_message(compare: &Compare) -> bool {
    compare.message.is_some() || compare.contenders.iter().any(|contender| contender.fault.is_some())
}

fn message_line(compare: &Compare, area: Rect, frame: &mut Frame) {
    let theme = compare.theme;
    let width = usize::from(area.width).saturating_sub(2);
    let chosen = compare.contenders.get(compare.chosen);
    let faulty = chosen.into_iter().chain(&compare.contenders).find(|contender| contender.fault.is_some());
    let line = if let Some(message) = &compare.message {
        Line::styled(format!(" {}", cut(&message.text, width)), theme.severity(message.severity))
    } else if let Some((contender, fault)) = faulty.and_then(|contender| Some((contender, contender.fault.as_ref()?))) {
        Line::styled(format!(" {}", cut(&format!("{}: {fault}", contender.name), width)), theme.alarm())
    } else {
        Line::default()
    };
    frame.render_widget(line, area);
}
