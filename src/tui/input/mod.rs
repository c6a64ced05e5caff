//! What keys do: each changes the dashboard's state, or has an effect outside it.

mod chart;
mod inspect;
mod mouse;
mod scroll;

use ratatui::crossterm::event::{KeyEvent, KeyEventKind};

use super::app::screens::Screen;
use super::app::{App, Bars, Message, TypedName, TypedNumber};
use super::keys::{self, Action, Steering};
use crate::config::check_learning_rate;
use crate::render::figures::class_name;
use crate::run::event::Command;
use crate::run::learning_rate_undo::rate_before_last_change;

/// What a key wants done outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    Send(Command),
    Leave,
    Suspend,
    /// Go to the list of runs.
    ListRuns,
    /// Go that many runs on in their list, or back where it is negative.
    OtherRun(isize),
}

impl App {
    pub fn handle_key(&mut self, event: KeyEvent) -> Option<Effect> {
        if event.kind != KeyEventKind::Press {
            return None;
        }
        self.ui.message = None;
        self.ui.has_pressed_key = true;
        let screen = self.ui.screens.top();
        let recovery = keys::action(Screen::Diverged, &event).filter(|_| screen.is_page() && self.awaits_recovery());
        let action = recovery.or_else(|| keys::action(screen, &event));
        if screen == Screen::EnterLearningRate && action.is_none() {
            self.ui.typed.press(&event);
        }
        if screen == Screen::FindClass && action.is_none() {
            self.ui.typed_name.press(&event);
            self.find_class(0);
        }
        match action? {
            Action::Send(command) => {
                if screen == Screen::ConfirmStop {
                    self.ui.dismiss();
                }
                return self.send(command);
            }
            Action::TogglePause => return self.toggle_pause(),
            Action::ScaleLearningRate(factor) => return self.scale_learning_rate(factor),
            Action::EnterLearningRate => return self.enter_learning_rate(),
            Action::FindNextClass => self.find_class(1),
            Action::UndoLearningRate => return self.undo_learning_rate(),
            Action::Open(screen) => self.open(screen),
            Action::Dismiss if screen == Screen::Inspector && self.ui.inspector.enlarged.is_some() => {
                self.ui.inspector.toggle_enlarged();
            }
            Action::Dismiss => self.ui.dismiss(),
            Action::MoveFocus(by) => self.move_focus(by),
            Action::Scroll(direction) if screen == Screen::Alarms => self.scroll_alarms(direction),
            Action::Scroll(direction) if screen == Screen::Help => self.scroll_help(direction),
            Action::Scroll(direction) if screen == Screen::Log => self.scroll_log(direction),
            Action::Scroll(direction) if screen == Screen::Configuration => self.scroll_configuration(direction),
            Action::Scroll(direction) => self.scroll_panel(self.ui.focus, direction),
            Action::ToggleDefaults => self.ui.configuration.toggle(),
            Action::ToggleGradient => {
                self.ui.bars = match self.ui.bars {
                    Bars::BatchLoss => Bars::GradientNorm,
                    Bars::GradientNorm => Bars::BatchLoss,
                };
            }
            Action::Inspect(look) => self.inspect(look),
            Action::OpenChart(kind) => self.open_chart(kind),
            Action::OpenPanel => self.open_focused_chart(),
            Action::Chart(by) => self.move_chart(by),
            Action::Leave => return Some(Effect::Leave),
            Action::Suspend => return Some(Effect::Suspend),
            Action::ListRuns => return Some(Effect::ListRuns),
            Action::OtherRun(by) => return Some(Effect::OtherRun(by)),
        }
        None
    }

    fn open(&mut self, screen: Screen) {
        match screen {
            page if page.is_page() => {
                if page == Screen::Mistakes {
                    // All of them, also where those of one cell are in view.
                    self.ui.inspector.only = None;
                }
                self.ui.show(page);
            }
            Screen::ConfirmStop | Screen::EnterLearningRate if self.refuses() => {}
            Screen::EnterLearningRate => {
                self.ui.typed = TypedNumber::default();
                self.ui.screens.open(screen);
            }
            Screen::FindClass => {
                self.ui.typed_name = TypedName::default();
                self.ui.screens.open(screen);
            }
            overlay => {
                (self.ui.first_alarm_line, self.ui.first_help_line) = (0, 0);
                self.ui.screens.open(overlay);
            }
        }
    }

    /// Whether no trainer takes commands; a message says why.
    fn refuses(&mut self) -> bool {
        self.ui.message = self.refusal();
        self.ui.message.is_some()
    }

    fn send(&mut self, command: Command) -> Option<Effect> {
        if self.refuses() {
            return None;
        }
        self.ui.pending.sent(command);
        Some(Effect::Send(command))
    }

    fn toggle_pause(&mut self) -> Option<Effect> {
        let is_paused = self.steering() == Steering::Paused;
        self.send(if is_paused { Command::Resume } else { Command::Pause })
    }

    fn scale_learning_rate(&mut self, factor: f64) -> Option<Effect> {
        if self.refuses() {
            return None;
        }
        let Some(present) = self.ui.pending.learning_rate.or(self.run.learning_rate) else {
            let text = "cannot change the learning rate: the trainer has not reported it yet";
            self.ui.message = Some(Message::info(text));
            return None;
        };
        self.set_learning_rate(present * factor)
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Option<Effect> {
        if let Err(text) = check_learning_rate(learning_rate) {
            self.ui.message = Some(Message::alarm(text));
            return None;
        }
        self.send(Command::SetLearningRate { learning_rate })
    }

    /// Closes the prompt, unless what is typed is no learning rate.
    fn enter_learning_rate(&mut self) -> Option<Effect> {
        match self.ui.typed.learning_rate() {
            Ok(learning_rate) => {
                self.ui.dismiss();
                self.send(Command::SetLearningRate { learning_rate })
            }
            Err(fault) => {
                self.ui.typed.fault = Some(fault);
                None
            }
        }
    }

    /// Goes to the first class with what is typed in its name, of those that follow the chosen one in their order, it being number 0;
    /// then from the beginning.
    fn find_class(&mut self, skipped: usize) {
        let shape = self.classes_shape();
        let Some(confusion) = self.inspected_epoch().and_then(|epoch| epoch.confusion.as_ref()) else { return };
        let order = self.ui.classes.order(confusion, shape);
        let chosen = self.ui.classes.cell(order.len()).true_class;
        let start = skipped + order.iter().position(|&class| class == chosen).unwrap_or(0);
        let is_meant = |class: &usize| self.ui.typed_name.is_in(&class_name(self.class_names(), *class));
        let found = order.iter().cycle().skip(start).take(order.len()).copied().find(is_meant);
        self.ui.typed_name.is_found = found.is_some();
        if let Some(class) = found {
            self.ui.classes.go_to(class);
        }
    }

    fn undo_learning_rate(&mut self) -> Option<Effect> {
        if self.refuses() {
            return None;
        }
        let Some(learning_rate) = rate_before_last_change(&self.run, self.ui.pending.learning_rate) else {
            self.ui.message = Some(Message::info("there is no change of the learning rate to undo"));
            return None;
        };
        self.set_learning_rate(learning_rate)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use ratatui::crossterm::event::{KeyCode, KeyModifiers};
    use ratatui::layout::Size;

    use super::*;
    use crate::run::event::{AlarmKind, Event, LearningRateReason, Outcome, Record, RunStarted, Severity, StepsDone};
    use crate::run::lock::Liveness;
    use crate::run::state::Phase;
    use crate::tui::app::{PauseIntent, Pending, Update};
    use crate::tui::layout::{PanelName, Scroll};
    use crate::tui::theme::Theme;

    fn started() -> Event {
        Event::RunStarted(Box::new(RunStarted {
            run: "night".into(),
            notice: None,
            epochs: 50,
            steps_per_epoch: 782,
            total_steps: 39_100,
            ..RunStarted::example()
        }))
    }

    fn steps(first_step: u64, count: u64) -> Event {
        Event::StepsDone(StepsDone {
            first_step,
            losses: vec![2.0; count as usize],
            correct: 10,
            samples: 64 * count,
            train_secs: 0.5,
            ..StepsDone::example()
        })
    }

    fn app(events: impl IntoIterator<Item = Event>) -> App {
        let mut app = App::new("night", Size::new(80, 24), Theme::Plain, TimeZone::UTC);
        tell(&mut app, started());
        tell(&mut app, steps(1, 1));
        events.into_iter().for_each(|event| tell(&mut app, event));
        app.update(Update::Liveness(Liveness::Live));
        app
    }

    fn tell(app: &mut App, event: Event) {
        app.update(Update::Records(vec![Record { time_ms: 1000, event }]));
    }

    fn press(app: &mut App, code: KeyCode) -> Option<Effect> {
        app.handle_key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn char(app: &mut App, char: char) -> Option<Effect> {
        press(app, KeyCode::Char(char))
    }

    fn changed(from: f64, to: f64) -> Event {
        let reason = LearningRateReason::Command;
        Event::LearningRateChanged { epoch: 1, step: 1, from, to, reason }
    }

    #[test]
    fn pausing_is_asked_and_paused_is_a_fact() {
        let mut app = app([]);
        assert_eq!(char(&mut app, ' '), Some(Effect::Send(Command::Pause)));
        assert_eq!(app.run.phase, Phase::Training);
        assert_eq!(app.ui.pending.pause, Some(PauseIntent::Pause));
        app.update(Update::Answered { command: Command::Pause, answer: Ok("paused".into()) });
        assert_eq!(app.ui.pending.pause, Some(PauseIntent::Pause), "the answer came before the event");
        tell(&mut app, Event::Paused { step: 1 });
        assert_eq!((app.run.phase, app.ui.pending.pause), (Phase::Paused, None));
        assert_eq!(char(&mut app, ' '), Some(Effect::Send(Command::Resume)));
        assert_eq!(app.ui.pending.pause, Some(PauseIntent::Resume));
        tell(&mut app, Event::Resumed { step: 1 });
        assert_eq!((app.run.phase, app.ui.pending.pause), (Phase::Training, None));
    }

    #[test]
    fn space_while_pausing_resumes() {
        let mut app = app([]);
        char(&mut app, ' ');
        assert_eq!(char(&mut app, ' '), Some(Effect::Send(Command::Resume)));
    }

    #[test]
    fn a_refusal_is_shown_until_the_next_key() {
        let mut app = app([]);
        char(&mut app, ' ');
        app.update(Update::Answered { command: Command::Pause, answer: Err("no answer".into()) });
        assert_eq!(app.ui.pending, Pending::default());
        let message = app.ui.message.clone().unwrap();
        assert_eq!((message.severity, message.text.as_str()), (Severity::Alarm, "pause: no answer"));
        press(&mut app, KeyCode::Tab);
        assert_eq!(app.ui.message, None, "the next key takes it away");
    }

    #[test]
    fn presses_accumulate_on_the_pending_rate() {
        let mut app = app([]);
        let set = |learning_rate| Some(Effect::Send(Command::SetLearningRate { learning_rate }));
        assert_eq!(char(&mut app, '+'), set(0.002));
        assert_eq!(char(&mut app, '='), set(0.004));
        assert_eq!(char(&mut app, '-'), set(0.002));
        assert_eq!(char(&mut app, '+'), set(0.004));
        tell(&mut app, changed(0.001, 0.002));
        assert_eq!(app.ui.pending.learning_rate, Some(0.004), "the first of them is no answer to the last");
        tell(&mut app, changed(0.002, 0.004));
        assert_eq!(app.ui.pending.learning_rate, None);
        assert_eq!(char(&mut app, '-'), set(0.002));
    }

    /// As after Ctrl-Z, or on a slow link.
    fn tell_at_once(app: &mut App, events: impl IntoIterator<Item = Event>) {
        let records = events.into_iter().map(|event| Record { time_ms: 1000, event });
        app.update(Update::Records(records.collect()));
    }

    #[test]
    fn a_rate_that_is_overtaken_within_its_batch_settles() {
        let mut app = app([]);
        char(&mut app, '+');
        let plateau = LearningRateReason::Plateau;
        let lowered = Event::LearningRateChanged { epoch: 1, step: 1, from: 0.002, to: 0.0005, reason: plateau };
        tell_at_once(&mut app, [changed(0.001, 0.002), lowered]);
        assert_eq!(app.ui.pending.learning_rate, None);
        let doubled = Command::SetLearningRate { learning_rate: 0.001 };
        assert_eq!(char(&mut app, '+'), Some(Effect::Send(doubled)));
    }

    #[test]
    fn a_pause_that_is_overtaken_within_its_batch_settles() {
        let mut app = app([]);
        char(&mut app, ' ');
        tell_at_once(&mut app, [Event::Paused { step: 1 }, Event::Resumed { step: 1 }]);
        assert_eq!(app.ui.pending.pause, None);
        assert_eq!(char(&mut app, ' '), Some(Effect::Send(Command::Pause)));
    }

    #[test]
    fn a_rate_beyond_the_limits_is_refused_at_once() {
        let mut app = app([changed(0.001, 8.0)]);
        assert_eq!(char(&mut app, '+'), None);
        let message = app.ui.message.clone().unwrap();
        assert_eq!(message.text, "learning rate 16: must be a number from 1e-12 to 10");
        assert_eq!(app.ui.pending, Pending::default());
        assert!(char(&mut app, '-').is_some());
    }

    #[test]
    fn a_refusal_clears_only_what_was_refused() {
        let mut app = app([]);
        char(&mut app, '+');
        char(&mut app, '+');
        let first = Command::SetLearningRate { learning_rate: 0.002 };
        app.update(Update::Answered { command: first, answer: Err("busy".into()) });
        assert_eq!(app.ui.pending.learning_rate, Some(0.004));
    }

    #[test]
    fn stopping_asks_first() {
        let mut app = app([]);
        assert_eq!(char(&mut app, 's'), None);
        assert_eq!(app.ui.screens.top(), Screen::ConfirmStop);
        assert_eq!(char(&mut app, 'n'), None);
        assert_eq!((app.ui.screens.top(), app.ui.pending.stop), (Screen::Dashboard, false));
        char(&mut app, 's');
        assert_eq!(char(&mut app, ' '), None, "other keys do nothing there");
        assert_eq!(char(&mut app, 'y'), Some(Effect::Send(Command::Stop)));
        assert_eq!((app.ui.screens.top(), app.ui.pending.stop), (Screen::Dashboard, true));
    }

    #[test]
    fn the_end_of_the_run_closes_the_question() {
        let mut app = app([]);
        char(&mut app, 's');
        tell(&mut app, Event::RunEnded { step: 1, outcome: Outcome::Completed, message: "done".into() });
        assert_eq!(app.ui.screens.top(), Screen::Dashboard);
    }

    #[test]
    fn keys_without_a_trainer_say_why() {
        let end = Event::RunEnded { step: 1, outcome: Outcome::Completed, message: "done".into() };
        let mut ended = app([end]);
        let mut dead = app([]);
        dead.update(Update::Liveness(Liveness::Dead));
        for (app, why) in [(&mut ended, "the run has ended"), (&mut dead, "the trainer is gone")] {
            for key in [' ', 'c', '+', '-', 's'] {
                assert_eq!(char(app, key), None);
                let text = &app.ui.message.as_ref().unwrap().text;
                assert!(text.contains(why) && text.contains("taper resume night"), "{text}");
                assert_eq!((app.ui.pending, app.ui.screens.top()), (Pending::default(), Screen::Dashboard));
            }
        }
    }

    #[test]
    fn a_diverged_run_offers_recoveries_until_one_is_taken() {
        let diverged = || {
            let message = "the loss of step 2 is NaN: the step was not taken; there is no checkpoint before it".into();
            [Event::AlarmRaised { step: 1, kind: AlarmKind::Divergence, message }, Event::Paused { step: 1 }]
        };
        let mut plain = app([]);
        assert_eq!((char(&mut plain, 'r'), char(&mut plain, 'b')), (None, None));
        let recoveries = [
            ('r', Command::Rollback, Event::RolledBack { from_step: 1, to_step: 0, learning_rate: 0.001 }),
            ('b', Command::SkipBatch, Event::BatchSkipped { epoch: 1, step: 2 }),
        ];
        for (key, command, event) in recoveries {
            let mut app = app(diverged());
            let notices = app.notices(80);
            assert!(
                notices.len() == 3 && notices.iter().all(|notice| notice.severity == Severity::Alarm),
                "{notices:?}"
            );
            assert!(
                notices[2].text.starts_with("r roll back with half") && notices[2].text.ends_with("s stop"),
                "{notices:?}"
            );
            assert_eq!(char(&mut app, key), Some(Effect::Send(command)));
            assert_eq!(char(&mut app, 'c'), Some(Effect::Send(Command::Checkpoint)), "the other keys work as ever");
            tell(&mut app, event);
            assert_eq!((app.run.phase, app.notices(80).len()), (Phase::Training, 0));
            assert_eq!(char(&mut app, key), None);
            assert_eq!(app.run.alarms.len(), 1, "why it went back stays known");
        }
    }

    #[test]
    fn history_is_no_news() {
        let alarm = |kind| Event::AlarmRaised { step: 1, kind, message: "see there".into() };
        let mut app = App::new("night", Size::new(80, 24), Theme::Plain, TimeZone::UTC);
        tell(&mut app, started());
        tell(&mut app, alarm(AlarmKind::Overfitting));
        app.update(Update::Liveness(Liveness::Live));
        assert!(app.take_news().is_empty());
        tell(&mut app, alarm(AlarmKind::Overfitting));
        tell(&mut app, alarm(AlarmKind::Plateau));
        tell(&mut app, Event::RunEnded { step: 1, outcome: Outcome::Failed, message: "it broke".into() });
        assert_eq!(app.take_news(), ["overfitting: see there", "failed at step 1: it broke"]);
        assert!(app.take_news().is_empty());
    }

    #[test]
    fn a_dead_trainer_is_not_an_ended_run() {
        let mut app = app([]);
        assert!(!app.trainer_died() && app.notices(80).is_empty());
        app.update(Update::Liveness(Liveness::Dead));
        assert!(app.trainer_died());
        assert!(app.notices(80)[0].text.contains("taper resume night"));
        tell(&mut app, Event::RunEnded { step: 1, outcome: Outcome::Stopped, message: "asked to".into() });
        assert!(!app.trainer_died() && app.notices(80).is_empty());
    }

    #[test]
    fn leaving_works_on_every_screen() {
        for open in [None, Some('?'), Some('s')] {
            let mut app = app([]);
            open.map(|key| char(&mut app, key));
            let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
            assert_eq!(app.handle_key(ctrl_c), Some(Effect::Leave));
        }
        assert_eq!(char(&mut app([]), 'q'), Some(Effect::Leave));
    }

    #[test]
    fn only_presses_count() {
        let mut app = app([]);
        let release = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        let repeat = KeyEvent::new_with_kind(KeyCode::Char('+'), KeyModifiers::NONE, KeyEventKind::Repeat);
        assert_eq!((app.handle_key(release), app.handle_key(repeat)), (None, None));
    }

    #[test]
    fn the_focus_goes_round_the_panels() {
        let mut app = app([]);
        let round = |app: &mut App, code| -> Vec<&str> {
            (0..5)
                .map(|_| {
                    press(app, code);
                    app.ui.focus.0
                })
                .collect()
        };
        let [lr, events, losses, epochs] = ["learning rate", "events", "batch loss", "epochs"];
        assert_eq!(round(&mut app, KeyCode::Tab), [lr, events, losses, "loss", "accuracy"]);
        assert_eq!(round(&mut app, KeyCode::BackTab), ["loss", losses, events, lr, epochs]);
        app.update(Update::Resized(Size::new(200, 50)));
        assert_eq!(round(&mut app, KeyCode::Tab), [lr, "checkpoints", events, losses, "loss"]);
    }

    #[test]
    fn batch_losses_scroll_sideways() {
        let mut app = app([steps(2, 999)]);
        for _ in 0..3 {
            press(&mut app, KeyCode::BackTab);
        }
        let losses = PanelName("batch loss");
        assert_eq!(app.ui.focus, losses);
        press(&mut app, KeyCode::Up);
        assert_eq!(app.scroll(losses), Scroll::Latest);
        char(&mut app, 'h');
        assert_eq!(app.scroll(losses), Scroll::From(1000 - 73 - 18));
        press(&mut app, KeyCode::Home);
        assert_eq!(app.scroll(losses), Scroll::From(0));
        press(&mut app, KeyCode::PageDown);
        assert_eq!(app.scroll(losses), Scroll::From(73));
        press(&mut app, KeyCode::End);
        assert_eq!(app.scroll(losses), Scroll::Latest);
    }
}
