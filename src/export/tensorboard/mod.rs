//! Event files of TensorBoard: scalars, pictures of the probes, and the configuration as hyper-parameters.

mod event_writer;
mod hparams;
mod messages;
mod pictures;
mod record;
mod scalars;

use std::io::Write;

use anyhow::Result;

use self::event_writer::EventWriter;
use self::messages::{Event, What};
use super::RecordedRun;

/// Always the same of a run, so that a later export replaces the earlier one. TensorBoard looks for `tfevents` in it.
pub fn file_name(run: &RecordedRun) -> String {
    let secs = run.state.first_started_ms.unwrap_or(0) / 1000;
    format!("events.out.tfevents.{secs:010}.taper")
}

/// # Errors
/// A probe cannot be read, or `out` cannot be written to.
pub fn write_events(run: &RecordedRun, out: impl Write) -> Result<()> {
    let mut events = EventWriter::new(out);
    let start_secs = run.state.first_started_ms.unwrap_or(0) as f64 / 1e3;
    let version = What::FileVersion("brain.Event:2".to_owned());
    events.write(&Event { wall_time: start_secs, step: 0, what: Some(version) })?;
    hparams::write(run, &mut events)?;
    scalars::write(run, &mut events)?;
    pictures::write(run, &mut events)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message;

    use super::messages::{Datum, Summary};
    use super::*;

    fn events(log: &str) -> Vec<Event> {
        let (_folder, run) = RecordedRun::example(log);
        let mut file = Vec::new();
        write_events(&run, &mut file).unwrap();
        record::testing::read_records(&file).into_iter().map(|bytes| Event::decode(bytes).unwrap()).collect()
    }

    /// The steps and values of each scalar.
    fn scalars(events: &[Event]) -> BTreeMap<&str, Vec<(i64, f32)>> {
        let mut scalars: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for event in events {
            let Some(What::Summary(summary)) = &event.what else { continue };
            for value in &summary.values {
                if let Some(Datum::Scalar(scalar)) = value.datum {
                    scalars.entry(&value.tag).or_default().push((event.step, scalar));
                }
            }
        }
        scalars
    }

    #[test]
    fn what_is_written_is_what_the_log_says() {
        let events = events("training");
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".into())));
        let scalars = scalars(&events);
        let (_folder, run) = RecordedRun::example("training");
        let losses: Vec<f32> = scalars["batch/loss"].iter().map(|&(_, loss)| loss).collect();
        assert_eq!(losses, run.state.losses.values());
        let epochs: Vec<(i64, f32)> =
            run.state.epochs.iter().map(|epoch| (epoch.step as i64, epoch.test_accuracy as f32)).collect();
        assert_eq!(scalars["accuracy/test"], epochs);
        assert!(events.iter().all(|event| event.wall_time >= 1_795_542_723.0), "times are those of the run");
    }

    #[test]
    fn a_loss_that_is_not_finite_is_left_out_and_a_run_without_a_step_has_its_configuration() {
        assert!(scalars(&events("diverged"))["batch/loss"].iter().all(|(_, loss)| loss.is_finite()));
        let events = events("empty");
        assert!(scalars(&events).is_empty() && events.len() == 2);
        let Some(What::Summary(Summary { values })) = &events[1].what else { panic!("{events:?}") };
        assert_eq!(values.len(), 3);
        assert!(values.iter().all(|value| value.tag.starts_with("_hparams_/")));
    }
}
