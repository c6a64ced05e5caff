//! The trainer's own log, followed as it grows.

use ratatui::Frame;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use super::panel::panel;
use super::parts::position;
use crate::format;
use crate::run::trainer_log::Level;
use crate::tui::app::App;
use crate::tui::layout::Areas;
use crate::tui::log_page::wrapped;

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let inner = areas.inner(areas.page());
    let log = match &app.files.trainer_log {
        Some(Ok(log)) => log,
        None => {
            framed(app, areas, "", frame);
            return frame.render_widget(Line::styled("Reading the log…", theme.faint()), inner);
        }
        Some(Err(error)) => {
            framed(app, areas, "", frame);
            let why = format!("{error}; a trainer in the foreground writes to its terminal instead.");
            return frame.render_widget(Paragraph::new(why).style(theme.faint()).wrap(Wrap { trim: true }), inner);
        }
    };
    let visible = app.ui.log.visible(log, inner.width, inner.height);
    let mut notes = vec![];
    if log.skipped_bytes > 0 {
        notes.push(format!("without the first {}", format::bytes(log.skipped_bytes)));
    }
    notes.extend(position(&visible, log.lines.len()));
    notes.push(if app.ui.log.follows() { "following".to_owned() } else { "End follows".to_owned() });
    framed(app, areas, &notes.join("  "), frame);
    if log.lines.is_empty() {
        return frame.render_widget(Line::styled("The trainer has written nothing to its log.", theme.faint()), inner);
    }
    let text: Vec<Line> = log.lines[visible]
        .iter()
        .flat_map(|line| {
            let mut style = match line.level {
                Level::Error => theme.alarm(),
                Level::Warning => theme.warning(),
                Level::Other => Style::new(),
            };
            if app.ui.log.is_chosen(line) {
                style = style.add_modifier(Modifier::REVERSED);
            }
            wrapped(line, inner.width).into_iter().map(move |part| Line::styled(part, style))
        })
        .collect();
    frame.render_widget(Paragraph::new(text), inner);
}

fn framed(app: &App, areas: &Areas, note: &str, frame: &mut Frame) {
    let note = Line::styled(note.to_owned(), app.ui.theme.faint());
    panel(app, areas, areas.page(), None, "Trainer's Log", note, frame);
}
