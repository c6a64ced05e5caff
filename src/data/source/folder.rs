//! A folder of images of any size and format: `train/CLASS/…` with `test/`, `val/` or `valid/` beside it, or `CLASS/…` alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::cache_folder::cache_folder;
use crate::config::{DataConfig, OnUnreadable};
use crate::data::folder::fit::Form;
use crate::data::folder::index::statistics;
use crate::data::folder::scan::{Layout, LeftOut, Listed, Reason, Scan, shown};
use crate::data::folder::{Caching, Folder};
use crate::data::image_file::{FORMATS, Header, header};
use crate::data::info::ImageSize;
use crate::data::progress::Progress;
use crate::data::{ChannelStatistics, Dataset, DatasetInfo, Source, Split};
use crate::{format, ordinary_file};

/// Headers that are read to find a size and channels for all images.
const HEADERS: usize = 256;
/// Sides that images are made to have where `data.side` does not say: their own, if they are alike, from..=to.
const OWN_SIDES: std::ops::RangeInclusive<u32> = 28..=64;
const DEFAULT_SIDE: usize = 64;
/// Examples that a message names.
const NAMED: usize = 3;

/// Reads what lies in the folder; None if it holds no folders of images.
///
/// # Errors
/// Images that cannot be read, unless they are to be skipped; fewer than two classes; a class without training images; a cache that
/// cannot be written.
pub fn open(config: &DataConfig) -> Result<Option<Source>> {
    Opened::open(config)?.map(|opened| opened.into_source(config)).transpose()
}

/// Whether there are folders of images.
///
/// # Errors
/// The folder cannot be looked into.
pub fn is_in(dir: &Path) -> Result<bool> {
    Ok(dir.is_dir() && Scan::of(dir)?.is_some())
}

/// The form that the images in the folder get; None if there are none.
///
/// # Errors
/// The folder cannot be looked into.
pub fn form_of(config: &DataConfig) -> Result<Option<Form>> {
    if !config.dir.is_dir() {
        return Ok(None);
    }
    Ok(Scan::of(&config.dir)?.map(|scan| form(config, &scan)))
}

/// A folder of images, whatever is wrong with it.
pub struct Opened {
    pub scan: Scan,
    pub form: Form,
    pub folder: Arc<Folder>,
    splits: Splits,
}

impl Opened {
    /// None: it holds no folders of images.
    ///
    /// # Errors
    /// It cannot be looked into, or a cache cannot be written.
    pub fn open(config: &DataConfig) -> Result<Option<Self>> {
        let caching = match (config.cache, cache_folder()) {
            (true, Some(folder)) => Caching::In(folder.join("images")),
            (true, None) => bail!(
                "there is no folder for decoded images: set XDG_CACHE_HOME or HOME, or decode them whenever they are needed: \
                 --no-cache"
            ),
            (false, _) => Caching::Off,
        };
        Self::with(config, caching)
    }

    fn with(config: &DataConfig, caching: Caching) -> Result<Option<Self>> {
        let root = &config.dir;
        if !root.is_dir() {
            return Ok(None);
        }
        let Some(scan) = Scan::of(root)? else { return Ok(None) };
        let form = form(config, &scan);
        let mut progress = Progress::of_images(scan.images.len());
        let folder = Arc::new(Folder::open(root, &scan, form, caching, |done| progress.set(done as u64))?);
        drop(progress);
        let splits = Splits::new(config, &scan, &folder);
        Ok(Some(Self { scan, form, folder, splits }))
    }

    /// # Errors
    /// As [`open`].
    pub fn into_source(self, config: &DataConfig) -> Result<Source> {
        let root = &config.dir;
        let mut notices: Vec<String> = self.check_unreadable(root, config.on_unreadable)?.into_iter().collect();
        self.splits.check(&self.scan, root, config.test_share)?;
        let info = Arc::new(self.info(root));
        notices.extend(self.splits.notices(&self.scan));
        notices.extend(self.grey_notice());
        notices.extend(self.in_both_notice());
        notices.extend(empty_notice(&self.scan));
        notices.extend(left_out_notice(&self.scan));
        let part = |split| {
            let numbers = self.splits.numbers(split);
            let labels = numbers.iter().map(|&number| self.scan.images[number].class).collect();
            Dataset::of_folder(Arc::clone(&info), Arc::clone(&self.folder), numbers, labels)
        };
        let validation = part(Split::Validation);
        Ok(Source {
            train: part(Split::Train),
            validation: (!validation.is_empty()).then_some(validation),
            test: part(Split::Test),
            name: info.name.clone(),
            origin: root.display().to_string(),
            notice: (!notices.is_empty()).then(|| notices.join("; ")),
        })
    }

    fn info(&self, root: &Path) -> DatasetInfo {
        let size = self.form.size;
        let ChannelStatistics { mean, std } = self.statistics();
        let single = |values: Vec<f64>| values.into_iter().map(|value| value as f32);
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        DatasetInfo {
            name: root.file_name().map_or_else(|| "images".into(), shown),
            channels: size.channels,
            height: size.height,
            width: size.width,
            classes: self.scan.classes.clone(),
            mean: single(mean).collect(),
            // A channel that never changes says nothing: it is not to be divided by zero.
            std: single(std).map(|std| if std > 0.0 { std } else { 1.0 }).collect(),
        }
    }

    /// Of the training images, as they are decoded.
    pub fn statistics(&self) -> ChannelStatistics {
        let train = self.splits.numbers(Split::Train);
        let entries = train.iter().map(|&number| &self.folder.entries()[number]);
        statistics(entries, self.form.size.channels)
    }

    /// Readable images of each class.
    pub fn class_counts(&self, split: Split) -> Vec<usize> {
        let mut counts = vec![0; self.scan.classes.len()];
        for number in self.splits.numbers(split) {
            counts[usize::from(self.scan.images[number].class)] += 1;
        }
        counts
    }

    /// Numbers of readable images of a split, in their order.
    pub fn numbers(&self, split: Split) -> Vec<usize> {
        self.splits.numbers(split)
    }

    /// Each file that should be an image and is none, with the reason.
    pub fn unreadable(&self) -> Vec<(&Path, String)> {
        let decoded = self.folder.entries().iter().filter(|entry| !entry.is_readable());
        let decoded = decoded.map(|entry| (entry.path(), entry.unreadable.clone()));
        let others = self.scan.left_out.iter().filter(|left_out| left_out.reason.is_fault());
        decoded.chain(others.map(|left_out| (&*left_out.path, left_out.reason.to_string()))).collect()
    }

    /// # Errors
    /// Images cannot be read, and are not to be skipped.
    fn check_unreadable(&self, root: &Path, on_unreadable: OnUnreadable) -> Result<Option<String>> {
        let unreadable = self.unreadable();
        if unreadable.is_empty() {
            return Ok(None);
        }
        let named =
            unreadable.iter().take(NAMED).map(|(path, reason)| format!("{} ({reason})", shown(path.as_os_str())));
        let named = named.collect::<Vec<_>>().join(", ");
        let more = match unreadable.len().saturating_sub(NAMED) {
            0 => String::new(),
            others => format!(" and {} more", format::count(others as u64)),
        };
        let faults = self.scan.left_out.iter().filter(|left_out| left_out.reason.is_fault()).count();
        let count = |images: usize| format::count(images as u64);
        let (count, of) = (count(unreadable.len()), count(self.scan.images.len() + faults));
        let told = format!("{count} of {of} images cannot be read: {named}{more}");
        let root = root.display();
        match on_unreadable {
            OnUnreadable::Error => bail!(
                "{root}: {told}; `taper data inspect {root}` names them all; mend or remove them, or train without them: \
                 --set data.on_unreadable=skip"
            ),
            OnUnreadable::Skip => Ok(Some(format!("{told}; left out (data.on_unreadable)"))),
        }
    }

    /// Groups of images that are equal in every pixel as they are decoded, by their numbers; those of more than one first.
    pub fn equal(&self) -> Vec<Vec<usize>> {
        let mut groups: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (number, entry) in self.folder.entries().iter().enumerate().filter(|(_, entry)| entry.is_readable()) {
            groups.entry(&entry.sha256).or_default().push(number);
        }
        let mut equal: Vec<Vec<usize>> = groups.into_values().filter(|group| group.len() > 1).collect();
        equal.sort_unstable();
        equal
    }

    /// That images lose their colours: they may be too few to have been seen when the channels were chosen.
    fn grey_notice(&self) -> Option<String> {
        let made_grey = self.folder.entries().iter().filter(|entry| entry.was_colour && self.form.size.channels == 1);
        let mut made_grey = made_grey.peekable();
        let name = shown(made_grey.peek()?.path().as_os_str());
        let count = format::count(made_grey.count() as u64);
        Some(format!(
            "in colour, and made grey: {count} of the images, such as {name} (data.channels = 3 keeps colours)"
        ))
    }

    fn in_both_notice(&self) -> Option<String> {
        let split = |&number: &usize| self.splits.of[number];
        let mut both = vec![];
        for group in self.equal() {
            let trained = group.iter().find(|&number| split(number) == Some(Split::Train));
            let judged = group.iter().filter(|&number| split(number) != Some(Split::Train));
            both.extend(trained.into_iter().flat_map(|&trained| judged.clone().map(move |&judged| (trained, judged))));
        }
        let &(trained, judged) = both.first()?;
        let name = |number: usize| shown(self.folder.entries()[number].path().as_os_str());
        let are = if both.len() == 1 { "test image is" } else { "test images are" };
        let count = format::count(both.len() as u64);
        Some(format!("{count} {are} among the training images too, such as {} = {}", name(judged), name(trained)))
    }
}

pub fn advice() -> String {
    format!("put the images of each class ({FORMATS}) in a folder of its own there, or in train/CLASS and test/CLASS")
}

/// Size and channels of all images, as configured, else by what some of the images are.
fn form(config: &DataConfig, scan: &Scan) -> Form {
    let headers = match (config.side, config.channels) {
        (Some(_), Some(_)) => vec![],
        _ => headers(&config.dir, scan),
    };
    let side = config.side.unwrap_or_else(|| own_side(&headers));
    let channels = config.channels.unwrap_or(if headers.iter().all(|header| header.is_grey) { 1 } else { 3 });
    let size = ImageSize { channels, height: side, width: side };
    Form { size, rule: config.resize, background: config.background }
}

/// Of images from all over the scan. What cannot be read is told when it is decoded.
fn headers(root: &Path, scan: &Scan) -> Vec<Header> {
    let step = scan.images.len().div_ceil(HEADERS);
    let some = scan.images.iter().step_by(step);
    some.filter_map(|image| header(&ordinary_file::read(&root.join(&image.path)).ok()?).ok()).collect()
}

/// The side of the images if they are alike, small and square, else [`DEFAULT_SIDE`].
fn own_side(headers: &[Header]) -> usize {
    let Some(first) = headers.first() else { return DEFAULT_SIDE };
    let is_alike = |header: &Header| (header.width, header.height) == (first.width, first.width);
    if OWN_SIDES.contains(&first.width) && headers.iter().all(is_alike) { first.width as usize } else { DEFAULT_SIDE }
}

/// Which image is for what.
struct Splits {
    /// Of each image of the scan; None: it cannot be read.
    of: Vec<Option<Split>>,
    /// Whether test images were drawn from the training images.
    drawn: bool,
}

impl Splits {
    fn new(config: &DataConfig, scan: &Scan, folder: &Folder) -> Self {
        let has_test = scan.has_images_of(Split::Test);
        let drawn = !has_test && !scan.has_images_of(Split::Validation);
        let split = |listed: &Listed| match listed.split {
            Split::Train if drawn && is_drawn(&listed.path, config.test_share) => Split::Test,
            // They are what the run is judged by, in either case.
            Split::Validation if !has_test => Split::Test,
            split => split,
        };
        let images = scan.images.iter().zip(folder.entries());
        let of = images.map(|(listed, entry)| entry.is_readable().then(|| split(listed))).collect();
        Self { of, drawn }
    }

    fn numbers(&self, split: Split) -> Vec<usize> {
        (0..self.of.len()).filter(|&number| self.of[number] == Some(split)).collect()
    }

    /// Classes without an image of that split.
    fn missing<'a>(&self, scan: &'a Scan, split: Split) -> Vec<&'a str> {
        let mut has = vec![false; scan.classes.len()];
        for number in self.numbers(split) {
            has[usize::from(scan.images[number].class)] = true;
        }
        scan.classes.iter().zip(has).filter(|(_, has)| !has).map(|(class, _)| &**class).collect()
    }

    /// # Errors
    /// There are fewer than two classes, or one cannot be learnt or none be tested.
    fn check(&self, scan: &Scan, root: &Path, test_share: f64) -> Result<()> {
        let shown_root = root.display();
        if let [class] = &scan.classes[..] {
            let nested = nested(root, scan, class).map_or(String::new(), |inner| {
                format!(": if the classes are the folders in it, take --data {}", inner.display())
            });
            bail!("{shown_root}: only one class, {class}, and two are needed at least{nested}")
        }
        let untrained = self.missing(scan, Split::Train);
        if !untrained.is_empty() {
            let why = if self.drawn {
                format!("all of their images became test images (data.test_share = {test_share}), or cannot be read")
            } else {
                "a network cannot learn what it is never shown".to_owned()
            };
            bail!("{shown_root}: no training images of {}: {why}; add some, or remove the class", listed(&untrained))
        }
        ensure!(!self.numbers(Split::Test).is_empty(), "{shown_root}: no test images (data.test_share = {test_share})");
        Ok(())
    }

    fn notices(&self, scan: &Scan) -> Vec<String> {
        let mut notices = vec![];
        if self.drawn {
            let count = |split| format::count(self.numbers(split).len() as u64);
            let (train, test) = (count(Split::Train), count(Split::Test));
            notices.push(format!(
                "no test folder: {test} of the images are for testing (data.test_share), {train} for training"
            ));
        }
        for split in [Split::Validation, Split::Test] {
            let missing = self.missing(scan, split);
            if !missing.is_empty() && missing.len() < scan.classes.len() {
                notices.push(format!("no {split} images of {}", listed(&missing)));
            }
        }
        notices
    }
}

/// Whether an image is one for testing: by its path alone, so that other images change nothing.
fn is_drawn(path: &Path, test_share: f64) -> bool {
    let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let first = u64::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes"));
    // 53 bits are a number in [0, 1) without rounding.
    ((first >> 11) as f64) < test_share * (1u64 << 53) as f64
}

/// The folder of the only class, if its images lie in folders of their own.
fn nested(root: &Path, scan: &Scan, class: &str) -> Option<PathBuf> {
    let deep = scan.images.iter().filter(|image| image.path.components().count() > 2).count();
    (scan.layout == Layout::Classes && 2 * deep > scan.images.len()).then(|| root.join(class))
}

/// Names, as many as fit into a line.
fn listed(names: &[&str]) -> String {
    match names {
        all if all.len() <= NAMED + 1 => all.join(", "),
        _ => format!("{} and {} more classes", names[..NAMED].join(", "), names.len() - NAMED),
    }
}

fn empty_notice(scan: &Scan) -> Option<String> {
    let empty = scan.left_out.iter().filter(|left_out| left_out.reason == Reason::Empty);
    let names: Vec<String> = empty.map(|left_out| shown(left_out.path.as_os_str())).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| format!("no class, since there is no image in it: {}", listed(&names)))
}

/// What lies in the folder and is not taken, though nothing is wrong with it.
fn left_out_notice(scan: &Scan) -> Option<String> {
    let is_other = |left_out: &&LeftOut| !left_out.reason.is_fault() && left_out.reason != Reason::Empty;
    let others: Vec<_> = scan.left_out.iter().filter(is_other).collect();
    let first = others.first()?;
    let (count, name) = (format::count(others.len() as u64), shown(first.path.as_os_str()));
    Some(match others.len() {
        1 => format!("left out: {name} ({})", first.reason),
        _ => format!("left out: {count} files and folders, such as {name} ({})", first.reason),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};

    use super::*;
    use crate::data::image_file::testing::encoded;

    fn open_with(config: &DataConfig, caching: Caching) -> Result<Option<Source>> {
        Opened::with(config, caching)?.map(|opened| opened.into_source(config)).transpose()
    }

    /// A folder that goes with it.
    struct Images(tempfile::TempDir);

    impl Images {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, path: &str, image: impl Into<DynamicImage>) {
            self.write_bytes(path, &encoded(&image.into(), ImageFormat::Png));
        }

        fn write_bytes(&self, path: &str, bytes: &[u8]) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }

        /// An image of its own, 30 x 30.
        fn colour(&self, path: &str) {
            let first = Sha256::digest(path);
            self.write(path, RgbImage::from_fn(30, 30, |x, y| Rgb([first[0], first[1] ^ x as u8, first[2] ^ y as u8])));
        }

        fn config(&self) -> DataConfig {
            DataConfig { dir: self.0.path().join("."), ..DataConfig::default() }
        }

        fn open(&self, config: &DataConfig) -> Result<Source> {
            Ok(open_with(config, Caching::Off)?.expect("there are images"))
        }

        fn error(&self) -> String {
            let error = self.open(&self.config()).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
            error.replace(&self.config().dir.display().to_string(), "DIR")
        }
    }

    /// `train/` with three images of each of two classes, and `test/` with one.
    fn splits() -> Images {
        let images = Images::new();
        for class in ["cat", "dog"] {
            for number in 0..3 {
                images.colour(&format!("train/{class}/{class}{number}.png"));
            }
            images.colour(&format!("test/{class}/{class}9.png"));
        }
        images
    }

    #[test]
    fn folders_of_splits_are_a_data_set() {
        let images = splits();
        let source = images.open(&images.config()).unwrap();
        let info = &source.train.info;
        assert_eq!((info.channels, info.height, info.width), (3, 30, 30));
        assert_eq!(info.classes, ["cat", "dog"]);
        assert_eq!((source.train.class_counts(), source.test.class_counts()), (vec![3, 3], vec![1, 1]));
        assert!(source.validation.is_none() && source.notice.is_none(), "{:?}", source.notice);
        // Those of the pixels that are there.
        let mut copy = Dataset::new(Arc::clone(info));
        for index in 0..source.train.len() {
            copy.push(source.train.labels[index], &source.train.image(index).unwrap());
        }
        let statistics = copy.channel_statistics();
        assert_eq!(statistics, source.train.channel_statistics());
        assert_eq!(info.mean, statistics.mean.iter().map(|&mean| mean as f32).collect::<Vec<_>>());
        assert_eq!(info.std, statistics.std.iter().map(|&std| std as f32).collect::<Vec<_>>());
        // What is held out is found again.
        let held_out = source.train.select(&[4, 1]);
        assert_eq!(held_out.image(1).unwrap(), source.train.image(1).unwrap());
        assert_eq!(held_out.labels, [source.train.labels[4], source.train.labels[1]]);
    }

    #[test]
    fn a_run_is_judged_by_the_validation_images_if_there_are_some() {
        let images = splits();
        images.colour("val/cat/v.png");
        let source = images.open(&images.config()).unwrap();
        assert_eq!(source.validation.as_ref().map(Dataset::class_counts), Some(vec![1, 0]));
        assert_eq!(source.judged_by(), Split::Validation);
        assert_eq!(source.notice.as_deref(), Some("no validation images of dog"));
        fs::remove_dir_all(images.0.path().join("test")).unwrap();
        let source = images.open(&images.config()).unwrap();
        assert_eq!((source.judged_by(), source.test.class_counts()), (Split::Test, vec![1, 0]));
    }

    #[test]
    fn test_images_are_drawn_by_their_paths_alone() {
        let images = Images::new();
        let name = |class: &str, number: usize| format!("{class}/{number}.png");
        for number in 0..100 {
            for class in ["a", "b"] {
                images.colour(&name(class, number));
            }
        }
        let open = |test_share| images.open(&DataConfig { test_share, ..images.config() }).unwrap();
        let few = open(0.2);
        // 20 are expected, with a standard deviation of 4.
        assert!(few.test.class_counts().iter().all(|count| (8..=32).contains(count)), "{:?}", few.test.class_counts());
        assert!(few.notice.as_ref().unwrap().starts_with("no test folder: "));
        let of = |source: &Source| {
            (0..source.test.len()).map(|i| source.test.image(i).unwrap().into_owned()).collect::<Vec<_>>()
        };
        let before = of(&few);
        for number in 100..130 {
            images.colour(&name("a", number));
        }
        let after = of(&open(0.2));
        assert!(after.len() > before.len() && before.iter().all(|image| after.contains(image)));
        let more = of(&open(0.5));
        assert!(after.iter().all(|image| more.contains(image)));
    }

    #[test]
    fn size_and_channels_are_the_images_own_or_as_configured() {
        let images = splits();
        let size = |config: DataConfig| {
            let info = images.open(&config).unwrap().train.info;
            (info.channels, info.height, info.width)
        };
        assert_eq!(size(images.config()), (3, 30, 30));
        assert_eq!(size(DataConfig { side: Some(28), channels: Some(1), ..images.config() }), (1, 28, 28));
        images.write("train/dog/large.png", RgbImage::new(300, 200));
        assert_eq!(size(images.config()), (3, 64, 64));

        let grey = Images::new();
        for path in ["a/1.png", "a/2.png", "b/1.png", "b/2.png"] {
            grey.write(
                path,
                GrayImage::from_pixel(100, 100, Luma([path.as_bytes()[0].wrapping_mul(path.as_bytes()[2])])),
            );
        }
        let config = DataConfig { test_share: 0.4, ..grey.config() };
        assert_eq!(grey.open(&config).unwrap().train.info.channels, 1);
        grey.write("a/3.png", RgbImage::new(100, 100));
        assert_eq!(grey.open(&config).unwrap().train.info.channels, 3);
        let notice = grey.open(&DataConfig { channels: Some(1), ..config }).unwrap().notice.unwrap();
        assert!(notice.contains("in colour, and made grey: 1 of the images, such as a/3.png"), "{notice}");
    }

    #[test]
    fn what_cannot_be_read_is_named_before_training_and_may_be_skipped() {
        let images = splits();
        images.write_bytes("train/cat/broken.png", b"");
        images.write_bytes("train/dog/phone.heic", b"x");
        let error = images.error();
        assert_eq!(
            error,
            "DIR: 2 of 10 images cannot be read: train/cat/broken.png (the file is empty), train/dog/phone.heic (a format that is \
             not read: save it as PNG, JPEG, GIF, BMP, WebP or TIFF); `taper data inspect DIR` names them all; mend or remove \
             them, or train without them: --set data.on_unreadable=skip"
        );
        let source = images.open(&DataConfig { on_unreadable: OnUnreadable::Skip, ..images.config() }).unwrap();
        assert_eq!(source.train.class_counts(), [3, 3]);
        assert!(source.notice.unwrap().starts_with("2 of 10 images cannot be read: "));
    }

    #[test]
    fn classes_that_cannot_be_learnt_are_an_error() {
        let images = Images::new();
        images.colour("flowers/rose/1.png");
        images.colour("flowers/tulip/2.png");
        let error = images.error();
        assert_eq!(
            error,
            "DIR: only one class, flowers, and two are needed at least: if the classes are the folders in it, take --data \
             DIR/flowers"
        );
        let images = splits();
        images.colour("test/horse/1.png");
        let error = images.error();
        assert!(error.starts_with("DIR: no training images of horse: a network cannot learn"), "{error}");
        fs::remove_dir_all(images.0.path().join("test/horse")).unwrap();
        images.write_bytes("train/horse/1.png", b"");
        let skipping = DataConfig { on_unreadable: OnUnreadable::Skip, ..images.config() };
        assert!(images.open(&skipping).unwrap_err().to_string().contains("no training images of horse"));
    }

    #[test]
    fn a_test_image_among_the_training_images_is_told() {
        let images = splits();
        let file = |path: &str| images.0.path().join(path);
        // The same pixels in another format.
        image::open(file("train/cat/cat1.png")).unwrap().save(file("test/dog/copy.bmp")).unwrap();
        let notice = images.open(&images.config()).unwrap().notice.unwrap();
        assert_eq!(
            notice,
            "1 test image is among the training images too, such as test/dog/copy.bmp = train/cat/cat1.png"
        );
        images.write_bytes("train/labels.csv", b"");
        images.write_bytes("test/cat/notes.txt", b"");
        let notice = images.open(&images.config()).unwrap().notice.unwrap();
        assert!(
            notice.ends_with("; left out: 2 files and folders, such as test/cat/notes.txt (no image by its name)"),
            "{notice}"
        );
    }

    #[test]
    fn a_folder_without_images_is_none() {
        let images = Images::new();
        assert!(open_with(&images.config(), Caching::Off).unwrap().is_none());
        assert!(
            open_with(&DataConfig { dir: "/nonexistent".into(), ..images.config() }, Caching::Off).unwrap().is_none()
        );
    }
}
