//! Where everything goes on a screen: three arrangements of the same regions, by the room there is.

pub mod grid;
mod panel;
mod scroll;

use ratatui::layout::{self, Constraint, Layout, Margin, Rect, Size};

pub use panel::{PanelName, Place, Places, Region, place};
pub use scroll::{Direction, Scroll, scrolled};

/// Below this the dashboard shows a part of itself, on [`SmallAreas`].
pub const SMALLEST: Size = Size { width: 80, height: 24 };

/// Below this it says that the terminal is too small.
pub const SMALLEST_PART: Size = Size { width: 40, height: 8 };

/// A chart of the part that has room for more than one.
const CHART_IN_PART: Size = Size { width: 45, height: 8 };

/// Columns that the charts keep beside other panels, and what those take: images at least as many as a title of theirs and
/// the network's prediction have characters.
const NARROWEST_CHART: u16 = 50;
const NARROWEST_BESIDE: u16 = 54;
const WIDEST_BESIDE: u16 = 66;
/// Columns of the tables at the right, with their usual gaps and with the narrowest.
const TABLES: u16 = 82;
const NARROWEST_TABLES: u16 = 68;

/// How much there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Density {
    /// Rules instead of boxes, one event line.
    Compact,
    Regular,
    /// With checkpoints and wider tables.
    Wide,
}

/// The areas of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Areas {
    pub density: Density,
    pub header: Rect,
    pub notices: Rect,
    pub footer: Rect,
    /// The area of each panel, with its frame; empty where it is not shown.
    panels: Vec<Rect>,
}

/// Those of a screen that is smaller than [`SMALLEST`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallAreas {
    /// Without panels.
    pub areas: Areas,
    /// Between notices and footer.
    pub body: Rect,
    /// The body's parts for charts, one at least.
    pub charts: Vec<Rect>,
}

impl SmallAreas {
    /// With as many of the lines of notices as a chart leaves, the urgent ones in any case, and at most `charts` charts.
    /// `None`: there is no room for one.
    pub fn of(screen: Rect, notice_lines: u16, urgent_lines: u16, charts: u16) -> Option<Self> {
        if screen.width < SMALLEST_PART.width || screen.height < SMALLEST_PART.height {
            return None;
        }
        let notice_lines = notice_lines.min((screen.height - SMALLEST_PART.height) / 2).max(urgent_lines);
        let [header, notices, body, footer] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Length(notice_lines),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(screen);
        let (below, beside) = (body.height / CHART_IN_PART.height, body.width / CHART_IN_PART.width);
        let (direction, count) =
            if beside > below { (layout::Direction::Horizontal, beside) } else { (layout::Direction::Vertical, below) };
        let sizes = vec![Constraint::Fill(1); count.clamp(1, charts).into()];
        let charts = Layout::new(direction, sizes).spacing(u16::from(direction == layout::Direction::Horizontal));
        let areas = Areas { density: Density::Compact, header, notices, footer, panels: vec![] };
        Some(Self { areas, body, charts: charts.split(body).to_vec() })
    }
}

/// A region on a screen, and how panels lie in it.
#[derive(Clone, Copy)]
struct Lane {
    area: Rect,
    direction: layout::Direction,
    spacing: u16,
}

impl Lane {
    fn row(area: Rect) -> Self {
        Self { area, direction: layout::Direction::Horizontal, spacing: 0 }
    }

    fn column(area: Rect) -> Self {
        Self { area, direction: layout::Direction::Vertical, spacing: 0 }
    }

    fn spaced(self, spacing: u16) -> Self {
        Self { spacing, ..self }
    }
}

/// An arrangement of all that panels do not share out among themselves.
struct Arrangement {
    header: Rect,
    notices: Rect,
    footer: Rect,
    /// In the order of [`Region::ALL`].
    lanes: [Lane; Region::ALL.len()],
}

impl Arrangement {
    /// ```text
    /// header
    /// line
    /// notices
    /// status
    /// ── top ─────────────────────
    /// ── charts ────  ────────────
    /// ── tables ───── ────────────
    /// bottom: one line
    /// footer
    /// ```
    fn compact(screen: Rect, notice_lines: u16, with_line: bool, with_status: bool) -> Self {
        // Every other row beyond the smallest screen goes to the charts; the rest is shared.
        let spare = screen.height - SMALLEST.height;
        // Among notices the charts need the rows more.
        let with_line = with_line && notice_lines < 3 + spare;
        let with_status = with_status && notice_lines + u16::from(with_line) < 3 + spare;
        let [header, line, notices, status, top, charts, tables, bottom, footer] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Length(with_line.into()),
            Constraint::Length(notice_lines),
            Constraint::Length(with_status.into()),
            Constraint::Length(4 + spare / 4),
            Constraint::Min(6),
            Constraint::Length(6 + spare / 4),
            Constraint::Length(1),
            Constraint::Length(1),
        ])
        .areas(screen);
        let charts = Lane::row(charts).spaced(2);
        let tables = Lane::row(tables).spaced(1);
        let [line, status, top, beside, bottom] = [line, status, top, Rect::ZERO, bottom].map(Lane::row);
        Self { header, notices, footer, lanes: [line, status, top, charts, beside, tables, bottom] }
    }

    /// The same in boxes, with a list at the bottom.
    fn regular(screen: Rect, notice_lines: u16, with_line: bool, with_status: bool) -> Self {
        let [header, line, notices, status, top, charts, tables, bottom, footer] = Layout::vertical([
            Constraint::Length(4),
            Constraint::Length(with_line.into()),
            Constraint::Length(notice_lines),
            Constraint::Length(with_status.into()),
            Constraint::Fill(2),
            Constraint::Fill(4),
            Constraint::Fill(3),
            Constraint::Length(if screen.height < 40 { 4 } else { 5 }),
            Constraint::Length(1),
        ])
        .areas(screen);
        let lanes = [line, status, top, charts, Rect::ZERO, tables, bottom].map(Lane::row);
        Self { header, notices, footer, lanes }
    }

    /// ```text
    /// header
    /// notices
    /// ╭ top ───────────────╮╭ tables ────╮
    /// ╭ charts ──╮╭ beside ╮│            │
    /// │          ││        │╭────────────╮
    /// ╭──────────╮│        ││            │
    /// ╭ bottom ──────────────────────────╮
    /// footer
    /// ```
    fn wide(screen: Rect, notice_lines: u16, with_beside: bool) -> Self {
        let [header, notices, body, bottom, footer] = Layout::vertical([
            Constraint::Length(4),
            Constraint::Length(notice_lines),
            Constraint::Fill(1),
            Constraint::Length(8),
            Constraint::Length(1),
        ])
        .areas(screen);
        let for_tables = screen.width.saturating_sub(NARROWEST_CHART + NARROWEST_BESIDE);
        let tables_width = match for_tables {
            NARROWEST_TABLES.. if with_beside => for_tables.min(TABLES),
            _ => TABLES,
        };
        let [left, tables] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(tables_width)]).areas(body);
        let [top, charts] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(8)]).areas(left);
        let room = left.width.saturating_sub(NARROWEST_CHART).min(WIDEST_BESIDE);
        let beside_width = if with_beside && room >= NARROWEST_BESIDE { room } else { 0 };
        let [charts, beside] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Length(beside_width)]).areas(charts);
        let [line, status, top, bottom] = [Rect::ZERO, Rect::ZERO, top, bottom].map(Lane::row);
        let [charts, beside, tables] = [charts, beside, tables].map(Lane::column);
        Self { header, notices, footer, lanes: [line, status, top, charts, beside, tables, bottom] }
    }
}

impl Areas {
    /// `panels` are the places of each panel, in the order in which they fill a region. `None`: the screen is too small.
    pub fn of(screen: Rect, notice_lines: u16, panels: &[Places]) -> Option<Self> {
        if screen.width < SMALLEST.width || screen.height < SMALLEST.height {
            return None;
        }
        let density = match (screen.width, screen.height) {
            (160.., 46..) => Density::Wide,
            (100.., 36..) => Density::Regular,
            _ => Density::Compact,
        };
        let places: Vec<Option<Place>> = panels.iter().map(|places| places[density as usize]).collect();
        let has = |region| places.iter().flatten().any(|place| place.region == region);
        let Arrangement { header, notices, footer, lanes } = match density {
            Density::Compact => Arrangement::compact(screen, notice_lines, has(Region::Line), has(Region::Status)),
            Density::Regular => Arrangement::regular(screen, notice_lines, has(Region::Line), has(Region::Status)),
            Density::Wide => Arrangement::wide(screen, notice_lines, has(Region::Beside)),
        };
        let mut areas = vec![Rect::ZERO; places.len()];
        for (region, Lane { area, direction, spacing }) in Region::ALL.into_iter().zip(lanes) {
            let in_region = |place: &Place| place.region == region;
            let (numbers, sizes): (Vec<usize>, Vec<Constraint>) = places
                .iter()
                .zip(0..)
                .filter_map(|(place, number)| Some((number, place.filter(in_region)?.size)))
                .unzip();
            let split = Layout::new(direction, sizes).spacing(spacing).split(area);
            for (number, area) in numbers.into_iter().zip(split.iter()) {
                areas[number] = *area;
            }
        }
        Some(Self { density, header, notices, footer, panels: areas })
    }

    /// The area of the panel with that number, with its frame; empty where it is not shown.
    pub fn panel(&self, number: usize) -> Rect {
        self.panels[number]
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

    /// A panel without its frame.
    pub fn inner(&self, area: Rect) -> Rect {
        match self.density {
            Density::Compact => Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area },
            Density::Regular | Density::Wide => area.inner(Margin::new(2, 1)),
        }
    }
}
