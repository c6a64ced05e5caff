//! The table of panels: to add one, write its file and add its line.

use ratatui::layout::Rect;

use super::panel::Panel;
use super::{batch_loss, charts, checkpoints, epochs, events, inspector, learning_rate, step_time, system};
use crate::tui::app::App;
use crate::tui::layout::Areas;

/// In the order in which the focus goes round, and in which panels fill their region.
pub static PANELS: [&Panel; 10] = [
    &batch_loss::PANEL,
    &charts::LOSS,
    &charts::ACCURACY,
    &inspector::PANEL,
    &epochs::PANEL,
    &step_time::PANEL,
    &system::PANEL,
    &learning_rate::PANEL,
    &checkpoints::PANEL,
    &events::PANEL,
];

/// Those of a small screen, of which the first is shown where there is room for one.
pub static SMALL: [&Panel; 3] = [&charts::LOSS, &charts::ACCURACY, &batch_loss::PANEL];

/// `None`: the screen is too small.
pub fn areas(app: &App, screen: Rect) -> Option<Areas> {
    let notice_lines = app.notices(screen.width).len() as u16;
    let places = PANELS.map(|panel| if (panel.is_shown)(app) { panel.places } else { [None; 3] });
    Areas::of(screen, notice_lines, &places)
}

/// Whether the inspector is beside the charts.
pub fn is_inspector_shown(areas: &Areas) -> bool {
    PANELS.iter().zip(0..).any(|(panel, number)| panel.name == inspector::PANEL.name && !areas.panel(number).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::layout::{Density, PanelName, Region, SMALLEST};

    #[test]
    fn panels_have_names_of_their_own() {
        for (number, panel) in PANELS.iter().enumerate() {
            assert!(PANELS[..number].iter().all(|other| other.name != panel.name), "{:?}", panel.name);
        }
        assert!(PANELS.iter().any(|panel| panel.name == PanelName::EPOCHS && panel.scrolling.is_some()));
    }

    fn number(panel: &Panel) -> usize {
        PANELS.iter().position(|other| other.name == panel.name).unwrap()
    }

    fn arranged(screen: Rect, notice_lines: u16, with_all: bool) -> Option<Areas> {
        let optional = [step_time::PANEL.name, system::PANEL.name, inspector::PANEL.name];
        let places =
            PANELS.map(|panel| if with_all || !optional.contains(&panel.name) { panel.places } else { [None; 3] });
        Areas::of(screen, notice_lines, &places)
    }

    #[test]
    fn every_screen_is_filled_without_overlap() {
        for (width, height) in [(80, 24), (80, 60), (99, 40), (120, 36), (120, 40), (160, 46), (200, 50), (300, 90)] {
            for (notices, with_all) in (0..=3).flat_map(|notices| [(notices, false), (notices, true)]) {
                let screen = Rect::new(0, 0, width, height);
                let areas = arranged(screen, notices, with_all).unwrap();
                let panels = (0..PANELS.len()).map(|number| areas.panel(number));
                let all: Vec<Rect> = panels.chain([areas.header, areas.notices, areas.footer]).collect();
                for (index, area) in all.iter().enumerate() {
                    assert_eq!(area.intersection(screen), *area, "{width}×{height}");
                    for other in &all[index + 1..] {
                        assert!(!area.intersects(*other), "{width}×{height}: {area} and {other}");
                    }
                }
                let filled: u32 = all.iter().map(|area| area.area()).sum();
                if areas.density > Density::Compact {
                    assert_eq!(filled, screen.area(), "{width}×{height}");
                }
                assert_eq!((areas.footer.bottom(), areas.notices.height), (height, notices));
                // The charts need the rows more.
                let lines = if height == SMALLEST.height { 3 - notices } else { 3 };
                for (least_lines, panel) in [(1, &step_time::PANEL), (2, &system::PANEL)] {
                    let area = areas.panel(number(panel));
                    assert_eq!(area.is_empty(), !with_all || lines < least_lines, "{width}×{height}");
                }
                let epochs = &epochs::PANEL;
                let page = epochs.scrolling.as_ref().unwrap().page;
                assert!(page(&areas, areas.panel(number(epochs))) >= 3, "{width}×{height}");
                assert!(areas.inner(areas.panel(number(&charts::LOSS))).height >= 5, "{width}×{height}");
            }
        }
        assert_eq!(arranged(Rect::new(0, 0, 79, 24), 0, true), None);
        assert_eq!(arranged(Rect::new(0, 0, 80, 23), 0, true), None);
    }

    #[test]
    fn images_are_beside_the_charts_where_both_have_room() {
        let beside = |width, with_all| {
            let areas = arranged(Rect::new(0, 0, width, 50), 0, with_all).unwrap();
            areas.panel(number(&inspector::PANEL)).width
        };
        assert_eq!([160, 171, 172, 240].map(|width| beside(width, true)), [0, 0, 54, 66]);
        assert_eq!(beside(240, false), 0);
        assert!(inspector::PANEL.places.iter().flatten().all(|place| place.region == Region::Beside));
    }
}
