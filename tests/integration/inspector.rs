//! What the network sees, as it is seen: a probe of known numbers drawn on a screen in memory, driven by keys.

use std::sync::Arc;

use ratatui::crossterm::event::KeyCode;
use ratatui::style::Color;
use taper::data::DatasetInfo;
use taper::metrics::Confusion;
use taper::render::{ChannelMap, ClassCam, Explanation, LayerExplanation, Map, Planes};
use taper::run::event::{Command, EpochDone, Event, Prediction, ProbeSaved, Record};
use taper::run::probe::{OtherMistake, Probe, ProbedImage};
use taper::terminal_image::half_blocks::{Palette, Symbols};
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
        let result = Prediction { index: 7, true_class: 2, predicted_class: 8, confidence: 0.5 };
        let other_mistakes = vec![OtherMistake { result, image: image(7, 5).explanation.image }];
        let probe = Probe { dataset: DatasetInfo::cifar10(), epoch, step, images, mistakes, other_mistakes };
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
    snapshot("inspector_heat_map_80x24", &mut page);
    keys(&mut page, "v");
    snapshot("inspector_attention_80x24", &mut page);
    keys(&mut page, "v1");
    snapshot("inspector_maps_80x24", &mut page);
    keys(&mut page, "z");
    snapshot("inspector_one_map_80x24", &mut page);
    let mut larger = screen(120, 40, SHADES);
    keys(&mut larger, "i");
    snapshot("inspector_page_120x40", &mut larger);
    keys(&mut larger, "v");
    snapshot("inspector_heat_map_120x40", &mut larger);
    keys(&mut larger, "v");
    snapshot("inspector_attention_120x40", &mut larger);
    let mut large = screen(200, 50, SHADES);
    keys(&mut large, "ivvv");
    snapshot("inspector_maps_200x50", &mut large);
}

#[test]
fn a_map_has_a_bar_with_its_values_where_there_is_room_and_else_says_them() {
    let mut screen = screen(120, 40, ImageBackend::Cells(Palette::TrueColour));
    keys(&mut screen, "i");
    let text = screen.text();
    // Of Grad-CAM, whose greatest value is 1 here.
    let with_values = text.lines().filter(|line| line.contains("▀ 1 ") || line.contains("▀ 0.1 "));
    assert_eq!(with_values.count(), 2, "{text}");
    let mut drawn = self::screen(120, 40, ImageBackend::Protocol(Protocol::Kitty));
    keys(&mut drawn, "i");
    assert!(drawn.text().contains("▀ 0.1 "), "beside what the terminal draws it is cells: {}", drawn.text());
    let mut small = self::screen(80, 24, SHADES);
    keys(&mut small, "iv");
    assert!(small.line_with("channel 7").contains("channel 7  0 to 1"), "{}", small.text());
}

#[test]
fn the_probabilities_of_the_classes_are_beside_the_evidence_for_one() {
    let mut screen = screen(120, 40, SHADES);
    keys(&mut screen, "i");
    assert!(screen.line_with("✓ cat").contains("85.8 %"), "{}", screen.text());
    assert!(screen.line_with("automobile").contains("1.6 %"));
    keys(&mut screen, "v");
    assert!(!screen.text().contains("automobile"));
}

#[test]
fn gates_that_differ_little_have_a_scale_of_their_own() {
    let mut screen = screen(120, 40, SHADES);
    let key = screen.app.ui.inspector.loaded().unwrap().key.clone();
    let mut image = image(0, 3);
    let gates = (0..128).map(|channel| 0.43 + 0.14 * channel as f32 / 127.0).collect();
    image.explanation.layers[2].channel_attention = Some(gates);
    let (dataset, images) = (DatasetInfo::cifar10(), vec![image]);
    let probe = Probe { dataset, epoch: 13, step: 416, images, mistakes: vec![], other_mistakes: vec![] };
    screen.app.update(Update::Probe(Loaded { key, probe: Ok(Arc::new(probe)) }));
    keys(&mut screen, "ivv");
    assert!(screen.line_with("channel attention of conv3").contains("0.43 to 0.57"), "{}", screen.text());
    assert!(screen.text().lines().any(|line| line.trim_start_matches(['│', ' ']).starts_with("0.57")));
    assert!(screen.line_with("0.43 ▁").contains('█') || screen.line_with("0.43").contains("▁▁"), "{}", screen.text());
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
fn without_utf8_an_image_is_of_characters_as_bright_as_it_is() {
    for palette in [Palette::Shades, Palette::TrueColour] {
        let mut screen = screen(80, 24, ImageBackend::Cells(palette));
        screen.app.ui.symbols = Symbols::Ascii;
        keys(&mut screen, "i");
        let text = screen.text();
        assert!(!text.contains('▀') && [".", ":", "="].iter().all(|char| text.matches(char).count() > 10), "{text}");
        let coloured = screen.draw().content.iter().filter(|cell| cell.bg == Color::Rgb(0, 0, 0)).count();
        assert_eq!(coloured > 300, palette == Palette::TrueColour, "{coloured}");
        if palette == Palette::Shades {
            snapshot("inspector_ascii_80x24", &mut screen);
        }
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
    screen.press(KeyCode::Home);
    load(&mut screen);
    assert!(screen.text().contains("1 of 3"));
    screen.press(KeyCode::End);
    assert!(screen.text().contains("3 of 3, newest"));
}

#[test]
fn on_a_dashboard_without_the_inspector_its_keys_change_nothing_and_say_so() {
    let mut screen = screen(120, 40, SHADES);
    for key in "[]nNvxX".chars() {
        keys(&mut screen, &key.to_string());
        assert!(screen.line_with("›").contains("i opens it on the whole screen"), "{key}");
    }
    keys(&mut screen, "i");
    assert!(screen.line_with("2 of 2, newest").contains("Grad-CAM of conv3 for the predicted class"));
    let mut wide = self::screen(200, 50, SHADES);
    keys(&mut wide, "[");
    assert!(wide.line_with("1 of 2").contains("Grad-CAM") && !wide.text().contains('›'));
}

#[test]
fn keys_that_can_do_nothing_say_why() {
    let mut screen = screen(120, 40, SHADES);
    keys(&mut screen, "ivx");
    assert!(screen.line_with("›").contains("x chooses the class of Grad-CAM: v shows it"));
}

#[test]
fn esc_leaves_the_enlarged_image_before_the_page() {
    let mut screen = screen(80, 24, SHADES);
    keys(&mut screen, "iz");
    assert!(screen.app.ui.inspector.enlarged.is_some());
    screen.press(KeyCode::Esc);
    assert!(screen.app.ui.inspector.enlarged.is_none() && screen.text().contains("Grad-CAM of conv3"));
    screen.press(KeyCode::Esc);
    assert!(!screen.text().contains("Grad-CAM of conv3"));
}

#[test]
fn a_probe_is_asked_for_and_pending_until_answered() {
    let mut screen = screen(120, 40, SHADES);
    assert_eq!(screen.press(KeyCode::Char('P')), Some(Effect::Send(Command::Probe)));
    assert!(screen.line_with("taper").contains("probing…"));
    screen.app.update(Update::Answered { command: Command::Probe, answer: Ok("saved probe e0013-s000420".into()) });
    assert!(!screen.text().contains("probing…") && screen.line_with("›").contains("saved probe e0013-s000420"));
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
    assert!(screen.text().contains("Most Confident Mistakes"));
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
    assert!(screen.line_with("▸").contains("▸cat→dog"), "{}", screen.text());
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
        test_time_augmentation: Default::default(),
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
    for (width, height) in [(120, 40), (200, 50)] {
        wide.terminal.backend_mut().resize(width, height);
        wide.app.update(Update::Resized(ratatui::layout::Size::new(width, height)));
        snapshot(&format!("classes_{width}x{height}"), &mut wide);
    }
    keys(&mut wide, "[");
    assert!(wide.text().contains("13 of 14"));
}

/// The page of classes, with a matrix.
fn classes_page(width: u16, height: u16, classes: usize) -> Screen {
    let mut screen = screen(width, height, SHADES);
    let event = Event::EpochDone(EpochDone { epoch: 13, step: 416, ..evaluated(confusion(classes)) });
    screen.app.update(Update::Records(vec![Record { time_ms: screen.app.now_ms, event }]));
    keys(&mut screen, "C");
    screen
}

#[test]
fn a_matrix_of_the_terminals_colours_is_shaded_by_the_share_of_a_class() {
    let mut screen = classes_page(200, 50, 10);
    screen.app.draw_images_by(ImageBackend::Cells(Palette::TrueColour));
    let backgrounds = |screen: &mut Screen| {
        let cells = screen.draw().content.iter().map(|cell| cell.bg).filter(|colour| matches!(colour, Color::Rgb(..)));
        let mut colours: Vec<String> = cells.map(|colour| colour.to_string()).collect();
        let cells = colours.len();
        colours.sort_unstable();
        colours.dedup();
        (cells, colours.len())
    };
    let (cells, colours) = backgrounds(&mut screen);
    assert!(cells > 10 * 12 * 3 && colours >= 4, "{cells} cells of {colours} colours");
    let text = screen.text();
    for name in DatasetInfo::cifar10().classes {
        assert_eq!(
            text.matches(&name).count(),
            2 + usize::from(name == "airplane"),
            "{name} is whole, in row and column"
        );
    }
}

#[test]
fn classes_are_sorted_by_their_scores() {
    let mut screen = classes_page(80, 24, 10);
    let first = |screen: &mut Screen| {
        let text = screen.text();
        let rows = text.lines().skip_while(|line| !line.contains(" prec")).nth(1);
        rows.unwrap().trim_start_matches(['▸', ' ']).split(' ').next().unwrap().to_owned()
    };
    assert!(screen.line_with("prec").contains("true▲"));
    assert_eq!(first(&mut screen), "airplane");
    keys(&mut screen, "oo");
    assert!(screen.line_with("prec").contains("recall▲"));
    assert_eq!(first(&mut screen), "airplane", "66 % is the least");
    keys(&mut screen, "O");
    assert!(screen.line_with("prec").contains("recall▼"));
    assert_eq!(first(&mut screen), "deer", "all of them are right");
    // The columns have the order of the rows: what is right stays on the diagonal.
    assert!(screen.line_with("prec").contains("dee tru"), "{}", screen.text());
}

#[test]
fn enter_on_a_cell_shows_its_images() {
    let mut screen = classes_page(80, 24, 10);
    screen.press(KeyCode::Enter);
    assert!(screen.line_with("›").contains("off the diagonal"));
    // A bird that is taken for an airplane: the probe has none.
    keys(&mut screen, "jj");
    assert!(screen.line_with("▸ bird").contains("bird → airplane: 0 of 50 images, 0.0 %"), "{}", screen.text());
    screen.press(KeyCode::Enter);
    load(&mut screen);
    assert!(screen.text().contains("Mistakes bird → airplane After Epoch 13"), "{}", screen.text());
    assert!(screen.text().contains("The probe of epoch 13 has no image bird → airplane."), "{}", screen.text());
    screen.press(KeyCode::Esc);
    // One that is taken for a ship: it has the image alone.
    keys(&mut screen, "llllllll");
    screen.press(KeyCode::Enter);
    load(&mut screen);
    assert!(
        screen.line_with("test image 7").contains("predicted ship 50.0 % ✗  the 1 most confident of 17"),
        "{}",
        screen.text()
    );
    screen.press(KeyCode::Enter);
    assert!(screen.line_with("›").contains("taper explain 20261124-175203-cnn --image 7"));
    screen.press(KeyCode::Esc);
    // A cat that is taken for a dog: it has twelve.
    keys(&mut screen, "jhhh");
    screen.press(KeyCode::Enter);
    load(&mut screen);
    assert!(screen.line_with("Mistakes cat → dog").contains("1 of 12"), "{}", screen.text());
    screen.press(KeyCode::Enter);
    load(&mut screen);
    assert!(screen.text().contains("mistake 1/12"));
    screen.press(KeyCode::Esc);
    screen.press(KeyCode::Esc);
    keys(&mut screen, "m");
    assert!(screen.text().contains("Most Confident Mistakes After Epoch 13"), "all of them again");
}

#[test]
fn many_classes_are_a_list_of_the_least_accurate() {
    let mut screen = classes_page(80, 24, 47);
    let text = screen.text();
    assert!(text.contains("no room for the matrix of so many classes") && text.contains("of 47"), "{text}");
    assert!(text.contains("most often taken for") && text.contains("recall▲"), "{text}");
    for _ in 0..46 {
        screen.press(KeyCode::Down);
    }
    assert!(screen.text().contains("–47 of 47"), "{}", screen.text());
    // All images of the last are right.
    screen.press(KeyCode::Up);
    screen.press(KeyCode::Enter);
    load(&mut screen);
    assert!(screen.text().contains("Mistakes "), "{}", screen.text());
    assert!(classes_page(80, 24, 300).text().contains("of 300"));
    assert!(classes_page(200, 50, 26).text().contains("rows: true class"), "a matrix as large as the page");
}
