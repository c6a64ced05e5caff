//! Runs compared: on a screen in memory, and by the real binary.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Size;
use taper::config::{Config, Override};
use taper::run::dir::RunDir;
use taper::run::lock::Liveness;
use taper::run::log::Follower;
use taper::run::metric::Metric;
use taper::run::state::RunState;
use taper::tui::compare::reader::{News, Update};
use taper::tui::compare::state::Compare;
use taper::tui::compare::view::render;
use taper::tui::theme::Theme;
use taper::tui::{Comparison, Heeded, Place, Request};

use crate::binary::{Dir, TINY};
use crate::follow::{drain, fixture};
use crate::screen::text_of;

struct Screen {
    compare: Compare,
    terminal: Terminal<TestBackend>,
}

fn state(log: &str) -> RunState {
    let mut state = RunState::default();
    drain(&mut Follower::new(fixture(log)), 1 << 20).iter().for_each(|record| state.apply(record));
    state
}

impl Screen {
    /// Runs with these names, fixture logs and settings.
    fn new(runs: &[(&str, &str, &[&str])], width: u16, height: u16) -> Self {
        let dirs = runs.iter().map(|(name, ..)| RunDir::at(format!("/runs/{name}"))).collect();
        let mut compare = Compare::new(Comparison::of(dirs), Theme::Plain);
        for (run, (_, log, sets)) in runs.iter().enumerate() {
            let sets: Vec<Override> = sets.iter().map(|set| Override::parse(set).unwrap()).collect();
            let values = Config::load(None, &sets).unwrap().values();
            compare.update(Update { run, news: News::Configuration(Ok(values)) });
            compare.update(Update { run, news: News::Liveness(Liveness::Dead) });
            compare.update(Update { run, news: News::Loaded(Box::new(state(log))) });
        }
        compare.size = Size { width, height };
        Self { compare, terminal: Terminal::new(TestBackend::new(width, height)).unwrap() }
    }

    fn press(&mut self, code: KeyCode) {
        self.compare.handle_key(KeyEvent::new(code, KeyModifiers::NONE));
    }

    fn keys(&mut self, keys: &str) {
        keys.chars().for_each(|char| self.press(KeyCode::Char(char)));
    }

    fn text(&mut self) -> String {
        let Self { compare, terminal } = self;
        terminal.draw(|frame| render(compare, frame)).unwrap();
        text_of(terminal.backend().buffer())
    }
}

const THREE: [(&str, &str, &[&str]); 3] = [
    ("baseline", "training", &[]),
    ("wide", "rolled_back", &["model.hidden=1024", "optimizer.learning_rate=0.002"]),
    ("all-images", "restarted", &["data.source=cifar10", "run.seed=3"]),
];

#[test]
fn three_runs_at_three_sizes() {
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        insta::assert_snapshot!(format!("compare_{width}x{height}"), Screen::new(&THREE, width, height).text());
    }
}

#[test]
fn three_runs_on_small_screens() {
    for (width, height) in [(40, 8), (60, 12), (79, 23)] {
        insta::assert_snapshot!(format!("compare_{width}x{height}"), Screen::new(&THREE, width, height).text());
    }
    let mut screen = Screen::new(&THREE, 40, 8);
    screen.keys("jj");
    assert!(screen.text().contains("▸▲ all-images"), "the chosen one is in view: {}", screen.text());
}

#[test]
fn the_mouse_chooses_opens_reads_off_and_zooms() {
    let mut screen = Screen::new(&THREE, 80, 24);
    let row = screen.text().lines().position(|line| line.contains("■ wide")).unwrap() as u16;
    let mut mouse = |kind, column, row| {
        screen.compare.handle_mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
    };
    let click = MouseEventKind::Down(MouseButton::Left);
    assert_eq!(mouse(click, 10, row), Heeded::Changed);
    assert_eq!(mouse(click, 10, row), Heeded::Asked(Request::Go(Place::Run(RunDir::at("/runs/wide")))));
    mouse(MouseEventKind::ScrollDown, 10, row);
    mouse(click, 40, 8);
    mouse(MouseEventKind::ScrollUp, 40, 8);
    assert_eq!(screen.compare.chosen, 2);
    assert!(screen.compare.cursor.is_some() && !screen.compare.is_whole());
}

#[test]
fn keys_change_what_is_compared() {
    let mut screen = Screen::new(&THREE[..2], 120, 40);
    while screen.compare.metric != Metric::BatchLoss {
        screen.keys("m");
    }
    screen.keys("xwwl");
    insta::assert_snapshot!("compare_batch_loss_120x40", screen.text());
    screen.keys("xxl");
    screen.press(KeyCode::Left);
    (0..60).for_each(|_| screen.press(KeyCode::Left));
    screen.press(KeyCode::Up);
    insta::assert_snapshot!("compare_cursor_120x40", screen.text());
    screen.keys("?");
    insta::assert_snapshot!("compare_help_120x40", screen.text());
    screen.keys("?]]]]]]");
    assert!(screen.text().contains("learning_rate"), "{}", screen.text());
}

#[test]
fn a_run_of_which_nothing_is_known_is_no_obstacle() {
    let runs = [("training", "training", &[][..]), ("not-begun", "empty", &[][..])];
    let mut screen = Screen::new(&runs, 80, 24);
    assert!(screen.text().contains("not begun"), "{}", screen.text());
    screen.compare.update(Update { run: 1, news: News::Fault("events.jsonl: permission denied".into()) });
    assert!(screen.text().contains("not-begun: events.jsonl: permission denied"), "{}", screen.text());
}

#[test]
fn no_size_panics() {
    for width in [1, 3, 8, 12, 40, 79, 161] {
        for height in [1, 2, 5, 9, 12, 30] {
            let mut screen = Screen::new(&THREE, width, height);
            screen.text();
            screen.press(KeyCode::Left);
            screen.press(KeyCode::Up);
            screen.keys("mw]]]]]]]]]]]]]]]]]]?");
            screen.text();
        }
    }
}

fn two_runs() -> Dir {
    let dir = Dir::new();
    let train = |name: &str, sets: &[&str]| {
        let args = ["train", "--no-tui", "--name", name, "--epochs", "2"].into_iter();
        dir.command(args.chain(TINY).chain(sets.iter().copied())).succeed();
    };
    train("one", &[]);
    train("two, wide", &["--set", "model.hidden=16"]);
    dir
}

#[test]
fn the_comparison_as_text_json_and_csv() {
    let dir = two_runs();
    let compare = |args: &[&str]| dir.command(["compare", "one", "two, wide"].iter().chain(args));
    let text = compare(&[]).succeed();
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    assert!(row("model.hidden").ends_with("8    16") && row("one").contains("completed"), "{text}");
    assert!(!text.contains("model.channels") && !text.contains("do not compare"), "{text}");

    let json: serde_json::Value = serde_json::from_str(&compare(&["--json", "--x", "step"]).succeed()).unwrap();
    assert_eq!(json["runs"][1]["name"], "two, wide");
    assert_eq!(json["runs"][0]["curve"][1]["x"], 64.0);
    assert_eq!(json["runs"][0]["curve"][1]["value"], json["runs"][0]["last_accuracy"]);
    assert_eq!(json["differences"][0]["key"], "model.hidden");
    assert!(json["runs"][0]["reached"]["epoch"].is_u64(), "all have reached the default: {json}");

    let csv = compare(&["--csv", "--metric", "batch_loss"]).succeed();
    assert_eq!(csv.lines().count(), 1 + 2 * 64);
    assert!(csv.starts_with("run,step,epoch,elapsed_secs,time_ms,batch_loss\none,1,"), "{csv}");
    assert!(csv.lines().last().unwrap().starts_with("\"two, wide\",64,2,"), "{csv}");
}

#[test]
fn what_cannot_be_compared_is_told() {
    let dir = two_runs();
    assert!(dir.command(["compare", "one"]).fail(2).contains("name 2 to 10 runs"));
    assert!(dir.command(["compare", "one", "one"]).fail(2).contains("1 to compare"));
    assert!(dir.command(["compare", "one", "twoo"]).fail(1).contains("there is no run twoo"));
    assert!(dir.command(["compare", "one", "two, wide", "--to", "101"]).fail(2).contains("from 0 to 100"));
    let unknown = dir.command(["compare", "one", "two, wide", "--metric", "test_acuracy"]).fail(2);
    assert!(unknown.contains("did you mean test_accuracy"), "{unknown}");
}

#[test]
fn the_marked_runs_of_the_list_are_compared() {
    let dir = two_runs();
    let mut terminal = dir.terminal(["attach"]);
    terminal.wait_for("completed");
    terminal.keys("c");
    terminal.wait_for("mark the runs to compare");
    terminal.keys("  c");
    terminal.wait_for("Test Accuracy (%)");
    terminal.wait_for("hidden");
    terminal.keys("\r");
    terminal.wait_for("✓ completed");
    terminal.keys("q");
    assert!(terminal.wait().success());
    let mut direct = dir.terminal(["compare", "one", "two, wide", "--metric", "train_loss"]);
    direct.wait_for("Train Loss");
    direct.keys("R");
    direct.wait_for("2 in runs");
    direct.keys("q");
    assert!(direct.wait().success());
}
