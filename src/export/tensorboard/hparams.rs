//! The configuration, for the hparams plugin.

use std::io::Write;

use anyhow::Result;
use prost::Message;
use toml::Value as Toml;

use super::event_writer::{EventWriter, plugin_value};
use super::messages::{
    DataType, Experiment, HParamInfo, HParams, HParamsData, Kind, MetricInfo, MetricName, SessionEnd, SessionStart,
    Status, Value,
};
use super::scalars;
use crate::export::RecordedRun;
use crate::run::event::Outcome;
use crate::run::state::Phase;

const PLUGIN: &str = "hparams";

pub fn write(run: &RecordedRun, events: &mut EventWriter<impl Write>) -> Result<()> {
    let parameters: Vec<(String, Kind)> =
        run.configuration.iter().map(|(key, text)| (key.clone(), kind(text))).collect();
    let info = |(name, kind): &(String, Kind)| HParamInfo { name: name.clone(), data_type: data_type(kind).into() };
    let metric = |tag: String| {
        let display_name = tag.replace('/', " ");
        MetricInfo { name: Some(MetricName { tag }), display_name }
    };
    let experiment = Experiment {
        hparams: parameters.iter().map(info).collect(),
        metrics: scalars::epoch_tags(run).map(metric).to_vec(),
    };
    let state = &run.state;
    let start_ms = state.first_started_ms.unwrap_or(0);
    let values = parameters.into_iter().map(|(name, kind)| (name, Value { kind: Some(kind) }));
    let start = SessionStart { hparams: values.collect(), start_time_secs: start_ms as f64 / 1e3 };
    let status = match state.phase {
        Phase::Ended(Outcome::Failed) => Status::Failure,
        Phase::Ended(Outcome::Completed | Outcome::Stopped | Outcome::Interrupted) => Status::Success,
        _ if run.is_live => Status::Running,
        _ => Status::Unknown,
    };
    let end = SessionEnd { status: status.into(), end_time_secs: state.last_activity_ms as f64 / 1e3 };
    let value = |tag: &str, data| plugin_value(tag, PLUGIN, HParams { data: Some(data) }.encode_to_vec());
    let values = vec![
        value("_hparams_/experiment", HParamsData::Experiment(experiment)),
        value("_hparams_/session_start_info", HParamsData::SessionStart(start)),
        value("_hparams_/session_end_info", HParamsData::SessionEnd(end)),
    ];
    events.summary(start_ms, 0, values)
}

/// Of a value as TOML.
fn kind(text: &str) -> Kind {
    match text.parse::<Toml>() {
        Ok(Toml::Integer(value)) => Kind::Number(value as f64),
        Ok(Toml::Float(value)) => Kind::Number(value),
        Ok(Toml::Boolean(value)) => Kind::Bool(value),
        Ok(Toml::String(value)) => Kind::String(value),
        _ => Kind::String(text.to_owned()),
    }
}

fn data_type(kind: &Kind) -> DataType {
    match kind {
        Kind::Number(_) => DataType::Float64,
        Kind::String(_) => DataType::String,
        Kind::Bool(_) => DataType::Bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_type_that_it_has_in_the_configuration() {
        let kinds = ["64", "1e-3", "true", "\"adam\"", "[32, 64]"].map(kind);
        let text = |text: &str| Kind::String(text.into());
        assert_eq!(kinds, [Kind::Number(64.0), Kind::Number(0.001), Kind::Bool(true), text("adam"), text("[32, 64]")]);
    }
}
