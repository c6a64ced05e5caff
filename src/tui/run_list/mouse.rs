//! What the mouse does in the list: it takes the cursor to a run, opens the one that is there, marks and sorts.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::list::RunList;
use super::view::{Target, target_at};
use crate::tui::layout::Direction;
use crate::tui::stage::Heeded;

impl RunList {
    pub fn handle_mouse(&mut self, event: MouseEvent) -> Heeded {
        match event.kind {
            MouseEventKind::ScrollUp if self.help.is_some() => self.scroll_help(Direction::Up),
            MouseEventKind::ScrollDown if self.help.is_some() => self.scroll_help(Direction::Down),
            _ if self.help.is_some() => return Heeded::Ignored,
            MouseEventKind::ScrollUp => self.go(Direction::Up),
            MouseEventKind::ScrollDown => self.go(Direction::Down),
            MouseEventKind::Down(MouseButton::Left) => {
                self.message = None;
                match target_at(self, Position::new(event.column, event.row)) {
                    Some(Target::Row(place)) => {
                        return self.choose(place).map_or(Heeded::Changed, Heeded::Asked);
                    }
                    Some(Target::Mark(place)) => self.toggle_mark(place),
                    Some(Target::Heading(sort)) => self.sort_by(sort),
                    None => {}
                }
            }
            _ => return Heeded::Ignored,
        }
        Heeded::Changed
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use ratatui::crossterm::event::KeyModifiers;
    use ratatui::layout::Size;

    use super::*;
    use crate::run::dir::RunDir;
    use crate::run::listing::Listed;
    use crate::run::lock::Liveness;
    use crate::tui::run_list::list::{Kept, Update};
    use crate::tui::run_list::sort::Sort;
    use crate::tui::stage::{Place, Request};
    use crate::tui::theme::Theme;

    fn list() -> RunList {
        let mut list = RunList::new("runs", Kept::default(), Theme::Plain);
        list.resized(Size::new(80, 24));
        let listed = ["one", "two", "three"].iter().zip(1..).map(|(name, secs)| Listed {
            run: RunDir::at(format!("/runs/{name}")),
            liveness: Liveness::Dead,
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(10 - secs),
            log_bytes: 1,
        });
        list.update(Update::Listed(listed.collect()));
        list
    }

    fn mouse(list: &mut RunList, kind: MouseEventKind, column: u16, row: u16) -> Heeded {
        list.handle_mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
    }

    fn click(list: &mut RunList, column: u16, row: u16) -> Heeded {
        mouse(list, MouseEventKind::Down(MouseButton::Left), column, row)
    }

    #[test]
    fn a_click_chooses_a_run_and_another_opens_it() {
        let mut list = list();
        assert_eq!((click(&mut list, 20, 3), list.cursor()), (Heeded::Changed, 1));
        assert_eq!(click(&mut list, 20, 3), Heeded::Asked(Request::Go(Place::Run(RunDir::at("/runs/two")))));
        assert_eq!((click(&mut list, 20, 9), list.cursor()), (Heeded::Changed, 1), "under the rows nothing lies");
        mouse(&mut list, MouseEventKind::ScrollDown, 20, 3);
        assert_eq!(list.cursor(), 2);
    }

    #[test]
    fn before_a_run_is_its_mark_and_above_them_what_they_are_sorted_by() {
        let mut list = list();
        click(&mut list, 2, 4);
        assert_eq!((list.marked(), list.cursor()), (1, 0));
        click(&mut list, 2, 4);
        assert_eq!(list.marked(), 0);
        click(&mut list, 5, 1);
        assert_eq!(list.sort(), (Sort::Name, false));
        click(&mut list, 5, 1);
        let names: Vec<_> = list.shown().map(|row| row.run().name()).collect();
        assert_eq!((list.sort(), names), ((Sort::Name, true), ["two", "three", "one"].map(String::from).to_vec()));
    }
}
