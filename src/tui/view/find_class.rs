//! Where a part of a class's name is typed.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::parts::{choices, overlay};
use crate::render::figures::class_name;
use crate::tui::app::App;
use crate::tui::app::screens::Screen;

const WIDTH: u16 = 56;

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
    let theme = app.ui.theme;
    let typed = &app.ui.typed_name;
    let chosen = app.inspected_epoch().and_then(|epoch| epoch.confusion.as_ref()).map(|confusion| {
        let class = app.ui.classes.cell(confusion.classes()).true_class;
        class_name(app.class_names(), class)
    });
    let remark = match (typed.text.is_empty(), typed.is_found, chosen) {
        (true, ..) => Line::styled("a part of a class's name", theme.faint()),
        (false, false, _) => Line::styled("no class has that in its name", theme.alarm()),
        (false, true, chosen) => Line::styled(chosen.unwrap_or_default(), theme.faint()),
    };
    let entry = Line::from(vec![Span::styled(typed.text.clone(), theme.strong()), Span::raw("▏")]);
    let inner = overlay(app, screen, WIDTH, 3, "Find Class", frame);
    let [entry_area, remark_area, keys_area] = Layout::vertical([Constraint::Length(1); 3]).areas(inner);
    frame.render_widget(entry, entry_area);
    frame.render_widget(remark, remark_area);
    frame.render_widget(choices(app, Screen::FindClass), keys_area);
}
