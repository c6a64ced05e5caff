//! What the network sees, as it is seen: a probe of known numbers drawn on a screen in memory, driven by keys.

use std::sync::Arc;

use ratatui::crossterm::event::KeyCode;
use ratatui::style::Color;
use taper::data::DatasetInfo;
use taper::metrics::Confusion;
use taper::render::{ChannelMap, ClassCam, Explanation, LayerExplanation, Map, Planes};
use taper::run::event::{Command, EpochDone, Event, ProbeSaved, Record};
use taper::run::probe::{Probe, ProbedImage};
use taper::terminal_image::half_blocks::Palette;
use taper::terminal_image::{ImageBackend, Protocol};
use taper::tui::app::Update;
use taper::tui::input::Effect;
use taper::tui::inspector::Loaded;

use crate::screen::{Screen, snapshot};

/// An image brighter towards one corner, and maps of stripes.
fn image(number: usize, predicted: usize) -> ProbedImage {
    let stripes = |side: usize, width: usize| {
        Map::new(side, (0..side * side).map(|position| (position % side / width % 2) as f32).collect())
    };
    let cam = |side: usize, class| {
        let near = |position: usize| {
            let (x, y) = (position % side, position / side);
            1.0 / (1.0 + x.abs_diff(side / 4 + number % 3) as f32 + y.abs_diff(side / 2) as f32)
        };
        ClassCam { class, map: Map::new(side, (0..side * side).map(near).collect()) }
    };
    let layer = |layer: usize| {
        let (side, is_last) = (32 >> layer, layer == 2);
        let active = |channel| ChannelMap { channel, map: stripes(8, 2) };
        LayerExplanation {
            name: format!("conv{}", layer + 1),
            maps: (1..10).map(|width| stripes(side, width.min(side / 2))).collect(),
            active: if is_last { [7, 40, 99].map(active).into() } else { vec![] },
            cams: if is_last { (0..10).map(|class| cam(side, class)).collect() } else { vec![] },
            channel_attention: is_last.then(|| (0..128).map(|channel| channel as f32 / 128.0).collect()),
            ..LayerExplanation::default()
        }
    };
    let mut logits = vec![0.0; 10];
    logits[predicted] = 4.0;
    let bytes = (0..3072).map(|position| (position % 32 * 4 + position / 32 % 32 * 4) as u8).collect();
    let explanation =
        Explanation { image: Planes { width: 32, height: 32, bytes }, logits, layers: (0..3).map(layer).collect() };
    ProbedImage { index: 10 * number, true_class: 3, explanation }
}

fn saved(epoch: u64, step: u64) -> Record {
    let file = format!("e{epoch:04}-s{step:06}.safetensors");
    let saved = ProbeSaved { epoch, step, file, bytes: 1, elapsed_secs: 0.02, images: vec![] };
    // In the run's own time.
    Record { time_ms: 1_795_542_904_000 + step, event: Event::ProbeSaved(saved) }
}

/// Gives the dashboard the probe that it wants, as the thread that reads them does.
fn load(screen: &mut Screen) {
    if let Some(key) = screen.app.wanted_probe() {
        let digits = key.file.split(['e', '-']).nth(1).unwrap();
        let epoch: u64 = digits.parse().unwrap();
        let step = 32 * epoch;
        // Later on it takes fewer for a dog.
        let images = (0..3).map(|number| image(number, if epoch < 13 { 5 } else { 3 })).collect();
        let mistakes = (20..32).map(|number| image(number, 5)).collect();
        let probe = Probe { dataset: DatasetInfo::cifar10(), epoch, step, images, mistakes };
        screen.app.update(Update::Probe(Loaded { key, probe: Ok(Arc::new(probe)) }));
    }
}

/// The dashboard of a run with two probes.
fn screen(width: u16, height: u16, means: ImageBackend) -> Screen {
    let mut screen = Screen::new("training", width, height);
    screen.app.draw_images_by(means);
    screen.app.update(Update::Records(vec![saved(12, 384), saved(13, 416)]));
    load(&mut screen);
    screen
}

fn keys(screen: &mut Screen, keys: &str) {
    for key in keys.chars() {
        screen.press(KeyCode::Char(key));
        load(screen);
    }
}

const SHADES: ImageBackend = ImageBackend::Cells(Palette::Shades);

#[test]
fn the_panel_and_the_page() {
    snapshot("inspector_panel_200x50", &mut screen(200, 50, SHADES));
    let mut page = screen(80, 24, SHADES);
    keys(&mut page, "i");
    snapshot("inspector_page_80x24", &mut page);
    keys(&mut page, "v");
    snapshot("inspector_attention_80x24", &mut page);
    keys(&mut page, "v1");
    snapshot("inspector_maps_80x24", &mut page);
}

#[test]
fn half_blocks_have_the_colours_of_the_image() {
    for (palette, is_of_it) in [
        (Palette::TrueColour, (|colour| matches!(colour, Color::Rgb(..))) as fn(Color) -> bool),
        (Palette::Colours256, |colour| matches!(colour, Color::Indexed(_))),
    ] {
        let mut screen = screen(200, 50, ImageBackend::Cells(palette));
        let halves = screen.draw().content.iter().filter(|cell| cell.symbol() == "▀").collect::<Vec<_>>();
        assert!(halves.len() > 500 && halves.iter().all(|cell| is_of_it(cell.fg) && is_of_it(cell.bg)));
    }
}

#[test]
fn a_terminal_that_draws_itself_gets_room_and_the_images() {
    let mut screen = screen(200, 50, ImageBackend::Protocol(Protocol::Kitty));
    screen.draw();
    assert_eq!(screen.placed.len(), 2);
    let areas: Vec<_> = screen.placed.iter().map(|placed| placed.area).collect();
    for area in areas {
        assert!(area.bottom() < 50, "the last row would scroll");
        assert_eq!(area.width, 2 * area.height);
        assert!(area.positions().all(|position| screen.draw()[position].symbol() == " "));
    }
    // What lies over the page must not lie under an image.
    keys(&mut screen, "?");
    screen.draw();
    assert!(screen.placed.is_empty());
}

#[test]
fn scrubbing_goes_back_and_the_newest_is_followed_again() {
    let mut screen = screen(120, 40, SHADES);
    keys(&mut screen, "i");
    assert!(screen.line_with("2 of 2, newest").contains("Grad-CAM of conv3 for the predicted class"));
    assert!(screen.line_with("test image").contains("true cat  predicted cat 85.8 % ✓"));
    keys(&mut screen, "[");
    assert!(screen.text().contains("1 of 2") && screen.line_with("epoch 12").contains("step 384"));
    assert!(screen.line_with("test image").contains("predicted dog 85.8 % ✗"));
    screen.app.update(Update::Records(vec![saved(14, 448)]));
    load(&mut screen);
    assert!(screen.text().contains("1 of 3"), "a new probe changes nothing while one looks back");
    keys(&mut screen, "]]");
    assert!(screen.text().contains("3 of 3, newest"));
}

#[test]
fn a_probe_is_asked_for_and_pending_until_answered() {
    let mut screen = screen(120, 40, SHADES);
    assert_eq!(screen.press(KeyCode::Char('P')), Some(Effect::Send(Command::Probe)));
    assert!(screen.line_with("taper").contains("probing…"));
    screen.app.update(Update::Answered { command: Command::Probe, answer: Ok("saved".into()) });
    assert!(!screen.text().contains("probing…"));
}

#[test]
fn without_a_probe_or_with_a_broken_one_it_says_why() {
    let mut none = Screen::new("training", 120, 40);
    keys(&mut none, "i");
    assert!(none.text().contains("No probe yet"));
    keys(&mut none, "nNvxX[]z123");
    let mut ended = Screen::new("completed", 120, 40);
    keys(&mut ended, "i");
    assert!(ended.text().contains("This run has saved no probe"));
    keys(&mut ended, "m");
    assert!(ended.text().contains("This run has saved no probe of an epoch"));
    let mut broken = Screen::new("training", 120, 40);
    broken.app.update(Update::Records(vec![saved(13, 416)]));
    let key = broken.app.wanted_probe().unwrap();
    broken.app.update(Update::Probe(Loaded { key, probe: Err("probes/x.safetensors: No such file".into()) }));
    keys(&mut broken, "i");
    assert!(broken.text().contains("probes/x.safetensors: No such file"));
    assert_eq!(broken.app.wanted_probe(), None, "it is not asked for again and again");
}

#[test]
fn the_gallery_of_mistakes_opens_one_and_is_come_back_to() {
    let mut screen = screen(80, 24, SHADES);
    keys(&mut screen, "m");
    snapshot("mistakes_80x24", &mut screen);
    keys(&mut screen, "ll");
    screen.press(KeyCode::Down);
    let chosen = screen.line_with("▸");
    screen.press(KeyCode::Enter);
    load(&mut screen);
    assert!(screen.line_with("mistake").contains("mistake 9/12"), "{}", screen.text());
    assert!(screen.text().contains("Grad-CAM of conv3"));
    screen.press(KeyCode::Esc);
    load(&mut screen);
    assert_eq!(screen.line_with("▸"), chosen);
    screen.press(KeyCode::Esc);
    load(&mut screen);
    keys(&mut screen, "i");
    assert!(screen.line_with("epoch 13").contains("image 1/3"), "what was looked at before is looked at again");
}

#[test]
fn mistakes_and_classes_are_reached_from_every_page_and_lead_back() {
    let mut screen = screen(80, 24, SHADES);
    keys(&mut screen, "iCm");
    assert!(screen.text().contains("The most confident mistakes"));
    screen.press(KeyCode::Enter);
    load(&mut screen);
    assert!(screen.text().contains("mistake 1/12"));
    // Back to what lies under it, not over it once more.
    keys(&mut screen, "nC");
    assert!(screen.text().contains("Classes"));
    screen.press(KeyCode::Esc);
    load(&mut screen);
    assert!(screen.text().contains("image 1/3"), "{}", screen.text());
    screen.press(KeyCode::Esc);
    assert!(screen.text().contains("Batch Loss"));
    keys(&mut screen, "m");
    assert!(screen.line_with("▸").contains("▸dog"), "{}", screen.text());
    assert!(screen.text().contains("2 of 12"), "the one that was looked at last is chosen");
}

fn evaluated(confusion: Confusion) -> EpochDone {
    EpochDone {
        judged_by: taper::data::Split::Test,
        epoch: 14,
        step: 448,
        train_loss: 1.1,
        train_accuracy: 51.0,
        test_loss: 1.2,
        test_accuracy: 66.6,
        learning_rate: 0.0005,
        elapsed_secs: 13.0,
        evaluation_secs: 0.3,
        best: true,
        confusion: Some(confusion),
        mistakes: vec![],
    }
}

/// With each class taken for others now and then.
fn confusion(classes: usize) -> Confusion {
    let mut confusion = Confusion::new(classes);
    for image in 0..50 * classes {
        let class = image % classes;
        confusion.add(class, if image % 3 == 0 { (class * 3 + 2) % classes } else { class });
    }
    confusion
}

#[test]
fn the_confusion_matrix_of_each_epoch() {
    let mut screen = screen(80, 24, SHADES);
    keys(&mut screen, "C");
    assert!(screen.text().contains("This epoch's matrix is not in the log"));
    let done = |confusion| Event::EpochDone(evaluated(confusion));
    screen.app.update(Update::Records(vec![Record { time_ms: screen.app.now_ms, event: done(confusion(10)) }]));
    snapshot("classes_80x24", &mut screen);
    let mut wide = screen;
    wide.terminal.backend_mut().resize(120, 40);
    wide.app.update(Update::Resized(ratatui::layout::Size::new(120, 40)));
    snapshot("classes_120x40", &mut wide);
    keys(&mut wide, "[");
    assert!(wide.text().contains("13 of 14"));
}

#[test]
fn many_classes_are_a_list_of_the_least_accurate() {
    let page = |classes| {
        let mut screen = screen(80, 24, SHADES);
        keys(&mut screen, "C");
        let event = Event::EpochDone(evaluated(confusion(classes)));
        screen.app.update(Update::Records(vec![Record { time_ms: screen.app.now_ms, event }]));
        screen.text()
    };
    let text = page(47);
    assert!(text.contains("accuracy in %, the least first"), "{text}");
    assert!(["airplane", "dog", "class 10", "class 46"].iter().all(|class| text.contains(class)), "{text}");
    let text = page(300);
    assert!(text.contains("accuracy in % of the 56 least accurate of 300"), "{text}");
}
