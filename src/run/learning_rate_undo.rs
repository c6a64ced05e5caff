//! Which learning rate there was before the last change.

use super::state::RunState;

/// The rate to go back to from the present one, or from `wanted`, which was asked for and is no fact yet. A change that takes
/// back the one before it counts as none, and so does that one: who undoes again comes to an earlier rate. Where the schedule
/// moves the rate each step, the change is undone in proportion.
pub fn rate_before_last_change(run: &RunState, wanted: Option<f64>) -> Option<f64> {
    let present = run.learning_rate?;
    // One that is wanted and is there already is no change.
    let wanted = wanted.filter(|&wanted| !is_same(wanted, present));
    let made = run.learning_rate_changes.iter().map(|change| (change.from, change.to));
    let mut standing: Vec<(f64, f64)> = vec![];
    for (from, to) in made.chain(wanted.map(|wanted| (present, wanted))) {
        match standing.last() {
            Some(&(before, after)) if is_same(to / from, before / after) => drop(standing.pop()),
            _ => standing.push((from, to)),
        }
    }
    let (from, to) = standing.pop()?;
    let present = wanted.unwrap_or(present);
    Some(if is_same(present, to) { from } else { present * (from / to) })
}

fn is_same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::LearningRateReason;
    use crate::run::state::LearningRateChange;

    fn run(changes: &[(f64, f64)], present: f64) -> RunState {
        let change = |&(from, to): &(f64, f64)| LearningRateChange {
            time_ms: 1,
            epoch: 1,
            step: 1,
            from,
            to,
            reason: LearningRateReason::Command,
        };
        let mut run = RunState::default();
        run.learning_rate = Some(present);
        run.learning_rate_changes = changes.iter().map(change).collect();
        run
    }

    #[test]
    fn undone_again_it_goes_further_back() {
        let mut changes = vec![(0.001, 0.002), (0.002, 0.004)];
        for expected in [0.002, 0.001] {
            let present = changes.last().unwrap().1;
            assert_eq!(rate_before_last_change(&run(&changes, present), None), Some(expected));
            changes.push((present, expected));
        }
        assert_eq!(rate_before_last_change(&run(&changes, 0.001), None), None);
        changes.push((0.001, 0.01));
        assert_eq!(rate_before_last_change(&run(&changes, 0.01), None), Some(0.001));
    }

    #[test]
    fn what_is_pending_is_undone_first() {
        let doubled = run(&[(0.001, 0.002)], 0.002);
        assert_eq!(rate_before_last_change(&doubled, Some(0.008)), Some(0.002));
        assert_eq!(rate_before_last_change(&doubled, Some(0.001)), None, "an undo that is under way");
        assert_eq!(rate_before_last_change(&RunState::default(), None), None);
    }

    #[test]
    fn under_a_moving_schedule_it_is_undone_in_proportion() {
        assert_eq!(rate_before_last_change(&run(&[(0.001, 0.002)], 0.0005), None), Some(0.00025));
    }
}
