//! Where everything goes: three arrangements, by the room there is, and how far one can scroll in them.

use std::ops::Range;

use ratatui::layout::{Constraint, Layout, Margin, Rect, Size};

use crate::run::step_time::Part;

/// Below this the dashboard says that it is too small.
pub const SMALLEST: Size = Size { width: 80, height: 24 };

/// A panel that can have the focus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panel {
    BatchLoss,
    #[default]
    Epochs,
    LearningRate,
    Checkpoints,
    Events,
}

impl Panel {
    pub const ALL: [Panel; 5] =
        [Panel::BatchLoss, Panel::Epochs, Panel::LearningRate, Panel::Checkpoints, Panel::Events];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Start,
    Latest,
}

/// How much there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Density {
    /// Rules instead of boxes, one event line.
    Compact,
    Regular,
    /// All of it, with checkpoints and wider tables.
    Wide,
}

/// The areas of a screen; panels with their frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Areas {
    pub density: Density,
    pub header: Rect,
    /// Empty where the log does not tell where the time goes.
    pub step_time: Rect,
    pub notices: Rect,
    pub batch_loss: Rect,
    pub loss: Rect,
    pub accuracy: Rect,
    pub epochs: Rect,
    pub learning_rate: Rect,
    /// Empty where there is no room.
    pub checkpoints: Rect,
    /// What the network sees; empty where there is no room.
    pub inspector: Rect,
    pub events: Rect,
    pub footer: Rect,
}

/// What there is to show besides what is always there.
#[derive(Clone, Copy, Debug)]
pub struct With {
    pub notice_lines: u16,
    pub step_time: bool,
    pub images: bool,
}

impl Areas {
    /// `None`: the screen is too small.
    pub fn of(screen: Rect, with: With) -> Option<Self> {
        if screen.width < SMALLEST.width || screen.height < SMALLEST.height {
            return None;
        }
        let density = match (screen.width, screen.height) {
            (160.., 46..) => Density::Wide,
            (100.., 36..) => Density::Regular,
            _ => Density::Compact,
        };
        Some(match density {
            Density::Compact => Self::compact(screen, with),
            Density::Regular => Self::regular(screen, with),
            Density::Wide => Self::wide(screen, with),
        })
    }

    /// ```text
    /// header
    /// step time
    /// ── batch loss ──────────────
    /// ── loss ─────  ── accuracy ─
    /// ── epochs ─────  ── lr ─────
    /// latest event
    /// footer
    /// ```
    fn compact(screen: Rect, With { notice_lines, step_time, .. }: With) -> Self {
        // Every other row beyond the smallest screen goes to the charts; the rest is shared.
        let spare = screen.height - SMALLEST.height;
        // Among three notices the charts need the row more.
        let with_step_time = step_time && notice_lines < 3 + spare;
        let [header, step_time, notices, batch_loss, charts, tables, events, footer] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Length(with_step_time.into()),
            Constraint::Length(notice_lines),
            Constraint::Length(4 + spare / 4),
            Constraint::Min(6),
            Constraint::Length(6 + spare / 4),
            Constraint::Length(1),
            Constraint::Length(1),
        ])
        .areas(screen);
        let [loss, accuracy] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(2).areas(charts);
        let [epochs, learning_rate] =
            Layout::horizontal([Constraint::Min(56), Constraint::Max(28)]).spacing(1).areas(tables);
        Self {
            density: Density::Compact,
            header,
            step_time,
            notices,
            batch_loss,
            loss,
            accuracy,
            epochs,
            learning_rate,
            checkpoints: Rect::ZERO,
            inspector: Rect::ZERO,
            events,
            footer,
        }
    }

    /// ```text
    /// header
    /// step time
    /// ╭ batch loss ──────────────╮
    /// ╭ loss ─────╮╭ accuracy ───╮
    /// ╭ epochs ──────╮╭ lr ──────╮
    /// ╭ events ──────────────────╮
    /// footer
    /// ```
    fn regular(screen: Rect, With { notice_lines, step_time: with_step_time, .. }: With) -> Self {
        let [header, step_time, notices, batch_loss, charts, tables, events, footer] = Layout::vertical([
            Constraint::Length(4),
            Constraint::Length(with_step_time.into()),
            Constraint::Length(notice_lines),
            Constraint::Fill(2),
            Constraint::Fill(4),
            Constraint::Fill(3),
            Constraint::Length(if screen.height < 40 { 4 } else { 5 }),
            Constraint::Length(1),
        ])
        .areas(screen);
        let [loss, accuracy] = Layout::horizontal([Constraint::Fill(1); 2]).areas(charts);
        let [epochs, learning_rate] = Layout::horizontal([Constraint::Fill(7), Constraint::Fill(5)]).areas(tables);
        Self {
            density: Density::Regular,
            header,
            step_time,
            notices,
            batch_loss,
            loss,
            accuracy,
            epochs,
            learning_rate,
            checkpoints: Rect::ZERO,
            inspector: Rect::ZERO,
            events,
            footer,
        }
    }

    /// ```text
    /// header
    /// ╭ batch loss ────────╮╭ epochs ────╮
    /// ╭ loss ────╮╭ inspector ╮│            │
    /// │          ││        │╭ step time ─╮
    /// │          ││        │╭ lr ────────╮
    /// ╭ accuracy ╮│        │╭ checkpoints╮
    /// ╭ events ──────────────────────────╮
    /// footer
    /// ```
    fn wide(screen: Rect, With { notice_lines, step_time: with_step_time, images }: With) -> Self {
        let [header, notices, body, events, footer] = Layout::vertical([
            Constraint::Length(4),
            Constraint::Length(notice_lines),
            Constraint::Fill(1),
            Constraint::Length(8),
            Constraint::Length(1),
        ])
        .areas(screen);
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(82)]).areas(body);
        let [batch_loss, charts] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(8)]).areas(left);
        let inspector_width = left.width.saturating_sub(NARROWEST_CHART).min(WIDEST_INSIDE);
        let inspector_width = if images && inspector_width >= NARROWEST_INSIDE { inspector_width } else { 0 };
        let [charts, inspector] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Length(inspector_width)]).areas(charts);
        let [loss, accuracy] = Layout::vertical([Constraint::Fill(1); 2]).areas(charts);
        let [epochs, step_time, learning_rate, checkpoints] = Layout::vertical([
            Constraint::Fill(5),
            Constraint::Length(if with_step_time { STEP_TIME_ROWS } else { 0 }),
            Constraint::Fill(2),
            Constraint::Fill(2),
        ])
        .areas(right);
        Self {
            density: Density::Wide,
            header,
            step_time,
            notices,
            batch_loss,
            loss,
            accuracy,
            epochs,
            learning_rate,
            checkpoints,
            inspector,
            events,
            footer,
        }
    }

    /// All between the notices and the line above the footer, with its frame.
    pub fn page(&self) -> Rect {
        let top = self.notices.bottom().max(self.header.bottom());
        Rect { x: self.footer.x, y: top, width: self.footer.width, height: self.message().y - top }
    }

    /// For a message under a page.
    pub fn message(&self) -> Rect {
        Rect { y: self.footer.y - 1, ..self.footer }
    }

    /// A panel with its frame.
    pub fn panel(&self, panel: Panel) -> Rect {
        match panel {
            Panel::BatchLoss => self.batch_loss,
            Panel::Epochs => self.epochs,
            Panel::LearningRate => self.learning_rate,
            Panel::Checkpoints => self.checkpoints,
            Panel::Events => self.events,
        }
    }

    /// A panel without its frame.
    pub fn inner(&self, area: Rect) -> Rect {
        match self.density {
            // The event line has no rule above it.
            Density::Compact if area == self.events => area,
            Density::Compact => Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area },
            Density::Regular | Density::Wide => area.inner(Margin::new(2, 1)),
        }
    }

    /// What of a panel moves when one scrolls: lines, or for the batch losses columns.
    pub fn page_of(&self, panel: Panel) -> usize {
        let inner = self.inner(self.panel(panel));
        usize::from(match panel {
            Panel::BatchLoss => inner.width.saturating_sub(SCALE_WIDTH),
            // Under a line of headings.
            Panel::Epochs | Panel::Checkpoints => inner.height.saturating_sub(1),
            Panel::LearningRate | Panel::Events => inner.height,
        })
    }
}

/// Columns left of a plot, for its scale.
pub const SCALE_WIDTH: u16 = 7;

/// The list of alarms over the screen, without its frame.
pub fn alarm_list(screen: Rect) -> Rect {
    screen.inner(Margin::new(6, 3))
}

/// Columns that a chart keeps beside the images, and those that images are worth.
const NARROWEST_CHART: u16 = 50;
const NARROWEST_INSIDE: u16 = 40;
const WIDEST_INSIDE: u16 = 66;

/// The panel of the step time: a heading, a row for each part and one for probes, in a frame.
const STEP_TIME_ROWS: u16 = 1 + Part::ALL.len() as u16 + 1 + 2;

/// Where a list is scrolled to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scroll {
    /// At the end, and staying there as it grows.
    #[default]
    Latest,
    /// This is the first that is seen.
    From(usize),
}

impl Scroll {
    /// What is seen of `len` things where `page` fit.
    pub fn visible(self, len: usize, page: usize) -> Range<usize> {
        let last_start = len.saturating_sub(page);
        let start = match self {
            Scroll::Latest => last_start,
            Scroll::From(first) => first.min(last_start),
        };
        start..(start + page).min(len)
    }

    /// Moves by `by`, backwards where it is negative.
    pub fn moved(self, by: isize, len: usize, page: usize) -> Self {
        let start = self.visible(len, page).start.saturating_add_signed(by);
        if start >= len.saturating_sub(page) { Scroll::Latest } else { Scroll::From(start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrolling_stays_within_the_list_and_the_end_is_followed() {
        assert_eq!(Scroll::Latest.visible(10, 4), 6..10);
        assert_eq!(Scroll::Latest.visible(2, 4), 0..2);
        assert_eq!(Scroll::Latest.moved(-1, 10, 4), Scroll::From(5));
        assert_eq!(Scroll::From(5).visible(11, 4), 5..9);
        assert_eq!(Scroll::From(5).moved(1, 10, 4), Scroll::Latest);
        assert_eq!(Scroll::From(2).moved(isize::MIN, 10, 4), Scroll::From(0));
        assert_eq!(Scroll::From(2).moved(isize::MAX, 10, 4), Scroll::Latest);
        assert_eq!(Scroll::Latest.moved(-1, 3, 4), Scroll::Latest);
        assert_eq!(Scroll::From(9).visible(3, 4), 0..3);
    }

    #[test]
    fn every_screen_is_filled_without_overlap() {
        for (width, height) in [(80, 24), (80, 60), (99, 40), (120, 36), (120, 40), (160, 46), (200, 50), (300, 90)] {
            for (notices, with_step_time) in (0..=3).flat_map(|notices| [(notices, false), (notices, true)]) {
                let screen = Rect::new(0, 0, width, height);
                let with = With { notice_lines: notices, step_time: with_step_time, images: with_step_time };
                let areas = Areas::of(screen, with).unwrap();
                let all = [
                    areas.header,
                    areas.step_time,
                    areas.notices,
                    areas.batch_loss,
                    areas.loss,
                    areas.accuracy,
                    areas.epochs,
                    areas.learning_rate,
                    areas.checkpoints,
                    areas.inspector,
                    areas.events,
                    areas.footer,
                ];
                for (index, area) in all.iter().enumerate() {
                    assert_eq!(area.intersection(screen), *area, "{width}×{height}");
                    for other in &all[index + 1..] {
                        assert!(!area.intersects(*other), "{width}×{height}: {area} and {other}");
                    }
                }
                assert_eq!(areas.footer.bottom(), height);
                assert_eq!(areas.notices.height, notices);
                let squeezed = height == SMALLEST.height && notices == 3;
                assert_eq!(areas.step_time.is_empty(), !with_step_time || squeezed, "{width}×{height}");
                assert!(areas.page_of(Panel::Epochs) >= 3, "{width}×{height}");
                assert!(areas.inner(areas.loss).height >= 5, "{width}×{height}");
            }
        }
        let with = With { notice_lines: 0, step_time: true, images: true };
        assert_eq!(Areas::of(Rect::new(0, 0, 79, 24), with), None);
        assert_eq!(Areas::of(Rect::new(0, 0, 80, 23), with), None);
        let inspector = |width, with| Areas::of(Rect::new(0, 0, width, 50), with).unwrap().inspector.width;
        assert_eq!(
            (inspector(160, with), inspector(171, with), inspector(172, with), inspector(240, with)),
            (0, 0, 40, 66)
        );
        assert_eq!(inspector(240, With { images: false, ..with }), 0);
    }
}
