//! `taper bench`: how fast this machine trains, and where the time goes.

use std::fs;
use std::io::{self, Write};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::configuration::configuration;
use super::shell::say;
use crate::cli::BenchArgs;
use crate::config::{AttentionKind, Config};
use crate::format;
use crate::run::spawn;
use crate::run::step_time::{Breakdown, Part};
use crate::simd::{self, SimdPath};
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
    /// A product of two large matrices, f32, on the same device and threads.
    sgemm_gflop_per_sec: f64,
    percent_of_sgemm: f64,
    /// Where the network has attention.
    attention: Option<Comparison>,
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
        ("--threads", "run.threads", &args.threads),
        ("--device", "run.device", &args.device),
    ];
    let config = configuration(args.config.as_deref(), &args.set, &options)?;
    spawn::restart_with_threads(config.run.threads).context("cannot restart with the threads of the run")?;
    let report = measure(config, args.steps)?;
    if args.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from).context("stdout")?;
        writeln!(out).context("stdout")?;
    } else {
        say(report.text())?;
    }
    Ok(0)
}

fn measure(config: Config, steps: u64) -> Result<Report> {
    let device = device::open(&config.run.device)?;
    let is_cpu = matches!(device, Device::Cpu);
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
    for turn in 0..turns {
        let of_turn = steps * (turn + 1) / turns - steps * turn / turns;
        for measured in std::iter::once(&mut configured).chain(&mut plain) {
            measured.take_turn(of_turn, &bar)?;
        }
    }
    bar.set_message("loading");
    let loaded = configured.bench.load(|| bar.inc(1));
    bar.set_message("sgemm peak");
    let multiplied = configured.bench.multiply()?;
    bar.finish_and_clear();

    let Measured { bench, taken, evaluated, .. } = &configured;
    let part_ms = |part| 1e3 * median(taken.iter().map(|step: &Breakdown| step.secs(part)));
    let step_secs = configured.step_secs();
    let gflop_per_step = bench.shape().flops().training as f64 * batch_size as f64 / 1e9;
    let gflop_per_sec = gflop_per_step / step_secs;
    let sgemm_gflop_per_sec = 2.0 * (PEAK_SIDE as f64).powi(3) / 1e9 / median(multiplied);
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
        percent_of_sgemm: 100.0 * gflop_per_sec / sgemm_gflop_per_sec,
        attention: plain.map(|plain| Comparison {
            configured: configured.cost(eval_batch_size),
            plain: plain.cost(eval_batch_size),
        }),
    })
}

/// A network, and what was measured of it so far.
struct Measured {
    bench: Bench,
    taken: Vec<Breakdown>,
    /// Seconds of each evaluation batch,
    evaluated: Vec<f64>,
    /// and of each single image.
    classified: Vec<f64>,
}

impl Measured {
    fn new(config: Config, device: Device) -> Result<Self> {
        Ok(Self { bench: Bench::new(config, device)?, taken: vec![], evaluated: vec![], classified: vec![] })
    }

    fn take_turn(&mut self, steps: u64, bar: &ProgressBar) -> Result<()> {
        bar.set_message("training");
        self.taken.extend(self.bench.train(steps, || bar.inc(1))?);
        bar.set_message("evaluation");
        self.evaluated.extend(self.bench.evaluate(|| bar.inc(1))?);
        self.classified.extend(self.bench.classify_one()?);
        Ok(())
    }

    fn step_secs(&self) -> f64 {
        median(self.taken.iter().map(|step| step.total_secs))
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
        lines.extend(Part::ALL.iter().zip(parts).map(|(part, ms)| line(part.name(), ms)));
        lines.extend([
            line("step", self.step_ms),
            String::new(),
            format!(
                "training    {} images/s; {:.2} GFLOP a step, {:.1} GFLOP/s, {:.0} % of the sgemm peak",
                count(self.images_per_sec),
                self.gflop_per_step,
                self.gflop_per_sec,
                self.percent_of_sgemm
            ),
            format!(
                "evaluation  {} images/s at batch {}; one image alone in {:.3} ms",
                count(self.eval_images_per_sec),
                self.eval_batch_size,
                self.latency_ms
            ),
            format!("loading     {:.1} µs an image on one core, augmentation included", self.loading_us_per_image),
            format!("sgemm peak  {:.1} GFLOP/s ({PEAK_SIDE} × {PEAK_SIDE}, f32)", self.sgemm_gflop_per_sec),
        ]);
        if let Some(comparison) = &self.attention {
            lines.push(String::new());
            lines.extend(comparison.lines(self.eval_batch_size));
        }
        lines.join("\n")
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
            sgemm_gflop_per_sec: 86.3,
            percent_of_sgemm: 49.75,
            attention: None,
        }
    }

    #[test]
    fn the_report_for_people() {
        insta::assert_snapshot!(report().text());
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
