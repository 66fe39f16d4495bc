//! Makes a failing scenario smaller while the same checker still finds something.

use super::{Failure, Scenario, Step, run};

/// A smaller scenario that fails the same way, found within so many runs: steps, transfers, containers, NAT
/// boxes, and routers at the end are left out one by one as long as the checker still objects.
///
/// For failures of [`Scenario::from_seed`]; proptest shrinks its own.
pub fn shrink(failure: Box<Failure>, runs_max: usize) -> Box<Failure> {
    let mut smallest = failure;
    let mut runs = 0;
    loop {
        let mut is_smaller = false;
        let mut next = 0;
        while let Some(candidate) = candidate(&smallest.scenario, next) {
            if runs >= runs_max {
                return smallest;
            }
            runs += 1;
            match run(&candidate) {
                Err(failure) if failure.violation.checker == smallest.violation.checker => {
                    smallest = failure;
                    is_smaller = true;
                }
                Err(_) | Ok(_) => next += 1,
            }
        }
        if !is_smaller {
            return smallest;
        }
    }
}

/// The scenario without its `index`th part; none when there are no more parts.
fn candidate(scenario: &Scenario, index: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let removable = scenario
        .steps
        .iter()
        .filter(|(_, step)| *step != Step::End)
        .count();
    if index < removable {
        // The time is kept, so that what follows comes as it came.
        let (delay, _) = smaller.steps.remove(index);
        if let Some((next, _)) = smaller.steps.get_mut(index) {
            *next += delay;
        }
        return Some(smaller);
    }
    let index = index - removable;
    if index == 0 {
        let last = scenario.routers.checked_sub(1).filter(|last| *last > 0)?;
        smaller.routers = last;
        smaller.knows.retain(|(a, b)| a.0 < last && b.0 < last);
        smaller.hosts.retain(|host| host.0 < last);
        for (inside, _) in &mut smaller.nats {
            inside.retain(|router| router.0 < last);
        }
        smaller.nats.retain(|(inside, _)| !inside.is_empty());
        smaller
            .latencies
            .retain(|(a, b), _| a.0 < last && b.0 < last);
        return Some(smaller);
    }
    let index = index - 1;
    if let Some(host) = scenario.hosts.iter().nth(index) {
        smaller.hosts.remove(host);
        return Some(smaller);
    }
    let index = index - scenario.hosts.len();
    if index < scenario.nats.len() {
        smaller.nats.remove(index);
        return Some(smaller);
    }
    let index = index - scenario.nats.len();
    let pair = scenario.latencies.keys().nth(index)?;
    smaller.latencies.remove(pair);
    Some(smaller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_can_be_left_out_and_the_text_stays_readable() {
        for seed in 0..50 {
            let scenario = Scenario::from_seed(seed);
            let mut index = 0;
            while let Some(smaller) = candidate(&scenario, index) {
                assert_ne!(smaller, scenario);
                assert_eq!(smaller.to_string().parse(), Ok(smaller));
                index += 1;
            }
            assert!(index >= scenario.hosts.len());
        }
    }
}
