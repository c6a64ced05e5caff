//! What there is to see of an explanation: drawings and their captions, the same in the terminal, in files and in the
//! dashboard.

use super::drawing::Drawing;
use super::explanation::{Explanation, LayerExplanation};
use super::map::Map;

/// What of a layer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The outputs of its first channels.
    Maps,
    /// The outputs of its most active channels.
    ActiveMaps,
    /// Where the evidence for a class is.
    Evidence(Method),
    /// The most active channels as heat over the image, as in the study.
    HeatMap,
    /// What the block attends to: positions or, as gates, channels.
    Attention,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    GradCam,
    GradCamPlusPlus,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::GradCam => "Grad-CAM",
            Self::GradCamPlusPlus => "Grad-CAM++",
        }
    }
}

impl View {
    pub fn name(self) -> &'static str {
        match self {
            Self::Maps | Self::ActiveMaps => "Feature Maps",
            Self::Evidence(method) => method.name(),
            Self::HeatMap => "Heat Map",
            Self::Attention => "Attention",
        }
    }

    /// Such as `Grad-CAM of conv3 for dog`.
    pub fn title(self, layer: &str, class: &str) -> String {
        match self {
            Self::Maps | Self::ActiveMaps | Self::HeatMap | Self::Attention => format!("{} of {layer}", self.name()),
            Self::Evidence(_) => format!("{} of {layer} for {class}", self.name()),
        }
    }
}

/// Column and row of an image, from 0.
pub type Pixel = (usize, usize);

/// What of an explanation is shown.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub view: View,
    /// The index of the layer.
    pub layer: usize,
    /// The class that [`View::Evidence`] is for.
    pub class: usize,
    /// The pixel whose row of the attention matrix is shown.
    pub pixel: Pixel,
    /// Channels that are shown at most.
    pub channels: usize,
}

#[derive(Clone, Debug)]
pub struct Figure<'a> {
    pub content: Content,
    pub caption: String,
    pub drawing: Drawing<'a>,
}

/// What a figure shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Image,
    Channel(usize),
    Evidence(Method, usize),
    SpatialAttention,
    AttentionOf(Pixel),
}

/// The image, and what the chosen view shows of it. `classes` are their names.
pub fn figures<'a>(explanation: &'a Explanation, choice: &Choice, classes: &[String]) -> Vec<Figure<'a>> {
    let Some(layer) = explanation.layers.get(choice.layer) else { return vec![image("image".into())] };
    let mut figures = match choice.view {
        View::Maps => {
            let maps = layer.maps.iter().enumerate().take(choice.channels);
            maps.map(|(number, map)| channel(number, map, Drawing::Map)).collect()
        }
        View::ActiveMaps => active(layer, choice, Drawing::Map),
        View::Evidence(method) => {
            let name = class_name(classes, choice.class);
            let Some(cam) = explanation.cam(choice.layer, choice.class) else {
                return vec![image("image".into()), image(format!("not saved for {name}"))];
            };
            let caption = match cam.range().1 > 0.0 {
                true => format!("evidence for {name}"),
                false => format!("no evidence for {name} ({} is zero everywhere)", method.name()),
            };
            vec![Figure { content: Content::Evidence(method, choice.class), caption, drawing: Drawing::Heat(cam) }]
        }
        View::HeatMap if layer.active.is_empty() => {
            return vec![image("image".into()), image(format!("not saved of {}", layer.name))];
        }
        View::HeatMap => active(layer, choice, Drawing::Heat),
        View::Attention => {
            if !layer.attends() {
                return vec![image(format!("no attention in {}", layer.name))];
            }
            let mut figures: Vec<Figure> = Vec::from_iter(layer.spatial_attention.as_ref().map(|map| Figure {
                content: Content::SpatialAttention,
                caption: "spatial attention".into(),
                drawing: Drawing::Heat(map),
            }));
            figures.extend(attention_of(explanation, choice.layer, choice.pixel).map(|(_, map)| Figure {
                content: Content::AttentionOf(choice.pixel),
                caption: format!("attention of {},{}", choice.pixel.0, choice.pixel.1),
                drawing: Drawing::HeatOfPixel(map, choice.pixel),
            }));
            figures
        }
    };
    figures.insert(0, image("image".into()));
    figures
}

/// The position of a layer that a pixel lies in, as column and row, and what it attends to; `None` without an attention
/// matrix.
pub fn attention_of(explanation: &Explanation, layer: usize, (x, y): Pixel) -> Option<(Pixel, &Map)> {
    let layer = explanation.layers.get(layer)?;
    let (width, height) = layer.attending_size()?;
    let (column, row) = (x * width / explanation.image.width, y * height / explanation.image.height);
    Some(((column, row), layer.attention_matrix.as_ref()?.get(row * width + column)?))
}

/// The name of a class, or its number if it has none.
pub fn class_name(classes: &[String], class: usize) -> String {
    classes.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
}

fn image<'a>(caption: String) -> Figure<'a> {
    Figure { content: Content::Image, caption, drawing: Drawing::Image }
}

fn active<'a>(layer: &'a LayerExplanation, choice: &Choice, drawing: fn(&'a Map) -> Drawing<'a>) -> Vec<Figure<'a>> {
    let chosen = layer.active.iter().take(choice.channels);
    chosen.map(|active| channel(active.channel, &active.map, drawing)).collect()
}

fn channel<'a>(number: usize, map: &'a Map, drawing: fn(&'a Map) -> Drawing<'a>) -> Figure<'a> {
    let (low, high) = map.range();
    let remark = if low == high { " (all equal)" } else { "" };
    Figure { content: Content::Channel(number), caption: format!("channel {number}{remark}"), drawing: drawing(map) }
}

#[cfg(test)]
mod tests {
    use super::super::explanation::{ChannelMap, ClassCam, Planes};
    use super::*;

    fn map(width: usize, height: usize) -> Map {
        Map::new(width, (0..width * height).map(|value| value as f32).collect())
    }

    /// Of an image of 12 x 8 pixels, with a layer of 6 x 4 positions and one of 3 x 2.
    fn explanation() -> Explanation {
        let layer = |name: &str, width, height| LayerExplanation {
            name: name.into(),
            maps: vec![map(width, height), Map::new(width, vec![0.5; width * height]), map(width, height)],
            active: [7, 40].map(|channel| ChannelMap { channel, map: map(width, height) }).to_vec(),
            cams: vec![ClassCam { class: 1, map: map(width, height) }],
            ..LayerExplanation::default()
        };
        let last = LayerExplanation {
            active: vec![],
            attention_matrix: Some(vec![map(3, 2); 6]),
            spatial_attention: Some(map(3, 2)),
            cams: [(0, 0.0), (1, 2.0)]
                .map(|(class, value)| ClassCam { class, map: Map::new(3, vec![value; 6]) })
                .to_vec(),
            ..layer("conv2", 3, 2)
        };
        let image = Planes { width: 12, height: 8, bytes: vec![9; 96] };
        Explanation { image, logits: vec![0.0, 1.0, 0.0], layers: vec![layer("conv1", 6, 4), last] }
    }

    fn captions(view: View, layer: usize, class: usize) -> Vec<String> {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        let choice = Choice { view, layer, class, pixel: (11, 4), channels: 2 };
        figures(&explanation(), &choice, &classes).into_iter().map(|figure| figure.caption).collect()
    }

    #[test]
    fn every_view_has_captions() {
        assert_eq!(captions(View::Maps, 0, 0), ["image", "channel 0", "channel 1 (all equal)"]);
        assert_eq!(captions(View::ActiveMaps, 0, 0), ["image", "channel 7", "channel 40"]);
        let evidence = View::Evidence(Method::GradCam);
        assert_eq!(captions(evidence, 1, 0), ["image", "no evidence for cat (Grad-CAM is zero everywhere)"]);
        assert_eq!(captions(evidence, 1, 1), ["image", "evidence for dog"]);
        assert_eq!(captions(evidence, 1, 2), ["image", "not saved for class 2"]);
        assert_eq!(captions(View::Attention, 1, 0), ["image", "spatial attention", "attention of 11,4"]);
        assert_eq!(captions(View::HeatMap, 0, 0), ["image", "channel 7", "channel 40"]);
        assert_eq!(captions(View::HeatMap, 1, 0), ["image", "not saved of conv2"]);
        assert_eq!(captions(View::Attention, 2, 0), ["image"]);
    }

    #[test]
    fn a_layer_without_attention_says_so() {
        let mut explanation = explanation();
        explanation.layers[1] = LayerExplanation { name: "conv2".into(), ..LayerExplanation::default() };
        let choice = Choice { view: View::Attention, layer: 1, class: 0, pixel: (0, 0), channels: 3 };
        let captions: Vec<String> =
            figures(&explanation, &choice, &[]).into_iter().map(|figure| figure.caption).collect();
        assert_eq!(captions, ["no attention in conv2"]);
    }

    #[test]
    fn a_pixel_lies_in_a_position() {
        let explanation = explanation();
        let position = |pixel| attention_of(&explanation, 1, pixel).map(|(position, _)| position);
        assert_eq!([(0, 0), (3, 3), (4, 4), (11, 7)].map(position), [(0, 0), (0, 0), (1, 1), (2, 1)].map(Some));
        assert!(attention_of(&explanation, 0, (0, 0)).is_none());
    }
}
