//! What is looked at inside the network: which probe, image, layer, view and class, and the images that shows.

use std::sync::Arc;

use image::RgbImage;

use crate::data::{CLASSES, SIDE};
use crate::metrics::confidences;
use crate::render::Drawing;
use crate::render::Map;
use crate::render::colour_map::ColourMode;
use crate::run::probe::{LAYERS, Probe, ProbedImage};

/// Pixels for each of the image's: of an image and its heat map, of a tile alone, of several. On a link with room for
/// 60 kB a refresh, the protocol that takes most has 11 000 pixels.
const PAIR_SCALE: u32 = 2;
const ALONE_SCALE: u32 = 3;
const MANY_SCALE: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Maps,
    GradCam,
    Attention,
}

impl View {
    pub fn name(self) -> &'static str {
        match self {
            View::Maps => "feature maps",
            View::GradCam => "Grad-CAM",
            View::Attention => "attention",
        }
    }
}

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

/// Names a saved probe, also when one of the same step has taken its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeKey {
    pub file: String,
    pub time_ms: u64,
}

#[derive(Debug)]
pub struct Loaded {
    pub key: ProbeKey,
    /// Or why it cannot be shown.
    pub probe: Result<Arc<Probe>, String>,
}

/// An image with a word about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    pub caption: String,
    pub image: RgbImage,
}

#[derive(Debug)]
pub struct Inspector {
    pub moment: Moment,
    pub subject: Subject,
    /// From 0.
    pub layer: usize,
    pub view: View,
    pub class: Class,
    /// The position of the last layer, row by row, whose map non-local attention shows; the middle unless told.
    pub position: Option<usize>,
    /// One tile alone.
    pub enlarged: Option<usize>,
    /// The mistake that is chosen in the gallery, from 0.
    pub chosen_mistake: usize,
    colour_mode: ColourMode,
    loaded: Option<Loaded>,
    tiles: Vec<Tile>,
    gallery: Vec<Tile>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self {
            moment: Moment::Newest,
            subject: Subject::Pinned(0),
            layer: LAYERS.len() - 1,
            view: View::GradCam,
            class: Class::Predicted,
            position: None,
            enlarged: None,
            chosen_mistake: 0,
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

    /// The number of the class that the heat map is for.
    pub fn class_number(&self) -> Option<usize> {
        let (image, ..) = self.image()?;
        Some(match self.class {
            Class::Predicted => image.predicted(),
            Class::True => image.true_class.into(),
            Class::Number(class) => class,
        })
    }

    /// What is looked at, for a title.
    pub fn title(&self) -> String {
        let (view, layer) = (self.view.name(), LAYERS[self.layer]);
        let class = match self.class {
            Class::Predicted => "the predicted class",
            Class::True => "the true class",
            Class::Number(class) => CLASSES[class],
        };
        match self.view {
            View::Maps | View::Attention => format!("{view} of {layer}"),
            View::GradCam => format!("{view} of {layer} for {class}"),
        }
    }

    pub fn tiles(&self) -> &[Tile] {
        match self.enlarged {
            Some(number) if !self.tiles.is_empty() => {
                std::slice::from_ref(&self.tiles[number.min(self.tiles.len() - 1)])
            }
            _ => &self.tiles,
        }
    }

    /// The mistakes, each with what it was taken for.
    pub fn gallery(&self) -> &[Tile] {
        &self.gallery
    }

    pub fn step_image(&mut self, by: isize) {
        let Some((_, number, count)) = self.image() else { return };
        let next = (number as isize + by).rem_euclid(count as isize) as usize;
        self.subject = match self.subject {
            Subject::Pinned(_) => Subject::Pinned(next),
            Subject::Mistake(_) => {
                // Back in the gallery it is the one that is chosen.
                self.chosen_mistake = next;
                Subject::Mistake(next)
            }
        };
        self.compose();
    }

    /// How many there are to choose from.
    pub fn layers(&self) -> usize {
        LAYERS.len()
    }

    /// Nothing changes where there is no such layer.
    pub fn set_layer(&mut self, layer: usize) {
        if layer < self.layers() {
            self.layer = layer;
            self.compose();
        }
    }

    pub fn next_view(&mut self) {
        self.view = match self.view {
            View::Maps => View::GradCam,
            View::GradCam => View::Attention,
            View::Attention => View::Maps,
        };
        self.enlarged = None;
        self.compose();
    }

    /// Predicted, true, and then each of them.
    pub fn step_class(&mut self, by: isize) {
        let all = CLASSES.len() as isize + 2;
        let present = match self.class {
            Class::Predicted => 0,
            Class::True => 1,
            Class::Number(class) => 2 + class as isize,
        };
        self.class = match (present + by).rem_euclid(all) {
            0 => Class::Predicted,
            1 => Class::True,
            class => Class::Number(class as usize - 2),
        };
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

    /// The position that non-local attention is shown for; whether there is such a thing.
    pub fn step_position(&mut self, across: isize, down: isize) -> bool {
        let Some((width, height)) = self.positions() else { return false };
        let present = self.position.unwrap_or(middle(width, height)).min(width * height - 1);
        let column = (present % width).saturating_add_signed(across).min(width - 1);
        let row = (present / width).saturating_add_signed(down).min(height - 1);
        self.position = Some(row * width + column);
        self.compose();
        true
    }

    /// Columns and rows of the positions that look at each other, where they are shown.
    fn positions(&self) -> Option<(usize, usize)> {
        let first = self.image()?.0.pairs.as_ref()?.first()?;
        (self.view == View::Attention && self.layer + 1 == LAYERS.len()).then(|| (first.width, first.height()))
    }

    /// The gates of the layer's channels, where it has such attention and it is shown.
    pub fn gates(&self) -> Option<&[f32]> {
        let gates = self.image()?.0.gates[self.layer].as_deref()?;
        (self.view == View::Attention).then_some(gates)
    }

    fn compose(&mut self) {
        let drawings = self.image().map(|(image, ..)| (image.planes.clone(), self.drawings(image)));
        self.tiles = drawings.map_or(vec![], |(planes, drawings)| {
            let scale = match (self.enlarged, drawings.len()) {
                (Some(_), _) => ALONE_SCALE,
                (None, ..=2) => PAIR_SCALE,
                (None, _) => MANY_SCALE,
            };
            let drawn = drawings.into_iter();
            drawn
                .map(|(caption, drawing)| Tile { caption, image: drawing.draw(&planes, scale, self.colour_mode) })
                .collect()
        });
        self.gallery = self.probe().map_or(vec![], |probe| {
            let tile = |mistake: &ProbedImage| {
                let predicted = mistake.predicted();
                let percent = 100.0 * confidences(&mistake.logits)[predicted];
                Tile {
                    caption: format!("{} {percent:.0}%", CLASSES[predicted]),
                    image: Drawing::Image.draw(&mistake.planes, MANY_SCALE, self.colour_mode),
                }
            };
            probe.mistakes.iter().map(tile).collect()
        });
    }

    /// What there is to see of an image, itself first.
    fn drawings(&self, image: &ProbedImage) -> Vec<(String, Drawing)> {
        let layer = self.layer;
        let mut all = vec![("image".into(), Drawing::Image)];
        let is_same = |map: &Map| map.range().0 == map.range().1;
        let dead = |map: &Map| if is_same(map) { " (all equal)" } else { "" };
        match self.view {
            View::Maps => all.extend(
                image.maps[layer]
                    .iter()
                    .enumerate()
                    .map(|(channel, map)| (format!("channel {channel}{}", dead(map)), Drawing::Map(map.clone()))),
            ),
            View::GradCam => all.extend(self.class_number().map(|class| match image.cam(layer, class) {
                Some(cam) if cam.range().1 <= 0.0 => {
                    (format!("nothing speaks for {}", CLASSES[class]), Drawing::Heat(cam.clone()))
                }
                Some(cam) => (format!("speaks for {}", CLASSES[class]), Drawing::Heat(cam.clone())),
                // Said instead of shown.
                None => (format!("not saved for {}", CLASSES[class]), Drawing::Image),
            })),
            View::Attention => {
                if layer + 1 == LAYERS.len() {
                    all.extend(
                        image.active.iter().map(|(channel, map)| {
                            (format!("channel {channel}{}", dead(map)), Drawing::Heat(map.clone()))
                        }),
                    );
                }
                all.extend(
                    image.positions[layer]
                        .as_ref()
                        .map(|positions| ("attends to".into(), Drawing::Heat(positions.clone()))),
                );
                if let (Some((width, height)), Some(pairs)) = (self.positions(), &image.pairs) {
                    let position = self.position.unwrap_or(middle(width, height)).min(pairs.len() - 1);
                    let (column, row) = (position % width, position / width);
                    // In the middle of the position.
                    let pixel = ((2 * column + 1) * SIDE / (2 * width), (2 * row + 1) * SIDE / (2 * height));
                    let heat = Drawing::HeatOfPixel(pairs[position].clone(), pixel);
                    all.push((format!("{column},{row} looks at"), heat));
                }
                if let ([(caption, _)], None) = (all.as_mut_slice(), &image.gates[layer]) {
                    // Said instead of shown.
                    *caption = format!("nothing in {} attends", LAYERS[layer]);
                }
            }
        }
        all
    }
}

fn middle(width: usize, height: usize) -> usize {
    height / 2 * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::IMAGE_BYTES;
    use crate::run::probe::ClassCam;

    fn image(index: usize) -> ProbedImage {
        let map = |side: usize| Map::new(side, (0..side * side).map(|value| value as f32).collect());
        let cam = |layer: usize, class| ClassCam { layer, class, map: map(32 >> layer) };
        let mut logits = vec![0.0; 10];
        logits[5] = 3.0;
        ProbedImage {
            index,
            true_class: 3,
            planes: vec![index as u8; IMAGE_BYTES],
            logits,
            maps: [32, 16, 8].map(|side| (0..9).map(|_| map(side)).collect()),
            cams: (0..10).map(|class| cam(2, class)).chain([cam(0, 5), cam(0, 3)]).collect(),
            active: (0..3).map(|channel| (channel, map(8))).collect(),
            gates: [None, None, Some(vec![0.5; 128])],
            positions: [None, None, None],
            pairs: Some((0..64).map(|_| map(8)).collect()),
        }
    }

    fn inspector() -> Inspector {
        let mut inspector = Inspector::default();
        let probe =
            Probe { epoch: 1, step: 7, images: (0..3).map(image).collect(), mistakes: vec![image(40), image(41)] };
        let key = ProbeKey { file: "x".into(), time_ms: 1 };
        inspector.load(Loaded { key, probe: Ok(Arc::new(probe)) });
        inspector
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
        assert_eq!(inspector.class_number(), Some(5));
        inspector.step_class(1);
        assert_eq!((inspector.class, inspector.class_number()), (Class::True, Some(3)));
        inspector.step_class(-2);
        assert_eq!(inspector.class_number(), Some(9));
        assert_eq!(inspector.title(), "Grad-CAM of conv3 for truck");
    }

    #[test]
    fn every_view_shows_the_image_and_what_explains_it() {
        let mut inspector = inspector();
        assert_eq!(captions(&inspector), ["image", "speaks for dog"]);
        inspector.set_layer(1);
        assert_eq!(captions(&inspector)[1], "not saved for dog");
        inspector.set_layer(2);
        inspector.next_view();
        assert_eq!(captions(&inspector), ["image", "channel 0", "channel 1", "channel 2", "4,4 looks at"]);
        assert_eq!(inspector.gates().map(<[f32]>::len), Some(128));
        assert!(inspector.step_position(-9, 1));
        assert_eq!(captions(&inspector)[4], "0,5 looks at");
        assert_eq!(inspector.tiles()[4].image.get_pixel(2, 22), &image::Rgb([255; 3]));
        inspector.set_layer(0);
        assert_eq!(captions(&inspector), ["nothing in conv1 attends"]);
        inspector.set_layer(2);
        inspector.next_view();
        assert_eq!(captions(&inspector).len(), 10);
        assert!(!inspector.step_position(1, 0), "no attention is shown");
    }

    #[test]
    fn one_tile_can_be_seen_alone() {
        let mut inspector = inspector();
        inspector.toggle_enlarged();
        assert_eq!(captions(&inspector), ["speaks for dog"]);
        inspector.step_tile(1);
        assert_eq!(captions(&inspector), ["image"]);
        assert_eq!(inspector.tiles()[0].image.width(), 96);
        inspector.toggle_enlarged();
        assert_eq!(captions(&inspector).len(), 2);
    }

    #[test]
    fn no_view_has_more_pixels_than_a_slow_link_takes() {
        let mut inspector = inspector();
        for _ in 0..3 {
            for enlarged in [false, true] {
                let pixels: usize = inspector.tiles().iter().map(|tile| tile.image.pixels().len()).sum();
                assert!(pixels <= 11_000, "{:?}: {pixels}", inspector.view);
                if enlarged == inspector.enlarged.is_some() {
                    inspector.toggle_enlarged();
                }
            }
            inspector.next_view();
        }
    }

    #[test]
    fn mistakes_say_what_they_were_taken_for() {
        let mut inspector = inspector();
        let captions: Vec<&str> = inspector.gallery().iter().map(|tile| tile.caption.as_str()).collect();
        assert_eq!(captions, ["dog 69%"; 2]);
        inspector.look_at(Subject::Mistake(1), View::GradCam);
        assert_eq!(inspector.image().map(|(image, ..)| image.index), Some(41));
        inspector.chosen_mistake = 1;
        inspector.step_image(1);
        assert_eq!((inspector.subject, inspector.chosen_mistake), (Subject::Mistake(0), 0));
    }
}
