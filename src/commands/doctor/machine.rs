//! Processor, memory, disk and cards, as the dashboard's system panel has them.

use std::path::Path;

use crate::format;
use crate::run::dir::free_bytes;
use crate::system::{CardDescription, Cards, Host};

const UNKNOWN: &str = "the system does not tell";

/// Subjects, and what is found; the runs lie in `folder`, or will.
pub fn findings(folder: &Path) -> Vec<(String, String)> {
    let mut findings = vec![
        ("CPU".to_owned(), Host::cpu().map_or(UNKNOWN.to_owned(), |cpu| cpu.to_string())),
        ("memory".to_owned(), describe_memory().unwrap_or(UNKNOWN.to_owned())),
        ("disk".to_owned(), describe_disk(folder)),
    ];
    match Cards::open().and_then(|cards| cards.describe()) {
        Ok(cards) if cards.is_empty() => {
            findings.push(("GPUs".to_owned(), "none: the NVIDIA driver knows of no GPU".to_owned()));
        }
        Ok(cards) => {
            let described = cards.iter().enumerate();
            findings.extend(described.map(|(number, card)| (format!("GPU {number}"), describe_card(card))));
        }
        Err(error) => findings.push(("GPUs".to_owned(), format!("none: {error}"))),
    }
    findings
}

fn describe_memory() -> Option<String> {
    let sample = Host::open()?.look();
    let (used, total) = (sample.memory_used_bytes?, sample.memory_total_bytes?);
    Some(format!("{}, of which {} are used", format::bytes(total), format::bytes(used)))
}

fn describe_disk(folder: &Path) -> String {
    match free_bytes(folder) {
        Ok(bytes) => format!("{} are free for runs", format::bytes(bytes)),
        Err(error) => error.to_string(),
    }
}

fn describe_card(card: &CardDescription) -> String {
    let described = joined([
        card.name.clone(),
        card.driver_version.as_ref().map(|version| format!("driver {version}")),
        card.memory_bytes.map(format::bytes),
        card.power_limit_watts.map(|watts| format!("power limit {watts} W")),
        card.temperature_celsius.map(|celsius| format!("{celsius} °C")),
        card.compute_capability.as_ref().map(|version| format!("compute capability {version}")),
    ]);
    if described.is_empty() { "the driver tells nothing of it".to_owned() } else { described }
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        assert_eq!(describe_card(&CardDescription::default()), "the driver tells nothing of it");
        let named = CardDescription { name: Some("NVIDIA T4".into()), ..CardDescription::default() };
        assert_eq!(describe_card(&named), "NVIDIA T4");
    }
}
