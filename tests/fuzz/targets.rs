//! What is fuzzed: each function takes arbitrary bytes as a file or message that taper reads, and panics where taper does
//! not keep its word. Shared by the targets of cargo fuzz and the test that replays their corpus.

use std::io::Write;
use std::path::Path;

use candle_core::Device;
use jiff::tz::TimeZone;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Size;
use ratatui::{Frame, Terminal};
use taper::config::{Config, LEARNING_RATES, ModelConfig, OptimizerConfig};
use taper::data::DatasetInfo;
use taper::data::fetch::npm::read_labels;
use taper::data::source::cifar::pickle::parse_batch;
use taper::data::source::cifar::{parse_records, to_records};
use taper::model::Network;
use taper::optim::Optimizer;
use taper::run::event::{Command, Record};
use taper::run::lock::Liveness;
use taper::run::log::{FollowError, Follower};
use taper::run::metric::Metric;
use taper::run::probe::Probe;
use taper::run::series::{Smoothing, XAxis};
use taper::run::socket;
use taper::run::state::RunState;
use taper::train::checkpoint::parse_state;
use taper::tui::app::{App, Update};
use taper::tui::theme::Theme;
use taper::tui::view;

/// A line that a client sends to the control socket: refused, or a command that can be sent again.
pub fn command(line: &[u8]) {
    let Ok(command) = socket::parse(line) else { return };
    if let Command::SetLearningRate { learning_rate } = command {
        assert!(LEARNING_RATES.contains(&learning_rate), "{learning_rate}");
    }
    let again = serde_json::json!({ "version": socket::PROTOCOL_VERSION, "command": command });
    assert_eq!(socket::parse(again.to_string().as_bytes()), Ok(command));
}

/// An `events.jsonl`: however it is read, the same records; folded, asked and drawn, they are no panic.
pub fn event_log(log: &[u8]) {
    let file = file(log);
    let (records, errors) = read(file.path(), 1 << 16);
    let lines = log.iter().filter(|&&byte| byte == b'\n').count();
    assert!(records.len() + errors.len() <= lines);
    let (in_pieces, errors_in_pieces) = read(file.path(), 7);
    assert!(records.iter().map(text).eq(in_pieces.iter().map(text)));
    assert!(errors.iter().map(FollowError::to_string).eq(errors_in_pieces.iter().map(FollowError::to_string)));

    let mut state = RunState::default();
    for record in &records {
        state.apply(record);
        look_at(&state);
    }
    draw(records);
}

/// A `config.toml`: refused by name, or a configuration that is the same when it is written and read again.
pub fn config(toml: &[u8]) {
    let config = file(toml);
    match Config::load(Some(config.path()), &[]) {
        Ok(config) => {
            let again = file(config.to_toml().as_bytes());
            assert_eq!(Config::load(Some(again.path()), &[]).as_ref(), Ok(&config));
        }
        Err(error) => {
            let name = config.path().display().to_string();
            assert!(error.problems().iter().all(|problem| problem.contains(&name)), "{error}");
        }
    }
}

/// A batch of one image in the binary layout or pickled, or a list of labels, as the first byte says: refused, or a
/// image with a label that there is.
pub fn cifar(bytes: &[u8]) {
    let Some((kind, batch)) = bytes.split_first() else { return };
    let dataset = match kind % 3 {
        0 => parse_records("batch", batch, 1),
        1 => parse_batch("batch", batch, 1),
        _ => {
            let labels = read_labels(batch).unwrap_or_default();
            assert!(labels.iter().all(|&label| label < 10));
            return;
        }
    };
    match dataset {
        Ok(dataset) => {
            let records = to_records(&dataset);
            assert!(kind % 3 != 0 || records == batch);
            assert!(parse_records("batch", &records, 1) == Ok(dataset));
        }
        Err(error) => assert!(error.to_string().starts_with("batch: "), "{error}"),
    }
}

/// The `state.json`, `model.safetensors` or `optimizer.safetensors` of a checkpoint, or a probe, as the first byte says:
/// refused, and then nothing has changed, or taken.
pub fn checkpoint(bytes: &[u8]) {
    let Some((kind, file)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => {
            if let Ok(state) = parse_state(file) {
                let _ = (state.checkpoint_name(), state.epochs_since_best());
            }
        }
        1 => {
            let (cnn, _) = network();
            let before = cnn.weights().to_safetensors().expect("weights");
            let taken = cnn.weights().load_bytes(file, Path::new("model"));
            assert!(taken.is_ok() || cnn.weights().to_safetensors().expect("weights") == before);
        }
        2 => {
            let (_, mut adam) = network();
            let before = adam.to_safetensors().expect("moments");
            let taken = adam.load(file, Path::new("optimizer"));
            assert!(taken.is_ok() || adam.to_safetensors().expect("moments") == before);
        }
        _ => {
            if let Ok(probe) = Probe::from_bytes(file) {
                for image in probe.images.iter().chain(&probe.mistakes) {
                    let _ = (image.explanation.predicted(), image.explanation.cam(2, image.true_class));
                }
            }
        }
    }
}

/// As small as can be.
pub fn network() -> (Network, Optimizer) {
    let config = ModelConfig { channels: vec![1, 1, 1], hidden: 1, ..ModelConfig::default() };
    let cnn = Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu).expect("a network");
    let optimizer = Optimizer::new(&OptimizerConfig::default(), &cnn.weights().parameters).expect("an optimizer");
    (cnn, optimizer)
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    file
}

fn text(record: &Record) -> String {
    // Not by `==`: a number that is none does not equal itself.
    format!("{record:?}")
}

/// Every record of a log, and every error on the way.
pub fn read(path: &Path, max_bytes: usize) -> (Vec<Record>, Vec<FollowError>) {
    let (mut records, mut errors) = (vec![], vec![]);
    let mut follower = Follower::new(path);
    loop {
        match follower.read(max_bytes) {
            Ok(more) if more.is_empty() => return (records, errors),
            Ok(more) => records.extend(more),
            Err(error) => {
                let is_final = !matches!(error, FollowError::Malformed { .. });
                errors.push(error);
                if is_final {
                    return (records, errors);
                }
            }
        }
    }
}

/// Everything that a view asks of a run.
pub fn look_at(state: &RunState) {
    let _ = (state.summary(), state.best(), state.steps_in_epoch(), state.open_epoch_loss(), state.probe_share());
    let _ = (state.active_secs(u64::MAX), state.wall_secs(0), state.step_time(), state.recent_step_time());
    let _ = state.losses.smoothed();
    for metric in Metric::all() {
        let series = state.series(metric);
        for axis in [XAxis::Step, XAxis::Epoch, XAxis::Time] {
            let (start, end) = series.extent(axis).unwrap_or_default();
            let _ = (series.envelope(axis, start..end, 80), series.nearest(axis, (start + end) / 2.0));
            let _ = series.smoothed(axis, start..end, 80, Smoothing::new(0.9));
        }
    }
}

/// Every page of the dashboard.
fn draw(records: Vec<Record>) {
    let mut app = App::new("run", Size::new(80, 24), Theme::Colour, TimeZone::UTC);
    app.update(Update::Records(records));
    app.update(Update::Liveness(Liveness::Live));
    app.now_ms = app.run.last_activity_ms.saturating_add(2000);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a screen in memory");
    for page in [KeyCode::Char('a'), KeyCode::Char('C'), KeyCode::Char('m'), KeyCode::Char('i'), KeyCode::Esc] {
        terminal.draw(|frame: &mut Frame| drop(view::render(&app, frame))).expect("a screen in memory");
        let _ = app.handle_key(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
        let _ = app.handle_key(KeyEvent::new(page, KeyModifiers::NONE));
    }
}
