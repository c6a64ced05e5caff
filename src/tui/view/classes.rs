//! The confusion matrix of an epoch, and how well each class is known.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, Wrap};

use super::panel::panel;
use crate::format;
use crate::metrics::Confusion;
use crate::render::figures::class_name;
use crate::run::event::EpochDone;
use crate::tui::app::App;
use crate::tui::inspector::Moment;
use crate::tui::layout::Areas;

/// Letters of a class over its column.
const SHORT: usize = 4;
const LABEL_WIDTH: u16 = 10;
const COUNT_WIDTH: u16 = 5;
const ACCURACY_WIDTH: u16 = 7;
/// Columns for the rest: bars, and words where they fit.
const NARROWEST_WORDS: u16 = 24;
/// The narrowest entry of a class in the list: its name and its accuracy.
const NARROWEST_ENTRY: u16 = 19;
/// The narrowest entry that also says what the class is most often taken for.
const ENTRY_WITH_WORDS: u16 = 26;
/// The widest entry: another long name, and how often.
const WIDEST_ENTRY: u16 = 40;

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let shown = app.inspected_epoch().and_then(|epoch| Some((epoch, epoch.confusion.as_ref()?)));
    let title = match shown {
        Some((epoch, _)) => format!("Classes after epoch {}", epoch.epoch),
        None => "Classes".to_owned(),
    };
    let inner = panel(app, areas, areas.page(), None, &title, note(app), frame);
    let Some((epoch, confusion)) = shown else {
        let why = match app.run.epochs.is_empty() {
            _ if app.run.other_trainer().is_some() => "This run's trainer tells no confusion matrix of this epoch.",
            true => "The confusion matrix comes with the first epoch's evaluation.",
            false => "This epoch's matrix is not in the log: it is of an older taper, or too long ago.",
        };
        return frame.render_widget(Paragraph::new(Line::styled(why, theme.faint())).wrap(Wrap { trim: true }), inner);
    };
    let [heading, area] = Layout::vertical([Constraint::Length(2), Constraint::Fill(1)]).areas(inner);
    let classes = confusion.classes();
    let matrix_width = LABEL_WIDTH as usize + classes * COUNT_WIDTH as usize + ACCURACY_WIDTH as usize + 4;
    let under = if matrix_width <= area.width.into() && classes < area.height.into() {
        render_matrix(app, confusion, area, area.width - matrix_width as u16, frame);
        "a row for each true class, a column for what it is taken for".to_owned()
    } else {
        let List { shown, width } = render_list(app, confusion, area, frame);
        let which = match shown == classes {
            true => "accuracy in %, the least first".to_owned(),
            false => format!("accuracy in % of the {shown} least accurate of {classes}"),
        };
        let words = if width < ENTRY_WITH_WORDS { "" } else { ", and what each is most often taken for" };
        which + words
    };
    let lines = vec![accuracy_line(app, epoch, confusion), Line::styled(under, theme.faint())];
    frame.render_widget(Paragraph::new(lines), heading);
}

/// With `rest` columns for a bar beside each row.
fn render_matrix(app: &App, confusion: &Confusion, area: Rect, rest: u16, frame: &mut Frame) {
    let classes = confusion.classes();
    let rows = (0..classes).map(|class| class_row(app, confusion, class, rest));
    let widths = [Constraint::Length(LABEL_WIDTH)]
        .into_iter()
        .chain(std::iter::repeat_n(Constraint::Length(COUNT_WIDTH - 1), classes))
        .chain([Constraint::Length(ACCURACY_WIDTH), Constraint::Fill(1)]);
    let short = |class| name(app, class).chars().take(SHORT).collect::<String>();
    let names = (0..classes).map(|class| Line::raw(short(class)).right_aligned());
    let names = [Line::raw("true")].into_iter().chain(names).chain([Line::raw("acc %").right_aligned()]);
    let header = Row::new(names).style(app.ui.theme.faint());
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(1), area);
}

/// For more classes than a matrix has room for: in columns, the least accurate first, as many as fit.
fn render_list(app: &App, confusion: &Confusion, area: Rect, frame: &mut Frame) -> List {
    let mut order: Vec<usize> = (0..confusion.classes()).collect();
    let accuracy = |class: &usize| confusion.accuracy_of(*class).unwrap_or(f64::INFINITY);
    order.sort_by(|a, b| accuracy(a).total_cmp(&accuracy(b)));
    let rows = area.height.max(1);
    let needed = order.len().div_ceil(rows.into()) as u16;
    let columns = needed.clamp(1, (area.width / NARROWEST_ENTRY).max(1));
    let width = (area.width / columns).min(WIDEST_ENTRY);
    order.truncate(usize::from(rows) * usize::from(columns));
    for (classes, x) in order.chunks(rows.into()).zip((area.x..).step_by(width.into())) {
        let lines: Vec<Line> = classes.iter().map(|&class| list_line(app, confusion, class)).collect();
        frame.render_widget(Paragraph::new(lines), Rect { x, width: width.saturating_sub(2), ..area });
    }
    List { shown: order.len(), width }
}

struct List {
    /// Classes.
    shown: usize,
    /// Columns for each.
    width: u16,
}

/// `dog         61.5  cat 12 %`
fn list_line(app: &App, confusion: &Confusion, class: usize) -> Line<'static> {
    let theme = app.ui.theme;
    let accuracy = confusion.accuracy_of(class).map_or("–".to_owned(), |accuracy| format!("{accuracy:.1}"));
    let most = confusion.most_often_taken_for(class);
    let taken_for = most.map_or(String::new(), |(other, count)| {
        let percent = 100.0 * count as f64 / confusion.samples_of(class) as f64;
        format!("{} {percent:.0} %", name(app, other))
    });
    Line::from(vec![
        Span::raw(format!("{:<10.10} ", name(app, class))),
        Span::styled(format!("{accuracy:>5}  "), theme.test()),
        Span::styled(taken_for, theme.faint()),
    ])
}

fn name(app: &App, class: usize) -> String {
    class_name(app.run.started.as_ref().map_or(&[], |started| &started.dataset.classes), class)
}

/// `epoch 12 of 14`
fn note(app: &App) -> Line<'static> {
    let Some(epoch) = app.inspected_epoch() else { return Line::default() };
    let last = app.run.epochs.last().map_or(0, |last| last.epoch);
    let following = if app.ui.inspector.moment == Moment::Newest { ", newest" } else { "" };
    Line::styled(format!("{} of {last}{following}", epoch.epoch), app.ui.theme.faint())
}

fn accuracy_line(app: &App, epoch: &EpochDone, confusion: &Confusion) -> Line<'static> {
    let theme = app.ui.theme;
    Line::from(vec![
        Span::raw(format::count(confusion.correct())),
        Span::styled(" of ", theme.faint()),
        Span::raw(format::count(confusion.samples())),
        Span::styled(format!(" {} images right, ", epoch.judged_by), theme.faint()),
        Span::styled(format!("{} %", format::decimal(epoch.test_accuracy, 2)), theme.strong()),
    ])
}

fn class_row(app: &App, confusion: &Confusion, class: usize, rest: u16) -> Row<'static> {
    let theme = app.ui.theme;
    let most = confusion.most_often_taken_for(class);
    let counts = (0..confusion.classes()).map(|predicted| {
        let count = confusion.count(class, predicted);
        let text = if count == 0 { "·".to_owned() } else { format::count(count) };
        let style = if predicted == class {
            theme.best()
        } else if most.is_some_and(|(other, _)| other == predicted) {
            theme.alarm()
        } else if count == 0 {
            theme.faint()
        } else {
            Style::new()
        };
        Line::styled(text, style).right_aligned()
    });
    let accuracy = confusion.accuracy_of(class);
    let accuracy_text = Line::raw(accuracy.map_or("–".to_owned(), |accuracy| format!("{accuracy:.1}"))).right_aligned();
    let words = match most {
        Some((other, count)) if rest >= NARROWEST_WORDS => {
            let percent = 100.0 * count as f64 / confusion.samples_of(class) as f64;
            format!("  {percent:.0} % {}", name(app, other))
        }
        _ => String::new(),
    };
    let bar_width = f64::from(rest.saturating_sub(NARROWEST_WORDS.min(rest / 2)));
    let bar = "█".repeat((bar_width * accuracy.unwrap_or(0.0) / 100.0).round() as usize);
    let last = Line::from(vec![Span::styled(bar, theme.test()), Span::styled(words, theme.faint())]);
    Row::new([Line::raw(name(app, class))].into_iter().chain(counts).chain([accuracy_text, last]))
}
