//! `taper explain`: what the network of a checkpoint sees in an image, printed, as PNG, and as numbers.

mod choice;
mod image_file;
mod numbers;

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use image::ImageFormat;

use self::choice::{Class, parse_class, parse_pixel};
use super::print_figures::{file_name, print};
use super::select::{part, run_and_checkpoint};
use super::shell::say;
use crate::cli::ExplainArgs;
use crate::commands::failure::UsageError;
use crate::config::Config;
use crate::data::loader::evaluation_batch;
use crate::data::{self, Dataset, DatasetInfo};
use crate::explain::explanation::{ChannelScope, Scope};
use crate::explain::grad_cam::at_input;
use crate::export::figure::with_colour_bar;
use crate::metrics::predicted;
use crate::model::{Network, input as network_input};
use crate::render::colour_map::ColourMode;
use crate::render::figures::class_name;
use crate::render::{Choice, Explanation, Figure, Map, Method, Planes, View, figures};
use crate::run::dir::{RunDir, RunsDir};
use crate::run::replay;
use crate::train::device;
use crate::train::origin::Origin;

pub fn explain(runs: &RunsDir, args: &ExplainArgs) -> Result<u8> {
    let (run, checkpoint) = run_and_checkpoint(runs, &args.target)?;
    let config = Config::load(Some(&run.config()), &[])?;
    let input = Input::open(args, &config, &run, checkpoint.origin.as_ref())?;
    let dataset = &input.dataset;
    // One image is nothing for the CPU, whatever the run was trained on.
    device::prepare_cpu()?;
    let network = Network::new(&config.model, dataset, config.run.seed, &Device::Cpu)?;
    let layer = match &args.layer {
        Some(name) => network.layer(name).map_err(|error| UsageError(format!("--layer {name}: {error}")))?,
        None => network.layers().len() - 1,
    };
    let class = parse_class(&args.class, &dataset.classes)?;
    if class == Class::True && input.label.is_none() {
        let advice = "of a file the true class is not known; name one, or take predicted";
        return Err(UsageError(format!("--class true: {advice}")).into());
    }
    let pixel = args.pixel.as_deref().map(|text| parse_pixel(text, dataset)).transpose()?;
    checkpoint.load_network(&network)?;

    let origin = format!("{}, {}", run.name(), checkpoint.name());
    let (view, channels) = (choice::view(args), choice::channels(args)?);
    let explanation = compute(&network, &input, layer, class, view, channels)?;
    let explained = &explanation.layers[layer];
    if let (Some(text), true) = (&args.pixel, explained.attention_matrix.is_none() || view != View::Attention) {
        let shown = "what a pixel attends to is shown by --view attention of the last layer, of a run with \
                     model.attention = non-local";
        return Err(UsageError(format!("--pixel {text}: {shown}")).into());
    }
    if view == View::Attention {
        choice::check_attention(&explanation, layer)?;
    }
    let choice = Choice {
        view,
        layer,
        class: explained.cams[0].class,
        pixel: pixel.unwrap_or_else(|| choice::middle(dataset)),
        channels,
    };
    let shown = figures(&explanation, &choice, &dataset.classes);
    say(format!("{origin}: {}", input.description))?;
    say(prediction_line(&explanation, &input))?;
    say(view.title(&explained.name, &class_name(&dataset.classes, choice.class)))?;
    print(&shown, &explanation.image, args.images)?;
    numbers::lines(&explanation, &choice, &shown, &dataset.classes).iter().try_for_each(say)?;
    if let Some(folder) = &args.png {
        let of = format!("{}-{}-{}", run.name(), checkpoint.name(), input.file_name);
        let name = |figure: &Figure| format!("{of}-{}", file_name(figure, &explained.name, &dataset.classes));
        for path in write_images(folder, &shown, &explanation.image, args.scale, name)? {
            say(format!("wrote {path}"))?;
        }
    }
    if let Some(file) = &args.raw {
        write_raw(file, origin, &explanation, &choice, &dataset.classes)?;
        say(format!("wrote {}", file.display()))?;
    }
    Ok(0)
}

/// The image that is explained.
struct Input {
    /// What it is one of, or is made alike to.
    dataset: DatasetInfo,
    planes: Planes,
    label: Option<usize>,
    /// Where the image is from, and what was done to it.
    description: String,
    /// What it is called in the names of files, such as `test7`.
    file_name: String,
}

impl Input {
    /// The image of that number, or the file of that name.
    fn open(args: &ExplainArgs, config: &Config, run: &RunDir, origin: Option<&Origin>) -> Result<Self> {
        let image = &args.image;
        if image.is_empty() || !image.bytes().all(|byte| byte.is_ascii_digit()) {
            let dataset = replay::dataset(run)?;
            let image_file::ImageFile { planes, description } =
                image_file::read(Path::new(image), &dataset, &config.data)?;
            let file_name = Path::new(image).file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Self {
                dataset,
                planes,
                label: None,
                description: format!("{image}, {description}"),
                file_name,
            });
        }
        let source = data::source::open(&config.data, config.run.seed)?;
        if let Some(origin) = origin {
            origin.check_images(&source, run)?;
        }
        let (split, images) = part(&source, args.split)?;
        let count = images.len();
        let number = image.parse().ok().filter(|&number: &usize| number < count).ok_or_else(|| {
            let last = count - 1;
            UsageError(format!("--image {image}: {} has {count} {split} images, numbers 0 to {last}", source.name))
        })?;
        let DatasetInfo { width, height, .. } = *images.info;
        Ok(Self {
            planes: Planes { width, height, bytes: images.image(number)?.into_owned() },
            label: Some(images.labels[number].into()),
            description: format!("{split} image {number} of {count}, {}", source.name),
            file_name: format!("{split}{number}"),
            dataset: DatasetInfo::clone(&images.info),
        })
    }
}

/// Explains the image by one layer: all of its channels, and Grad-CAM for one class.
fn compute(
    network: &Network,
    input: &Input,
    layer: usize,
    class: Class,
    view: View,
    most_active: usize,
) -> Result<Explanation> {
    let mut one = Dataset::new(Arc::new(input.dataset.clone()));
    one.push(0, &input.planes.bytes);
    let x = network_input::images(&evaluation_batch(&one, 0..1)?, &Device::Cpu)?;
    let mut channels = vec![ChannelScope::default(); network.layers().len()];
    channels[layer] = ChannelScope { first: usize::MAX, most_active };
    let method = match view {
        View::Evidence(method) => method,
        View::Maps | View::ActiveMaps | View::HeatMap | View::Attention => Method::GradCam,
    };
    let classes = |_: usize, of_layer: usize, logits: &[f32]| match (class, input.label) {
        _ if of_layer != layer => vec![],
        (Class::Number(class), _) | (Class::True, Some(class)) => vec![class],
        (Class::Predicted | Class::True, _) => vec![predicted(logits)],
    };
    let scope = Scope { channels, method, classes };
    Ok(Explanation::compute(network, &x, vec![input.planes.clone()], &scope)?.remove(0))
}

fn prediction_line(explanation: &Explanation, input: &Input) -> String {
    let classes = &input.dataset.classes;
    let truth = input.label.map_or_else(|| "not known".into(), |label| class_name(classes, label));
    let (predicted, percent) = (class_name(classes, explanation.predicted()), 100.0 * explanation.confidence());
    format!("true class {truth}, predicted {predicted} with {percent:.1} %")
}

fn write_raw(
    file: &Path,
    origin: String,
    explanation: &Explanation,
    choice: &Choice,
    classes: &[String],
) -> Result<()> {
    let of_map = |map: &Map| Tensor::from_slice(&map.values, (map.height(), map.width), &Device::Cpu);
    let of_maps = |maps: &[Map]| Tensor::stack(&maps.iter().map(of_map).collect::<candle_core::Result<Vec<_>>>()?, 0);
    let (layer, logits) = (&explanation.layers[choice.layer], &explanation.logits);
    let (cam, planes) = (&layer.cams[0].map, &explanation.image);
    let mut tensors = vec![
        ("cam", of_map(&at_input(cam, planes.width, planes.height))?),
        ("cam_layer", of_map(cam)?),
        ("maps", of_maps(&layer.maps)?),
        ("logits", Tensor::from_slice(logits, logits.len(), &Device::Cpu)?),
    ];
    if let Some(weights) = &layer.channel_attention {
        tensors.push(("gates", Tensor::from_slice(weights, weights.len(), &Device::Cpu)?));
    }
    if let Some(map) = &layer.spatial_attention {
        tensors.push(("places", of_map(map)?));
    }
    if let Some(rows) = &layer.attention_matrix {
        tensors.push(("pairs", of_maps(rows)?));
    }
    let method = match choice.view {
        View::Evidence(method) => method,
        View::Maps | View::ActiveMaps | View::HeatMap | View::Attention => Method::GradCam,
    };
    let metadata = HashMap::from([
        ("checkpoint".to_owned(), origin),
        ("layer".to_owned(), layer.name.clone()),
        ("class".to_owned(), class_name(classes, choice.class)),
        ("method".to_owned(), method.name().to_owned()),
    ]);
    let bytes = safetensors::serialize(tensors, Some(metadata))?;
    std::fs::write(file, bytes).with_context(|| format!("--raw: cannot write {}", file.display()))
}

/// Returns the paths. A file that is there already is left as it is: with the same content that will do, with another it is
/// an error, before anything is written.
fn write_images(
    folder: &Path,
    figures: &[Figure],
    planes: &Planes,
    scale: u32,
    name: impl Fn(&Figure) -> String,
) -> Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| format!("--png: cannot create the folder {}", folder.display()))?;
    let mut files: Vec<(PathBuf, Vec<u8>)> = vec![];
    for figure in figures {
        let path = folder.join(format!("{}.png", name(figure)));
        let drawn = figure.drawing.draw(planes, scale, ColourMode::Colours);
        let image = match figure.drawing.colour_bar(ColourMode::Colours) {
            Some(bar) => with_colour_bar(&drawn, &bar)?,
            None => drawn,
        };
        let mut png = Cursor::new(vec![]);
        image.write_to(&mut png, ImageFormat::Png)?;
        files.push((path, png.into_inner()));
    }
    let mut new = vec![];
    for (path, png) in &files {
        match std::fs::read(path) {
            Ok(present) if present == *png => {}
            Ok(_) => {
                let path = path.display();
                return Err(
                    UsageError(format!("--png: {path} is another image; remove it, or name another folder")).into()
                );
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => new.push((path, png)),
            Err(error) => return Err(error).with_context(|| format!("--png: {}", path.display())),
        }
    }
    for (path, png) in new {
        std::fs::write(path, png).with_context(|| format!("--png: cannot write {}", path.display()))?;
    }
    Ok(files.iter().map(|(path, _)| path.display().to_string()).collect())
}
