//! The IDX format of MNIST, Fashion-MNIST and EMNIST (<http://yann.lecun.com/exdb/mnist/>): a magic number, the sizes as
//! big-endian u32, then bytes. Images of three dimensions (N, H, W) are grey, of four (N, H, W, C) grey or colour.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;

use crate::data::{Dataset, DatasetInfo, Source};
use crate::ordinary_file;

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
/// MNIST's name, and the plain one.
const TEST_PREFIXES: [&str; 2] = ["t10k", "test"];
/// Names of the classes, a line each, in the order of the labels.
const CLASSES: &str = "classes.txt";
/// The type of a file's values: unsigned bytes.
const UNSIGNED_BYTE: u8 = 8;
/// Sides that an image may have.
const SIDES: std::ops::RangeInclusive<usize> = 1..=4096;
/// No more than this is read of a file, compressed or not.
const MAX_BYTES: u64 = 16 << 30;
/// Labels are bytes.
const MAX_CLASSES: usize = 256;

/// Reads what lies in a folder; None if there are no training images in IDX.
///
/// # Errors
/// A file is missing or malformed, named with its byte.
pub fn open(dir: &Path) -> Result<Option<Source>> {
    let Some(train_images) = find(dir, TRAIN_IMAGES)? else { return Ok(None) };
    let required = |name: &str| find(dir, name)?.ok_or_else(|| anyhow!("{}: there is no {name}", dir.display()));
    let [mnist, plain] = TEST_PREFIXES;
    let is_plain = find(dir, &images_of(mnist))?.is_none() && find(dir, &images_of(plain))?.is_some();
    let prefix = if is_plain { plain } else { mnist };
    let train = Part::read(&train_images, &required(TRAIN_LABELS)?)?;
    let test_images = required(&images_of(prefix))?;
    let test = Part::read(&test_images, &required(&format!("{prefix}-labels-idx1-ubyte"))?)?;
    ensure!(
        train.size() == test.size(),
        "{}: images of {:?} (height, width, channels), but those of {} are {:?}",
        test_images.display(),
        test.size(),
        train_images.display(),
        train.size()
    );
    let classes = classes(dir, train.labels.iter().chain(&test.labels).copied().max().unwrap_or(0))?;
    let (height, width, channels) = train.size();
    let name = dir.file_name().map_or_else(|| "IDX".into(), |name| name.to_string_lossy().into_owned());
    let unmeasured = DatasetInfo { name, channels, height, width, classes, mean: vec![], std: vec![] };
    let train = train.into_dataset(Arc::new(unmeasured));
    let statistics = train.channel_statistics();
    let single = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
    // A channel that never changes says nothing: it is not to be divided by zero.
    let std = single(statistics.std).into_iter().map(|std| if std > 0.0 { std } else { 1.0 }).collect();
    let info = Arc::new(DatasetInfo { mean: single(statistics.mean), std, ..DatasetInfo::clone(&train.info) });
    Ok(Some(Source {
        validation: None,
        name: info.name.clone(),
        test: test.into_dataset(Arc::clone(&info)),
        train: Dataset { info, ..train },
        origin: dir.display().to_string(),
        notice: None,
    }))
}

/// Whether there are training images in IDX, of whatever kind.
///
/// # Errors
/// The folder cannot be looked into.
pub fn is_in(dir: &Path) -> Result<bool> {
    Ok(find(dir, TRAIN_IMAGES)?.is_some())
}

pub fn advice() -> String {
    format!("put {TRAIN_IMAGES}, {TRAIN_LABELS} and the same with t10k there, as they are or as .gz")
}

fn images_of(prefix: &str) -> String {
    format!("{prefix}-images-idx3-ubyte")
}

/// The file of that name, or the same compressed.
fn find(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    for path in [dir.join(name), dir.join(format!("{name}.gz"))] {
        match path.symlink_metadata() {
            Ok(_) => return Ok(Some(path)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot look for {}", path.display())),
        }
    }
    Ok(None)
}

/// Names from `classes.txt`, else the numbers from 0 to the greatest label.
fn classes(dir: &Path, greatest_label: u8) -> Result<Vec<String>> {
    let needed = usize::from(greatest_label) + 1;
    let path = dir.join(CLASSES);
    let text = match ordinary_file::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((0..needed.max(2)).map(|class| class.to_string()).collect());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    if let Some(line) = names.iter().position(String::is_empty) {
        bail!("{}: line {} is empty: each line names a class", path.display(), line + 1)
    }
    ensure!(
        (needed.max(2)..=MAX_CLASSES).contains(&names.len()),
        "{}: it names {} classes, but the labels go up to {greatest_label}",
        path.display(),
        names.len()
    );
    Ok(names)
}

/// Images and labels that belong together.
struct Part {
    images: Array,
    labels: Vec<u8>,
}

impl Part {
    fn read(images: &Path, labels: &Path) -> Result<Self> {
        let read = |path: &Path| -> Result<Array> {
            let bytes = read_file(path).with_context(|| format!("cannot read {}", path.display()))?;
            Array::parse(bytes).with_context(|| path.display().to_string())
        };
        let (images_file, labels_file) = (images, labels);
        let (images, labels) = (read(images_file)?, read(labels_file)?);
        images.check_images().with_context(|| images_file.display().to_string())?;
        let [count] = labels.sizes[..] else {
            bail!("{}: byte 3: {} dimensions, but labels have one", labels_file.display(), labels.sizes.len())
        };
        ensure!(
            count == images.sizes[0],
            "{}: {count} labels, but {} images in {}",
            labels_file.display(),
            images.sizes[0],
            images_file.display()
        );
        Ok(Self { labels: labels.values().to_vec(), images })
    }

    /// Height, width and channels.
    fn size(&self) -> (usize, usize, usize) {
        let sizes = &self.images.sizes;
        (sizes[1], sizes[2], sizes.get(3).copied().unwrap_or(1))
    }

    /// From (N, H, W, C) to (N, C, H, W).
    fn into_dataset(self, info: Arc<DatasetInfo>) -> Dataset {
        let (size, channels) = (info.size(), info.channels);
        let mut planes = Vec::with_capacity(self.images.values().len());
        for image in self.images.values().chunks_exact(size.bytes()) {
            for channel in 0..channels {
                planes.extend(image.iter().skip(channel).step_by(channels));
            }
        }
        Dataset::from_parts(info, planes, self.labels.into_iter().map(u16::from).collect())
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = ordinary_file::open(path)?;
    let mut bytes = vec![];
    if path.extension().is_some_and(|extension| extension == "gz") {
        MultiGzDecoder::new(io::BufReader::new(file)).take(MAX_BYTES).read_to_end(&mut bytes)?;
    } else {
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The content of a file.
struct Array {
    sizes: Vec<usize>,
    bytes: Vec<u8>,
    /// Where the values begin.
    header_bytes: usize,
}

impl Array {
    fn values(&self) -> &[u8] {
        &self.bytes[self.header_bytes..]
    }

    fn parse(bytes: Vec<u8>) -> Result<Self> {
        let Some(&[first, second, kind, dimensions]) = bytes.first_chunk() else {
            bail!("byte {}: the file ends in its header", bytes.len())
        };
        ensure!((first, second) == (0, 0), "byte 0: {first:02x} {second:02x} instead of two zeros: this is not IDX");
        ensure!(kind == UNSIGNED_BYTE, "byte 2: values of type {kind:#04x}, but only unsigned bytes (0x08) are read");
        let header_bytes = 4 + 4 * usize::from(dimensions);
        let Some(header) = bytes.get(4..header_bytes) else {
            bail!("byte {}: the file ends in its header", bytes.len())
        };
        let sizes: Vec<usize> = header.as_chunks().0.iter().map(|&size| u32::from_be_bytes(size) as usize).collect();
        let values = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let found = bytes.len() - header_bytes;
        if values != Some(found) {
            bail!("byte {}: the file ends here with {found} values, but its sizes {sizes:?} say otherwise", bytes.len())
        }
        Ok(Self { sizes, bytes, header_bytes })
    }

    fn check_images(&self) -> Result<()> {
        let (&[count, height, width] | &[count, height, width, 1 | 3]) = &self.sizes[..] else {
            bail!("byte 3: sizes {:?}, but images are (N, H, W), or (N, H, W, C) with 1 or 3 channels", self.sizes)
        };
        ensure!(count > 0, "byte 4: it has no images");
        for (byte, side) in [(8, height), (12, width)] {
            ensure!(SIDES.contains(&side), "byte {byte}: images have sides from 1 to 4096 pixels, not {side}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn array(sizes: &[u32], values: impl IntoIterator<Item = u8>) -> Vec<u8> {
        let header = [0, 0, UNSIGNED_BYTE, sizes.len() as u8].into_iter();
        header.chain(sizes.iter().flat_map(|size| size.to_be_bytes())).chain(values).collect()
    }

    /// Two training images and a test image of 2 x 3 pixels in colour.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: Vec<u8>| fs::write(dir.path().join(name), bytes).unwrap();
        write(TRAIN_IMAGES, array(&[2, 2, 3, 3], 0..36));
        write(TRAIN_LABELS, array(&[2], [1, 0]));
        write("test-images-idx3-ubyte", array(&[1, 2, 3, 3], 100..118));
        write("test-labels-idx1-ubyte", array(&[1], [2]));
        dir
    }

    fn refusal(dir: &tempfile::TempDir) -> String {
        format!("{:#}", open(dir.path()).expect_err("it is malformed"))
    }

    #[test]
    fn colour_images_become_planes_and_are_measured() {
        let dir = folder();
        let source = open(dir.path()).unwrap().expect("it is there");
        let info = &source.train.info;
        assert_eq!((info.channels, info.height, info.width), (3, 2, 3));
        assert_eq!(
            (&info.classes[..], &source.train.labels[..]),
            (&["0", "1", "2"].map(String::from)[..], &[1, 0][..])
        );
        assert_eq!(*source.train.image(0).unwrap(), [0, 3, 6, 9, 12, 15, 1, 4, 7, 10, 13, 16, 2, 5, 8, 11, 14, 17]);
        assert_eq!((source.test.len(), source.test.labels[0], &source.test.info), (1, 2, info));
        // The red values are 0, 3 .. 33: their mean is 16.5, their variance 9 * (144 - 1) / 12.
        let (mean, std) = (16.5 / 255.0, (9.0 * 143.0 / 12.0f64).sqrt() / 255.0);
        assert!((f64::from(info.mean[0]) - mean).abs() < 1e-7 && (f64::from(info.std[0]) - std).abs() < 1e-7);
    }

    #[test]
    fn grey_images_compressed_with_named_classes() {
        let dir = folder();
        for name in [TRAIN_IMAGES, "test-images-idx3-ubyte"] {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        for (name, count) in [(TRAIN_IMAGES, 2), ("test-images-idx3-ubyte", 1)] {
            let mut file = GzEncoder::new(vec![], Compression::fast());
            file.write_all(&array(&[count, 2, 3], (0..6 * count).map(|value| value as u8))).unwrap();
            fs::write(dir.path().join(format!("{name}.gz")), file.finish().unwrap()).unwrap();
        }
        fs::write(dir.path().join(CLASSES), "cat\ndog\nemu\n").unwrap();
        let source = open(dir.path()).unwrap().expect("it is there");
        assert_eq!(source.train.info.channels, 1);
        assert_eq!(source.train.info.classes, ["cat", "dog", "emu"]);
        assert_eq!(*source.train.image(1).unwrap(), [6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn nothing_there_is_no_error() {
        assert!(open(tempfile::tempdir().unwrap().path()).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_byte() {
        for (name, bytes, message) in [
            (TRAIN_IMAGES, vec![0, 0], "train-images-idx3-ubyte: byte 2: the file ends in its header"),
            (TRAIN_IMAGES, vec![1, 0, 8, 1], "byte 0: 01 00 instead of two zeros"),
            (TRAIN_IMAGES, vec![0, 0, 13, 1], "byte 2: values of type 0x0d"),
            (TRAIN_IMAGES, array(&[2, 2, 3], 0..11), "byte 27: the file ends here with 11 values"),
            (TRAIN_IMAGES, array(&[u32::MAX; 8], []), "say otherwise"),
            (TRAIN_IMAGES, array(&[2, 6], 0..12), "byte 3: sizes [2, 6]"),
            (TRAIN_IMAGES, array(&[2, 3, 1, 2], 0..12), "with 1 or 3 channels"),
            (TRAIN_IMAGES, array(&[0, 2, 3], []), "byte 4: it has no images"),
            (TRAIN_IMAGES, array(&[3, 2, 3, 3], 0..54), "train-labels-idx1-ubyte: 2 labels, but 3 images"),
            (TRAIN_IMAGES, array(&[2, 3, 2, 3], 0..36), "images of (2, 3, 3) (height, width, channels)"),
            (TRAIN_LABELS, array(&[2, 1], [0, 1]), "train-labels-idx1-ubyte: byte 3: 2 dimensions"),
            (CLASSES, b"cat\n\ndog".to_vec(), "classes.txt: line 2 is empty"),
            (CLASSES, b"cat\ndog".to_vec(), "names 2 classes, but the labels go up to 2"),
        ] {
            let dir = folder();
            fs::write(dir.path().join(name), bytes).unwrap();
            let refusal = refusal(&dir);
            assert!(refusal.contains(message), "{refusal}");
        }
        let dir = folder();
        fs::remove_file(dir.path().join(TRAIN_LABELS)).unwrap();
        assert!(refusal(&dir).contains("there is no train-labels-idx1-ubyte"));
    }

    proptest! {
        #![proptest_config(crate::testing::property(256))]

        #[test]
        fn no_bytes_panic(header in proptest::collection::vec(0..4u8, 0..24), rest in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Array::parse([header, rest.clone()].concat()).map(|array| array.check_images());
            let _ = Array::parse([vec![0, 0, UNSIGNED_BYTE], rest].concat()).map(|array| array.check_images());
        }
    }
}
