//! What the dashboard shows of the machine: a line, a panel, a page; for runs that go on and that have ended.

use ratatui::crossterm::event::KeyCode;
use ratatui::style::Color;
use taper::run::event::{Event, Outcome, RankStarted, Record, StepsDone};
use taper::run::step_time::StepTime;
use taper::run::system_sample::{CardSample, RankSample, SystemSample, ThrottleReason};
use taper::tui::app::Update;
use taper::tui::theme::{Depth, Theme};

use crate::screen::{Screen, snapshot};

fn machine(second: u64) -> SystemSample {
    SystemSample {
        resident_bytes: Some(612_000_000),
        trainer_cpu_percent: Some(187.2),
        cpu_percent: Some(50.0 + (second * 7 % 50) as f64),
        memory_used_bytes: Some(4_000_000_000 + 40_000_000 * second),
        memory_total_bytes: Some(16_800_000_000),
        disk_free_bytes: Some(210_300_000_000),
        card: None,
        ranks: vec![],
    }
}

fn with_card(second: u64) -> SystemSample {
    let card = CardSample {
        name: Some("NVIDIA H100 80GB HBM3".into()),
        utilisation_percent: Some(90.0 - (second * 11 % 60) as f64),
        memory_used_bytes: Some(62_000_000_000),
        memory_total_bytes: Some(85_899_345_920),
        power_watts: Some(300.0 + (second * 13 % 90) as f64),
        power_limit_watts: Some(700.0),
        temperature_celsius: Some(61),
        sm_clock_mhz: Some(1755),
        memory_clock_mhz: Some(2619),
        throttle_reasons: Some(vec![ThrottleReason::PowerCap]),
    };
    SystemSample { card: Some(card), ..machine(second) }
}

/// Four ranks on two hosts, the last of which is slow.
fn on_ranks(second: u64) -> SystemSample {
    let rank = |images_per_sec, computing_percent| RankSample { images_per_sec, computing_percent };
    let ranks = vec![rank(812.4, 71.0), rank(808.9, 72.1), rank(799.0, 73.0), rank(602.5, 96.4)];
    SystemSample { ranks, ..machine(second) }
}

/// A minute more of a run, with a sample and some steps each second.
fn screen(sample: fn(u64) -> SystemSample, width: u16, height: u16, theme: Theme) -> Screen {
    screen_of(Screen::themed("training", width, height, theme), sample, None)
}

/// The same, of steps whose time went so.
fn screen_of(mut screen: Screen, sample: fn(u64) -> SystemSample, split_us: Option<StepTime>) -> Screen {
    let run = &screen.app.run;
    let (epoch, step, start_ms) = (run.epoch, run.step, run.last_activity_ms);
    let records = (1..=60).flat_map(|second| {
        let steps = StepsDone {
            epoch,
            first_step: step + 1,
            losses: vec![1.5],
            gradient_norms: vec![],
            correct: 30,
            samples: 64,
            train_secs: 0.9,
            split_us,
            learning_rate: None,
        };
        let sampled = Event::SystemSampled { step: step + 1, sample: Box::new(sample(second)) };
        [Event::StepsDone(steps), sampled].map(|event| Record { time_ms: start_ms + 1000 * second, event })
    });
    screen.app.update(Update::Records(records.collect()));
    screen.app.now_ms = screen.app.run.last_activity_ms + 500;
    screen
}

fn end(screen: &mut Screen) {
    let event = Event::RunEnded { step: screen.app.run.step, outcome: Outcome::Completed, message: "saved".into() };
    screen.app.update(Update::Records(vec![Record { time_ms: screen.app.run.last_activity_ms + 1000, event }]));
}

#[test]
fn the_machine_at_three_sizes() {
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        snapshot(
            &format!("system_{width}x{height}"),
            &mut screen(machine, width, height, Theme::Dark(Depth::TrueColour)),
        );
        snapshot(
            &format!("system_card_{width}x{height}"),
            &mut screen(with_card, width, height, Theme::Dark(Depth::TrueColour)),
        );
    }
}

#[test]
fn the_ranks_of_a_run_and_what_they_exchange() {
    let exchange = StepTime::from([4_000, 210_000, 480_000, 26_000, 150_000]);
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let mut screen = Screen::themed("training", width, height, Theme::Dark(Depth::TrueColour));
        if let Some(started) = &mut screen.app.run.started {
            started.device = "4 ranks on 2 hosts: box1, box2, each cpu (8 threads, avx512)".to_owned();
            let rank = |host: &str| RankStarted { host: host.to_owned(), device: "cpu (8 threads, avx512)".to_owned() };
            started.ranks = ["box1", "box1", "box2", "box2"].map(rank).to_vec();
        }
        let mut screen = screen_of(screen, on_ranks, Some(exchange));
        snapshot(&format!("ranks_{width}x{height}"), &mut screen);
        screen.keys("u");
        assert!(screen.text().contains("slowest 3 on box2"), "{}", screen.text());
        snapshot(&format!("ranks_page_{width}x{height}"), &mut screen);
    }
}

#[test]
fn the_page_of_the_machine() {
    for (width, height) in [(80, 24), (120, 40)] {
        let mut screen = screen(with_card, width, height, Theme::Dark(Depth::TrueColour));
        screen.keys("u");
        snapshot(&format!("system_page_{width}x{height}"), &mut screen);
        screen.press(KeyCode::Esc);
        assert!(screen.text().contains("Batch Loss"));
    }
    let mut screen = screen(machine, 80, 24, Theme::Dark(Depth::TrueColour));
    end(&mut screen);
    screen.keys("u");
    snapshot("system_page_ended_80x24", &mut screen);
    let mut older = Screen::new("training", 80, 24);
    older.keys("u");
    assert!(older.text().contains("does not tell"), "{}", older.text());
}

#[test]
fn what_is_not_known_is_absent() {
    let bare = |second| {
        let card = CardSample { temperature_celsius: Some(61), ..CardSample::default() };
        SystemSample { card: Some(card), cpu_percent: Some(second as f64), ..SystemSample::default() }
    };
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        for keys in ["", "u"] {
            let mut screen = screen(bare, width, height, Theme::Dark(Depth::TrueColour));
            screen.keys(keys);
            let text = screen.text();
            assert!(text.contains("CPU") && text.contains("61 °C"), "{text}");
            for absent in ["GPU", "power", " W", "disk", "trainer  ", "slowed", "an image", "MHz"] {
                assert!(!text.contains(absent), "{absent}: {text}");
            }
        }
    }
}

#[test]
fn without_colour_the_machine_is_still_told() {
    for keys in ["", "u"] {
        for (width, height) in [(80, 24), (120, 40), (200, 50)] {
            let mut plain = screen(with_card, width, height, Theme::Plain);
            let mut coloured = screen(with_card, width, height, Theme::Dark(Depth::TrueColour));
            plain.keys(keys);
            coloured.keys(keys);
            assert_eq!(plain.text(), coloured.text());
            assert!(plain.draw().content.iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
        }
    }
}

#[test]
fn no_size_is_too_small_for_the_machine() {
    for width in [80, 81, 99, 100, 119, 160, 172, 400] {
        for height in [24, 25, 35, 36, 45, 46, 120] {
            for keys in ["", "u", "u?"] {
                let mut screen = screen(with_card, width, height, Theme::Dark(Depth::TrueColour));
                screen.keys(keys);
                screen.draw();
            }
        }
    }
}
