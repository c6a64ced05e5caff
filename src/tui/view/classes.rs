//! The confusion matrix of an epoch, and how well each class is known.

use std::collections::HashSet;
use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Position, Rect, Size};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::image::colour;
use super::panel::panel;
use super::parts::position;
use crate::format;
use crate::metrics::Confusion;
use crate::render::colour_map::ColourScale;
use crate::render::figures::class_name;
use crate::render::luminance::{BRIGHTEST, luminance};
use crate::run::event::EpochDone;
use crate::text;
use crate::tui::app::App;
use crate::tui::classes::{Column, Shape};
use crate::tui::inspector::{Confused, Moment};
use crate::tui::layout::{Areas, Scroll};

/// Lines above the classes: the accuracy, the chosen cell, what the shades mean.
const HEADING_ROWS: u16 = 3;
/// A name with more is cut.
const LONGEST_NAME: usize = 20;
/// A mark before a name, and a gap behind it.
const AROUND_NAME: u16 = 2;
const NARROWEST_CELL: u16 = 4;
const LARGEST_CELL: Size = Size { width: 16, height: 4 };
/// Letters without which a class is not known from its column.
const FEWEST_LETTERS: usize = 3;
/// The columns of scores, with room for a mark of the order.
const SCORES: [(Column, &str, u16); 4] = [
    (Column::Precision, "prec", 6),
    (Column::Recall, "recall", 8),
    (Column::F1, "F1", 6),
    (Column::Support, "images", 8),
];
/// Their sum.
const SCORES_WIDTH: u16 = 28;
/// Shares of a class, in percent, whose shades are explained.
const EXPLAINED_PERCENTS: [u8; 6] = [1, 5, 10, 25, 50, 100];

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let shown = app.inspected_epoch().and_then(|epoch| Some((epoch, epoch.confusion.as_ref()?)));
    let title = match shown {
        Some((epoch, _)) => format!("Classes After Epoch {}", epoch.epoch),
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
    let (heading, area) = (Rect { height: HEADING_ROWS.min(inner.height), ..inner }, under_heading(inner));
    let mut lines = vec![accuracy_line(app, epoch, confusion)];
    match matrix(app, confusion, inner) {
        Some(matrix) => {
            lines.extend([cell_line(app, confusion), shades_line(app)]);
            matrix.render(app, confusion, area, frame);
        }
        None => {
            let visible = render_list(app, confusion, area, frame);
            let position = position(&visible, confusion.classes()).unwrap_or_default();
            lines.push(Line::styled("There is no room for the matrix of so many classes.", theme.faint()));
            lines.push(Line::styled(position, theme.faint()));
        }
    }
    frame.render_widget(Paragraph::new(lines), heading);
}

/// How the classes of the epoch that is looked at are shown.
pub fn shape(app: &App, areas: &Areas) -> Shape {
    let confusion = app.inspected_epoch().and_then(|epoch| epoch.confusion.as_ref());
    let matrix = confusion.and_then(|confusion| matrix(app, confusion, areas.inner(areas.page())));
    if matrix.is_some() { Shape::Matrix } else { Shape::List }
}

/// What lies at a place of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Cell(Confused),
    /// A class by itself, whatever it is taken for.
    Class {
        true_class: usize,
        /// The first of the list that is in view.
        first_listed: usize,
    },
    Heading(Column),
}

/// What lies at that place, if anything that can be chosen does.
pub fn target_at(app: &App, areas: &Areas, at: Position) -> Option<Target> {
    let confusion = app.inspected_epoch()?.confusion.as_ref()?;
    let inner = areas.inner(areas.page());
    let area = under_heading(inner);
    let row = usize::from(at.y.checked_sub(area.y).filter(|_| area.contains(at))?);
    let across = at.x - area.x;
    match matrix(app, confusion, inner) {
        Some(Matrix { label_width, cell, .. }) => {
            let order = app.ui.classes.order(confusion, Shape::Matrix);
            let scores = label_width + cell.width * order.len() as u16;
            let column = across.checked_sub(label_width).map(|x| usize::from(x / cell.width));
            let Some(row) = row.checked_sub(1) else { return heading_at(across, label_width, scores) };
            let true_class = *order.get(row / usize::from(cell.height))?;
            Some(match column.and_then(|column| order.get(column)) {
                Some(&predicted_class) => Target::Cell(Confused { true_class, predicted_class }),
                None => Target::Class { true_class, first_listed: 0 },
            })
        }
        None => {
            let names: Vec<String> = (0..confusion.classes()).map(|class| name(app, class)).collect();
            let label_width = label_width(&names);
            let Some(row) = row.checked_sub(1) else { return heading_at(across, label_width, label_width) };
            let order = app.ui.classes.order(confusion, Shape::List);
            let visible = listed(app, &order, area);
            let true_class = *order.get(visible.start + row).filter(|_| row < visible.len())?;
            Some(Target::Class { true_class, first_listed: visible.start })
        }
    }
}

/// The column whose title lies so far from the left, where the scores begin there.
fn heading_at(across: u16, label_width: u16, scores: u16) -> Option<Target> {
    if across < label_width {
        return Some(Target::Heading(Column::Class));
    }
    let mut end = scores;
    let column = SCORES.iter().find(|(.., width)| {
        end += width;
        (scores..end).contains(&across)
    });
    column.map(|(column, ..)| Target::Heading(*column))
}

/// What is under the lines about all classes.
fn under_heading(inner: Rect) -> Rect {
    Rect { y: inner.y + HEADING_ROWS, height: inner.height.saturating_sub(HEADING_ROWS), ..inner }
}

/// The classes of a list that are in view, under a line of headings.
fn listed(app: &App, order: &[usize], area: Rect) -> Range<usize> {
    let page = usize::from(area.height.saturating_sub(1));
    Scroll::From(app.ui.classes.first_listed(order, page)).visible(order.len(), page)
}

/// How the matrix fills a page, without its frame.
struct Matrix {
    /// By class.
    names: Vec<String>,
    label_width: u16,
    cell: Size,
}

/// `None`: there are too many classes for it.
fn matrix(app: &App, confusion: &Confusion, page: Rect) -> Option<Matrix> {
    let classes = u16::try_from(confusion.classes()).ok()?;
    let names: Vec<String> = (0..confusion.classes()).map(|class| name(app, class)).collect();
    let label_width = label_width(&names);
    let width = page.width.checked_sub(label_width + SCORES_WIDTH)? / classes;
    let height = page.height.checked_sub(HEADING_ROWS + 1)? / classes;
    let cell = Size { width: width.min(LARGEST_CELL.width), height: height.min(LARGEST_CELL.height) };
    (cell.width >= NARROWEST_CELL && cell.height > 0).then_some(Matrix { names, label_width, cell })
}

fn label_width(names: &[String]) -> u16 {
    let longest = text::widest(names).min(LONGEST_NAME);
    longest as u16 + AROUND_NAME
}

impl Matrix {
    fn render(&self, app: &App, confusion: &Confusion, area: Rect, frame: &mut Frame) {
        let theme = app.ui.theme;
        let order = app.ui.classes.order(confusion, Shape::Matrix);
        let chosen = app.ui.classes.cell(confusion.classes());
        let left = area.x + self.label_width;
        let headings = headings(&self.names, usize::from(self.cell.width) - 1);
        write(frame, Rect { width: self.label_width, height: 1, ..area }, &self.corner(app), theme.faint());
        for (&class, x) in order.iter().zip((left..).step_by(self.cell.width.into())) {
            let style = if class == chosen.predicted_class { theme.strong() } else { theme.faint() };
            let area = Rect { x, width: self.cell.width, height: 1, ..area };
            write(frame, area, &self.centred(&headings[class]), style);
        }
        let scores = Rect { x: left + self.cell.width * order.len() as u16, width: SCORES_WIDTH, height: 1, ..area };
        write_score_names(app, Shape::Matrix, scores, frame);
        let mut y = area.y + 1;
        for &class in &order {
            let middle = y + (self.cell.height - 1) / 2;
            let (mark, style) = if class == chosen.true_class { ("▸", theme.strong()) } else { (" ", Style::new()) };
            let label = Rect { y: middle, width: self.label_width, height: 1, ..area };
            write(frame, label, &format!("{mark}{}", text::cut(&self.names[class], LONGEST_NAME)), style);
            for (&predicted_class, x) in order.iter().zip((left..).step_by(self.cell.width.into())) {
                let area = Rect { x, y, width: self.cell.width, height: self.cell.height };
                let cell = Confused { true_class: class, predicted_class };
                self.render_cell(app, confusion, cell, cell == chosen, area, frame);
            }
            write_scores(
                app,
                Rect { y: middle, ..scores },
                |column| column.value(confusion, class),
                Style::new(),
                frame,
            );
            y += self.cell.height;
        }
        if y < area.bottom() {
            let mean = Rect { y, width: self.label_width, height: 1, ..area };
            write(frame, mean, " mean", theme.faint());
            write_scores(app, Rect { y, ..scores }, |column| mean_of(confusion, column), theme.faint(), frame);
        }
    }

    fn corner(&self, app: &App) -> String {
        format!(" true{}", order_mark(app, Shape::Matrix, Column::Class))
    }

    /// In the columns of a cell: in the middle, or where those are few at the right.
    fn centred(&self, text: &str) -> String {
        let width = usize::from(self.cell.width);
        match width {
            6.. => format!("{text:^width$}"),
            _ => format!("{text:>width$}"),
        }
    }

    fn render_cell(
        &self,
        app: &App,
        confusion: &Confusion,
        cell: Confused,
        is_chosen: bool,
        area: Rect,
        frame: &mut Frame,
    ) {
        let count = confusion.count(cell.true_class, cell.predicted_class);
        let share = count as f64 / confusion.samples_of(cell.true_class).max(1) as f64;
        let mut style = Style::new();
        if count > 0 {
            style = shaded(app, share, area, frame);
        }
        let room = usize::from(self.cell.width);
        let text = match count {
            0 => "·".to_owned(),
            _ if count.to_string().len() < room => count.to_string(),
            _ => format::compact(count as f64, room - 1),
        };
        if count == 0 {
            style = app.ui.theme.faint();
        }
        if is_chosen {
            style = style.add_modifier(Modifier::REVERSED | Modifier::BOLD);
        }
        let middle = Rect { y: area.y + (area.height - 1) / 2, height: 1, ..area };
        let text = self.centred(&text);
        let start = text.chars().take_while(|char| *char == ' ').count().saturating_sub(1) as u16;
        let shown = format!(" {} ", text.trim());
        let part =
            Rect { x: middle.x + start, width: (text::width(&shown) as u16).min(middle.width - start), ..middle };
        write(frame, part, &shown, style);
    }
}

/// From 0 to 1 on the scale of shades. Small shares are what the matrix is looked at for.
fn shade_of(share: f64) -> f32 {
    share.clamp(0.0, 1.0).sqrt() as f32
}

/// The colours of a share and of text on it; `None` where there are no colours.
fn share_style(app: &App, share: f64) -> Option<Style> {
    let pixel = ColourScale::Viridis.colour(shade_of(share));
    let background = app.ui.palette().colour(pixel)?;
    let is_bright = luminance(pixel) > BRIGHTEST / 2;
    Some(Style::new().bg(colour(background)).fg(if is_bright { Color::Black } else { Color::White }))
}

/// Fills an area with the shade of a share, and returns the style of text on it.
fn shaded(app: &App, share: f64, area: Rect, frame: &mut Frame) -> Style {
    const SHADES: [char; 4] = ['░', '▒', '▓', '█'];
    let style = share_style(app, share);
    let shade = SHADES[((shade_of(share) * SHADES.len() as f32) as usize).min(SHADES.len() - 1)];
    for position in area.positions() {
        let Some(cell) = frame.buffer_mut().cell_mut(position) else { continue };
        match style {
            Some(style) => cell.set_style(style),
            None => cell.set_char(shade),
        };
    }
    style.unwrap_or_default()
}

/// The names of the columns in at most `width` letters each: whole or cut, and numbers where that leaves some alike.
fn headings(names: &[String], width: usize) -> Vec<String> {
    let cut: Vec<String> = names.iter().map(|name| text::start(name, width).to_owned()).collect();
    let are_whole = cut.iter().zip(names).all(|(cut, name)| cut == name);
    let are_unlike = cut.iter().collect::<HashSet<_>>().len() == cut.len() && width >= FEWEST_LETTERS;
    if are_whole || are_unlike { cut } else { (0..names.len()).map(|class| class.to_string()).collect() }
}

/// For more classes than a matrix has room for: their scores, and what each is most often taken for. Returns which are in
/// view.
fn render_list(app: &App, confusion: &Confusion, area: Rect, frame: &mut Frame) -> Range<usize> {
    let theme = app.ui.theme;
    let names: Vec<String> = (0..confusion.classes()).map(|class| name(app, class)).collect();
    let label_width = label_width(&names);
    let order = app.ui.classes.order(confusion, Shape::List);
    let chosen = app.ui.classes.cell(confusion.classes()).true_class;
    let visible = listed(app, &order, area);
    let top = Rect { height: 1, ..area };
    let scores = Rect { x: area.x + label_width, width: SCORES_WIDTH, ..top };
    let words = Rect { x: scores.right() + 2, width: area.width.saturating_sub(label_width + SCORES_WIDTH + 2), ..top };
    let corner = format!(" class{}", order_mark(app, Shape::List, Column::Class));
    write(frame, Rect { width: label_width, ..top }, &corner, theme.faint());
    write_score_names(app, Shape::List, scores, frame);
    write(frame, words, "most often taken for", theme.faint());
    for (&class, y) in order[visible.clone()].iter().zip(area.y + 1..) {
        let (mark, style) = if class == chosen { ("▸", theme.strong()) } else { (" ", Style::new()) };
        let label = format!("{mark}{}", text::cut(&names[class], LONGEST_NAME));
        write(frame, Rect { y, width: label_width, ..top }, &label, style);
        write_scores(app, Rect { y, ..scores }, |column| column.value(confusion, class), style, frame);
        if let Some((other, count)) = confusion.most_often_taken_for(class) {
            let percent = 100.0 * count as f64 / confusion.samples_of(class) as f64;
            write(frame, Rect { y, ..words }, &format!("{} {percent:.0} % ({count})", names[other]), theme.faint());
        }
    }
    visible
}

fn write(frame: &mut Frame, area: Rect, text: &str, style: Style) {
    frame.buffer_mut().set_stringn(area.x, area.y, text, area.width.into(), style);
}

fn order_mark(app: &App, shape: Shape, column: Column) -> &'static str {
    match app.ui.classes.sorted_by(shape) == column {
        true if app.ui.classes.descending => "▼",
        true => "▲",
        false => "",
    }
}

fn write_score_names(app: &App, shape: Shape, area: Rect, frame: &mut Frame) {
    let mut x = area.x;
    for (column, name, width) in SCORES {
        let text = format!("{name}{}", order_mark(app, shape, column));
        write(
            frame,
            Rect { x, width, ..area },
            &format!("{text:>width$}", width = usize::from(width)),
            app.ui.theme.faint(),
        );
        x += width;
    }
}

fn write_scores(app: &App, area: Rect, score: impl Fn(Column) -> Option<f64>, style: Style, frame: &mut Frame) {
    let mut x = area.x;
    for (column, _, width) in SCORES {
        let text = match (column, score(column)) {
            (_, None) => "–".to_owned(),
            (Column::Support, Some(images)) => format::count(images as u64),
            (_, Some(percent)) => format!("{percent:.1}"),
        };
        let style = if column == Column::F1 { style.patch(app.ui.theme.test()) } else { style };
        write(frame, Rect { x, width, ..area }, &format!("{text:>width$}", width = usize::from(width)), style);
        x += width;
    }
}

fn mean_of(confusion: &Confusion, column: Column) -> Option<f64> {
    match column {
        Column::Class => None,
        Column::Support => Some(confusion.samples() as f64),
        Column::Precision | Column::Recall | Column::F1 => {
            confusion.mean_of(|confusion, class| column.value(confusion, class))
        }
    }
}

fn name(app: &App, class: usize) -> String {
    class_name(app.class_names(), class)
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
        Span::styled(epoch.test_time_augmentation.suffix(), theme.faint()),
    ])
}

/// `cat → dog: 17 of 50 images, 34.0 %`
fn cell_line(app: &App, confusion: &Confusion) -> Line<'static> {
    let theme = app.ui.theme;
    let Confused { true_class, predicted_class } = app.ui.classes.cell(confusion.classes());
    let (count, all) = (confusion.count(true_class, predicted_class), confusion.samples_of(true_class));
    let what = match true_class == predicted_class {
        true => format!("{} right", name(app, true_class)),
        false => format!("{} → {}", name(app, true_class), name(app, predicted_class)),
    };
    let percent = if all > 0 { format!(", {:.1} %", 100.0 * count as f64 / all as f64) } else { String::new() };
    Line::from(vec![
        Span::styled(format!("▸ {what}"), theme.strong()),
        Span::raw(format!(": {} of {} images{percent}", format::count(count), format::count(all))),
    ])
}

/// What the shades mean, from the least share to the greatest.
fn shades_line(app: &App) -> Line<'static> {
    let theme = app.ui.theme;
    let mut spans = vec![Span::styled("rows: true class, columns: predicted, shade: % of the row", theme.faint())];
    let explained = EXPLAINED_PERCENTS.iter().filter_map(|&percent| {
        Some(Span::styled(format!("{percent:>3} "), share_style(app, f64::from(percent) / 100.0)?))
    });
    let shades: Vec<Span> = explained.collect();
    if !shades.is_empty() {
        spans.push(Span::styled("  ", theme.faint()));
        spans.extend(shades);
    }
    Line::from(spans)
}
