//! The prompt for a learning rate.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::parts::{choices, overlay};
use crate::format;
use crate::tui::app::App;
use crate::tui::app::screens::Screen;

/// Columns for what is typed and what is wrong with it.
const WIDTH: u16 = 56;

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
    let theme = app.ui.theme;
    let present = app.run.learning_rate.map_or("–".to_owned(), format::learning_rate);
    let typed = &app.ui.typed;
    let remark = match &typed.fault {
        Some(fault) => Line::styled(fault.clone(), theme.alarm()),
        None => Line::styled(format!("now {present}; from the next step on"), theme.faint()),
    };
    let entry = Line::from(vec![Span::styled(typed.text.clone(), theme.strong()), Span::raw("▏")]);
    let inner = overlay(app, screen, WIDTH, 4, "Learning Rate", frame);
    let [entry_area, remark_area, keys_area] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(2), Constraint::Length(1)]).areas(inner);
    frame.render_widget(entry, entry_area);
    frame.render_widget(Paragraph::new(remark).wrap(Wrap { trim: true }), remark_area);
    frame.render_widget(choices(app, Screen::EnterLearningRate), keys_area);
}
