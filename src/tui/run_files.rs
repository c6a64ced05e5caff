//! The files of a run that pages show, beside its log of events: read again when they have changed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use super::app::Update;
use crate::config;
use crate::ordinary_file;
use crate::run::checkpoints_on_disk::checkpoints_on_disk;
use crate::run::dir::RunDir;
use crate::run::trainer_log;

/// How a file was when it was read last.
#[derive(Debug, Default)]
pub struct RunFiles {
    trainer_log: Option<Stamp>,
    configuration: Option<Stamp>,
    /// Of their folder, which changes with every checkpoint that is saved or removed.
    checkpoints: Option<Stamp>,
}

/// Tells whether a file is another one, or has been written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    Of { inode: u64, bytes: u64, modified: Option<SystemTime> },
    None(io::ErrorKind),
}

impl Stamp {
    fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(file) => Self::Of { inode: file.ino(), bytes: file.len(), modified: file.modified().ok() },
            Err(error) => Self::None(error.kind()),
        }
    }
}

impl RunFiles {
    /// What has changed since the last call; at first all.
    pub fn changed(&mut self, run: &RunDir) -> Vec<Update> {
        let mut updates = vec![];
        if is_other(&mut self.trainer_log, &run.trainer_log()) {
            let path = run.trainer_log();
            updates.push(Update::TrainerLog(trainer_log::read_tail(&path).map_err(|error| described(&path, &error))));
        }
        if is_other(&mut self.configuration, &run.config()) {
            let path = run.config();
            let values = ordinary_file::read_to_string(&path)
                .map_err(|error| described(&path, &error))
                .and_then(|text| config::values_of(&text).map_err(|error| format!("{}: {error}", path.display())));
            updates.push(Update::Configuration(values));
        }
        if is_other(&mut self.checkpoints, &run.checkpoints()) {
            let found = checkpoints_on_disk(run).map_err(|error| described(&run.checkpoints(), &error));
            updates.push(Update::Checkpoints(found));
        }
        updates
    }
}

fn is_other(seen: &mut Option<Stamp>, path: &Path) -> bool {
    // Before it is read: what is written meanwhile is read again.
    let stamp = Stamp::of(path);
    seen.replace(stamp) != Some(stamp)
}

fn described(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{} is not there", path.display()),
        _ => format!("{}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_has_changed() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::at(root.path());
        let mut files = RunFiles::default();
        fs::write(run.config(), "[train]\nepochs = 3\n").unwrap();
        let updates = files.changed(&run);
        let [Update::TrainerLog(Err(log)), Update::Configuration(Ok(values)), Update::Checkpoints(Ok(checkpoints))] =
            &updates[..]
        else {
            panic!("not all of them")
        };
        assert!(log.ends_with("trainer.log is not there"), "{log}");
        assert_eq!((values["train.epochs"].as_str(), checkpoints.len()), ("3", 0));
        assert!(files.changed(&run).is_empty());
        fs::write(run.trainer_log(), "a line\n").unwrap();
        let updates = files.changed(&run);
        let [Update::TrainerLog(Ok(log))] = &updates[..] else { panic!("not the log alone") };
        assert_eq!(log.lines[0].text, "a line");
        fs::create_dir_all(run.checkpoints().join("e0001-s000001")).unwrap();
        let updates = files.changed(&run);
        let [Update::Checkpoints(Ok(checkpoints))] = &updates[..] else { panic!("not the checkpoints") };
        assert_eq!(checkpoints.len(), 1);
        fs::write(run.config(), "[train\n").unwrap();
        let updates = files.changed(&run);
        let [Update::Configuration(Err(error))] = &updates[..] else { panic!("not the configuration") };
        assert!(error.contains("config.toml: "), "{error}");
    }
}
