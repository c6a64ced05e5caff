//! What a screen below 80×24 has room for: a header, charts, and the keys that matter.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::panels::SMALL;
use super::{alarms, confirm, enter_learning_rate, events, find_class, footer, header, too_small};
use crate::run::event::Severity;
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::keys;
use crate::tui::layout::{SMALLEST, SMALLEST_PART, SmallAreas};

pub fn render(app: &App, screen: Rect, frame: &mut Frame, placed: &mut Vec<Placed>) {
    let notices = app.notices(screen.width);
    // That a run has diverged or is dead must be seen on the smallest screen too.
    let urgent_lines = u16::from(notices.iter().any(|notice| notice.severity == Severity::Alarm));
    let Some(small) = SmallAreas::of(screen, notices.len() as u16, urgent_lines, SMALL.len() as u16) else {
        return too_small::render(app, "taper", SMALLEST_PART, "q leaves; the run is not touched", screen, frame);
    };
    header::render_small(app, small.areas.header, frame);
    super::notices::render(app, &small.areas, frame);
    if app.ui.screens.page() == Screen::Dashboard {
        let charts = SMALL.iter().cycle().skip(app.ui.first_small_chart);
        for (chart, area) in charts.zip(&small.charts) {
            (chart.render)(app, &small.areas, *area, frame, placed);
        }
    } else {
        too_small::render(app, "this page", SMALLEST, "esc goes back", small.body, frame);
    }
    footer::render(app, &small.areas, frame);
    match app.ui.screens.top() {
        Screen::Alarms => alarms::render(app, screen, frame),
        Screen::Help => help(app, small.body, frame),
        Screen::ConfirmStop => confirm::render(app, screen, frame),
        Screen::EnterLearningRate => enter_learning_rate::render(app, screen, frame),
        Screen::FindClass => find_class::render(app, screen, frame),
        _ => events::render_message(app, small.areas.message(), frame),
    }
}

/// The keys that have a label, one after the other.
fn help(app: &App, area: Rect, frame: &mut Frame) {
    let theme = app.ui.theme;
    let steering = app.steering();
    let mut spans = vec![];
    let labelled = keys::bindings(app.ui.screens.page()).filter(|binding| binding.is_offered(steering));
    for binding in labelled.filter(|binding| !binding.label.is_empty()) {
        spans.push(Span::styled(binding.keys[0].to_string(), theme.strong()));
        // A line is broken at spaces, and not within an entry.
        spans.push(Span::raw(format!("\u{a0}{}  ", binding.label_in(steering).replace(' ', "\u{a0}"))));
    }
    spans.push(Span::styled(format!("more at {}×{}", SMALLEST.width, SMALLEST.height), theme.faint()));
    let block = Block::bordered().title_top(Line::styled(" Keys ", theme.strong()));
    let text = Paragraph::new(Line::from(spans)).wrap(Wrap { trim: true }).block(block);
    frame.render_widget(Clear, area);
    frame.render_widget(text, area);
}
