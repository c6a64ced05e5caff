//! Reads files that must be ordinary ones: a FIFO would wait for somebody who writes to it, and a device need not end.

use std::error::Error;
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file to read it, and does not wait for it.
///
/// # Errors
/// It cannot be opened, or is none that has its bytes; that is told by what it is.
pub fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    let file = match file {
        // A socket cannot be opened at all.
        Err(error) => return Err(path.metadata().ok().and_then(|metadata| check(&metadata).err()).unwrap_or(error)),
        Ok(file) => file,
    };
    check(&file.metadata()?)?;
    Ok(file)
}

/// All bytes of a file.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file.
///
/// # Errors
/// As [`open`]; it is no UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Whether an error comes of a file that may not be read: whether it is whole, or there at all, is not known.
pub fn is_denied(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source())
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether there is an ordinary file at the path.
///
/// # Errors
/// That cannot be told.
pub fn is_there(path: &Path) -> io::Result<bool> {
    match path.metadata() {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

/// # Errors
/// It is no ordinary file.
pub fn check(metadata: &Metadata) -> io::Result<()> {
    match kind(metadata.file_type()) {
        None => Ok(()),
        Some(kind) => Err(io::Error::other(format!("it is {kind}, and no ordinary file"))),
    }
}

fn kind(file_type: FileType) -> Option<&'static str> {
    let kinds = [
        (file_type.is_dir(), "a folder"),
        (file_type.is_fifo(), "a FIFO"),
        (file_type.is_socket(), "a socket"),
        (file_type.is_char_device() || file_type.is_block_device(), "a device"),
    ];
    kinds.into_iter().find_map(|(is_it, kind)| is_it.then_some(kind))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_is_no_ordinary_file_is_told_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        let fifo = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, fifo, 0).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        assert_eq!(read_to_string(&path("file")).unwrap(), "text");
        assert_eq!(read(&path("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
        for (name, kind) in [("fifo", "a FIFO"), ("socket", "a socket"), (".", "a folder"), ("/dev/zero", "a device")] {
            let error = read(&path(name)).unwrap_err().to_string();
            assert_eq!(error, format!("it is {kind}, and no ordinary file"));
        }
    }
}
