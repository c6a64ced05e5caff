//! Data sets that are not CIFAR-10, made here as IDX files, from the training to the dashboard.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use taper::data::DatasetInfo;
use taper::run::event::{EpochDone, Event, ProbeSaved};

use crate::binary::{Dir, records};

/// Images that a tiny network can tell apart.
pub struct MadeSet {
    /// Height, width and channels.
    size: [usize; 3],
    classes: Vec<String>,
    /// The value of a channel at a row and column, of a class.
    pixel: fn(class: usize, row: usize, column: usize, channel: usize) -> u8,
    train_per_class: usize,
    test_per_class: usize,
}

/// A bright square for each class, at one of 7 x 7 positions; the classes of EMNIST Balanced.
pub fn grey() -> MadeSet {
    let classes = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt".chars().map(|class| format!("sign {class}"));
    MadeSet {
        size: [28, 28, 1],
        classes: classes.collect(),
        pixel: |class, row, column, _| if (row / 4, column / 4) == (class / 7, class % 7) { 220 } else { 20 },
        train_per_class: 8,
        test_per_class: 2,
    }
}

/// A field of another colour for each class.
fn colour() -> MadeSet {
    MadeSet {
        size: [96, 96, 3],
        classes: ["cherry", "lime", "plum"].map(String::from).to_vec(),
        pixel: |class, row, column, channel| {
            let inside = (24..72).contains(&row) && (24..72).contains(&column);
            if inside && channel == class { 220 } else { 40 }
        },
        train_per_class: 16,
        test_per_class: 8,
    }
}

/// A field of another colour for each class, and so small that a step over a few of them takes little time anywhere.
pub fn small() -> MadeSet {
    MadeSet {
        size: [16, 16, 3],
        classes: ["cherry", "lime", "plum", "soot"].map(String::from).to_vec(),
        pixel: |class, row, _, channel| if channel == class && (4..12).contains(&row) { 200 } else { 40 },
        train_per_class: 24,
        test_per_class: 4,
    }
}

impl MadeSet {
    fn labels(&self, per_class: usize) -> Vec<u8> {
        (0..per_class * self.classes.len()).map(|index| (index % self.classes.len()) as u8).collect()
    }

    /// Row by row, the channels of a pixel beside each other, with a little noise.
    fn pixels(&self, labels: &[u8]) -> Vec<u8> {
        let [height, width, channels] = self.size;
        let mut noise = 1u32;
        let mut pixels = Vec::with_capacity(labels.len() * height * width * channels);
        for &label in labels {
            for at in 0..height * width * channels {
                let (row, column) = (at / channels / width, at / channels % width);
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                pixels.push((self.pixel)(label.into(), row, column, at % channels) + (noise >> 28) as u8);
            }
        }
        pixels
    }

    /// As published: the training images compressed, the others not.
    pub fn write(&self, dir: &Dir) {
        let folder = dir.path("data");
        fs::create_dir(&folder).unwrap();
        for (part, per_class) in [("train", self.train_per_class), ("t10k", self.test_per_class)] {
            let labels = self.labels(per_class);
            let [height, width, channels] = self.size;
            let sizes = [labels.len(), height, width, channels];
            let images = idx(if channels == 1 { &sizes[..3] } else { &sizes }, &self.pixels(&labels));
            if part == "train" {
                let mut file = GzEncoder::new(vec![], Compression::fast());
                file.write_all(&images).unwrap();
                fs::write(folder.join("train-images-idx3-ubyte.gz"), file.finish().unwrap()).unwrap();
            } else {
                fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
            }
            fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), idx(&[labels.len()], &labels)).unwrap();
        }
        fs::write(folder.join("classes.txt"), self.classes.join("\n")).unwrap();
    }
}

fn idx(sizes: &[usize], values: &[u8]) -> Vec<u8> {
    let header = [0, 0, 8, sizes.len() as u8].into_iter();
    header.chain(sizes.iter().flat_map(|&size| (size as u32).to_be_bytes())).chain(values.iter().copied()).collect()
}

/// A run called `run`, of so many epochs, with a probe of two images after each.
fn trained(set: &MadeSet, epochs: &str) -> Dir {
    let dir = Dir::new();
    set.write(&dir);
    let mut args = vec!["train", "--no-tui", "--name", "run", "--epochs", epochs];
    for setting in [
        "model.channels=[8,8,16]",
        "model.hidden=64",
        "model.dropout=0",
        "train.batch_size=16",
        "optimizer.learning_rate=0.01",
        "augment.flip_probability=0",
        "augment.crop_padding=0",
        "augment.rotation_degrees=5",
        "probe.images=[0,1]",
        "probe.every=1",
        "run.threads=1",
    ] {
        args.extend(["--set", setting]);
    }
    dir.command(args).succeed();
    dir
}

fn dataset(dir: &Dir) -> DatasetInfo {
    let started = |event| if let Event::RunStarted(started) = event { Some(started.dataset) } else { None };
    records(&dir.run("run")).into_iter().find_map(|record| started(record.event)).expect("a start")
}

fn last_epoch(dir: &Dir) -> EpochDone {
    let epoch = |event| if let Event::EpochDone(epoch) = event { Some(epoch) } else { None };
    records(&dir.run("run")).into_iter().rev().find_map(|record| epoch(record.event)).expect("an epoch")
}

fn last_probe(dir: &Dir) -> ProbeSaved {
    let probe = |event| if let Event::ProbeSaved(saved) = event { Some(saved) } else { None };
    records(&dir.run("run")).into_iter().rev().find_map(|record| probe(record.event)).expect("a probe")
}

/// Everything but the training and the dashboard.
fn check(set: &MadeSet, dir: &Dir, epochs: u64, least_accuracy: f64) {
    let [height, width, channels] = set.size;
    let count = set.classes.len();
    let info = dataset(dir);
    assert_eq!((info.height, info.width, info.channels), (height, width, channels));
    assert_eq!((&info.classes, info.mean.len(), info.std.len()), (&set.classes, channels, channels));

    let epoch = last_epoch(dir);
    assert_eq!(epoch.epoch, epochs);
    assert!(epoch.test_accuracy >= least_accuracy, "{} %", epoch.test_accuracy);
    let confusion = epoch.confusion.expect("a confusion matrix");
    assert_eq!(confusion.samples(), (count * set.test_per_class) as u64);
    assert!((0..count).all(|class| confusion.samples_of(class) == set.test_per_class as u64));
    let probe = last_probe(dir);
    assert_eq!((probe.epoch, probe.images.len(), probe.images[1].true_class), (epochs, 2, 1));

    // The last epoch need not be the best, which eval takes.
    let evaluated = dir.command(["eval", "run"]).succeed();
    let named = set.classes.iter().filter(|class| evaluated.contains(&format!("  {class} "))).count();
    assert_eq!(named, count, "{evaluated}");

    for (view, layer) in [("gradcam", "conv3"), ("maps", "conv1")] {
        let args = ["explain", "run", "--image", "1", "--view", view, "--layer", layer, "--png", "out", "--scale", "2"];
        let out = dir.command(args).succeed();
        let tested = count * set.test_per_class;
        assert!(out.contains(&format!("test image 1 of {tested}")), "{out}");
        assert!(out.contains(&format!("true class {}", set.classes[1])), "{out}");
        let written: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("wrote out/")).collect();
        assert!(written.len() >= 2, "{out}");
        for file in written {
            let drawn = image::open(dir.path("out").join(file)).unwrap().into_rgb8();
            assert_eq!(drawn.height(), 2 * height as u32, "{file}");
            // Right of a map is its colour bar, unless it is zero everywhere.
            assert!(drawn.width() == 2 * width as u32 || (drawn.width() > 2 * width as u32 && !file.contains("image")));
        }
    }
    let of_class = ["explain", "run", "--image", "0", "--class", &set.classes[2], "--view", "gradcam"];
    assert!(dir.command(of_class).succeed().contains(&set.classes[2]));
    assert!(dir.command(["explain", "run", "--image", "0", "--class", "airplane"]).fail(2).contains(&set.classes[0]));
    image::RgbImage::from_pixel(50, 40, image::Rgb([200, 40, 40])).save(dir.path("file.png")).unwrap();
    let out = dir.command(["explain", "run", "--image", "file.png"]).succeed();
    assert!(out.contains(&format!("resized to {width} x {height}")), "{out}");
}

/// Goes on for an epoch, and looks at the pages of the dashboard.
fn resume_and_look(set: &MadeSet, dir: &Dir, epochs: u64) {
    let more = (epochs + 1).to_string();
    dir.command(["resume", "run", "--no-tui", "--epochs", &more]).succeed();
    assert_eq!((last_epoch(dir).epoch, last_probe(dir).epoch), (epochs + 1, epochs + 1));

    let mut terminal = dir.terminal(["attach", "run"]);
    terminal.wait_for("✓ completed");
    terminal.keys("i");
    terminal.wait_for(&set.classes[0]);
    terminal.keys("n");
    terminal.wait_for(&set.classes[1]);
    terminal.keys("v");
    terminal.keys("1");
    terminal.wait_for("conv1");
    terminal.keys("C");
    terminal.wait_for("test images right");
    for class in &set.classes[..3] {
        terminal.wait_for(class);
    }
    terminal.keys("q");
    assert!(terminal.wait().success());
}

#[test]
fn small_grey_images_of_47_classes() {
    let set = grey();
    let dir = trained(&set, "6");
    check(&set, &dir, 6, 20.0);
    resume_and_look(&set, &dir, 6);
}

#[test]
fn large_colour_images_of_3_classes() {
    let set = colour();
    let dir = trained(&set, "3");
    check(&set, &dir, 3, 60.0);
    resume_and_look(&set, &dir, 3);
}
