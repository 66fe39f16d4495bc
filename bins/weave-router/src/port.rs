//! The frame port: a TAP, on a bridge or on its own, set up by netlink; or an existing device, by packet capture.

use std::io;
use std::os::fd::AsFd;

use weave_core::FrameIo;
use weave_io::host::{self, Ensured, Netlink};
use weave_io::{BridgePort, FramePort, Tap, TapConfig, TapError};
#[cfg(feature = "pcap")]
use weave_io::{PcapError, PcapPort};
use weave_mesh::Target;

use crate::failure::words;
use crate::frame_log::FrameLog;
use crate::options::DEVICE_NAME_BYTES_MAX;
use crate::underlay::Underlay;
use crate::{Failure, Options};

/// Where frames come from and go to, as the options ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortKind {
    /// A TAP of this name on a bridge.
    Bridge {
        /// The bridge.
        bridge: String,
        /// The TAP.
        tap: String,
    },
    /// A TAP of this name, on no bridge.
    Tap(String),
    /// An existing device of this name, by packet capture.
    Pcap(String),
    /// Nowhere: a pure relay.
    None,
}

/// A frame port that this process holds.
#[derive(Debug)]
pub(crate) enum LocalPort {
    /// A TAP that it made.
    Tap(Tap),
    /// A device that it captures from.
    #[cfg(feature = "pcap")]
    Pcap(PcapPort),
}

impl LocalPort {
    /// The port as a router runs it, for containers of that MTU; with `logged`, each frame is a line of the log.
    ///
    /// # Errors
    /// When the process has too many files open.
    #[cfg_attr(
        not(feature = "pcap"),
        expect(unused_variables, reason = "a TAP's super-frames say how to be cut")
    )]
    pub(crate) fn into_frame_port(self, mtu_bytes: u16, logged: bool) -> io::Result<FramePort> {
        match self {
            Self::Tap(tap) => frame_port(tap, logged),
            #[cfg(feature = "pcap")]
            Self::Pcap(port) => frame_port(port.with_segment_mtu(mtu_bytes), logged),
        }
    }
}

fn frame_port<F: FrameIo + AsFd + Send + 'static>(io: F, logged: bool) -> io::Result<FramePort> {
    if logged {
        FramePort::with_descriptor(FrameLog(io))
    } else {
        FramePort::with_descriptor(io)
    }
}

impl PortKind {
    /// What the options ask for.
    pub(crate) fn of(options: &Options) -> Self {
        if options.no_port {
            return Self::None;
        }
        match (&options.pcap, &options.tap) {
            (Some(device), _) => Self::Pcap(device.clone()),
            (None, Some(tap)) => Self::Tap(tap.clone()),
            (None, None) => Self::Bridge {
                bridge: options.bridge.clone(),
                tap: tap_name(&options.bridge),
            },
        }
    }

    /// In words, for status; none for a pure relay.
    pub(crate) fn words(&self) -> Option<String> {
        match self {
            Self::Bridge { bridge, tap } => Some(format!("tap {tap} on bridge {bridge}")),
            Self::Tap(tap) => Some(format!("tap {tap}")),
            Self::Pcap(device) => Some(format!("pcap on {device}")),
            Self::None => None,
        }
    }

    /// The devices that belong to the overlay.
    pub(crate) fn devices(&self) -> Vec<&str> {
        match self {
            Self::Bridge { bridge, tap } => vec![bridge, tap],
            Self::Tap(name) | Self::Pcap(name) => vec![name],
            Self::None => Vec::new(),
        }
    }

    /// The bridge to be watched, and the TAP on it.
    pub(crate) fn bridge_port(&self) -> Option<BridgePort> {
        let (bridge, port) = self.names()?;
        Some(BridgePort {
            bridge: bridge?.to_owned(),
            port: port.to_owned(),
        })
    }

    /// Makes the TAP, on no bridge yet, and looks whether there is a bridge in its way that is none; or begins to
    /// capture. Nothing is left behind when the port is dropped.
    ///
    /// # Errors
    /// What the system refused, and what to do.
    pub(crate) fn open(&self) -> Result<Option<LocalPort>, Failure> {
        if let Self::Pcap(device) = self {
            return open_pcap(device).map(Some);
        }
        let Some((bridge, name)) = self.names() else {
            return Ok(None);
        };
        // First of all, because it needs the same right as all the rest and says so best.
        let tap = Tap::open(TapConfig {
            name: name.to_owned(),
            offload: true,
        })
        .map_err(|error| tap_failure(name, &error))?;
        if let Some(bridge) = bridge {
            Netlink::open()
                .and_then(|netlink| netlink.check_bridge(bridge))
                .map_err(|error| plumbing_failure(bridge, &error))?;
        }
        Ok(Some(LocalPort::Tap(tap)))
    }

    /// Refuses a capture from the device that leads to the peers: the mesh would carry its own packets, and the
    /// addresses by which peers reach this host would count as the overlay's.
    ///
    /// # Errors
    /// That device.
    pub(crate) fn check_underlay(
        &self,
        targets: &[Target],
        underlay: &Underlay,
    ) -> Result<(), Failure> {
        let Self::Pcap(device) = self else {
            return Ok(());
        };
        let is_underlay = match &underlay.device {
            Some(way) => way == device,
            // Nothing else leads anywhere.
            None => Underlay::find(targets, &[]).device.as_ref() == Some(device),
        };
        if !is_underlay {
            return Ok(());
        }
        Err(Failure::new(
            format!("cannot capture from {device}"),
            "the way to the peers leads through it, so the mesh would carry its own packets",
            "name an interface to --pcap that the mesh itself does not need, or use --bridge NAME",
        ))
    }

    /// Makes the bridge if there is none, puts the TAP on it, and switches it on. Nothing but the bridge is left
    /// behind by a failure, once the TAP is dropped.
    ///
    /// # Errors
    /// What the system refused, and what to do.
    pub(crate) fn connect(&self, mtu_bytes: u16) -> Result<(), Failure> {
        let Some((bridge, name)) = self.names() else {
            return Ok(());
        };
        let plumbing = Netlink::open().and_then(|netlink| {
            match bridge {
                Some(bridge) => {
                    if netlink.ensure_bridge(bridge, None)? == Ensured::Created {
                        tracing::info!("made the bridge {bridge}");
                    }
                    netlink.attach(bridge, name)?;
                    netlink.configure_tap_port(name, TAP_MTU_BYTES)?;
                    // The host's own packets, when it has an address on the bridge, are no larger than a
                    // container's.
                    netlink.set_mtu(bridge, mtu_bytes.into())?;
                }
                None => {
                    netlink.set_mtu(name, mtu_bytes.into())?;
                    netlink.set_up(name)?;
                }
            }
            Ok(())
        });
        plumbing.map_err(|error| plumbing_failure(bridge.unwrap_or(name), &error))
    }

    /// The bridge, if any, and the TAP, where there is one.
    fn names(&self) -> Option<(Option<&str>, &str)> {
        match self {
            Self::None | Self::Pcap(_) => None,
            Self::Tap(name) => Some((None, name)),
            Self::Bridge { bridge, tap } => Some((Some(bridge), tap)),
        }
    }
}

/// The TAP's MTU on a bridge: a super-frame's 65,535 bytes less its Ethernet header; the bridge drops a larger
/// frame in silence.
const TAP_MTU_BYTES: u32 = 65_521;

/// The name of the TAP on `bridge`: the bridge's with `-tap` behind it, where that fits in the 15 bytes of a
/// device's name; else the start of it and a checksum, so that it is still the bridge's own.
pub(crate) fn tap_name(bridge: &str) -> String {
    const SUFFIX: &str = "-tap";
    if bridge.len() + SUFFIX.len() <= DEVICE_NAME_BYTES_MAX {
        return format!("{bridge}{SUFFIX}");
    }
    let mut start = 4;
    while !bridge.is_char_boundary(start) {
        start -= 1;
    }
    // FNV-1a, folded to 24 bits: six digits, which with the start, a dash and the suffix make 15.
    let hash = bridge.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let folded = (hash ^ (hash >> 24)) & 0x00ff_ffff;
    format!("{}-{folded:06x}{SUFFIX}", &bridge[..start])
}

#[cfg(feature = "pcap")]
fn open_pcap(device: &str) -> Result<LocalPort, Failure> {
    let port = PcapPort::open(device).map_err(|error| pcap_failure(device, &error))?;
    Ok(LocalPort::Pcap(port))
}

/// [`Options::check`] has refused it before.
#[cfg(not(feature = "pcap"))]
fn open_pcap(device: &str) -> Result<LocalPort, Failure> {
    Err(Failure::usage(
        format!("cannot capture from {device}"),
        "this program was built without the feature pcap",
        "",
    ))
}

#[cfg(feature = "pcap")]
fn pcap_failure(device: &str, error: &PcapError) -> Failure {
    let (why, remedy) = match error {
        PcapError::UnknownDevice(_) => (
            "there is no network device of that name".to_owned(),
            "see ip link for those that there are".to_owned(),
        ),
        PcapError::NotPermitted(_) => (
            "it needs the right CAP_NET_RAW".to_owned(),
            "run it as root, or as a container with --cap-add NET_RAW".to_owned(),
        ),
        PcapError::Down(_) => (
            "the device is down".to_owned(),
            format!("switch it on first: ip link set {device} up"),
        ),
        PcapError::NotEthernet(_) => (
            "it carries no Ethernet frames between stations".to_owned(),
            "name an Ethernet interface, a bridge or one end of a veth".to_owned(),
        ),
        PcapError::System { source, .. } => (words(source), String::new()),
        PcapError::Capture { reason, .. } => (reason.clone(), String::new()),
        _ => (error.to_string(), String::new()),
    };
    Failure::new(format!("cannot capture from {device}"), why, remedy)
}

fn tap_failure(name: &str, error: &TapError) -> Failure {
    let what = format!("cannot make the TAP {name}");
    match error {
        TapError::NoDriver => Failure::new(
            what,
            "there is no /dev/net/tun",
            "load the kernel module (modprobe tun), give the container --device /dev/net/tun, or relay only with --no-port",
        ),
        TapError::NotPermitted(_) => Failure::new(
            what,
            "it needs the right CAP_NET_ADMIN",
            "run it as root, or as a container with --cap-add NET_ADMIN, or relay only with --no-port",
        ),
        TapError::NameTaken(_) => Failure::new(
            what,
            "there is a network device of that name already, another router's perhaps",
            "stop that one, or choose another --bridge or --tap",
        ),
        TapError::System { source, .. } => {
            Failure::new(what, words(source), "choose another --bridge or --tap")
        }
        TapError::BadName(_) | _ => {
            Failure::new(what, error.to_string(), "choose another --bridge or --tap")
        }
    }
}

fn plumbing_failure(device: &str, error: &host::Error) -> Failure {
    let is_permission =
        matches!(error, host::Error::Refused { reason, .. } if reason.is_permission());
    let is_read_only =
        matches!(error, host::Error::Refused { reason, .. } if reason.is_read_only());
    let remedy = if matches!(error, host::Error::NotABridge { .. }) {
        "choose another --bridge, or remove that device"
    } else if is_permission {
        "run it as root, or as a container with --cap-add NET_ADMIN, or relay only with --no-port"
    } else if is_read_only {
        "a container cannot make the bridge: have the host make it first, as weave launch does"
    } else {
        "choose another --bridge or --tap, or relay only with --no-port"
    };
    Failure::new(format!("cannot set up {device}"), error.to_string(), remedy)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_taps_name_is_its_bridges_and_fits() {
        assert_eq!(tap_name("weave"), "weave-tap");
        assert_eq!(tap_name("elevenbytes"), "elevenbytes-tap");
        let long: BTreeSet<String> = (0..1000)
            .map(|n| tap_name(&format!("customer-{n:05}")))
            .collect();
        assert_eq!(long.len(), 1000);
        for name in long
            .iter()
            .cloned()
            .chain([tap_name("äöüäöüä"), tap_name("abcäöüäöüx")])
        {
            assert!(name.len() <= DEVICE_NAME_BYTES_MAX, "{name}");
            assert!(name.ends_with("-tap"), "{name}");
        }
    }
}
