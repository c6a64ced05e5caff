//! What a test found, for people and for programs.

use serde::Serialize;

use crate::commands::columns::aligned;
use crate::config::{Config, LEARNING_RATES, ScheduleKind};
use crate::format::{self, learning_rate};
use crate::train::range_test::{Curve, DIVERGED, End, Finding, Point, Rates, Subject, Suggestion};

#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    subject: Subject,
    optimizer: &'static str,
    batch_size: usize,
    seed: u64,
    /// That were asked for.
    from: f64,
    to: f64,
    steps: u64,
    #[serde(flatten)]
    end: End,
    suggestion: Option<Suggested>,
    /// What the curve leaves open, and what to do.
    advice: Vec<String>,
    /// The steps that were taken.
    curve: Vec<Point>,
    #[serde(skip)]
    kind: ScheduleKind,
}

#[derive(Debug, Serialize)]
struct Suggested {
    learning_rate: f64,
    /// Where the smoothed loss falls most steeply: the same with all its digits.
    steepest: f64,
    /// Where it is least,
    minimum: f64,
    /// and a tenth of that.
    tenth_of_minimum: f64,
    command: String,
}

impl Report {
    /// `command` gives the one that trains with a rate.
    pub fn new(
        subject: Subject,
        config: &Config,
        rates: Rates,
        (curve, end): (&Curve, End),
        finding: Finding,
        command: impl Fn(f64) -> String,
    ) -> Self {
        let suggestion = finding.suggestion().map(|suggestion| Suggested {
            learning_rate: suggestion.learning_rate(),
            steepest: suggestion.steepest.learning_rate,
            minimum: suggestion.minimum.learning_rate,
            tenth_of_minimum: suggestion.tenth_of_minimum(),
            command: command(suggestion.learning_rate()),
        });
        Self {
            subject,
            optimizer: config.optimizer.kind.into(),
            batch_size: config.train.batch_size,
            seed: config.run.seed,
            from: rates.first(),
            to: rates.last(),
            steps: rates.steps(),
            end,
            suggestion,
            advice: advice(finding, end, rates),
            curve: curve.points().to_vec(),
            kind: config.schedule.kind,
        }
    }

    pub fn subject(&self) -> String {
        let Self { subject: Subject { model, data, device }, optimizer, batch_size, .. } = self;
        format!("{model}, {optimizer}, batches of {batch_size}, on {data}, {device}")
    }

    /// A line for each step.
    pub fn table(&self) -> Vec<String> {
        let column = |title: &str, text: &dyn Fn(&Point) -> String| -> Vec<String> {
            std::iter::once(title.to_owned()).chain(self.curve.iter().map(text)).collect()
        };
        aligned(&[
            column("STEP", &|point| point.step.to_string()),
            column("LEARNING RATE", &|point| format!("{:.3e}", point.learning_rate)),
            column("LOSS", &|point| format::decimal(point.loss, 4)),
            column("SMOOTHED", &|point| format::decimal(point.smoothed_loss, 4)),
        ])
    }

    /// How the test ended, and what it suggests.
    pub fn conclusion(&self) -> Vec<String> {
        let mut lines = vec![self.ending()];
        if let Some(suggested) = &self.suggestion {
            let [rate, tenth] = [suggested.learning_rate, suggested.tenth_of_minimum].map(learning_rate);
            let minimum = learning_rate(suggested.minimum);
            lines.extend([
                String::new(),
                format!("suggestion  {rate:<7}  where the smoothed loss falls most steeply"),
                format!("or          {tenth:<7}  a tenth of {minimum}, where it is least"),
            ]);
        }
        if !self.advice.is_empty() {
            lines.push(String::new());
            lines.extend(self.advice.iter().cloned());
        }
        if let Some(Suggested { command, .. }) = &self.suggestion {
            lines.extend([String::new(), format!("{}:", meaning(self.kind)), format!("  {command}")]);
        }
        lines
    }

    fn ending(&self) -> String {
        let taken = self.curve.len();
        let reached = self.curve.last().map_or(self.from, |point| point.learning_rate);
        let [from, reached] = [self.from, reached].map(learning_rate);
        let steps = format!("{taken} of {} steps, {from} to {reached}", self.steps);
        match self.end {
            End::Completed => format!("{taken} steps, {from} to {reached}."),
            End::Diverged => {
                format!("{steps}: the smoothed loss rose above {DIVERGED} times its least.")
            }
            End::NotFinite { learning_rate: rate } => {
                format!("{steps}: at {} loss or gradient was not finite.", learning_rate(rate))
            }
            End::Interrupted => format!("{steps}: interrupted."),
        }
    }
}

/// What `optimizer.learning_rate` is to a schedule.
fn meaning(kind: ScheduleKind) -> &'static str {
    match kind {
        ScheduleKind::Constant => "To train with it, at each step",
        ScheduleKind::Plateau => "To train with it, as the rate that the run starts with",
        ScheduleKind::Cosine | ScheduleKind::Linear => "To train with it, as the peak that the schedule falls from",
        ScheduleKind::Triangular | ScheduleKind::OneCycle => "To train with it, as the peak of the schedule",
    }
}

/// What the curve leaves open, and what to do about that.
fn advice(finding: Finding, end: End, rates: Rates) -> Vec<String> {
    let (lowest, highest) = (*LEARNING_RATES.start(), *LEARNING_RATES.end());
    let higher = |rate: f64| match 10.0 * rate {
        _ if rate >= highest => format!("{} is the highest that there is", learning_rate(highest)),
        more => format!("try --to {}", learning_rate(more.min(highest))),
    };
    let lower = format!("try --from {}", learning_rate((rates.first() / 100.0).max(lowest)));
    match finding {
        Finding::TooFewSteps => vec!["Too few steps were taken for a suggestion.".to_owned()],
        Finding::NoDescent { rises } => {
            let what = "No suggestion: the loss never falls by more than its noise";
            vec![match end {
                End::Interrupted => format!("{what} so far."),
                End::Completed if !rises => format!("{what}; {}, or more --steps.", higher(rates.last())),
                End::Completed => format!("{what} before it rises; {lower}, or more --steps."),
                End::Diverged | End::NotFinite { .. } => {
                    format!("{what} before it diverges; {lower}, or more --steps.")
                }
            }]
        }
        Finding::Suggested(Suggestion { rises, falls_from_the_start, .. }) => {
            let mut advice = vec![];
            if falls_from_the_start {
                advice.push(format!("The loss falls from the first steps on, and may do so at lower rates; {lower}."));
            }
            if !rises && end == End::Completed {
                let what = "The loss has not risen again, so that its minimum may lie at a higher rate";
                advice.push(format!("{what}; {}.", higher(rates.last())));
            }
            advice
        }
    }
}
