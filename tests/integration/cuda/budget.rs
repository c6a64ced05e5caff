//! What a step costs, however large the network: one launch, and nothing that waits.

use serde_json::{Map, Value};

use super::{all_succeed, dir, report, train};

/// Kernels of a step with gates, and without: each costs the card a start.
const MOST_NODES: u64 = 48;
const MOST_NODES_WITH_GATES: u64 = 60;
/// Gates need as many channels.
const WIDE: &str = "model.channels=[16,16,16]";
/// Steps that the longer run takes more.
const MORE: u64 = 8;

fn count(report: &Value, of: &str) -> u64 {
    report[of].as_u64().unwrap_or_else(|| panic!("{of} in {report}"))
}

fn calls(report: &Value) -> Map<String, Value> {
    let mut calls = report["calls"].as_object().expect("an object").clone();
    // Which context a thread has is the thread's own affair; and a host that waits long asks whether the card still works.
    calls.retain(|call, _| !["cuCtxSetCurrent", "cuStreamQuery"].contains(&call.as_str()));
    calls
}

#[test]
fn a_step_is_one_launch_without_a_wait_a_copy_or_an_allocation() {
    let dir = dir();
    for (kind, further, most) in [
        ("plain", &["model.attention=none"][..], MOST_NODES),
        ("average", &["model.pool=average"], MOST_NODES),
        ("se", &["model.attention=se", WIDE], MOST_NODES_WITH_GATES),
        ("eca", &["model.attention=eca", WIDE], MOST_NODES_WITH_GATES),
        // A rate that is another at each step.
        ("cosine", &["schedule.kind=cosine", "schedule.warmup_steps=5"], MOST_NODES),
    ] {
        let counted = |steps: u64| format!("{kind}-{steps}.json");
        all_succeed([3, 3 + MORE].map(|number| {
            let (name, steps) = (format!("{kind}-{number}"), number.to_string());
            let sets = further.iter().flat_map(|set| ["--set", set]);
            let args: Vec<&str> = ["--max-steps", &steps].into_iter().chain(sets).collect();
            train(&dir, &name, "cuda", &args).env("TAPER_TWIN_REPORT", dir.path(&counted(number)))
        }));
        let [few, many] = [3, 3 + MORE].map(|steps| report(&dir, &counted(steps)));
        let more = |of| count(&many, of) - count(&few, of);
        let nodes = many["graph_nodes"].as_array().expect("an array");
        assert!(nodes.len() == 1 && nodes[0].as_u64().expect("a number") <= most, "{kind}: {nodes:?}");
        assert_eq!((count(&few, "graph_launches"), more("graph_launches")), (3, MORE), "{kind}");
        let nothing_more = [
            "waits",
            "copies_to_device",
            "bytes_to_device",
            // The ring's 32 bytes of a step are the card's own writes.
            "copies_to_host",
            "bytes_to_host",
            "allocations",
            "frees",
            "kernel_launches",
        ];
        for of in nothing_more {
            assert_eq!(more(of), 0, "{kind}: {of}");
        }
        let mut expected = calls(&few);
        expected["cuGraphLaunch"] = (3 + MORE).into();
        assert_eq!(calls(&many), expected, "{kind}");
        for report in [&few, &many] {
            assert_eq!((count(report, "live_allocations"), count(report, "invalid_accesses")), (0, 0), "{kind}");
        }
    }
}
