//! What is seen inside the network, against PyTorch and `pytorch-grad-cam` (tests/fixtures/explain/make_reference.py).
//! `cargo test explain -- --nocapture` shows by how much they differ.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{Device, Tensor};
use taper::config::AttentionKind;
use taper::data::loader::evaluation_batch;
use taper::explain::explanation::{ChannelScope, Scope};
use taper::explain::grad_cam::at_input;
use taper::model::weights::deserialize;
use taper::render::{Explanation, Method, Planes};
use taper::run::dir::RunDir;
use taper::run::event::{AlarmKind, EpochDone, Event, ProbeSaved};
use taper::run::probe::{MISTAKES, Probe};
use taper::run::state::RunState;

use crate::binary::{Dir, Kind, TINY, records, wait_for_event, wait_for_steps};
use crate::pytorch::{network, sample, values};

/// What PyTorch makes of networks with each kind of attention.
const REFERENCES: [(AttentionKind, &[u8]); 4] = [
    (AttentionKind::None, include_bytes!("../fixtures/explain/reference.safetensors")),
    (AttentionKind::Se, include_bytes!("../fixtures/explain/reference_se.safetensors")),
    (AttentionKind::Cbam, include_bytes!("../fixtures/explain/reference_cbam.safetensors")),
    (AttentionKind::NonLocal, include_bytes!("../fixtures/explain/reference_non-local.safetensors")),
];

/// What the network makes of the image of the reference, with all channels and Grad-CAM of every layer and class.
fn explained(attention: AttentionKind, reference: &BTreeMap<String, Tensor>, method: Method) -> Result<Explanation> {
    let number = values(&reference["picture"])?[0] as usize;
    let test = sample()?.test;
    let batch = evaluation_batch(&test, number..number + 1)?;
    let x = Tensor::from_vec(batch.images, (1, 32, 32, 3), &Device::Cpu)?;
    let image = Planes { width: 32, height: 32, bytes: test.image(number)?.into_owned() };
    let network = network(attention)?;
    let channels = vec![ChannelScope { first: usize::MAX, most_active: 3 }; network.layers().len()];
    let scope = Scope { channels, method, classes: |_, _, _: &[f32]| (0..10).collect() };
    Ok(Explanation::compute(&network, &x, vec![image], &scope)?.remove(0))
}

/// The greatest difference, relative to the greatest of the expected.
fn difference(ours: &[f32], expected: &Tensor) -> Result<f64> {
    let expected = values(expected)?;
    assert_eq!(ours.len(), expected.len());
    let greatest = expected.iter().fold(0.0f64, |greatest, value| greatest.max(value.abs()));
    let apart = ours.iter().zip(&expected).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
    Ok(apart / greatest)
}

#[test]
fn grad_cam_is_that_of_pytorch_grad_cam() -> Result<()> {
    for (attention, bytes) in REFERENCES {
        let reference = deserialize(bytes, &Device::Cpu)?;
        let mut checked = 0;
        for (method, name) in [(Method::GradCam, "gradcam"), (Method::GradCamPlusPlus, "gradcam++")] {
            let explanation = explained(attention, &reference, method)?;
            for (number, layer) in explanation.layers.iter().enumerate() {
                for class in 0..10 {
                    let key = format!("{}.{name}.{class}", layer.name);
                    let Some(expected) = reference.get(&format!("{key}.layer")) else { continue };
                    let cam = explanation.cam(number, class).expect("asked for");
                    let at_layer = difference(&cam.values, expected)?;
                    let normalised = match reference.get(&key) {
                        Some(expected) => difference(&at_input(cam, 32, 32).values, expected)?,
                        None => 0.0,
                    };
                    println!("{attention:?} {key}: {at_layer:.1e} at the layer, {normalised:.1e} at the image");
                    assert!(
                        at_layer <= 1e-3 && normalised <= 1e-3,
                        "{attention:?} {key}: {at_layer:.1e}, {normalised:.1e}"
                    );
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 12);
    }
    Ok(())
}

#[test]
fn layers_attention_and_logits_are_those_of_pytorch() -> Result<()> {
    for (attention, bytes) in REFERENCES {
        let reference = deserialize(bytes, &Device::Cpu)?;
        let explanation = explained(attention, &reference, Method::GradCam)?;
        assert!(difference(&explanation.logits, &reference["logits"])? < 1e-5);
        assert_eq!(explanation.predicted() as f64, {
            let theirs = values(&reference["logits"])?;
            (0..10).max_by(|&a, &b| theirs[a].total_cmp(&theirs[b])).expect("ten") as f64
        });
        for layer in explanation.layers {
            let (name, maps) = (layer.name, &layer.maps);
            let means: Vec<f32> = maps.iter().map(|map| map.mean()).collect();
            let first_rows: Vec<f32> = maps.iter().flat_map(|map| map.values[..map.width].to_vec()).collect();
            assert!(difference(&means, &reference[&format!("{name}.means")])? < 1e-4, "{name}");
            assert!(difference(&first_rows, &reference[&format!("{name}.first_row")])? < 1e-5, "{name}");
            let active: Vec<f64> = layer.active.iter().map(|active| active.channel as f64).collect();
            assert_eq!(active, values(&reference[&format!("{name}.active")])?, "{name}");
            let matrix = layer.attention_matrix.map(|rows| rows.into_iter().flat_map(|row| row.values).collect());
            let positions = layer.spatial_attention.map(|map| map.values);
            for (kind, ours) in [("gates", layer.channel_attention), ("places", positions), ("pairs", matrix)] {
                let expected = reference.get(&format!("{name}.{kind}"));
                assert_eq!(ours.is_some(), expected.is_some(), "{attention:?} {name} {kind}");
                if let (Some(ours), Some(expected)) = (ours, expected) {
                    let apart = difference(&ours, expected)?;
                    println!("{attention:?} {name}.{kind}: {apart:.1e}");
                    assert!(apart < 1e-5, "{attention:?} {name} {kind}: {apart:.1e}");
                }
            }
        }
    }
    Ok(())
}

/// A directory with a tiny run called `run`.
fn trained(further: &[&str]) -> Dir {
    let dir = Dir::new();
    let args = ["train", "--no-tui", "--max-steps", "3", "--name", "run"];
    dir.command(args.iter().chain(&TINY).chain(further)).succeed();
    dir
}

#[test]
fn explain_prints_titles_and_numbers_and_writes_images_and_arrays() -> Result<()> {
    let dir = trained(&["--set", "model.channels=[16,16,16]", "--set", "model.attention=se"]);
    let explain = |view: &str, layer: &str| {
        let args = ["explain", "run", "--image", "7", "--view", view, "--layer", layer, "--png", "out", "--scale", "2"];
        dir.command(args.iter().chain(&["--raw", "raw.safetensors"])).succeed()
    };
    for (view, layer, side, files) in [
        ("maps", "conv1", 32, 10),
        ("gradcam", "conv2", 16, 2),
        ("heat-map", "conv3", 8, 4),
        ("attention", "conv3", 8, 1),
    ] {
        let out = explain(view, layer);
        assert!(out.starts_with("run, e0001-s000003: test image 7 of 500, CIFAR-10 sample\n"), "{out}");
        assert!(out.contains("\ntrue class ") && out.contains("\nconfidence: "), "{out}");
        assert!(out.contains(&format!(" of {layer}")), "{out}");
        assert!(!out.contains('\u{1b}') && !out.contains('▀'), "no images without a terminal: {out}");
        let written: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("wrote out/")).collect();
        assert_eq!(written.len(), files, "{out}");
        for file in written {
            let (width, height) = image::open(dir.path("out").join(file))?.into_rgb8().dimensions();
            // Grad-CAM may be zero everywhere, and then has no colour bar.
            let has_bar = !file.ends_with("-image.png") && view != "gradcam";
            assert!(height == 64 && if has_bar { width > 64 } else { width >= 64 }, "{file}: {width} x {height}");
        }
        assert_eq!(out.contains("channel attention of the 16 channels"), view == "attention", "{out}");
        let raw = deserialize(&std::fs::read(dir.path("raw.safetensors"))?, &Device::Cpu)?;
        let shape = |name: &str| raw[name].dims().to_vec();
        assert_eq!((shape("cam"), shape("cam_layer")), (vec![32, 32], vec![side, side]));
        assert_eq!((shape("maps"), shape("gates"), shape("logits")), (vec![16, side, side], vec![16], vec![10]));
        let cam = values(&raw["cam"])?;
        assert!(cam.iter().all(|value| (0.0..=1.0).contains(value)), "{cam:?}");
    }
    Ok(())
}

#[test]
fn explain_shows_what_a_pixel_attends_to() -> Result<()> {
    let dir = trained(&["--set", "model.channels=[16,16,16]", "--set", "model.attention=non-local"]);
    let attention = ["explain", "run", "--image", "7", "--view", "attention"];
    let out = dir.command(attention.iter().chain(&["--pixel", "31,9", "--raw", "raw", "--png", "out"])).succeed();
    assert!(out.contains("\nimage; attention of 31,9\n"), "{out}");
    assert!(out.contains("\npixel 31,9, one of 28-31,8-11: attends most to "), "{out}");
    assert!(out.contains("wrote out/run-e0001-s000003-test7-conv3-attention-31-9.png"), "{out}");
    let drawn = image::open(dir.path("out/run-e0001-s000003-test7-conv3-attention-31-9.png"))?.into_rgb8();
    assert_eq!((drawn.height(), drawn.get_pixel(31 * 8 + 4, 9 * 8 + 4).0), (256, [255; 3]));
    let raw = deserialize(&std::fs::read(dir.path("raw"))?, &Device::Cpu)?;
    assert_eq!(raw["pairs"].dims(), [64, 8, 8]);
    for row in values(&raw["pairs"])?.chunks(64) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    }
    assert!(dir.command(attention).succeed().contains("\npixel 16,16, one of 16-19,16-19: "));

    let shown = "what a pixel attends to is shown by --view attention of the last layer, of a run with model.attention = non-local";
    for further in [&["--layer", "conv2"][..], &["--view", "maps"]] {
        let args = ["explain", "run", "--image", "7", "--pixel", "3,4"];
        let view = if further[0] == "--layer" { &["--view", "attention"][..] } else { &[] };
        let error = dir.command(args.iter().chain(view).chain(further)).fail(2);
        assert!(error.contains(&format!("--pixel 3,4: {shown}")), "{error}");
    }
    let error = dir.command(attention.iter().chain(&["--layer", "conv1"])).fail(2);
    assert!(error.contains("--view attention: conv1 has no attention, but --layer conv3; --view heat-map"), "{error}");
    let error = dir.command(attention.iter().chain(&["--pixel", "3,32"])).fail(2);
    assert!(error.contains("--pixel 3,32: must be X,Y, a column and a row of the image from 0,0 to 31,31"), "{error}");
    Ok(())
}

#[test]
fn explain_takes_an_image_file_and_says_what_it_did() {
    let dir = trained(&[]);
    let wide = image::RgbImage::from_pixel(60, 40, image::Rgb([10, 200, 30]));
    wide.save(dir.path("wide.jpg")).unwrap();
    let checkpoint = "runs/run/checkpoints/e0001-s000003";
    let out =
        dir.command(["explain", checkpoint, "--image", "wide.jpg", "--class", "frog", "--view", "gradcam++"]).succeed();
    assert!(out.contains("wide.jpg, 60 x 40 JPEG, resized to 32 x 32 (stretched to a square), normalised"), "{out}");
    assert!(out.contains("true class not known") && out.contains("\nGrad-CAM++ of conv3 for frog\n"), "{out}");
    image::RgbImage::new(10_000, 10_000).save(dir.path("huge.png")).unwrap();
    let out = dir.command(["explain", "run", "--image", "huge.png"]).succeed();
    assert!(out.contains("huge.png, 10000 x 10000 PNG, resized to 32 x 32, "), "{out}");
}

#[test]
fn explain_names_what_cannot_be() {
    let dir = trained(&[]);
    std::fs::write(dir.path("empty.png"), "").unwrap();
    std::fs::create_dir(dir.path("folder")).unwrap();
    std::fs::create_dir_all(dir.path("runs/bare")).unwrap();
    std::fs::copy(dir.run("run").config(), dir.run("bare").config()).unwrap();
    let cases: [(&[&str], &str); 11] = [
        (
            &["run", "--image", "7", "--layer", "conv9"],
            "--layer conv9: there is no layer \"conv9\"; this network has conv1, conv2, conv3",
        ),
        (&["run", "--image", "7", "--class", "catt"], "--class catt: must be predicted, true, "),
        (
            &["run", "--image", "7", "--view", "attention"],
            "--view attention: the run has no attention (model.attention = none); --view heat-map shows the most active",
        ),
        (
            &["run", "--image", "7", "--view", "attention", "--count", "5"],
            "--count 5: --view attention shows no channels; --view maps and --view heat-map do",
        ),
        (&["run", "--image", "500"], "--image 500: CIFAR-10 sample has 500 test images, numbers 0 to 499"),
        (&["run", "--image", "99999999999999999999"], "has 500 test images"),
        (&["run", "--image", "-1"], "--image -1: No such file or directory (os error 2); give the number of"),
        (&["run", "--image", "empty.png"], "--image empty.png: the file is empty"),
        (&["run", "--image", "folder"], "--image folder: it is a folder, and no ordinary file; give an image file"),
        (&["run", "--image", "runs/run/config.toml"], "it is no image that taper reads: PNG, JPEG"),
        (&["bare", "--image", "7"], "run bare has no checkpoint yet"),
    ];
    for (args, complaint) in cases {
        let error = dir.command(["explain"].iter().chain(args)).fail(2);
        assert!(error.contains(complaint), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let file = dir.path("image.png");
    image::RgbImage::new(32, 32).save(&file).unwrap();
    let error = dir.command(["explain", "run", "--image", "image.png", "--class", "true"]).fail(2);
    assert!(error.contains("of a file the true class is not known"), "{error}");
    for args in [&["--scale", "0"][..], &["--view", "lime"], &["--count", "0"]] {
        dir.command(["explain", "run", "--image", "7"].iter().chain(args)).fail(2);
    }
}

#[test]
fn explain_draws_in_a_terminal() {
    let dir = trained(&[]);
    let mut terminal = dir.terminal(["explain", "run", "--image", "7", "--view", "heat-map"]);
    terminal.wait_for("confidence: ");
    assert!(terminal.wait().success());
    let shown = terminal.contents();
    assert!(shown.contains("▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀  ▀"), "{shown}");
}

#[test]
fn a_colour_bar_is_beside_what_the_terminal_draws() {
    let dir = trained(&[]);
    let maps = ["explain", "run", "--image", "7", "--view", "maps", "--layer", "conv1", "--count", "2"];
    let mut terminal = dir.terminal_of(Kind::Iterm2, maps);
    terminal.wait_for("confidence: ");
    assert!(terminal.wait().success());
    let shown = terminal.contents();
    let bars: Vec<&str> = shown.lines().filter(|line| line.contains('▀')).collect();
    let places: Vec<usize> =
        bars[0].chars().enumerate().filter(|(_, char)| *char == '▀').map(|(place, _)| place).collect();
    // Right of the second and third image of 32 columns, with 2 between images and 9 for a bar and its values.
    assert_eq!((bars.len(), places), (16, vec![32 + 2 + 32 + 1, 32 + 2 + 32 + 9 + 2 + 32 + 1]), "{shown}");
    assert!(bars[0].trim_end().ends_with(|char: char| char.is_ascii_digit()), "{shown}");
}

fn probes(run: &RunDir) -> Vec<ProbeSaved> {
    let probe = |event| match event {
        Event::ProbeSaved(saved) => Some(saved),
        _ => None,
    };
    records(run).into_iter().filter_map(|record| probe(record.event)).collect()
}

fn epochs(run: &RunDir) -> Vec<EpochDone> {
    let epoch = |event| match event {
        Event::EpochDone(epoch) => Some(epoch),
        _ => None,
    };
    records(run).into_iter().filter_map(|record| epoch(record.event)).collect()
}

fn losses(run: &RunDir) -> Vec<u32> {
    let losses = |event| match event {
        Event::StepsDone(steps) => steps.losses,
        _ => vec![],
    };
    records(run).into_iter().flat_map(|record| losses(record.event)).map(f32::to_bits).collect()
}

#[test]
fn training_is_the_same_to_the_byte_with_and_without_probes() -> Result<()> {
    let dir = Dir::new();
    let train = |name: &str, every: &str| {
        let network =
            ["--set", "model.channels=[16,16,16]", "--set", "model.attention=se", "--set", "probe.images=[3,1]"];
        let args = ["train", "--no-tui", "--epochs", "3", "--name", name, "--set", every];
        dir.command(args.iter().chain(&TINY).chain(&network)).succeed();
        dir.run(name)
    };
    let (with, every_second, without) =
        (train("with", "probe.every=1"), train("second", "probe.every=2"), train("without", "probe.every=0"));
    assert_eq!(losses(&with), losses(&without));
    assert_eq!(losses(&every_second), losses(&without));
    let weights = |run: &RunDir| -> Result<Vec<u8>> {
        let latest =
            std::fs::read_dir(run.checkpoints())?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        Ok(std::fs::read(latest.into_iter().max().expect("a checkpoint").join("model.safetensors"))?)
    };
    assert!(weights(&with)? == weights(&without)?);
    assert_eq!((probes(&without).len(), probes(&every_second).len()), (0, 1));
    assert!(!without.probes().exists());

    let saved = probes(&with);
    assert_eq!(saved.iter().map(|probe| probe.epoch).collect::<Vec<_>>(), [1, 2, 3]);
    let last = &saved[2];
    let bytes = std::fs::read(with.probes().join(&last.file))?;
    let probe = Probe::from_bytes(&bytes)?;
    assert_eq!((probe.epoch, probe.step, bytes.len() as u64), (3, last.step, last.bytes));
    assert_eq!(probe.images.iter().map(|image| image.index).collect::<Vec<_>>(), [3, 1]);
    let epoch = epochs(&with).pop().expect("an epoch");
    assert_eq!(epoch.mistakes.len(), MISTAKES);
    assert!(epoch.mistakes.is_sorted_by(|a, b| a.confidence >= b.confidence), "{:?}", epoch.mistakes);
    assert_eq!(probe.mistakes.len(), MISTAKES);
    for (image, mistake) in probe.mistakes.iter().zip(&epoch.mistakes) {
        assert_eq!((image.index as u64, image.true_class as u64), (mistake.index, mistake.true_class));
        assert_eq!(image.explanation.predicted() as u64, mistake.predicted_class);
        assert!(mistake.predicted_class != mistake.true_class);
        let confidence = image.explanation.confidence();
        assert!((confidence - mistake.confidence).abs() < 1e-4, "{confidence} and {}", mistake.confidence);
    }
    let confusion = epoch.confusion.expect("a confusion matrix");
    assert_eq!((confusion.samples(), (0..10).map(|class| confusion.samples_of(class)).max()), (500, Some(50)));
    assert!((100.0 * confusion.correct() as f64 / 500.0 - epoch.test_accuracy).abs() < 1e-9);
    for (image, result) in probe.images.iter().zip(&last.images) {
        assert_eq!((image.index as u64, image.true_class as u64), (result.index, result.true_class));
        assert_eq!(image.explanation.predicted() as u64, result.predicted_class);
        assert!((0.1..=1.0).contains(&result.confidence));
        assert!(image.explanation.layers.iter().all(|layer| layer.channel_attention.is_some()));
    }
    let mut state = RunState::default();
    records(&with).iter().for_each(|record| state.apply(record));
    assert!(state.probes.len() == 3 && state.probe_secs > 0.0 && state.probe_share().is_some_and(|share| share > 0.0));
    Ok(())
}

#[test]
fn a_probe_that_fails_raises_an_alarm_and_training_goes_on() -> Result<()> {
    let dir = trained(&["--set", "probe.images=[499,700]"]);
    let run = dir.run("run");
    let alarms = || {
        let alarm = |event| match event {
            Event::AlarmRaised { kind: AlarmKind::Probe, message, .. } => Some(message),
            _ => None,
        };
        records(&run).into_iter().filter_map(|record| alarm(record.event)).collect::<Vec<_>>()
    };
    assert_eq!(alarms(), ["probe.images: 700 left out: the run is judged by 500 images, numbers 0 to 499"]);
    std::fs::write(run.probes(), "in the way")?;
    dir.command(["resume", "run", "--no-tui", "--max-steps", "100000", "--epochs", "1"]).succeed();
    let alarms = alarms();
    assert!(alarms.last().is_some_and(|alarm| alarm.starts_with("probe: cannot write ")), "{alarms:?}");
    assert!(records(&run).iter().any(|record| matches!(record.event, Event::EpochDone(_))));
    Ok(())
}

#[test]
fn a_live_run_saves_a_probe_when_asked() -> Result<()> {
    let dir = Dir::new();
    let run = dir.start("live");
    wait_for_steps(&run, 1);
    dir.command(["pause", "live"]).succeed();
    let answer = dir.command(["probe", "live"]).succeed();
    let step = wait_for_event(&run, "the probe", |event| match event {
        Event::ProbeSaved(saved) => Some((saved.step, saved.file.clone())),
        _ => None,
    });
    assert!(answer.contains(&format!("saved probe {}", step.1.trim_end_matches(".safetensors"))), "{answer}");
    let probe = Probe::from_bytes(&std::fs::read(run.probes().join(&step.1))?)?;
    assert_eq!(probe.step, step.0);
    dir.command(["stop", "live"]).succeed();
    Ok(())
}
