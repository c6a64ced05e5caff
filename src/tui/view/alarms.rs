//! The alarms, the newest first, over the screen.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Alignment, Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Paragraph};

use super::parts::position;
use crate::format;
use crate::run::state::Alarm;
use crate::tui::app::App;
use crate::tui::app::notices::AlarmLine;
use crate::tui::layout::SMALLEST;

/// Around the list.
const FRAME: Margin = Margin { horizontal: 3, vertical: 2 };

/// The list, without its frame.
pub fn list_area(screen: Rect) -> Rect {
    let is_small = screen.width < SMALLEST.width || screen.height < SMALLEST.height;
    // The frame takes half of it.
    screen.inner(if is_small { FRAME } else { Margin::new(2 * FRAME.horizontal, FRAME.vertical + 1) })
}

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
    let theme = app.ui.theme;
    let list = list_area(screen);
    let lines = app.alarm_lines(list.width);
    let page = usize::from(list.height);
    let first = app.ui.first_alarm_line.min(lines.len().saturating_sub(page));
    let visible = first..(first + page).min(lines.len());

    let mut block = Block::bordered()
        .border_type(BorderType::Rounded)
        .title_top(Line::styled(format!(" Alarms: {} ", app.run.alarms.len()), theme.strong()));
    if let Some(position) = position(&visible, lines.len()) {
        let position = Line::styled(format!(" lines {position} "), theme.faint());
        block = block.title_top(position.alignment(Alignment::Right));
    }
    let area = list.outer(FRAME);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    if lines.is_empty() {
        frame.render_widget(Line::styled("None so far.", theme.faint()), list);
        return;
    }
    let seen = lines[visible].iter().map(|line| match line {
        AlarmLine::Heading(alarm) => heading(app, alarm),
        AlarmLine::Message(text) => Line::raw(text.clone()),
    });
    frame.render_widget(Paragraph::new(seen.collect::<Vec<_>>()), list);
}

fn heading(app: &App, alarm: &Alarm) -> Line<'static> {
    let theme = app.ui.theme;
    let time = Timestamp::from_millisecond(alarm.time_ms as i64).unwrap_or_default().to_zoned(app.ui.zone.clone());
    Line::from(vec![
        Span::styled(format!("! {}", alarm.kind.name()), theme.severity(alarm.kind.severity())),
        Span::styled(
            format!("  step {}  {}", format::count(alarm.step), time.strftime("%Y-%m-%d %H:%M:%S")),
            theme.faint(),
        ),
    ])
}
