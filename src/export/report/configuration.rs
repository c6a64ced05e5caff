//! The configurations: of one run what differs from the default, of several what differs between them; the rest folded up.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::config::{Config, RESOLVED, Values};
use crate::export::RecordedRun;

pub fn table(runs: &[RecordedRun]) -> Markup {
    let defaults = Config::default().values();
    let configurations: Vec<&Values> = runs.iter().map(|run| &run.configuration).collect();
    let keys: BTreeSet<&String> = configurations.iter().flat_map(|values| values.keys()).collect();
    let differs = |key: &str| match configurations.as_slice() {
        [only] => only.get(key) != defaults.get(key) && !RESOLVED.iter().any(|(resolved, _)| *resolved == key),
        [first, others @ ..] => others.iter().any(|other| other.get(key) != first.get(key)),
        [] => false,
    };
    let (different, equal): (Vec<&String>, Vec<&String>) = keys.into_iter().partition(|key| differs(key));
    let is_only = runs.len() == 1;
    let default_of = |key: &String| defaults.get(key).map_or("not set", String::as_str);
    let rows = |keys: &[&String], with_default: bool| {
        html! {
            div.scroll {
                table {
                    thead { tr {
                        th.text { "Key" }
                        @for run in runs { th.text { @if is_only { "Value" } @else { (run.name()) } } }
                        @if with_default { th.text { "Default" } }
                    } }
                    tbody {
                        @for &key in keys {
                            tr {
                                th { (key) }
                                @for values in &configurations {
                                    td.text.value { (values.get(key).map_or("not set", String::as_str)) }
                                }
                                @if with_default { td.text.value.quiet { (default_of(key)) } }
                            }
                        }
                    }
                }
            }
        }
    };
    html! {
        @if configurations.iter().all(|values| values.is_empty()) {
            p { @if is_only { "Its trainer tells none." } @else { "Their trainers tell none." } }
        } @else if different.is_empty() {
            p { @if is_only { "The default configuration." } @else { "All have the same configuration." } }
        } @else {
            p { @if is_only { "What differs from the default:" } @else { "What differs between them:" } }
            (rows(&different, true))
        }
        @if !equal.is_empty() {
            details {
                summary { (equal.len()) @if is_only { " keys as by default" } @else { " keys that are the same" } }
                (rows(&equal, !is_only))
            }
        }
    }
}
