//! Tables: neighbour table and time in, requests out.

use super::*;

const KEY: NeighbourKey = (2, std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

fn entry(standing: Standing, managed: bool) -> Option<Neighbour> {
    Some(Neighbour { mac: Some([2; 6]), standing, managed })
}

fn table(entry: Option<Neighbour>) -> Neighbours {
    entry.map(|neighbour| (KEY, neighbour)).into_iter().collect()
}

fn wanted() -> BTreeSet<NeighbourKey> {
    BTreeSet::from([KEY])
}

/// What is asked in the first 3 seconds, as milliseconds and "the entry exists", when the table stays as it is.
fn check(entry: Option<Neighbour>, expected: &[(u64, bool)]) {
    let start = Instant::now();
    let (mut resolver, mut asked) = (Resolver::default(), Vec::new());
    for at in (0..3_000).step_by(50) {
        let now = start + Duration::from_millis(at);
        resolver.update(&wanted(), &table(entry), now);
        for request in resolver.due(now) {
            let Request::Resolve { key: KEY, exists } = request else { panic!("{request:?}") };
            asked.push((at, exists));
        }
    }
    assert_eq!(asked, expected, "{entry:?}");
}

#[test]
fn unresolved_neighbours_are_asked_for_with_growing_pauses() {
    let times = [0, 100, 300, 700, 1_500, 2_500];
    check(None, &times.map(|at| (at, false)));
    check(entry(Standing::Unresolved, false), &times.map(|at| (at, true)));
    check(entry(Standing::Unresolved, true), &times.map(|at| (at, true)));
}

#[test]
fn learned_neighbours_are_put_into_the_kernels_care_once() {
    check(entry(Standing::Learned, true), &[]);
    check(entry(Standing::Learned, false), &[(0, true)]);
}

#[test]
fn permanent_neighbours_are_left_alone() {
    check(entry(Standing::Fixed, false), &[]);
    check(entry(Standing::Fixed, true), &[]);
}

#[test]
fn a_neighbour_that_is_lost_again_is_asked_for_at_once() {
    let (start, mut resolver) = (Instant::now(), Resolver::default());
    resolver.update(&wanted(), &table(entry(Standing::Learned, false)), start);
    assert_eq!(resolver.due(start).len(), 1);

    let later = start + Duration::from_millis(10);
    resolver.update(&wanted(), &table(entry(Standing::Unresolved, true)), later);

    assert_eq!(resolver.next_at(later), Some(later));
    assert_eq!(resolver.due(later), [Request::Resolve { key: KEY, exists: true }]);
}

/// What follows when a neighbour that was (`asked`) put into the kernel's care is no longer wanted.
fn check_release(asked: bool, entry: Option<Neighbour>, expected: &[Request]) {
    let (now, mut resolver) = (Instant::now(), Resolver::default());
    if asked {
        resolver.update(&wanted(), &table(None), now);
        resolver.due(now);
    }
    resolver.update(&BTreeSet::new(), &table(entry), now);
    assert_eq!(resolver.next_at(now), (!expected.is_empty()).then_some(now));
    assert_eq!(resolver.due(now), expected);
    assert_eq!(resolver.next_at(now), None);
}

#[test]
fn only_what_was_put_into_the_kernels_care_here_is_released() {
    check_release(true, entry(Standing::Learned, true), &[Request::Release { key: KEY }]);
    check_release(true, entry(Standing::Fixed, false), &[]);
    check_release(true, None, &[]);
    check_release(false, entry(Standing::Learned, true), &[]);
}
