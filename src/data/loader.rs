//! Batches for the training loop: shuffled, augmented and normalised ahead of it, on other threads.
//!
//! A batch is a function of (seed, epoch, its number), so it does not matter which thread makes it, or whether the batches
//! before it were made at all: an epoch can be entered in the middle.

use std::array::from_fn;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::Dataset;
use super::augment::random_resized_crop::Rectangle;
use super::augment::{Augmentation, Scratch};
use super::folder::ImageError;
use super::info::{DatasetInfo, ImageSize};
use super::resize::Resize;
use super::sampler::{self, places};
use crate::config::{AugmentConfig, Config, Sampler};
use crate::ranks::Place;

/// Batches that each thread may be ahead of the training loop.
const BATCHES_AHEAD: usize = 4;

/// For each channel what its bytes become, as torchvision's `ToTensor` and `Normalize` make it.
pub fn normalisation_tables(info: &DatasetInfo) -> Vec<[f32; 256]> {
    let table = |(&mean, &std): (&f32, &f32)| from_fn(|byte| (byte as f32 / 255.0 - mean) / std);
    info.mean.iter().zip(&info.std).map(table).collect()
}

/// See [`normalisation_tables`].
struct Normalisation(Vec<[f32; 256]>);

impl Normalisation {
    fn new(info: &DatasetInfo) -> Self {
        Self(normalisation_tables(info))
    }

    /// `dst` is channels last, `image` is planes.
    fn apply(&self, image: &[u8], dst: &mut [f32]) {
        let plane = image.len() / self.0.len();
        match &self.0[..] {
            [red, green, blue] => {
                let (r, rest) = image.split_at(plane);
                let (g, b) = rest.split_at(plane);
                for (((pixel, &r), &g), &b) in dst.as_chunks_mut().0.iter_mut().zip(r).zip(g).zip(b) {
                    *pixel = [red[usize::from(r)], green[usize::from(g)], blue[usize::from(b)]];
                }
            }
            tables => {
                for (channel, (table, plane)) in tables.iter().zip(image.chunks_exact(plane)).enumerate() {
                    let pixels = dst.iter_mut().skip(channel).step_by(tables.len());
                    pixels.zip(plane).for_each(|(pixel, &byte)| *pixel = table[usize::from(byte)]);
                }
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub size: ImageSize,
    /// (N, H, W, C), normalised: the channels of a pixel beside each other.
    pub images: Vec<f32>,
    /// (N), numbers of the classes.
    pub labels: Vec<u32>,
    /// Images of the batch of all ranks, of which these are one's share.
    pub of: usize,
}

impl Batch {
    fn with_capacity(size: ImageSize, samples: usize, of: usize) -> Self {
        Self { size, images: Vec::with_capacity(samples * size.bytes()), labels: Vec::with_capacity(samples), of }
    }

    fn push(&mut self, label: u16, image: &[u8], normalisation: &Normalisation) {
        self.labels.push(label.into());
        let start = self.images.len();
        self.images.resize(start + image.len(), 0.0);
        normalisation.apply(image, &mut self.images[start..]);
    }
}

/// What an epoch consists of.
#[derive(Clone, Debug)]
pub struct EpochPlan {
    pub seed: u64,
    /// Each epoch has its own order and its own augmentation.
    pub epoch: u64,
    /// At least 1.
    pub batch_size: usize,
    /// False keeps the order of the dataset.
    pub shuffle: bool,
    pub sampler: Sampler,
    pub augment: AugmentConfig,
    /// Of the images' sides, after they are augmented; 1: they keep their size. See [`ImageSize::scaled`].
    pub image_scale: f64,
    /// From 0: those before it are not made.
    pub first_batch: usize,
}

impl EpochPlan {
    /// An epoch of a run of this configuration.
    pub fn of(config: &Config, epoch: u64, first_batch: usize) -> Self {
        Self {
            seed: config.run.seed,
            epoch,
            batch_size: config.train.batch_size,
            shuffle: config.data.shuffle,
            sampler: config.train.sampler,
            augment: config.augment.clone(),
            image_scale: config.train.image_scale(epoch),
            first_batch,
        }
    }

    /// The images of the epoch in their order.
    pub fn order(&self, dataset: &Dataset) -> Vec<sampler::Place> {
        places(dataset, self.sampler, self.shuffle, self.seed, self.epoch)
    }
}

/// The share that one of the ranks has of each batch of an epoch; the last batch may be smaller. Their bytes do not depend on the
/// number of threads.
///
/// Dropping the iterator ends its threads.
pub fn train_batches(dataset: Arc<Dataset>, plan: EpochPlan, place: Place) -> TrainBatches {
    // The loop itself uses every core when it computes on the CPU, where a step takes many times as long as its batch;
    // a GPU needs more batches, and leaves the cores to make them.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    train_batches_on((cores / 4).clamp(1, 8), dataset, plan, place)
}

fn train_batches_on(threads: usize, dataset: Arc<Dataset>, plan: EpochPlan, place: Place) -> TrainBatches {
    let epoch = Arc::new(Epoch::new(dataset, plan, place));
    let first = epoch.plan.first_batch;
    let workers = (0..threads).map_while(|number| Worker::start(&epoch, first + number, threads).ok()).collect();
    TrainBatches { next: first, workers, started: threads, epoch }
}

/// The same batches, each made by the caller's thread when it is asked for.
pub fn train_batches_here(dataset: Arc<Dataset>, plan: EpochPlan) -> impl Iterator<Item = Result<Batch, ImageError>> {
    let epoch = Epoch::new(dataset, plan, Place::ALONE);
    (epoch.plan.first_batch..epoch.batches()).map(move |number| epoch.batch(number))
}

/// Batches `range` of the dataset, in its order and as they are, but normalised.
///
/// # Errors
/// See [`Dataset::image`].
///
/// # Panics
/// `range` reaches beyond the dataset.
pub fn evaluation_batch(dataset: &Dataset, range: Range<usize>) -> Result<Batch, ImageError> {
    let normalisation = Normalisation::new(&dataset.info);
    let mut batch = Batch::with_capacity(dataset.info.size(), range.len(), range.len());
    for index in range {
        batch.push(dataset.labels[index], &dataset.image(index)?, &normalisation);
    }
    Ok(batch)
}

struct Epoch {
    dataset: Arc<Dataset>,
    plan: EpochPlan,
    normalisation: Normalisation,
    /// The mean colour.
    blank: Vec<u8>,
    order: Vec<sampler::Place>,
    place: Place,
}

impl Epoch {
    fn new(dataset: Arc<Dataset>, plan: EpochPlan, place: Place) -> Self {
        let order = plan.order(&dataset);
        let blank = dataset.info.mean.iter().map(|mean| (mean * 255.0).round() as u8).collect();
        Self { normalisation: Normalisation::new(&dataset.info), blank, dataset, plan, order, place }
    }

    fn batches(&self) -> usize {
        self.order.len().div_ceil(self.plan.batch_size)
    }

    fn batch(&self, number: usize) -> Result<Batch, ImageError> {
        let start = number * self.plan.batch_size;
        let whole = &self.order[start..self.order.len().min(start + self.plan.batch_size)];
        let places = &whole[self.place.share(whole.len()).images];
        let size = self.dataset.info.size();
        let smaller = size.scaled(self.plan.image_scale);
        let mut resize = (smaller != size).then(|| Resize::new(size, smaller));
        let mut batch = Batch::with_capacity(smaller, places.len(), whole.len());
        let (mut augmented, mut scratch) = (vec![0; size.bytes()], Scratch::default());
        let mut resized = vec![0; smaller.bytes()];
        for &sampler::Place { image: index, draw: drawn_by } in places {
            let EpochPlan { augment, seed, epoch, .. } = &self.plan;
            let stored = if augment.enabled {
                let draw = |sides| Rectangle::draw(sides, augment.least_area, *seed, *epoch, drawn_by);
                self.dataset.part(index, draw)?
            } else {
                self.dataset.image(index)?
            };
            let mut image = &stored[..];
            if self.plan.augment.enabled {
                let drawn = Augmentation::draw(augment, size, *seed, *epoch, drawn_by);
                drawn.apply(size, &self.blank, image, &mut augmented, &mut scratch);
                image = &augmented;
            }
            if let Some(resize) = &mut resize {
                resize.apply(image, &mut resized);
                image = &resized;
            }
            batch.push(self.dataset.labels[index], image, &self.normalisation);
        }
        Ok(batch)
    }
}

/// Makes every n-th batch.
struct Worker {
    batches: Receiver<Result<Batch, ImageError>>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(epoch: &Arc<Epoch>, first: usize, stride: usize) -> std::io::Result<Self> {
        let (sender, batches) = sync_channel(BATCHES_AHEAD);
        let epoch = Arc::clone(epoch);
        let thread = std::thread::Builder::new().name("loader".into()).spawn(move || {
            for number in (first..epoch.batches()).step_by(stride) {
                // Nobody is waiting any more.
                if sender.send(epoch.batch(number)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { batches, thread })
    }
}

/// See [`train_batches`].
pub struct TrainBatches {
    next: usize,
    /// Worker i makes the batches i, i + `started`, … after the first.
    workers: Vec<Worker>,
    started: usize,
    epoch: Arc<Epoch>,
}

impl Iterator for TrainBatches {
    type Item = Result<Batch, ImageError>;

    fn next(&mut self) -> Option<Result<Batch, ImageError>> {
        if self.next >= self.epoch.batches() {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let worker = self.workers.get((number - self.epoch.plan.first_batch) % self.started);
        // A thread that could not be started, or that died, costs speed only: its batches are made here.
        Some(worker.and_then(|worker| worker.batches.recv().ok()).unwrap_or_else(|| self.epoch.batch(number)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.epoch.batches().saturating_sub(self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for TrainBatches {}

impl Drop for TrainBatches {
    fn drop(&mut self) {
        // All channels close before the first thread is waited for.
        let threads: Vec<_> = self.workers.drain(..).map(|worker| worker.thread).collect();
        for thread in threads {
            // A worker that panicked has been replaced already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IMAGE_BYTES: usize = 3 * PLANE;
    const PLANE: usize = 1024;

    /// Image i is filled with i, so that a batch without augmentation tells its indices.
    fn dataset(samples: usize) -> Arc<Dataset> {
        let mut dataset = Dataset::new(Arc::new(DatasetInfo::cifar10()));
        for index in 0..samples {
            dataset.push((index % 10) as u16, &[index as u8; IMAGE_BYTES]);
        }
        Arc::new(dataset)
    }

    fn plan(batch_size: usize) -> EpochPlan {
        let augment = AugmentConfig::default();
        EpochPlan {
            seed: 5,
            epoch: 1,
            batch_size,
            shuffle: true,
            sampler: Sampler::Uniform,
            augment,
            image_scale: 1.0,
            first_batch: 0,
        }
    }

    fn plain(batch_size: usize) -> EpochPlan {
        EpochPlan { augment: AugmentConfig { enabled: false, ..AugmentConfig::default() }, ..plan(batch_size) }
    }

    fn made(batches: impl Iterator<Item = Result<Batch, ImageError>>) -> Vec<Batch> {
        batches.map(Result::unwrap).collect()
    }

    fn indices(batches: impl Iterator<Item = Result<Batch, ImageError>>) -> Vec<u8> {
        let normalisation = Normalisation::new(&DatasetInfo::cifar10());
        let byte = |&x: &f32| normalisation.0[0].iter().position(|&y| y == x).unwrap() as u8;
        made(batches)
            .iter()
            .flat_map(|batch| batch.images.chunks(IMAGE_BYTES).map(|p| byte(&p[0])).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn bytes_are_scaled_to_one_and_normalised_by_channel() {
        let batch = evaluation_batch(&dataset(200), 51..53).unwrap();
        assert_eq!(batch.labels, [1, 2]);
        assert_eq!(batch.images.len(), 2 * IMAGE_BYTES);
        assert_eq!(batch.images[0], (51.0 / 255.0 - 0.4914) / 0.2023);
        assert_eq!(batch.images[1], (51.0 / 255.0 - 0.4822) / 0.1994);
        assert_eq!(batch.images[IMAGE_BYTES + 2], (52.0 / 255.0 - 0.4465) / 0.2010);
    }

    #[test]
    fn the_channels_of_a_pixel_lie_beside_each_other() {
        let mut dataset = Dataset::new(Arc::new(DatasetInfo::cifar10()));
        let image: Vec<u8> = (0..IMAGE_BYTES).map(|at| (at / PLANE * 100 + at % 97) as u8).collect();
        dataset.push(0, &image);
        let normalisation = Normalisation::new(&dataset.info);
        let batch = evaluation_batch(&dataset, 0..1).unwrap();
        for (at, &normalised) in batch.images.iter().enumerate() {
            let (pixel, channel) = (at / 3, at % 3);
            assert_eq!(normalised, normalisation.0[channel][usize::from(image[channel * PLANE + pixel])]);
        }
    }

    #[test]
    fn a_grey_image_of_any_size_is_normalised() {
        let classes = vec!["one".to_owned()];
        let (mean, std) = (vec![0.25], vec![0.5]);
        let info = DatasetInfo { name: "grey".into(), channels: 1, height: 5, width: 7, classes, mean, std };
        let mut dataset = Dataset::new(Arc::new(info));
        dataset.push(0, &(0..35).map(|at| at * 7).collect::<Vec<u8>>());
        let batch = evaluation_batch(&dataset, 0..1).unwrap();
        let expected: Vec<f32> = (0..35).map(|at| ((at * 7) as f32 / 255.0 - 0.25) / 0.5).collect();
        assert_eq!(batch.images, expected);
    }

    #[test]
    fn the_last_batch_is_kept_though_smaller() {
        let batches = train_batches(dataset(50), plain(16), Place::ALONE);
        assert_eq!(batches.len(), 4);
        assert_eq!(made(batches).iter().map(|batch| batch.labels.len()).collect::<Vec<_>>(), [16, 16, 16, 2]);
    }

    #[test]
    fn the_shares_of_the_ranks_are_the_batch() {
        for size in [2, 4, 8] {
            let shares = (0..size).map(|rank| made(train_batches(dataset(50), plan(16), Place { rank, size })));
            let shares: Vec<Vec<Batch>> = shares.collect();
            for (number, whole) in made(train_batches(dataset(50), plan(16), Place::ALONE)).into_iter().enumerate() {
                let parts = || shares.iter().map(|batches| &batches[number]);
                assert!(parts().all(|part| part.of == whole.of));
                assert!(parts().flat_map(|part| &part.labels).eq(&whole.labels));
                assert!(parts().flat_map(|part| &part.images).eq(&whole.images));
            }
        }
    }

    #[test]
    fn without_shuffling_the_order_is_that_of_the_dataset() {
        let batches = train_batches(dataset(20), EpochPlan { shuffle: false, ..plain(7) }, Place::ALONE);
        assert_eq!(indices(batches), (0..20).collect::<Vec<u8>>());
    }

    #[test]
    fn smaller_images_are_those_of_the_same_batch() {
        let smaller = EpochPlan { image_scale: 0.75, ..plain(7) };
        let batches = made(train_batches(dataset(20), smaller, Place::ALONE));
        let expected = made(train_batches(dataset(20), plain(7), Place::ALONE));
        for (batch, expected) in batches.iter().zip(&expected) {
            assert_eq!(batch.labels, expected.labels);
            assert_eq!(batch.size, ImageSize { channels: 3, height: 24, width: 24 });
            assert_eq!(batch.images.len(), batch.labels.len() * 3 * 24 * 24);
            // Each is of one colour.
            let colours = batch.images.chunks(3 * 24 * 24).zip(expected.images.chunks(IMAGE_BYTES));
            assert!(colours.into_iter().all(|(smaller, image)| smaller[..3] == image[..3]));
        }
    }

    #[test]
    fn each_epoch_and_each_seed_has_its_own_order_and_augmentation() {
        let first = |plan| train_batches(dataset(40), plan, Place::ALONE).next().unwrap().unwrap();
        for plan in [plain(8), EpochPlan { shuffle: false, ..plan(8) }] {
            assert_ne!(first(plan.clone()), first(EpochPlan { epoch: 2, ..plan.clone() }));
            assert_ne!(first(plan.clone()), first(EpochPlan { seed: 6, ..plan.clone() }));
            assert_eq!(first(plan.clone()), first(plan));
        }
    }

    #[test]
    fn dropping_it_ends_its_threads() {
        let dataset = dataset(250);
        let mut batches = train_batches_on(3, Arc::clone(&dataset), plan(2), Place::ALONE);
        batches.next().unwrap().unwrap();
        drop(batches);
        assert_eq!(Arc::strong_count(&dataset), 1);
    }

    #[test]
    fn a_dead_worker_loses_no_batch() {
        let expected = made(train_batches_on(1, dataset(40), plan(8), Place::ALONE));
        let mut batches = train_batches_on(2, dataset(40), plan(8), Place::ALONE);
        let (_, closed) = sync_channel(1);
        batches.workers[1].batches = closed;
        assert!(made(batches) == expected);
        // None could be started.
        let mut batches = train_batches_on(2, dataset(40), plan(8), Place::ALONE);
        batches.workers.clear();
        assert!(made(batches) == expected);
    }

    #[test]
    fn entering_an_epoch_at_or_beyond_its_end_yields_nothing() {
        for first_batch in [5, 6, 1000] {
            assert_eq!(train_batches(dataset(40), EpochPlan { first_batch, ..plan(8) }, Place::ALONE).count(), 0);
        }
    }

    proptest! {
        #![proptest_config(crate::testing::property(32))]

        #[test]
        fn the_order_is_a_permutation(samples in 0..250usize, batch_size in 1..80usize, seed: u64, epoch: u64) {
            let batches = train_batches(dataset(samples), EpochPlan { seed, epoch, ..plain(batch_size) }, Place::ALONE);
            let mut order = indices(batches);
            order.sort_unstable();
            prop_assert_eq!(order, (0..samples).map(|i| i as u8).collect::<Vec<_>>());
        }

        #[test]
        fn the_bytes_do_not_depend_on_threads_nor_on_where_the_epoch_is_entered(
            samples in 1..60usize, batch_size in 1..20usize, first_batch in 0..10usize
        ) {
            let whole = made(train_batches_on(1, dataset(samples), plan(batch_size), Place::ALONE));
            let threads = made(train_batches_on(3, dataset(samples), plan(batch_size), Place::ALONE));
            prop_assert!(whole == threads);
            let tail = made(train_batches_on(2, dataset(samples), EpochPlan { first_batch, ..plan(batch_size) }, Place::ALONE));
            prop_assert!(whole[first_batch.min(whole.len())..] == tail);
        }
    }
}
