//! What the mouse does in the comparison: it chooses runs, opens the one that is chosen, reads the chart off and zooms it.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::state::Compare;
use super::view::{Target, target_at};
use crate::tui::layout::Direction;
use crate::tui::stage::Heeded;

impl Compare {
    pub fn handle_mouse(&mut self, event: MouseEvent) -> Heeded {
        let up = match event.kind {
            MouseEventKind::ScrollUp => true,
            MouseEventKind::ScrollDown => false,
            MouseEventKind::Down(MouseButton::Left) if self.help.is_none() => return self.click(event),
            _ => return Heeded::Ignored,
        };
        if self.help.is_some() {
            self.scroll_help(if up { Direction::Up } else { Direction::Down });
            return Heeded::Changed;
        }
        match target_at(self, Position::new(event.column, event.row)) {
            Some(Target::Chart(x)) => self.zoom(if up { 1 } else { -1 }, Some(x)),
            Some(Target::Run(_)) => self.step_chosen(if up { -1 } else { 1 }),
            None => return Heeded::Ignored,
        }
        Heeded::Changed
    }

    fn click(&mut self, event: MouseEvent) -> Heeded {
        self.message = None;
        match target_at(self, Position::new(event.column, event.row)) {
            Some(Target::Chart(x)) => self.cursor = Some(x),
            Some(Target::Run(number)) => return self.choose(number).map_or(Heeded::Changed, Heeded::Asked),
            None => {}
        }
        Heeded::Changed
    }
}
