//! The framing of TFRecord files: length, its checksum, the bytes, their checksum, all little-endian. See
//! `tensorflow/core/lib/io/record_writer.h`.

use std::io::{self, Write};

/// # Errors
/// `out` cannot be written to.
pub fn write_record(out: &mut (impl Write + ?Sized), bytes: &[u8]) -> io::Result<()> {
    let length = (bytes.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(bytes)?;
    out.write_all(&masked_crc(bytes).to_le_bytes())
}

/// A CRC-32C, changed so that the checksum of data with checksums in it is a good one: `tensorflow/core/lib/hash/crc32c.h`.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
pub mod testing {
    use super::masked_crc;

    /// The contents of every record.
    ///
    /// # Panics
    /// A checksum or length is wrong.
    pub fn read_records(mut file: &[u8]) -> Vec<&[u8]> {
        let mut records = vec![];
        while !file.is_empty() {
            let crc = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
            assert_eq!(crc(&file[8..12]), masked_crc(&file[..8]), "of the length of record {}", records.len());
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let (bytes, rest) = file[12..].split_at(length);
            assert_eq!(crc(&rest[..4]), masked_crc(bytes), "of record {}", records.len());
            records.push(bytes);
            file = &rest[4..];
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_of_every_event_file_is_as_tensorflow_writes_it() {
        // `Event(wall_time=1.0, file_version="brain.Event:2")`, by TensorBoard's own RecordWriter.
        let event = b"\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x1a\x0dbrain.Event:2";
        let mut out = Vec::new();
        write_record(&mut out, event).unwrap();
        let expected = include_bytes!("first_record.tfrecord");
        assert_eq!(out, expected);
        assert_eq!(testing::read_records(&out), [event]);
    }
}
