//! Decodes and resizes the images of a folder, once and on all cores.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use rayon::prelude::*;

use super::cache::{Cache, Writer, digest};
use super::fit::{Fit, Fitted, Form};
use super::index::{Entry, Index};
use super::scan::Listed;
use crate::data::channel_statistics::plane_sums;
use crate::data::image_file::format_name;
use crate::ordinary_file;

/// Images that are decoded before they are written: enough for all cores, and little memory.
const AT_ONCE: usize = 512;

/// Decodes every listed image of the folder `root`, and returns what is known of each, readable or not. Images that `earlier` holds
/// are taken from it. `made_by` is noted in the index. They are written to a cache at the path `cache`; without one, whoever needs
/// an image decodes it again. `done` is told how many are done.
///
/// # Errors
/// The cache cannot be written; then there is none, or the one that was there.
pub fn build(
    root: &Path,
    listed: &[Listed],
    form: Form,
    made_by: &str,
    earlier: Option<&Cache>,
    cache: Option<&Path>,
    mut done: impl FnMut(usize),
) -> io::Result<Index> {
    let mut writer = cache.map(Writer::create).transpose()?;
    let earlier = earlier.map(Earlier::new);
    let mut index = Index { made_by: made_by.to_owned(), entries: Vec::with_capacity(listed.len()) };
    for listed in listed.chunks(AT_ONCE) {
        let made: Vec<(Entry, Vec<u8>)> = listed
            .par_iter()
            .map_init(
                || Fit::new(form),
                |fit, listed| {
                    let known = earlier.as_ref().and_then(|earlier| earlier.find(listed));
                    known.unwrap_or_else(|| make(root, listed, fit, form))
                },
            )
            .collect();
        for (mut entry, planes) in made {
            if let Some(writer) = &mut writer {
                entry.offset = writer.push(&planes)?;
            }
            index.entries.push(entry);
        }
        done(index.entries.len());
    }
    if let Some(writer) = writer {
        writer.finish(&index)?;
    }
    Ok(index)
}

/// One file; without planes where it cannot be read.
fn make(root: &Path, listed: &Listed, fit: &mut Fit, form: Form) -> (Entry, Vec<u8>) {
    let entry = Entry {
        path: listed.path.as_os_str().as_encoded_bytes().to_vec(),
        file_bytes: listed.file_bytes,
        modified_ns: listed.modified_ns,
        ..Entry::default()
    };
    let read = ordinary_file::read(&root.join(&listed.path)).map_err(|error| error.to_string());
    match read.and_then(|bytes| fit.decode(&bytes).map_err(|error| error.to_string())) {
        Err(unreadable) => (Entry { unreadable, ..entry }, vec![]),
        Ok(Fitted { planes, about, sides: (kept_width, kept_height), was_colour, .. }) => {
            let (sums, squares) = plane_sums(&planes, planes.len() / form.size.channels).unzip();
            let entry = Entry {
                width: about.width,
                height: about.height,
                format: format_name(about.format),
                changes: about.changes.iter().map(ToString::to_string).collect(),
                crc32c: crc32c::crc32c(&planes),
                sha256: digest(&planes),
                sums,
                squares,
                kept_width,
                kept_height,
                was_colour,
                ..entry
            };
            (entry, planes)
        }
    }
}

/// The images of a cache, by their paths.
struct Earlier<'a> {
    cache: &'a Cache,
    entries: HashMap<&'a [u8], &'a Entry>,
}

impl<'a> Earlier<'a> {
    fn new(cache: &'a Cache) -> Self {
        let entries = cache.index().entries.iter().map(|entry| (&entry.path[..], entry)).collect();
        Self { cache, entries }
    }

    /// The image of a file that has not changed since; None also where the cache is damaged.
    fn find(&self, listed: &Listed) -> Option<(Entry, Vec<u8>)> {
        let entry = *self.entries.get(listed.path.as_os_str().as_encoded_bytes())?;
        if !entry.is_of(listed) || !entry.is_readable() {
            return None;
        }
        Some((entry.clone(), self.cache.image(entry)?.to_vec()))
    }
}
