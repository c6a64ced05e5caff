//! A probe: what the network made of a few pinned pictures at one step, as `probes/e0012-s009384.safetensors`.
//!
//! Maps are quantised: each has a scale and an offset of its own, and `value = offset + scale * byte`, within half a scale
//! of what it was. With N pictures, K = the first nine channels (all, where there are fewer), C channels in a layer, and
//! layers of H x W places, the file holds
//!
//! | tensor | type and shape | |
//! |---|---|---|
//! | `epoch`, `step` | u64 (1) | trained so far |
//! | `indices` | u64 (N) | numbers of the test pictures |
//! | `true_classes` | u8 (N) | |
//! | `pictures` | u8 (N, 3, 32, 32) | as in the dataset |
//! | `logits` | f32 (N, 10) | |
//! | `convL.maps` | u8 (N, K, H, W) | output of `conv1`, `conv2`, `conv3`, before batch normalisation |
//! | `conv3.gradcam.predicted`, `conv3.gradcam.true` | u8 (N, H, W) | Grad-CAM for these classes, not normalised |
//! | `conv3.active` | u8 (N, 3, H, W) | the channels with the greatest mean |
//! | `conv3.active.channels` | u32 (N, 3) | their numbers |
//! | `convL.gates` | u8 (N, C) | of the block's channels; absent without such attention |
//!
//! and, for each that is quantised, `NAME.scale` and `NAME.offset`, f32, (N, K) for maps, (N, 3) for `conv3.active`, else
//! (N). Its one metadata entry, `taper_probe`, is the format's version.

use std::collections::HashMap;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use thiserror::Error;

use crate::data::{CLASSES, PICTURE_BYTES, SIDE};
use crate::explain::Map;

/// Maps of each layer that a probe holds.
pub const MAPS: usize = 9;
/// Most active channels of `conv3` that it holds.
pub const ACTIVE: usize = 3;

const LAYERS: [&str; 3] = ["conv1", "conv2", "conv3"];
const VERSION_KEY: &str = "taper_probe";
const VERSION: &str = "1";

#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// That was trained last.
    pub epoch: u64,
    /// Optimizer steps taken.
    pub step: u64,
    /// At least one; the layers of all have the same sizes.
    pub pictures: Vec<ProbedPicture>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProbedPicture {
    /// Its number among the test pictures.
    pub index: usize,
    pub true_class: u8,
    /// Planes R, G and B, each row by row.
    pub planes: Vec<u8>,
    /// Of each class.
    pub logits: Vec<f32>,
    /// The first channels of `conv1`, `conv2` and `conv3`, at most [`MAPS`] of each.
    pub maps: [Vec<Map>; 3],
    pub gradcam_predicted: Map,
    pub gradcam_true: Map,
    /// Channel and map, the most active first; at most [`ACTIVE`].
    pub active: Vec<(u32, Map)>,
    /// Of each block's channels, where the network has them.
    pub gates: [Option<Vec<f32>>; 3],
}

/// What keeps bytes from being a probe.
#[derive(Debug, Error)]
pub enum ProbeError {
    #[error("not a whole safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    #[error("a probe of version {0}, this taper reads {VERSION}")]
    Version(String),
    #[error("no probe: {0} is missing or has another type or shape")]
    Tensor(String),
}

impl Probe {
    /// As the bytes of a file. Equal probes give equal bytes.
    ///
    /// # Errors
    /// The pictures do not have layers of the same sizes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ProbeError> {
        let count = self.pictures.len();
        let mut file = Writer::default();
        file.add("epoch", Dtype::U64, vec![1], self.epoch.to_le_bytes());
        file.add("step", Dtype::U64, vec![1], self.step.to_le_bytes());
        file.add("indices", Dtype::U64, vec![count], self.all(|picture| (picture.index as u64).to_le_bytes()));
        file.add("true_classes", Dtype::U8, vec![count], self.all(|picture| [picture.true_class]));
        file.add("pictures", Dtype::U8, vec![count, 3, SIDE, SIDE], self.all(|picture| picture.planes.clone()));
        let logits = self.all(|picture| picture.logits.iter().copied().flat_map(f32::to_le_bytes).collect::<Vec<_>>());
        file.add("logits", Dtype::F32, vec![count, CLASSES.len()], logits);
        for (layer, name) in LAYERS.iter().enumerate() {
            file.add_maps(&format!("{name}.maps"), count, self.each(|picture| picture.maps[layer].iter()));
            if self.pictures.iter().all(|picture| picture.gates[layer].is_some()) {
                let gates: Vec<&[f32]> =
                    self.pictures.iter().filter_map(|picture| picture.gates[layer].as_deref()).collect();
                let channels = gates.first().map_or(0, |gates| gates.len());
                file.add_quantised(&format!("{name}.gates"), vec![count], vec![channels], &gates);
            }
        }
        for (name, of) in CAMS {
            let cams: Vec<&[f32]> = self.pictures.iter().map(|picture| of(picture).values.as_slice()).collect();
            let inner = self.pictures.first().map_or(vec![0, 0], |picture| shape(of(picture)));
            file.add_quantised(name, vec![count], inner, &cams);
        }
        file.add_maps("conv3.active", count, self.each(|picture| picture.active.iter().map(|(_, map)| map)));
        let channels = self
            .all(|picture| picture.active.iter().flat_map(|(channel, _)| channel.to_le_bytes()).collect::<Vec<_>>());
        let active = self.pictures.first().map_or(0, |picture| picture.active.len());
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
        let one = |name: &str| file.u64s(name)?.first().copied().ok_or_else(|| ProbeError::Tensor(name.into()));
        let indices = file.u64s("indices")?;
        let count = indices.len();
        let true_classes = file.bytes("true_classes", Dtype::U8, &[count])?;
        let planes = file.bytes("pictures", Dtype::U8, &[count, 3, SIDE, SIDE])?;
        let logits = file.f32s("logits")?;
        let maps = LAYERS.map(|layer| file.dequantised(&format!("{layer}.maps"), count, 2));
        let [first, second, third] = maps;
        let maps = [first?, second?, third?];
        let gates = LAYERS.map(|layer| {
            let name = format!("{layer}.gates");
            let has_gates = file.0.tensor(&name).is_ok();
            has_gates.then(|| file.dequantised(&name, count, 1)).transpose()
        });
        let [first, second, third] = gates;
        let gates = [first?, second?, third?];
        let predicted = file.dequantised("conv3.gradcam.predicted", count, 2)?;
        let of_true = file.dequantised("conv3.gradcam.true", count, 2)?;
        let active = file.dequantised("conv3.active", count, 2)?;
        let channels = file.words("conv3.active.channels", Dtype::U32)?;
        let channels: Vec<u32> = channels.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
        let fits = channels.len() == active.groups.len()
            && logits.len() == count * CLASSES.len()
            && predicted.groups.len() == count
            && of_true.groups.len() == count;
        if !fits {
            return Err(ProbeError::Tensor("conv3.active.channels, logits or conv3.gradcam".into()));
        }
        let picture = |number: usize| -> ProbedPicture {
            let active_maps = active.maps(number, count);
            let channels = channels.iter().skip(number * active_maps.len()).copied();
            ProbedPicture {
                index: usize::try_from(indices[number]).unwrap_or(usize::MAX),
                true_class: true_classes[number],
                planes: planes[number * PICTURE_BYTES..][..PICTURE_BYTES].to_vec(),
                logits: logits[number * CLASSES.len()..][..CLASSES.len()].to_vec(),
                maps: [0, 1, 2].map(|layer: usize| maps[layer].maps(number, count)),
                gradcam_predicted: predicted.map(number),
                gradcam_true: of_true.map(number),
                active: channels.zip(active_maps).collect(),
                gates: [0, 1, 2].map(|layer: usize| gates[layer].as_ref().map(|gates| gates.groups[number].clone())),
            }
        };
        Ok(Self { epoch: one("epoch")?, step: one("step")?, pictures: (0..count).map(picture).collect() })
    }

    /// Bytes of every picture, one after another.
    fn all<B: IntoIterator<Item = u8>>(&self, of: impl Fn(&ProbedPicture) -> B) -> Vec<u8> {
        self.pictures.iter().flat_map(of).collect()
    }

    fn each<'a, M: Iterator<Item = &'a Map>>(&'a self, of: impl Fn(&'a ProbedPicture) -> M) -> Vec<&'a Map> {
        self.pictures.iter().flat_map(of).collect()
    }
}

type MapOf = fn(&ProbedPicture) -> &Map;

const CAMS: [(&str, MapOf); 2] = [
    ("conv3.gradcam.predicted", |picture| &picture.gradcam_predicted),
    ("conv3.gradcam.true", |picture| &picture.gradcam_true),
];

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
    (values.iter().map(move |&value| ((value - low) * per_unit).round() as u8), scale, low)
}

#[derive(Default)]
struct Writer {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    fn add(&mut self, name: &str, dtype: Dtype, shape: Vec<usize>, bytes: impl IntoIterator<Item = u8>) {
        self.tensors.push((name.to_owned(), dtype, shape, bytes.into_iter().collect()));
    }

    /// As many maps of each of `count` pictures.
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

    fn finish(self) -> Result<Vec<u8>, ProbeError> {
        let views = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        let about = HashMap::from([(VERSION_KEY.to_owned(), VERSION.to_owned())]);
        Ok(safetensors::serialize(views, Some(about))?)
    }
}

struct Reader<'a>(SafeTensors<'a>);

/// Groups of numbers, each with the same number of them.
struct Dequantised {
    width: usize,
    groups: Vec<Vec<f32>>,
}

impl Dequantised {
    fn map(&self, group: usize) -> Map {
        Map::new(self.width, self.groups[group].clone())
    }

    /// Those of one of `count` pictures.
    fn maps(&self, picture: usize, count: usize) -> Vec<Map> {
        let each = self.groups.len() / count;
        (picture * each..(picture + 1) * each).map(|group| self.map(group)).collect()
    }
}

impl<'a> Reader<'a> {
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

    /// With groups of so many inner dimensions, of `count` pictures.
    fn dequantised(&self, name: &str, count: usize, inner: usize) -> Result<Dequantised, ProbeError> {
        let wrong = || ProbeError::Tensor(name.into());
        let bytes = self.words(name, Dtype::U8)?;
        let tensor = self.0.tensor(name)?;
        let (shape, outer) = (tensor.shape(), tensor.shape().len().checked_sub(inner).ok_or_else(wrong)?);
        let (scales, offsets) = (self.f32s(&format!("{name}.scale"))?, self.f32s(&format!("{name}.offset"))?);
        let (groups, length): (usize, usize) = (shape[..outer].iter().product(), shape[outer..].iter().product());
        let fits = shape.first() == Some(&count) && length > 0 && groups == scales.len() && groups == offsets.len();
        if !fits {
            return Err(wrong());
        }
        let numbers = bytes.chunks_exact(length).zip(scales.iter().zip(&offsets));
        let groups = numbers
            .map(|(bytes, (scale, offset))| bytes.iter().map(|&byte| offset + scale * f32::from(byte)).collect());
        Ok(Dequantised { width: shape[shape.len() - 1], groups: groups.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in [-1, 2) that look like nothing in particular.
    fn numbers(seed: usize, count: usize) -> Vec<f32> {
        (0..count).map(|place| ((place * 7919 + seed * 104_729) % 3001) as f32 / 1000.0 - 1.0).collect()
    }

    fn probe(gates: [Option<usize>; 3]) -> Probe {
        let map = |seed: usize, side: usize| Map::new(side, numbers(seed, side * side));
        let picture = |number: usize| ProbedPicture {
            index: 10 * number,
            true_class: number as u8,
            planes: (0..PICTURE_BYTES).map(|place| (place * (number + 3)) as u8).collect(),
            logits: numbers(number, 10),
            maps: [32, 16, 8].map(|side: usize| (0..MAPS).map(|channel| map(channel + number, side)).collect()),
            gradcam_predicted: map(50 + number, 8),
            gradcam_true: Map::new(8, vec![0.0; 64]),
            active: (0..3).map(|channel| (40 + channel, map(60 + number, 8))).collect(),
            gates: gates.map(|gates| gates.map(|channels| numbers(number, channels))),
        };
        Probe { epoch: 12, step: 9384, pictures: (0..3).map(picture).collect() }
    }

    fn assert_close(read: &[f32], written: &[f32]) {
        assert_eq!(read.len(), written.len());
        // Between -1 and 2.
        for (read, written) in read.iter().zip(written) {
            assert!((read - written).abs() <= 3.0 / 510.0 + 1e-6, "{read} and {written}");
        }
    }

    #[test]
    fn what_is_written_is_read_within_half_a_scale() {
        for gates in [[None; 3], [Some(16), Some(16), Some(32)]] {
            let written = probe(gates);
            let bytes = written.to_bytes().unwrap();
            assert_eq!(bytes, written.to_bytes().unwrap());
            let read = Probe::from_bytes(&bytes).unwrap();
            assert_eq!((read.epoch, read.step, read.pictures.len()), (12, 9384, 3));
            for (read, written) in read.pictures.iter().zip(&written.pictures) {
                assert_eq!((read.index, read.true_class), (written.index, written.true_class));
                assert!(read.planes == written.planes && read.logits == written.logits);
                for (read, written) in read.maps.iter().flatten().zip(written.maps.iter().flatten()) {
                    assert_eq!(read.width, written.width);
                    assert_close(&read.values, &written.values);
                }
                assert_close(&read.gradcam_predicted.values, &written.gradcam_predicted.values);
                assert_eq!(read.gradcam_true, written.gradcam_true);
                for ((channel, read), (expected, written)) in read.active.iter().zip(&written.active) {
                    assert_eq!(channel, expected);
                    assert_close(&read.values, &written.values);
                }
                for (read, written) in read.gates.iter().zip(&written.gates) {
                    assert_close(read.as_deref().unwrap_or_default(), written.as_deref().unwrap_or_default());
                }
            }
        }
    }

    #[test]
    fn what_is_no_probe_is_an_error_and_no_panic() {
        let bytes = probe([None; 3]).to_bytes().unwrap();
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
}
