//! The file of a probe.
//!
//! Maps are quantised: each has a scale and an offset of its own, and `value = offset + scale * byte`, within half a scale
//! of what it was. With N images, the pinned ones and after them the mistakes, K = the first nine channels (all, where
//! there are fewer), C channels in a layer, layers of H x W positions, and L the name of a layer, the file holds
//!
//! | tensor | type and shape | |
//! |---|---|---|
//! | `epoch`, `step` | u64 (1) | trained so far |
//! | `pinned` | u64 (1) | how many of the images are pinned |
//! | `about` | u8 (bytes) | JSON: `dataset` with its `name`, sizes and `classes`, and the names of the `layers`; older probes lack it, which are of CIFAR-10 with `conv1`, `conv2` and `conv3` |
//! | `indices` | u64 (N) | numbers of the test images |
//! | `true_classes` | u8 (N) | u16 with more than 256 classes |
//! | `pictures` | u8 (N, channels, height, width) | the images as in the data set |
//! | `logits` | f32 (N, classes) | |
//! | `L.maps` | u8 (N, K, H, W) | output of the convolution, before batch normalisation |
//! | `L.gradcam` | u8 (R, H, W) | Grad-CAM, not normalised |
//! | `L.gradcam.of` | u32 (R, 2) | of which image, by its position here from 0, and for which class |
//! | `L.active` | u8 (N, 3, H, W) | the channels with the greatest mean, of the last layer |
//! | `L.active.channels` | u32 (N, 3) | their numbers |
//! | `L.gates` | u8 (N, C) | channel attention of the block; absent without |
//! | `L.places` | u8 (N, H, W) | spatial attention of the block; absent without |
//! | `L.pairs` | u8 (N, H · W, H, W) | attention matrix of the block: how much each position, row by row, attends to all; absent without |
//! | `others.indices` | u64 (M) | numbers of M other mistakes, of which the image alone is kept; these four are absent without any |
//! | `others.classes` | u16 (M, 2) | true and predicted |
//! | `others.confidence` | f32 (M) | in the predicted class, from 0 to 1 |
//! | `others.pictures` | u8 (M, channels, height, width) | |
//! | `sha256` | u8 (32) | of all the other tensors, by their names: `NAME TYPE [SHAPE]`, a newline, the bytes; older probes lack it |
//!
//! and, for each that is quantised, `NAME.scale` and `NAME.offset`, f32, with a number for each map or list of gates: (N, K),
//! (R), (N, 3), (N, H · W) or (N). Its one metadata entry, `taper_probe`, is the format's version.

use std::collections::HashMap;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::contents::{OtherMistake, Probe, ProbedImage};
use super::quantise::{Quantised, dequantise, quantise};
use crate::data::DatasetInfo;
use crate::render::{ChannelMap, ClassCam, Explanation, LayerExplanation, Map, Planes};
use crate::run::event::Prediction;

const VERSION_KEY: &str = "taper_probe";
const VERSION: &str = "1";
/// A tensor and no metadata: those are written in any order, and equal probes would not give equal bytes.
const CHECKSUM: &str = "sha256";

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

/// What the numbers are of.
#[derive(Serialize, Deserialize)]
struct About {
    dataset: DatasetInfo,
    /// Their names, in the order of the network.
    layers: Vec<String>,
}

impl About {
    /// Of probes that do not say.
    fn of_older() -> Self {
        let layers = ["conv1", "conv2", "conv3"].map(str::to_owned).to_vec();
        Self { dataset: DatasetInfo::cifar10(), layers }
    }

    fn is_possible(&self) -> bool {
        let DatasetInfo { channels, height, width, classes, .. } = &self.dataset;
        [*channels, *height, *width, classes.len(), self.layers.len()].iter().all(|&size| size > 0)
    }
}

impl Probe {
    /// As the bytes of a file. Equal probes give equal bytes.
    ///
    /// # Errors
    /// The images do not have layers of the same sizes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ProbeError> {
        let DatasetInfo { channels, height, width, ref classes, .. } = self.dataset;
        let images: Vec<&ProbedImage> = self.every_image().collect();
        let explanations: Vec<&Explanation> = images.iter().map(|image| &image.explanation).collect();
        let count = images.len();
        let layers: Vec<String> =
            explanations.first().map_or(vec![], |first| first.layers.iter().map(|layer| layer.name.clone()).collect());
        if explanations.iter().any(|explanation| explanation.layers.len() != layers.len()) {
            return Err(ProbeError::Tensor("about".into()));
        }
        let about = About { dataset: self.dataset.clone(), layers };
        let mut file = Writer::default();
        file.add("epoch", Dtype::U64, vec![1], self.epoch.to_le_bytes());
        file.add("step", Dtype::U64, vec![1], self.step.to_le_bytes());
        file.add("pinned", Dtype::U64, vec![1], (self.images.len() as u64).to_le_bytes());
        let json = serde_json::to_vec(&about).map_err(|_| ProbeError::Tensor("about".into()))?;
        file.add("about", Dtype::U8, vec![json.len()], json);
        let indices = images.iter().flat_map(|image| (image.index as u64).to_le_bytes());
        file.add("indices", Dtype::U64, vec![count], indices);
        let true_classes = images.iter().map(|image| image.true_class as u16);
        match class_type(classes.len()) {
            Dtype::U8 => file.add("true_classes", Dtype::U8, vec![count], true_classes.map(|class| class as u8)),
            wide => file.add("true_classes", wide, vec![count], true_classes.flat_map(u16::to_le_bytes)),
        }
        let bytes = explanations.iter().flat_map(|explanation| explanation.image.bytes.iter().copied());
        file.add("pictures", Dtype::U8, vec![count, channels, height, width], bytes);
        let logits = explanations.iter().flat_map(|explanation| explanation.logits.iter().copied());
        file.add("logits", Dtype::F32, vec![count, classes.len()], logits.flat_map(f32::to_le_bytes));
        for (number, name) in about.layers.iter().enumerate() {
            let layers: Vec<&LayerExplanation> =
                explanations.iter().map(|explanation| &explanation.layers[number]).collect();
            file.add_layer(name, &layers);
        }
        if !self.other_mistakes.is_empty() {
            file.add_other_mistakes(&self.other_mistakes, &self.dataset);
        }
        file.finish()
    }

    /// # Errors
    /// The bytes are no probe, or one of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProbeError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let version = metadata.metadata().as_ref().and_then(|entries| entries.get(VERSION_KEY)).cloned();
        let version = version.unwrap_or_default();
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
        let About { dataset, layers } = file.about()?;
        let classes = dataset.classes.len();
        let true_classes = file.true_classes(count, classes)?;
        let DatasetInfo { channels, height, width, .. } = dataset;
        let pictures = file.bytes("pictures", Dtype::U8, &[count, channels, height, width])?;
        let logits = file.f32s("logits")?;
        if logits.len() != count * classes {
            return Err(wrong("logits"));
        }
        let layers: Vec<Vec<LayerExplanation>> =
            layers.iter().map(|name| file.layer(name, count, classes)).collect::<Result<_, _>>()?;
        let mut layers: Vec<_> = layers.into_iter().map(Vec::into_iter).collect();
        let pictures = pictures.chunks_exact(pictures.len() / count);
        let numbers = indices.iter().zip(true_classes).zip(pictures).zip(logits.chunks_exact(classes));
        let mut images = Vec::with_capacity(count);
        for (((index, true_class), bytes), logits) in numbers {
            images.push(ProbedImage {
                index: usize::try_from(*index).unwrap_or(usize::MAX),
                true_class,
                explanation: Explanation {
                    image: Planes { width, height, bytes: bytes.to_vec() },
                    logits: logits.to_vec(),
                    layers: layers.iter_mut().filter_map(Iterator::next).collect(),
                },
            });
        }
        let mistakes = images.split_off(pinned);
        let other_mistakes = file.other_mistakes(&dataset)?;
        Ok(Self { dataset, epoch: one("epoch")?, step: one("step")?, images, mistakes, other_mistakes })
    }
}

/// The type of class numbers below `classes`.
fn class_type(classes: usize) -> Dtype {
    if classes <= 1 + usize::from(u8::MAX) { Dtype::U8 } else { Dtype::U16 }
}

fn shape(map: &Map) -> Vec<usize> {
    vec![map.height(), map.width]
}

/// `None` where an image lacks it, and where there are no images.
fn of_every<'a, T>(layers: &[&'a LayerExplanation], of: impl Fn(&'a LayerExplanation) -> Option<T>) -> Option<Vec<T>> {
    layers.iter().map(|layer| of(layer)).collect::<Option<Vec<T>>>().filter(|all| !all.is_empty())
}

#[derive(Default)]
struct Writer {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    fn add(&mut self, name: &str, dtype: Dtype, shape: Vec<usize>, bytes: impl IntoIterator<Item = u8>) {
        self.tensors.push((name.to_owned(), dtype, shape, bytes.into_iter().collect()));
    }

    /// Of every image.
    fn add_layer(&mut self, name: &str, layers: &[&LayerExplanation]) {
        let count = layers.len();
        self.add_maps(&format!("{name}.maps"), count, layers.iter().flat_map(|layer| &layer.maps));
        self.add_cams(&format!("{name}.gradcam"), layers);
        let active: Vec<&ChannelMap> = layers.iter().flat_map(|layer| &layer.active).collect();
        if !active.is_empty() {
            self.add_maps(&format!("{name}.active"), count, active.iter().map(|active| &active.map));
            let channels = active.iter().flat_map(|active| (active.channel as u32).to_le_bytes());
            let shape = vec![count, active.len() / count];
            self.add(&format!("{name}.active.channels"), Dtype::U32, shape, channels);
        }
        if let Some(gates) = of_every(layers, |layer| layer.channel_attention.as_deref()) {
            self.add_quantised(&format!("{name}.gates"), vec![count], vec![gates[0].len()], &gates);
        }
        if let Some(maps) = of_every(layers, |layer| layer.spatial_attention.as_ref()) {
            let groups: Vec<&[f32]> = maps.iter().map(|map| map.values.as_slice()).collect();
            self.add_quantised(&format!("{name}.places"), vec![count], shape(maps[0]), &groups);
        }
        if let Some(rows) = of_every(layers, |layer| layer.attention_matrix.as_ref()) {
            self.add_maps(&format!("{name}.pairs"), count, rows.into_iter().flatten());
        }
    }

    fn add_other_mistakes(&mut self, others: &[OtherMistake], dataset: &DatasetInfo) {
        let count = others.len();
        let results = || others.iter().map(|other| &other.result);
        self.add("others.indices", Dtype::U64, vec![count], results().flat_map(|result| result.index.to_le_bytes()));
        let classes = results().flat_map(|result| [result.true_class, result.predicted_class]);
        let classes = classes.flat_map(|class| (class as u16).to_le_bytes());
        self.add("others.classes", Dtype::U16, vec![count, 2], classes);
        let confidence = results().flat_map(|result| result.confidence.to_le_bytes());
        self.add("others.confidence", Dtype::F32, vec![count], confidence);
        let shape = vec![count, dataset.channels, dataset.height, dataset.width];
        let bytes = others.iter().flat_map(|other| other.image.bytes.iter().copied());
        self.add("others.pictures", Dtype::U8, shape, bytes);
    }

    /// As many maps of each of `count` images.
    fn add_maps<'a>(&mut self, name: &str, count: usize, maps: impl Iterator<Item = &'a Map>) {
        let maps: Vec<&Map> = maps.collect();
        let inner = maps.first().map_or(vec![0, 0], |map| shape(map));
        let groups: Vec<&[f32]> = maps.iter().map(|map| map.values.as_slice()).collect();
        self.add_quantised(name, vec![count, groups.len() / count.max(1)], inner, &groups);
    }

    /// Of one image after another.
    fn add_cams(&mut self, name: &str, layers: &[&LayerExplanation]) {
        let of_layer = |(number, layer): (u32, &&LayerExplanation)| -> Vec<[u32; 2]> {
            layer.cams.iter().map(|cam| [number, cam.class as u32]).collect()
        };
        let of: Vec<[u32; 2]> = (0..).zip(layers).flat_map(of_layer).collect();
        let maps: Vec<&Map> = layers.iter().flat_map(|layer| &layer.cams).map(|cam| &cam.map).collect();
        let Some(first) = maps.first() else { return };
        let groups: Vec<&[f32]> = maps.iter().map(|map| map.values.as_slice()).collect();
        self.add_quantised(name, vec![maps.len()], shape(first), &groups);
        self.add(
            &format!("{name}.of"),
            Dtype::U32,
            vec![of.len(), 2],
            of.into_iter().flatten().flat_map(u32::to_le_bytes),
        );
    }

    /// (outer, inner), with a scale and an offset for each group of inner.
    fn add_quantised(&mut self, name: &str, outer: Vec<usize>, inner: Vec<usize>, groups: &[&[f32]]) {
        let (mut bytes, mut scales, mut offsets) = (vec![], vec![], vec![]);
        for group in groups {
            let quantised: Quantised = quantise(group);
            bytes.extend(quantised.bytes);
            scales.extend(quantised.scale.to_le_bytes());
            offsets.extend(quantised.offset.to_le_bytes());
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
    /// The innermost dimension.
    width: usize,
    groups: Vec<Vec<f32>>,
}

impl Dequantised {
    fn into_maps(self) -> impl Iterator<Item = Map> {
        self.groups.into_iter().map(move |values| Map::new(self.width, values))
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

    fn about(&self) -> Result<About, ProbeError> {
        if !self.has("about") {
            return Ok(About::of_older());
        }
        let about = serde_json::from_slice(self.words("about", Dtype::U8)?).ok().filter(About::is_possible);
        about.ok_or_else(|| ProbeError::Tensor("about".into()))
    }

    fn true_classes(&self, count: usize, classes: usize) -> Result<Vec<usize>, ProbeError> {
        const NAME: &str = "true_classes";
        let dtype = class_type(classes);
        let bytes = self.bytes(NAME, dtype, &[count])?;
        let true_classes: Vec<usize> = match dtype {
            Dtype::U8 => bytes.iter().map(|&class| class.into()).collect(),
            _ => bytes.as_chunks().0.iter().map(|&class| u16::from_le_bytes(class).into()).collect(),
        };
        let are_classes = true_classes.iter().all(|&class| class < classes);
        are_classes.then_some(true_classes).ok_or_else(|| ProbeError::Tensor(NAME.into()))
    }

    fn other_mistakes(&self, dataset: &DatasetInfo) -> Result<Vec<OtherMistake>, ProbeError> {
        if !self.has("others.indices") {
            return Ok(vec![]);
        }
        let wrong = |name: &str| ProbeError::Tensor(name.into());
        let indices = self.u64s("others.indices")?;
        let count = indices.len();
        let &DatasetInfo { channels, height, width, .. } = dataset;
        let classes = self.bytes("others.classes", Dtype::U16, &[count, 2])?.as_chunks().0;
        let mut classes = classes.iter().map(|&class| u64::from(u16::from_le_bytes(class)));
        let confidences = self.f32s("others.confidence")?;
        if confidences.len() != count {
            return Err(wrong("others.confidence"));
        }
        let pictures = self.bytes("others.pictures", Dtype::U8, &[count, channels, height, width])?;
        let numbers = indices.into_iter().zip(confidences).zip(pictures.chunks_exact(channels * height * width));
        let mut others = Vec::with_capacity(count);
        for ((index, confidence), bytes) in numbers {
            let (Some(true_class), Some(predicted_class)) = (classes.next(), classes.next()) else { break };
            if true_class.max(predicted_class) >= dataset.classes.len() as u64 {
                return Err(wrong("others.classes"));
            }
            let result = Prediction { index, true_class, predicted_class, confidence };
            others.push(OtherMistake { result, image: Planes { width, height, bytes: bytes.to_vec() } });
        }
        Ok(others)
    }

    /// What is kept of the layer of that name, for each of `count` images.
    fn layer(&self, name: &str, count: usize, classes: usize) -> Result<Vec<LayerExplanation>, ProbeError> {
        let maps = self.maps(&format!("{name}.maps"), count)?;
        let mut layers: Vec<LayerExplanation> = maps
            .into_iter()
            .map(|maps| LayerExplanation { name: name.to_owned(), maps, ..LayerExplanation::default() })
            .collect();
        self.read_cams(&format!("{name}.gradcam"), classes, &mut layers)?;
        let active = format!("{name}.active");
        if self.has(&active) {
            self.read_active(&active, &mut layers)?;
        }
        let pairs = format!("{name}.pairs");
        if self.has(&pairs) {
            for (layer, rows) in layers.iter_mut().zip(self.maps(&pairs, count)?) {
                if rows.first().is_none_or(|row| row.values.len() != rows.len()) {
                    return Err(ProbeError::Tensor(pairs));
                }
                layer.attention_matrix = Some(rows);
            }
        }
        if let Some(gates) = self.one_each(&format!("{name}.gates"), count, 1)? {
            layers.iter_mut().zip(gates.groups).for_each(|(layer, gates)| layer.channel_attention = Some(gates));
        }
        if let Some(places) = self.one_each(&format!("{name}.places"), count, 2)? {
            let maps = places.into_maps();
            layers.iter_mut().zip(maps).for_each(|(layer, map)| layer.spatial_attention = Some(map));
        }
        Ok(layers)
    }

    /// The maps of each of `count` images, as many of each.
    fn maps(&self, name: &str, count: usize) -> Result<Vec<Vec<Map>>, ProbeError> {
        let quantised = self.dequantised(name, count, 2)?;
        let each = quantised.groups.len() / count;
        let mut maps = quantised.into_maps();
        Ok((0..count).map(|_| maps.by_ref().take(each).collect()).collect())
    }

    fn read_active(&self, name: &str, layers: &mut [LayerExplanation]) -> Result<(), ProbeError> {
        let maps = self.maps(name, layers.len())?;
        let name = format!("{name}.channels");
        let words = self.words(&name, Dtype::U32)?.as_chunks().0;
        if words.len() != maps.iter().map(Vec::len).sum::<usize>() {
            return Err(ProbeError::Tensor(name));
        }
        let mut channels = words.iter().map(|&word| u32::from_le_bytes(word) as usize);
        for (layer, maps) in layers.iter_mut().zip(maps) {
            let active = maps.into_iter().zip(channels.by_ref());
            layer.active = active.map(|(map, channel)| ChannelMap { channel, map }).collect();
        }
        Ok(())
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
        let groups = numbers.map(|(bytes, (&scale, &offset))| dequantise(bytes, scale, offset)).collect();
        Ok(Dequantised { width: shape[shape.len() - 1], groups })
    }

    /// Grad-CAM of the layer, if the file has any, for each image.
    fn read_cams(&self, name: &str, classes: usize, layers: &mut [LayerExplanation]) -> Result<(), ProbeError> {
        if !self.has(name) {
            return Ok(());
        }
        let of = format!("{name}.of");
        let wrong = || ProbeError::Tensor(of.clone());
        let words = self.words(&of, Dtype::U32)?.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word) as usize);
        let words: Vec<usize> = words.collect();
        let rows = words.as_chunks().0;
        let cams = self.one_each(name, rows.len(), 2)?.ok_or_else(wrong)?;
        for (&[image, class], map) in rows.iter().zip(cams.into_maps()) {
            let layer = layers.get_mut(image).filter(|_| class < classes).ok_or_else(wrong)?;
            layer.cams.push(ClassCam { class, map });
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

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Attention {
        None,
        Channels,
        ChannelsAndPositions,
        Matrix,
    }

    /// Three pinned images and two mistakes, through layers of halved sizes.
    fn probe_of(dataset: DatasetInfo, layer_count: usize, attention: Attention) -> Probe {
        let image = |number: usize| {
            let layer = |layer: usize| {
                let (width, height) = (dataset.width >> layer, dataset.height >> layer);
                let map = |seed: usize| Map::new(width, numbers(seed, width * height));
                let is_last = layer + 1 == layer_count;
                let cam = |class| ClassCam {
                    class,
                    map: if class == number { Map::new(width, vec![0.0; width * height]) } else { map(50 + class) },
                };
                let classes = if is_last { 0..dataset.classes.len() } else { number..number + 1 };
                let channels = matches!(attention, Attention::Channels | Attention::ChannelsAndPositions);
                let matrix = is_last && attention == Attention::Matrix;
                LayerExplanation {
                    name: format!("conv{}", layer + 1),
                    maps: (0..4).map(|channel| map(channel + number)).collect(),
                    active: if is_last {
                        (0..3).map(|active| ChannelMap { channel: 40 + active, map: map(60 + number) }).collect()
                    } else {
                        vec![]
                    },
                    cams: classes.map(cam).collect(),
                    channel_attention: channels.then(|| numbers(number, 16)),
                    spatial_attention: (attention == Attention::ChannelsAndPositions).then(|| map(70 + number)),
                    attention_matrix: matrix.then(|| (0..width * height).map(|row| map(80 + row + number)).collect()),
                }
            };
            let bytes = (0..dataset.size().bytes()).map(|position| (position * (number + 3)) as u8).collect();
            ProbedImage {
                index: 10 * number,
                true_class: number,
                explanation: Explanation {
                    image: Planes { width: dataset.width, height: dataset.height, bytes },
                    logits: numbers(number, dataset.classes.len()),
                    layers: (0..layer_count).map(layer).collect(),
                },
            }
        };
        let (images, mistakes) = ((0..3).map(image).collect(), (3..5).map(image).collect());
        let other = |number: usize| OtherMistake {
            result: Prediction { index: number as u64, true_class: 0, predicted_class: 1, confidence: 0.75 },
            image: image(number).explanation.image,
        };
        let other_mistakes = (5..if layer_count == 3 { 9 } else { 5 }).map(other).collect();
        Probe { dataset: dataset.clone(), epoch: 12, step: 9384, images, mistakes, other_mistakes }
    }

    fn probe(attention: Attention) -> Probe {
        probe_of(DatasetInfo::cifar10(), 3, attention)
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

    fn assert_read_back(written: &Probe) {
        let bytes = written.to_bytes().unwrap();
        assert_eq!(bytes, written.to_bytes().unwrap());
        let read = Probe::from_bytes(&bytes).unwrap();
        assert_eq!((&read.dataset, read.epoch, read.step), (&written.dataset, written.epoch, written.step));
        assert_eq!((read.images.len(), read.mistakes.len()), (written.images.len(), written.mistakes.len()));
        assert!(read.other_mistakes == written.other_mistakes);
        for (read, written) in read.every_image().zip(written.every_image()) {
            assert_eq!((read.index, read.true_class), (written.index, written.true_class));
            let (read, written) = (&read.explanation, &written.explanation);
            assert!(read.image == written.image && read.logits == written.logits);
            assert_eq!(read.layers.len(), written.layers.len());
            for (read, written) in read.layers.iter().zip(&written.layers) {
                assert_eq!(read.name, written.name);
                assert_maps_close(&read.maps, &written.maps);
                let classes = |layer: &LayerExplanation| layer.cams.iter().map(|cam| cam.class).collect::<Vec<_>>();
                assert_eq!(classes(read), classes(written));
                assert_maps_close(read.cams.iter().map(|cam| &cam.map), written.cams.iter().map(|cam| &cam.map));
                let channels =
                    |layer: &LayerExplanation| layer.active.iter().map(|active| active.channel).collect::<Vec<_>>();
                assert_eq!(channels(read), channels(written));
                let active =
                    |layer: &'_ LayerExplanation| layer.active.iter().map(|active| active.map.clone()).collect();
                let (read_active, written_active): (Vec<Map>, Vec<Map>) = (active(read), active(written));
                assert_maps_close(&read_active, &written_active);
                let (ours, theirs) = (&read.channel_attention, &written.channel_attention);
                assert_eq!(ours.is_some(), theirs.is_some());
                assert_close(ours.as_deref().unwrap_or_default(), theirs.as_deref().unwrap_or_default());
                assert_maps_close(&read.spatial_attention, &written.spatial_attention);
                let rows = |layer: &LayerExplanation| layer.attention_matrix.clone().unwrap_or_default();
                assert_maps_close(&rows(read), &rows(written));
            }
        }
    }

    #[test]
    fn what_is_written_is_read_within_half_a_scale() {
        for attention in [Attention::None, Attention::Channels, Attention::ChannelsAndPositions, Attention::Matrix] {
            assert_read_back(&probe(attention));
        }
    }

    #[test]
    fn any_data_set_and_number_of_layers_is_kept() {
        let dataset = |channels, height, width, classes: usize| DatasetInfo {
            name: "other".into(),
            channels,
            height,
            width,
            classes: (0..classes).map(|class| format!("class {class}")).collect(),
            mean: vec![0.5; channels],
            std: vec![0.25; channels],
        };
        let mut many = probe_of(dataset(1, 4, 8, 300), 1, Attention::None);
        many.images[0].true_class = 299;
        for probe in [probe_of(dataset(1, 28, 28, 47), 2, Attention::Matrix), many] {
            assert_read_back(&probe);
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let probe = probe(Attention::None);
        let read = Probe::from_bytes(&probe.to_bytes().unwrap()).unwrap();
        for image in read.every_image() {
            let cam = image.explanation.cam(2, image.true_class).unwrap();
            assert!(cam.values.iter().all(|&value| value == 0.0));
        }
    }

    /// The tensors of a file but for some.
    fn without(bytes: &[u8], tensors: &[&str]) -> Vec<u8> {
        let kept = SafeTensors::deserialize(bytes).unwrap().tensors();
        let kept = kept.into_iter().filter(|(name, _)| !tensors.contains(&name.as_str()));
        let metadata = HashMap::from([(VERSION_KEY.to_owned(), VERSION.to_owned())]);
        safetensors::serialize(kept, Some(metadata)).unwrap()
    }

    #[test]
    fn what_is_no_probe_is_an_error_and_no_panic() {
        let bytes = probe(Attention::Matrix).to_bytes().unwrap();
        for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
            assert!(matches!(Probe::from_bytes(&bytes[..length]), Err(ProbeError::Safetensors(_))), "{length}");
        }
        let none: Vec<(&str, TensorView)> = vec![];
        let other = safetensors::serialize(none, None).unwrap();
        assert!(matches!(Probe::from_bytes(&other), Err(ProbeError::Version(_))));
        let none: Vec<(&str, TensorView)> = vec![];
        let metadata = HashMap::from([(VERSION_KEY.to_owned(), VERSION.to_owned())]);
        let empty = safetensors::serialize(none, Some(metadata)).unwrap();
        let error = Probe::from_bytes(&empty).unwrap_err();
        assert_eq!(error.to_string(), "no probe: indices is missing or has another type or shape");
    }

    #[test]
    fn an_older_probe_is_of_cifar10_and_has_no_checksum() {
        let bytes = probe(Attention::Channels).to_bytes().unwrap();
        let older = without(&bytes, &[CHECKSUM, "about"]);
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
        let bytes = without(&probe(Attention::ChannelsAndPositions).to_bytes().unwrap(), &[CHECKSUM]);
        for (tensor, first) in [("pinned", 6), ("true_classes", 10)] {
            let error = Probe::from_bytes(&changed(&bytes, tensor, first)).unwrap_err().to_string();
            assert_eq!(error, format!("no probe: {tensor} is missing or has another type or shape"));
        }
        let all_pinned = Probe::from_bytes(&changed(&bytes, "pinned", 5)).unwrap();
        assert_eq!((all_pinned.images.len(), all_pinned.mistakes.len()), (5, 0));
    }

    #[test]
    fn a_changed_byte_is_an_error_or_the_same_probe() {
        let mut bytes = probe(Attention::ChannelsAndPositions).to_bytes().unwrap();
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
    fn a_damaged_header_is_read_to_a_whole_probe_or_refused() {
        for attention in [Attention::ChannelsAndPositions, Attention::Matrix] {
            let mut bytes = without(&probe(attention).to_bytes().unwrap(), &[CHECKSUM]);
            let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
            for position in (0..header).step_by(3) {
                let was = bytes[position];
                for damage in [0, b'0', b'9', was ^ 1] {
                    bytes[position] = damage;
                    if let Ok(read) = Probe::from_bytes(&bytes) {
                        assert_eq!(read.every_image().count(), 5, "{position}");
                        for image in read.every_image() {
                            let Explanation { image: planes, logits, layers } = &image.explanation;
                            assert_eq!((planes.bytes.len(), logits.len(), layers.len()), (3072, 10, 3), "{position}");
                        }
                    }
                }
                bytes[position] = was;
            }
            assert!(Probe::from_bytes(&bytes).is_ok());
        }
    }

    #[test]
    fn a_description_that_cannot_be_is_refused() {
        let dataset = DatasetInfo { name: "other".into(), ..DatasetInfo::cifar10() };
        let bytes = without(&probe_of(dataset, 3, Attention::None).to_bytes().unwrap(), &[CHECKSUM]);
        for (from, to) in
            [("\"height\":32", "\"height\": 0"), ("\"width\":32", "\"width\":64"), ("\"conv2\"", "\"conv7\"")]
        {
            let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            let mut changed = bytes.clone();
            changed[at..][..to.len()].copy_from_slice(to.as_bytes());
            assert!(matches!(Probe::from_bytes(&changed), Err(ProbeError::Tensor(_))), "{from}");
        }
    }
}
