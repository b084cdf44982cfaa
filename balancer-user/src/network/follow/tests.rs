//! A lost netlink connection is opened again. Needs root.

use super::*;
use crate::network::tests::lab::in_lab;

/// Breaks something, adds the default route, and expects the follower to see the change over a new connection.
fn check(break_it: fn(&mut Follower)) {
    in_lab(async move |lab| {
        let (_wanted, receiver) = watch::channel(Wanted::default());
        let (view, mut views) = watch::channel(NetworkView::default());
        let mut follower = Follower::open(receiver, view).await.unwrap();
        break_it(&mut follower);
        let follower = tokio::spawn(follower.run());

        lab.gateway("ip route add default via 10.9.0.2");

        let follows = views.wait_for(|view| view.clients_ipv4.default.is_some());
        let outcome = time::timeout(Duration::from_secs(3), follows).await.map(|view| drop(view.unwrap()));
        assert!(outcome.is_ok(), "no default route in the view");
        follower.abort();
    });
}

#[test]
fn root_lost_subscription_is_opened_again() {
    check(|follower| follower.events.sever());
}

#[test]
fn root_lost_connection_for_questions_is_opened_again() {
    check(|follower| follower.kernel.sever());
}
