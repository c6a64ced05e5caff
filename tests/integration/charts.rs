//! Charts as they are seen: on the dashboard with numbers of every size, and on the whole screen.

use ratatui::crossterm::event::KeyCode;
use taper::config::TestTimeAugmentation;
use taper::data::Split;
use taper::run::event::{EpochDone, Event, LearningRateReason, Record, StepsDone};
use taper::tui::app::Update;
use taper::tui::theme::{Depth, Theme};

use crate::follow::run_started;
use crate::screen::{Screen, snapshot};

/// Of twenty steps an epoch and twenty epochs, falling with noise that repeats.
fn loss(step: u64) -> f32 {
    let noise = (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 24) as f32;
    0.4 + 1.9 / (1.0 + step as f32 / 60.0) + 0.5 * noise
}

const STEPS_PER_EPOCH: u64 = 20;
const COLOUR: Theme = Theme::Dark(Depth::TrueColour);

fn steps(first_step: u64, losses: Vec<f32>, learning_rate: Option<f64>) -> Event {
    Event::StepsDone(StepsDone {
        epoch: (first_step - 1) / STEPS_PER_EPOCH + 1,
        first_step,
        gradient_norms: losses.iter().map(|loss| 3.0 * loss).collect(),
        correct: 32 * losses.len() as u64,
        samples: 64 * losses.len() as u64,
        train_secs: 0.1 * losses.len() as f64,
        split_us: None,
        learning_rate,
        losses,
    })
}

fn epoch(epoch: u64, train_loss: f64) -> Event {
    Event::EpochDone(EpochDone {
        judged_by: Split::Test,
        epoch,
        step: STEPS_PER_EPOCH * epoch,
        train_loss,
        train_accuracy: 80.0 - 50.0 / epoch as f64,
        test_loss: 0.1 + train_loss,
        test_accuracy: 75.0 - 50.0 / epoch as f64,
        test_time_augmentation: Default::default(),
        learning_rate: 0.001,
        elapsed_secs: 3.0,
        evaluation_secs: 1.0,
        best: true,
        confusion: None,
        mistakes: vec![],
    })
}

/// A run of so many epochs, whose losses `change` may change.
fn run(epochs: u64, change: impl Fn(u64, f32) -> f32, moving: bool) -> Vec<Event> {
    let mut events = vec![Event::RunStarted(Box::new(taper::run::event::RunStarted {
        steps_per_epoch: STEPS_PER_EPOCH,
        epochs: 40,
        total_steps: 40 * STEPS_PER_EPOCH,
        ..run_started()
    }))];
    for number in 1..=epochs {
        let first = STEPS_PER_EPOCH * (number - 1) + 1;
        for first_step in (first..first + STEPS_PER_EPOCH).step_by(5) {
            let losses = (first_step..first_step + 5).map(|step| change(step, loss(step))).collect();
            let rate = 0.0005 * (1.0 + (first_step as f64 / 127.0).cos());
            events.push(steps(first_step, losses, moving.then_some(rate)));
        }
        let last = first + STEPS_PER_EPOCH - 1;
        let mean = (first..=last).map(|step| f64::from(change(step, loss(step)))).sum::<f64>() / STEPS_PER_EPOCH as f64;
        events.push(epoch(number, mean));
    }
    events
}

fn screen(events: Vec<Event>, width: u16, height: u16, theme: Theme) -> Screen {
    let mut screen = Screen::themed("empty", width, height, theme);
    let records =
        events.into_iter().zip(0..).map(|(event, index)| Record { time_ms: 1_795_542_723_000 + 500 * index, event });
    screen.app.update(Update::Records(records.collect()));
    screen.app.now_ms = screen.app.run.last_activity_ms + 2000;
    screen
}

fn ordinary(width: u16, height: u16) -> Screen {
    screen(run(20, |_, loss| loss, false), width, height, COLOUR)
}

#[test]
fn charts_on_the_whole_screen_at_three_sizes() {
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let mut screen = ordinary(width, height);
        screen.keys("1");
        snapshot(&format!("chart_loss_{width}x{height}"), &mut screen);
        screen.keys("3ww");
        for code in [KeyCode::Up, KeyCode::Up, KeyCode::PageUp, KeyCode::Left, KeyCode::Left] {
            screen.press(code);
        }
        snapshot(&format!("chart_batches_read_off_{width}x{height}"), &mut screen);
    }
}

#[test]
fn the_axis_ends_where_the_data_ends() {
    let mut three = screen(run(3, |_, loss| loss, false), 120, 40, COLOUR);
    snapshot("three_epochs_120x40", &mut three);
    three.keys("2");
    let text = three.text();
    let axis = text.lines().rev().find(|line| line.contains(" 1 ")).unwrap().trim_matches(['│', ' ']);
    assert!(axis.starts_with('0') && axis.ends_with('3'), "{axis}");
}

#[test]
fn an_epoch_judged_with_test_time_augmentation_is_marked() {
    let mut events = run(3, |_, loss| loss, false);
    for event in &mut events {
        if let Event::EpochDone(done) = event
            && done.epoch == 3
        {
            done.test_time_augmentation = TestTimeAugmentation::FlipAndShift;
        }
    }
    for (width, height) in [(80, 24), (120, 40)] {
        let mut screen = screen(events.clone(), width, height, COLOUR);
        snapshot(&format!("test_time_augmentation_{width}x{height}"), &mut screen);
    }
}

#[test]
fn one_spike_flattens_nothing_and_is_named() {
    let spiking = |step: u64, loss: f32| if (203..206).contains(&step) { 3.1e14 } else { loss };
    let mut screen = screen(run(20, spiking, false), 80, 24, COLOUR);
    snapshot("spike_80x24", &mut screen);
    screen.keys("3");
    let text = screen.text();
    assert!(text.contains("↑310T") && !text.contains("00000"), "{text}");
    screen.keys("l");
    assert!(!screen.text().contains("↑3"), "a logarithmic scale has room for it");
}

#[test]
fn large_numbers_are_never_cut() {
    let large = |_, loss: f32| 893_690_754.0 * loss;
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let mut screen = screen(run(12, large, false), width, height, COLOUR);
        let text = screen.text();
        assert!(text.contains("1 Loss ") && text.contains("3 Batch Loss "), "{text}");
        let event = screen.line_with("epoch 12: ");
        assert!(event.contains("M,") && !event.contains("0000"), "{event}");
        if width == 80 {
            snapshot("large_numbers_80x24", &mut screen);
        }
    }
}

#[test]
fn a_schedule_that_moves_each_step_is_a_curve() {
    let mut screen = screen(run(20, |_, loss| loss, true), 120, 40, COLOUR);
    snapshot("schedule_120x40", &mut screen);
    screen.keys("5");
    assert!(screen.line_with("5 Learning Rate").contains("by epoch"));
    screen.press(KeyCode::Left);
    assert!(screen.line_with("step 400").contains("Learning Rate 1.38e-7"), "{}", screen.text());
}

#[test]
fn train_and_test_are_told_apart_without_colours() {
    let mut screen = screen(run(20, |_, loss| loss, false), 80, 24, Theme::Plain);
    let legend = screen.line_with("1 Loss");
    assert!(legend.contains("─ train") && legend.contains("• test") && legend.contains("┈ batch"), "{legend}");
    assert!(screen.text().matches('•').count() > 8, "{}", screen.text());
}

#[test]
fn enter_opens_the_chart_of_the_panel_and_escape_closes_it() {
    let mut screen = ordinary(120, 40);
    let dashboard = screen.text();
    screen.press(KeyCode::Enter);
    assert!(screen.line_with("2 Accuracy %").contains("smoothing off"));
    screen.press(KeyCode::Esc);
    assert_eq!(screen.text(), dashboard);
    screen.keys("9");
    assert!(screen.text().contains("This run has no GPU so far"));
    screen.press(KeyCode::Tab);
    assert!(screen.text().contains("1 Loss"));
}

#[test]
fn what_is_read_off_is_what_the_log_says() {
    let mut screen = ordinary(120, 40);
    screen.keys("1");
    screen.press(KeyCode::Left);
    let newest = screen.line_with("step 400");
    let batch = taper::format::compact(loss(400).into(), 8);
    assert!(newest.contains("epoch 20.00") && newest.contains(&format!("batch {batch}")), "{newest}");
    screen.keys("xx");
    screen.press(KeyCode::Home);
    assert!(screen.line_with("1 Loss").contains("by time"));
    screen.keys("0");
    screen.press(KeyCode::End);
    assert!(screen.text().contains("the whole run"));
}

#[test]
fn changes_of_the_learning_rate_are_marked_on_every_axis() {
    let mut events = run(20, |_, loss| loss, false);
    events.insert(
        40,
        Event::LearningRateChanged {
            epoch: 8,
            step: 150,
            from: 0.001,
            to: 0.0005,
            reason: LearningRateReason::Command,
        },
    );
    let mut screen = screen(events, 120, 40, COLOUR);
    screen.keys("1");
    for axis in ["by epoch", "by step", "by time"] {
        let text = screen.text();
        assert!(text.contains(axis) && text.contains('▼'), "{text}");
        screen.keys("x");
    }
}
