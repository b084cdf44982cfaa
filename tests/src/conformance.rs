//! Turns what passing tests claim into the table of `docs/conformance.md`: which test proves which datapath case where.

pub mod cases;
pub mod matrix;

use std::{env, fs, fs::File, io::Write as _, path::PathBuf, thread};

use xtask::lab::Underlay;

use crate::frames::world::Shape;

/// Tells tests the directory for their claims; without it they claim nothing.
pub const DIRECTORY_VARIABLE: &str = "BALANCER_CONFORMANCE_DIR";

/// One column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// How packets are delivered.
    pub mode: Mode,
    /// Whether VIP and client speak IPv4.
    pub vip_ipv4: bool,
    /// Whether gateway and hosts do.
    pub underlay_ipv4: bool,
}

/// How packets are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Translated.
    Nat,
    /// As they are; the container answers.
    Dsr,
}

/// The running test proves these cases in these cells. Call it last: a test that fails has claimed nothing.
///
/// # Panics
/// When there is no such case, or the claim cannot be written.
pub fn proves(cases: &[u8], cells: impl IntoIterator<Item = impl Into<Cell>>) {
    let unknown = cases.iter().find(|case| !cases::CASES.iter().any(|known| known.number == **case));
    assert_eq!(unknown, None, "there is no such datapath case");
    let Some(directory) = env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from) else { return };
    let test = test_name();
    let file = directory.join(test.replace([':', ' '], "_"));
    let mut claims = String::new();
    for cell in cells.into_iter().map(Into::into) {
        cases.iter().for_each(|case| claims += &format!("{case} {} {test}\n", cell.name()));
    }
    let written = fs::create_dir_all(&directory)
        .and_then(|()| File::options().create(true).append(true).open(&file))
        .and_then(|mut file| file.write_all(claims.as_bytes()));
    written.unwrap_or_else(|error| panic!("write the claim {}: {error}", file.display()));
}

/// Both families of VIPs over one underlay, translated.
#[must_use]
pub fn over(underlay: Underlay) -> [Cell; 2] {
    [true, false].map(|vip_ipv4| Cell { mode: Mode::Nat, vip_ipv4, underlay_ipv4: underlay == Underlay::Ipv4 })
}

impl Cell {
    /// Every column, in the table's order.
    #[must_use]
    pub fn all() -> [Self; 8] {
        let [a, b, c, d] = Shape::ALL.map(Self::from);
        [a, b, c, d, a.direct(), b.direct(), c.direct(), d.direct()]
    }

    /// The same in mode `dsr`.
    #[must_use]
    pub fn direct(self) -> Self {
        Self { mode: Mode::Dsr, ..self }
    }

    /// How claims name it: `nat-4-6` is an IPv4 VIP over an IPv6 underlay.
    #[must_use]
    pub fn name(self) -> String {
        let mode = match self.mode {
            Mode::Nat => "nat",
            Mode::Dsr => "dsr",
        };
        let family = |ipv4| if ipv4 { 4 } else { 6 };
        format!("{mode}-{}-{}", family(self.vip_ipv4), family(self.underlay_ipv4))
    }

    /// The cell of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|cell| cell.name() == name)
    }
}

impl From<Shape> for Cell {
    fn from(shape: Shape) -> Self {
        Self { mode: Mode::Nat, vip_ipv4: shape.vip_ipv4, underlay_ipv4: shape.underlay_ipv4 }
    }
}

/// The running test: `frames vlan::tags_are_taken_off`. The harness names each test's thread after the test.
fn test_name() -> String {
    let binary =
        env::current_exe().ok().and_then(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    let binary =
        binary.as_deref().and_then(|stem| stem.rsplit_once('-')).map_or("unknown", |(name, _)| name).to_owned();
    let thread = thread::current();
    format!("{binary} {}", thread.name().expect("the harness names the threads of tests"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_cells_lead_back_to_them() {
        for cell in Cell::all() {
            assert_eq!(Cell::named(&cell.name()), Some(cell));
        }
        assert_eq!(Cell::named("nat-4-5"), None);
    }

    #[test]
    fn the_running_test_is_known_by_name() {
        assert_eq!(test_name(), "balancer_tests conformance::tests::the_running_test_is_known_by_name");
    }
}
