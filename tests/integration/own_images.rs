//! Folders of images as a user has them: what is found and said, trained on, predicted, and taken along.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use image::{ImageFormat, Rgb, RgbImage};
use taper::data::source::sample;

use crate::binary::{Dir, TestCommand, eventually, text};

/// A network so small that a step takes a millisecond.
const TINY: [&str; 10] = [
    "--set",
    "model.channels=[4,4,4]",
    "--set",
    "model.hidden=8",
    "--set",
    "run.threads=1",
    "--set",
    "probe.images=[0,1]",
    "--set",
    "train.batch_size=8",
];

/// `taper` with a cache of its own.
fn taper(dir: &Dir, args: &[&str]) -> TestCommand {
    dir.command(args).env("XDG_CACHE_HOME", dir.path("cache"))
}

fn train(dir: &Dir, name: &str, more: &[&str]) -> TestCommand {
    let args = ["train", "--no-tui", "--name", name, "--data", "fruit", "--epochs", "2"];
    taper(dir, &[&args[..], &TINY, more].concat())
}

/// Fields of another colour for each of three classes, 40 x 30 pixels, each a little different.
fn write_fruit(dir: &Dir) {
    for (class, name) in ["cherry", "lime", "plum"].into_iter().enumerate() {
        for number in 0..12 {
            write_image(&dir.path("fruit").join(name).join(format!("{number}.png")), class, number);
        }
    }
}

fn write_image(path: &Path, class: usize, number: u8) {
    let image = RgbImage::from_fn(40, 30, |x, y| {
        let mut pixel = [number, (x * 3) as u8, (y * 5) as u8];
        pixel[class] = pixel[class].saturating_add(120);
        Rgb(pixel)
    });
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save_with_format(path, ImageFormat::Png).unwrap();
}

fn model(dir: &Dir, name: &str) -> Vec<u8> {
    let checkpoints = fs::read_dir(dir.path("runs").join(name).join("checkpoints")).unwrap();
    let latest = checkpoints.map(|entry| entry.unwrap().path()).max().unwrap();
    fs::read(latest.join("model.safetensors")).unwrap()
}

#[test]
fn a_folder_is_trained_on_judged_and_predicted() {
    let dir = Dir::new();
    write_fruit(&dir);
    let said = train(&dir, "fruit", &[]).succeed();
    assert!(said.contains("no test folder: ") && said.contains("for testing (data.test_share)"), "{said}");
    let config = fs::read_to_string(dir.path("runs/fruit/config.toml")).unwrap();
    assert!(config.contains("side = 64\n") && config.contains("channels = 3\n"), "{config}");

    let said = taper(&dir, &["eval", "fruit"]).succeed();
    for told in ["precision", "cherry", "macro F1", "expected calibration error"] {
        assert!(said.contains(told), "{told} in {said}");
    }
    let csv = taper(&dir, &["eval", "fruit", "--csv"]).succeed();
    assert!(csv.starts_with("class,images,precision,recall,f1\ncherry,"), "{csv}");
    let said = taper(&dir, &["explain", "fruit", "--image", "1"]).succeed();
    assert!(said.contains("test image 1 of "), "{said}");

    // Stopped and resumed, it is the same.
    train(&dir, "stopped", &["--max-steps", "3"]).succeed();
    taper(&dir, &["resume", "stopped", "--no-tui", "--set", "train.max_steps=1000"]).succeed();
    assert!(model(&dir, "fruit") == model(&dir, "stopped"));
    // Without a cache too.
    let before = fs::read_dir(dir.path("cache/taper/images")).unwrap().count();
    train(&dir, "uncached", &["--no-cache"]).succeed();
    assert!(model(&dir, "fruit") == model(&dir, "uncached"));
    assert_eq!((before, fs::read_dir(dir.path("cache/taper/images")).unwrap().count()), (1, 1));

    // Another image is another data set.
    write_image(&dir.path("fruit/lime/new.png"), 1, 200);
    let error = taper(&dir, &["resume", "fruit", "--no-tui", "--epochs", "3"]).fail(1);
    assert!(error.contains("was trained on fruit"), "{error}");
}

#[test]
fn images_are_predicted_line_by_line() {
    let dir = Dir::new();
    write_fruit(&dir);
    train(&dir, "fruit", &[]).succeed();
    fs::create_dir(dir.path("new")).unwrap();
    write_image(&dir.path("new/one.png"), 0, 5);
    write_image(&dir.path("new/two.png"), 1, 6);
    fs::write(dir.path("new/broken.jpg"), "").unwrap();

    let output = taper(&dir, &["predict", "fruit", "new", "missing.png", "--json", "--top", "2"]).output();
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let paths: Vec<&str> = lines.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["new/broken.jpg", "new/one.png", "new/two.png", "missing.png"]);
    assert_eq!(lines[0]["error"], "the file is empty");
    assert!(lines[3]["error"].as_str().unwrap().contains("No such file"), "{}", lines[3]);
    let top = lines[1]["predictions"].as_array().unwrap();
    assert_eq!(top.len(), 2);
    assert!(top[0]["confidence"].as_f64() >= top[1]["confidence"].as_f64());

    // As it is explained.
    let said = taper(&dir, &["explain", "fruit", "--image", "new/one.png"]).succeed();
    let class = top[0]["class"].as_str().unwrap();
    let percent = 100.0 * top[0]["confidence"].as_f64().unwrap();
    assert!(said.contains(&format!("predicted {class} with {percent:.1} %")), "{said}: {class} {percent}");

    // A list on stdin; and why.
    let args = ["predict", "fruit", "-", "--explain", "why"];
    let mut child = taper(&dir, &args).stdin(Stdio::piped()).spawn();
    child.stdin.take().unwrap().write_all(b"new/one.png\nnew/two.png\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.starts_with(&format!("new/one.png: {class} {percent:.1} %\nnew/two.png: ")), "{said}");
    let written = fs::read_dir(dir.path("why")).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(written.len(), 2);
    assert!(dir.path("why").join(format!("one-{class}.png")).is_file(), "{written:?}");
    let picture = image::open(&written[0]).unwrap();
    assert!(picture.width() >= 256);
}

#[test]
fn what_cannot_be_trained_on_is_told_before_a_run_begins() {
    let dir = Dir::new();
    let error = train(&dir, "none", &[]).fail(2);
    assert!(error.contains("there is no ") && error.contains("--set data.source=sample"), "{error}");
    fs::create_dir(dir.path("fruit")).unwrap();
    let error = train(&dir, "none", &[]).fail(2);
    assert!(error.contains("there is nothing to train on in ") && error.contains("folder of its own"), "{error}");

    write_fruit(&dir);
    fs::write(dir.path("fruit/plum/broken.png"), "no image").unwrap();
    fs::write(dir.path("fruit/plum/phone.HEIC"), "x").unwrap();
    for args in [&["--no-tui"][..], &["--detach"]] {
        let args = [&["train", "--name", "broken", "--data", "fruit"][..], args, &TINY].concat();
        let error = taper(&dir, &args).fail(1);
        assert!(error.contains("2 of 38 images cannot be read: ") && error.contains("plum/broken.png"), "{error}");
        assert!(!dir.path("runs/broken").exists());
    }
    let output = taper(&dir, &["data", "inspect", "fruit"]).output();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    for told in [
        "in use         images: a folder for each class",
        "formats        36 PNG",
        "shorter side   30 to 30 pixels",
        "cannot be read (2)\n  plum/broken.png: it is no image that taper reads",
        "  plum/phone.HEIC: a format that is not read",
        "train channel",
    ] {
        assert!(said.contains(told), "{told} in {said}");
    }
    let said = train(&dir, "skipping", &["--set", "data.on_unreadable=skip"]).succeed();
    assert!(
        said.contains("2 of 38 images cannot be read: ") && said.contains("left out (data.on_unreadable)"),
        "{said}"
    );
}

#[test]
fn the_sample_as_png_files_is_trained_to_the_same_bytes() {
    let dir = Dir::new();
    let (train_images, test_images) = sample::read().unwrap();
    let few: Vec<usize> = (0..64).collect();
    for (split, images) in
        [("train", train_images.select(&(0..256).collect::<Vec<_>>())), ("test", test_images.select(&few))]
    {
        for index in 0..images.len() {
            let planes = images.image(index).unwrap();
            let class = &images.info.classes[usize::from(images.labels[index])];
            let pixel = |x: u32, y: u32| [0, 1, 2].map(|channel| planes[channel * 1024 + (y * 32 + x) as usize]);
            let image = RgbImage::from_fn(32, 32, |x, y| Rgb(pixel(x, y)));
            let path = dir.path("png").join(split).join(class).join(format!("{index:05}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            image.save(path).unwrap();
        }
        // The same as IDX files, whose mean and deviation are measured too.
        let prefix = if split == "train" { "train" } else { "t10k" };
        let sizes = [images.len() as u32, 32, 32, 3].map(u32::to_be_bytes).concat();
        let interleaved = (0..images.len()).flat_map(|index| {
            let planes = images.image(index).unwrap().into_owned();
            (0..3 * 1024).map(move |at| planes[at % 3 * 1024 + at / 3])
        });
        let bytes: Vec<u8> = [vec![0, 0, 8, 4], sizes].concat().into_iter().chain(interleaved).collect();
        fs::create_dir_all(dir.path("idx")).unwrap();
        fs::write(dir.path("idx").join(format!("{prefix}-images-idx3-ubyte")), bytes).unwrap();
        let labels = [vec![0, 0, 8, 1], (images.len() as u32).to_be_bytes().to_vec()].concat();
        let labels = [labels, images.labels.iter().map(|&label| label as u8).collect()].concat();
        fs::write(dir.path("idx").join(format!("{prefix}-labels-idx1-ubyte")), labels).unwrap();
    }
    for data in ["png", "idx"] {
        let args = ["train", "--no-tui", "--name", data, "--data", data, "--epochs", "1"];
        taper(&dir, &[&args[..], &TINY].concat()).succeed();
    }
    assert!(model(&dir, "png") == model(&dir, "idx"));
}

#[test]
fn a_network_is_taken_along() {
    let dir = Dir::new();
    write_fruit(&dir);
    train(&dir, "fruit", &[]).succeed();
    taper(&dir, &["export", "fruit", "--onnx", "fruit.onnx", "--torch", "net"]).succeed();
    for file in ["model.py", "model.json", "model.safetensors"] {
        assert!(dir.path("net").join(file).is_file(), "{file}");
    }
    let facts: serde_json::Value = serde_json::from_slice(&fs::read(dir.path("net/model.json")).unwrap()).unwrap();
    assert_eq!(
        (&facts["classes"][1], &facts["input"]["height"], &facts["resize"]),
        (&"lime".into(), &64.into(), &"squash".into())
    );
    // Its best checkpoint's, which need not be the latest.
    let checkpoint = dir.path("runs/fruit/checkpoints").join(facts["checkpoint"].as_str().unwrap());
    let weights = fs::read(checkpoint.join("model.safetensors")).unwrap();
    assert!(fs::read(dir.path("net/model.safetensors")).unwrap() == weights);
    // Again, and over something else.
    taper(&dir, &["export", "fruit", "--onnx", "fruit.onnx", "--torch", "net"]).succeed();
    fs::write(dir.path("notes.txt"), "mine").unwrap();
    let error = taper(&dir, &["export", "fruit", "--onnx", "notes.txt"]).fail(2);
    assert!(error.contains("no model of taper's"), "{error}");
}

/// What lies in the folder of caches.
fn caches(dir: &Dir) -> Vec<String> {
    let names = fs::read_dir(dir.path("cache/taper/images")).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn a_full_disk_leaves_no_half_cache() {
    let Some(dir) = Dir::on_small_disk(24) else { return };
    write_fruit(&dir);
    // 36 images of 768 KiB.
    let error = train(&dir, "large", &["--set", "data.side=512"]).fail(1);
    assert!(error.contains("No space left on device") && error.contains("--no-cache"), "{error}");
    assert_eq!(caches(&dir), [""; 0]);
    assert!(!dir.path("runs/large").exists());
    train(&dir, "small", &[]).succeed();
    assert_eq!(caches(&dir).len(), 1);
}

#[test]
fn a_build_that_was_killed_is_begun_again() {
    let dir = Dir::new();
    write_fruit(&dir);
    let args = ["data", "inspect", "fruit", "--set", "data.side=512"];
    let mut child = taper(&dir, &args).spawn();
    eventually("a cache is being written", || {
        let entries = fs::read_dir(dir.path("cache/taper/images")).ok()?;
        (entries.count() > 0).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    taper(&dir, &args).succeed();
    let [cache] = &caches(&dir)[..] else { panic!("{:?}", caches(&dir)) };
    assert!(cache.ends_with(".images"), "{cache}");
}
