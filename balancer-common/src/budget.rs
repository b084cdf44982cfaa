//! Turns a rate and the time into yes or no for one more event: a generic cell rate algorithm of one word.
//!
//! Source: ITU-T I.371 Annex A (virtual scheduling). One word of state means that CPUs that race may let one event more
//! pass, never leave the state torn.

/// The state after one more event at `now_ns`; none when the budget is spent.
///
/// `spent_until_ns` is the state so far, 0 at first. An `interval_ns` of 0 is no limit: the caller asks nothing then.
#[must_use]
#[inline(always)]
pub const fn spend(spent_until_ns: u64, now_ns: u64, interval_ns: u64, burst_ns: u64) -> Option<u64> {
    let from = if spent_until_ns > now_ns { spent_until_ns } else { now_ns };
    let until = from.wrapping_add(interval_ns);
    if until.wrapping_sub(now_ns) > burst_ns { None } else { Some(until) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_passes_at_once_and_then_the_rate() {
        let (mut state, interval, burst) = (0, 10, 50);
        let mut passed = 0;
        for now in (1000..1200).step_by(1) {
            if let Some(next) = spend(state, now, interval, burst) {
                state = next;
                passed += 1;
            }
        }
        // Five at once, then one every ten.
        assert_eq!(passed, 5 + 19);
    }

    #[test]
    fn budget_that_rested_has_its_burst_again_and_no_more() {
        let mut state = spend(0, 100, 10, 30).expect("the first passes");
        for _ in 0..2 {
            state = spend(state, 100, 10, 30).expect("within the burst");
        }
        assert_eq!(spend(state, 100, 10, 30), None);
        for _ in 0..3 {
            state = spend(state, 1_000_000, 10, 30).expect("rested");
        }
        assert_eq!(spend(state, 1_000_000, 10, 30), None);
    }
}
