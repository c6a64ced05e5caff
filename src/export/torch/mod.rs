//! A network as a PyTorch module that needs nothing of taper: its code, what it is, and its weights.

use serde::Serialize;

use crate::config::{DataConfig, ModelConfig, ResizeRule};
use crate::data::DatasetInfo;

/// The names of the files, and of the one that is run.
pub const CODE: (&str, &str) = ("model.py", include_str!("model.py"));
pub const FACTS: &str = "model.json";
pub const WEIGHTS: &str = "model.safetensors";

#[derive(Serialize)]
struct Facts<'a> {
    run: &'a str,
    checkpoint: &'a str,
    #[serde(flatten)]
    model: &'a ModelConfig,
    input: Input,
    classes: &'a [String],
    mean: &'a [f32],
    std: &'a [f32],
    resize: ResizeRule,
    background: &'a crate::config::Background,
}

#[derive(Serialize)]
struct Input {
    channels: usize,
    height: usize,
    width: usize,
}

/// What [`CODE`] needs to know, as JSON.
pub fn facts(run: &str, checkpoint: &str, model: &ModelConfig, data: &DataConfig, info: &DatasetInfo) -> String {
    let &DatasetInfo { channels, height, width, .. } = info;
    let facts = Facts {
        run,
        checkpoint,
        model: &ModelConfig { init: None, ..model.clone() },
        input: Input { channels, height, width },
        classes: &info.classes,
        mean: &info.mean,
        std: &info.std,
        resize: data.resize,
        background: &data.background,
    };
    serde_json::to_string_pretty(&facts).expect("names and numbers have a JSON form") + "\n"
}
