//! The `control` file of a run: the socket on which its trainer listens, and which process that is.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::dir::RunDir;
use super::process::Process;
use crate::durable;
use crate::ordinary_file;

/// The content of the `control` file, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainerAddress {
    /// Empty where there is no place for one: then signals alone reach the trainer.
    pub socket: PathBuf,
    #[serde(flatten)]
    pub process: Process,
}

impl TrainerAddress {
    /// This process, listening at `socket`.
    pub fn own(socket: PathBuf) -> Self {
        Self { socket, process: Process::own() }
    }

    /// `None` where the run has no such file, or one that cannot be read: then no trainer can be reached.
    pub fn read(dir: &RunDir) -> Option<Self> {
        Self::look(dir).ok().flatten()
    }

    /// As [`TrainerAddress::read`], `None` only where the run has no such file.
    ///
    /// # Errors
    /// It may not be read, or is damaged.
    pub fn look(dir: &RunDir) -> io::Result<Option<Self>> {
        match ordinary_file::read(&dir.control()) {
            Ok(json) => Ok(serde_json::from_slice(&json)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn write(&self, dir: &RunDir) -> io::Result<()> {
        let mut json = serde_json::to_vec(self)?;
        json.push(b'\n');
        durable::replace(&dir.control(), &json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_control_file_is_no_address() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        assert_eq!(TrainerAddress::read(&run), None);
        let own = TrainerAddress::own("/tmp/x".into());
        own.write(&run).unwrap();
        assert_eq!(TrainerAddress::read(&run), Some(own));
        std::fs::write(run.control(), "{\"socket\"").unwrap();
        assert_eq!(TrainerAddress::read(&run), None);
    }

    #[test]
    fn the_file_is_one_flat_object() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        let text = "{\"socket\":\"/tmp/x\",\"host\":\"node7\",\"pid\":5,\"start_ticks\":6}\n";
        std::fs::write(run.control(), text).unwrap();
        let address = TrainerAddress::read(&run).unwrap();
        assert_eq!(address.process, Process { host: "node7".into(), pid: 5, start_ticks: Some(6) });
        address.write(&run).unwrap();
        assert_eq!(std::fs::read_to_string(run.control()).unwrap(), text);
    }
}
