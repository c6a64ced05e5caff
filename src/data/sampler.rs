//! Which images an epoch shows, and in which order.

use rand::seq::SliceRandom;

use super::Dataset;
use crate::config::Sampler;
use crate::random::{Purpose, stream};

/// A place in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which image of the data set.
    pub image: usize,
    /// What its augmentation is drawn by: the number of the image, or another where the epoch shows it again.
    pub draw: u64,
}

/// The images of an epoch in their order, as many as the data set has.
pub fn places(dataset: &Dataset, sampler: Sampler, shuffle: bool, seed: u64, epoch: u64) -> Vec<Place> {
    let once = |image| Place { image, draw: image as u64 };
    let mut places: Vec<Place> = match sampler {
        Sampler::Uniform => (0..dataset.len()).map(once).collect(),
        Sampler::Balanced => balanced(dataset, seed, epoch),
    };
    if shuffle {
        places.shuffle(&mut stream(seed, Purpose::Shuffle, epoch, 0));
    }
    places
}

/// Each class as often as the others, to one image; of a class each image as often as the others of it, to once.
fn balanced(dataset: &Dataset, seed: u64, epoch: u64) -> Vec<Place> {
    let mut classes = vec![vec![]; dataset.info.classes.len()];
    for (image, &label) in dataset.labels.iter().enumerate() {
        classes[usize::from(label)].push(image);
    }
    classes.retain(|images| !images.is_empty());
    let images = dataset.len();
    let (each, one_more) = (images / classes.len().max(1), images % classes.len().max(1));
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.shuffle(&mut stream(seed, Purpose::BalancedSampler, epoch, 0));
    let mut places = Vec::with_capacity(images);
    for (position, class) in order.into_iter().enumerate() {
        let wanted = each + usize::from(position < one_more);
        let mut of_class = classes[class].clone();
        of_class.shuffle(&mut stream(seed, Purpose::BalancedSampler, epoch, 1 + class as u64));
        let shown = of_class.iter().cycle().take(wanted).enumerate();
        places.extend(shown.map(|(number, &image)| {
            let round = number / of_class.len();
            Place { image, draw: (image + round * images) as u64 }
        }));
    }
    // Without shuffling, as the data set has them.
    places.sort_unstable_by_key(|place| (place.image, place.draw));
    places
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::DatasetInfo;

    /// Of three classes, with so many images each; a fourth has none.
    fn dataset(counts: [usize; 3]) -> Dataset {
        let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let name = "classes".to_owned();
        let info = DatasetInfo { name, channels: 1, height: 1, width: 1, classes, mean: vec![0.0], std: vec![1.0] };
        let labels: Vec<u16> = (0..3).flat_map(|class| vec![class; counts[usize::from(class)]]).collect();
        Dataset::from_parts(Arc::new(info), vec![0; labels.len()], labels)
    }

    fn epoch(dataset: &Dataset, sampler: Sampler, epoch: u64) -> Vec<Place> {
        places(dataset, sampler, true, 5, epoch)
    }

    #[test]
    fn an_epoch_shows_each_image_once() {
        let dataset = dataset([5, 30, 7]);
        let mut shown: Vec<usize> = epoch(&dataset, Sampler::Uniform, 1).iter().map(|place| place.image).collect();
        assert_ne!(shown, (0..42).collect::<Vec<_>>());
        shown.sort_unstable();
        assert_eq!(shown, (0..42).collect::<Vec<_>>());
    }

    #[test]
    fn a_balanced_epoch_shows_each_class_alike() {
        for counts in [[5, 30, 7], [1, 1, 100], [20, 20, 20], [3, 0, 8]] {
            let dataset = dataset(counts);
            let shown = epoch(&dataset, Sampler::Balanced, 1);
            assert_eq!(shown.len(), dataset.len());
            let classes = counts.iter().filter(|&&count| count > 0).count();
            let mut times = vec![0; dataset.len()];
            shown.iter().for_each(|place| times[place.image] += 1);
            for class in (0..3).filter(|&class| counts[class] > 0) {
                let is_of_class = |&image: &usize| usize::from(dataset.labels[image]) == class;
                let of_class: Vec<usize> = (0..dataset.len()).filter(is_of_class).map(|image| times[image]).collect();
                let of_all: usize = of_class.iter().sum();
                assert!(of_all.abs_diff(dataset.len() / classes) <= 1, "{counts:?}: {of_all} of class {class}");
                let (least, most) = (of_class.iter().min().unwrap(), of_class.iter().max().unwrap());
                assert!(most - least <= 1, "{counts:?}: {least} to {most} times");
            }
            // Each time with a draw of its own.
            let mut draws: Vec<u64> = shown.iter().map(|place| place.draw).collect();
            draws.sort_unstable();
            draws.dedup();
            assert_eq!(draws.len(), dataset.len());
            assert!(shown.iter().all(|place| place.draw as usize % dataset.len() == place.image));
        }
    }

    #[test]
    fn each_epoch_has_its_own_choice_and_repeats_it() {
        let dataset = dataset([2, 50, 2]);
        let chosen = |number| {
            let shown = epoch(&dataset, Sampler::Balanced, number);
            let mut images: Vec<usize> = shown.iter().map(|place| place.image).collect();
            images.sort_unstable();
            images
        };
        assert_ne!(chosen(1), chosen(2));
        assert_eq!(epoch(&dataset, Sampler::Balanced, 3), epoch(&dataset, Sampler::Balanced, 3));
        assert!(places(&dataset, Sampler::Balanced, false, 5, 1).is_sorted_by_key(|place| place.image));
    }
}
