//! Writes that survive a loss of power: a file or folder has its name only once all of it is on the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Prefix of names under which something is written before it is put in place.
pub const UNFINISHED: &str = ".unfinished-";

/// What the umask is taken from, for files and folders: a group may look at a run where the user lets it.
const ANY_FILE: u32 = 0o666;
const ANY_FOLDER: u32 = 0o777;

/// Makes a folder under a name of its own in `folder`, which goes when it is dropped.
pub fn unfinished_folder(folder: &Path) -> io::Result<tempfile::TempDir> {
    let permissions = fs::Permissions::from_mode(ANY_FOLDER);
    tempfile::Builder::new().prefix(UNFINISHED).permissions(permissions).tempdir_in(folder)
}

/// Makes a folder, unless it is there, in one that is.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Makes a file under a name of its own in `folder`, which goes when it is dropped.
pub fn unfinished_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let permissions = fs::Permissions::from_mode(ANY_FILE);
    tempfile::Builder::new().prefix(UNFINISHED).permissions(permissions).tempfile_in(folder)
}

/// Puts `bytes` at `path`, whole or not at all; what was there is replaced.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = unfinished_file(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(folder)
}

/// Writes a new file. Its name may be lost until the folder is synced, as [`rename_folder`] does.
///
/// # Errors
/// There is something at `path`, or it cannot be written.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts the folder `from`, whose files are synced, at `to` on the same file system.
pub fn rename_folder(from: &Path, to: &Path) -> io::Result<()> {
    sync_folder(from)?;
    fs::rename(from, to)?;
    sync_folder(folder_of(to))
}

/// Returns when the names in `folder` would survive a loss of power.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes the files that a killed process left of [`replace`] in `folder`. Nobody else may be writing there.
pub fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        replace(&path, b"first, and longer").unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn a_failed_replacement_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"x").is_err());
        assert_eq!(names(dir.path()), ["folder"]);
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        create(&path, b"first").unwrap();
        assert_eq!(create(&path, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn a_folder_is_put_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        create(&from.join("a"), b"x").unwrap();
        rename_folder(&from, &to).unwrap();
        assert_eq!((names(dir.path()), names(&to)), (vec!["to".to_owned()], vec!["a".to_owned()]));
    }

    #[test]
    fn only_unfinished_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".unfinished-x", ".mine", "notes"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join(".unfinished-folder")).unwrap();
        remove_unfinished(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [".mine", ".unfinished-folder", "notes"]);
    }
}
