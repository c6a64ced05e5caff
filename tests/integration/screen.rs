//! The dashboard as it is seen: fixture logs drawn on a screen in memory, driven by keys.

use std::fmt::Write;

use insta::{assert_snapshot, with_settings};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Size;
use ratatui::style::Color;
use taper::config::{Config, Override};
use taper::run::checkpoints_on_disk::CheckpointOnDisk;
use taper::run::event::{
    AlarmKind, CheckpointReason, CheckpointSaved, Command, EpochDone, Event, LearningRateReason, Outcome, Record,
    RunStarted, StepsDone,
};
use taper::run::lock::Liveness;
use taper::run::log::Follower;
use taper::run::system_sample::{CardSample, SystemSample, ThrottleReason};
use taper::run::trainer_log::{Level, LogLine, TrainerLog};
use taper::terminal_image::Placed;
use taper::tui::app::{App, Update};
use taper::tui::input::Effect;
use taper::tui::theme::{Depth, Theme};
use taper::tui::view;

use crate::follow::{drain, fixture, run_started};

/// What a screen shows, without styles.
pub fn text_of(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let line: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    text
}

pub struct Screen {
    pub app: App,
    pub terminal: Terminal<TestBackend>,
    /// Images that the terminal is to draw over the last frame.
    pub placed: Vec<Placed>,
}

impl Screen {
    /// The dashboard of a live trainer, two seconds after the last event.
    pub fn new(log: &str, width: u16, height: u16) -> Self {
        Self::themed(log, width, height, Theme::Dark(Depth::TrueColour))
    }

    pub fn themed(log: &str, width: u16, height: u16, theme: Theme) -> Self {
        let mut app = App::new("20261124-175203-cnn", Size::new(width, height), theme, TimeZone::UTC);
        app.update(Update::Records(drain(&mut Follower::new(fixture(log)), 1 << 20)));
        app.update(Update::Liveness(Liveness::Live));
        app.now_ms = app.run.last_activity_ms + 2000;
        Self { app, terminal: Terminal::new(TestBackend::new(width, height)).unwrap(), placed: vec![] }
    }

    pub fn press(&mut self, code: KeyCode) -> Option<Effect> {
        self.app.handle_key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    pub fn keys(&mut self, keys: &str) {
        for key in keys.chars() {
            self.press(KeyCode::Char(key));
        }
    }

    pub fn draw(&mut self) -> &Buffer {
        let Self { app, terminal, placed } = self;
        terminal.draw(|frame| *placed = view::render(app, frame)).unwrap();
        self.terminal.backend().buffer()
    }

    pub fn text(&mut self) -> String {
        text_of(self.draw())
    }

    pub fn line_with(&mut self, part: &str) -> String {
        let text = self.text();
        text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part:?} in\n{text}")).to_owned()
    }
}

pub fn snapshot(name: &str, screen: &mut Screen) {
    with_settings!({ omit_expression => true }, { assert_snapshot!(name, screen.text()) });
}

#[test]
fn training_at_three_sizes() {
    snapshot("training_80x24", &mut Screen::new("training", 80, 24));
    snapshot("training_120x40", &mut Screen::new("training", 120, 40));
    snapshot("training_200x50", &mut Screen::new("training", 200, 50));
}

#[test]
fn the_first_epoch() {
    snapshot("first_epoch_80x24", &mut Screen::new("first_epoch", 80, 24));
    snapshot("first_epoch_120x40", &mut Screen::new("first_epoch", 120, 40));
}

#[test]
fn before_the_first_event() {
    let mut screen = Screen::new("empty", 80, 24);
    assert!(screen.text().contains("waiting for the trainer"));
}

#[test]
fn paused_and_ended_runs_say_so() {
    snapshot("paused_80x24", &mut Screen::new("paused", 80, 24));
    snapshot("completed_80x24", &mut Screen::new("completed", 80, 24));
    snapshot("failed_120x40", &mut Screen::new("failed", 120, 40));
}

#[test]
fn a_trainer_that_is_gone_and_one_elsewhere() {
    let mut screen = Screen::new("training", 80, 24);
    screen.app.update(Update::Liveness(Liveness::Dead));
    screen.app.now_ms += 3_600_000;
    snapshot("trainer_gone_80x24", &mut screen);
    screen.app.update(Update::Liveness(Liveness::Elsewhere { host: "node17".into() }));
    assert!(screen.line_with("the trainer is on node17").contains("attach there"));
}

#[test]
fn a_trainer_that_is_gone_is_a_line_of_the_events() {
    let mut screen = Screen::new("training", 120, 40);
    assert!(!screen.text().contains("did not say why"));
    screen.app.update(Update::Liveness(Liveness::Dead));
    assert!(screen.line_with("did not say why").contains("taper resume 20261124-175203-cnn"));
}

#[test]
fn events_that_are_newer_than_those_in_view_are_counted() {
    let mut screen = Screen::new("training", 120, 40);
    while !screen.text().contains("▸ Events") {
        screen.press(KeyCode::Tab);
    }
    screen.press(KeyCode::Home);
    let line = screen.line_with("Events");
    assert!(line.contains("▸ Events") && line.contains(" newer, End"), "{line}");
    screen.press(KeyCode::End);
    assert!(!screen.line_with("Events").contains("newer"));
}

fn on_disk(name: &str, step: u64) -> CheckpointOnDisk {
    CheckpointOnDisk {
        name: name.into(),
        epoch: step / 32,
        step,
        bytes: 13_800_000,
        saved_ms: Some(1_795_542_904_000 + step),
        is_best: false,
        is_latest: false,
        fault: None,
    }
}

#[test]
fn the_checkpoints_are_those_on_disk() {
    let mut screen = Screen::new("training", 200, 50);
    assert!(screen.text().contains("Reading the checkpoints…"), "the log alone does not tell what is there");
    let best = CheckpointOnDisk { is_best: true, ..on_disk("e0012-s000384", 384) };
    let latest = CheckpointOnDisk { is_latest: true, ..on_disk("e0013-s000416", 416) };
    screen.app.update(Update::Checkpoints(Ok(vec![best, latest])));
    assert!(screen.line_with("Checkpoints").contains("27.6 MB on disk"));
    assert!(screen.line_with("★ e0012-s000384").contains("best"));
    assert!(screen.line_with("  e0013-s000416  ").contains("latest"));
    snapshot("checkpoints_200x50", &mut screen);
    screen.app.update(Update::Checkpoints(Err("runs/x/checkpoints: Permission denied".into())));
    assert!(screen.text().contains("Permission denied"));
}

#[test]
fn the_trainers_log_is_followed() {
    let mut screen = Screen::new("training", 80, 24);
    screen.keys("L");
    assert!(screen.text().contains("Reading the log"));
    let line = |number: u64| LogLine {
        offset: 100 * number,
        level: if number == 30 { Level::Error } else { Level::Other },
        text: format!(
            "2026-11-24T17:52:{number:02}.123456Z  INFO taper: what the trainer says, and says at such length that it wraps"
        ),
    };
    let log = |lines: u64| TrainerLog { lines: (0..lines).map(line).collect(), skipped_bytes: 0 };
    screen.app.update(Update::TrainerLog(Ok(log(31))));
    snapshot("log_80x24", &mut screen);
    assert!(screen.line_with("Trainer's Log").contains("following"));
    screen.press(KeyCode::PageUp);
    let in_view = screen.line_with("17:52:");
    assert!(screen.line_with("Trainer's Log").contains("End follows"));
    screen.app.update(Update::TrainerLog(Ok(log(40))));
    assert_eq!(screen.line_with("17:52:"), in_view, "what is in view stays");
    screen.press(KeyCode::End);
    assert!(screen.text().contains("17:52:39"));
    screen.app.update(Update::TrainerLog(Err("runs/x/trainer.log is not there".into())));
    assert!(screen.text().contains("trainer.log is not there"));
    screen.press(KeyCode::PageUp);
    screen.press(KeyCode::Esc);
    assert!(screen.text().contains("Epochs"));
}

#[test]
fn the_configuration_tells_what_differs_from_the_default() {
    for (width, height) in [(80, 24), (120, 40)] {
        let mut screen = Screen::new("training", width, height);
        let sets = ["train.batch_size=128", "model.attention=se", "optimizer.learning_rate=0.01"];
        let sets: Vec<Override> = sets.iter().map(|set| Override::parse(set).unwrap()).collect();
        let mut config = Config::load(None, &sets).unwrap();
        config.data.dir = "/data".into();
        screen.app.update(Update::Configuration(Ok(config.values())));
        let changed = Event::SettingChanged {
            step: 384,
            key: "optimizer.learning_rate".into(),
            from: Some("0.001".into()),
            to: Some("0.01".into()),
        };
        let time_ms = screen.app.run.last_activity_ms;
        screen.app.update(Update::Records(vec![Record { time_ms, event: changed }]));
        screen.keys(",");
        snapshot(&format!("configuration_{width}x{height}"), &mut screen);
        assert!(screen.line_with("batch_size").contains("default 64"));
        assert!(!screen.text().contains("on_unreadable"));
        screen.keys("d");
        assert!(screen.text().contains("on_unreadable"));
        assert!(screen.line_with("Configuration").contains(" of "));
        screen.press(KeyCode::End);
        assert!(screen.text().contains("notify"), "{}", screen.text());
        screen.app.update(Update::Configuration(Err("config.toml: it is damaged".into())));
        assert!(screen.text().contains("it is damaged"));
    }
}

#[test]
fn help_and_the_question_before_stopping() {
    let mut screen = Screen::new("training", 80, 24);
    screen.keys("?");
    snapshot("help_80x24", &mut screen);
    screen.press(KeyCode::End);
    assert!(screen.text().contains("the best epoch; learning rate raised"), "{}", screen.text());
    screen.press(KeyCode::Home);
    screen.keys("?s");
    snapshot("confirm_stop_80x24", &mut screen);
}

#[test]
fn a_diverged_run_says_how_to_go_on() {
    snapshot("diverged_80x24", &mut Screen::new("diverged", 80, 24));
    snapshot("diverged_120x40", &mut Screen::new("diverged", 120, 40));
}

#[test]
fn the_alarms_are_listed_the_newest_first() {
    let mut screen = Screen::new("diverged", 80, 24);
    screen.keys("a");
    snapshot("alarms_80x24", &mut screen);
    assert!(!screen.text().contains("(os error 28)"));
    screen.press(KeyCode::End);
    assert!(screen.text().contains("(os error 28)"));
    screen.press(KeyCode::Home);
    screen.keys("jjkj");
    assert!(!screen.text().contains("! divergence") && screen.line_with("lines").contains("lines 2–"));
    screen.keys("q");
    assert_eq!(screen.text(), Screen::new("diverged", 80, 24).text());
    let mut screen = Screen::new("diverged", 120, 40);
    screen.keys("a");
    snapshot("alarms_120x40", &mut screen);
}

#[test]
fn gradient_norms_take_the_place_of_the_batch_losses() {
    let mut screen = Screen::new("diverged", 80, 24);
    screen.keys("g");
    snapshot("gradient_80x24", &mut screen);
    screen.keys("g");
    assert!(screen.line_with("Batch Loss").contains("gradient 1."));
    let mut older = Screen::new("training", 120, 40);
    assert!(!older.line_with("Batch Loss").contains("gradient"), "{}", older.text());
    older.keys("g");
    assert!(older.line_with("Gradient Norm").contains("no gradient norms"));
}

#[test]
fn too_small_a_terminal_says_what_it_needs() {
    snapshot("too_small_39x8", &mut Screen::new("training", 39, 8));
    assert!(Screen::new("training", 40, 7).text().contains("taper needs 40×8"));
}

#[test]
fn a_small_terminal_shows_a_header_charts_and_keys() {
    for (width, height) in [(40, 8), (60, 12), (79, 23), (120, 12)] {
        snapshot(&format!("small_{width}x{height}"), &mut Screen::new("training", width, height));
    }
    let mut screen = Screen::new("training", 40, 8);
    assert!(screen.text().contains(" 1 Loss "));
    screen.press(KeyCode::Tab);
    assert!(screen.text().contains(" 2 Acc % "));
    screen.press(KeyCode::BackTab);
    assert!(screen.text().contains(" 1 Loss "));
    assert_eq!(screen.press(KeyCode::Char(' ')), Some(Effect::Send(Command::Pause)));
    assert!(screen.text().contains("‖ pausing…") && screen.text().contains("space resume"));
}

#[test]
fn on_a_small_terminal_no_key_is_dead() {
    let mut screen = Screen::new("training", 60, 12);
    screen.keys("i");
    snapshot("small_page_60x12", &mut screen);
    screen.press(KeyCode::Esc);
    assert_eq!(screen.text(), Screen::new("training", 60, 12).text());
    for (keys, name) in [("?", "help"), ("s", "confirm"), ("e5e-", "rate")] {
        let mut screen = Screen::new("training", 40, 8);
        screen.keys(keys);
        snapshot(&format!("small_{name}_40x8"), &mut screen);
    }
    let mut screen = Screen::new("diverged", 40, 10);
    screen.keys("a");
    assert!(screen.text().contains("! divergence"), "{}", screen.text());
}

#[test]
fn the_keys_follow_the_state() {
    let footer = |log: &str| Screen::new(log, 80, 24).text().lines().last().unwrap_or_default().to_owned();
    assert!(footer("training").contains("space pause") && footer("paused").contains("space resume"));
    assert!(Screen::new("paused", 80, 24).text().contains("ETA paused"));
    for log in ["completed", "failed", "interrupted"] {
        let mut screen = Screen::new(log, 120, 40);
        let keys = screen.text().lines().last().unwrap_or_default().to_owned();
        let is_completed = log == "completed";
        assert_eq!(keys.contains("taper resume 20261124-175203-cnn --epochs N"), is_completed, "{keys}");
        assert!(keys.contains("taper resume 20261124-175203-cnn"), "{keys}");
        screen.keys("?");
        let help = screen.text();
        for what in ["pause", "save", "learning rate", "stop", "end the run"] {
            assert!(!keys.contains(what) && !help.contains(&format!("  {what}")), "{what}: {help}");
        }
        assert!(help.contains("the run has ended; to go on: "), "{help}");
    }
}

#[test]
fn the_sample_is_told_once_and_then_in_the_header() {
    let told = |screen: &mut Screen| screen.text().contains("! bundled sample");
    let mut events = drain(&mut Follower::new(fixture("paused")), 1 << 20);
    events.truncate(3);
    let mut screen = Screen::new("empty", 80, 24);
    screen.app.update(Update::Records(events));
    assert!(told(&mut screen));
    screen.keys("g");
    assert!(!told(&mut screen) && screen.line_with("cnn 32").contains("CIFAR-10 sample"));
    assert!(!told(&mut Screen::new("paused", 80, 24)), "after the first epoch");
}

#[test]
fn a_learning_rate_is_typed_and_undone() {
    let mut screen = Screen::new("training", 80, 24);
    screen.keys("e20");
    snapshot("enter_learning_rate_80x24", &mut screen);
    assert_eq!(screen.press(KeyCode::Enter), None);
    assert!(screen.text().contains("learning rate 20: must be a number from 1e-12 to 10"));
    screen.press(KeyCode::Backspace);
    screen.press(KeyCode::Backspace);
    screen.keys("2e-4");
    let typed = Command::SetLearningRate { learning_rate: 2e-4 };
    assert_eq!(screen.press(KeyCode::Enter), Some(Effect::Send(typed)));
    assert!(screen.line_with(" 5 LR ").contains("→ 0.0002…"), "pending: {}", screen.text());
    let back = Command::SetLearningRate { learning_rate: 5e-4 };
    assert_eq!(screen.press(KeyCode::Char('Z')), Some(Effect::Send(back)));
    let further = Command::SetLearningRate { learning_rate: 1e-3 };
    assert_eq!(screen.press(KeyCode::Char('Z')), Some(Effect::Send(further)));
    screen.keys("e1");
    assert_eq!(screen.press(KeyCode::Esc), None);
    assert!(!screen.text().contains("Learning Rate"));
}

#[test]
fn no_size_panics() {
    for width in [1, 2, 7, 20, 79, 80, 81, 99, 100, 119, 159, 160, 161, 400] {
        for height in [1, 2, 5, 23, 24, 25, 35, 36, 45, 46, 120] {
            for log in ["training", "empty", "first_epoch", "failed"] {
                let mut screen = Screen::new(log, width, height);
                screen.draw();
                screen.keys("?");
                screen.draw();
            }
        }
    }
}

#[test]
fn resizing_between_frames_draws_the_new_size() {
    let mut screen = Screen::new("training", 200, 50);
    screen.draw();
    for (width, height) in [(80, 24), (40, 10), (120, 40)] {
        screen.terminal.backend_mut().resize(width, height);
        screen.app.update(Update::Resized(Size::new(width, height)));
        assert_eq!(screen.text(), Screen::new("training", width, height).text());
    }
}

#[test]
fn without_colour_no_cell_has_one_and_all_is_still_said() {
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let mut plain = Screen::themed("training", width, height, Theme::Plain);
        plain.keys(" +c");
        let mut coloured = Screen::new("training", width, height);
        coloured.keys(" +c");
        assert_eq!(plain.text(), coloured.text());
        for cell in &plain.draw().content {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{cell:?}");
        }
        assert!(coloured.draw().content.iter().any(|cell| cell.fg != Color::Reset));
    }
}

#[test]
fn what_is_pending_is_told_from_what_is() {
    let mut screen = Screen::new("training", 120, 40);
    assert!(screen.line_with("taper").ends_with("● training"));
    assert_eq!(screen.press(KeyCode::Char(' ')), Some(Effect::Send(Command::Pause)));
    assert!(screen.line_with("taper").ends_with("‖ pausing…"));
    screen.keys("++");
    assert!(screen.line_with("Learning Rate").contains("0.0005 → 0.002…"));
    screen.keys("c");
    assert!(screen.line_with("taper").ends_with("saving…  ‖ pausing…"));
    screen.keys("sy");
    assert!(screen.line_with("taper").ends_with("saving…  ■ stopping…"));
    for command in [Command::Checkpoint, Command::Stop, Command::Pause] {
        screen.app.update(Update::Answered { command, answer: Err("the trainer does not answer".into()) });
    }
    assert!(screen.line_with("taper").ends_with("● training"));
    assert!(screen.line_with("›").contains("pause: the trainer does not answer"));
}

#[test]
fn the_epoch_table_scrolls_and_follows() {
    let mut screen = Screen::new("training", 80, 24);
    let shown = |screen: &mut Screen| {
        let text = screen.text();
        let rows = text.lines().skip_while(|line| !line.starts_with("epoch")).skip(1).take(4);
        rows.map(|row| row.trim_start_matches(['★', '▸', ' ']).split(' ').next().unwrap().parse().unwrap()).collect()
    };
    let mut after = |code: KeyCode| -> Vec<u64> {
        screen.press(code);
        shown(&mut screen)
    };
    assert_eq!(after(KeyCode::Esc), [11, 12, 13, 14]);
    assert_eq!(after(KeyCode::Char('k')), [10, 11, 12, 13]);
    assert_eq!(after(KeyCode::PageUp), [6, 7, 8, 9]);
    assert_eq!(after(KeyCode::Home), [1, 2, 3, 4]);
    assert_eq!(after(KeyCode::Up), [1, 2, 3, 4]);
    assert_eq!(after(KeyCode::Down), [2, 3, 4, 5]);
    assert_eq!(after(KeyCode::End), [11, 12, 13, 14]);
}

#[test]
fn the_best_epoch_has_a_star() {
    let mut screen = Screen::new("training", 80, 24);
    assert!(screen.line_with("★  13").contains("55.04"));
}

#[test]
fn the_event_line_scrolls_when_it_has_the_focus() {
    let mut screen = Screen::new("training", 80, 24);
    let line = |screen: &mut Screen| screen.text().lines().nth(22).unwrap().to_owned();
    assert!(line(&mut screen).contains("4 checkpoints saved, the last e0013"));
    screen.press(KeyCode::Tab);
    screen.press(KeyCode::Tab);
    screen.keys("k");
    assert!(
        line(&mut screen).contains("▸ ") && line(&mut screen).contains("epoch 13: test loss"),
        "{}",
        line(&mut screen)
    );
}

/// Ordinary numbers, and those that only a broken trainer or disk writes.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0u64..100, 1 => any::<u64>(), 1 => Just(u64::MAX), 1 => Just(0)]
}

fn real() -> impl Strategy<Value = f64> {
    prop_oneof![6 => 0.0..3.0, 1 => any::<f64>(), 1 => Just(f64::MAX), 1 => Just(0.0), 1 => Just(-1.0)]
}

fn sample(n: &[u64; 8], r: &[f64; 8], yes: bool) -> SystemSample {
    let card = CardSample {
        name: yes.then(|| "a GPU with\u{1b}[31m a long name".to_owned()),
        utilisation_percent: Some(r[0]),
        memory_used_bytes: Some(n[1]),
        memory_total_bytes: yes.then_some(n[2]),
        power_watts: Some(r[1]),
        power_limit_watts: yes.then_some(r[2]),
        temperature_celsius: Some(n[3] as u32),
        sm_clock_mhz: Some(n[4] as u32),
        memory_clock_mhz: yes.then_some(n[5] as u32),
        throttle_reasons: Some(vec![ThrottleReason::PowerCap; (n[6] % 4) as usize]),
    };
    SystemSample {
        resident_bytes: Some(n[1]),
        trainer_cpu_percent: Some(r[3]),
        cpu_percent: Some(r[4]),
        memory_used_bytes: Some(n[2]),
        memory_total_bytes: yes.then_some(n[3]),
        disk_free_bytes: yes.then_some(n[7]),
        card: n[0].is_multiple_of(2).then_some(card),
        ranks: vec![],
    }
}

fn event() -> impl Strategy<Value = Event> {
    let numbers = prop::array::uniform8(number());
    let reals = prop::array::uniform8(real());
    (0..12, numbers, reals, prop::collection::vec(any::<f32>(), 0..20), any::<bool>()).prop_map(
        |(kind, n, r, losses, yes)| {
            let text = "a rather long text \u{1b}[31m that\nholds what no terminal should get".to_owned();
            match kind {
                0 => Event::RunStarted(Box::new(RunStarted {
                    run: text.clone(),
                    model: text.clone(),
                    parameters: n[0],
                    device: text.clone(),
                    data: text.clone(),
                    dataset: taper::data::DatasetInfo::cifar10(),
                    data_origin: text.clone(),
                    notice: yes.then_some(text.clone()),
                    train_samples: n[1],
                    test_samples: n[2],
                    epochs: n[3],
                    batch_size: n[4],
                    steps_per_epoch: n[5],
                    total_steps: n[6],
                    learning_rate: r[0],
                    seed: n[7],
                    host: text,
                    continued_from: yes.then_some(n[6]),
                    ..run_started()
                })),
                1 => Event::EvaluationStarted { epoch: n[0], step: n[1] },
                2 => Event::EpochDone(EpochDone {
                    judged_by: taper::data::Split::Test,
                    epoch: n[0],
                    step: n[1],
                    train_loss: r[0],
                    train_accuracy: r[1],
                    test_loss: r[2],
                    test_accuracy: r[3],
                    test_time_augmentation: Default::default(),
                    learning_rate: r[4],
                    elapsed_secs: r[5],
                    evaluation_secs: r[6],
                    best: yes,
                    confusion: None,
                    mistakes: vec![],
                }),
                3 => {
                    let reason = if yes { LearningRateReason::Plateau } else { LearningRateReason::Command };
                    Event::LearningRateChanged { epoch: n[0], step: n[1], from: r[0], to: r[1], reason }
                }
                4 => Event::Paused { step: n[0] },
                5 => Event::Resumed { step: n[0] },
                6 => Event::CheckpointSaved(CheckpointSaved {
                    epoch: n[0],
                    step: n[1],
                    name: text,
                    reason: CheckpointReason::Interval,
                    bytes: n[2],
                    save_secs: r[0],
                }),
                7 => Event::AlarmRaised { step: n[0], kind: AlarmKind::Divergence, message: text },
                8 => Event::CommandReceived { step: n[0], command: Command::SetLearningRate { learning_rate: r[0] } },
                9 => Event::SystemSampled { step: n[0], sample: Box::new(sample(&n, &r, yes)) },
                10 => Event::RunEnded { step: n[0], outcome: Outcome::Failed, message: text },
                _ => Event::StepsDone(StepsDone {
                    epoch: n[0],
                    // A gap in the losses may be a million steps long: filled, but not here hundreds of times.
                    first_step: if n[1] > 100 { u64::MAX - n[1] % 2 } else { n[1] },
                    losses,
                    gradient_norms: vec![],
                    correct: n[2],
                    samples: n[3],
                    train_secs: r[0],
                    split_us: yes.then_some([n[4], n[5], n[6], n[7]].into()),
                    learning_rate: None,
                }),
            }
        },
    )
}

proptest! {
    #![proptest_config(crate::testing::property(48))]

    #[test]
    fn whatever_a_log_says_can_be_drawn(events in prop::collection::vec((number(), event()), 0..40), keys in "[ +hjklcagimCLnNvxXoOd,1239\\[\\]z?]{0,12}") {
        for (width, height) in [(80, 24), (120, 40), (200, 50)] {
            let mut screen = Screen::new("empty", width, height);
            let records = events.iter().map(|(time_ms, event)| Record { time_ms: *time_ms, event: event.clone() });
            screen.app.update(Update::Records(records.collect()));
            screen.keys(&keys);
            prop_assert!(screen.text().chars().all(|char| char == '\n' || !char.is_control()));
        }
    }
}
