//! Turns starts of the daemon that end at any step into frames that reach the careful program all the same.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use balancer_tests::frames::{
    gateway::{Gateway, program_file},
    programs::{Input, Program, Programs},
    world::Shape,
};
use balancer_user::{
    datapath::{Datapath, Options, detach},
    model::XdpMode,
};

const CAREFUL_MISSING: &str = "careful_missing";

/// A client's first fragment, which only the careful program understands.
fn careful_frame() -> Result<Vec<u8>> {
    let shape = Shape::ALL.into_iter().find(|shape| shape.vip_ipv4 && shape.underlay_ipv4);
    let mut packet = shape.expect("IPv4 over IPv4 is a shape").datagram(0);
    packet.fragment = 0x2000;
    Ok(packet.padded())
}

/// The one reason that a loaded program counts for it, run by its id as an interface runs it.
fn reason(gateway: &Gateway, program: u32) -> Result<&'static str> {
    let mut programs = Programs::load()?;
    programs.test(&program_file(program)?)?;
    let before = gateway.reasons()?;
    let frame = careful_frame()?;
    programs.run(Program::Poison, Input { frame: &frame, ingress: gateway.ports.public, linear: frame.len() })?;
    let counted = gateway.reasons()?.into_iter().filter(|(reason, count)| before.get(reason) != Some(count));
    let counted: Vec<_> = counted.map(|(reason, _)| reason).collect();
    ensure!(counted.len() == 1, "counted {counted:?}");
    Ok(counted[0])
}

/// How many arrays that lead to careful programs are pinned.
fn pins(pin_dir: &Path) -> Result<usize> {
    let names: Vec<_> = std::fs::read_dir(pin_dir)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    Ok(names.iter().filter(|name| name.to_string_lossy().starts_with("CAREFUL-")).count())
}

/// A start of the daemon that runs the program on so many interfaces, then is killed. Returns the program's id.
fn killed_after(options: &Options, interfaces: &[&str]) -> Result<u32> {
    let mut datapath = Datapath::open(options)?;
    for interface in interfaces {
        datapath.attach(interface, XdpMode::Native)?;
    }
    Ok(datapath.status()?.id)
}

#[test]
fn restart_killed_at_any_step_keeps_every_interface_careful() -> Result<()> {
    let mut gateway = Gateway::start()?;
    let gateway_settings = &gateway.desired.gateway;
    let options = Options { pin_dir: gateway_settings.pin_dir.clone(), flows_max: gateway_settings.flows_max };
    let expected = reason(&gateway, gateway.datapath.status()?.id)?;
    assert_ne!(expected, CAREFUL_MISSING);
    // From here on only the pins hold anything.
    gateway.datapath = Datapath::open_maps(&options)?;

    let first = killed_after(&options, &["pub0", "und0"])?;
    assert_eq!((reason(&gateway, first)?, pins(&options.pin_dir)?), (expected, 1), "started and killed");

    killed_after(&options, &[])?;
    assert_eq!((reason(&gateway, first)?, pins(&options.pin_dir)?), (expected, 2), "killed before it attached");

    let second = killed_after(&options, &["pub0"])?;
    assert_ne!(first, second);
    for program in [first, second] {
        assert_eq!((reason(&gateway, program)?, pins(&options.pin_dir)?), (expected, 2), "killed between interfaces");
    }

    killed_after(&options, &[])?;
    for program in [first, second] {
        assert_eq!((reason(&gateway, program)?, pins(&options.pin_dir)?), (expected, 3), "three loads");
    }

    let last = killed_after(&options, &["pub0", "und0"])?;
    assert_eq!((reason(&gateway, last)?, pins(&options.pin_dir)?), (expected, 1), "one load on every interface");
    Ok(())
}

/// What the pins are for: without one the kernel empties the array.
#[test]
fn program_without_its_pin_drops_careful_frames_under_a_name() -> Result<()> {
    let mut gateway = Gateway::start()?;
    let settings = &gateway.desired.gateway;
    let options = Options { pin_dir: settings.pin_dir.clone(), flows_max: settings.flows_max };
    gateway.datapath = Datapath::open_maps(&options)?;
    let program = killed_after(&options, &["pub0"])?;
    let running = program_file(program)?;
    assert_ne!(reason(&gateway, program)?, CAREFUL_MISSING);
    detach(&options.pin_dir)?;
    assert!(!options.pin_dir.exists(), "nothing is left pinned");
    let deadline = Instant::now() + Duration::from_secs(10);
    // The kernel does it in the background (`prog_array_map_clear_deferred`).
    while reason(&gateway, program)? != CAREFUL_MISSING {
        ensure!(Instant::now() < deadline, "the array is still full");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(running);
    Ok(())
}
