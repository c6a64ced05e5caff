//! What a folder of images holds, by names alone: which files are images, of which class and for what.
//!
//! Either `train/CLASS/…` with `test/`, `val/` or `valid/` beside it, or `CLASS/…` alone. No image is opened.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::io::Errno;
use thiserror::Error;
use walkdir::WalkDir;

use crate::data::image_file::FORMATS;
use crate::data::split::Split;
use crate::ordinary_file;

/// Names of folders of training, test and validation images.
const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 2] = ["test", "testing"];
const VALIDATION: [&str; 4] = ["val", "valid", "validation", "dev"];
/// Extensions of the formats that are read.
const IMAGES: [&str; 10] = ["png", "jpg", "jpeg", "jpe", "jfif", "gif", "bmp", "webp", "tif", "tiff"];
/// Those of other formats: the images are not read, which must not go unnoticed.
const OTHER_IMAGES: [&str; 17] = [
    "apng", "avif", "dcm", "dng", "exr", "heic", "heif", "ico", "j2k", "jp2", "jxl", "nef", "pgm", "ppm", "psd", "svg",
    "tga",
];
/// What file managers and archivers leave behind.
const LITTER: [&str; 4] = ["thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx"];

/// The images of a folder, in an order that their names alone decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    pub layout: Layout,
    /// Names for people, sorted.
    pub classes: Vec<String>,
    /// By file name, and those of one name by path: images that are numbered over all classes keep that order.
    pub images: Vec<Listed>,
    /// What is there but not taken, by path; hidden files and what file managers leave are not even told.
    pub left_out: Vec<LeftOut>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A folder for each split.
    Splits,
    /// A folder for each class.
    Classes,
}

/// A file that is an image by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// From the folder on.
    pub path: PathBuf,
    /// What its folder says that it is for.
    pub split: Split,
    pub class: u16,
    pub file_bytes: u64,
    /// Since 1970.
    pub modified_ns: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// From the folder on.
    pub path: PathBuf,
    pub reason: Reason,
}

/// Why a file or folder is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By its extension.
    NoImage,
    /// An image by its extension, of a format that is not read.
    OtherFormat,
    /// An image that lies beside the folders of the classes.
    NoClass,
    /// A folder beside those of the splits.
    NoSplit,
    /// Such as `a FIFO`.
    NoFile(String),
    /// A folder of a class without an image.
    Empty,
    /// A link that leads back to a folder that it is in.
    Loop,
    /// It cannot be looked at.
    Denied(String),
}

impl Reason {
    /// Whether an image may be missing for it.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::OtherFormat | Self::NoFile(_) | Self::Denied(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NoImage => formatter.write_str("no image by its name"),
            Self::OtherFormat => write!(formatter, "a format that is not read: save it as {FORMATS}"),
            Self::NoClass => formatter.write_str("it lies in no folder of a class"),
            Self::NoSplit => formatter.write_str("a folder beside train"),
            Self::NoFile(reason) | Self::Denied(reason) => formatter.write_str(reason),
            Self::Empty => formatter.write_str("a folder without an image"),
            Self::Loop => formatter.write_str("a link back to a folder that it is in"),
        }
    }
}

#[derive(Debug, Error)]
pub enum ScanError {
    #[error("{}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: more than {} classes", .0.display(), u16::MAX)]
    TooManyClasses(PathBuf),
    #[error("the folders {} and {} are both called {name}: rename one", .folders[0].display(), .folders[1].display())]
    SameClass { name: String, folders: [PathBuf; 2] },
}

impl Scan {
    /// Looks through `root`; None: there is no image in a folder of its own.
    ///
    /// # Errors
    /// `root` cannot be looked into, or its classes cannot be told apart.
    pub fn of(root: &Path) -> Result<Option<Self>, ScanError> {
        let mut folders = vec![];
        let mut found = Found::default();
        let failed = |error| ScanError::Io { path: root.into(), error };
        for entry in fs::read_dir(root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if is_litter(&name) {
                continue;
            }
            match fs::metadata(root.join(&name)) {
                Ok(metadata) if metadata.is_dir() => folders.push(name),
                _ => found.beside(name.into()),
            }
        }
        folders.sort_unstable();
        let layout = if folders.iter().any(|name| split_of(name) == Some(Split::Train)) {
            Layout::Splits
        } else {
            Layout::Classes
        };
        for folder in folders {
            match (layout, split_of(&folder)) {
                (Layout::Classes, _) => found.walk(root, Path::new(&folder), Split::Train),
                (Layout::Splits, Some(split)) => found.walk_split(root, Path::new(&folder), split),
                (Layout::Splits, None) => found.leave(folder.into(), Reason::NoSplit),
            }
        }
        if found.images.is_empty() {
            return Ok(None);
        }
        found.into_scan(root, layout).map(Some)
    }

    pub fn has_images_of(&self, split: Split) -> bool {
        self.images.iter().any(|image| image.split == split)
    }
}

/// The images in a folder and the folders in it, by their paths; and what should be one and is none.
pub fn images_in(folder: &Path) -> impl Iterator<Item = Result<PathBuf, LeftOut>> + use<> {
    let walk = WalkDir::new(folder).follow_links(true).min_depth(1).sort_by_file_name();
    let entries = walk.into_iter().filter_entry(|entry| !is_litter(entry.file_name()));
    let folder = folder.to_owned();
    entries.filter_map(move |entry| {
        let entry = match entry {
            Ok(entry) => entry,
            // Its images have been met already.
            Err(error) if error.loop_ancestor().is_some() => return None,
            Err(error) => {
                let reason = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                let path = error.path().unwrap_or(&folder).to_owned();
                return Some(Err(LeftOut { path, reason: Reason::Denied(reason) }));
            }
        };
        if entry.file_type().is_dir() {
            return None;
        }
        let path = entry.into_path();
        match kind(&path) {
            Kind::Image => Some(Ok(path)),
            Kind::OtherImage => Some(Err(LeftOut { path, reason: Reason::OtherFormat })),
            Kind::Other => None,
        }
    })
}

/// An image, and the name of its class's folder.
struct Image {
    listed: Listed,
    class: OsString,
}

#[derive(Default)]
struct Found {
    images: Vec<Image>,
    left_out: Vec<LeftOut>,
}

impl Found {
    fn leave(&mut self, path: PathBuf, reason: Reason) {
        self.left_out.push(LeftOut { path, reason });
    }

    /// What lies beside the folders of the classes.
    fn beside(&mut self, path: PathBuf) {
        let reason = match kind(&path) {
            Kind::Image => Reason::NoClass,
            Kind::OtherImage => Reason::OtherFormat,
            Kind::Other => Reason::NoImage,
        };
        self.leave(path, reason);
    }

    fn walk_split(&mut self, root: &Path, split_folder: &Path, split: Split) {
        let entries = match fs::read_dir(root.join(split_folder)) {
            Ok(entries) => entries,
            Err(error) => return self.leave(split_folder.into(), Reason::Denied(error.to_string())),
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if is_litter(&name) {
                continue;
            }
            let path = split_folder.join(name);
            if fs::metadata(root.join(&path)).is_ok_and(|metadata| metadata.is_dir()) {
                self.walk(root, &path, split);
            } else {
                self.beside(path);
            }
        }
    }

    /// The images of a class, in its folder and the folders in it.
    fn walk(&mut self, root: &Path, folder: &Path, split: Split) {
        let class = folder.file_name().unwrap_or_default();
        let before = self.images.len();
        let whole = root.join(folder).canonicalize();
        let walk = WalkDir::new(root.join(folder)).follow_links(true).min_depth(1);
        let mut walk = walk.into_iter().filter_entry(|entry| !is_litter(entry.file_name()));
        while let Some(entry) = walk.next() {
            let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let reason = match (error.loop_ancestor(), error.io_error()) {
                        (Some(_), _) => Reason::Loop,
                        // A link to itself.
                        (None, Some(error)) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Reason::Loop,
                        (None, Some(error)) => Reason::Denied(error.to_string()),
                        (None, None) => Reason::Denied(error.to_string()),
                    };
                    self.leave(relative(error.path().unwrap_or(folder)), reason);
                    continue;
                }
            };
            let path = relative(entry.path());
            if entry.file_type().is_dir() {
                // One that leads out of the class's folder and back into it, which the walk itself would find a round later.
                let leads_back =
                    |whole: &PathBuf| entry.path().canonicalize().is_ok_and(|target| whole.starts_with(target));
                if entry.path_is_symlink() && whole.as_ref().is_ok_and(leads_back) {
                    self.leave(path, Reason::Loop);
                    walk.skip_current_dir();
                }
                continue;
            }
            match kind(&path) {
                Kind::Image => {}
                Kind::OtherImage => {
                    self.leave(path, Reason::OtherFormat);
                    continue;
                }
                Kind::Other => {
                    self.leave(path, Reason::NoImage);
                    continue;
                }
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) => {
                    self.leave(path, Reason::Denied(error.to_string()));
                    continue;
                }
            };
            if let Err(error) = ordinary_file::check(&metadata) {
                self.leave(path, Reason::NoFile(error.to_string()));
                continue;
            }
            let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let modified_ns = modified.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
            let listed = Listed { path, split, class: 0, file_bytes: metadata.len(), modified_ns };
            self.images.push(Image { listed, class: class.to_owned() });
        }
        if self.images.len() == before {
            self.leave(folder.into(), Reason::Empty);
        }
    }

    fn into_scan(self, root: &Path, layout: Layout) -> Result<Scan, ScanError> {
        let Self { images, mut left_out } = self;
        let mut folders: Vec<OsString> = images.iter().map(|image| image.class.clone()).collect();
        folders.sort_unstable();
        folders.dedup();
        if folders.len() > usize::from(u16::MAX) {
            return Err(ScanError::TooManyClasses(root.into()));
        }
        let classes: Vec<String> = folders.iter().map(|name| shown(name)).collect();
        let mut numbers = HashMap::new();
        for (number, name) in classes.iter().enumerate() {
            if let Some(other) = numbers.insert(name.clone(), number) {
                let folders = [other, number].map(|number: usize| PathBuf::from(&folders[number]));
                return Err(ScanError::SameClass { name: name.clone(), folders });
            }
        }
        let mut images: Vec<Listed> = images
            .into_iter()
            .map(|image| {
                let class = folders.binary_search(&image.class).expect("each folder is in the list");
                Listed { class: class as u16, ..image.listed }
            })
            .collect();
        images.sort_unstable_by(|a, b| (a.path.file_name(), &a.path).cmp(&(b.path.file_name(), &b.path)));
        left_out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Scan { layout, classes, images, left_out })
    }
}

enum Kind {
    Image,
    OtherImage,
    Other,
}

fn kind(path: &Path) -> Kind {
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    let is_one_of = |known: &[&str]| extension.as_ref().is_some_and(|extension| known.iter().any(|&k| extension == k));
    match () {
        () if is_one_of(&IMAGES) => Kind::Image,
        () if is_one_of(&OTHER_IMAGES) => Kind::OtherImage,
        () => Kind::Other,
    }
}

fn is_litter(name: &OsStr) -> bool {
    let lower = name.to_ascii_lowercase();
    name.as_bytes().starts_with(b".") || LITTER.iter().any(|&litter| lower == litter)
}

fn split_of(name: &OsStr) -> Option<Split> {
    let lower = name.to_ascii_lowercase();
    let is_one_of = |names: &[&str]| names.iter().any(|&name| lower == name);
    match () {
        () if is_one_of(&TRAIN) => Some(Split::Train),
        () if is_one_of(&TEST) => Some(Split::Test),
        () if is_one_of(&VALIDATION) => Some(Split::Validation),
        () => None,
    }
}

/// A name as it is printed on one line: what is no character, or none to print, is written out.
pub fn shown(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with those files, each of a few bytes.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        root
    }

    fn scanned(files: &[&str]) -> Scan {
        Scan::of(folder(files).path()).unwrap().expect("images")
    }

    fn found(scan: &Scan) -> Vec<(&str, Split, &str)> {
        let images = scan.images.iter();
        images.map(|image| (image.path.to_str().unwrap(), image.split, &*scan.classes[image.class as usize])).collect()
    }

    fn left_out(scan: &Scan) -> Vec<(&str, &Reason)> {
        scan.left_out.iter().map(|left_out| (left_out.path.to_str().unwrap(), &left_out.reason)).collect()
    }

    #[test]
    fn a_folder_is_a_class_and_the_order_is_that_of_the_names() {
        let scan = scanned(&["dogs/2.png", "cats/1.JPG", "dogs/deep/3.webp", "cats/2.png", "dogs/1.Jpeg"]);
        let expected = [
            ("cats/1.JPG", Split::Train, "cats"),
            ("dogs/1.Jpeg", Split::Train, "dogs"),
            ("cats/2.png", Split::Train, "cats"),
            ("dogs/2.png", Split::Train, "dogs"),
            ("dogs/deep/3.webp", Split::Train, "dogs"),
        ];
        assert_eq!((scan.layout, found(&scan)), (Layout::Classes, expected.to_vec()));
        assert_eq!((&scan.classes[..], &scan.left_out[..]), (&["cats".to_owned(), "dogs".to_owned()][..], &[][..]));
        assert_eq!(scan.images[0].file_bytes, "cats/1.JPG".len() as u64);
        assert!(scan.images.iter().all(|image| image.modified_ns > 1_600_000_000_000_000_000));
    }

    #[test]
    fn folders_of_splits_are_told_by_their_names() {
        for (test, validation) in [("test", "val"), ("Testing", "valid"), ("TEST", "Validation")] {
            let files = ["train/a/1.png", "train/b/2.png"].map(str::to_owned);
            let others = [format!("{test}/a/3.png"), format!("{validation}/b/4.png"), "notes/a/5.png".to_owned()];
            let files = [&files[..], &others].concat();
            let scan = scanned(&files.iter().map(|file| &**file).collect::<Vec<_>>());
            let splits: Vec<Split> = scan.images.iter().map(|image| image.split).collect();
            assert_eq!(splits, [Split::Train, Split::Train, Split::Test, Split::Validation]);
            assert_eq!((scan.layout, left_out(&scan)), (Layout::Splits, vec![("notes", &Reason::NoSplit)]));
        }
        // Without training images of that name, it is a class as any other.
        assert_eq!(scanned(&["test/1.png", "rest/1.png"]).classes, ["rest", "test"]);
    }

    #[test]
    fn what_is_no_image_is_named_and_litter_is_not() {
        let scan = scanned(&[
            "a/1.png",
            "a/labels.csv",
            "a/2.heic",
            "a/README",
            "a/Thumbs.db",
            "a/.hidden.png",
            "a/.git/3.png",
            "b/4.png",
            "5.png",
            "notes.txt",
            "__MACOSX/a/1.png",
            ".ipynb_checkpoints/6.png",
            "a/desktop.ini",
        ]);
        let expected = [
            ("5.png", &Reason::NoClass),
            ("a/2.heic", &Reason::OtherFormat),
            ("a/README", &Reason::NoImage),
            ("a/labels.csv", &Reason::NoImage),
            ("notes.txt", &Reason::NoImage),
        ];
        assert_eq!(left_out(&scan), expected);
        assert_eq!(scan.images.len(), 2);
    }

    #[test]
    fn a_class_without_an_image_is_named() {
        let root = folder(&["train/a/1.png", "train/b/2.png", "test/a/3.png", "train/d/notes.txt"]);
        fs::create_dir_all(root.path().join("train/c/deep")).unwrap();
        let scan = Scan::of(root.path()).unwrap().unwrap();
        assert_eq!(scan.classes, ["a", "b"]);
        let expected =
            [("train/c", &Reason::Empty), ("train/d", &Reason::Empty), ("train/d/notes.txt", &Reason::NoImage)];
        assert_eq!(left_out(&scan), expected);
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let root = folder(&["a/1.png", "b/2.png"]);
        let elsewhere = folder(&["3.png", "x/4.png"]);
        symlink(elsewhere.path(), root.path().join("c")).unwrap();
        symlink(elsewhere.path().join("3.png"), root.path().join("a/linked.png")).unwrap();
        symlink("..", root.path().join("b/up")).unwrap();
        symlink("b", root.path().join("b/b")).unwrap();
        symlink("/nonexistent/5.png", root.path().join("a/dangling.png")).unwrap();
        let scan = Scan::of(root.path()).unwrap().unwrap();
        let of = |class: &str| found(&scan).iter().filter(|(.., found)| *found == class).count();
        assert_eq!((of("a"), of("b"), of("c")), (2, 1, 2));
        let [dangling, circles @ ..] = &left_out(&scan)[..] else { panic!("{:?}", scan.left_out) };
        assert!(matches!(dangling, ("a/dangling.png", Reason::Denied(reason)) if reason.contains("No such file")));
        assert_eq!(circles, [("b/b", &Reason::Loop), ("b/up", &Reason::Loop)]);
    }

    #[test]
    fn a_fifo_is_not_waited_for() {
        let root = folder(&["a/1.png", "b/2.png"]);
        let mode = rustix::fs::Mode::RUSR;
        let path = root.path().join("a/fifo.png");
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let scan = Scan::of(root.path()).unwrap().unwrap();
        assert_eq!(left_out(&scan), [("a/fifo.png", &Reason::NoFile("it is a FIFO, and no ordinary file".into()))]);
        assert!(scan.left_out[0].reason.is_fault());
    }

    #[test]
    fn any_name_can_be_printed_on_a_line() {
        let root = tempfile::tempdir().unwrap();
        let names: [&[u8]; 4] = [b"two\nlines", b"caf\xe9", "猫".as_bytes(), b"with space"];
        for name in names {
            let class = root.path().join(OsString::from_vec(name.to_vec()));
            fs::create_dir(&class).unwrap();
            fs::write(class.join("1.png"), "").unwrap();
        }
        let scan = Scan::of(root.path()).unwrap().unwrap();
        assert_eq!(scan.classes, ["caf\\xe9", "two\\nlines", "with space", "猫"]);
        // A name that is written so already.
        fs::create_dir(root.path().join("caf\\xe9")).unwrap();
        fs::write(root.path().join("caf\\xe9/1.png"), "").unwrap();
        let error = Scan::of(root.path()).unwrap_err().to_string();
        assert!(error.contains("are both called caf\\xe9: rename one"), "{error}");
    }

    #[test]
    fn without_folders_of_images_there_is_nothing() {
        for files in [&["1.png"][..], &["a/notes.txt"], &["cifar-10-batches-bin/data_batch_1.bin"], &[]] {
            assert!(Scan::of(folder(files).path()).unwrap().is_none(), "{files:?}");
        }
        assert!(matches!(Scan::of(Path::new("/nonexistent")), Err(ScanError::Io { .. })));
    }
}
