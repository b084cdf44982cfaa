//! Turns the name of an interface into a pinned link that runs the program there, and takes such links away again.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aya::programs::{
    ProgramError, XdpMode as Flags,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
use nix::{libc, net::if_::if_nametoindex};
use tracing::{debug, info, warn};

use super::{
    Datapath,
    error::{DatapathError, chain, io_error},
    interface::{Mode, program_on},
    load, pins,
};
use crate::model::XdpMode;

/// An interface that runs the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The interface's name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// How the kernel runs the program there.
    pub mode: Mode,
}

/// What [`detach`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// Interfaces whose link was removed.
    pub interfaces: Vec<String>,
    /// Number of maps whose pin was removed.
    pub maps: usize,
    /// The pin directory was removed too: nothing else was in it.
    pub directory: bool,
}

/// How long the kernel may take from the removal of a pin to the end of its link; it does that in the background.
const LINK_END_MAX: Duration = Duration::from_secs(5);
/// Between two looks whether the link has ended.
const LINK_END_POLL: Duration = Duration::from_millis(5);

impl Datapath {
    /// Runs the program on an interface of this network namespace. Where an earlier process did so already, its link gets
    /// the new program at once, between two frames.
    ///
    /// # Errors
    /// [`DatapathError`]: no such interface, another program is there, or the driver refuses.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<Attached, DatapathError> {
        let attached = self.attach_program(interface, mode)?;
        self.forget_old_careful();
        Ok(attached)
    }

    fn attach_program(&mut self, interface: &str, mode: XdpMode) -> Result<Attached, DatapathError> {
        let ifindex = index_of(interface)?;
        let path = pins::link_path(&self.options.pin_dir, interface);
        if let Some(standing) = standing_link(&path, ifindex)? {
            if is_wanted(mode, standing.mode) {
                return self.take_over(interface, standing);
            }
            warn!(interface, mode = standing.mode.name(), "attaching anew in another mode; frames are lost meanwhile");
        }
        remove_link(&path)?;
        if let Some(other) = program_on(ifindex)
            .map_err(|error| DatapathError::of(format!("asking for the XDP program on {interface}"), &error))?
        {
            return Err(DatapathError::Occupied { interface: interface.to_owned(), program_id: other.program_id });
        }
        match mode {
            XdpMode::Native => self.attach_new(interface, ifindex, Mode::Native),
            XdpMode::Generic => self.attach_new(interface, ifindex, Mode::Generic),
            XdpMode::Auto => self.attach_new(interface, ifindex, Mode::Native).or_else(|native| {
                let attached = self.attach_new(interface, ifindex, Mode::Generic)?;
                warn!(interface, reason = %native, "running in generic mode, which is several times slower than native");
                Ok(attached)
            }),
        }
    }

    /// Every interface whose link is pinned and alive.
    ///
    /// # Errors
    /// [`DatapathError`], the kernel's.
    pub fn attached(&self) -> Result<Vec<Attached>, DatapathError> {
        let mut attached = Vec::new();
        for name in linked_interfaces(&self.options.pin_dir)? {
            let Ok(ifindex) = index_of(&name) else { continue };
            if let Some(standing) = standing_link(&pins::link_path(&self.options.pin_dir, &name), ifindex)? {
                attached.push(Attached { name, ifindex, mode: standing.mode });
            }
        }
        Ok(attached)
    }

    /// Takes the program off one interface; true when it had a link.
    ///
    /// # Errors
    /// [`DatapathError`], the kernel's.
    pub fn detach_interface(&mut self, interface: &str) -> Result<bool, DatapathError> {
        let removed = remove_link(&pins::link_path(&self.options.pin_dir, interface))?;
        if removed {
            info!(interface, "detached the XDP program");
            self.forget_old_careful();
        }
        Ok(removed)
    }

    fn take_over(&mut self, interface: &str, standing: Standing) -> Result<Attached, DatapathError> {
        let Standing { link, ifindex, mode } = standing;
        let failed = |error: ProgramError| DatapathError::of(format!("replacing the program on {interface}"), &error);
        let program = load::xdp_mut(&mut self.ebpf)?;
        let link = XdpLink::try_from(link)
            .map_err(|error| DatapathError::of(format!("using the link of {interface}"), &error))?;
        let id = program.attach_to_link(link).map_err(failed)?;
        // The pin holds the link from here on; closing our descriptor changes nothing.
        drop(program.take_link(id).map_err(failed)?);
        info!(interface, ifindex, mode = mode.name(), "replaced the XDP program through its link");
        Ok(Attached { name: interface.to_owned(), ifindex, mode })
    }

    fn attach_new(&mut self, interface: &str, ifindex: u32, mode: Mode) -> Result<Attached, DatapathError> {
        let path = pins::link_path(&self.options.pin_dir, interface);
        let flags = match mode {
            Mode::Native => Flags::Driver,
            Mode::Generic => Flags::Skb,
        };
        let refused = |error: ProgramError| match io_error(&error).raw_os_error() {
            Some(libc::EPERM) => DatapathError::NotPermitted { what: format!("XDP on {interface}") },
            _ => DatapathError::Refused { interface: interface.to_owned(), mode: mode.name(), reason: chain(&error) },
        };
        let program = load::xdp_mut(&mut self.ebpf)?;
        let id = program.attach_to_if_index(ifindex, flags).map_err(refused)?;
        let link = program.take_link(id).map_err(refused)?;
        // Where aya could only attach without a link there is nothing to pin: the error drops it, which detaches.
        let link = FdLink::try_from(link)
            .map_err(|error| DatapathError::of(format!("making a link for {interface}"), &error))?;
        // As above, the pin holds it.
        drop(link.pin(&path).map_err(|error| DatapathError::of(format!("pinning {}", path.display()), &error))?);
        debug!(interface, ifindex, mode = mode.name(), "attached the XDP program");
        Ok(Attached { name: interface.to_owned(), ifindex, mode })
    }
}

/// Takes the program off every interface and removes all pins and their directory. What is not there is no fault.
///
/// # Errors
/// [`DatapathError`], the kernel's.
pub fn detach(pin_dir: &Path) -> Result<Detached, DatapathError> {
    let failed = |error: io::Error| DatapathError::of(format!("removing the pins below {}", pin_dir.display()), &error);
    let mut detached = Detached::default();
    for interface in linked_interfaces(pin_dir)? {
        if remove_link(&pins::link_path(pin_dir, &interface))? {
            detached.interfaces.push(interface);
        }
    }
    detached.maps = pins::remove_maps(pin_dir).map_err(failed)?;
    detached.directory = match fs::remove_dir(pin_dir) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            warn!(path = %pin_dir.display(), "the directory holds pins of others and stays");
            false
        }
        Err(error) => return Err(failed(error)),
    };
    Ok(detached)
}

/// A pinned link that runs a program on the interface it was made for.
struct Standing {
    link: FdLink,
    ifindex: u32,
    mode: Mode,
}

/// The pinned link, when it still stands on this interface of this namespace; none when the interface was made anew.
fn standing_link(path: &Path, ifindex: u32) -> Result<Option<Standing>, DatapathError> {
    let failed = |error: io::Error| DatapathError::of(format!("asking about the link {}", path.display()), &error);
    if !path.exists() {
        return Ok(None);
    }
    let link = open_link(path)?;
    let target = target_of(&link).map_err(failed)?;
    let Some(on) = program_on(ifindex).map_err(failed)? else { return Ok(None) };
    // The index alone could be that of an interface in another namespace.
    match on.mode {
        Some(mode) if target.ifindex == ifindex && target.program_id == on.program_id => {
            Ok(Some(Standing { link, ifindex, mode }))
        }
        Some(_) | None => Ok(None),
    }
}

/// A handle of the link; closing it leaves the pin alone.
pub fn open_link(path: &Path) -> Result<FdLink, DatapathError> {
    PinnedLink::from_pin(path)
        .map(FdLink::from)
        .map_err(|error| DatapathError::of(format!("opening the link {}", path.display()), &error))
}

/// Removes a pinned link and returns when the program has left the interface; false when there was none.
fn remove_link(path: &Path) -> Result<bool, DatapathError> {
    let failed = |error: io::Error| DatapathError::of(format!("removing the link {}", path.display()), &error);
    if !path.exists() {
        return Ok(false);
    }
    let link = open_link(path)?;
    let target = target_of(&link).map_err(failed)?;
    drop(link);
    fs::remove_file(path).map_err(failed)?;
    let deadline = Instant::now() + LINK_END_MAX;
    while target.stands() {
        if Instant::now() > deadline {
            return Err(failed(io::Error::new(io::ErrorKind::TimedOut, "the program is still on the interface")));
        }
        thread::sleep(LINK_END_POLL);
    }
    Ok(true)
}

/// What a link is on.
struct Target {
    /// 0 when the interface is gone.
    ifindex: u32,
    program_id: u32,
}

impl Target {
    /// Whether the program still runs there.
    fn stands(&self) -> bool {
        // An interface that is gone, or is in another namespace, runs nothing that could be waited for.
        let on = program_on(self.ifindex).ok().flatten();
        self.ifindex != 0 && on.is_some_and(|on| on.program_id == self.program_id)
    }
}

/// Asks /proc, because aya's `LinkInfo` does not tell the interface: the kernel's `bpf_xdp_link_show_fdinfo` does.
fn target_of(link: &FdLink) -> io::Result<Target> {
    let info = link.info().map_err(|error| io_error(&error))?;
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // Other threads close descriptors meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
        if field("link_id:") == Some(info.id())
            && let Some(ifindex) = field("ifindex:")
        {
            return Ok(Target { ifindex, program_id: info.program_id() });
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "/proc/self/fdinfo does not tell the link's interface"))
}

fn index_of(interface: &str) -> Result<u32, DatapathError> {
    if_nametoindex(interface).map_err(|_| DatapathError::NoInterface { name: interface.to_owned() })
}

fn linked_interfaces(pin_dir: &Path) -> Result<Vec<String>, DatapathError> {
    pins::linked_interfaces(pin_dir)
        .map_err(|error| DatapathError::of(format!("listing {}", pin_dir.display()), &error))
}

fn is_wanted(wanted: XdpMode, present: Mode) -> bool {
    match wanted {
        XdpMode::Auto => true,
        XdpMode::Native => present == Mode::Native,
        XdpMode::Generic => present == Mode::Generic,
    }
}
