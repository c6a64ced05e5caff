//! Checkpoints: everything that training needs to go on as if it had never stopped.
//!
//! A checkpoint is a folder: `model.safetensors`, `optimizer.safetensors`, and `state.json` with the rest and the SHA-256
//! of all. Where a run averages its weights, the model has those that it is evaluated by, and `raw.safetensors` or
//! `slow.safetensors` the others. It is written to a temporary folder, synced, and renamed into place, so that a name under
//! `checkpoints/` is a whole checkpoint or not there. No random generator's state is saved: draws are by counter.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::engine::{Engine, WeightsFile};
use super::origin::Origin;
use super::state::TrainState;
use crate::average::Companion;
use crate::checksum::sha256;
use crate::durable;
use crate::model::Network;
use crate::ordinary_file;
use crate::run::checkpoints_on_disk::{self, parse_name};
use crate::run::dir::RunDir;
use crate::run::event::{CheckpointReason, CheckpointSaved, EvaluatedWeights};

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const STATE_VERSION: u32 = 1;
/// Begins the name of a checkpoint that is being removed.
const REMOVED: &str = ".removed-";

#[derive(Serialize, Deserialize)]
struct StateFile {
    version: u32,
    #[serde(flatten)]
    state: TrainState,
    /// Older checkpoints lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
    /// SHA-256 of the files beside it, in hexadecimal. The first versions of taper wrote none.
    #[serde(default)]
    sha256: BTreeMap<String, String>,
    /// SHA-256 of this file as it is without this entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own_sha256: Option<String>,
}

impl StateFile {
    /// The bytes of the file, with the checksum of what is in it.
    fn into_json(mut self) -> serde_json::Result<Vec<u8>> {
        self.own_sha256 = None;
        self.own_sha256 = Some(sha256(&serde_json::to_vec_pretty(&self)?));
        serde_json::to_vec_pretty(&self)
    }

    /// Reads what [`StateFile::into_json`] wrote. Read and written again, the same content gives the same bytes, so that
    /// the checksum can be that of the file without itself.
    fn parse(json: &[u8]) -> Result<Self> {
        let mut file: Self = serde_json::from_slice(json).context("it is damaged")?;
        if file.version != STATE_VERSION {
            bail!("it has version {}, this taper reads {STATE_VERSION}", file.version)
        }
        if let Some(own_sha256) = file.own_sha256.take()
            && own_sha256 != sha256(&serde_json::to_vec_pretty(&file)?)
        {
            bail!("it is damaged: its SHA-256 is not the one that it names")
        }
        Ok(file)
    }
}

/// What the bytes of a `state.json` say.
///
/// # Errors
/// They are damaged, or of another version.
pub fn parse_state(json: &[u8]) -> Result<TrainState> {
    Ok(StateFile::parse(json)?.state)
}

/// The checkpoints of a run.
pub struct Checkpoints {
    folder: PathBuf,
    keep_last: usize,
}

impl Checkpoints {
    /// Also removes unfinished writes and removals of a killed trainer: call it as the holder of the run's lock.
    pub fn open(dir: &RunDir, keep_last: usize) -> Result<Self> {
        let folder = dir.checkpoints();
        // Not with the folders above it: a run that is gone is not made anew.
        durable::create_folder(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            if is_leftover(&entry.file_name().to_string_lossy()) {
                fs::remove_dir_all(entry.path())
                    .with_context(|| format!("cannot remove the leftover {}", entry.path().display()))?;
            }
        }
        Ok(Self { folder, keep_last })
    }

    /// The run has another directory now.
    pub fn move_to(&mut self, dir: &RunDir) {
        self.folder = dir.checkpoints();
    }

    /// Writes a checkpoint, then removes the oldest that are neither among the last few nor the best. A name that is
    /// taken (the same step, saved before something else changed) gets a number: nothing saved is overwritten.
    pub fn save(
        &self,
        engine: &Engine,
        state: &TrainState,
        origin: &Origin,
        name: &str,
        reason: CheckpointReason,
    ) -> Result<CheckpointSaved> {
        let started = Instant::now();
        let mut files = vec![
            (MODEL.to_owned(), engine.network()?.weights().to_safetensors()?),
            (OPTIMIZER.to_owned(), engine.optimizer_to_safetensors()?),
        ];
        files.extend(engine.companion_to_safetensors()?.map(|(companion, bytes)| (companion.file_name(), bytes)));
        let sha256 = files.iter().map(|(file, bytes)| (file.clone(), sha256(bytes))).collect();
        let state_file = StateFile {
            version: STATE_VERSION,
            state: state.clone(),
            origin: Some(origin.clone()),
            sha256,
            own_sha256: None,
        };
        let json = state_file.into_json()?;
        let bytes = files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + json.len();

        // Somebody may have removed them all.
        let unfinished = durable::create_folder(&self.folder)
            .and_then(|()| durable::unfinished_folder(&self.folder))
            .with_context(|| format!("cannot write to {}", self.folder.display()))?;
        for (file, bytes) in files.iter().map(|(file, bytes)| (file.as_str(), bytes)).chain([(STATE, &json)]) {
            let path = unfinished.path().join(file);
            durable::create(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let target = self.folder.join(name);
        durable::rename_folder(unfinished.path(), &target)
            .with_context(|| format!("cannot put {} in place", target.display()))?;

        if let Err(error) = self.remove_old(state, name) {
            // The new one is saved all the same.
            tracing::warn!("an old checkpoint is left: {error:#}");
        }
        Ok(CheckpointSaved {
            epoch: state.epoch,
            step: state.step,
            name: name.to_owned(),
            reason,
            bytes: bytes as u64,
            save_secs: started.elapsed().as_secs_f64(),
        })
    }

    /// A name for a checkpoint of `state` that is not taken, and later than all of the same step: numbers of those that
    /// were removed are not given again.
    pub fn free_name(&self, state: &TrainState) -> String {
        let name = state.checkpoint_name();
        // A folder that cannot be read cannot be written to either, which the save tells.
        let orders = names(&self.folder).unwrap_or_default().into_iter().filter_map(|name| parse_name(&name));
        match orders.filter(|(_, step, _)| *step == state.step).map(|(.., number)| number).max() {
            None => name,
            Some(last) => format!("{name}-{}", last + 1),
        }
    }

    fn remove_old(&self, state: &TrainState, just_saved: &str) -> Result<()> {
        let best = state.best.as_ref().map(|best| best.checkpoint.as_str());
        for name in names(&self.folder)?.iter().skip(self.keep_last.max(1)) {
            if Some(name.as_str()) == best || name == just_saved {
                continue;
            }
            // Out of sight first: a kill in the middle of the removal must not leave part of a checkpoint under its name.
            let doomed = self.folder.join(format!("{REMOVED}{name}"));
            fs::rename(self.folder.join(name), &doomed)?;
            fs::remove_dir_all(&doomed).with_context(|| format!("cannot remove {}", doomed.display()))?;
        }
        Ok(())
    }
}

/// A checkpoint that has been read and found whole.
pub struct Checkpoint {
    path: PathBuf,
    pub state: TrainState,
    /// None of one that an older version saved.
    pub origin: Option<Origin>,
    /// The bytes whose checksums were compared.
    model: Vec<u8>,
    optimizer: Vec<u8>,
    /// Of a run that averages its weights.
    companion: Option<(Companion, Vec<u8>)>,
}

impl Checkpoint {
    /// # Errors
    /// Names the file that is missing, damaged or of another version, and the checkpoint beside it that is whole, if there
    /// is one.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_alone(path).map_err(|error| {
            if ordinary_file::is_denied(error.as_ref()) {
                return error;
            }
            let others = path.parent().and_then(|folder| Some((folder, names(folder).ok()?)));
            let whole = others.and_then(|(folder, names)| {
                names.into_iter().map(|name| folder.join(name)).find(|other| Self::read_alone(other).is_ok())
            });
            match whole {
                Some(other) => anyhow!("{error:#}; {} is whole", other.display()),
                None => error,
            }
        })
    }

    /// Without looking for another.
    fn read_alone(path: &Path) -> Result<Self> {
        let state_path = path.join(STATE);
        let json = ordinary_file::read(&state_path).with_context(|| format!("cannot read {}", state_path.display()))?;
        let file = StateFile::parse(&json).with_context(|| state_path.display().to_string())?;
        let read = |name: &str| -> Result<Vec<u8>> {
            let path = path.join(name);
            let bytes = ordinary_file::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if !file.sha256.is_empty() && file.sha256.get(name) != Some(&sha256(&bytes)) {
                bail!("{} is damaged: its SHA-256 is not the one in {STATE}", path.display())
            }
            Ok(bytes)
        };
        let (model, optimizer) = (read(MODEL)?, read(OPTIMIZER)?);
        let companion = Companion::ALL.iter().find(|companion| file.sha256.contains_key(&companion.file_name()));
        let companion = match companion {
            Some(&companion) => Some((companion, read(&companion.file_name())?)),
            None => None,
        };
        Ok(Self { path: path.to_owned(), state: file.state, origin: file.origin, model, optimizer, companion })
    }

    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    pub fn weights_file(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// What its model has.
    pub fn evaluated_weights(&self) -> EvaluatedWeights {
        match self.companion {
            Some((Companion::Raw, _)) => EvaluatedWeights::Averaged,
            Some((Companion::Slow, _)) | None => EvaluatedWeights::Raw,
        }
    }

    /// Weights and optimizer.
    pub fn load(&self, engine: &mut Engine) -> Result<()> {
        match &self.companion {
            None => self.load_weights(engine)?,
            Some((companion, bytes)) => engine.load_weights_and(
                WeightsFile { bytes: &self.model, path: &self.weights_file() },
                *companion,
                WeightsFile { bytes, path: &self.path.join(companion.file_name()) },
            )?,
        }
        engine.load_optimizer(&self.optimizer, &self.path.join(OPTIMIZER))
    }

    /// The weights that are evaluated alone.
    pub fn load_weights(&self, engine: &mut Engine) -> Result<()> {
        engine.load_weights(&self.model, &self.weights_file())
    }

    /// The weights that are evaluated, as the bytes of a safetensors file.
    pub fn weights(&self) -> &[u8] {
        &self.model
    }

    /// The weights that are evaluated alone, into a network without an engine.
    pub fn load_network(&self, network: &Network) -> Result<()> {
        network.weights().load_bytes(&self.model, &self.weights_file())
    }
}

/// The latest whole checkpoint of a run; None if it has none at all.
///
/// # Errors
/// When there are checkpoints and every one is damaged: each is named. When one may not be read.
pub fn latest(dir: &RunDir) -> Result<Option<Checkpoint>> {
    Ok(latest_whole(dir)?.0)
}

/// The latest whole checkpoint of a run, and what is wrong with each later one.
///
/// # Errors
/// As [`latest`].
pub fn latest_whole(dir: &RunDir) -> Result<(Option<Checkpoint>, Vec<anyhow::Error>)> {
    let folder = dir.checkpoints();
    let mut damaged = vec![];
    for name in names(&folder)? {
        match Checkpoint::read_alone(&folder.join(name)) {
            Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
            // It may be whole: an older one is not what was asked for.
            Err(error) if ordinary_file::is_denied(error.as_ref()) => {
                return Err(error.context("the latest checkpoint may be whole: ask its owner for the right to read it"));
            }
            Err(error) => damaged.push(error),
        }
    }
    if damaged.is_empty() {
        return Ok((None, damaged));
    }
    let list: Vec<String> = damaged.iter().map(|error| format!("{error:#}")).collect();
    bail!(
        "no checkpoint in {} is whole: {}; moved away, they let the run begin again",
        folder.display(),
        list.join("; ")
    )
}

/// The folders of a run's checkpoints, the latest first, whole or not.
pub fn paths(dir: &RunDir) -> Result<Vec<PathBuf>> {
    let folder = dir.checkpoints();
    Ok(names(&folder)?.into_iter().map(|name| folder.join(name)).collect())
}

/// The names of the checkpoints in a folder, the latest first.
fn names(folder: &Path) -> Result<Vec<String>> {
    checkpoints_on_disk::names(folder).with_context(|| format!("cannot read {}", folder.display()))
}

/// Whether a trainer that was killed while it saved or removed a checkpoint left a folder of that name.
pub fn is_leftover(name: &str) -> bool {
    name.starts_with(durable::UNFINISHED) || name.strip_prefix(REMOVED).is_some_and(|name| parse_name(name).is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::device::Device;
    use super::super::state::Best;
    use super::*;
    use crate::config::{AverageConfig, AverageKind, Config, ScheduleConfig, TestTimeAugmentation};
    use crate::data::loader::EpochPlan;
    use crate::data::source::sample;
    use crate::schedule::Schedule;

    fn config(seed: u64, kind: AverageKind) -> Config {
        let mut config =
            Config { average: AverageConfig { kind, every: 1, ..Default::default() }, ..Config::default() };
        (config.model.channels, config.model.hidden, config.run.seed) = (vec![2, 3, 4], 5, seed);
        config
    }

    fn engine(seed: u64) -> Engine {
        engine_that_averages(seed, AverageKind::None)
    }

    fn engine_that_averages(seed: u64, kind: AverageKind) -> Engine {
        Engine::new(&config(seed, kind), &crate::data::DatasetInfo::cifar10(), &Device::CPU).expect("an engine")
    }

    /// After two steps.
    fn trained(kind: AverageKind) -> Engine {
        let mut config = config(1, kind);
        (config.train.batch_size, config.augment.enabled) = (2, false);
        let data = Arc::new(sample::read().expect("the sample").0.select(&[0, 1, 2, 3]));
        let mut engine = engine_that_averages(1, kind);
        engine.begin_epoch(&data, EpochPlan::of(&config, 1, 0), 1).expect("an epoch");
        while engine.next_step(u64::MAX, &|_| 0.01).expect("a step").is_some() {}
        engine
    }

    fn origin() -> Origin {
        let (train, test) = sample::read().expect("the sample");
        let source =
            crate::data::Source { train, validation: None, test, name: "x".into(), origin: "y".into(), notice: None };
        Origin::new(&Config::default(), &source)
    }

    fn at_step(step: u64) -> TrainState {
        let schedule = Schedule::new(&ScheduleConfig::default(), 0.1 + 0.2, 100);
        TrainState { step, batches_done: step, ..TrainState::new(&schedule) }
    }

    struct Folder {
        _root: tempfile::TempDir,
        dir: RunDir,
        checkpoints: Checkpoints,
    }

    fn folder() -> Folder {
        let root = tempfile::tempdir().expect("a folder");
        let dir = RunDir::at(root.path());
        let checkpoints = Checkpoints::open(&dir, 2).expect("checkpoints");
        Folder { _root: root, dir, checkpoints }
    }

    fn save(folder: &Folder, state: &TrainState) -> String {
        let name = folder.checkpoints.free_name(state);
        let saved = folder.checkpoints.save(&engine(state.step), state, &origin(), &name, CheckpointReason::Interval);
        let saved = saved.expect("saved");
        saved.name
    }

    #[test]
    fn what_is_saved_is_read_back_to_the_bit() {
        let folder = folder();
        let state = TrainState { best: None, ..at_step(7) };
        save(&folder, &state);
        let checkpoint = latest(&folder.dir).expect("readable").expect("one");
        assert_eq!(checkpoint.state, state);
        let mut loaded = engine(1);
        checkpoint.load(&mut loaded).expect("loads");
        let bytes =
            |engine: &Engine| engine.network().and_then(|network| network.weights().to_safetensors()).expect("bytes");
        assert_eq!(bytes(&loaded), bytes(&engine(7)));
    }

    #[test]
    fn averaged_weights_are_read_back_to_the_bit_with_those_beside_them() {
        for (kind, file, evaluated) in [
            (AverageKind::Ema, "raw.safetensors", EvaluatedWeights::Averaged),
            (AverageKind::Lookahead, "slow.safetensors", EvaluatedWeights::Raw),
        ] {
            let (folder, engine) = (folder(), trained(kind));
            let saved =
                folder.checkpoints.save(&engine, &at_step(2), &origin(), "e0001-s000002", CheckpointReason::Interval);
            let path = folder.dir.checkpoints().join(saved.expect("saved").name);
            let checkpoint = Checkpoint::read(&path).expect("whole");
            assert_eq!(checkpoint.evaluated_weights(), evaluated);
            let mut loaded = engine_that_averages(9, kind);
            checkpoint.load(&mut loaded).expect("loads");
            let model = |engine: &Engine| {
                engine.network().and_then(|network| network.weights().to_safetensors()).expect("bytes")
            };
            let beside = |engine: &Engine| engine.companion_to_safetensors().expect("bytes");
            assert!(model(&loaded) == model(&engine) && beside(&loaded) == beside(&engine), "{kind:?}");
            let mut evaluated = engine_that_averages(9, kind);
            checkpoint.load_weights(&mut evaluated).expect("loads");
            assert!(model(&evaluated) == model(&engine), "{kind:?}");

            let path = path.join(file);
            let bytes = fs::read(&path).expect("a file of its own");
            for damaged in [&bytes[..bytes.len() - 1], &[], &[&bytes[..], b"x"].concat()] {
                fs::write(&path, damaged).expect("written");
                let error = format!("{:#}", latest(&folder.dir).err().expect("it is damaged"));
                assert!(error.contains(file), "{error}");
            }
            fs::remove_file(&path).expect("removed");
            let error = format!("{:#}", latest(&folder.dir).err().expect("it is not whole"));
            assert!(error.contains(file), "{error}");
        }
    }

    #[test]
    fn the_last_and_the_best_are_kept() {
        let folder = folder();
        let best = save(&folder, &at_step(1));
        for step in 2..=5 {
            let best = Some(Best {
                epoch: 1,
                test_accuracy: 50.0,
                test_time_augmentation: TestTimeAugmentation::None,
                test_loss: None,
                checkpoint: best.clone(),
            });
            save(&folder, &TrainState { best, ..at_step(step) });
        }
        let kept = names(&folder.dir.checkpoints()).expect("names");
        assert_eq!(kept, ["e0001-s000005", "e0001-s000004", "e0001-s000001"]);
    }

    #[test]
    fn a_taken_name_is_numbered_and_the_later_is_the_latest() {
        let folder = folder();
        assert_eq!(save(&folder, &at_step(9)), "e0001-s000009");
        let later = TrainState { learning_rate: 0.5, ..at_step(9) };
        assert_eq!(save(&folder, &later), "e0001-s000009-2");
        assert_eq!(latest(&folder.dir).expect("readable").expect("one").state, later);
    }

    #[test]
    fn the_number_of_a_removed_checkpoint_is_not_given_again() {
        let folder = folder();
        for learning_rate in [0.1, 0.2, 0.3, 0.4] {
            save(&folder, &TrainState { learning_rate, ..at_step(9) });
            assert_eq!(latest(&folder.dir).expect("readable").expect("one").state.learning_rate, learning_rate);
        }
        assert_eq!(names(&folder.dir.checkpoints()).expect("names"), ["e0001-s000009-4", "e0001-s000009-3"]);
    }

    #[test]
    fn a_damaged_checkpoint_is_passed_over() {
        let folder = folder();
        save(&folder, &at_step(1));
        for file in [MODEL, OPTIMIZER, STATE] {
            let name = save(&folder, &at_step(2));
            let path = folder.dir.checkpoints().join(&name).join(file);
            let mut bytes = fs::read(&path).expect("the file");
            let middle = bytes.len() / 2;
            bytes.truncate(middle);
            fs::write(&path, bytes).expect("written");
            let checkpoint = latest(&folder.dir).expect("readable").expect("one");
            assert_eq!(checkpoint.state.step, 1, "{file}");
            fs::remove_dir_all(folder.dir.checkpoints().join(name)).expect("removed");
        }
        fs::remove_file(folder.dir.checkpoints().join("e0001-s000001").join(MODEL)).expect("removed");
        let error = format!("{:#}", latest(&folder.dir).err().expect("none is whole"));
        assert!(error.contains("e0001-s000001/model.safetensors"), "{error}");
    }

    /// A network of another seed, in which the checkpoint's weights are seen when they come.
    fn load(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
        let mut engine = engine(1);
        checkpoint.load(&mut engine)?;
        Ok([engine.network()?.weights().to_safetensors()?, engine.optimizer_to_safetensors()?].concat())
    }

    #[test]
    fn no_damaged_byte_is_loaded() {
        let folder = folder();
        let best = Some(Best {
            epoch: 1,
            test_accuracy: 12.5,
            test_time_augmentation: TestTimeAugmentation::FlipAndShift,
            test_loss: Some(1.5),
            checkpoint: "e0001-s000007".into(),
        });
        let (state, name) = (TrainState { best, ..at_step(7) }, "e0001-s000007");
        let engine = trained(AverageKind::Ema);
        let saved = folder.checkpoints.save(&engine, &state, &origin(), name, CheckpointReason::Interval);
        let path = folder.dir.checkpoints().join(saved.expect("saved").name);
        let whole = Checkpoint::read(&path).expect("whole");
        for file in [STATE, MODEL, OPTIMIZER, "raw.safetensors"] {
            let bytes = fs::read(path.join(file)).expect(file);
            let refused = |damaged: &[u8], what: &str| {
                fs::write(path.join(file), damaged).expect("written");
                match Checkpoint::read(&path) {
                    Err(error) => assert!(format!("{error:#}").contains(file), "{what}: {error:#}"),
                    // Space between the entries of the JSON, or a letter in the name of the checksum.
                    Ok(read) => assert!(file == STATE && read.state == whole.state, "{file}: {what}"),
                }
            };
            let mut damaged = bytes.clone();
            for at in 0..bytes.len() {
                damaged[at] ^= 1 << (at % 8);
                refused(&damaged, &format!("bit {} of byte {at}", at % 8));
                damaged[at] = bytes[at];
                if at % 5 == 0 {
                    refused(&bytes[..at], &format!("cut off at {at}"));
                }
            }
            refused(&[&bytes[..], b"x"].concat(), "one byte more");
            fs::write(path.join(file), &bytes).expect("written");
        }
        Checkpoint::read(&path).expect("whole again");
    }

    #[test]
    fn an_older_checkpoint_without_checksums_loads() {
        let folder = folder();
        let path = folder.dir.checkpoints().join(save(&folder, &at_step(7)));
        let whole = load(&Checkpoint::read(&path).expect("whole")).expect("loads");
        let json = fs::read(path.join(STATE)).expect("the state");
        let mut state: serde_json::Map<_, _> = serde_json::from_slice(&json).expect("JSON");
        state.remove("own_sha256").expect("a checksum");
        state.remove("sha256").expect("checksums");
        fs::write(path.join(STATE), serde_json::to_vec(&state).expect("JSON")).expect("written");
        assert!(load(&Checkpoint::read(&path).expect("read")).expect("loads") == whole);
    }

    #[test]
    fn a_whole_checkpoint_is_named_beside_a_damaged_one() {
        let folder = folder();
        let [first, second] = [1, 2].map(|step| folder.dir.checkpoints().join(save(&folder, &at_step(step))));
        fs::write(second.join(OPTIMIZER), "").expect("written");
        let error = format!("{:#}", Checkpoint::read(&second).err().expect("it is damaged"));
        let expected = format!(
            "{} is damaged: its SHA-256 is not the one in state.json; {} is whole",
            second.join(OPTIMIZER).display(),
            first.display()
        );
        assert_eq!(error, expected);
        let (latest, passed_over) = latest_whole(&folder.dir).expect("readable");
        assert_eq!((latest.expect("one").state.step, passed_over.len()), (1, 1));
        fs::write(first.join(MODEL), "").expect("written");
        let error = format!("{:#}", Checkpoint::read(&second).err().expect("it is damaged"));
        assert!(!error.contains("is whole"), "{error}");
    }

    #[test]
    fn leftovers_are_removed_when_the_folder_is_opened() {
        let folder = folder();
        fs::create_dir(folder.dir.checkpoints().join(".unfinished-x")).expect("a folder");
        Checkpoints::open(&folder.dir, 2).expect("opens");
        assert_eq!(fs::read_dir(folder.dir.checkpoints()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_run_without_checkpoints_has_no_latest() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(latest(&RunDir::at(root.path())).expect("readable").is_none());
    }
}
