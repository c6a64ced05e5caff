//! The loader's work on one core, an image and a batch: `cargo bench --bench augment`.

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use taper::config::{AugmentConfig, CropFill, Sampler};
use taper::data::Dataset;
use taper::data::augment::Scratch;
use taper::data::augment::{Augmentation, Jitter};
use taper::data::loader::{EpochPlan, evaluation_batch, train_batches};
use taper::data::source::sample;
use taper::ranks::Place;

/// Of the study.
const BATCH: usize = 64;

/// The mean colour of CIFAR-10.
const BLANK: [u8; 3] = [125, 123, 114];

fn main() {
    divan::main();
}

fn images() -> Dataset {
    let (train, _) = sample::read().expect("the sample is built in");
    train
}

/// Applies one augmentation after the other, each to another image.
fn apply(bencher: Bencher, augmentations: &[Augmentation]) {
    let images = images();
    let mut work = augmentations.iter().cycle().zip((0..images.len()).cycle());
    let (size, mut scratch) = (images.info.size(), Scratch::default());
    let mut augmented = vec![0; size.bytes()];
    bencher.bench_local(|| {
        if let Some((augmentation, index)) = work.next() {
            black_box(augmentation).apply(
                size,
                &BLANK,
                &images.image(index).expect("the sample"),
                &mut augmented,
                &mut scratch,
            );
        }
        black_box(augmented[0])
    });
}

#[divan::bench]
fn draw(bencher: Bencher) {
    let (config, size) = (AugmentConfig::default(), images().info.size());
    let mut indices = 0..;
    bencher.bench_local(|| indices.next().map(|index| Augmentation::draw(&config, size, 0, 1, index)));
}

#[divan::bench]
fn image(bencher: Bencher) {
    let (config, size) = (AugmentConfig::default(), images().info.size());
    let draws: Vec<_> = (0..1000).map(|index| Augmentation::draw(&config, size, 0, 1, index)).collect();
    apply(bencher, &draws);
}

#[divan::bench]
fn unchanged(bencher: Bencher) {
    apply(bencher, &[Augmentation::NONE]);
}

#[divan::bench]
fn crop_and_flip(bencher: Bencher) {
    apply(bencher, &[Augmentation { crop_left: 3, crop_top: -2, flip: true, ..Augmentation::NONE }]);
}

#[divan::bench]
fn reflected_crop(bencher: Bencher) {
    apply(bencher, &[Augmentation { crop_left: 2, crop_top: -2, crop_fill: CropFill::Reflect, ..Augmentation::NONE }]);
}

#[divan::bench]
fn rotate(bencher: Bencher) {
    apply(bencher, &[Augmentation { angle_degrees: 10.0, ..Augmentation::NONE }]);
}

#[divan::bench(args = [Jitter::Brightness(1.1), Jitter::Contrast(1.1), Jitter::Saturation(1.1), Jitter::Hue(0.05)])]
fn jitter(bencher: Bencher, jitter: Jitter) {
    apply(bencher, &[Augmentation { jitter: [Some(jitter), None, None, None], ..Augmentation::NONE }]);
}

#[divan::bench]
fn normalised_batch(bencher: Bencher) {
    let images = images();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| evaluation_batch(&images, 0..BATCH));
}

/// By one thread of the loader, with its start and its end.
#[divan::bench]
fn augmented_batch(bencher: Bencher) {
    let indices: Vec<_> = (0..BATCH).collect();
    let dataset = Arc::new(images().select(&indices));
    let plan = EpochPlan {
        seed: 0,
        epoch: 1,
        batch_size: BATCH,
        shuffle: true,
        sampler: Sampler::Uniform,
        augment: AugmentConfig::default(),
        image_scale: 1.0,
        first_batch: 0,
    };
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| train_batches(Arc::clone(&dataset), plan.clone(), Place::ALONE).next());
}
