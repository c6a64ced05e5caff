//! The confusion matrix of an epoch, and how well each class is known.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, Wrap};

use super::panel::panel;
use crate::data::CLASSES;
use crate::format;
use crate::metrics::Confusion;
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
            true => "The confusion matrix comes with the first epoch's evaluation.",
            false => "This epoch's matrix is not in the log: it is of an older taper, or too long ago.",
        };
        return frame.render_widget(Paragraph::new(Line::styled(why, theme.faint())).wrap(Wrap { trim: true }), inner);
    };
    let [heading, table] = Layout::vertical([Constraint::Length(2), Constraint::Fill(1)]).areas(inner);
    frame.render_widget(Paragraph::new(heading_lines(app, epoch, confusion)), heading);
    let used = LABEL_WIDTH + CLASSES.len() as u16 * COUNT_WIDTH + ACCURACY_WIDTH + 4;
    let rest = table.width.saturating_sub(used);
    let rows = (0..CLASSES.len()).map(|class| class_row(app, confusion, class, rest));
    let widths = [Constraint::Length(LABEL_WIDTH)]
        .into_iter()
        .chain([Constraint::Length(COUNT_WIDTH - 1); CLASSES.len()])
        .chain([Constraint::Length(ACCURACY_WIDTH), Constraint::Fill(1)]);
    let names = CLASSES.map(|class| Line::raw(class.chars().take(SHORT).collect::<String>()).right_aligned());
    let names = [Line::raw("true")].into_iter().chain(names).chain([Line::raw("acc %").right_aligned()]);
    frame.render_widget(Table::new(rows, widths).header(Row::new(names).style(theme.faint())).column_spacing(1), table);
}

/// `epoch 12 of 14`
fn note(app: &App) -> Line<'static> {
    let Some(epoch) = app.inspected_epoch() else { return Line::default() };
    let last = app.run.epochs.last().map_or(0, |last| last.epoch);
    let following = if app.ui.inspector.moment == Moment::Newest { ", newest" } else { "" };
    Line::styled(format!("{} of {last}{following}", epoch.epoch), app.ui.theme.faint())
}

fn heading_lines(app: &App, epoch: &EpochDone, confusion: &Confusion) -> Vec<Line<'static>> {
    let theme = app.ui.theme;
    let (correct, samples) = (confusion.correct(), confusion.samples());
    vec![
        Line::from(vec![
            Span::raw(format::count(correct)),
            Span::styled(" of ", theme.faint()),
            Span::raw(format::count(samples)),
            Span::styled(" test images right, ", theme.faint()),
            Span::styled(format!("{:.2} %", epoch.test_accuracy), theme.strong()),
        ]),
        Line::styled("a row for each true class, a column for what it is taken for", theme.faint()),
    ]
}

fn class_row(app: &App, confusion: &Confusion, class: usize, rest: u16) -> Row<'static> {
    let theme = app.ui.theme;
    let most = confusion.most_often_taken_for(class);
    let counts = (0..CLASSES.len()).map(|predicted| {
        let count = confusion.rows[class][predicted];
        let text = if count == 0 { "·".to_owned() } else { format::count(count) };
        let style = if predicted == class {
            theme.best()
        } else if most.is_some_and(|(other, _)| other == predicted) {
            theme.alarm()
        } else if count == 0 {
            theme.faint()
        } else {
            ratatui::style::Style::new()
        };
        Line::styled(text, style).right_aligned()
    });
    let accuracy = confusion.accuracy_of(class);
    let accuracy_text = Line::raw(accuracy.map_or("–".to_owned(), |accuracy| format!("{accuracy:.1}"))).right_aligned();
    let words = match most {
        Some((other, count)) if rest >= NARROWEST_WORDS => {
            let percent = 100.0 * count as f64 / confusion.examples_of(class) as f64;
            format!("  {percent:.0} % {}", CLASSES[other])
        }
        _ => String::new(),
    };
    let bar_width = f64::from(rest.saturating_sub(NARROWEST_WORDS.min(rest / 2)));
    let bar = "█".repeat((bar_width * accuracy.unwrap_or(0.0) / 100.0).round() as usize);
    let last = Line::from(vec![Span::styled(bar, theme.test()), Span::styled(words, theme.faint())]);
    Row::new([Line::raw(CLASSES[class])].into_iter().chain(counts).chain([accuracy_text, last]))
}
