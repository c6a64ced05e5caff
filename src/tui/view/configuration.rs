//! The run's configuration, with what differs from the default.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::panel::panel;
use super::parts::position;
use crate::tui::app::App;
use crate::tui::configuration::{AgainstDefault, ConfigurationLine, Key, Shown, keys};
use crate::tui::layout::Areas;

/// Columns of keys and of their values.
const NAME_WIDTH: usize = 22;
const VALUE_WIDTH: usize = 24;
/// A line about all, and a gap.
const HEADING_ROWS: u16 = 2;

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let lines = lines(app);
    let page = page(areas.inner(areas.page()));
    let first = app.ui.configuration.first(lines.len(), page);
    let visible = first..lines.len().min(first + page);
    let note = Line::styled(position(&visible, lines.len()).unwrap_or_default(), theme.faint());
    let inner = panel(app, areas, areas.page(), None, "Configuration", note, frame);
    let values = match &app.files.configuration {
        Some(Ok(values)) => values,
        None => return frame.render_widget(Line::styled("Reading the configuration…", theme.faint()), inner),
        Some(Err(error)) => {
            let text = Paragraph::new(Line::styled(error.clone(), theme.alarm())).wrap(Wrap { trim: true });
            return frame.render_widget(text, inner);
        }
    };
    let all = keys(values, &app.run.setting_changes);
    let different = all.iter().filter(|(_, key)| key.differs()).count();
    let which = match app.ui.configuration.shown {
        Shown::Different => "those alone are shown",
        Shown::Every => "every key is shown",
    };
    let heading = match different {
        0 => format!("all {} keys have their default; {which}", all.len()),
        _ => format!("{different} of {} keys differ from the default ●; {which}", all.len()),
    };
    frame.render_widget(Line::styled(heading, theme.faint()), Rect { height: 1, ..inner });
    let area = Rect { y: inner.y + HEADING_ROWS, height: inner.height.saturating_sub(HEADING_ROWS), ..inner };
    let shown: Vec<Line> = lines[visible].iter().map(|line| configuration_line(app, line)).collect();
    frame.render_widget(Paragraph::new(shown), area);
}

/// What the page holds, scrolled or not.
pub fn lines(app: &App) -> Vec<ConfigurationLine> {
    match &app.files.configuration {
        Some(Ok(values)) => app.ui.configuration.lines(keys(values, &app.run.setting_changes)),
        Some(Err(_)) | None => vec![],
    }
}

/// How many lines fit into the page, which is without its frame.
pub fn page(inner: Rect) -> usize {
    inner.height.saturating_sub(HEADING_ROWS).into()
}

fn configuration_line(app: &App, line: &ConfigurationLine) -> Line<'static> {
    let theme = app.ui.theme;
    match line {
        ConfigurationLine::Section(section) => Line::styled(format!("[{section}]"), theme.strong()),
        ConfigurationLine::Key(key) => key_line(app, key),
    }
}

/// `● batch_size    128    default 64`
fn key_line(app: &App, key: &Key) -> Line<'static> {
    let theme = app.ui.theme;
    let (mark, style) = if key.differs() { ("●", theme.test()) } else { (" ", Style::new()) };
    let value = key.value.clone().unwrap_or_else(|| "not set".to_owned());
    let mut remarks = match &key.against_default {
        AgainstDefault::Same => vec![],
        AgainstDefault::Differs(Some(default)) => vec![format!("default {default}")],
        AgainstDefault::Differs(None) => vec!["by default not set".to_owned()],
        AgainstDefault::Resolved(default, how) => vec![format!("default {default}: {how}")],
        AgainstDefault::Unknown => vec!["this version of taper has no such key".to_owned()],
    };
    remarks.extend(key.changes.iter().cloned());
    Line::from(vec![
        Span::styled(format!("{mark} "), style),
        Span::raw(format!("{:<NAME_WIDTH$} ", key.name)),
        Span::styled(format!("{value:<VALUE_WIDTH$} "), style),
        Span::styled(remarks.join("; "), theme.faint()),
    ])
}
