//! The keys of a configuration and their defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray, VariantNames};

use super::test_time::TestTimeAugmentation;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub run: RunConfig,
    pub data: DataConfig,
    pub augment: AugmentConfig,
    pub model: ModelConfig,
    pub optimizer: OptimizerConfig,
    pub schedule: ScheduleConfig,
    pub average: AverageConfig,
    pub train: TrainConfig,
    pub checkpoint: CheckpointConfig,
    pub probe: ProbeConfig,
    pub alarms: AlarmsConfig,
    pub notify: NotifyConfig,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of every random draw: weights, shuffling, augmentation, dropout.
    pub seed: u64,
    /// `auto`, `cpu`, `cuda[:N]` or `candle-cuda[:N]`.
    pub device: String,
    /// Compute threads; 0 takes one for each core. Their number does not change what is computed.
    pub threads: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The folder searched for data, or a folder of images.
    pub dir: PathBuf,
    pub source: DataSource,
    pub shuffle: bool,
    /// Training images held out to judge the run by, instead of the test set; 0 judges by the test set, as the study.
    pub validation_examples: usize,
    /// Folders of images without test images: the share of each class that becomes those.
    pub test_share: f64,
    /// Folders of images, as all keys that follow: sides that the images are made to have, in pixels; None: by their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<usize>,
    /// 1: grey, 3: colour; None: grey if all images are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    pub resize: ResizeRule,
    /// What is seen through transparent pixels.
    pub background: Background,
    pub on_unreadable: OnUnreadable,
    /// Whether decoded images are kept, in the user's cache; else they are decoded whenever they are needed.
    pub cache: bool,
    /// Of each channel, in [0, 1]; None: as the training images have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum DataSource {
    /// What is found, else the bundled sample.
    Auto,
    /// The full CIFAR-10; not finding it is an error.
    Cifar10,
    Cifar100,
    /// MNIST's format, `train-images-idx3-ubyte` and so on.
    Idx,
    /// Image files, in a folder for each class.
    Folder,
    /// The 2 000 + 500 images in the binary.
    Sample,
}

/// How images of any size become square ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ResizeRule {
    /// All of the image is seen, and its sides become equal.
    Squash,
    /// Objects keep their shape, and the ends of the longer side are cut.
    CentreCrop,
    /// Training images are random parts of an image (torchvision's RandomResizedCrop), others as with `centre-crop`.
    RandomResizedCrop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Background {
    White,
    Black,
}

/// What is done about image files that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum OnUnreadable {
    /// Nothing is trained.
    Error,
    /// The others are trained on.
    Skip,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    pub enabled: bool,
    /// `data.resize = "random-resized-crop"`: the share of an image's area that a part has at least.
    pub least_area: f64,
    /// Padding on each side before the random crop, in pixels.
    pub crop_padding: u32,
    pub crop_fill: CropFill,
    pub flip_probability: f32,
    pub flip: Flip,
    /// Brightness, contrast and saturation factors are uniform in [1 - x, 1 + x].
    pub brightness: f32,
    pub contrast: f32,
    pub saturation: f32,
    /// The hue shift is uniform in [-x, x], in turns.
    pub hue: f32,
    /// The rotation is uniform in [-x, x].
    pub rotation_degrees: f32,
    /// Side of the square that is blanked, in pixels; 0: none.
    pub cutout: u32,
}

/// What a crop shows beyond the edge of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum CropFill {
    Zero,
    /// The image, mirrored at its outermost pixels.
    Reflect,
}

/// Which images of an epoch are flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Flip {
    /// Each anew.
    Random,
    /// Those drawn for the first epoch, the others in the second, and so on: two epochs show every image both ways
    /// (Jordan 2024, section 3.6).
    Alternating,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    pub network: NetworkKind,
    /// Channels of each convolution, one for each block; `airbench`: of the two convolutions of each group.
    pub channels: Vec<usize>,
    /// What follows each normalisation.
    pub activation: Activation,
    /// Whether the first layer whitens: its kernel is made of the training images, and frozen.
    pub whitening: bool,
    /// The attention module of each block, between ReLU and the pool.
    pub attention: AttentionKind,
    /// How the last feature map becomes the input of the linear layers.
    pub pool: Pool,
    /// Width of the hidden fully connected layer; 0 where the network has none.
    pub hidden: usize,
    /// Probability that a hidden activation is dropped.
    pub dropout: f32,
    /// Initial weights, a safetensors or PyTorch file with the names of a `state_dict`; else PyTorch's initialisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum NetworkKind {
    /// The study's.
    Cnn,
    /// That of airbench94 (Jordan 2024, section 3).
    Airbench,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Activation {
    Relu,
    /// By the error function (Hendrycks and Gimpel 2016).
    Gelu,
    /// Also called swish (Elfwing et al. 2018).
    Silu,
}

/// How a feature map becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Pool {
    /// All its numbers, plane by plane.
    Flatten,
    /// The mean of each channel over all positions (Lin et al. 2014, section 3.2).
    Average,
    /// The greatest number of each channel over all positions.
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames, VariantArray, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum AttentionKind {
    None,
    /// To channels: squeeze-and-excitation (Hu et al. 2018).
    Se,
    /// To channels, each by its neighbours: efficient channel attention (Wang et al. 2020).
    Eca,
    /// To positions (Woo et al. 2018).
    Spatial,
    /// To channels, then positions: the convolutional block attention module (Woo et al. 2018).
    Cbam,
    /// To pairs of positions: the non-local block (Wang et al. 2018).
    NonLocal,
}

impl AttentionKind {
    pub const ALL: &'static [Self] = <Self as VariantArray>::VARIANTS;
}

impl ModelConfig {
    /// The defaults of `network = "airbench"`.
    pub fn airbench() -> Self {
        Self {
            network: NetworkKind::Airbench,
            channels: vec![64, 256, 256],
            activation: Activation::Gelu,
            whitening: true,
            attention: AttentionKind::None,
            pool: Pool::Max,
            hidden: 0,
            dropout: 0.0,
            init: None,
        }
    }

    /// What a run of this network is called when it is given no name.
    pub fn short_name(&self) -> &'static str {
        match self.attention {
            AttentionKind::None => self.network.into(),
            kind => kind.into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    pub kind: OptimizerKind,
    /// Of all parameters; of Muon, of the filters alone.
    pub learning_rate: f64,
    /// Adam and AdamW, as the two that follow.
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// SGD and Muon: the share of the velocity that is left after a step.
    pub momentum: f64,
    /// SGD and Muon: steps go by the gradient where the momentum leads (Nesterov 1983).
    pub nesterov: bool,
    /// AdamW: a weight loses this times the learning rate in a step. SGD, also Muon's: this times the weight is a part of the
    /// gradient.
    pub weight_decay: f64,
    /// SGD, also Muon's: the learning rate of biases and BatchNorm's parameters is this times that of the others. What they
    /// lose in a step by the weight decay is the same.
    pub bias_rate_factor: f64,
    /// Muon: that of all parameters but the filters, which go by SGD. It follows the schedule in proportion.
    pub sgd_learning_rate: f64,
    /// Muon: that of all parameters but the filters.
    pub sgd_momentum: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames, VariantArray, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum OptimizerKind {
    /// Kingma and Ba 2015.
    Adam,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    #[strum(serialize = "adamw")]
    #[serde(rename = "adamw")]
    AdamW,
    /// Stochastic gradient descent with momentum (Sutskever et al. 2013).
    Sgd,
    /// Orthogonalised momentum of the filters (Jordan et al. 2024), SGD of the rest.
    Muon,
}

/// How the learning rate changes from `optimizer.learning_rate` on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    pub kind: ScheduleKind,
    /// Plateau: the learning rate is multiplied by this.
    pub factor: f64,
    /// Plateau: epochs without improvement that are tolerated.
    pub patience: u32,
    /// Plateau: a loss improves below `best * (1 - threshold)`.
    pub threshold: f64,
    /// Plateau: the schedule does not go below it. Cosine, linear and triangular: what it ends at.
    pub min_learning_rate: f64,
    /// Cosine and linear: steps of linear warm-up.
    pub warmup_steps: u64,
    /// Triangular and one-cycle: the share of the run's steps after which the peak is reached.
    pub peak_fraction: f64,
    /// Triangular and one-cycle: the first learning rate is the peak over this.
    pub div_factor: f64,
    /// One-cycle: the last learning rate is the first over this.
    pub final_div_factor: f64,
    /// One-cycle: how it rises and falls.
    pub anneal: Anneal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames, VariantArray)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ScheduleKind {
    Constant,
    /// PyTorch's ReduceLROnPlateau on the epoch's mean test loss.
    Plateau,
    /// Linear warm-up, then half a cosine down to `min_learning_rate` over the steps of the run.
    Cosine,
    /// Linear warm-up, then linear down to `min_learning_rate` over the steps of the run.
    Linear,
    /// Linear up to the peak, then linear down to `min_learning_rate` over the steps of the run.
    Triangular,
    /// PyTorch's OneCycleLR over the steps of the run.
    OneCycle,
}

/// The way from one learning rate to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Anneal {
    /// Half a cosine.
    Cos,
    Linear,
}

/// An average of the weights over the steps of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AverageConfig {
    pub kind: AverageKind,
    /// EMA: what is left of the average after an update.
    pub decay: f64,
    /// Steps between two updates.
    pub every: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames, VariantArray, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum AverageKind {
    None,
    /// An exponential moving average (Polyak and Juditsky 1992; Tarvainen and Valpola 2017), which is what is evaluated and saved
    /// as the model; training goes on from the raw weights.
    Ema,
    /// Training goes on from slow weights each time these have moved towards what was trained (Zhang et al. 2019; Jordan 2024,
    /// section 3.4).
    Lookahead,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    pub epochs: u64,
    pub batch_size: usize,
    pub eval_batch_size: usize,
    /// How the images are judged after the last epoch; all other epochs without.
    pub test_time_augmentation: TestTimeAugmentation,
    /// How often an epoch shows an image.
    pub sampler: Sampler,
    /// How much an image counts in the loss of a training batch.
    pub class_weights: ClassWeights,
    /// The share of a training target that is spread over all classes evenly (Szegedy et al. 2016, section 7).
    pub label_smoothing: f64,
    /// Ends the run after this many steps, if the epochs have not ended it before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    pub on_divergence: OnDivergence,
    /// Epochs without a better one after which the run ends; 0: it goes on.
    pub early_stop: u64,
    /// What makes an epoch better than another.
    pub best: BestBy,
    pub precision: Precision,
    /// From the second epoch on without dropout, and normalised by the running statistics, which stay as they are: what a
    /// call of `model.eval()` in the loop does, as in the study's script.
    pub freeze_after_first_epoch: bool,
    /// Epochs in which airbench's first bias is trained, after which it is frozen; 0: all (Jordan 2024, section 3.2).
    pub whitening_bias_epochs: u64,
    /// Epochs that train on smaller images, which grow from one to the next (progressive resizing; Howard 2018); 0: none.
    pub progressive_epochs: u64,
    /// Of the images' sides, in the first epoch of those.
    pub progressive_scale: f64,
}

/// How often an epoch shows an image. It has as many either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Sampler {
    /// Each once.
    Uniform,
    /// Each class alike: images of small ones several times, of large ones not in every epoch.
    Balanced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ClassWeights {
    /// All images alike.
    None,
    /// An image as much as there are few of its class: the number of images over that of classes and over that of its class.
    Balanced,
}

/// How matrices are multiplied; everything else is in f32 anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Precision {
    F32,
    /// bfloat16, with sums in f32: on tensor cores, or by AVX512-BF16.
    Bf16,
}

/// Which of two epochs is the better one. The best one's checkpoint is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum BestBy {
    /// The epoch with the higher test accuracy.
    Accuracy,
    /// The epoch with the lower test loss.
    Loss,
}

/// What a run does when its loss or gradient is not finite. That step is never taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum OnDivergence {
    /// Waits to be told.
    Pause,
    /// Goes back to the last good checkpoint with half the learning rate; after three times at the same one, waits.
    Rollback,
    /// Ends as failed.
    Stop,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between checkpoints within an epoch; 0 saves at the end of each epoch only.
    pub every_steps: u64,
    /// The best checkpoint and this many of the latest are kept.
    pub keep_last: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeConfig {
    /// Epochs between two probes; 0 saves none but those that are asked for.
    pub every: u64,
    /// Numbers of the test images that are probed, from 0.
    pub images: Vec<usize>,
}

/// Thresholds; 0 switches an alarm off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmsConfig {
    /// Times the median gradient norm of the last 200 steps.
    pub gradient_spike: f64,
    /// Channels of the network that never fire in an epoch's evaluation.
    pub dead_channels: usize,
    /// Epochs in a row in which the test loss rises and the train loss falls.
    pub overfitting_epochs: u32,
    /// Epochs without a better test loss.
    pub plateau_epochs: u32,
    /// Share of the usual speed that is left.
    pub throughput_collapse: f64,
    /// Room where the run lies; None: for three checkpoints, and 1 GiB at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyConfig {
    /// Run by `sh -c`, with each alarm and the end of the run as a line of JSON on its stdin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl TrainConfig {
    /// The last batch of an epoch may be smaller.
    pub fn steps_per_epoch(&self, samples: usize) -> u64 {
        samples.div_ceil(self.batch_size) as u64
    }

    /// The step at which a run ends: that of its last epoch, or `max_steps`.
    pub fn total_steps(&self, steps_per_epoch: u64) -> u64 {
        let all_epochs = self.epochs.saturating_mul(steps_per_epoch);
        self.max_steps.map_or(all_epochs, |max_steps| all_epochs.min(max_steps))
    }

    /// What the sides of training images are multiplied by in an epoch, from 1: grows by equal parts to 1 after the last of the
    /// progressive ones.
    pub fn image_scale(&self, epoch: u64) -> f64 {
        if epoch > self.progressive_epochs {
            return 1.0;
        }
        let done = (epoch - 1) as f64 / self.progressive_epochs as f64;
        self.progressive_scale + (1.0 - self.progressive_scale) * done
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { seed: 0, device: "auto".into(), threads: 0 }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dir: "data".into(),
            source: DataSource::Auto,
            shuffle: true,
            validation_examples: 0,
            test_share: 0.2,
            side: None,
            channels: None,
            resize: ResizeRule::Squash,
            background: Background::White,
            on_unreadable: OnUnreadable::Error,
            cache: true,
            mean: None,
            std: None,
        }
    }
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            least_area: 0.35,
            crop_padding: 4,
            crop_fill: CropFill::Zero,
            flip_probability: 0.5,
            flip: Flip::Random,
            brightness: 0.2,
            contrast: 0.2,
            saturation: 0.2,
            hue: 0.1,
            rotation_degrees: 15.0,
            cutout: 0,
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            network: NetworkKind::Cnn,
            channels: vec![32, 64, 128],
            activation: Activation::Relu,
            whitening: false,
            attention: AttentionKind::None,
            pool: Pool::Flatten,
            hidden: 512,
            dropout: 0.5,
            init: None,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Adam,
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            momentum: 0.9,
            nesterov: true,
            weight_decay: 0.0,
            bias_rate_factor: 1.0,
            sgd_learning_rate: 0.1,
            sgd_momentum: 0.9,
        }
    }
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Plateau,
            factor: 0.5,
            patience: 3,
            threshold: 1e-4,
            min_learning_rate: 0.0,
            warmup_steps: 0,
            peak_fraction: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
            anneal: Anneal::Cos,
        }
    }
}

impl Default for AverageConfig {
    fn default() -> Self {
        Self { kind: AverageKind::None, decay: 0.995, every: 5 }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 50,
            batch_size: 64,
            eval_batch_size: 256,
            test_time_augmentation: TestTimeAugmentation::None,
            sampler: Sampler::Uniform,
            class_weights: ClassWeights::None,
            label_smoothing: 0.0,
            max_steps: None,
            on_divergence: OnDivergence::Pause,
            early_stop: 0,
            best: BestBy::Accuracy,
            precision: Precision::F32,
            freeze_after_first_epoch: false,
            whitening_bias_epochs: 0,
            progressive_epochs: 0,
            progressive_scale: 0.75,
        }
    }
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { every: 1, images: (0..8).collect() }
    }
}

impl Default for AlarmsConfig {
    fn default() -> Self {
        Self {
            gradient_spike: 10.0,
            dead_channels: 1,
            overfitting_epochs: 3,
            plateau_epochs: 10,
            throughput_collapse: 0.4,
            disk_free_bytes: None,
        }
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every_steps: 200, keep_last: 2 }
    }
}
