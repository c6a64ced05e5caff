//! Notices under the header, such as a trainer that is gone or on another host.

use ratatui::Frame;
use ratatui::text::{Line, Span};

use super::parts::row;
use crate::run::event::Severity;
use crate::tui::app::App;
use crate::tui::layout::Areas;

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    for (notice, line) in app.notices(areas.notices.width).into_iter().zip(areas.notices.rows()) {
        let style = if notice.severity == Severity::Alarm { theme.alarm() } else { theme.warning() };
        row(line, Line::from(vec![Span::styled(format!(" ! {}", notice.text), style)]), Line::default(), frame);
    }
}
