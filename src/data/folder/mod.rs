//! Folders of images of any size and format: found, decoded once, and read from a cache.

mod build;
mod cache;
pub mod fit;
pub mod index;
pub mod scan;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::build::build;
use self::cache::Cache;
use self::fit::{Fit, Fitted, Form, resized_part};
use self::index::Entry;
use self::scan::Scan;
use crate::checksum::sha256;
use crate::config::ResizeRule;
use crate::data::augment::random_resized_crop::Rectangle;
use crate::ordinary_file;

/// Digits of a cache's name: enough for no two to have the same.
const NAME_DIGITS: usize = 16;

/// The images of a folder, in one form.
pub struct Folder {
    root: PathBuf,
    form: Form,
    store: Store,
}

enum Store {
    Cache(Cache),
    /// An image is decoded whenever it is asked for.
    Files(Vec<Entry>),
}

/// Whether decoded images are kept for later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caching {
    /// In a file in that folder, which is made if need be.
    In(PathBuf),
    Off,
}

#[derive(Debug, Error)]
pub enum FolderError {
    #[error(
        "cannot write {}: {error}; free some space, set XDG_CACHE_HOME to a folder elsewhere, or decode images whenever they are \
         needed: --no-cache", .path.display()
    )]
    Write { path: PathBuf, error: io::Error },
    #[error("cannot read {}: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
}

/// An image that could be read when the folder was opened, and cannot any more.
#[derive(Debug, Error)]
pub enum ImageError {
    #[error("{} is damaged: remove it, and it is made again", .0.display())]
    Damaged(PathBuf),
    #[error("{}: {reason}; it could be read when training began", .path.display())]
    Unreadable { path: PathBuf, reason: String },
}

impl Folder {
    /// What a scan of `root` found, decoded if that is not in the cache. `progress` is told how many images are done, if any need
    /// to be.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn open(
        root: &Path,
        scan: &Scan,
        form: Form,
        caching: Caching,
        progress: impl FnMut(usize),
    ) -> Result<Self, FolderError> {
        let store = match caching {
            Caching::Off => {
                let index = build(root, &scan.images, form, "", None, None, progress);
                Store::Files(index.expect("nothing is written").entries)
            }
            Caching::In(folder) => Store::Cache(cached(root, scan, form, &folder, progress)?),
        };
        Ok(Self { root: root.into(), form, store })
    }

    /// Of each image of the scan, in its order.
    pub fn entries(&self) -> &[Entry] {
        match &self.store {
            Store::Cache(cache) => &cache.index().entries,
            Store::Files(entries) => entries,
        }
    }

    /// Where decoded images are kept, and in how many bytes.
    pub fn cache(&self) -> Option<(&Path, u64)> {
        match &self.store {
            Store::Cache(cache) => Some((cache.path(), cache.bytes())),
            Store::Files(_) => None,
        }
    }

    /// The planes of image `number` of the scan, a readable one, as the network takes it.
    ///
    /// # Errors
    /// The cache is damaged, or the file is not what it was.
    pub fn image(&self, number: usize) -> Result<Cow<'_, [u8]>, ImageError> {
        let kept = self.kept(number)?;
        Ok(if self.is_as_kept(kept.sides) { kept.planes } else { self.part_of(&kept, middle(kept.sides)) })
    }

    /// A part of it, which is drawn by its width and height; all of it, if it is kept as the network takes it.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn part(&self, number: usize, draw: impl FnOnce([u32; 2]) -> Rectangle) -> Result<Cow<'_, [u8]>, ImageError> {
        let kept = self.kept(number)?;
        Ok(match self.form.rule {
            ResizeRule::Squash | ResizeRule::CentreCrop => kept.planes,
            ResizeRule::RandomResizedCrop => self.part_of(&kept, draw(kept.sides)),
        })
    }

    /// Whether training is on parts of the images.
    pub fn draws_parts(&self) -> bool {
        self.form.rule == ResizeRule::RandomResizedCrop
    }

    fn is_as_kept(&self, sides: [u32; 2]) -> bool {
        let (width, height) = self.form.size.sides();
        sides == [width, height]
    }

    fn part_of(&self, kept: &Kept, part: Rectangle) -> Cow<'static, [u8]> {
        Cow::Owned(resized_part(&kept.planes, kept.sides, part, self.form.size))
    }

    fn kept(&self, number: usize) -> Result<Kept<'_>, ImageError> {
        match &self.store {
            Store::Cache(cache) => {
                let entry = &cache.index().entries[number];
                let planes = cache.image(entry).ok_or_else(|| ImageError::Damaged(cache.path().into()))?;
                Ok(Kept { planes: Cow::Borrowed(planes), sides: [entry.kept_width, entry.kept_height] })
            }
            Store::Files(entries) => {
                let path = self.root.join(entries[number].path());
                let read = ordinary_file::read(&path).map_err(|error| error.to_string());
                let decoded =
                    read.and_then(|bytes| Fit::new(self.form).decode(&bytes).map_err(|error| error.to_string()));
                let Fitted { planes, sides, .. } = decoded.map_err(|reason| ImageError::Unreadable { path, reason })?;
                Ok(Kept { planes: Cow::Owned(planes), sides: sides.into() })
            }
        }
    }
}

/// An image as it is kept.
struct Kept<'a> {
    planes: Cow<'a, [u8]>,
    /// Width and height.
    sides: [u32; 2],
}

/// The square about the middle of an image.
fn middle([width, height]: [u32; 2]) -> Rectangle {
    let side = width.min(height);
    Rectangle { left: (width - side) / 2, top: (height - side) / 2, width: side, height: side }
}

fn cached(
    root: &Path,
    scan: &Scan,
    form: Form,
    caches: &Path,
    progress: impl FnMut(usize),
) -> Result<Cache, FolderError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |error| FolderError::Read { path, error }
    };
    let whole = root.canonicalize().map_err(unreadable(root))?;
    let made_by = format!("{} {form:?}", scan::shown(whole.as_os_str()));
    let path = caches.join(format!("{}.images", &sha256(&made_by)[..NAME_DIGITS]));
    let earlier = Cache::open(&path).map_err(unreadable(&path))?.filter(|cache| cache.index().made_by == made_by);
    match earlier {
        Some(cache) if is_of(&cache, scan) => Ok(cache),
        earlier => {
            build(root, &scan.images, form, &made_by, earlier.as_ref(), Some(&path), progress)
                .map_err(|error| FolderError::Write { path: path.clone(), error })?;
            let lost = || io::Error::other("it is not what was written");
            Cache::open(&path).and_then(|cache| cache.ok_or_else(lost)).map_err(unreadable(&path))
        }
    }
}

/// Whether the cache has just the files that are there now, as they are now.
fn is_of(cache: &Cache, scan: &Scan) -> bool {
    let entries = &cache.index().entries;
    entries.len() == scan.images.len() && entries.iter().zip(&scan.images).all(|(entry, listed)| entry.is_of(listed))
}

impl fmt::Debug for Folder {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Folder").field("root", &self.root).field("form", &self.form).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{ImageFormat, Rgb, RgbImage};

    use super::*;
    use crate::config::{Background, ResizeRule};
    use crate::data::image_file::testing::encoded;
    use crate::data::info::ImageSize;

    const FORM: Form = Form {
        size: ImageSize { channels: 3, height: 4, width: 4 },
        rule: ResizeRule::Squash,
        background: Background::White,
    };

    /// A folder of two classes, and one for caches.
    struct Fixture {
        root: tempfile::TempDir,
        caches: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let fixture = Self { root: tempfile::tempdir().unwrap(), caches: tempfile::tempdir().unwrap() };
            for class in ["a", "b"] {
                fs::create_dir(fixture.root.path().join(class)).unwrap();
            }
            for (number, class) in ["a", "b"].into_iter().cycle().take(7).enumerate() {
                fixture.write(&format!("{class}/{number}.png"), number as u8);
            }
            fixture
        }

        /// An image of 6 x 6 pixels, all of one grey.
        fn write(&self, path: &str, grey: u8) {
            let image = RgbImage::from_pixel(6, 6, Rgb([grey; 3]));
            fs::write(self.root.path().join(path), encoded(&image.into(), ImageFormat::Png)).unwrap();
        }

        /// The folder, and how many images were decoded, or taken from an earlier cache, for it.
        fn open(&self, caching: Caching) -> (Folder, usize) {
            let scan = Scan::of(self.root.path()).unwrap().unwrap();
            let mut made = 0;
            let folder = Folder::open(self.root.path(), &scan, FORM, caching, |done| made = done).unwrap();
            (folder, made)
        }

        fn cached(&self) -> (Folder, usize) {
            self.open(Caching::In(self.caches.path().into()))
        }

        fn caches(&self) -> Vec<PathBuf> {
            fs::read_dir(self.caches.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
        }
    }

    /// The first byte of each image; None where it cannot be read.
    fn greys(folder: &Folder) -> Vec<Option<u8>> {
        let entries = folder.entries().iter().enumerate();
        entries.map(|(number, entry)| entry.is_readable().then(|| folder.image(number).unwrap()[0])).collect()
    }

    #[test]
    fn images_are_decoded_once() {
        let fixture = Fixture::new();
        let (first, made) = fixture.cached();
        let expected: Vec<_> = (0..7).map(Some).collect();
        assert_eq!((made, greys(&first)), (7, expected.clone()));
        let (again, made) = fixture.cached();
        assert_eq!((made, greys(&again)), (0, expected.clone()));
        assert_eq!((first.entries(), first.cache()), (again.entries(), again.cache()));
        assert_eq!(again.image(3).unwrap().len(), 48);
        // In another form they are others.
        let scan = Scan::of(fixture.root.path()).unwrap().unwrap();
        let grey = Form { size: ImageSize { channels: 1, ..FORM.size }, ..FORM };
        let caching = Caching::In(fixture.caches.path().into());
        let grey = Folder::open(fixture.root.path(), &scan, grey, caching, |_| {}).unwrap();
        assert_eq!(grey.image(3).unwrap().len(), 16);
        assert_eq!(fixture.caches().len(), 2);
        assert_eq!(greys(&fixture.open(Caching::Off).0), expected);
    }

    #[test]
    fn what_changes_in_the_folder_is_noticed() {
        let fixture = Fixture::new();
        fixture.cached();
        fixture.write("b/7.png", 7);
        fixture.write("a/2.png", 22);
        fs::remove_file(fixture.root.path().join("a/4.png")).unwrap();
        let (folder, made) = fixture.cached();
        assert_eq!((made, greys(&folder)), (7, [0, 1, 22, 3, 5, 6, 7].map(Some).to_vec()));
        assert_eq!(fixture.cached().1, 0);
        // A file of the same size, with another time.
        let path = fixture.root.path().join("b/7.png");
        fs::File::options().append(true).open(path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(fixture.cached().1, 7);
    }

    #[test]
    fn a_damaged_cache_is_noticed_and_made_again() {
        let fixture = Fixture::new();
        fixture.cached();
        let path = fixture.caches().remove(0);
        let whole = fs::read(&path).unwrap();
        let write = |bytes: &[u8]| {
            // As a cache is replaced: one that is mapped is another file.
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        };
        for cut in [0, 1, 31, 32, 100, whole.len() - 1] {
            write(&whole[..cut]);
            assert_eq!(fixture.cached().1, 7, "{cut}");
            assert!(fs::read(&path).unwrap() == whole);
        }
        for at in [0, 8, 12, 16, 24, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            write(&changed);
            assert_eq!(fixture.cached().1, 7, "{at}");
        }
        // In an image: that is seen when it is used.
        let mut changed = whole.clone();
        changed[32 + 48 * 2 + 5] ^= 1;
        write(&changed);
        let (folder, made) = fixture.cached();
        assert_eq!((made, folder.image(1).unwrap()[0]), (0, 1));
        let error = folder.image(2).unwrap_err().to_string();
        assert_eq!(error, format!("{} is damaged: remove it, and it is made again", path.display()));
    }

    #[test]
    fn what_a_killed_build_left_is_removed() {
        let fixture = Fixture::new();
        let left = fixture.caches.path().join(".unfinished-x");
        fs::write(&left, "half").unwrap();
        let writing = fs::File::create(fixture.caches.path().join(".unfinished-y")).unwrap();
        writing.lock().unwrap();
        fixture.cached();
        assert!(!left.exists());
        assert_eq!(fixture.caches().len(), 2, "that of a process that lives stays");
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_an_error_with_a_way_out() {
        let fixture = Fixture::new();
        let file = fixture.caches.path().join("file");
        fs::write(&file, "").unwrap();
        let scan = Scan::of(fixture.root.path()).unwrap().unwrap();
        let error = Folder::open(fixture.root.path(), &scan, FORM, Caching::In(file.join("images")), |_| {});
        let error = error.unwrap_err().to_string();
        assert!(error.contains("--no-cache") && error.contains("XDG_CACHE_HOME"), "{error}");
    }

    #[test]
    fn an_unreadable_image_is_kept_in_mind() {
        let fixture = Fixture::new();
        fs::write(fixture.root.path().join("a/2.png"), "no image").unwrap();
        for made in [7, 0] {
            let (folder, found) = fixture.cached();
            assert_eq!((found, greys(&folder)[2]), (made, None));
            assert!(folder.entries()[2].unreadable.starts_with("it is no image that taper reads"));
        }
        let (folder, _) = fixture.open(Caching::Off);
        fs::remove_file(fixture.root.path().join("b/3.png")).unwrap();
        let error = folder.image(3).unwrap_err().to_string();
        assert!(
            error.contains("b/3.png: No such file") && error.ends_with("it could be read when training began"),
            "{error}"
        );
    }

    #[test]
    fn parts_are_drawn_of_what_is_kept_and_the_middle_is_looked_at() {
        let fixture = Fixture::new();
        // Black, with a white stripe on the left.
        let striped = RgbImage::from_fn(24, 8, |x, _| Rgb([if x < 8 { 255 } else { 0 }; 3]));
        fs::write(fixture.root.path().join("a/0.png"), encoded(&striped.into(), ImageFormat::Png)).unwrap();
        let scan = Scan::of(fixture.root.path()).unwrap().unwrap();
        let form = Form { rule: ResizeRule::RandomResizedCrop, ..FORM };
        for caching in [Caching::In(fixture.caches.path().into()), Caching::Off] {
            let folder = Folder::open(fixture.root.path(), &scan, form, caching, |_| {}).unwrap();
            assert_eq!(*folder.image(0).unwrap(), [0; 48]);
            let left = |[width, height]: [u32; 2]| {
                assert_eq!([width, height], [24, 8]);
                Rectangle { left: 0, top: 0, width: 7, height: 8 }
            };
            assert_eq!(*folder.part(0, left).unwrap(), [255; 48]);
        }
        let (squashed, _) = fixture.cached();
        assert_eq!(
            squashed.part(3, |_| unreachable!("it is kept as it is taken")).unwrap(),
            squashed.image(3).unwrap()
        );
    }
}
