//! What is looked at inside the network: which probe, image, layer, view and class, and the images that shows.

use std::sync::Arc;

use image::RgbImage;
use image::imageops::{FilterType, resize};

use crate::metrics::confidences;
use crate::render::colour_map::ColourMode;
use crate::render::figures::{Pixel, class_name};
use crate::render::{Choice, ColourBar, Drawing, Explanation, LayerExplanation, Method, Planes, View, figures};
use crate::run::probe::{MISTAKES, OtherMistake, Probe, ProbedImage};

/// Pixels of all images together. On a link with room for 60 kB a refresh, the protocol that takes most has 11 000.
const MAX_PIXELS: u32 = 11_000;
/// An image with no more pixels is never made smaller.
const SMALL_IMAGE: u32 = 32 * 32;
/// Pixels for each of the image's at most, in both directions.
const MAX_SCALE: u32 = 3;

/// Grad-CAM, of which probes have one kind.
pub const EVIDENCE: View = View::Evidence(Method::GradCam);

/// The class that a heat map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Predicted,
    True,
    Number(usize),
}

/// Which of a probe's images, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Pinned(usize),
    Mistake(usize),
}

/// Which of the run's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Whichever is the newest.
    Newest,
    /// The one of this step, or the last before it.
    Step(u64),
}

/// What some images are and what they are taken for: a cell of the confusion matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confused {
    pub true_class: usize,
    pub predicted_class: usize,
}

/// A wrong image in the gallery.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// Its number among the test images.
    pub index: usize,
    pub confused: Confused,
    /// The probability of the predicted class, from 0 to 1.
    pub confidence: f32,
    /// The probe says what the network sees in it; of the others it has the image alone.
    pub is_explained: bool,
    pub tile: Tile,
}

/// Names a saved probe, also when one of the same step has taken its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeKey {
    pub file: String,
    pub time_ms: u64,
}

#[derive(Debug)]
pub struct Loaded {
    pub key: ProbeKey,
    /// The error, for people, of a probe that cannot be read.
    pub probe: Result<Arc<Probe>, String>,
}

/// An image with a word about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    pub caption: String,
    /// What its colours stand for, where they stand for numbers.
    pub bar: Option<ColourBar>,
    /// Shared, so that a frame need not copy it.
    pub image: Arc<RgbImage>,
}

#[derive(Debug)]
pub struct Inspector {
    pub moment: Moment,
    pub subject: Subject,
    /// By its index; the last layer unless chosen.
    layer: Option<usize>,
    pub view: View,
    pub class: Class,
    /// The pixel whose row of the attention matrix is shown; that in the middle of the middle position unless chosen.
    pixel: Option<Pixel>,
    /// One tile alone.
    pub enlarged: Option<usize>,
    /// The mistake that is chosen in the gallery, from 0, of all that the probe has.
    pub chosen_mistake: usize,
    /// The gallery shows these mistakes alone.
    pub only: Option<Confused>,
    colour_mode: ColourMode,
    loaded: Option<Loaded>,
    tiles: Vec<Tile>,
    /// The explained ones first, as the probe has them.
    gallery: Vec<Mistake>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self {
            moment: Moment::Newest,
            subject: Subject::Pinned(0),
            layer: None,
            view: EVIDENCE,
            class: Class::Predicted,
            pixel: None,
            enlarged: None,
            chosen_mistake: 0,
            only: None,
            colour_mode: ColourMode::default(),
            loaded: None,
            tiles: vec![],
            gallery: vec![],
        }
    }
}

impl Inspector {
    /// Of things that were done after these steps, in their order, the number of the one that is looked at.
    pub fn wanted(&self, steps: impl ExactSizeIterator<Item = u64>) -> Option<usize> {
        let last = steps.len().checked_sub(1)?;
        match self.moment {
            Moment::Newest => Some(last),
            Moment::Step(moment) => Some(steps.take_while(|&step| step <= moment).count().saturating_sub(1)),
        }
    }

    /// Looks at the one before or after; behind the last it is the newest that is followed.
    pub fn scrub(&mut self, by: isize, mut steps: impl ExactSizeIterator<Item = u64> + Clone) {
        let Some(present) = self.wanted(steps.clone()) else { return };
        let (next, count) = (present.saturating_add_signed(by), steps.len());
        self.moment = match steps.nth(next) {
            Some(step) if next + 1 < count => Moment::Step(step),
            _ => Moment::Newest,
        };
    }

    pub fn set_colour_mode(&mut self, colour_mode: ColourMode) {
        self.colour_mode = colour_mode;
        self.compose();
    }

    pub fn load(&mut self, loaded: Loaded) {
        self.loaded = Some(loaded);
        self.gallery = self.probe().map_or(vec![], gallery);
        self.compose();
    }

    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.as_ref()
    }

    pub fn probe(&self) -> Option<&Probe> {
        self.loaded.as_ref()?.probe.as_deref().ok()
    }

    /// The image that is looked at, and its number among as many as there are.
    pub fn image(&self) -> Option<(&ProbedImage, usize, usize)> {
        let probe = self.probe()?;
        let (images, number) = match self.subject {
            Subject::Pinned(number) => (&probe.images, number),
            Subject::Mistake(number) => (&probe.mistakes, number),
        };
        let number = number.min(images.len().checked_sub(1)?);
        Some((&images[number], number, images.len()))
    }

    /// The names of the probe's classes.
    pub fn classes(&self) -> &[String] {
        self.probe().map_or(&[], |probe| &probe.dataset.classes)
    }

    /// The number of the class that the heat map is for.
    fn class_number(&self, image: &ProbedImage) -> usize {
        match self.class {
            Class::Predicted => image.explanation.predicted(),
            Class::True => image.true_class,
            Class::Number(class) => class,
        }
    }

    /// The index of the layer that is looked at, and what is known of it.
    fn layer<'a>(&self, explanation: &'a Explanation) -> Option<(usize, &'a LayerExplanation)> {
        let last = explanation.layers.len().checked_sub(1)?;
        let layer = self.layer.unwrap_or(last).min(last);
        Some((layer, &explanation.layers[layer]))
    }

    /// What is looked at, for a title.
    pub fn title(&self) -> String {
        let class = match self.class {
            Class::Predicted => "the predicted class".to_owned(),
            Class::True => "the true class".to_owned(),
            Class::Number(class) => class_name(self.classes(), class),
        };
        let layer = self.image().and_then(|(image, ..)| self.layer(&image.explanation));
        self.view.title(layer.map_or("the last layer", |(_, layer)| &layer.name), &class)
    }

    pub fn tiles(&self) -> &[Tile] {
        match self.enlarged {
            Some(number) if !self.tiles.is_empty() => {
                std::slice::from_ref(&self.tiles[number.min(self.tiles.len() - 1)])
            }
            _ => &self.tiles,
        }
    }

    /// The mistakes that are shown, each with its number among all that the probe has: those of one cell, or the explained
    /// ones.
    pub fn gallery(&self) -> impl Iterator<Item = (usize, &Mistake)> {
        let is_shown = |mistake: &Mistake| self.only.map_or(mistake.is_explained, |only| mistake.confused == only);
        self.gallery.iter().enumerate().filter(move |(_, mistake)| is_shown(mistake))
    }

    /// Of the mistakes that are shown, the place of the one that is chosen; the first where that is not among them.
    pub fn chosen_in_gallery(&self) -> usize {
        self.gallery().position(|(number, _)| number == self.chosen_mistake).unwrap_or(0)
    }

    /// Chooses the mistake at that place among those that are shown, if there is one.
    pub fn choose_in_gallery(&mut self, place: usize) {
        let chosen = self.gallery().nth(place).map(|(number, _)| number);
        self.chosen_mistake = chosen.unwrap_or(self.chosen_mistake);
    }

    /// The classes and their probabilities, from 0 to 1, the likeliest first: with the evidence for one of them.
    pub fn probabilities(&self) -> Option<Vec<(usize, f32)>> {
        let (image, ..) = self.image().filter(|_| self.view == EVIDENCE)?;
        let mut classes: Vec<(usize, f32)> = confidences(&image.explanation.logits).into_iter().enumerate().collect();
        classes.sort_by(|a, b| b.1.total_cmp(&a.1));
        Some(classes)
    }

    pub fn step_image(&mut self, by: isize) {
        let Some((_, number, count)) = self.image() else { return };
        let step = |place: usize, count: usize| (place as isize + by).rem_euclid(count as isize) as usize;
        self.subject = match self.subject {
            Subject::Pinned(_) => Subject::Pinned(step(number, count)),
            Subject::Mistake(_) => {
                let explained = self.gallery().filter(|(_, mistake)| mistake.is_explained);
                let shown: Vec<usize> = explained.map(|(number, _)| number).collect();
                if shown.is_empty() {
                    return;
                }
                let present = shown.iter().position(|&other| other == number).unwrap_or(0);
                // Back in the gallery it is the one that is chosen.
                self.chosen_mistake = shown[step(present, shown.len())];
                Subject::Mistake(self.chosen_mistake)
            }
        };
        self.compose();
    }

    /// How many there are to choose from; none without a probe.
    pub fn layers(&self) -> usize {
        self.image().map_or(0, |(image, ..)| image.explanation.layers.len())
    }

    /// Looks at the layer of that index, if there is one.
    pub fn set_layer(&mut self, layer: usize) {
        if layer < self.layers() {
            self.layer = Some(layer);
            self.compose();
        }
    }

    pub fn next_view(&mut self) {
        self.view = match self.view {
            View::Maps | View::ActiveMaps => EVIDENCE,
            View::Evidence(_) => View::HeatMap,
            View::HeatMap if self.image().is_none_or(|(image, ..)| attends(&image.explanation)) => View::Attention,
            View::HeatMap | View::Attention => View::Maps,
        };
        self.enlarged = None;
        self.compose();
    }

    /// Predicted, true, and then each class for which the image has Grad-CAM of some layer.
    pub fn step_class(&mut self, by: isize) {
        let Some((image, ..)) = self.image() else { return };
        let cams = image.explanation.layers.iter().flat_map(|layer| &layer.cams);
        let mut numbers: Vec<usize> = cams.map(|cam| cam.class).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let all: Vec<Class> =
            [Class::Predicted, Class::True].into_iter().chain(numbers.into_iter().map(Class::Number)).collect();
        let present = all.iter().position(|&class| class == self.class).unwrap_or(0);
        self.class = all[(present as isize + by).rem_euclid(all.len() as isize) as usize];
        self.compose();
    }

    pub fn look_at(&mut self, subject: Subject, view: View) {
        (self.subject, self.view, self.enlarged) = (subject, view, None);
        self.compose();
    }

    /// One tile alone, first the one that explains; and all of them again.
    pub fn toggle_enlarged(&mut self) {
        self.enlarged = if self.enlarged.is_some() { None } else { Some(1) };
        self.compose();
    }

    /// Another tile alone.
    pub fn step_tile(&mut self, by: isize) {
        if let (Some(number), count @ 1..) = (self.enlarged, self.tiles.len()) {
            let present = number.min(count - 1) as isize;
            self.enlarged = Some((present + by).rem_euclid(count as isize) as usize);
        }
    }

    /// Moves the pixel whose attention is shown by whole positions of the layer; whether there is an attention matrix.
    pub fn step_position(&mut self, across: isize, down: isize) -> bool {
        let Some((image, ..)) = self.image().filter(|_| self.view == View::Attention) else { return false };
        let explanation = &image.explanation;
        let Some((width, height)) = self.layer(explanation).and_then(|(_, layer)| layer.attending_size()) else {
            return false;
        };
        let planes = &explanation.image;
        let (x, y) = self.pixel_of(explanation);
        let step = |pixel: usize, pixels: usize, positions: usize, by: isize| {
            let position = (pixel * positions / pixels).min(positions - 1);
            centre(position.saturating_add_signed(by).min(positions - 1), positions, pixels)
        };
        self.pixel = Some((step(x, planes.width, width, across), step(y, planes.height, height, down)));
        self.compose();
        true
    }

    /// The pixel whose attention is shown.
    fn pixel_of(&self, explanation: &Explanation) -> Pixel {
        let &Planes { width, height, .. } = &explanation.image;
        let of_layer = self.layer(explanation).and_then(|(_, layer)| layer.attending_size());
        match (self.pixel, of_layer) {
            // Another data set's probe may have smaller images.
            (Some((x, y)), _) => (x.min(width - 1), y.min(height - 1)),
            (None, Some((columns, rows))) => (centre(columns / 2, columns, width), centre(rows / 2, rows, height)),
            (None, None) => (width / 2, height / 2),
        }
    }

    /// The layer whose block attends to channels, and how much to each, where it does and that is shown.
    pub fn channel_attention(&self) -> Option<(&str, &[f32])> {
        let (image, ..) = self.image().filter(|_| self.view == View::Attention)?;
        let (_, layer) = self.layer(&image.explanation)?;
        Some((&layer.name, layer.channel_attention.as_deref()?))
    }

    fn compose(&mut self) {
        self.tiles = self.image().map_or(vec![], |(image, ..)| {
            let explanation = &image.explanation;
            let choice = Choice {
                view: self.view,
                layer: self.layer(explanation).map_or(0, |(layer, _)| layer),
                class: self.class_number(image),
                pixel: self.pixel_of(explanation),
                channels: usize::MAX,
            };
            let figures = figures(explanation, &choice, self.classes());
            let shown = if self.enlarged.is_some() { 1 } else { figures.len() };
            let draw = |drawing: &Drawing| drawn(drawing, &explanation.image, shown, self.colour_mode);
            figures
                .into_iter()
                .map(|figure| Tile {
                    image: draw(&figure.drawing).into(),
                    bar: figure.drawing.colour_bar(self.colour_mode),
                    caption: figure.caption,
                })
                .collect()
        });
    }
}

fn attends(explanation: &Explanation) -> bool {
    explanation.layers.iter().any(LayerExplanation::attends)
}

/// The mistakes, each with what it was taken for.
fn gallery(probe: &Probe) -> Vec<Mistake> {
    let mistake = |index: usize, confused: Confused, confidence: f32, is_explained: bool, image: &Planes| {
        let Confused { true_class, predicted_class } = confused;
        let [truth, predicted] = [true_class, predicted_class].map(|class| class_name(&probe.dataset.classes, class));
        let tile = Tile {
            caption: format!("{truth} → {predicted} {:.0} %", 100.0 * confidence),
            bar: None,
            image: drawn(&Drawing::Image, image, MISTAKES, ColourMode::default()).into(),
        };
        Mistake { index, confused, confidence, is_explained, tile }
    };
    let explained = probe.mistakes.iter().map(|ProbedImage { index, true_class, explanation }| {
        let confused = Confused { true_class: *true_class, predicted_class: explanation.predicted() };
        mistake(*index, confused, explanation.confidence(), true, &explanation.image)
    });
    let others = probe.other_mistakes.iter().map(|OtherMistake { result, image }| {
        let [true_class, predicted_class] = [result.true_class, result.predicted_class].map(|class| class as usize);
        mistake(result.index as usize, Confused { true_class, predicted_class }, result.confidence, false, image)
    });
    explained.chain(others).collect()
}

/// One of `count` images, as large as all of them together may be.
fn drawn(drawing: &Drawing, planes: &Planes, count: usize, colour_mode: ColourMode) -> RgbImage {
    let (width, height) = (planes.width as u32, planes.height as u32);
    let may_have = (MAX_PIXELS / count.max(1) as u32).max(SMALL_IMAGE);
    let scale = (may_have / (width * height)).isqrt().clamp(1, MAX_SCALE);
    let image = drawing.draw(planes, scale, colour_mode);
    let pixels = image.width() * image.height();
    if pixels <= may_have {
        return image;
    }
    let smaller = (f64::from(may_have) / f64::from(pixels)).sqrt();
    let side = |side: u32| ((f64::from(side) * smaller) as u32).max(1);
    resize(&image, side(width), side(height), FilterType::Triangle)
}

/// The pixel in the middle of a position, of `positions` that share `pixels`.
fn centre(position: usize, positions: usize, pixels: usize) -> usize {
    ((2 * position + 1) * pixels / (2 * positions)).min(pixels - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DatasetInfo;
    use crate::render::colour_map::ColourScale;
    use crate::render::{ChannelMap, ClassCam, Map};
    use crate::run::event::Prediction;

    /// Through three layers of halved sizes, taken for class 5.
    fn image(index: usize, dataset: &DatasetInfo) -> ProbedImage {
        let layer = |number: usize| {
            let (width, height) = (dataset.width >> number, dataset.height >> number);
            let map = || Map::new(width, (0..width * height).map(|value| value as f32).collect());
            let cam = |class| ClassCam { class, map: map() };
            let is_last = number == 2;
            LayerExplanation {
                name: format!("conv{}", number + 1),
                maps: (0..9).map(|_| map()).collect(),
                active: (0..if is_last { 3 } else { 0 }).map(|channel| ChannelMap { channel, map: map() }).collect(),
                cams: match number {
                    0 => vec![cam(5), cam(3)],
                    1 => vec![],
                    _ => (0..10).map(cam).collect(),
                },
                channel_attention: is_last.then(|| vec![0.5; 128]),
                spatial_attention: None,
                attention_matrix: is_last.then(|| (0..width * height).map(|_| map()).collect()),
            }
        };
        let mut logits = vec![0.0; dataset.classes.len()];
        logits[5] = 3.0;
        let bytes = vec![index as u8; dataset.size().bytes()];
        let image = Planes { width: dataset.width, height: dataset.height, bytes };
        let explanation = Explanation { image, logits, layers: (0..3).map(layer).collect() };
        ProbedImage { index, true_class: 3, explanation }
    }

    fn inspector_of(dataset: DatasetInfo) -> Inspector {
        let mut inspector = Inspector::default();
        let images = (0..3).map(|index| image(index, &dataset)).collect();
        let mistakes = vec![image(40, &dataset), image(41, &dataset)];
        let result = Prediction { index: 42, true_class: 0, predicted_class: 1, confidence: 0.5 };
        let other_mistakes = vec![OtherMistake { result, image: image(42, &dataset).explanation.image }];
        let probe = Probe { dataset, epoch: 1, step: 7, images, mistakes, other_mistakes };
        let key = ProbeKey { file: "x".into(), time_ms: 1 };
        inspector.load(Loaded { key, probe: Ok(Arc::new(probe)) });
        inspector
    }

    fn inspector() -> Inspector {
        inspector_of(DatasetInfo::cifar10())
    }

    fn captions(inspector: &Inspector) -> Vec<&str> {
        inspector.tiles().iter().map(|tile| tile.caption.as_str()).collect()
    }

    #[test]
    fn the_newest_is_followed_until_one_looks_back() {
        let mut steps = vec![10, 20, 30];
        let mut inspector = Inspector::default();
        let wanted = |inspector: &Inspector, steps: &[u64]| inspector.wanted(steps.iter().copied());
        assert_eq!((wanted(&inspector, &[]), wanted(&inspector, &steps)), (None, Some(2)));
        inspector.scrub(-1, steps.iter().copied());
        assert_eq!(inspector.moment, Moment::Step(20));
        steps.push(40);
        assert_eq!(wanted(&inspector, &steps), Some(1), "a new one changes nothing");
        inspector.scrub(-5, steps.iter().copied());
        assert_eq!(wanted(&inspector, &steps), Some(0));
        inspector.scrub(9, steps.iter().copied());
        assert_eq!((inspector.moment, wanted(&inspector, &steps)), (Moment::Newest, Some(3)));
        // A restart takes some back.
        inspector.moment = Moment::Step(30);
        assert_eq!(wanted(&inspector, &steps[..2]), Some(1));
    }

    #[test]
    fn images_and_classes_go_round() {
        let mut inspector = inspector();
        inspector.step_image(-1);
        assert_eq!(inspector.image().map(|(image, number, count)| (image.index, number, count)), Some((2, 2, 3)));
        inspector.step_image(1);
        assert_eq!(inspector.subject, Subject::Pinned(0));
        assert_eq!(captions(&inspector)[1], "evidence for dog");
        inspector.step_class(1);
        assert_eq!((inspector.class, captions(&inspector)[1]), (Class::True, "evidence for cat"));
        inspector.step_class(-2);
        assert_eq!(captions(&inspector)[1], "evidence for truck");
        assert_eq!(inspector.title(), "Grad-CAM of conv3 for truck");
    }

    #[test]
    fn every_view_shows_the_image_and_what_explains_it() {
        let mut inspector = inspector();
        assert_eq!(captions(&inspector), ["image", "evidence for dog"]);
        inspector.set_layer(1);
        assert_eq!(captions(&inspector)[1], "not saved for dog");
        inspector.set_layer(2);
        inspector.next_view();
        assert_eq!(captions(&inspector), ["image", "channel 0", "channel 1", "channel 2"]);
        assert_eq!(inspector.channel_attention(), None);
        inspector.next_view();
        assert_eq!(captions(&inspector), ["image", "attention of 18,18"]);
        assert_eq!(inspector.channel_attention().map(|(layer, gates)| (layer, gates.len())), Some(("conv3", 128)));
        assert!(inspector.step_position(-9, 1));
        assert_eq!(captions(&inspector)[1], "attention of 2,22");
        let drawn = &inspector.tiles()[1].image;
        let scale = drawn.width() / 32;
        assert_eq!(drawn.get_pixel(2 * scale, 22 * scale), &image::Rgb([255; 3]));
        inspector.set_layer(0);
        assert_eq!(captions(&inspector), ["no attention in conv1"]);
        inspector.set_layer(2);
        inspector.next_view();
        assert_eq!(captions(&inspector).len(), 10);
        assert!(!inspector.step_position(1, 0), "no attention is shown");
    }

    #[test]
    fn one_tile_can_be_seen_alone() {
        let mut inspector = inspector();
        inspector.toggle_enlarged();
        assert_eq!(captions(&inspector), ["evidence for dog"]);
        inspector.step_tile(1);
        assert_eq!(captions(&inspector), ["image"]);
        assert_eq!(inspector.tiles()[0].image.width(), 96);
        inspector.toggle_enlarged();
        assert_eq!(captions(&inspector).len(), 2);
    }

    #[test]
    fn no_view_has_more_pixels_than_a_slow_link_takes() {
        let large = DatasetInfo { height: 96, width: 128, ..DatasetInfo::cifar10() };
        let grey = DatasetInfo { channels: 1, height: 28, width: 28, ..DatasetInfo::cifar10() };
        for dataset in [DatasetInfo::cifar10(), large, grey] {
            let shape = dataset.width as f32 / dataset.height as f32;
            let mut inspector = inspector_of(dataset);
            for _ in 0..4 {
                for enlarged in [false, true] {
                    let pixels: usize = inspector.tiles().iter().map(|tile| tile.image.pixels().len()).sum();
                    assert!(pixels <= 11_000, "{:?}: {pixels}", inspector.view);
                    for Tile { image, .. } in inspector.tiles() {
                        assert!((image.width() as f32 / image.height() as f32 - shape).abs() < 0.06);
                    }
                    if enlarged == inspector.enlarged.is_some() {
                        inspector.toggle_enlarged();
                    }
                }
                inspector.next_view();
            }
        }
    }

    #[test]
    fn the_gallery_can_be_of_one_cell_of_the_matrix() {
        let mut inspector = inspector();
        let numbers = |inspector: &Inspector| inspector.gallery().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(numbers(&inspector), [0, 1], "the explained ones");
        inspector.only = Some(Confused { true_class: 3, predicted_class: 5 });
        assert_eq!(numbers(&inspector), [0, 1]);
        inspector.choose_in_gallery(1);
        inspector.choose_in_gallery(2);
        assert_eq!((inspector.chosen_mistake, inspector.chosen_in_gallery()), (1, 1));
        inspector.only = Some(Confused { true_class: 5, predicted_class: 3 });
        assert_eq!((numbers(&inspector), inspector.chosen_in_gallery()), (vec![], 0));
        inspector.only = Some(Confused { true_class: 0, predicted_class: 1 });
        let others: Vec<(usize, &str)> =
            inspector.gallery().map(|(number, other)| (number, other.tile.caption.as_str())).collect();
        assert_eq!(others, [(2, "airplane → automobile 50 %")]);
    }

    #[test]
    fn the_likeliest_class_comes_first() {
        let mut inspector = inspector();
        let probabilities = inspector.probabilities().unwrap();
        assert_eq!((probabilities.len(), probabilities[0].0), (10, 5));
        assert!((probabilities.iter().map(|(_, share)| share).sum::<f32>() - 1.0).abs() < 1e-6);
        inspector.next_view();
        assert_eq!(inspector.probabilities(), None, "it is no longer the evidence for a class");
    }

    #[test]
    fn maps_have_colour_bars_and_the_image_has_none() {
        let mut inspector = inspector();
        let bars = |inspector: &Inspector| inspector.tiles().iter().map(|tile| tile.bar).collect::<Vec<_>>();
        let evidence = ColourBar { low: 0.0, high: 63.0, scale: ColourScale::Jet };
        assert_eq!(bars(&inspector), [None, Some(evidence)]);
        inspector.set_colour_mode(ColourMode::Greys);
        assert_eq!(bars(&inspector)[1], Some(ColourBar { scale: ColourScale::Grey, ..evidence }));
        inspector.set_layer(0);
        (0..3).for_each(|_| inspector.next_view());
        assert_eq!(bars(&inspector)[9], Some(ColourBar { low: 0.0, high: 1023.0, scale: ColourScale::Viridis }));
    }

    #[test]
    fn a_layer_that_there_is_not_changes_nothing() {
        let mut inspector = inspector();
        inspector.set_layer(0);
        inspector.set_layer(8);
        assert_eq!(inspector.title(), "Grad-CAM of conv1 for the predicted class");
    }

    #[test]
    fn mistakes_say_what_they_were_taken_for() {
        let mut inspector = inspector();
        let captions: Vec<&str> = inspector.gallery().map(|(_, mistake)| mistake.tile.caption.as_str()).collect();
        assert_eq!(captions, ["cat → dog 69 %"; 2]);
        inspector.look_at(Subject::Mistake(1), EVIDENCE);
        assert_eq!(inspector.image().map(|(image, ..)| image.index), Some(41));
        inspector.chosen_mistake = 1;
        inspector.step_image(1);
        assert_eq!((inspector.subject, inspector.chosen_mistake), (Subject::Mistake(0), 0));
    }
}
