//! A probe: what the network made of a few images at one step, as `probes/e0012-s009384.safetensors`.
//!
//! Maps are quantised: each has a scale and an offset of its own, and `value = offset + scale * byte`, within half a scale
//! of what it was. With N images, the pinned ones and after them the mistakes, K = the first nine channels (all, where
//! there are fewer), C channels in a layer, and layers of H x W positions, the file holds
//!
//! | tensor | type and shape | |
//! |---|---|---|
//! | `epoch`, `step` | u64 (1) | trained so far |
//! | `pinned` | u64 (1) | how many of the images are pinned |
//! | `indices` | u64 (N) | numbers of the test images |
//! | `true_classes` | u8 (N) | |
//! | `images` | u8 (N, 3, 32, 32) | as in the dataset |
//! | `logits` | f32 (N, 10) | |
//! | `convL.maps` | u8 (N, K, H, W) | output of `conv1`, `conv2`, `conv3`, before batch normalisation |
//! | `convL.gradcam` | u8 (R, H, W) | Grad-CAM, not normalised |
//! | `convL.gradcam.of` | u32 (R, 2) | of which image, by its position here from 0, and for which class |
//! | `conv3.active` | u8 (N, 3, H, W) | the channels with the greatest mean |
//! | `conv3.active.channels` | u32 (N, 3) | their numbers |
//! | `convL.gates` | u8 (N, C) | of the block's channels; absent without such attention |
//! | `convL.positions` | u8 (N, H, W) | how much the block attends to each position; absent without such attention |
//! | `conv3.pairs` | u8 (N, H · W, H, W) | how much each position, row by row, looks at all; absent without non-local attention |
//! | `sha256` | u8 (32) | of all the other tensors, by their names: `NAME TYPE [SHAPE]`, a newline, the bytes; older probes lack it |
//!
//! and, for each that is quantised, `NAME.scale` and `NAME.offset`, f32, with a number for each map or list of gates: (N, K),
//! (R), (N, 3), (N, H · W) or (N). Its one metadata entry, `taper_probe`, is the format's version.
//!
//! Of a pinned image there are heat maps of `conv3` for every class, and of the others for the predicted and the true one; of
//! a mistake, of `conv3` for these two alone: they cost the training most of the probe.
//!
//! The mistakes are the most confident wrong test images of the evaluation that the probe follows. A probe by command in
//! the middle of an epoch follows none, and has none.

use std::collections::HashMap;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::data::{CLASSES, IMAGE_BYTES, SIDE};
use crate::metrics::predicted;
use crate::render::Map;

/// Maps of each layer that a probe holds.
pub const MAPS: usize = 9;
/// Most active channels of `conv3` that it holds.
pub const ACTIVE: usize = 3;
/// Mistakes that it holds at most.
pub const MISTAKES: usize = 12;

/// That are looked into.
pub const LAYERS: [&str; 3] = ["conv1", "conv2", "conv3"];
const VERSION_KEY: &str = "taper_probe";
const VERSION: &str = "1";
/// A tensor and no metadata: those are written in any order, and equal probes would not give equal bytes.
const CHECKSUM: &str = "sha256";

#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// That was trained last.
    pub epoch: u64,
    /// Optimizer steps taken.
    pub step: u64,
    /// The pinned images. The layers of all images have the same sizes, and there is at least one, here or below.
    pub images: Vec<ProbedImage>,
    /// The most confident wrong test images of the evaluation that this probe follows, the most confident first, at most
    /// [`MISTAKES`]; none where it follows none.
    pub mistakes: Vec<ProbedImage>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProbedImage {
    /// Its number among the test images.
    pub index: usize,
    pub true_class: u8,
    /// Planes R, G and B, each row by row.
    pub planes: Vec<u8>,
    /// Of each class.
    pub logits: Vec<f32>,
    /// The first channels of `conv1`, `conv2` and `conv3`, at most [`MAPS`] of each.
    pub maps: [Vec<Map>; 3],
    /// For each layer the classes that [`cam_classes`] names, in the order of the layers.
    pub cams: Vec<ClassCam>,
    /// Channel and map, the most active first; at most [`ACTIVE`].
    pub active: Vec<(u32, Map)>,
    /// Of each block's channels, where the network has them.
    pub gates: [Option<Vec<f32>>; 3],
    /// How much each block attends to each position, where the network has spatial attention.
    pub positions: [Option<Map>; 3],
    /// How much each position of `conv3`, row by row, looks at all of them, where the network has a non-local block.
    pub pairs: Option<Vec<Map>>,
}

/// Which positions speak for a class: Grad-CAM, at the size of the layer, not normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassCam {
    /// 0 to 2, for `conv1` to `conv3`.
    pub layer: usize,
    pub class: u8,
    pub map: Map,
}

impl ProbedImage {
    /// The heat map of a layer, from 0, for a class.
    pub fn cam(&self, layer: usize, class: usize) -> Option<&Map> {
        let wanted = |cam: &&ClassCam| cam.layer == layer && usize::from(cam.class) == class;
        self.cams.iter().find(wanted).map(|cam| &cam.map)
    }

    /// The class that the network takes it for.
    pub fn predicted(&self) -> usize {
        predicted(&self.logits)
    }
}

/// Why a probe holds an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Pinned,
    Mistake,
}

/// The classes for which a probe holds heat maps of a layer, from 0.
pub fn cam_classes(layer: usize, reason: Reason, predicted: usize, true_class: usize) -> Vec<usize> {
    let is_last = layer + 1 == LAYERS.len();
    let mut classes = match reason {
        Reason::Pinned if is_last => (0..CLASSES.len()).collect(),
        Reason::Mistake if !is_last => vec![],
        Reason::Pinned | Reason::Mistake => vec![predicted, true_class],
    };
    // Predicted right, the two are one.
    classes.dedup();
    classes
}

/// What keeps bytes from being a probe.
#[derive(Debug, Error)]
pub enum ProbeError {
    #[error("not a whole safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    #[error("a probe of version {0}, this taper reads {VERSION}")]
    Version(String),
    #[error("it is damaged: its SHA-256 is not the one that it names")]
    Changed,
    #[error("no probe: {0} is missing or has another type or shape")]
    Tensor(String),
}

impl Probe {
    /// As the bytes of a file. Equal probes give equal bytes.
    ///
    /// # Errors
    /// The images do not have layers of the same sizes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ProbeError> {
        let count = self.images.len() + self.mistakes.len();
        let mut file = Writer::default();
        file.add("epoch", Dtype::U64, vec![1], self.epoch.to_le_bytes());
        file.add("step", Dtype::U64, vec![1], self.step.to_le_bytes());
        file.add("pinned", Dtype::U64, vec![1], (self.images.len() as u64).to_le_bytes());
        file.add("indices", Dtype::U64, vec![count], self.all(|image| (image.index as u64).to_le_bytes()));
        file.add("true_classes", Dtype::U8, vec![count], self.all(|image| [image.true_class]));
        let planes = self.every_image().flat_map(|image| image.planes.iter().copied());
        file.add("pictures", Dtype::U8, vec![count, 3, SIDE, SIDE], planes);
        let logits = self.every_image().flat_map(|image| image.logits.iter().copied().flat_map(f32::to_le_bytes));
        file.add("logits", Dtype::F32, vec![count, CLASSES.len()], logits);
        for (layer, name) in LAYERS.into_iter().enumerate() {
            file.add_maps(&format!("{name}.maps"), count, self.each(|image| image.maps[layer].iter()));
            self.add_cams(&mut file, layer, &format!("{name}.gradcam"));
            if let Some(gates) = self.of_every(|image| image.gates[layer].as_deref()) {
                let channels = gates.first().map_or(0, |gates| gates.len());
                file.add_quantised(&format!("{name}.gates"), vec![count], vec![channels], &gates);
            }
            if let Some(positions) = self.of_every(|image| image.positions[layer].as_ref()) {
                let inner = positions.first().map_or(vec![0, 0], |map| shape(map));
                let positions: Vec<&[f32]> = positions.iter().map(|map| map.values.as_slice()).collect();
                file.add_quantised(&format!("{name}.places"), vec![count], inner, &positions);
            }
        }
        if let Some(pairs) = self.of_every(|image| image.pairs.as_ref()) {
            file.add_maps("conv3.pairs", count, pairs.into_iter().flatten().collect());
        }
        file.add_maps("conv3.active", count, self.each(|image| image.active.iter().map(|(_, map)| map)));
        let channels =
            self.all(|image| image.active.iter().flat_map(|(channel, _)| channel.to_le_bytes()).collect::<Vec<_>>());
        let active = self.every_image().next().map_or(0, |image| image.active.len());
        file.add("conv3.active.channels", Dtype::U32, vec![count, active], channels);
        file.finish()
    }

    /// # Errors
    /// The bytes are no probe, or one of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProbeError> {
        let (_, about) = SafeTensors::read_metadata(bytes)?;
        let version = about.metadata().as_ref().and_then(|about| about.get(VERSION_KEY)).cloned().unwrap_or_default();
        if version != VERSION {
            return Err(ProbeError::Version(version));
        }
        let file = Reader(SafeTensors::deserialize(bytes)?);
        file.check()?;
        let wrong = |name: &str| ProbeError::Tensor(name.into());
        let one = |name: &str| file.u64s(name)?.first().copied().ok_or_else(|| wrong(name));
        let indices = file.u64s("indices")?;
        let count = indices.len();
        if count == 0 {
            return Err(wrong("indices"));
        }
        let pinned = usize::try_from(one("pinned")?).ok().filter(|&pinned| pinned <= count);
        let pinned = pinned.ok_or_else(|| wrong("pinned"))?;
        let true_classes = file.bytes("true_classes", Dtype::U8, &[count])?;
        if true_classes.iter().any(|&class| usize::from(class) >= CLASSES.len()) {
            return Err(wrong("true_classes"));
        }
        let planes = file.bytes("pictures", Dtype::U8, &[count, 3, SIDE, SIDE])?;
        let logits = file.f32s("logits")?;
        if logits.len() != count * CLASSES.len() {
            return Err(wrong("logits"));
        }
        let maps = in_layers(|_, layer| file.dequantised(&format!("{layer}.maps"), count, 2))?;
        let mut cams = vec![vec![]; count];
        for (layer, name) in LAYERS.into_iter().enumerate() {
            file.read_cams(layer, &format!("{name}.gradcam"), &mut cams)?;
        }
        let gates = in_layers(|_, layer| file.one_each(&format!("{layer}.gates"), count, 1))?;
        let positions = in_layers(|_, layer| file.one_each(&format!("{layer}.places"), count, 2))?;
        let pairs = file.has("conv3.pairs").then(|| file.dequantised("conv3.pairs", count, 2)).transpose()?;
        if pairs.as_ref().is_some_and(|pairs| pairs.each(count) != pairs.length) {
            return Err(wrong("conv3.pairs"));
        }
        let active = file.dequantised("conv3.active", count, 2)?;
        let channels = file.words("conv3.active.channels", Dtype::U32)?;
        let channels: Vec<u32> = channels.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
        if channels.len() != active.groups.len() {
            return Err(wrong("conv3.active.channels"));
        }
        let image = |number: usize| -> ProbedImage {
            let active_maps = active.maps(number, count);
            let channels = channels.iter().skip(number * active_maps.len()).copied();
            let logits = &logits[number * CLASSES.len()..][..CLASSES.len()];
            ProbedImage {
                index: usize::try_from(indices[number]).unwrap_or(usize::MAX),
                true_class: true_classes[number],
                planes: planes[number * IMAGE_BYTES..][..IMAGE_BYTES].to_vec(),
                logits: logits.to_vec(),
                maps: maps.each_ref().map(|maps| maps.maps(number, count)),
                cams: cams[number].clone(),
                active: channels.zip(active_maps).collect(),
                gates: gates.each_ref().map(|gates| gates.as_ref().map(|gates| gates.groups[number].clone())),
                positions: positions
                    .each_ref()
                    .map(|positions| positions.as_ref().map(|positions| positions.map(number))),
                pairs: pairs.as_ref().map(|pairs| pairs.maps(number, count)),
            }
        };
        Ok(Self {
            epoch: one("epoch")?,
            step: one("step")?,
            images: (0..pinned).map(image).collect(),
            mistakes: (pinned..count).map(image).collect(),
        })
    }

    /// In the order of the file.
    fn every_image(&self) -> impl Iterator<Item = &ProbedImage> {
        self.images.iter().chain(&self.mistakes)
    }

    /// Bytes of every image, one after another.
    fn all<B: IntoIterator<Item = u8>>(&self, of: impl Fn(&ProbedImage) -> B) -> Vec<u8> {
        self.every_image().flat_map(of).collect()
    }

    fn each<'a, M: Iterator<Item = &'a Map>>(&'a self, of: impl Fn(&'a ProbedImage) -> M) -> Vec<&'a Map> {
        self.every_image().flat_map(of).collect()
    }

    /// `None` where an image lacks it, and where there are no images.
    fn of_every<'a, T>(&'a self, of: impl Fn(&'a ProbedImage) -> Option<T>) -> Option<Vec<T>> {
        self.every_image().map(of).collect::<Option<Vec<T>>>().filter(|all| !all.is_empty())
    }

    /// The heat maps of a layer, of one image after another.
    fn add_cams(&self, file: &mut Writer, layer: usize, name: &str) {
        let of_layer = |cam: &&ClassCam| cam.layer == layer;
        let cams: Vec<(u32, &ClassCam)> = (0..)
            .zip(self.every_image())
            .flat_map(|(number, image)| image.cams.iter().filter(of_layer).map(move |cam| (number, cam)))
            .collect();
        let Some((_, first)) = cams.first() else { return };
        let maps: Vec<&[f32]> = cams.iter().map(|(_, cam)| cam.map.values.as_slice()).collect();
        file.add_quantised(name, vec![cams.len()], shape(&first.map), &maps);
        let of = cams.iter().flat_map(|(number, cam)| [*number, cam.class.into()]).flat_map(u32::to_le_bytes);
        file.add(&format!("{name}.of"), Dtype::U32, vec![cams.len(), 2], of);
    }
}

/// What is read of each layer, from its number and name.
fn in_layers<T>(read: impl Fn(usize, &str) -> Result<T, ProbeError>) -> Result<[T; 3], ProbeError> {
    let [first, second, third] = LAYERS;
    Ok([read(0, first)?, read(1, second)?, read(2, third)?])
}

fn shape(map: &Map) -> Vec<usize> {
    vec![map.height(), map.width]
}

/// Bytes, and the scale and offset that make numbers of them.
fn quantised(values: &[f32]) -> (impl Iterator<Item = u8>, f32, f32) {
    let bounds = values.iter().fold(None, |bounds: Option<(f32, f32)>, &value| {
        Some(bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    });
    let (low, high) = bounds.unwrap_or_default();
    let scale = (high - low) / 255.0;
    let per_unit = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    // Rounded: none is below 0, and `round` is a call for each.
    (values.iter().map(move |&value| ((value - low) * per_unit + 0.5) as u8), scale, low)
}

#[derive(Default)]
struct Writer {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    fn add(&mut self, name: &str, dtype: Dtype, shape: Vec<usize>, bytes: impl IntoIterator<Item = u8>) {
        self.tensors.push((name.to_owned(), dtype, shape, bytes.into_iter().collect()));
    }

    /// As many maps of each of `count` images.
    fn add_maps(&mut self, name: &str, count: usize, maps: Vec<&Map>) {
        let inner = maps.first().map_or(vec![0, 0], |map| shape(map));
        let groups: Vec<&[f32]> = maps.iter().map(|map| map.values.as_slice()).collect();
        self.add_quantised(name, vec![count, groups.len() / count.max(1)], inner, &groups);
    }

    /// (outer, inner), with a scale and an offset for each group of inner.
    fn add_quantised(&mut self, name: &str, outer: Vec<usize>, inner: Vec<usize>, groups: &[&[f32]]) {
        let (mut bytes, mut scales, mut offsets) = (vec![], vec![], vec![]);
        for group in groups {
            let (quantised, scale, offset) = quantised(group);
            bytes.extend(quantised);
            scales.extend(scale.to_le_bytes());
            offsets.extend(offset.to_le_bytes());
        }
        self.add(name, Dtype::U8, [outer.clone(), inner].concat(), bytes);
        self.add(&format!("{name}.scale"), Dtype::F32, outer.clone(), scales);
        self.add(&format!("{name}.offset"), Dtype::F32, outer, offsets);
    }

    fn finish(mut self) -> Result<Vec<u8>, ProbeError> {
        let parts = self.tensors.iter();
        let checksum = checksum(
            parts.map(|(name, dtype, shape, bytes)| (name.as_str(), *dtype, shape.as_slice(), bytes.as_slice())),
        );
        self.add(CHECKSUM, Dtype::U8, vec![checksum.len()], checksum);
        let views = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        let about = HashMap::from([(VERSION_KEY.to_owned(), VERSION.to_owned())]);
        Ok(safetensors::serialize(views, Some(about))?)
    }
}

/// Of tensors in any order.
fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>) -> Vec<u8> {
    let mut tensors: Vec<_> = tensors.collect();
    tensors.sort_unstable_by_key(|(name, ..)| *name);
    let mut hash = Sha256::new();
    for (name, dtype, shape, bytes) in tensors {
        hash.update(format!("{name} {dtype:?} {shape:?}\n"));
        hash.update(bytes);
    }
    hash.finalize().to_vec()
}

struct Reader<'a>(SafeTensors<'a>);

/// Groups of numbers, each with the same number of them.
struct Dequantised {
    width: usize,
    /// Numbers of a group.
    length: usize,
    groups: Vec<Vec<f32>>,
}

impl Dequantised {
    fn map(&self, group: usize) -> Map {
        Map::new(self.width, self.groups[group].clone())
    }

    /// Groups of each of `count` images.
    fn each(&self, count: usize) -> usize {
        self.groups.len() / count
    }

    /// Those of one of `count` images.
    fn maps(&self, image: usize, count: usize) -> Vec<Map> {
        let each = self.each(count);
        (image * each..(image + 1) * each).map(|group| self.map(group)).collect()
    }
}

impl<'a> Reader<'a> {
    /// Compares the checksum, if there is one.
    fn check(&self) -> Result<(), ProbeError> {
        if !self.has(CHECKSUM) {
            return Ok(());
        }
        let tensors = self.0.tensors();
        let others = tensors.iter().filter(|(name, _)| name != CHECKSUM);
        let found = checksum(others.map(|(name, view)| (name.as_str(), view.dtype(), view.shape(), view.data())));
        if self.words(CHECKSUM, Dtype::U8)? == found { Ok(()) } else { Err(ProbeError::Changed) }
    }

    fn has(&self, name: &str) -> bool {
        self.0.tensor(name).is_ok()
    }

    fn bytes(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8], ProbeError> {
        let tensor = self.0.tensor(name).ok().filter(|tensor| tensor.dtype() == dtype && tensor.shape() == shape);
        tensor.map(|tensor| tensor.data()).ok_or_else(|| ProbeError::Tensor(name.into()))
    }

    /// Of any shape.
    fn words(&self, name: &str, dtype: Dtype) -> Result<&'a [u8], ProbeError> {
        let tensor = self.0.tensor(name).ok().filter(|tensor| tensor.dtype() == dtype);
        tensor.map(|tensor| tensor.data()).ok_or_else(|| ProbeError::Tensor(name.into()))
    }

    fn u64s(&self, name: &str) -> Result<Vec<u64>, ProbeError> {
        Ok(self.words(name, Dtype::U64)?.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect())
    }

    fn f32s(&self, name: &str) -> Result<Vec<f32>, ProbeError> {
        Ok(self.words(name, Dtype::F32)?.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect())
    }

    /// With groups of so many inner dimensions, of `count` images.
    fn dequantised(&self, name: &str, count: usize, inner: usize) -> Result<Dequantised, ProbeError> {
        let wrong = || ProbeError::Tensor(name.into());
        let bytes = self.words(name, Dtype::U8)?;
        let tensor = self.0.tensor(name)?;
        let shape = tensor.shape();
        let outer = shape.len().checked_sub(inner).ok_or_else(wrong)?;
        let (scales, offsets) = (self.f32s(&format!("{name}.scale"))?, self.f32s(&format!("{name}.offset"))?);
        let product = |dims: &[usize]| dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
        let (groups, length) = product(&shape[..outer]).zip(product(&shape[outer..])).ok_or_else(wrong)?;
        let fits = shape.first() == Some(&count) && length > 0 && groups == scales.len() && groups == offsets.len();
        if !fits {
            return Err(wrong());
        }
        let numbers = bytes.chunks_exact(length).zip(scales.iter().zip(&offsets));
        let groups = numbers
            .map(|(bytes, (scale, offset))| bytes.iter().map(|&byte| offset + scale * f32::from(byte)).collect());
        Ok(Dequantised { width: shape[shape.len() - 1], length, groups: groups.collect() })
    }

    /// The heat maps of a layer, if it has any, to those of each image.
    fn read_cams(&self, layer: usize, name: &str, of_images: &mut [Vec<ClassCam>]) -> Result<(), ProbeError> {
        if !self.has(name) {
            return Ok(());
        }
        let of = format!("{name}.of");
        let wrong = || ProbeError::Tensor(of.clone());
        let words = self.words(&of, Dtype::U32)?.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word));
        let words: Vec<u32> = words.collect();
        let rows = words.as_chunks().0;
        let cams = self.dequantised(name, rows.len(), 2)?;
        if cams.groups.len() != rows.len() {
            return Err(wrong());
        }
        for (row, &[image, class]) in rows.iter().enumerate() {
            let of_image = of_images.get_mut(image as usize).ok_or_else(wrong)?;
            let class = u8::try_from(class).ok().filter(|&class| usize::from(class) < CLASSES.len());
            of_image.push(ClassCam { layer, class: class.ok_or_else(wrong)?, map: cams.map(row) });
        }
        Ok(())
    }

    /// With one group for each image, where the file has it.
    fn one_each(&self, name: &str, count: usize, inner: usize) -> Result<Option<Dequantised>, ProbeError> {
        let read = self.has(name).then(|| self.dequantised(name, count, inner)).transpose()?;
        if read.as_ref().is_some_and(|read| read.groups.len() != count) {
            return Err(ProbeError::Tensor(name.into()));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in [-1, 2) that look like nothing in particular.
    fn numbers(seed: usize, count: usize) -> Vec<f32> {
        (0..count).map(|position| ((position * 7919 + seed * 104_729) % 3001) as f32 / 1000.0 - 1.0).collect()
    }

    /// What a network attends to.
    #[derive(Clone, Copy, Debug)]
    enum Attends {
        Nothing,
        Channels,
        ChannelsAndPositions,
        Pairs,
    }

    const ATTENDS: [Attends; 4] = [Attends::Nothing, Attends::Channels, Attends::ChannelsAndPositions, Attends::Pairs];

    fn probe(attends: Attends) -> Probe {
        let map = |seed: usize, side: usize| Map::new(side, numbers(seed, side * side));
        let sides = [32, 16, 8];
        let image = |number: usize| {
            let logits = numbers(number, 10);
            let cams = (0..3).flat_map(|layer| {
                let reason = if number < 3 { Reason::Pinned } else { Reason::Mistake };
                let classes = cam_classes(layer, reason, predicted(&logits), number);
                classes.into_iter().map(move |class| (layer, class))
            });
            let cam = |(layer, class): (usize, usize)| ClassCam {
                layer,
                class: class as u8,
                map: if class == number {
                    Map::new(sides[layer], vec![0.0; sides[layer] * sides[layer]])
                } else {
                    map(50 + class, sides[layer])
                },
            };
            ProbedImage {
                index: 10 * number,
                true_class: number as u8,
                planes: (0..IMAGE_BYTES).map(|position| (position * (number + 3)) as u8).collect(),
                cams: cams.map(cam).collect(),
                logits,
                maps: sides.map(|side: usize| (0..MAPS).map(|channel| map(channel + number, side)).collect()),
                active: (0..3).map(|channel| (40 + channel, map(60 + number, 8))).collect(),
                gates: match attends {
                    Attends::Nothing | Attends::Pairs => [const { None }; 3],
                    Attends::Channels | Attends::ChannelsAndPositions => {
                        [16, 16, 32].map(|channels| Some(numbers(number, channels)))
                    }
                },
                positions: match attends {
                    Attends::ChannelsAndPositions => sides.map(|side| Some(map(70 + number, side))),
                    Attends::Nothing | Attends::Channels | Attends::Pairs => [const { None }; 3],
                },
                pairs: matches!(attends, Attends::Pairs)
                    .then(|| (0..64).map(|position| map(80 + position + number, 8)).collect()),
            }
        };
        Probe { epoch: 12, step: 9384, images: (0..3).map(image).collect(), mistakes: (3..5).map(image).collect() }
    }

    fn assert_close(read: &[f32], written: &[f32]) {
        assert_eq!(read.len(), written.len());
        // Between -1 and 2.
        for (read, written) in read.iter().zip(written) {
            assert!((read - written).abs() <= 3.0 / 510.0 + 1e-6, "{read} and {written}");
        }
    }

    fn assert_maps_close<'a>(read: impl IntoIterator<Item = &'a Map>, written: impl IntoIterator<Item = &'a Map>) {
        let (mut read, mut written) = (read.into_iter(), written.into_iter());
        loop {
            match (read.next(), written.next()) {
                (Some(read), Some(written)) => {
                    assert_eq!(read.width, written.width);
                    assert_close(&read.values, &written.values);
                }
                (read, written) => return assert_eq!((read, written), (None, None)),
            }
        }
    }

    #[test]
    fn what_is_written_is_read_within_half_a_scale() {
        for attends in ATTENDS {
            let written = probe(attends);
            let bytes = written.to_bytes().unwrap();
            assert_eq!(bytes, written.to_bytes().unwrap());
            let read = Probe::from_bytes(&bytes).unwrap();
            assert_eq!((read.epoch, read.step, read.images.len(), read.mistakes.len()), (12, 9384, 3, 2));
            for (read, written) in read.every_image().zip(written.every_image()) {
                assert_eq!((read.index, read.true_class), (written.index, written.true_class));
                assert!(read.planes == written.planes && read.logits == written.logits);
                assert_maps_close(read.maps.iter().flatten(), written.maps.iter().flatten());
                let of = |cams: &[ClassCam]| cams.iter().map(|cam| (cam.layer, cam.class)).collect::<Vec<_>>();
                assert_eq!(of(&read.cams), of(&written.cams), "{attends:?}");
                assert_maps_close(read.cams.iter().map(|cam| &cam.map), written.cams.iter().map(|cam| &cam.map));
                let truth = usize::from(read.true_class);
                assert!((0..3).all(|layer| read.cam(layer, truth) == written.cam(layer, truth)), "zeros stay zeros");
                for ((channel, _), (expected, _)) in read.active.iter().zip(&written.active) {
                    assert_eq!(channel, expected);
                }
                assert_maps_close(read.active.iter().map(|(_, map)| map), written.active.iter().map(|(_, map)| map));
                for (read, written) in read.gates.iter().zip(&written.gates) {
                    assert_close(read.as_deref().unwrap_or_default(), written.as_deref().unwrap_or_default());
                }
                assert_maps_close(read.positions.iter().flatten(), written.positions.iter().flatten());
                assert_maps_close(read.pairs.iter().flatten(), written.pairs.iter().flatten());
            }
        }
    }

    #[test]
    fn the_heat_maps_that_are_kept() {
        let read = Probe::from_bytes(&probe(Attends::Nothing).to_bytes().unwrap()).unwrap();
        let kept = |image: &ProbedImage, class| [0, 1, 2].map(|layer| image.cam(layer, class).is_some());
        for class in 0..10 {
            let is_shown = |image: &ProbedImage| [image.predicted(), image.true_class.into()].contains(&class);
            for image in &read.images {
                assert_eq!(kept(image, class), [is_shown(image), is_shown(image), true]);
            }
            for mistake in &read.mistakes {
                assert_eq!(kept(mistake, class), [false, false, is_shown(mistake)]);
            }
        }
    }

    #[test]
    fn what_is_no_probe_is_an_error_and_no_panic() {
        let bytes = probe(Attends::Pairs).to_bytes().unwrap();
        for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
            assert!(matches!(Probe::from_bytes(&bytes[..length]), Err(ProbeError::Safetensors(_))), "{length}");
        }
        let none: Vec<(&str, TensorView)> = vec![];
        let other = safetensors::serialize(none, None).unwrap();
        assert!(matches!(Probe::from_bytes(&other), Err(ProbeError::Version(_))));
        let none: Vec<(&str, TensorView)> = vec![];
        let about = HashMap::from([(VERSION_KEY.to_owned(), VERSION.to_owned())]);
        let empty = safetensors::serialize(none, Some(about)).unwrap();
        let error = Probe::from_bytes(&empty).unwrap_err();
        assert_eq!(error.to_string(), "no probe: indices is missing or has another type or shape");
    }

    /// As older versions of taper wrote it.
    fn without_checksum(bytes: &[u8]) -> Vec<u8> {
        let tensors = SafeTensors::deserialize(bytes).unwrap().tensors();
        let about = HashMap::from([(VERSION_KEY.to_owned(), VERSION.to_owned())]);
        safetensors::serialize(tensors.into_iter().filter(|(name, _)| name != CHECKSUM), Some(about)).unwrap()
    }

    #[test]
    fn an_older_probe_without_a_checksum_is_read() {
        let bytes = probe(Attends::Nothing).to_bytes().unwrap();
        let older = without_checksum(&bytes);
        assert!(older.len() < bytes.len());
        assert_eq!(Probe::from_bytes(&older).unwrap(), Probe::from_bytes(&bytes).unwrap());
    }

    /// With another first byte in a tensor.
    fn changed(bytes: &[u8], tensor: &str, first: u8) -> Vec<u8> {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let position = file.tensor(tensor).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
        let mut changed = bytes.to_vec();
        changed[position] = first;
        changed
    }

    #[test]
    fn numbers_that_cannot_be_are_named() {
        let bytes = without_checksum(&probe(Attends::ChannelsAndPositions).to_bytes().unwrap());
        for (tensor, first) in [("pinned", 6), ("true_classes", 10)] {
            let error = Probe::from_bytes(&changed(&bytes, tensor, first)).unwrap_err().to_string();
            assert_eq!(error, format!("no probe: {tensor} is missing or has another type or shape"));
        }
        let all_pinned = Probe::from_bytes(&changed(&bytes, "pinned", 5)).unwrap();
        assert_eq!((all_pinned.images.len(), all_pinned.mistakes.len()), (5, 0));
    }

    #[test]
    fn a_changed_byte_is_an_error_or_the_same_probe() {
        let mut bytes = probe(Attends::ChannelsAndPositions).to_bytes().unwrap();
        let whole = Probe::from_bytes(&bytes).unwrap();
        let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        for position in (0..header).chain((header..bytes.len()).step_by(997)).chain(bytes.len() - 40..bytes.len()) {
            bytes[position] ^= 1 << (position % 8);
            match Probe::from_bytes(&bytes) {
                Err(error) => assert!(position < header || matches!(error, ProbeError::Changed), "{position}: {error}"),
                // Such as a letter in the name of the checksum.
                Ok(read) => assert!(position < header && read == whole, "{position}"),
            }
            bytes[position] ^= 1 << (position % 8);
        }
    }

    #[test]
    fn a_damaged_header_is_no_panic() {
        for attends in [Attends::ChannelsAndPositions, Attends::Pairs] {
            let mut bytes = without_checksum(&probe(attends).to_bytes().unwrap());
            let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
            for position in (0..header).step_by(3) {
                let was = bytes[position];
                for damage in [0, b'0', b'9', was ^ 1] {
                    bytes[position] = damage;
                    // Read or refused.
                    let _ = Probe::from_bytes(&bytes);
                }
                bytes[position] = was;
            }
            assert!(Probe::from_bytes(&bytes).is_ok());
        }
    }
}
