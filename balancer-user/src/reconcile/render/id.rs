//! Turns the ids in use into the ids that are free, lowest first. Id 0 is never given out.

/// Free ids of one map.
pub(super) struct Pool {
    taken: Vec<bool>,
    next: usize,
}

impl Pool {
    /// Of a map with `len` entries.
    pub(super) fn new(len: u32, used: impl IntoIterator<Item = u32>) -> Self {
        let mut taken = vec![false; len as usize];
        for id in used {
            taken[id as usize] = true;
        }
        Self { taken, next: 1 }
    }

    /// The next free id, none when all are used.
    pub(super) fn take(&mut self) -> Option<u32> {
        while *self.taken.get(self.next)? {
            self.next += 1;
        }
        self.next += 1;
        Some(self.next as u32 - 1)
    }
}
