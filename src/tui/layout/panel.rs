//! What a layout knows of a panel: its name, and where it goes.

use ratatui::layout::Constraint;

/// Unique among the panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PanelName(pub &'static str);

impl PanelName {
    /// Has the focus at first.
    pub const EPOCHS: Self = Self("epochs");
}

/// A part of the screen that panels share. Whether they are beside or above each other in it follows from the density.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// One line under the header, on every page.
    Line,
    /// One line above the panels of the dashboard.
    Status,
    Top,
    Charts,
    /// Right of the charts, where the screen is wide.
    Beside,
    Tables,
    Bottom,
}

impl Region {
    pub const ALL: [Self; 7] =
        [Self::Line, Self::Status, Self::Top, Self::Charts, Self::Beside, Self::Tables, Self::Bottom];
}

/// A region, and the panel's share of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub region: Region,
    pub size: Constraint,
}

pub const fn place(region: Region, size: Constraint) -> Option<Place> {
    Some(Place { region, size })
}

/// The places of a panel by density: compact, regular, wide. `None`: it is not shown there.
pub type Places = [Option<Place>; 3];
