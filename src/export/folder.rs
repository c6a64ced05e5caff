//! A folder that files of a run are exported into. It replaces what an earlier export of the same run wrote there, as long as
//! nobody has changed it, and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::durable;
use crate::ordinary_file;

/// Says what was exported into a folder, and of which run.
pub const MANIFEST: &str = "taper-export.json";

/// Which run the files of a folder are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub run: String,
    /// Unix, in milliseconds; `None` of a run that had not begun. A run that was renamed has it still, and another run of the
    /// same name has another.
    pub first_started_ms: Option<u64>,
}

impl Source {
    fn is_same(&self, other: &Self) -> bool {
        match (self.first_started_ms, other.first_started_ms) {
            (Some(one), Some(other)) => one == other,
            _ => self.run == other.run,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    #[serde(flatten)]
    source: Source,
    /// The SHA-256 of each file, by its name.
    files: BTreeMap<String, String>,
}

/// What keeps an export from being written.
#[derive(Debug, Error)]
pub enum FolderError {
    #[error("{path} is not of an export of taper, and is not overwritten; choose another folder, or move it away")]
    Foreign { path: String },
    #[error(
        "{path} was changed since taper exported it, and is not overwritten; choose another folder, or move it away"
    )]
    Changed { path: String },
    #[error("{folder} has an export of another run, {run}; choose another folder")]
    AnotherRun { folder: String, run: String },
    #[error("{path} is not a list of exported files: {reason}; choose another folder, or move it away")]
    Manifest { path: String, reason: String },
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
}

/// Files that are written aside, until [`ExportFolder::finish`] gives them their names.
pub struct ExportFolder {
    path: PathBuf,
    manifest: Manifest,
    pending: Vec<Pending>,
}

struct Pending {
    name: String,
    file: NamedTempFile,
    sha256: String,
}

impl ExportFolder {
    /// Makes the folder, unless it is there.
    ///
    /// # Errors
    /// It cannot be made, or has an export of another run.
    pub fn open(path: &Path, source: Source) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(|error| io_error(path, error))?;
        let file = path.join(MANIFEST);
        let manifest = match ordinary_file::read(&file) {
            Ok(bytes) => {
                let reason = |error: serde_json::Error| error.to_string();
                let found: Manifest = serde_json::from_slice(&bytes)
                    .map_err(reason)
                    .map_err(|reason| FolderError::Manifest { path: file.display().to_string(), reason })?;
                if !found.source.is_same(&source) {
                    let folder = path.display().to_string();
                    return Err(FolderError::AnotherRun { folder, run: found.source.run });
                }
                Manifest { source, files: found.files }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Manifest { source, files: BTreeMap::new() },
            Err(error) => return Err(io_error(&file, error)),
        };
        Ok(Self { path: path.to_owned(), manifest, pending: vec![] })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file aside.
    ///
    /// # Errors
    /// It cannot be written, or what has its name is not of an earlier export of the run.
    pub fn add<E>(&mut self, name: &str, write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), E>) -> Result<(), E>
    where
        E: From<FolderError>,
    {
        self.check(name)?;
        let io = |error| io_error(&self.path.join(name), error);
        let mut file = durable::unfinished_file(&self.path).map_err(io)?;
        let mut out = BufWriter::new(Hashing { out: file.as_file_mut(), hash: Sha256::new() });
        write(&mut out)?;
        let hash = out.into_inner().map_err(|error| io(error.into_error()))?.hash;
        let sha256 = format!("{:x}", hash.finalize());
        self.pending.push(Pending { name: name.to_owned(), file, sha256 });
        Ok(())
    }

    /// Puts every file in its place, and returns their paths.
    ///
    /// # Errors
    /// One cannot be put there; those before it are.
    pub fn finish(mut self) -> Result<Vec<PathBuf>, FolderError> {
        let mut written = vec![];
        for Pending { name, file, sha256 } in std::mem::take(&mut self.pending) {
            let path = self.path.join(&name);
            self.check(&name)?;
            let is_new = !self.manifest.files.contains_key(&name);
            let placed = if is_new { file.persist_noclobber(&path) } else { file.persist(&path) };
            match placed {
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(FolderError::Foreign { path: path.display().to_string() });
                }
                placed => drop(placed.map_err(|error| io_error(&path, error.error))?),
            }
            self.manifest.files.insert(name, sha256);
            written.push(path);
        }
        let file = self.path.join(MANIFEST);
        let mut json = serde_json::to_vec_pretty(&self.manifest).expect("names and numbers have a JSON form");
        json.push(b'\n');
        durable::replace(&file, &json).map_err(|error| io_error(&file, error))?;
        Ok(written)
    }

    /// # Errors
    /// There is something of that name that may not be replaced.
    fn check(&self, name: &str) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let shown = || path.display().to_string();
        match (fs::symlink_metadata(&path), self.manifest.files.get(name)) {
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            (Err(error), _) => Err(io_error(&path, error)),
            (Ok(_), None) => Err(FolderError::Foreign { path: shown() }),
            (Ok(found), Some(_)) if !found.is_file() => Err(FolderError::Changed { path: shown() }),
            (Ok(_), Some(sha256)) => match hash_of(&path) {
                Ok(found) if found == *sha256 => Ok(()),
                Ok(_) => Err(FolderError::Changed { path: shown() }),
                Err(error) => Err(io_error(&path, error)),
            },
        }
    }
}

fn io_error(path: &Path, source: io::Error) -> FolderError {
    FolderError::Io { path: path.display().to_string(), source }
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut hashing = Hashing { out: io::sink(), hash: Sha256::new() };
    io::copy(&mut File::open(path)?, &mut hashing)?;
    Ok(format!("{:x}", hashing.hash.finalize()))
}

struct Hashing<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(first_started_ms: Option<u64>) -> Source {
        Source { run: "wide".into(), first_started_ms }
    }

    fn export(path: &Path, source: Source, text: &str) -> Result<Vec<PathBuf>, FolderError> {
        let mut folder = ExportFolder::open(path, source)?;
        folder.add("a.csv", |out| out.write_all(text.as_bytes()).map_err(|error| io_error(path, error)))?;
        folder.finish()
    }

    #[test]
    fn an_earlier_export_of_the_same_run_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out/further");
        for text in ["first", "second"] {
            assert_eq!(export(&path, source(Some(7)), text).unwrap(), [path.join("a.csv")]);
            assert_eq!(fs::read_to_string(path.join("a.csv")).unwrap(), text);
        }
        let renamed = Source { run: "narrow".into(), ..source(Some(7)) };
        export(&path, renamed, "third").unwrap();
        let error = export(&path, source(Some(8)), "x").unwrap_err().to_string();
        assert!(error.ends_with("has an export of another run, narrow; choose another folder"), "{error}");
        assert_eq!(fs::read_to_string(path.join("a.csv")).unwrap(), "third");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2, "nothing unfinished is left");
    }

    #[test]
    fn what_is_not_ours_or_was_changed_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.csv");
        fs::write(&file, "mine").unwrap();
        let error = export(dir.path(), source(None), "x").unwrap_err().to_string();
        assert!(error.contains("a.csv is not of an export of taper"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        fs::remove_file(&file).unwrap();
        export(dir.path(), source(None), "ours").unwrap();
        fs::write(&file, "edited").unwrap();
        let error = export(dir.path(), source(Some(1)), "x").unwrap_err().to_string();
        assert!(error.contains("a.csv was changed since taper exported it"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "edited");
    }

    #[test]
    fn another_file_in_the_place_of_the_list_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MANIFEST), "{}").unwrap();
        let error = export(dir.path(), source(None), "x").unwrap_err().to_string();
        assert!(error.contains("taper-export.json is not a list of exported files"), "{error}");
    }
}
