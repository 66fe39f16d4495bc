//! What `weave setup` looked at, as plain data: what follows from it is decided in [`judge`](mod@super::judge) without
//! looking again, so that each sentence can be tested on hosts that nobody has.

use std::path::PathBuf;

use super::firewall::Ruleset;
use super::system::System;
use crate::engine::EngineKind;

/// A host as far as weave depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Which distribution, for the commands that mend.
    pub(crate) system: System,
    /// What whoever asks may do.
    pub(crate) rights: Rights,
    /// `/dev/net/tun`.
    pub(crate) tun: Tun,
    /// Whether the kernel makes bridges and veths.
    pub(crate) devices: Devices,
    /// The kernel's release, as `6.1.0-18-amd64`.
    pub(crate) kernel: String,
    /// Whether bridged IPv4 and IPv6 meet iptables; `None` where br_netfilter is not loaded.
    pub(crate) bridge_netfilter: Option<[bool; 2]>,
    /// Whether there is an `iptables` to make rules with.
    pub(crate) iptables: bool,
    /// The container engine.
    pub(crate) engine: EngineFound,
    /// The port of the router.
    pub(crate) port: u16,
    /// Who has the port: TCP, then UDP.
    pub(crate) taken: [Taken; 2],
    /// What filters packets that come in.
    pub(crate) firewall: Firewall,
    /// Reverse path filters.
    pub(crate) reverse_path: ReversePath,
    /// Whether the clock is synchronised, and who says so.
    pub(crate) clock: Clock,
    /// The state folder.
    pub(crate) state: StateFolder,
    /// Room for it.
    pub(crate) disk: Disk,
    /// The device by which packets leave.
    pub(crate) way_out: WayOut,
}

/// What a process may do to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// All that it takes.
    Root,
    /// It is root by name, in a container.
    Caged,
    /// A user of this number.
    User(u32),
}

/// `/dev/net/tun`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tun {
    /// It can be opened.
    Opens,
    /// It is not there.
    Absent,
    /// It is there and can't be opened, for that reason.
    Refused(String),
}

/// Bridges and veths, tried in a network namespace that is gone afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Devices {
    /// Both can be made.
    Made,
    /// Not, for that reason.
    Refused(String),
    /// It takes rights to find out.
    Untried,
}

/// The container engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EngineFound {
    /// The user said that there is none.
    Unwanted,
    /// It answers.
    Answers {
        /// Which.
        kind: EngineKind,
        /// Its version.
        version: String,
        /// It runs without root.
        rootless: bool,
        /// It maps the users of its containers.
        remapped: bool,
    },
    /// Its program is not there; `None` where any would do.
    NotInstalled(Option<EngineKind>),
    /// Its program is there, and says why the engine is not.
    Silent {
        /// Which.
        kind: EngineKind,
        /// In its words.
        why: String,
    },
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nobody.
    Free,
    /// The router of this host.
    Ours,
    /// Somebody else; `None` where nobody tells who.
    By(Option<Program>),
    /// It can't be had, for that reason.
    Refused(String),
}

/// A running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its name.
    pub(crate) name: String,
    /// Its process.
    pub(crate) pid: u32,
}

/// What filters packets that come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Firewall {
    /// firewalld runs, and says of TCP and UDP whether the port is open.
    Firewalld([bool; 2]),
    /// The rules themselves; whether it is ufw that made them.
    Rules {
        /// ufw is active.
        ufw: bool,
        /// All that were found.
        rulesets: Vec<Ruleset>,
    },
    /// It takes rights to find out.
    Unknown,
}

/// Strict reverse path filters drop what comes by another device than the answer would leave by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReversePath {
    /// The filter of the device by which packets leave: 0 off, 1 strict, 2 loose (the larger of its own and of `all`).
    pub(crate) mode: u8,
    /// Devices with an address of their own by which peers could be reached.
    pub(crate) ways: usize,
}

/// The clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Somebody keeps it right.
    Synchronised,
    /// Nobody does.
    Free,
    /// Nobody tells.
    Unknown,
}

/// The state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateFolder {
    /// Where.
    pub(crate) path: PathBuf,
    /// What is there.
    pub(crate) content: Content,
}

/// What is at the state folder's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing yet.
    Nothing,
    /// Something that is no folder.
    NoFolder,
    /// It can't be looked into, for that reason.
    Closed(String),
    /// A folder.
    Folder(Folder),
}

/// A state folder that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Its permission bits.
    pub(crate) mode: u32,
    /// The user that owns it.
    pub(crate) owner: u32,
    /// Secret files in it that others may read.
    pub(crate) exposed: Vec<String>,
    /// It has an identity.
    pub(crate) identity: bool,
    /// It has a former identity, which another router had, too.
    pub(crate) former_identity: bool,
    /// Whether the machine that it was made on is this one, if both are known.
    pub(crate) same_machine: Option<bool>,
    /// The router that holds it, if another than the one that answers.
    pub(crate) held_by: Option<Program>,
}

/// Room where the state folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Bytes that are free; `None` where nobody tells.
    pub(crate) free_bytes: Option<u64>,
    /// Files that could be made; `None` where that is not counted.
    pub(crate) free_files: Option<u64>,
    /// It can only be read.
    pub(crate) read_only: bool,
}

/// The way to other networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WayOut {
    /// A default route.
    By {
        /// Its device.
        device: String,
        /// That device's MTU, or the route's own.
        mtu_bytes: u32,
    },
    /// There is none.
    Nowhere,
}
