//! What the machine of a run is doing at a moment. What is not known is absent, never zero.

use serde::{Deserialize, Serialize};

/// As it is in the log: rates are means over the time since the sample before, all else is of the moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SystemSample {
    /// Memory of the trainer process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// Of one core: 200 are two cores that the trainer keeps busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trainer_cpu_percent: Option<f64>,
    /// Of all cores, whoever uses them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// For users without privileges, on the file system of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// Of the processes that compute each step together, from rank 0 on; empty of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<RankSample>,
    /// The card that the run is on. None: it is on none, or the driver does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardSample>,
}

/// Over the steps since the sample before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RankSample {
    /// Of its share, while it computes.
    pub images_per_sec: f64,
    /// Of the time of its steps; for the rest it waits for the others.
    pub computing_percent: f64,
}

/// By NVML.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CardSample {
    /// Such as `NVIDIA H100 80GB HBM3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of the time in which a kernel was at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation_percent: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// Of the whole board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_watts: Option<f64>,
    /// What the driver holds the power to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_limit_watts: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm_clock_mhz: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_clock_mhz: Option<u32>,
    /// All that were seen since the sample before; none: the clocks are as high as they can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_reasons: Option<Vec<ThrottleReason>>,
}

/// Why a card's clocks are lower than they could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleReason {
    Idle,
    /// Clocks that somebody set.
    ClocksSetting,
    /// The limit of power.
    PowerCap,
    /// By half or more, for heat or power.
    HardwareSlowdown,
    /// Another card of its group.
    SyncBoost,
    SoftwareThermal,
    /// By half or more.
    HardwareThermal,
    /// By half or more, at the word of the power supply.
    PowerBrake,
    DisplayClocks,
    /// Of a later version.
    #[serde(other)]
    Other,
}

impl ThrottleReason {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::ClocksSetting => "set clocks",
            Self::PowerCap => "power cap",
            Self::HardwareSlowdown => "hardware slowdown",
            Self::SyncBoost => "sync boost",
            Self::SoftwareThermal => "heat",
            Self::HardwareThermal => "heat, by hardware",
            Self::PowerBrake => "power brake",
            Self::DisplayClocks => "display clocks",
            Self::Other => "another reason",
        }
    }
}

/// What a graph is drawn of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    Cpu,
    Memory,
    CardUtilisation,
    CardMemory,
    CardPower,
}

impl Metric {
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::CardUtilisation, Self::CardMemory, Self::CardPower];

    /// In percent, bytes or watts.
    pub fn of(self, sample: &SystemSample) -> Option<f64> {
        let card = sample.card.as_ref();
        match self {
            Self::Cpu => sample.cpu_percent,
            Self::Memory => sample.memory_used_bytes.map(|bytes| bytes as f64),
            Self::CardUtilisation => card?.utilisation_percent,
            Self::CardMemory => card?.memory_used_bytes.map(|bytes| bytes as f64),
            Self::CardPower => card?.power_watts,
        }
    }

    /// The most that it can be.
    pub fn limit(self, sample: &SystemSample) -> Option<f64> {
        let card = sample.card.as_ref();
        match self {
            Self::Cpu | Self::CardUtilisation => Some(100.0),
            Self::Memory => sample.memory_total_bytes.map(|bytes| bytes as f64),
            Self::CardMemory => card?.memory_total_bytes.map(|bytes| bytes as f64),
            Self::CardPower => card?.power_limit_watts,
        }
    }
}

impl SystemSample {
    /// Logs of an older taper tell the memory of the trainer alone.
    pub fn tells_of_machine(&self) -> bool {
        let Self { cpu_percent, memory_used_bytes, disk_free_bytes, card, .. } = self;
        cpu_percent.is_some() || memory_used_bytes.is_some() || disk_free_bytes.is_some() || card.is_some()
    }

    /// One for several in a row: rates become means of what was known, the rest is as in the last.
    pub fn merged(samples: &[Self]) -> Option<Self> {
        let mut merged = samples.last()?.clone();
        let mean = |of: fn(&Self) -> Option<f64>| {
            let known: Vec<f64> = samples.iter().filter_map(of).collect();
            // Tenths are what is worth its bytes.
            (10.0 * known.iter().sum::<f64>() / known.len() as f64).round() / 10.0
        };
        if let Some(percent) = &mut merged.trainer_cpu_percent {
            *percent = mean(|sample| sample.trainer_cpu_percent);
        }
        if let Some(percent) = &mut merged.cpu_percent {
            *percent = mean(|sample| sample.cpu_percent);
        }
        for (rank, merged) in merged.ranks.iter_mut().enumerate() {
            let of_rank: Vec<&RankSample> = samples.iter().filter_map(|sample| sample.ranks.get(rank)).collect();
            let mean = |of: fn(&RankSample) -> f64| {
                (10.0 * of_rank.iter().map(|rank| of(rank)).sum::<f64>() / of_rank.len() as f64).round() / 10.0
            };
            merged.images_per_sec = mean(|rank| rank.images_per_sec);
            merged.computing_percent = mean(|rank| rank.computing_percent);
        }
        if let Some(card) = &mut merged.card {
            if let Some(percent) = &mut card.utilisation_percent {
                *percent = mean(|sample| sample.card.as_ref()?.utilisation_percent);
            }
            if let Some(watts) = &mut card.power_watts {
                *watts = mean(|sample| sample.card.as_ref()?.power_watts);
            }
            if let Some(reasons) = &mut card.throttle_reasons {
                let cards = samples.iter().filter_map(|sample| sample.card.as_ref());
                *reasons = cards.filter_map(|card| card.throttle_reasons.as_ref()).flatten().copied().collect();
                reasons.sort_unstable();
                reasons.dedup();
            }
        }
        Some(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu_percent: Option<f64>, card: Option<CardSample>) -> SystemSample {
        SystemSample { cpu_percent, card, resident_bytes: Some(7), ..SystemSample::default() }
    }

    fn card(power_watts: Option<f64>, throttle_reasons: &[ThrottleReason]) -> Option<CardSample> {
        let throttle_reasons = Some(throttle_reasons.to_vec());
        Some(CardSample { power_watts, throttle_reasons, ..CardSample::default() })
    }

    #[test]
    fn rates_are_means_and_reasons_are_gathered() {
        use ThrottleReason::{Idle, PowerCap};
        let samples = [
            sample(Some(10.0), card(Some(100.0), &[PowerCap])),
            sample(None, None),
            sample(Some(15.17), card(Some(300.0), &[Idle, PowerCap])),
        ];
        let merged = SystemSample::merged(&samples).unwrap();
        assert_eq!(merged, sample(Some(12.6), card(Some(200.0), &[Idle, PowerCap])));
        assert_eq!(SystemSample::merged(&[]), None);
    }

    #[test]
    fn what_the_last_sample_lacks_is_absent() {
        let samples = [sample(Some(10.0), card(Some(100.0), &[])), sample(None, None)];
        assert_eq!(SystemSample::merged(&samples).unwrap(), sample(None, None));
        let samples = [sample(None, card(Some(100.0), &[])), sample(None, card(None, &[]))];
        assert_eq!(SystemSample::merged(&samples).unwrap(), sample(None, card(None, &[])));
    }

    #[test]
    fn what_is_absent_takes_no_bytes_and_a_later_reason_is_read() {
        let json = serde_json::to_string(&sample(None, card(None, &[ThrottleReason::PowerCap]))).unwrap();
        assert_eq!(json, r#"{"resident_bytes":7,"card":{"throttle_reasons":["power_cap"]}}"#);
        let later = json.replace("power_cap", "moonlight");
        let sample: SystemSample = serde_json::from_str(&later).unwrap();
        assert_eq!(sample.card.unwrap().throttle_reasons.unwrap(), [ThrottleReason::Other]);
    }
}
