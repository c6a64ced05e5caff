//! `taper explain`: what the network of a checkpoint sees in an image, printed, as PNG, and as numbers.

mod ansi;
mod image_file;
mod tile;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use image::RgbImage;
use ratatui::layout::Size;

use self::tile::Tile;
use super::shell::say;
use crate::cli::{ExplainArgs, View};
use crate::commands::failure::UsageError;
use crate::config::Config;
use crate::data::loader::evaluation_batch;
use crate::data::{self, CLASSES, Dataset, DatasetInfo, SIDE};
use crate::explain::attention_map::{self, attention_maps};
use crate::explain::feature_maps::{choose, feature_maps};
use crate::explain::grad_cam::{Method, at_input, grad_cam};
use crate::metrics::{confidences, predicted};
use crate::model::Network;
use crate::model::attention::AttentionWeights;
use crate::render::Drawing;
use crate::render::Map;
use crate::render::colour_map::ColourMode;
use crate::run::dir::RunsDir;
use crate::suggest::nearest;
use crate::terminal_image::{self, ImageBackend, Images, Protocol};

/// Feature maps that are shown unless told.
const MAPS: usize = 9;
/// As many as the narrowest of the usual terminals has room for, and a power of two as channels are.
const BARS_IN_LINE: usize = 64;

pub fn explain(runs: &RunsDir, args: &ExplainArgs) -> Result<u8> {
    let class = parse_class(&args.class)?;
    let pixel = args.pixel.as_deref().map(parse_pixel).transpose()?;
    let (run, checkpoint) = super::eval::find(runs, &args.target)?;
    let config = Config::load(Some(&run.config()), &[])?;
    let input = Input::open(&args.image, &config)?;
    // One image is nothing for the CPU, whatever the run was trained on.
    let cnn = Network::new(&config.model, &DatasetInfo::cifar10(), config.run.seed, &Device::Cpu)?;
    let layer = cnn.layer(&args.layer).map_err(|error| UsageError(format!("--layer {}: {error}", args.layer)))?;
    checkpoint.load_weights(&cnn)?;

    let origin = format!("{}, {}", run.name(), checkpoint.name());
    let insight = Insight::gain(&cnn, &input, layer, class, args.view)?;
    if let (Some(text), true) = (&args.pixel, insight.pairs.is_none() || args.view != View::Attention) {
        let shown =
            "what a pixel looks at is shown by --view attention of conv3, of a run with model.attention = non-local";
        return Err(UsageError(format!("--pixel {text}: {shown}")).into());
    }
    let pixel = pixel.unwrap_or(MIDDLE);
    let tiles = insight.tiles(&input, pixel, args);
    say(format!("{origin}: {}", input.description))?;
    say(insight.title(&input))?;
    print(&tiles, &insight.numbers(args.view, pixel, &tiles), args.drawing.images)?;
    if let Some(folder) = &args.png {
        for path in write_images(folder, &tiles, args.scale)? {
            say(format!("wrote {path}"))?;
        }
    }
    if let Some(file) = &args.raw {
        insight.write_raw(file, origin)?;
        say(format!("wrote {}", file.display()))?;
    }
    Ok(0)
}

/// Of an image, in both directions from 0.
type Pixel = (usize, usize);

/// Whose map is shown unless told.
const MIDDLE: Pixel = (SIDE / 2, SIDE / 2);

fn parse_pixel(text: &str) -> Result<Pixel, UsageError> {
    let numbers = text.split_once(',').and_then(|(x, y)| Some((x.trim().parse().ok()?, y.trim().parse().ok()?)));
    numbers.filter(|&(x, y): &Pixel| x < SIDE && y < SIDE).ok_or_else(|| {
        let last = SIDE - 1;
        UsageError(format!(
            "--pixel {text}: must be X,Y, a column and a row of the image from 0 to {last}, such as 16,16"
        ))
    })
}

/// The class that a heat map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Predicted,
    True,
    Chosen(usize),
}

fn parse_class(text: &str) -> Result<Class, UsageError> {
    let by_name = CLASSES.iter().position(|&name| name == text);
    match (text, by_name.or_else(|| text.parse().ok())) {
        ("predicted", _) => Ok(Class::Predicted),
        ("true", _) => Ok(Class::True),
        (_, Some(class)) if class < CLASSES.len() => Ok(Class::Chosen(class)),
        _ => {
            let known = CLASSES.iter().copied().chain(["predicted", "true"]);
            let meant = nearest(text, known).first().map_or(String::new(), |name| format!("; did you mean {name}?"));
            Err(UsageError(format!(
                "--class {text}: must be predicted, true, a number from 0 to 9, or one of {}{meant}",
                CLASSES.join(", ")
            )))
        }
    }
}

/// The image that is explained.
struct Input {
    /// R, G and B, each row by row.
    planes: Vec<u8>,
    label: Option<usize>,
    /// Where it is from, and what was done to it.
    description: String,
}

impl Input {
    /// The test image of that number, or the file of that name.
    fn open(image: &str, config: &Config) -> Result<Self> {
        if image.is_empty() || !image.bytes().all(|byte| byte.is_ascii_digit()) {
            let image_file::ImageFile { planes, description } = image_file::read(Path::new(image))?;
            return Ok(Self { planes, label: None, description: format!("{image}, {description}") });
        }
        let source = data::source::open(&config.data, config.run.seed)?;
        let count = source.test.len();
        let number = image.parse().ok().filter(|&number: &usize| number < count).ok_or_else(|| {
            let last = count - 1;
            UsageError(format!("--image {image}: {} has {count} test images, numbers 0 to {last}", source.name))
        })?;
        Ok(Self {
            planes: source.test.image(number).to_vec(),
            label: Some(source.test.labels[number].into()),
            description: format!("test image {number} of {count}, {}", source.name),
        })
    }
}

/// What was seen.
struct Insight {
    /// Its name.
    layer: String,
    /// Which of the classes the heat map is for.
    class: usize,
    method: Method,
    logits: Vec<f32>,
    /// The output of every channel of the layer.
    maps: Vec<Map>,
    /// At the size of the layer.
    cam: Map,
    gates: Option<Vec<f32>>,
    /// How much the block attends to each position.
    positions: Option<Map>,
    /// How much each position, row by row, looks at all of them.
    pairs: Option<Vec<Map>>,
}

impl Insight {
    fn gain(cnn: &Network, input: &Input, layer: usize, class: Class, view: View) -> Result<Self> {
        let mut one = Dataset::new(crate::data::source::cifar::info());
        one.push(0, &input.planes);
        let x = Tensor::from_vec(evaluation_batch(&one, 0..1).images, (1, SIDE, SIDE, 3), &Device::Cpu)?;
        let trace = cnn.trace(&x)?;
        let logits = trace.logits.to_vec2::<f32>()?.concat();
        let class = match (class, input.label) {
            (Class::Predicted, _) => predicted(&logits),
            (Class::Chosen(class), _) => class,
            (Class::True, Some(label)) => label,
            (Class::True, None) => {
                let advice = "of a file the true class is not known; name one, or take predicted";
                return Err(UsageError(format!("--class true: {advice}")).into());
            }
        };
        let method = match view {
            View::GradcamPlusPlus => Method::GradCamPlusPlus,
            View::Maps | View::Gradcam | View::Attention => Method::GradCam,
        };
        let cam = grad_cam(cnn, &trace, layer, &[(0, class)], method)?.remove(0);
        let AttentionWeights { channels: gates, positions: map, matrix: pairs } = trace.attention(layer);
        let width = trace.output(layer).dim(2)?;
        Ok(Self {
            layer: cnn.layers()[layer].name.clone(),
            class,
            method,
            logits,
            maps: feature_maps(trace.output(layer), 0)?,
            cam,
            gates: gates.as_ref().map(|gates| attention_map::gates(gates, 0)).transpose()?,
            positions: map.as_ref().map(|map| attention_map::positions(map, 0)).transpose()?,
            pairs: pairs.as_ref().map(|pairs| attention_map::pairs(pairs, 0, width)).transpose()?,
        })
    }

    fn title(&self, input: &Input) -> String {
        let truth = input.label.map_or("not known", |label| CLASSES[label]);
        let shares = confidences(&self.logits);
        let predicted = predicted(&self.logits);
        format!(
            "{}: true class {truth}, predicted {} with {:.1} %",
            self.layer,
            CLASSES[predicted],
            100.0 * shares[predicted]
        )
    }

    /// The position of the layer that holds a pixel, and what it looks at.
    fn looks_at(&self, (x, y): Pixel) -> Option<(Pixel, &Map)> {
        let pairs = self.pairs.as_ref()?;
        let first = pairs.first()?;
        let (column, row) = (x * first.width / SIDE, y * first.height() / SIDE);
        Some(((column, row), pairs.get(row * first.width + column)?))
    }

    /// The image, and what the view shows of it.
    fn tiles(&self, input: &Input, pixel: Pixel, args: &ExplainArgs) -> Vec<Tile> {
        let layer = &self.layer;
        let mut tiles = vec![Tile {
            channel: None,
            title: "the image".into(),
            file: "image".into(),
            image: input.planes.clone(),
            drawing: Drawing::Image,
        }];
        let mut add = |channel, title, file, drawing| {
            tiles.push(Tile { channel, title, file, image: input.planes.clone(), drawing });
        };
        match args.view {
            View::Maps => {
                for chosen in choose(&self.maps, args.channels.into(), args.count.map_or(MAPS, usize::from)) {
                    let channel = chosen.channel;
                    let file = format!("{layer}-map-{channel:03}");
                    add(Some(channel), format!("{layer}, channel {channel}"), file, Drawing::Map(chosen.map));
                }
            }
            View::Gradcam | View::GradcamPlusPlus => {
                let (class, name) = (CLASSES[self.class], method_name(self.method));
                let file = format!("{layer}-{}-{class}", name.to_lowercase().replace('-', ""));
                add(None, format!("{layer}, {name} for {class}"), file, Drawing::Heat(self.cam.clone()));
            }
            View::Attention => {
                for chosen in attention_maps(&self.maps, args.count.map_or(attention_map::CHANNELS, usize::from)) {
                    let channel = chosen.channel;
                    let file = format!("{layer}-attention-{channel:03}");
                    add(Some(channel), format!("{layer}, channel {channel}"), file, Drawing::Heat(chosen.map));
                }
                if let Some(positions) = &self.positions {
                    let title = format!("{layer}, what its block attends to");
                    add(None, title, format!("{layer}-attention-places"), Drawing::Heat(positions.clone()));
                }
                if let Some((_, map)) = self.looks_at(pixel) {
                    let (x, y) = pixel;
                    let (title, file) =
                        (format!("{layer}, what {x},{y} looks at"), format!("{layer}-attention-{x}-{y}"));
                    add(None, title, file, Drawing::HeatOfPixel(map.clone(), pixel));
                }
            }
        }
        tiles
    }

    /// What the view shows, in numbers.
    fn numbers(&self, view: View, pixel: Pixel, tiles: &[Tile]) -> Vec<String> {
        let shares = confidences(&self.logits);
        let mut order: Vec<usize> = (0..CLASSES.len()).collect();
        order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
        let classes = order.iter().map(|&class| format!("{} {:.1} %", CLASSES[class], 100.0 * shares[class]));
        let mut lines = vec![format!("confidence: {}", classes.collect::<Vec<_>>().join(", "))];
        match view {
            View::Maps | View::Attention => {
                lines.extend(tiles.iter().filter_map(|tile| {
                    let map = &self.maps[tile.channel?];
                    let (low, high) = map.range();
                    Some(format!("{}: mean {:.4}, from {low:.4} to {high:.4}", tile.title, map.mean()))
                }));
            }
            View::Gradcam | View::GradcamPlusPlus => {
                let (width, height, high) = (self.cam.width, self.cam.height(), self.cam.range().1);
                let name = method_name(self.method);
                lines.push(match high {
                    0.0 => format!("{name}: at {} nothing speaks for {}", self.layer, CLASSES[self.class]),
                    _ => format!("{name}: {width} x {height}, at most {high:.4e}"),
                });
            }
        }
        if let (Some(positions), View::Attention) = (&self.positions, view) {
            let (low, high) = positions.range();
            lines.push(format!("places: mean {:.4}, from {low:.4} to {high:.4}", positions.mean()));
        }
        if let (Some((position, map)), View::Attention) = (self.looks_at(pixel), view) {
            lines.push(looks_at_line(pixel, position, map));
        }
        match (&self.gates, view) {
            (Some(gates), View::Attention) => {
                lines.push(format!("gates of the {} channels of {}, a full bar is 1:", gates.len(), self.layer));
                let rows = gates.chunks(BARS_IN_LINE).zip((0..).step_by(BARS_IN_LINE));
                lines.extend(rows.map(|(gates, first)| format!("{first:>5}  {}", bars(gates))));
                lines.extend(gates.chunks(8).enumerate().map(|(row, gates)| {
                    gates.iter().fold(format!("{:>5}", 8 * row), |mut line, gate| {
                        write!(line, "  {gate:.4}").expect("a string takes everything");
                        line
                    })
                }));
            }
            (None, View::Attention) => lines.push("gates: this network has no attention to channels".into()),
            (_, View::Maps | View::Gradcam | View::GradcamPlusPlus) => {}
        }
        lines
    }

    fn write_raw(&self, file: &Path, origin: String) -> Result<()> {
        let of_map = |map: &Map| Tensor::from_slice(&map.values, (map.height(), map.width), &Device::Cpu);
        let maps = self.maps.iter().map(of_map).collect::<candle_core::Result<Vec<_>>>()?;
        let mut tensors = vec![
            ("cam", of_map(&at_input(&self.cam, SIDE, SIDE))?),
            ("cam_layer", of_map(&self.cam)?),
            ("maps", Tensor::stack(&maps, 0)?),
            ("logits", Tensor::from_slice(&self.logits, self.logits.len(), &Device::Cpu)?),
        ];
        if let Some(gates) = &self.gates {
            tensors.push(("gates", Tensor::from_slice(gates, gates.len(), &Device::Cpu)?));
        }
        if let Some(positions) = &self.positions {
            tensors.push(("places", of_map(positions)?));
        }
        if let Some(pairs) = &self.pairs {
            let pairs = pairs.iter().map(of_map).collect::<candle_core::Result<Vec<_>>>()?;
            tensors.push(("pairs", Tensor::stack(&pairs, 0)?));
        }
        let about = HashMap::from([
            ("checkpoint".to_owned(), origin),
            ("layer".to_owned(), self.layer.clone()),
            ("class".to_owned(), CLASSES[self.class].to_owned()),
            ("method".to_owned(), method_name(self.method).to_owned()),
        ]);
        let bytes = safetensors::serialize(tensors, Some(about))?;
        std::fs::write(file, bytes).with_context(|| format!("--raw: cannot write {}", file.display()))
    }
}

fn looks_at_line((x, y): Pixel, (column, row): Pixel, map: &Map) -> String {
    let most = (1..map.values.len()).fold(0, |most, at| if map.values[at] > map.values[most] { at } else { most });
    let (width, height, share) = (map.width, map.height(), 100.0 * map.values[most]);
    let (most_column, most_row) = (most % width, most / width);
    let position = format!("pixel {x},{y}, position {column},{row} of {width} x {height}");
    format!("{position}: looks most at position {most_column},{most_row}, with {share:.1} % of its attention")
}

/// Of each number from 0 to 1 a bar in eighths of a line.
fn bars(values: &[f32]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    values.iter().map(|value| BARS[(8.0 * value.clamp(0.0, 1.0)).round() as usize]).collect()
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::GradCam => "Grad-CAM",
        Method::GradCamPlusPlus => "Grad-CAM++",
    }
}

/// The images, where there is a terminal, else their titles; and the numbers.
fn print(tiles: &[Tile], numbers: &[String], images: Images) -> Result<()> {
    if io::stdout().is_terminal() {
        let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(80, |size| size.ws_col.max(1));
        let detected = terminal_image::detect_in_shell(images)?;
        if detected.is_second_best {
            say(format!("images are drawn as {}: {}", detected.backend, detected.why))?;
        }
        match detected.backend {
            ImageBackend::Cells(palette) => tile::lines(tiles, columns.into(), palette).iter().try_for_each(say)?,
            ImageBackend::Protocol(protocol) => print_by(protocol, tiles, columns)?,
            ImageBackend::Nothing => say(titles(tiles))?,
        }
    } else {
        say(titles(tiles))?;
    }
    numbers.iter().try_for_each(say)
}

fn titles(tiles: &[Tile]) -> String {
    tiles.iter().map(|tile| tile.title.as_str()).collect::<Vec<_>>().join("; ")
}

/// Each under its title, as large as with half blocks, by the terminal's own means.
fn print_by(protocol: Protocol, tiles: &[Tile], columns: u16) -> Result<()> {
    /// Pixels for each of the image's: smooth enough, and little enough for a slow link.
    const SCALE: u32 = 2;
    let (side, cell) = ((SIDE as u16).min(columns), terminal_image::cell_size());
    let size = Size::new(side, rows_of_square(side, cell));
    for row in tiles.chunks(tile::beside(columns.into())) {
        say(tile::titles(row, side.into()))?;
        let images: Vec<RgbImage> = row.iter().map(|tile| tile.draw(SCALE, ColourMode::Colours)).collect();
        terminal_image::print_row(protocol, &images, size, tile::GAP as u16, cell).context("stdout")?;
    }
    Ok(())
}

/// As many as make a square of so many columns, the nearest; with characters of this size in pixels, or of the usual shape.
fn rows_of_square(columns: u16, cell: Option<Size>) -> u16 {
    let Size { width, height } = cell.unwrap_or(Size::new(1, 2));
    let pixels = u32::from(columns) * u32::from(width);
    ((pixels + u32::from(height) / 2) / u32::from(height)).max(1) as u16
}

/// Returns the paths.
fn write_images(folder: &Path, tiles: &[Tile], scale: u32) -> Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| format!("--png: cannot create the folder {}", folder.display()))?;
    let write = |tile: &Tile| {
        let path = folder.join(format!("{}.png", tile.file));
        tile.draw(scale, ColourMode::Colours)
            .save(&path)
            .with_context(|| format!("--png: cannot write {}", path.display()))?;
        Ok(path.display().to_string())
    };
    tiles.iter().map(write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_is_two_numbers_within_the_image() {
        assert_eq!((parse_pixel("0,31").unwrap(), parse_pixel("7, 8").unwrap()), ((0, 31), (7, 8)));
        for wrong in ["", "3", "3,", "32,0", "0,32", "-1,4", "1,2,3", "a,b"] {
            let error = parse_pixel(wrong).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("--pixel {wrong}: must be X,Y, ")) && error.contains("0 to 31"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_a_pixel_looks_at_in_numbers() {
        let map = Map::new(4, vec![0.01, 0.02, 0.02, 0.05, 0.1, 0.1, 0.6, 0.1]);
        assert_eq!(
            looks_at_line((31, 9), (3, 0), &map),
            "pixel 31,9, position 3,0 of 4 x 2: looks most at position 2,1, with 60.0 % of its attention"
        );
    }

    #[test]
    fn an_image_is_square_whatever_shape_characters_have() {
        assert_eq!(rows_of_square(32, None), 16);
        assert_eq!(rows_of_square(32, Some(Size::new(8, 16))), 16);
        assert_eq!(rows_of_square(32, Some(Size::new(8, 19))), 13);
        assert_eq!(rows_of_square(1, Some(Size::new(8, 30))), 1);
    }

    #[test]
    fn gates_are_bars() {
        assert_eq!(bars(&[0.0, 0.125, 0.5, 0.99, 1.0, 2.0, -1.0]), " ▁▄███ ");
    }

    #[test]
    fn a_class_by_number_name_or_role() {
        assert_eq!(parse_class("predicted").unwrap(), Class::Predicted);
        assert_eq!(parse_class("true").unwrap(), Class::True);
        assert_eq!((parse_class("3").unwrap(), parse_class("cat").unwrap()), (Class::Chosen(3), Class::Chosen(3)));
        for wrong in ["10", "-1", "", "Cat"] {
            let error = parse_class(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--class {wrong}: must be ")) && error.contains("airplane"), "{error}");
        }
        assert!(parse_class("catt").unwrap_err().to_string().ends_with("did you mean cat?"));
    }
}
