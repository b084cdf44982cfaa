//! Turns a rate into how many events pass while the clock stands still: a bucket of one second's events, empty for good once they are spent (case 10).

/// Nanoseconds of a second: how far events may run ahead.
const BURST: u64 = 1_000_000_000;

/// What is left of a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Budget {
    /// Between two events; 0 for no limit.
    interval: u64,
    /// How far events have run ahead.
    ahead: u64,
}

impl Budget {
    /// So many events a second; 0 is no limit.
    pub fn per_second(events: u32) -> Self {
        Self { interval: BURST.checked_div(u64::from(events)).unwrap_or(0), ahead: 0 }
    }

    /// As much is spent as was before, unless the rate is another one.
    pub const fn after(self, before: Self) -> Self {
        Self { ahead: if self.interval == before.interval { before.ahead } else { 0 }, ..self }
    }

    /// Whether one more event passes.
    pub const fn has_one(&self) -> bool {
        self.interval == 0 || self.ahead + self.interval <= BURST
    }

    /// Takes one event.
    pub const fn spend(&mut self) {
        self.ahead += self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_events_a_second_pass_at_once_and_no_fourth() {
        let mut budget = Budget::per_second(3);
        let passed = (0..9).filter(|_| {
            let passes = budget.has_one();
            if passes {
                budget.spend();
            }
            passes
        });
        assert_eq!(passed.count(), 3);
    }
}
