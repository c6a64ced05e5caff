//! What a panel is, and the frame that it is drawn in.

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Borders};

use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::chart_page::ChartKind;
use crate::tui::layout::{Areas, Density, PanelName, Places};

pub struct Panel {
    pub name: PanelName,
    pub places: Places,
    /// Whether there is something to show.
    pub is_shown: fn(&App) -> bool,
    /// `None`: there is nothing to move through. Without a chart, too, it cannot have the focus.
    pub scrolling: Option<Scrolling>,
    /// What Enter shows on the whole screen.
    pub chart: Option<fn(&App) -> ChartKind>,
    /// Its lines stand for something each, and can be chosen.
    pub rows: Option<Rows>,
    /// Draws the panel into its area, frame included; adds the images that the terminal is to draw.
    pub render: fn(&App, &Areas, Rect, &mut Frame, &mut Vec<Placed>),
}

impl Panel {
    pub fn can_focus(&self) -> bool {
        self.scrolling.is_some() || self.chart.is_some()
    }
}

/// How a panel is moved through.
pub struct Scrolling {
    /// Lines, or columns where it is moved through sideways.
    pub len: fn(&App) -> usize,
    /// How many of them fit into the panel's area.
    pub page: fn(&Areas, Rect) -> usize,
    /// Sideways.
    pub across: bool,
}

/// What the lines of a panel that is moved through stand for.
pub struct Rows {
    /// Where they are in the panel's area.
    pub area: fn(&Areas, Rect) -> Rect,
    /// What tells the n-th from the others, however the list changes.
    pub key: fn(&App, usize) -> Option<String>,
    /// The chart that shows the moment of the n-th, and its step.
    pub moment: fn(&App, usize) -> Option<(ChartKind, u64)>,
}

/// Draws the frame of a panel, a rule above it where room is scarce, and returns the area within.
pub fn panel(
    app: &App,
    areas: &Areas,
    area: Rect,
    focusable: Option<PanelName>,
    title: &str,
    note: Line,
    frame: &mut Frame,
) -> Rect {
    let theme = app.ui.theme;
    let focused = focusable == Some(app.ui.focus) && app.ui.screens.top() == Screen::Dashboard;
    let border = if focused { theme.strong() } else { theme.faint() };
    let mut left = Vec::new();
    if areas.density == Density::Compact {
        left.push(Span::styled("─", border));
    }
    left.push(Span::styled(format!("{}{title} ", if focused { "▸ " } else { " " }), theme.strong()));
    let mut right = if note.width() == 0 { Vec::new() } else { note.spans };
    if !right.is_empty() {
        right.insert(0, Span::raw(" "));
        right.push(Span::raw(" "));
    }
    if areas.density == Density::Compact {
        right.push(Span::styled("─", border));
    }
    let block = Block::new()
        .borders(if areas.density == Density::Compact { Borders::TOP } else { Borders::ALL })
        .border_type(BorderType::Rounded)
        .border_style(border)
        // Or the titles would inherit the faintness of the frame.
        .title_style(Style::reset())
        .title_top(Line::from(left))
        .title_top(Line::from(right).alignment(Alignment::Right));
    frame.render_widget(block, area);
    areas.inner(area)
}

/// Columns for a note at the right of the title, a gap before it included.
pub fn note_width(area: Rect, title: &str) -> usize {
    // Corners or dashes, the mark of the focus, and a space around both.
    const AROUND: usize = 8;
    usize::from(area.width).saturating_sub(title.chars().count() + AROUND)
}
