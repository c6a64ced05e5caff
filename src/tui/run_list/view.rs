//! Draws the list of runs.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::keys::BINDINGS;
use super::list::{OTHER_LINES, RunList};
use super::row::{LogRead, Row};
use super::sort::Sort;
use crate::format;
use crate::run::state::Phase;
use crate::text;
use crate::tui::key_table;
use crate::tui::layout::{Density, SMALLEST};
use crate::tui::theme::Theme;
use crate::tui::view::parts::{key_line, position, row, scrolled_help};
use crate::tui::view::sparkline::sparkline;
use crate::tui::view::table::{self, Column, cut};

/// Columns left of the table: the cursor, and the mark.
const MARGIN: u16 = 4;

/// Their places among the columns.
const NAME: usize = 0;
const LOSS: usize = 1;

const COLUMNS: [(Sort, Column<'static>); 10] = [
    (Sort::Name, column("name", Alignment::Left, 40, 14, 0)),
    (Sort::Loss, column("loss", Alignment::Left, 24, 8, 4)),
    (Sort::Phase, column("phase", Alignment::Left, 30, 9, 1)),
    (Sort::Epoch, column("epoch", Alignment::Right, 15, 5, 3)),
    (Sort::Best, column("best", Alignment::Right, 8, 7, 2)),
    (Sort::Device, column("device", Alignment::Left, 30, 4, 6)),
    (Sort::Activity, column("age", Alignment::Right, 8, 7, 5)),
    (Sort::Data, column("data", Alignment::Left, 24, 8, 7)),
    (Sort::Model, column("model", Alignment::Left, 30, 10, 8)),
    (Sort::Activity, column("images/s", Alignment::Right, 10, 8, 9)),
];

const fn column(title: &'static str, alignment: Alignment, most: usize, least: usize, rank: u8) -> Column<'static> {
    Column { title, alignment, most, least, rank }
}

/// The parts of the screen.
struct Areas {
    title: Rect,
    headings: Rect,
    rows: Rect,
    message: Rect,
    footer: Rect,
}

fn areas(screen: Rect) -> Areas {
    let [title, headings, rows, message, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(screen);
    debug_assert!(screen.height < OTHER_LINES || rows.height == screen.height - OTHER_LINES);
    Areas { title, headings, rows, message, footer }
}

/// What lies at a place of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its place in the list.
    Row(usize),
    /// The mark of that row, or where it would be.
    Mark(usize),
    Heading(Sort),
}

/// What lies at that place of the screen, if anything does that can be chosen.
pub fn target_at(list: &RunList, at: Position) -> Option<Target> {
    let areas = areas(list.size.into());
    let in_margin = at.x < areas.rows.x + MARGIN;
    if areas.rows.contains(at) {
        let place = list.visible().start + usize::from(at.y - areas.rows.y);
        return list.visible().contains(&place).then_some(if in_margin {
            Target::Mark(place)
        } else {
            Target::Row(place)
        });
    }
    let x = usize::from(at.x.checked_sub(areas.headings.x + MARGIN).filter(|_| areas.headings.contains(at))?);
    let column = table::column_at(&Table::of(list, areas.rows).widths, x)?;
    Some(Target::Heading(COLUMNS[column].0))
}

pub fn render(list: &RunList, frame: &mut Frame) {
    let screen = frame.area();
    let areas = areas(screen);
    title_line(list, areas.title, frame);
    table_of(list, areas.headings, areas.rows, frame);
    message_line(list, areas.message, frame);
    key_line(list.theme, key_table::labels(BINDINGS), areas.footer, frame);
    if let Some(first) = list.help {
        scrolled_help(list.theme, &list.help_lines(), first, screen, frame);
    }
}

/// What of it there is room for: how many there are, and then the more important first.
fn title_line(list: &RunList, area: Rect, frame: &mut Frame) {
    let theme = list.theme;
    let count = format::count(list.rows().len() as u64);
    let live = list.rows().iter().filter(|row| row.listed.is_live()).count();
    let pending = list.rows().iter().filter(|row| row.log == LogRead::Pending).count();
    let right = match pending {
        0 => position(&list.visible(), list.shown().len()).unwrap_or_default(),
        pending => format!("reading {} logs…", format::count(pending as u64)),
    };
    let right = Line::styled(format!("{right} "), theme.faint());
    let is_shown = |condition: bool, span: Span<'static>| condition.then_some(span);
    // In the order in which they are shown, each with its importance.
    let parts = [
        (3, Some(Span::styled("taper  ", theme.faint()))),
        (0, Some(Span::styled("Runs", theme.strong()))),
        (0, Some(Span::styled(format!("  {count}"), theme.faint()))),
        (4, Some(Span::styled(format!(" in {}", list.folder), theme.faint()))),
        (1, is_shown(live > 0, Span::styled(format!("  ● {live} live"), theme.best()))),
        (2, is_shown(list.marked() > 0, Span::styled(format!("  ✓ {} marked", list.marked()), theme.pending()))),
    ];
    // A space at the left, and what `row` leaves before the right.
    let room = usize::from(area.width).saturating_sub(right.width() + 3);
    let width = |most: u8| {
        let shown = parts.iter().filter(|(importance, _)| *importance <= most);
        shown.filter_map(|(_, span)| Some(span.as_ref()?.width())).sum::<usize>()
    };
    let most = (0..=4).rev().find(|&most| width(most) <= room).unwrap_or(0);
    let shown = parts.into_iter().filter(|(importance, _)| *importance <= most).filter_map(|(_, span)| span);
    row(area, Line::from_iter([Span::raw(" ")].into_iter().chain(shown)), right, frame);
}

/// The rows in view.
struct Table {
    /// In the order of [`COLUMNS`].
    cells: Vec<Vec<(String, Style)>>,
    /// 0 where there is no room for the column.
    widths: Vec<usize>,
}

impl Table {
    fn of(list: &RunList, area: Rect) -> Self {
        let density = if area.width >= 120 { Density::Wide } else { Density::Compact };
        let visible = list.visible();
        let mut cells: Vec<Vec<(String, Style)>> =
            list.shown().skip(visible.start).take(visible.len()).map(|row| cells(list, row, density)).collect();
        let widest = |index: usize| cells.iter().map(|row| Line::raw(row[index].0.as_str()).width()).max().unwrap_or(0);
        let columns: Vec<Column> =
            (0..COLUMNS.len()).map(|index| whole_numbers(COLUMNS[index].1, widest(index))).collect();
        // With room for the mark of the order.
        let titled = |index: usize| columns[index].title.chars().count() + 1;
        let wanted: Vec<usize> = (0..columns.len()).map(|index| widest(index).max(titled(index))).collect();
        let widths = table::widths(&columns, &wanted, usize::from(area.width.saturating_sub(MARGIN + 1)));
        for (row, cells) in list.shown().skip(visible.start).zip(&mut cells) {
            cells[NAME].0 = text::cut(&cells[NAME].0, widths[NAME]);
            // A curve is drawn in the columns that it has.
            if let Some(figures) = row.figures() {
                cells[LOSS].0 = sparkline(&figures.loss_curve, widths[LOSS]);
            }
        }
        Self { cells, widths }
    }
}

/// A column of numbers, which stand at the right, is as wide as they are or left out: a number that is cut is worse than none.
fn whole_numbers(column: Column<'static>, widest: usize) -> Column<'static> {
    match column.alignment {
        Alignment::Right => Column { least: column.least.max(widest), most: column.most.max(widest), ..column },
        Alignment::Left | Alignment::Center => column,
    }
}

fn table_of(list: &RunList, headings: Rect, area: Rect, frame: &mut Frame) {
    let theme = list.theme;
    if list.shown().len() == 0 {
        let text = match (list.is_listed, list.filter().is_empty()) {
            (false, _) => "Reading the runs…",
            (true, true) => "No runs; in the shell, taper train starts one.",
            (true, false) => "No run has what you typed; Esc takes the filter away.",
        };
        let text = Paragraph::new(Line::styled(text, theme.faint())).wrap(Wrap { trim: true });
        frame.render_widget(text, Rect { x: area.x + 1, width: area.width.saturating_sub(1), ..area });
        return;
    }
    let Table { cells, widths } = Table::of(list, area);
    let columns = COLUMNS.map(|(_, column)| column);
    let (sort, reversed) = list.sort();
    let sorted = |index: usize| COLUMNS[index].0 == sort && COLUMNS[index].1.title == sort.name();
    let titles = columns.iter().enumerate().map(|(index, column)| {
        let style = if sorted(index) { theme.strong() } else { theme.faint() };
        let arrow = if reversed { "▴" } else { "▾" };
        let title = if sorted(index) { format!("{}{arrow}", column.title) } else { column.title.to_owned() };
        (title, style)
    });
    let within = |area: Rect| Rect { x: area.x + MARGIN, width: area.width.saturating_sub(MARGIN), ..area };
    frame.render_widget(table::row(&columns, &widths, titles.collect()), within(headings));
    for ((place, cells), area) in list.visible().zip(cells).zip(area.rows()) {
        let line = table::row(&columns, &widths, cells);
        let is_current = place == list.cursor();
        let is_marked = list.shown().nth(place).is_some_and(|row| list.is_marked(row.run()));
        let margin = Line::from(vec![
            Span::styled(if is_current { " ▸" } else { "  " }, theme.strong()),
            Span::styled(if is_marked { "✓ " } else { "  " }, theme.pending()),
        ]);
        frame.render_widget(margin, Rect { width: MARGIN.min(area.width), ..area });
        frame.render_widget(line, within(area));
        if is_current {
            frame.buffer_mut().set_style(area, Style::new().add_modifier(Modifier::BOLD));
        }
    }
}

/// In the order of [`COLUMNS`].
fn cells(list: &RunList, row: &Row, density: Density) -> Vec<(String, Style)> {
    let theme = list.theme;
    let none = || ("–".to_owned(), theme.faint());
    let figures = row.figures();
    let summary = figures.map(|figures| &figures.summary);
    let text =
        |text: Option<String>| text.filter(|text| !text.is_empty()).map_or_else(none, |text| (text, Style::new()));
    let spark = if density == Density::Wide { 20 } else { 10 };
    vec![
        (row.run().name(), Style::new()),
        figures.map_or_else(none, |figures| (sparkline(&figures.loss_curve, spark), theme.train())),
        (row.standing(list.now_ms), phase_style(theme, row)),
        text(summary.map(|summary| match summary.epochs {
            Some(epochs) => format!("{}/{epochs}", summary.epoch),
            None => String::new(),
        })),
        row.best().map_or_else(none, |best| (format!("{best:.2} %{}", row.best_mark()), theme.best())),
        text(figures.map(|figures| device(&figures.device, density))),
        (format::duration(row.age_secs(list.now_ms)), theme.faint()),
        text(figures.map(|figures| figures.data.clone())),
        text(figures.map(|figures| figures.model.clone())),
        text(
            summary
                .filter(|_| row.listed.is_live())
                .and_then(|summary| Some(format::count(summary.images_per_sec?.round() as u64))),
        ),
    ]
}

/// Without what stands in brackets, where room is scarce.
fn device(device: &str, density: Density) -> String {
    match device.split_once(" (") {
        Some((device, _)) if density != Density::Wide => device.to_owned(),
        _ => device.to_owned(),
    }
}

fn phase_style(theme: Theme, row: &Row) -> Style {
    match &row.log {
        LogRead::Failed(_) => theme.alarm(),
        LogRead::Pending => theme.faint(),
        LogRead::Read(_) if row.is_dead() => theme.alarm(),
        LogRead::Read(figures) => match figures.summary.phase {
            Phase::Paused => theme.warning(),
            _ if row.listed.is_live() => theme.best(),
            Phase::Ended(outcome) => theme.severity(outcome.severity()).remove_modifier(Modifier::BOLD),
            _ => theme.faint(),
        },
    }
}

/// What was typed, or what there is to say: of the list, or of the run under the cursor.
fn message_line(list: &RunList, area: Rect, frame: &mut Frame) {
    let theme = list.theme;
    let width = usize::from(area.width).saturating_sub(2);
    let line = if list.typing {
        Line::from(vec![
            Span::raw(" "),
            Span::styled("filter: ", theme.faint()),
            Span::raw(list.filter().to_owned()),
            Span::styled("▏", theme.strong()),
        ])
    } else if let Some(message) = &list.message {
        Line::styled(format!(" {}", cut(&message.text, width)), theme.severity(message.severity))
    } else if let Some(fault) = &list.fault {
        Line::styled(format!(" {}", cut(fault, width)), theme.alarm())
    } else if let Some(LogRead::Failed(why)) = list.current().map(|row| &row.log) {
        Line::styled(format!(" {}", cut(why, width)), theme.alarm())
    } else if !list.filter().is_empty() {
        let text = format!(" filter: {}   {} of {}", list.filter(), list.shown().len(), list.rows().len());
        Line::styled(text, theme.faint())
    } else if area.width < SMALLEST.width {
        Line::styled(format!(" {}", cut(&list.current().map(described).unwrap_or_default(), width)), theme.faint())
    } else {
        Line::default()
    };
    frame.render_widget(line, area);
}

/// Its name, and what few columns have no room for.
fn described(row: &Row) -> String {
    let of_log = row.figures().map(|figures| [&figures.data, &figures.model, &figures.device]);
    let known = of_log.into_iter().flatten().filter(|text| !text.is_empty());
    std::iter::once(row.run().name()).chain(known.cloned()).collect::<Vec<_>>().join(" · ")
}
