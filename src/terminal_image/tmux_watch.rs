//! Notices when a pane of tmux is shown by other terminals than before, or again.

use super::backend::Images;
use super::tmux::Pane;

/// What a pane was like when it was last shown. `None`: tmux has not told yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmuxWatch {
    pub wanted: Images,
    pub tmux_draws_sixel: bool,
    pub shown: Option<Pane>,
    is_visible: bool,
}

/// What has become of a pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaneChange {
    /// Other terminals show it, or tmux passes more or less on to them.
    OtherTerminals,
    /// The same terminals show it again. Meanwhile nothing reached them.
    Visible,
}

impl TmuxWatch {
    pub fn new(wanted: Images, tmux_draws_sixel: bool, pane: Option<Pane>) -> Self {
        let is_visible = pane.as_ref().is_some_and(Pane::is_visible);
        Self { wanted, tmux_draws_sixel, shown: pane, is_visible }
    }

    /// Asks tmux, for a quarter of a second at most. While it does not answer, nothing has changed.
    pub fn look(&mut self) -> Option<PaneChange> {
        self.compare(Pane::ask().ok()?)
    }

    fn compare(&mut self, pane: Pane) -> Option<PaneChange> {
        let was_visible = std::mem::replace(&mut self.is_visible, pane.is_visible());
        if !self.is_visible {
            return None;
        }
        let is_same = |before: &Pane| before.clients == pane.clients && before.passes_through == pane.passes_through;
        if self.shown.as_ref().is_some_and(is_same) {
            return (!was_visible).then_some(PaneChange::Visible);
        }
        self.shown = Some(pane);
        Some(PaneChange::OtherTerminals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal_image::tmux::Client;

    fn shown_by(kind: &str) -> Pane {
        let clients = vec![Client::new("xterm", kind)];
        Pane { passes_through: true, is_active: true, is_covered: false, clients }
    }

    #[test]
    fn hidden_and_shown_again_is_told_from_shown_by_another_terminal() {
        let mut watch = TmuxWatch::new(Images::Kitty, false, Some(shown_by("kitty(0.41.1)")));
        assert_eq!(watch.compare(shown_by("kitty(0.41.1)")), None);
        assert_eq!(watch.compare(Pane { clients: vec![], ..shown_by("") }), None);
        assert_eq!(watch.compare(shown_by("kitty(0.41.1)")), Some(PaneChange::Visible));
        assert_eq!(watch.compare(Pane { is_covered: true, ..shown_by("kitty(0.41.1)") }), None);
        assert_eq!(watch.compare(shown_by("kitty(0.41.1)")), Some(PaneChange::Visible));
        assert_eq!(watch.compare(Pane { clients: vec![], ..shown_by("") }), None);
        assert_eq!(watch.compare(shown_by("XTerm(379)")), Some(PaneChange::OtherTerminals));
        assert_eq!(watch.compare(shown_by("kitty(0.41.1)")), Some(PaneChange::OtherTerminals));
        let closed = Pane { passes_through: false, ..shown_by("kitty(0.41.1)") };
        assert_eq!(watch.compare(closed), Some(PaneChange::OtherTerminals));
        let mut unanswered = TmuxWatch::new(Images::Kitty, false, None);
        assert_eq!(unanswered.compare(shown_by("")), Some(PaneChange::OtherTerminals));
    }
}
