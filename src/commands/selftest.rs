//! `taper selftest`: whether a card computes what it should.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use strum::VariantArray;

use super::configuration::configuration;
use super::failure::{FAILURE, UsageError};
use super::shell::{say, say_json};
use crate::cli::SelftestArgs;
use crate::cuda::selftest::{Compared, Verdict};
use crate::cuda::{Card, Context, Kernel};
use crate::train::device::{self, Device};
use crate::train::selftest::{PARTS, Selftest, Step, describe_bound};

#[derive(Debug, Serialize)]
struct Report {
    taper_version: &'static str,
    device: String,
    capability: String,
    /// The newest CUDA that the driver knows.
    driver: String,
    precision: &'static str,
    bounds: String,
    kernels: Vec<KernelRow>,
    steps: Vec<StepRow>,
    passed: bool,
    /// What is wrong first.
    fault: Option<String>,
}

#[derive(Debug, Serialize)]
struct KernelRow {
    kernel: &'static str,
    /// Outputs that were compared, and those that were equal to the bit.
    outputs: usize,
    equal: usize,
    passed: bool,
    /// Whether it was the first that did not pass: those after it may have computed on what it wrote.
    is_first_wrong: bool,
    /// The greatest distance, as a share of the output's norm; null of one that is not a number.
    distance: f64,
}

#[derive(Debug, Serialize)]
struct StepRow {
    step: usize,
    card_loss: f32,
    cpu_loss: f32,
    /// In a build with candle's kernels.
    #[serde(skip_serializing_if = "Option::is_none")]
    candle_loss: Option<f32>,
    /// From the CPU's or candle's, whichever is further, as a share of it.
    difference: f64,
    passed: bool,
}

pub fn selftest(args: &SelftestArgs) -> Result<u8> {
    let report = examine(args)?;
    if args.json {
        say_json(&report)?;
    } else {
        say(report.text())?;
    }
    Ok(if report.passed { 0 } else { FAILURE })
}

fn examine(args: &SelftestArgs) -> Result<Report> {
    let device = Some(args.device.clone().unwrap_or_else(|| "cuda".to_owned()));
    let options = [("--device", "run.device", &device), ("--precision", "train.precision", &args.precision)];
    let config = configuration(None, &[], &options)?;
    let Device::Cuda(context) = device::open(&config)? else {
        return Err(UsageError("the self-test is one of GPUs: --device cuda or cuda:N".to_owned()).into());
    };
    // Draws on stderr, and only where that is a terminal.
    let bar = ProgressBar::new(PARTS);
    bar.set_style(ProgressStyle::with_template("self-test {bar:40} {pos}/{len}")?);
    let mut found = Selftest::run(&context, || bar.inc(1))?;
    if cfg!(feature = "cuda") {
        found.compare_with_candle(&context)?;
    }
    bar.finish_and_clear();
    Ok(Report::new(&context, &found))
}

impl Report {
    fn new(context: &Context, found: &Selftest) -> Self {
        let Card { ordinal, name, capability, driver, .. } = context.card();
        let fault = found.fault().map(|fault| fault.to_string());
        Self {
            taper_version: env!("CARGO_PKG_VERSION"),
            device: format!("cuda:{ordinal} ({name})"),
            capability: capability.to_string(),
            driver: driver.to_string(),
            precision: context.precision().into(),
            bounds: describe_bound(context.precision()),
            kernels: KernelRow::of_all(&found.compared),
            steps: found.steps.iter().enumerate().map(|(index, step)| StepRow::new(index + 1, step)).collect(),
            passed: fault.is_none(),
            fault,
        }
    }

    /// The report for people.
    fn text(&self) -> String {
        let Self { taper_version, device, capability, driver, precision, bounds, .. } = self;
        let mut lines = vec![
            format!(
                "taper {taper_version} on {device}, compute capability {capability}, driver of CUDA {driver}, {precision}"
            ),
            bounds.clone(),
            String::new(),
            format!("  {:<26}  outputs  result", "kernel"),
        ];
        lines.extend(
            self.kernels.iter().map(|row| format!("  {:<26}  {:>7}  {}", row.kernel, row.outputs, row.result())),
        );
        let has_candle = self.steps.iter().any(|row| row.candle_loss.is_some());
        let candle = if has_candle { "  candle's loss" } else { "" };
        lines.extend([String::new(), format!("  step  GPU's loss  CPU's loss{candle}  difference")]);
        lines.extend(self.steps.iter().map(|row| {
            let StepRow { step, card_loss, cpu_loss, candle_loss, difference, passed } = row;
            let candle = candle_loss.map_or(String::new(), |loss| format!("  {loss:>13.6}"));
            let verdict = if *passed { "" } else { "  WRONG" };
            format!("  {step:>4}  {card_loss:>11.6}  {cpu_loss:>10.6}{candle}  {difference:>10.1e}{verdict}")
        }));
        lines.push(String::new());
        lines.push(match &self.fault {
            None => "all right".to_owned(),
            Some(fault) => format!("FAILED: {fault}"),
        });
        lines.join("\n")
    }
}

impl KernelRow {
    fn of_all(compared: &[Compared]) -> Vec<Self> {
        let first = compared.iter().find(|compared| !compared.is_right()).map(|compared| compared.kernel);
        let rows = Kernel::VARIANTS.iter().map(|&kernel| {
            let row = Self::new(kernel, compared);
            Self { is_first_wrong: first == Some(kernel), ..row }
        });
        rows.collect()
    }

    fn new(kernel: Kernel, compared: &[Compared]) -> Self {
        let of_kernel = || compared.iter().filter(move |compared| compared.kernel == kernel);
        let distance = |compared: &Compared| match compared.verdict {
            Verdict::Equal => 0.0,
            Verdict::Near(distance) | Verdict::Different(distance) => distance,
        };
        Self {
            kernel: kernel.into(),
            outputs: of_kernel().count(),
            equal: of_kernel().filter(|compared| compared.verdict == Verdict::Equal).count(),
            passed: of_kernel().all(Compared::is_right),
            is_first_wrong: false,
            // A NaN is the greatest.
            distance: of_kernel().map(distance).max_by(f64::total_cmp).unwrap_or(0.0),
        }
    }

    fn result(&self) -> String {
        match self.passed {
            true if self.equal == self.outputs => "equal".to_owned(),
            true => format!("near, within {:.1e}", self.distance),
            false => {
                let verdict = if self.is_first_wrong { "WRONG" } else { "differs, as its input may" };
                format!("{verdict}: {} equal, distance to {:.1e}", self.equal, self.distance)
            }
        }
    }
}

impl StepRow {
    fn new(number: usize, step: &Step) -> Self {
        let (difference, passed) = (step.difference(), step.is_right());
        Self { step: number, card_loss: step.card, cpu_loss: step.cpu, candle_loss: step.candle, difference, passed }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config::Precision;
    use crate::cuda::stand_in::{Built, Fault, ORDERS, on_faulty_stand_in, on_stand_in};
    use crate::train::selftest::ensure_passed;

    const TESTS: &str = "commands::selftest::tests::";

    fn report(args: &[&str]) -> Report {
        let cli = Cli::try_parse_from(["taper", "selftest"].iter().chain(args)).expect("a command line");
        let Some(Command::Selftest(args)) = cli.command else { unreachable!("that is the command") };
        examine(&args).expect("a report")
    }

    #[test]
    fn the_report_for_people() {
        let test = format!("{TESTS}the_report_for_people");
        on_stand_in(&test, Built::Plain, &ORDERS[..1], || {
            let report = report(&["--device", "cuda:0"]);
            // Their last digits are those of the CPU's vector instructions.
            let StepRow { step, card_loss, .. } = report.steps[0];
            let steps = vec![StepRow {
                step,
                card_loss,
                cpu_loss: card_loss,
                candle_loss: None,
                difference: 0.0,
                passed: true,
            }];
            insta::assert_snapshot!(Report { steps, ..report }.text());
        });
    }

    /// A barrier is missing where the threads of a block add up: the first that does is the contrast of an image.
    #[test]
    fn a_kernel_that_races_is_named() {
        let fault = Fault {
            file: "common.cuh",
            line: "        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];\n        __syncthreads();",
            instead: "        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];",
        };
        on_faulty_stand_in(&format!("{TESTS}a_kernel_that_races_is_named"), &fault, || {
            let report = report(&[]);
            assert!(!report.passed && report.text().contains("\nFAILED: kernel load_batch computes another bytes "));
            let wrong: Vec<&str> = report.kernels.iter().filter(|row| !row.passed).map(|row| row.kernel).collect();
            assert_eq!(
                report.text().matches("WRONG").count() - report.steps.iter().filter(|step| !step.passed).count(),
                1
            );
            assert!(wrong.contains(&"sum_of_squares") && wrong.contains(&"cross_entropy"), "{wrong:?}");
            let cli = Cli::try_parse_from(["taper", "selftest", "--json"]).expect("a command line");
            assert_eq!(crate::commands::run(cli).expect("an exit code"), FAILURE);
            let context = Context::open(Card::find(0).expect("a GPU"), Precision::F32).expect("a context");
            let error = ensure_passed(&Device::Cuda(context)).expect_err("not this one").to_string();
            for words in ["kernel load_batch", "take --device cpu", "`taper selftest --device cuda:0`"] {
                assert!(error.contains(words), "{error}");
            }
            assert_eq!(error.lines().count(), 1, "{error}");
        });
    }

    #[test]
    fn only_cards_are_tested() {
        let cli = Cli::try_parse_from(["taper", "selftest", "--device", "cpu"]).expect("a command line");
        let error = crate::commands::run(cli).expect_err("no GPU");
        assert!(error.is::<UsageError>(), "{error}");
    }
}
