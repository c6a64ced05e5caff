//! The figures of the study, of an image of a probe: feature maps, the most active channels as heat over the image, and
//! Grad-CAM.

use super::figure::{Look, Picture, Svg, pictures};
use crate::render::colour_map::ColourMode;
use crate::render::figures::{Pixel, class_name};
use crate::render::{Choice, Content, Figure, Method, Planes, View, figures};
use crate::run::probe::{ACTIVE, MAPS, Probe, ProbedImage};

/// Pixels of a picture for each of the image's.
fn scale(look: Look) -> u32 {
    match look {
        Look::Paper => 8,
        // The browser enlarges it.
        Look::Page => 1,
    }
}

fn drawn<'a>(image: &'a ProbedImage, view: View, layer: usize, channels: usize, classes: &[String]) -> Vec<Figure<'a>> {
    let class = image.explanation.predicted();
    figures(&image.explanation, &Choice { view, layer, class, pixel: middle(image), channels }, classes)
}

fn middle(image: &ProbedImage) -> Pixel {
    let Planes { width, height, .. } = image.explanation.image;
    (width / 2, height / 2)
}

fn picture(image: &ProbedImage, figure: &Figure, caption: Vec<String>, look: Look) -> Picture {
    Picture {
        image: figure.drawing.draw(&image.explanation.image, scale(look), ColourMode::Colours),
        bar: figure.drawing.colour_bar(ColourMode::Colours),
        caption,
    }
}

fn last_layer(image: &ProbedImage) -> usize {
    image.explanation.layers.len().saturating_sub(1)
}

/// Such as `cat`, and `dog 98 %`.
fn classes_of(image: &ProbedImage, classes: &[String]) -> (String, String) {
    let predicted = class_name(classes, image.explanation.predicted());
    let percent = 100.0 * image.explanation.confidence();
    (class_name(classes, image.true_class), format!("{predicted} {percent:.0} %"))
}

/// The first nine channels of each convolution, beside the image.
pub fn feature_maps(probe: &Probe, image: &ProbedImage, look: Look) -> Svg {
    let classes = &probe.dataset.classes;
    let mut shown = vec![];
    for (number, layer) in image.explanation.layers.iter().enumerate() {
        for figure in drawn(image, View::Maps, number, MAPS, classes) {
            let caption = match figure.content {
                Content::Image => figure.caption.clone(),
                _ => format!("{}, {}", layer.name, figure.caption),
            };
            shown.push(picture(image, &figure, vec![caption], look));
        }
    }
    let (truth, _) = classes_of(image, classes);
    pictures(&format!("Feature Maps of Image {} ({truth}), Epoch {}", image.index, probe.epoch), &shown, MAPS + 1, look)
}

/// The channels of the last convolution with the greatest mean, over the image, and what the block attends to.
pub fn heat_maps(probe: &Probe, image: &ProbedImage, look: Look) -> Svg {
    let classes = &probe.dataset.classes;
    let (truth, predicted) = classes_of(image, classes);
    let layer = last_layer(image);
    let caption = |figure: &Figure| match figure.content {
        Content::Image => vec!["image".to_owned()],
        _ => vec![figure.caption.clone(), format!("true {truth}"), format!("predicted {predicted}")],
    };
    // The second one begins with the image, too.
    let heat = drawn(image, View::HeatMap, layer, ACTIVE, classes).into_iter();
    let attention = drawn(image, View::Attention, layer, 0, classes).into_iter().skip(1);
    let shown: Vec<Picture> =
        heat.chain(attention).map(|figure| picture(image, &figure, caption(&figure), look)).collect();
    let name = image.explanation.layers.get(layer).map_or("", |layer| &layer.name);
    let title = format!("Heat Maps of {name}, Image {}, Epoch {}", image.index, probe.epoch);
    pictures(&title, &shown, shown.len(), look)
}

/// Each image beside the evidence for the class that it is taken for.
pub fn grad_cam(probe: &Probe, images: &[ProbedImage], title: &str, look: Look) -> Svg {
    let classes = &probe.dataset.classes;
    let mut shown = vec![];
    for image in images {
        let (truth, predicted) = classes_of(image, classes);
        for figure in drawn(image, View::Evidence(Method::GradCam), last_layer(image), 0, classes) {
            let caption = match (figure.content, figure.drawing.map()) {
                (Content::Evidence(..), Some(map)) if map.range().1 <= 0.0 => {
                    vec![format!("predicted {predicted}"), "zero everywhere".to_owned()]
                }
                (Content::Evidence(..), _) => vec![format!("predicted {predicted}")],
                _ => vec![format!("{}: {truth}", image.index)],
            };
            shown.push(picture(image, &figure, caption, look));
        }
    }
    pictures(title, &shown, 8, look)
}
