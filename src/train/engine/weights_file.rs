//! A file of weights that has been read.

use std::path::Path;

#[derive(Clone, Copy)]
pub struct WeightsFile<'a> {
    pub bytes: &'a [u8],
    /// Where it lies, for errors.
    pub path: &'a Path,
}
