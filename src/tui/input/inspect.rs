//! Which image, layer, view, class and moment the inspector shows.

use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::inspector::{EVIDENCE, Moment, Subject};
use crate::tui::keys::Look;
use crate::tui::layout::{Direction, grid};
use crate::tui::view::mistakes::arranged;
use crate::tui::view::panels;

impl App {
    pub(super) fn inspect(&mut self, look: Look) {
        let inspector = &mut self.ui.inspector;
        match look {
            Look::Mistake => self.look_at_mistake(),
            Look::Image(by) => inspector.step_image(by),
            Look::Layer(layer) => inspector.set_layer(layer),
            Look::NextView => inspector.next_view(),
            Look::Class(by) => inspector.step_class(by),
            Look::Moment(by) => self.scrub(by),
            Look::Enlarge => inspector.toggle_enlarged(),
            Look::Choose(direction) => self.choose(direction),
        }
    }

    /// Opens the mistake that is chosen in the gallery.
    fn look_at_mistake(&mut self) {
        let inspector = &mut self.ui.inspector;
        let Some(step) = inspector.probe().filter(|probe| !probe.mistakes.is_empty()).map(|probe| probe.step) else {
            return;
        };
        self.ui.before_mistake.get_or_insert((inspector.subject, inspector.moment));
        // Or the next epoch would put another mistake in its place.
        inspector.moment = Moment::Step(step);
        inspector.look_at(Subject::Mistake(inspector.chosen_mistake), EVIDENCE);
        self.ui.screens.open(Screen::Inspector);
    }

    /// Through probes, and where only epochs are shown through those.
    fn scrub(&mut self, by: isize) {
        let inspector = &mut self.ui.inspector;
        if self.ui.screens.top() == Screen::Classes {
            inspector.scrub(by, self.run.epochs.iter().map(|epoch| epoch.step));
        } else {
            inspector.scrub(by, self.run.probes.iter().map(|probe| probe.saved.step));
        }
    }

    fn choose(&mut self, direction: Direction) {
        let (across, down) = match direction {
            Direction::Left => (-1, 0),
            Direction::Right => (1, 0),
            Direction::Up => (0, -1),
            Direction::Down => (0, 1),
            Direction::PageUp | Direction::PageDown | Direction::Start | Direction::Latest => return,
        };
        let columns = self.gallery_columns() as isize;
        let inspector = &mut self.ui.inspector;
        if self.ui.screens.top() == Screen::Mistakes {
            let count = inspector.gallery().len();
            let chosen = inspector.chosen_mistake.saturating_add_signed(across + down * columns);
            if chosen < count {
                inspector.chosen_mistake = chosen;
            }
        } else if inspector.enlarged.is_some() {
            inspector.step_tile(across);
        } else {
            inspector.step_position(across, down);
        }
    }

    /// Mistakes in a row of the gallery.
    fn gallery_columns(&self) -> usize {
        panels::areas(self, self.screen_area())
            .map_or(1, |areas| grid::columns(&arranged(self, areas.inner(areas.page()))))
    }
}
