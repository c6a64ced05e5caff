//! What is known of each file of a folder, apart from its pixels. Kept with the cache, as protobuf.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::scan::Listed;
use crate::data::channel_statistics::ChannelStatistics;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Index {
    /// What the images were made by: folder, size, rule.
    #[prost(string, tag = "1")]
    pub made_by: String,
    /// In the order of the scan.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// From the folder on.
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub file_bytes: u64,
    #[prost(sint64, tag = "3")]
    pub modified_ns: i64,
    /// Why it is no image; empty: it is one.
    #[prost(string, tag = "4")]
    pub unreadable: String,
    /// In pixels, as it is stored.
    #[prost(uint32, tag = "5")]
    pub width: u32,
    #[prost(uint32, tag = "6")]
    pub height: u32,
    /// Such as `JPEG`.
    #[prost(string, tag = "7")]
    pub format: String,
    /// What was done to it, such as `its first frame`.
    #[prost(string, repeated, tag = "8")]
    pub changes: Vec<String>,
    /// Of its planes, where the cache has them.
    #[prost(uint64, tag = "9")]
    pub offset: u64,
    #[prost(fixed32, tag = "10")]
    pub crc32c: u32,
    #[prost(bytes = "vec", tag = "11")]
    pub sha256: Vec<u8>,
    /// For each channel the sum of its bytes, and of their squares.
    #[prost(uint64, repeated, tag = "12")]
    pub sums: Vec<u64>,
    #[prost(uint64, repeated, tag = "13")]
    pub squares: Vec<u64>,
    /// In pixels, of the planes: as long as they are kept larger than the network takes them, each has its own.
    #[prost(uint32, tag = "14")]
    pub kept_width: u32,
    #[prost(uint32, tag = "15")]
    pub kept_height: u32,
    #[prost(bool, tag = "16")]
    pub was_colour: bool,
}

impl Entry {
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    pub fn is_readable(&self) -> bool {
        self.unreadable.is_empty()
    }

    /// Pixels of each plane.
    pub fn plane(&self) -> usize {
        self.kept_width as usize * self.kept_height as usize
    }

    /// Whether the file is still the one that was read, by what the file system tells.
    pub fn is_of(&self, listed: &Listed) -> bool {
        self.path() == listed.path && (self.file_bytes, self.modified_ns) == (listed.file_bytes, listed.modified_ns)
    }
}

/// Over all pixels of the planes of those images: see [`crate::data::Dataset::channel_statistics`].
pub fn statistics<'a>(entries: impl Iterator<Item = &'a Entry> + Clone, channels: usize) -> ChannelStatistics {
    let pixels = entries.clone().map(Entry::plane).sum();
    let total = |of: fn(&Entry) -> &Vec<u64>| -> Vec<u64> {
        (0..channels)
            .map(|channel| entries.clone().map(|entry| of(entry).get(channel).copied().unwrap_or(0)).sum())
            .collect()
    };
    ChannelStatistics::of_sums(&total(|entry| &entry.sums), &total(|entry| &entry.squares), pixels)
}
