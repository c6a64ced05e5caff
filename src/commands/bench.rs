//! `taper bench`: how fast this machine trains, and where the time goes.

use std::fs;
use std::io::{self, Write};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{configuration, say};
use crate::cli::BenchArgs;
use crate::config::Config;
use crate::data::SIDE;
use crate::format;
use crate::model::flops;
use crate::ops::simd::{self, SimdPath};
use crate::run::spawn;
use crate::run::step_time::{Breakdown, Part};
use crate::train::device;
use crate::train::measure::{Bench, EVALUATION_BATCHES, LOADED_BATCHES, PEAK_SIDE, WARM_UP_STEPS};

/// Times and speeds are medians.
#[derive(Debug, Serialize)]
struct Report {
    taper_version: &'static str,
    /// Where the system tells it (Linux).
    cpu: Option<String>,
    device: String,
    /// Of the CPU kernels; null on other devices.
    simd: Option<&'static str>,
    threads: usize,
    model: String,
    parameters: usize,
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
    /// To augment and normalise a training picture, on one core.
    loading_us_per_image: f64,
    /// By the definition of the operations, whatever algorithm computes them.
    gflop_per_step: f64,
    gflop_per_sec: f64,
    /// A product of two large matrices, f32, on the same device and threads.
    sgemm_gflop_per_sec: f64,
    percent_of_sgemm: f64,
}

pub fn bench(args: &BenchArgs) -> Result<u8> {
    let options = [
        ("--batch-size", "train.batch_size", &args.batch_size),
        ("--threads", "run.threads", &args.threads),
        ("--device", "run.device", &args.device),
    ];
    let config = configuration(args.config.as_deref(), &args.set, &options)?;
    spawn::take_threads(config.run.threads).context("cannot start anew")?;
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
    let is_cpu = device.is_cpu();
    let described = device::describe(&device);
    let flops = flops::per_picture(&config.model, SIDE);
    let (batch_size, eval_batch_size) = (config.train.batch_size, config.train.eval_batch_size);
    let mut bench = Bench::new(config, device)?;

    // Draws on stderr, and only where that is a terminal.
    let batches = 1 + EVALUATION_BATCHES + 1 + LOADED_BATCHES;
    let bar = ProgressBar::new(WARM_UP_STEPS + steps + batches as u64);
    bar.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}")?);
    bar.set_message("training");
    let taken = bench.train(steps, || bar.inc(1))?;
    bar.set_message("evaluation");
    let evaluated = bench.evaluate(|| bar.inc(1))?;
    bar.set_message("loading");
    let loaded = bench.load(|| bar.inc(1));
    bar.set_message("sgemm peak");
    let multiplied = bench.multiply()?;
    bar.finish_and_clear();

    let part_ms = |part| 1e3 * median(taken.iter().map(|step: &Breakdown| step.secs(part)));
    let step_secs = median(taken.iter().map(|step| step.total_secs));
    let gflop_per_step = flops.training as f64 * batch_size as f64 / 1e9;
    let gflop_per_sec = gflop_per_step / step_secs;
    let sgemm_gflop_per_sec = 2.0 * (PEAK_SIDE as f64).powi(3) / 1e9 / median(multiplied);
    Ok(Report {
        taper_version: env!("CARGO_PKG_VERSION"),
        cpu: cpu_model(),
        device: described,
        simd: if is_cpu { Some(simd::chosen().map(SimdPath::name)?) } else { None },
        threads: rayon::current_num_threads(),
        model: bench.cnn().summary(),
        parameters: bench.cnn().weights().parameter_count(),
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
        eval_images_per_sec: eval_batch_size as f64 / median(evaluated),
        loading_us_per_image: 1e6 * median(loaded) / batch_size as f64,
        gflop_per_step,
        gflop_per_sec,
        sgemm_gflop_per_sec,
        percent_of_sgemm: 100.0 * gflop_per_sec / sgemm_gflop_per_sec,
    })
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
                format::count(self.parameters as u64),
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
            format!("evaluation  {} images/s at batch {}", count(self.eval_images_per_sec), self.eval_batch_size),
            format!("loading     {:.1} µs an image on one core, augmentation included", self.loading_us_per_image),
            format!("sgemm peak  {:.1} GFLOP/s ({PEAK_SIDE} × {PEAK_SIDE}, f32)", self.sgemm_gflop_per_sec),
        ]);
        lines.join("\n")
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

    #[test]
    fn the_report_for_people() {
        let report = Report {
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
            loading_us_per_image: 14.06,
            gflop_per_step: 4.254_990_336,
            gflop_per_sec: 42.936,
            sgemm_gflop_per_sec: 86.3,
            percent_of_sgemm: 49.75,
        };
        insta::assert_snapshot!(report.text());
    }
}
