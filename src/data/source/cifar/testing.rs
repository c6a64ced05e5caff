//! A tiny edition of four images to a batch, in every layout: for tests.

use std::fs;
use std::ops::Range;

use super::*;

// Made by tests/fixtures/cifar/make.py.
const RECORDS: &[u8] = include_bytes!("../../../../tests/fixtures/cifar/batch.bin");
const PICKLE: &[u8] = include_bytes!("../../../../tests/fixtures/cifar/batch.pickle");

pub fn edition() -> Edition {
    let sha256 = |batch| sha256(&parse_records("", &records(batch), 4).unwrap());
    Edition { images_per_batch: 4, batch_sha256: std::array::from_fn(sha256) }
}

/// The labels tell the batches apart.
fn label(batch: usize, image: usize) -> u8 {
    ((batch + image) % 10) as u8
}

pub fn records(batch: usize) -> Vec<u8> {
    let mut records = RECORDS.to_vec();
    for image in 0..4 {
        records[image * RECORD_BYTES] = label(batch, image);
    }
    records
}

pub fn pickled(batch: usize) -> Vec<u8> {
    let mut pickle = PICKLE.to_vec();
    let labels = 2 + pickle.windows(5).position(|window| window == b"(K\x06K\x09").unwrap();
    for image in 0..4 {
        pickle[labels + 2 * image] = label(batch, image);
    }
    pickle
}

/// File names and contents.
pub fn files(layout: Layout) -> Vec<(String, Vec<u8>)> {
    let contents = if layout == Layout::BinaryFolder { records } else { pickled };
    BATCHES.iter().enumerate().map(|(index, batch)| (file_name(batch, layout), contents(index))).collect()
}

pub fn write_folder(folder: &Path, layout: Layout) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files(layout) {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

pub fn tar_gz(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(vec![], flate2::Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// An archive as published: in a folder, in no order, with a file that is no batch.
pub fn archive(layout: Layout) -> Vec<u8> {
    let mut files = files(layout);
    files.rotate_left(2);
    files.push(("readme.html".into(), b"<html>".to_vec()));
    for (name, _) in &mut files {
        *name = format!("cifar-10-batches/{name}");
    }
    tar_gz(&files)
}

/// A batch as a PNG, one image a row; the published ones are 1024 pixels wide.
pub fn sprite(batch: usize, width: usize) -> Vec<u8> {
    let records = records(batch);
    let mut pixels = vec![];
    for record in records.chunks(RECORD_BYTES) {
        let pixel = |at| [record[1 + at], record[1 + PLANE + at], record[1 + 2 * PLANE + at]];
        pixels.extend((0..width).flat_map(pixel));
    }
    let mut png = vec![];
    let mut encoder = png::Encoder::new(&mut png, width as u32, 4);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    png
}

pub fn npm_members() -> Vec<(String, Vec<u8>)> {
    let labels = |batches: Range<usize>| {
        let labels: Vec<u8> = batches.flat_map(|batch| (0..4).map(move |image| label(batch, image))).collect();
        serde_json::to_vec(&labels).unwrap()
    };
    let mut members = vec![("package/package.json".to_string(), b"{}".to_vec())];
    for (index, batch) in BATCHES.iter().enumerate() {
        members.push((format!("package/{batch}.png"), sprite(index, PLANE)));
    }
    members.push(("package/test_lables.json".into(), labels(5..6)));
    members.push(("package/train_lables.json".into(), labels(0..5)));
    members
}

pub fn npm_package() -> Vec<u8> {
    tar_gz(&npm_members())
}

/// Each layout, at its place under `dir`.
pub fn write_all_layouts(dir: &Path) {
    write_folder(&dir.join(LAYOUT_NAMES[0]), Layout::BinaryFolder);
    write_folder(dir, Layout::BinaryFolder);
    write_folder(&dir.join(LAYOUT_NAMES[1]), Layout::PythonFolder);
    write_folder(dir, Layout::PythonFolder);
    fs::write(dir.join(LAYOUT_NAMES[2]), archive(Layout::BinaryFolder)).unwrap();
    fs::write(dir.join(LAYOUT_NAMES[3]), archive(Layout::PythonFolder)).unwrap();
}
