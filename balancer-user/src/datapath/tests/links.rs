//! Turns attaching, replacing and detaching into what the kernel says runs on an interface of a namespace of the test's own.

use std::time::Duration;

use super::lab::{PinDir, add_veth, enter_namespace, ip};
use crate::{
    datapath::{Attached, Datapath, DatapathError, Detached, Mode, detach, interface::program_on, pins},
    model::XdpMode,
};

fn program_id(datapath: &Datapath) -> u32 {
    datapath.status().unwrap().id
}

fn on(attached: &Attached) -> Option<u32> {
    program_on(attached.ifindex).unwrap().map(|on| on.program_id)
}

#[test]
fn root_the_program_outlives_the_process_and_is_replaced_through_its_link() {
    enter_namespace();
    let pins = PinDir::new();
    let mut first = pins.open();
    let attached = first.attach("near", XdpMode::Auto).unwrap();
    assert_eq!((attached.name.as_str(), attached.mode), ("near", Mode::Native));
    assert_eq!(on(&attached), Some(program_id(&first)));
    let old = program_id(&first);
    drop(first);
    assert_eq!(on(&attached), Some(old), "dropping detaches nothing");

    let mut second = pins.open();
    assert_eq!(on(&attached), Some(old), "opening replaces nothing");
    assert_eq!(second.attach("near", XdpMode::Native).unwrap(), attached);
    assert_ne!(program_id(&second), old);
    assert_eq!(on(&attached), Some(program_id(&second)));
    assert_eq!(second.attached().unwrap(), std::slice::from_ref(&attached));
    assert_eq!(second.status().unwrap().attached, std::slice::from_ref(&attached));
    drop(second);
    assert!(on(&attached).is_some());
    let removed = detach(pins.path()).unwrap();
    assert_eq!(
        removed,
        Detached { interfaces: vec!["near".to_owned()], maps: pins::map_names().count() + 1, directory: true }
    );
    assert_eq!(on(&attached), None);
    assert_eq!(detach(pins.path()).unwrap(), Detached::default());
}

#[test]
fn root_an_interface_made_anew_is_attached_anew() {
    enter_namespace();
    let pins = PinDir::new();
    let mut datapath = pins.open();
    let before = datapath.attach("near", XdpMode::Auto).unwrap();
    ip("link del near");
    assert_eq!(datapath.attached().unwrap(), []);
    add_veth();
    let after = datapath.attach("near", XdpMode::Auto).unwrap();
    assert_ne!(before.ifindex, after.ifindex);
    assert_eq!(on(&after), Some(program_id(&datapath)));
}

#[test]
fn root_a_link_follows_its_interface_not_its_name() {
    enter_namespace();
    let pins = PinDir::new();
    let mut datapath = pins.open();
    let was_near = datapath.attach("near", XdpMode::Auto).unwrap();
    ip("link set near down");
    ip("link set near name old");
    ip("link set far down");
    ip("link set far name near");
    ip("link set old up");
    ip("link set near up");
    let now_near = datapath.attach("near", XdpMode::Auto).unwrap();
    assert_eq!(on(&now_near), Some(program_id(&datapath)));
    assert_eq!(on(&was_near), None, "the old interface is no longer configured under this name");
}

#[test]
fn root_modes_are_kept_by_auto_and_changed_on_demand() {
    enter_namespace();
    let pins = PinDir::new();
    let mut datapath = pins.open();
    for (wanted, expected) in [
        (XdpMode::Generic, Mode::Generic),
        (XdpMode::Auto, Mode::Generic),
        (XdpMode::Native, Mode::Native),
        (XdpMode::Auto, Mode::Native),
    ] {
        let attached = datapath.attach("near", wanted).unwrap();
        assert_eq!(attached.mode, expected, "{wanted:?}");
        assert_eq!(program_on(attached.ifindex).unwrap().and_then(|on| on.mode), Some(expected));
    }
    // The loopback has no driver that could run XDP.
    assert_eq!(datapath.attach("lo", XdpMode::Auto).unwrap().mode, Mode::Generic);
    assert!(datapath.detach_interface("lo").unwrap());
    assert!(!datapath.detach_interface("lo").unwrap());
    let error = datapath.attach("lo", XdpMode::Native).err().unwrap();
    assert!(matches!(error, DatapathError::Refused { .. }), "{error}");
}

#[test]
fn root_another_program_is_named_and_left_alone() {
    enter_namespace();
    let (ours, theirs) = (PinDir::new(), PinDir::new());
    let mut other = theirs.open();
    let attached = other.attach("near", XdpMode::Auto).unwrap();
    let mut datapath = ours.open();
    let error = datapath.attach("near", XdpMode::Auto).err().unwrap();
    assert!(
        matches!(error, DatapathError::Occupied { program_id, .. } if program_id == self::program_id(&other)),
        "{error}"
    );
    assert_eq!(on(&attached), Some(program_id(&other)));
    let error = datapath.attach("nowhere", XdpMode::Auto).err().unwrap();
    assert!(matches!(error, DatapathError::NoInterface { .. }), "{error}");
}

#[test]
fn root_vlan_like_names_can_be_pinned() {
    enter_namespace();
    ip("link set far down");
    ip("link set far name eth0.100");
    ip("link set eth0.100 up");
    let pins = PinDir::new();
    let mut datapath = pins.open();
    let attached = datapath.attach("eth0.100", XdpMode::Auto).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(datapath.attached().unwrap(), [attached]);
}
