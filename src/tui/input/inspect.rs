//! Which image, layer, view, class and moment the inspector shows.

use crate::tui::app::screens::Screen;
use crate::tui::app::{App, Message};
use crate::tui::classes::Shape;
use crate::tui::inspector::{Confused, EVIDENCE, Moment, Subject};
use crate::tui::keys::Look;
use crate::tui::layout::{Direction, grid};
use crate::tui::view::mistakes::arranged;
use crate::tui::view::{classes, panels};

impl App {
    pub(super) fn inspect(&mut self, look: Look) {
        if !self.is_inspector_in_view() {
            self.ui.message =
                Some(Message::info("there is no room for the inspector here: i opens it on the whole screen"));
            return;
        }
        let screen = self.ui.screens.top();
        let inspector = &mut self.ui.inspector;
        match look {
            Look::Mistake => self.look_at_mistake(),
            Look::Confused => self.look_at_confused(),
            Look::Sort => {
                let shape = self.classes_shape();
                self.ui.classes.sort_by_next(shape);
            }
            Look::Reverse => self.ui.classes.reverse(),
            Look::Image(by) => inspector.step_image(by),
            Look::Layer(layer) => inspector.set_layer(layer),
            Look::NextView => inspector.next_view(),
            Look::Class(_) if inspector.view != EVIDENCE => {
                self.ui.message = Some(Message::info("x chooses the class of Grad-CAM: v shows it"));
            }
            Look::Class(by) => inspector.step_class(by),
            Look::Moment(by) => self.scrub(by),
            Look::Enlarge => inspector.toggle_enlarged(),
            Look::Choose(direction) if screen == Screen::Classes => self.choose_class(direction),
            Look::Choose(direction) => self.choose(direction),
        }
    }

    /// The panel, or a page; what nobody sees does not change.
    fn is_inspector_in_view(&self) -> bool {
        self.ui.screens.top() != Screen::Dashboard
            || panels::areas(self, self.screen_area()).is_some_and(|areas| panels::is_inspector_shown(&areas))
    }

    /// Opens the mistake that is chosen in the gallery.
    fn look_at_mistake(&mut self) {
        let inspector = &mut self.ui.inspector;
        let Some(step) = inspector.probe().filter(|probe| !probe.mistakes.is_empty()).map(|probe| probe.step) else {
            return;
        };
        let chosen = inspector.gallery().nth(inspector.chosen_in_gallery());
        let Some((chosen, index, is_explained)) =
            chosen.map(|(number, mistake)| (number, mistake.index, mistake.is_explained))
        else {
            return;
        };
        if !is_explained {
            let text = format!("for its Grad-CAM: taper explain {} --image {index}", self.name);
            self.ui.message = Some(Message::info(text));
            return;
        }
        self.ui.before_mistake.get_or_insert((inspector.subject, inspector.moment));
        // Or the next epoch would put another mistake in its place.
        inspector.moment = Moment::Step(step);
        inspector.look_at(Subject::Mistake(chosen), EVIDENCE);
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

    /// Opens the gallery with the images of the cell that is chosen in the confusion matrix.
    fn look_at_confused(&mut self) {
        let Some(cell) = self.chosen_cell() else { return };
        if cell.true_class == cell.predicted_class {
            self.ui.message =
                Some(Message::info("these are taken for what they are: choose a mistake, off the diagonal"));
            return;
        }
        self.ui.inspector.only = Some(cell);
        self.ui.show(Screen::Mistakes);
    }

    /// Of the matrix that is in view; in a list of classes what the chosen one is most often taken for.
    fn chosen_cell(&self) -> Option<Confused> {
        let confusion = self.inspected_epoch()?.confusion.as_ref()?;
        let cell = self.ui.classes.cell(confusion.classes());
        match self.classes_shape() {
            Shape::Matrix => Some(cell),
            Shape::List => {
                let (predicted_class, _) = confusion.most_often_taken_for(cell.true_class)?;
                Some(Confused { predicted_class, ..cell })
            }
        }
    }

    pub(super) fn classes_shape(&self) -> Shape {
        panels::areas(self, self.screen_area()).map_or(Shape::List, |areas| classes::shape(self, &areas))
    }

    fn choose_class(&mut self, direction: Direction) {
        let shape = self.classes_shape();
        let mut classes = self.ui.classes;
        if let Some(confusion) = self.inspected_epoch().and_then(|epoch| epoch.confusion.as_ref()) {
            classes.step(confusion, direction, shape);
        }
        self.ui.classes = classes;
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
            let chosen = inspector.chosen_in_gallery().checked_add_signed(across + down * columns);
            if let Some(chosen) = chosen {
                inspector.choose_in_gallery(chosen);
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
