//! The frame port: a TAP, on a bridge or on its own, set up by netlink.

use weave_io::host::{self, Ensured, Netlink};
use weave_io::{BridgePort, Tap, TapConfig, TapError};

use crate::failure::words;
use crate::options::DEVICE_NAME_BYTES_MAX;
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
    /// Nowhere: a pure relay.
    None,
}

impl PortKind {
    /// What the options ask for.
    pub(crate) fn of(options: &Options) -> Self {
        if options.no_port {
            return Self::None;
        }
        match &options.tap {
            Some(tap) => Self::Tap(tap.clone()),
            None => Self::Bridge {
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
            Self::None => None,
        }
    }

    /// The devices that belong to the overlay.
    pub(crate) fn devices(&self) -> Vec<&str> {
        match self {
            Self::Bridge { bridge, tap } => vec![bridge, tap],
            Self::Tap(tap) => vec![tap],
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

    /// Makes the TAP, on no bridge yet, and looks whether there is a bridge in its way that is none. Nothing is left
    /// behind when the TAP is dropped.
    ///
    /// # Errors
    /// What the system refused, and what to do.
    pub(crate) fn open(&self) -> Result<Option<Tap>, Failure> {
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
        Ok(Some(tap))
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

    /// The bridge, if any, and the TAP.
    fn names(&self) -> Option<(Option<&str>, &str)> {
        match self {
            Self::None => None,
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
    let remedy = if matches!(error, host::Error::NotABridge { .. }) {
        "choose another --bridge, or remove that device"
    } else if is_permission {
        "run it as root, or as a container with --cap-add NET_ADMIN, or relay only with --no-port"
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
