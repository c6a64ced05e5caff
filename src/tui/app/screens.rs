//! The screens, and which of them lie over which.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Screen {
    #[default]
    Dashboard,
    /// What the network sees, as large as the screen.
    Inspector,
    /// The gallery of mistakes.
    Mistakes,
    /// The confusion matrix.
    Classes,
    /// What the machine is doing.
    System,
    /// A chart.
    Chart,
    /// The trainer's own log.
    Log,
    /// The run's configuration.
    Configuration,
    Help,
    /// The list of alarms.
    Alarms,
    /// Keys of a run that has diverged, on any page: they come before the others.
    Diverged,
    /// "Stop and save?"
    ConfirmStop,
    /// Where a learning rate is typed.
    EnterLearningRate,
    /// Where a class's name is typed.
    FindClass,
}

impl Screen {
    /// It fills the screen; others lie over a page.
    pub fn is_page(self) -> bool {
        match self {
            Self::Dashboard
            | Self::Inspector
            | Self::Mistakes
            | Self::Classes
            | Self::System
            | Self::Chart
            | Self::Log
            | Self::Configuration => true,
            Self::Help
            | Self::Alarms
            | Self::Diverged
            | Self::ConfirmStop
            | Self::EnterLearningRate
            | Self::FindClass => false,
        }
    }
}

#[derive(Debug, Default)]
pub struct Screens {
    top: Screen,
    below: Vec<Screen>,
}

impl Screens {
    /// The screen that has the keyboard.
    pub fn top(&self) -> Screen {
        self.top
    }

    /// The page in view, whatever lies over it.
    pub fn page(&self) -> Screen {
        let from_top = std::iter::once(&self.top).chain(self.below.iter().rev());
        from_top.copied().find(|screen| screen.is_page()).unwrap_or_default()
    }

    pub fn has_below(&self, screen: Screen) -> bool {
        self.below.contains(&screen)
    }

    pub fn open(&mut self, screen: Screen) {
        self.below.push(std::mem::replace(&mut self.top, screen));
    }

    /// Takes the top screen away and returns it.
    pub fn close(&mut self) -> Screen {
        let next = self.below.pop().unwrap_or_default();
        std::mem::replace(&mut self.top, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_lie_over_the_page() {
        let mut screens = Screens::default();
        screens.open(Screen::Classes);
        screens.open(Screen::Help);
        assert_eq!((screens.top(), screens.page()), (Screen::Help, Screen::Classes));
        assert_eq!(screens.close(), Screen::Help);
        assert_eq!(screens.close(), Screen::Classes);
        assert_eq!((screens.top(), screens.has_below(Screen::Dashboard)), (Screen::Dashboard, false));
    }
}
