//! `taper bench`: how fast this machine trains, and where the time goes.

use std::fs;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::configuration::configuration;
use super::shell::{say, say_json};
use crate::cli::BenchArgs;
use crate::config::{AttentionKind, Config, Precision};
use crate::cuda::traffic::bytes_of_step;
use crate::cuda::{BF16_CAPABILITY, Card, Context as CudaContext};
use crate::format;
use crate::model::NetworkShape;
use crate::run::spawn;
use crate::run::step_time::{Breakdown, Part};
use crate::simd::{self, SimdPath};
use crate::terminal_kind::no_cursor;
use crate::train::bench::{Bench, EVALUATION_BATCHES, LOADED_BATCHES, PEAK_SIDE, WARM_UP_STEPS};
use crate::train::device::{self, Device};

/// Times and speeds are medians.
#[derive(Debug, Serialize)]
struct Report {
    taper_version: &'static str,
    /// Where the system tells it (Linux).
    cpu: Option<String>,
    device: String,
    /// The vector instructions of the CPU kernels; null on other devices.
    simd: Option<&'static str>,
    threads: usize,
    model: String,
    parameters: u64,
    batch_size: usize,
    warm_up_steps: u64,
    steps: u64,
    data_ms: f64,
    forward_ms: f64,
    backward_ms: f64,
    optimizer_ms: f64,
    other_ms: f64,
    step_ms: f64,
    images_per_sec: f64,
    eval_batch_size: usize,
    eval_images_per_sec: f64,
    /// Time of one image alone.
    latency_ms: f64,
    /// To augment and normalise a training image, on one core.
    loading_us_per_image: f64,
    /// By the definition of the operations, whatever algorithm computes them.
    gflop_per_step: f64,
    gflop_per_sec: f64,
    /// A product of two large matrices, f32, on the same device and threads; null on a card of `cuda`, see `card`.
    sgemm_gflop_per_sec: Option<f64>,
    percent_of_sgemm: Option<f64>,
    /// On a card of `cuda`.
    card: Option<CardReport>,
    /// Where the network has attention.
    attention: Option<Comparison>,
}

/// How near a card comes to what it can do.
#[derive(Debug, Serialize)]
struct CardReport {
    capability: String,
    /// The newest CUDA that the driver knows.
    driver: String,
    /// By its clocks, units and bus.
    f32_peak_tflop_per_sec: f64,
    /// Dense, on tensor cores; null where it is not known.
    bf16_peak_tflop_per_sec: Option<f64>,
    memory_peak_gb_per_sec: f64,
    /// The configured precision, and the other one where the card has it.
    precisions: Vec<CardSpeed>,
}

#[derive(Debug, Serialize)]
struct CardSpeed {
    precision: &'static str,
    /// Kernels of a step.
    launches: usize,
    /// Parts of a step by the card's clock.
    forward_ms: f64,
    backward_ms: f64,
    optimizer_ms: f64,
    step_ms: f64,
    images_per_sec: f64,
    /// What the kernels read and write, whatever of it the card's cache holds.
    gb_per_step: f64,
    gb_per_sec: f64,
    percent_of_memory_peak: f64,
    tflop_per_sec: f64,
    percent_of_arithmetic_peak: Option<f64>,
}

/// What attention costs: the configured network beside the plain one, measured in turns.
#[derive(Debug, Serialize)]
struct Comparison {
    configured: Cost,
    plain: Cost,
}

#[derive(Debug, Serialize)]
struct Cost {
    model: String,
    parameters: u64,
    step_ms: f64,
    /// Time of one image alone.
    latency_ms: f64,
    /// Time of one image of an evaluation batch, its preparation included.
    batch_latency_ms: f64,
}

/// Turns that the networks of a comparison take.
const TURNS: u64 = 5;

pub fn bench(args: &BenchArgs) -> Result<u8> {
    let options = [
        ("--batch-size", "train.batch_size", &args.batch_size),
        ("--attention", "model.attention", &args.attention),
        ("--threads", "run.threads", &args.threads),
        ("--device", "run.device", &args.device),
    ];
    let config = configuration(args.config.as_deref(), &args.set, &options)?;
    spawn::restart_with_threads(config.run.threads).context("cannot restart with the threads of the run")?;
    let report = measure(config, args.steps)?;
    if args.json {
        say_json(&report)?;
    } else {
        say(report.text())?;
    }
    Ok(0)
}

fn measure(config: Config, steps: u64) -> Result<Report> {
    let device = device::open(&config)?;
    let context = match &device {
        Device::Cuda(context) => Some(Arc::clone(context)),
        Device::Cpu(_) | Device::Ranks(_) | Device::CandleCuda(_) => None,
    };
    let is_cpu = matches!(device, Device::Cpu(_));
    let described = device.describe();
    let (batch_size, eval_batch_size) = (config.train.batch_size, config.train.eval_batch_size);
    let has_attention = config.model.attention != AttentionKind::None;
    let mut plain = config.clone();
    plain.model.attention = AttentionKind::None;
    let mut configured = Measured::new(config, device.clone())?;
    let mut plain = if has_attention { Some(Measured::new(plain, device)?) } else { None };

    // Draws on stderr, and only where that is a terminal.
    let networks = 1 + u64::from(has_attention);
    let turns = if has_attention { TURNS.min(steps) } else { 1 };
    let overhead = WARM_UP_STEPS + 1 + EVALUATION_BATCHES as u64;
    let bar = ProgressBar::new(networks * (steps + turns * overhead) + 1 + LOADED_BATCHES as u64);
    bar.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}")?);
    if no_cursor().is_some() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    for turn in 0..turns {
        let of_turn = steps * (turn + 1) / turns - steps * turn / turns;
        for measured in std::iter::once(&mut configured).chain(&mut plain) {
            measured.take_turn(of_turn, &bar)?;
        }
    }
    bar.set_message("loading");
    let loaded = configured.bench.load(|| bar.inc(1));
    let sgemm_gflop_per_sec = match &context {
        Some(_) => None,
        None => {
            bar.set_message("sgemm peak");
            let multiplied = configured.bench.multiply()?;
            Some(2.0 * (PEAK_SIDE as f64).powi(3) / 1e9 / median(multiplied))
        }
    };
    let card = context.map(|context| CardReport::new(&context, &configured, steps, &bar)).transpose()?;
    bar.finish_and_clear();

    let Measured { bench, evaluated, .. } = &configured;
    let part_ms = |part| 1e3 * configured.part_secs(part);
    let step_secs = configured.step_secs();
    let gflop_per_step = bench.shape().flops().training as f64 * batch_size as f64 / 1e9;
    let gflop_per_sec = gflop_per_step / step_secs;
    Ok(Report {
        taper_version: env!("CARGO_PKG_VERSION"),
        cpu: cpu_model(),
        device: described,
        simd: if is_cpu { Some(simd::chosen().map(SimdPath::name)?) } else { None },
        threads: rayon::current_num_threads(),
        model: bench.summary(),
        parameters: bench.shape().parameter_count(),
        batch_size,
        warm_up_steps: WARM_UP_STEPS,
        steps,
        data_ms: part_ms(Part::Data),
        forward_ms: part_ms(Part::Forward),
        backward_ms: part_ms(Part::Backward),
        optimizer_ms: part_ms(Part::Optimizer),
        other_ms: part_ms(Part::Other),
        step_ms: 1e3 * step_secs,
        images_per_sec: batch_size as f64 / step_secs,
        eval_batch_size,
        eval_images_per_sec: eval_batch_size as f64 / median(evaluated.iter().copied()),
        latency_ms: 1e3 * configured.latency_secs(),
        loading_us_per_image: 1e6 * median(loaded) / batch_size as f64,
        gflop_per_step,
        gflop_per_sec,
        sgemm_gflop_per_sec,
        percent_of_sgemm: sgemm_gflop_per_sec.map(|peak| 100.0 * gflop_per_sec / peak),
        card,
        attention: plain.map(|plain| Comparison {
            configured: configured.cost(eval_batch_size),
            plain: plain.cost(eval_batch_size),
        }),
    })
}

/// A network, and what was measured of it so far.
struct Measured {
    bench: Bench,
    config: Config,
    taken: Vec<Breakdown>,
    /// Seconds of each evaluation batch,
    evaluated: Vec<f64>,
    /// and of each single image.
    classified: Vec<f64>,
}

impl Measured {
    fn new(config: Config, device: Device) -> Result<Self> {
        let bench = Bench::new(config.clone(), device)?;
        Ok(Self { bench, config, taken: vec![], evaluated: vec![], classified: vec![] })
    }

    fn take_turn(&mut self, steps: u64, bar: &ProgressBar) -> Result<()> {
        bar.set_message("training");
        self.taken.extend(self.bench.train(steps, || bar.inc(1))?);
        bar.set_message("evaluation");
        self.evaluated.extend(self.bench.evaluate(|| bar.inc(1))?);
        self.classified.extend(self.bench.classify_one()?);
        Ok(())
    }

    /// The median; on a card the mean, where several steps are under way and the host hears of some at once.
    fn step_secs(&self) -> f64 {
        let secs = || self.taken.iter().map(|step| step.total_secs);
        match self.bench.launches() {
            None => median(secs()),
            Some(_) => secs().sum::<f64>() / self.taken.len() as f64,
        }
    }

    fn part_secs(&self, part: Part) -> f64 {
        median(self.taken.iter().map(|step| step.secs(part)))
    }

    fn latency_secs(&self) -> f64 {
        median(self.classified.iter().copied())
    }

    fn cost(&self, eval_batch_size: usize) -> Cost {
        Cost {
            model: self.bench.summary(),
            parameters: self.bench.shape().parameter_count(),
            step_ms: 1e3 * self.step_secs(),
            latency_ms: 1e3 * self.latency_secs(),
            batch_latency_ms: 1e3 * median(self.evaluated.iter().copied()) / eval_batch_size as f64,
        }
    }
}

impl Report {
    /// The report for people.
    fn text(&self) -> String {
        let cpu = self.cpu.as_ref().map_or(String::new(), |cpu| format!("{cpu}, "));
        let parts = [self.data_ms, self.forward_ms, self.backward_ms, self.optimizer_ms, self.other_ms];
        let line = |name: &str, ms: f64| format!("  {name:<9}  {ms:>9.2}  {:>3.0} %", 100.0 * ms / self.step_ms);
        let count = |value: f64| format::count(value.round() as u64);
        let mut lines = vec![
            format!("taper {} on {cpu}{}", self.taper_version, self.device),
            format!(
                "{}, {} parameters, batch {}; medians of {} steps",
                self.model,
                format::count(self.parameters),
                self.batch_size,
                format::count(self.steps)
            ),
            String::new(),
            "  part              ms  share".to_owned(),
        ];
        lines.extend(Part::OF_ONE_PROCESS.iter().zip(parts).map(|(part, ms)| line(part.name(), ms)));
        lines.extend([
            line("step", self.step_ms),
            String::new(),
            format!(
                "training    {} images/s; {:.2} GFLOP a step, {:.1} GFLOP/s{}",
                count(self.images_per_sec),
                self.gflop_per_step,
                self.gflop_per_sec,
                self.percent_of_sgemm.map_or(String::new(), |percent| format!(", {percent:.0} % of the sgemm peak"))
            ),
            format!(
                "evaluation  {} images/s at batch {}; one image alone in {:.3} ms",
                count(self.eval_images_per_sec),
                self.eval_batch_size,
                self.latency_ms
            ),
            format!("loading     {:.1} µs an image on one core, augmentation included", self.loading_us_per_image),
        ]);
        if let Some(peak) = self.sgemm_gflop_per_sec {
            lines.push(format!("sgemm peak  {peak:.1} GFLOP/s ({PEAK_SIDE} × {PEAK_SIDE}, f32)"));
        }
        if let Some(card) = &self.card {
            lines.push(String::new());
            lines.extend(card.lines());
        }
        if let Some(comparison) = &self.attention {
            lines.push(String::new());
            lines.extend(comparison.lines(self.eval_batch_size));
        }
        lines.join("\n")
    }
}

impl CardReport {
    /// Measures the other precision too, where the card has it.
    fn new(context: &CudaContext, configured: &Measured, steps: u64, bar: &ProgressBar) -> Result<Self> {
        let card = context.card();
        let mut precisions = vec![CardSpeed::new(card, configured, context.precision())?];
        let other = match context.precision() {
            Precision::F32 => Precision::Bf16,
            Precision::Bf16 => Precision::F32,
        };
        if other == Precision::F32 || card.capability >= BF16_CAPABILITY {
            let mut config = configured.config.clone();
            config.train.precision = other;
            let device = device::open(&config)?;
            let mut measured = Measured::new(config, device)?;
            bar.set_message(<&str>::from(other));
            measured.taken = measured.bench.train(steps, || {})?;
            precisions.push(CardSpeed::new(card, &measured, other)?);
        }
        Ok(Self {
            capability: card.capability.to_string(),
            driver: card.driver.to_string(),
            f32_peak_tflop_per_sec: card.f32_peak() / 1e12,
            bf16_peak_tflop_per_sec: card.bf16_peak().map(|peak| peak / 1e12),
            memory_peak_gb_per_sec: card.memory_peak() / 1e9,
            precisions,
        })
    }

    fn lines(&self) -> Vec<String> {
        let tensor_cores = match self.bf16_peak_tflop_per_sec {
            Some(peak) => format!("{peak:.0} TFLOP/s in bf16 on tensor cores"),
            None => "tensor cores whose speed taper does not know".to_owned(),
        };
        let mut lines = vec![
            format!(
                "the GPU has compute capability {}, a driver of CUDA {}, {:.1} TFLOP/s in f32, {tensor_cores}, {:.0} \
                 GB/s;",
                self.capability, self.driver, self.f32_peak_tflop_per_sec, self.memory_peak_gb_per_sec
            ),
            "parts of a step by its clock, kernels, and its memory's traffic if nothing stayed in its cache:"
                .to_owned(),
            "        launches  forward ms  backward ms  optimizer ms   step ms   images/s     GB/s  of peak  TFLOP/s  \
             of peak"
                .to_owned(),
        ];
        lines.extend(self.precisions.iter().map(CardSpeed::line));
        lines
    }
}

impl CardSpeed {
    fn new(card: &Card, measured: &Measured, precision: Precision) -> Result<Self> {
        let (bench, images) = (&measured.bench, measured.config.train.batch_size as u64);
        let step_secs = measured.step_secs();
        let NetworkShape::Cnn(shape) = bench.shape() else {
            bail!("a GPU does not train the network {}", bench.summary())
        };
        let bytes = bytes_of_step(&shape, images) as f64;
        let flop_per_sec = (bench.shape().flops().training * images) as f64 / step_secs;
        let peak = match precision {
            Precision::F32 => Some(card.f32_peak()),
            Precision::Bf16 => card.bf16_peak(),
        };
        Ok(Self {
            precision: precision.into(),
            launches: bench.launches().context("a GPU that trained has a graph")?,
            forward_ms: 1e3 * measured.part_secs(Part::Forward),
            backward_ms: 1e3 * measured.part_secs(Part::Backward),
            optimizer_ms: 1e3 * measured.part_secs(Part::Optimizer),
            step_ms: 1e3 * step_secs,
            images_per_sec: images as f64 / step_secs,
            gb_per_step: bytes / 1e9,
            gb_per_sec: bytes / 1e9 / step_secs,
            percent_of_memory_peak: 100.0 * bytes / step_secs / card.memory_peak(),
            tflop_per_sec: flop_per_sec / 1e12,
            percent_of_arithmetic_peak: peak.map(|peak| 100.0 * flop_per_sec / peak),
        })
    }

    fn line(&self) -> String {
        let of_peak = self.percent_of_arithmetic_peak.map_or("-".to_owned(), |percent| format!("{percent:.1} %"));
        format!(
            "  {:<4}  {:>8}  {:>10.3}  {:>11.3}  {:>12.3}  {:>8.3}  {:>9}  {:>7.1}  {:>5.1} %  {:>7.2}  {of_peak:>7}",
            self.precision,
            self.launches,
            self.forward_ms,
            self.backward_ms,
            self.optimizer_ms,
            self.step_ms,
            format::count(self.images_per_sec.round() as u64),
            self.gb_per_sec,
            self.percent_of_memory_peak,
            self.tflop_per_sec
        )
    }
}

impl Comparison {
    fn lines(&self, eval_batch_size: usize) -> Vec<String> {
        let Self { configured, plain } = self;
        let width = configured.model.chars().count();
        let row = |name: &str, cells: [String; 4]| {
            let [parameters, step, alone, in_batch] = cells;
            format!("  {name:<width$}  {parameters:>10}  {step:>7}  {alone:>13}  {in_batch:>14}")
        };
        let cost = |cost: &Cost| {
            let cells = [
                format::count(cost.parameters),
                format!("{:.2}", cost.step_ms),
                format!("{:.3}", cost.latency_ms),
                format!("{:.3}", cost.batch_latency_ms),
            ];
            row(&cost.model, cells)
        };
        let ratio = |of: fn(&Cost) -> f64| format!("{:.2}", of(configured) / of(plain));
        let ratios = [
            format!("{:.4}", configured.parameters as f64 / plain.parameters as f64),
            ratio(|cost| cost.step_ms),
            ratio(|cost| cost.latency_ms),
            ratio(|cost| cost.batch_latency_ms),
        ];
        vec![
            "what attention costs, beside the plain network in turns; an image alone, and each of a batch:".to_owned(),
            row("", ["parameters", "step ms", "1 image ms", &format!("{eval_batch_size}, each ms")].map(str::to_owned)),
            cost(configured),
            cost(plain),
            row("ratio", ratios),
        ]
    }
}

/// The middle value, or the mean of the two; NaN of none.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (lower, upper) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(lower), values.get(upper)) {
        (Some(lower), Some(upper)) => (lower + upper) / 2.0,
        _ => f64::NAN,
    }
}

fn cpu_model() -> Option<String> {
    model_name(&fs::read_to_string("/proc/cpuinfo").ok()?)
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::stand_in::{Built, on_stand_in};

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([7.0]), 7.0);
        assert!(median([]).is_nan());
    }

    #[test]
    fn the_name_of_the_cpu() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC 9B14\nflags\t: fpu avx2\n";
        assert_eq!(model_name(cpuinfo).as_deref(), Some("AMD EPYC 9B14"));
        assert_eq!(model_name("processor\t: 0\n"), None);
    }

    fn report() -> Report {
        Report {
            taper_version: "0.1.0",
            cpu: Some("AMD EPYC 9B14".into()),
            device: "cpu (2 threads, avx2)".into(),
            simd: Some("avx2"),
            threads: 2,
            model: "cnn 32-64-128".into(),
            parameters: 1_147_914,
            batch_size: 64,
            warm_up_steps: 5,
            steps: 60,
            data_ms: 0.113,
            forward_ms: 36.7,
            backward_ms: 59.14,
            optimizer_ms: 3.1,
            other_ms: 0.02,
            step_ms: 99.1,
            images_per_sec: 645.8,
            eval_batch_size: 256,
            eval_images_per_sec: 1912.4,
            latency_ms: 0.614,
            loading_us_per_image: 14.06,
            gflop_per_step: 4.254_990_336,
            gflop_per_sec: 42.936,
            sgemm_gflop_per_sec: Some(86.3),
            percent_of_sgemm: Some(49.75),
            card: None,
            attention: None,
        }
    }

    #[test]
    fn the_report_for_people() {
        insta::assert_snapshot!(report().text());
    }

    #[test]
    fn the_report_of_a_card() {
        let f32 = CardSpeed {
            precision: "f32",
            launches: 37,
            forward_ms: 0.112,
            backward_ms: 0.231,
            optimizer_ms: 0.021,
            step_ms: 0.371,
            images_per_sec: 172_506.7,
            gb_per_step: 0.21,
            gb_per_sec: 566.0,
            percent_of_memory_peak: 16.88,
            tflop_per_sec: 11.468,
            percent_of_arithmetic_peak: Some(17.14),
        };
        let bf16 = CardSpeed { precision: "bf16", percent_of_arithmetic_peak: None, ..f32 };
        let card = CardReport {
            capability: "9.0".into(),
            driver: "12.4".into(),
            f32_peak_tflop_per_sec: 66.9,
            bf16_peak_tflop_per_sec: Some(1070.5),
            memory_peak_gb_per_sec: 3352.3,
            precisions: vec![f32, bf16],
        };
        let device = "cuda:0 (NVIDIA H100 80GB HBM3)".to_owned();
        let (card, none) = (Some(card), None);
        let report = Report { device, simd: None, card, sgemm_gflop_per_sec: none, percent_of_sgemm: none, ..report() };
        insta::assert_snapshot!(report.text());
    }

    #[test]
    fn a_card_is_measured_in_both_precisions() {
        let test = "commands::bench::tests::a_card_is_measured_in_both_precisions";
        on_stand_in(test, Built::Plain, &[&[]], || {
            let mut config = Config::default();
            (config.model.channels, config.model.hidden) = (vec![2], 4);
            (config.train.batch_size, config.train.eval_batch_size, config.run.device) = (2, 2, "cuda".into());
            let report = measure(config, 2).expect("a report");
            let card = report.card.expect("a GPU");
            assert_eq!(card.precisions.iter().map(|speed| speed.precision).collect::<Vec<_>>(), ["f32", "bf16"]);
            assert!(card.precisions.iter().all(|speed| speed.launches > 15 && speed.gb_per_sec > 0.0), "{card:?}");
            assert_eq!((report.sgemm_gflop_per_sec, report.percent_of_sgemm), (None, None));
        });
    }

    #[test]
    fn the_report_compares_attention_with_none() {
        let plain = Cost {
            model: "cnn 32-64-128".into(),
            parameters: 1_147_914,
            step_ms: 99.1,
            latency_ms: 0.614,
            batch_latency_ms: 0.2111,
        };
        let configured = Cost {
            model: "cnn-cbam 32-64-128".into(),
            parameters: 1_150_896,
            step_ms: 121.4,
            latency_ms: 0.81,
            batch_latency_ms: 0.3,
        };
        let report = Report { attention: Some(Comparison { configured, plain }), ..report() };
        insta::assert_snapshot!(report.text());
    }
}
