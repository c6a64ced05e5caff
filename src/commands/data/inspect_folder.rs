//! What `taper data inspect` tells of a folder of images.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Result, bail};

use super::statistics::write_channels;
use crate::commands::shell::say;
use crate::config::{DataConfig, ResizeRule};
use crate::data::Split;
use crate::data::folder::index::Entry;
use crate::data::folder::scan::{Layout, shown};
use crate::data::source::folder::Opened;
use crate::format;
use crate::render::Planes;
use crate::text;

/// Lines of a list that may be long; the rest is counted.
const LISTED: usize = 20;
/// Classes and images of each on the contact sheet.
const SHEET_CLASSES: usize = 8;
const SHEET_IMAGES: usize = 8;

/// # Errors
/// A run would not begin with these images, or an image cannot be read: all is told all the same.
pub fn inspect(out: &mut impl Write, config: &DataConfig, opened: &Opened) -> Result<()> {
    let Opened { scan, form, folder, .. } = opened;
    let layout = match scan.layout {
        Layout::Splits => "a folder for each split, and in it for each class",
        Layout::Classes => "a folder for each class",
    };
    let entries = folder.entries();
    let readable = || entries.iter().filter(|entry| entry.is_readable());
    let rule = match config.resize {
        ResizeRule::Squash => "squashed",
        ResizeRule::CentreCrop => "their middle cut out",
        ResizeRule::RandomResizedCrop => "random parts of them",
    };
    let (size, count) = (form.size, |images: usize| format::count(images as u64));
    writeln!(out, "in use         images: {layout}")?;
    writeln!(
        out,
        "images         {}, made {} x {} pixels ({rule}), {} channels",
        count(readable().count()),
        size.width,
        size.height,
        size.channels
    )?;
    if let Some((path, bytes)) = folder.cache() {
        writeln!(out, "decoded in     {} ({})", path.display(), format::bytes(bytes))?;
    }
    write_counts(out, opened)?;
    write_kinds(out, &readable().collect::<Vec<_>>())?;
    if !opened.numbers(Split::Train).is_empty() {
        write_channels(out, &opened.statistics())?;
    }

    let name = |number: usize| shown(entries[number].path().as_os_str());
    let equal = opened.equal().into_iter().map(|group| group.into_iter().map(name).collect::<Vec<_>>().join(" = "));
    write_list(out, "equal images", equal.collect())?;
    let faultless = scan.left_out.iter().filter(|left_out| !left_out.reason.is_fault());
    let left_out = faultless.map(|left_out| format!("{} ({})", shown(left_out.path.as_os_str()), left_out.reason));
    write_list(out, "left out", left_out.collect())?;
    let unreadable = opened.unreadable();
    if !unreadable.is_empty() {
        writeln!(out, "\ncannot be read ({})", count(unreadable.len()))?;
        for (path, reason) in &unreadable {
            writeln!(out, "  {}: {reason}", shown(path.as_os_str()))?;
        }
    }
    Ok(())
}

/// # Errors
/// A run would not begin with these images.
pub fn judge(config: &DataConfig, opened: Opened) -> Result<()> {
    let unreadable = opened.unreadable().len();
    let source = opened.into_source(config)?;
    if let Some(notice) = source.notice {
        say(format_args!("\n{notice}"))?;
    }
    if unreadable > 0 {
        let images = if unreadable == 1 { "image" } else { "images" };
        bail!("{} {images} cannot be read", format::count(unreadable as u64))
    }
    Ok(())
}

fn write_counts(out: &mut impl Write, opened: &Opened) -> Result<()> {
    let splits: Vec<(Split, Vec<usize>)> = [Split::Train, Split::Validation, Split::Test]
        .into_iter()
        .map(|split| (split, opened.class_counts(split)))
        .filter(|(_, counts)| counts.iter().any(|&count| count > 0))
        .collect();
    let classes = &opened.scan.classes;
    let width = text::widest(classes).max(14);
    let row = |cells: Vec<String>| cells.into_iter().map(|cell| format!(" {cell:>10}")).collect::<String>();
    let heads = splits.iter().map(|(split, _)| split.abbreviation().to_owned()).collect();
    writeln!(out, "\n{:<width$}{}", "class", row(heads))?;
    let count = |images: usize| format::count(images as u64);
    for (number, class) in classes.iter().enumerate() {
        writeln!(
            out,
            "{}{}",
            text::padded(class, width),
            row(splits.iter().map(|(_, counts)| count(counts[number])).collect())
        )?;
    }
    let all = splits.iter().map(|(_, counts)| count(counts.iter().sum())).collect();
    writeln!(out, "{:<width$}{}", "all", row(all))?;
    Ok(())
}

/// Sizes, formats, and what had to be done to some.
fn write_kinds(out: &mut impl Write, entries: &[&Entry]) -> Result<()> {
    let mut sides: Vec<u32> = entries.iter().map(|entry| entry.width.min(entry.height)).collect();
    sides.sort_unstable();
    let (Some(least), Some(most)) = (sides.first(), sides.last()) else { return Ok(()) };
    writeln!(out, "\nshorter side   {least} to {most} pixels, half of them {} or more", sides[sides.len() / 2])?;
    let mut formats: BTreeMap<&str, usize> = BTreeMap::new();
    let mut changes: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries {
        *formats.entry(&entry.format).or_default() += 1;
        for change in &entry.changes {
            *changes.entry(change).or_default() += 1;
        }
    }
    let told = |kinds: BTreeMap<&str, usize>| {
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        kinds
            .into_iter()
            .map(|(kind, count)| format!("{} {kind}", format::count(count as u64)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    writeln!(out, "formats        {}", told(formats))?;
    if !changes.is_empty() {
        writeln!(out, "changed        {}", told(changes))?;
    }
    Ok(())
}

fn write_list(out: &mut impl Write, name: &str, lines: Vec<String>) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{name} ({})", format::count(lines.len() as u64))?;
    for line in lines.iter().take(LISTED) {
        writeln!(out, "  {line}")?;
    }
    if let Some(more) = lines.len().checked_sub(LISTED + 1) {
        writeln!(out, "  and {} more", format::count(more as u64 + 1))?;
    }
    Ok(())
}

/// The first training images of the first classes, a row for each class; with the names of the classes.
pub fn contact_sheet(opened: &Opened) -> Result<Option<(Planes, Vec<String>)>> {
    let size = opened.form.size;
    let mut rows: Vec<(&String, Vec<usize>)> = opened.scan.classes.iter().map(|class| (class, vec![])).collect();
    for number in opened.numbers(Split::Train) {
        let row = &mut rows[usize::from(opened.scan.images[number].class)].1;
        if row.len() < SHEET_IMAGES {
            row.push(number);
        }
    }
    rows.retain(|(_, numbers)| !numbers.is_empty());
    rows.truncate(SHEET_CLASSES);
    let columns = rows.iter().map(|(_, numbers)| numbers.len()).max().unwrap_or(0);
    if columns == 0 {
        return Ok(None);
    }
    let (width, height) = (columns * size.width, rows.len() * size.height);
    let mut sheet = vec![0; size.channels * width * height];
    for (row, (_, numbers)) in rows.iter().enumerate() {
        for (column, &number) in numbers.iter().enumerate() {
            let image = opened.folder.image(number)?;
            for (channel, plane) in image.chunks_exact(size.plane()).enumerate() {
                for (y, line) in plane.chunks_exact(size.width).enumerate() {
                    let start = (channel * height + row * size.height + y) * width + column * size.width;
                    sheet[start..][..size.width].copy_from_slice(line);
                }
            }
        }
    }
    let names = rows.into_iter().map(|(class, _)| class.clone()).collect();
    Ok(Some((Planes { width, height, bytes: sheet }, names)))
}
