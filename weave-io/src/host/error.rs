//! What can go wrong on the host, in words that name the device and the kernel's reason.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use nix::errno::Errno;
use rtnetlink::packet_core::ErrorMessage;

use super::Cidr;

/// Why an operation on the host failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused it, or couldn't be asked.
    #[error("cannot {action} {object}: {reason}")]
    Refused {
        /// What was tried, as a verb.
        action: &'static str,
        /// The device, namespace or setting it was tried on.
        object: String,
        /// What the kernel said.
        reason: Reason,
    },
    /// No such device in this namespace.
    #[error("there is no network device {device} here")]
    NoDevice {
        /// The name asked for.
        device: String,
    },
    /// The name is taken by another device.
    #[error("there is a network device {device} already")]
    DeviceExists {
        /// The name asked for.
        device: String,
    },
    /// No name the kernel takes for a device: 1 to 15 bytes without spaces, `/` and `:`.
    #[error("{name:?} is no name for a network device (1 to 15 bytes, no spaces, no / and no :)")]
    BadDeviceName {
        /// The name asked for.
        name: String,
    },
    /// The device exists and is something else.
    #[error("the network device {device} exists and is no bridge")]
    NotABridge {
        /// The device.
        device: String,
    },
    /// The device is attached to no bridge.
    #[error("the network device {device} is attached to no bridge")]
    NotAPort {
        /// The device.
        device: String,
    },
    /// The device has this IPv6 address with another prefix length.
    #[error("{device} has the address {} with another prefix length", address.address())]
    AddressExists {
        /// The device.
        device: String,
        /// The address asked for.
        address: Cidr,
    },
    /// Another route to the same destination is in the way.
    #[error("there is another route to {to} already")]
    RouteExists {
        /// The destination asked for.
        to: Cidr,
    },
    /// Nothing leads to this address.
    #[error("there is no route to {address}")]
    NoRoute {
        /// The address asked for.
        address: IpAddr,
    },
    /// No such named namespace.
    #[error("there is no network namespace {name}")]
    NoNamespace {
        /// The name asked for.
        name: String,
    },
    /// The name is taken by another namespace.
    #[error("there is a network namespace {name} already")]
    NamespaceExists {
        /// The name asked for.
        name: String,
    },
    /// No name for a namespace: it must be a file name.
    #[error("{name:?} is no name for a network namespace (it must do as a file name)")]
    BadNamespaceName {
        /// The name asked for.
        name: String,
    },
    /// The path leads to something else.
    #[error("{} is no network namespace", path.display())]
    NotANamespace {
        /// The path asked for.
        path: PathBuf,
    },
    /// The namespace has no name that could be removed: it was opened by path or process.
    #[error("the network namespace at {} has no name of its own to remove", path.display())]
    Unnamed {
        /// Where the namespace was opened.
        path: PathBuf,
    },
    /// No kernel setting's name: components under `/proc/sys/net`, as `ipv4/ip_forward`.
    #[error("{key:?} is no kernel setting below /proc/sys/net (as ipv4/ip_forward)")]
    BadSettingName {
        /// The name asked for.
        key: String,
    },
    /// The handle's own thread has ended, which only a panic in it can bring about.
    #[error("the thread that speaks netlink has ended")]
    Stopped,
}

/// The kernel's reason, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    errno: Option<Errno>,
    detail: Option<String>,
}

impl Reason {
    /// The error number (errno(3)), where there was one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.errno.map(|errno| errno as i32)
    }

    /// True when the process lacks the right, so that it should be run as root.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self.errno, Some(Errno::EPERM | Errno::EACCES))
    }

    /// True when what was to be written is shown read-only, as kernel settings are in most containers.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.errno == Some(Errno::EROFS)
    }

    pub(super) fn is(&self, errno: Errno) -> bool {
        self.errno == Some(errno)
    }

    pub(super) fn words(detail: &str) -> Self {
        Self {
            errno: None,
            detail: Some(detail.to_owned()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(errno) = self.errno {
            // "Operation not permitted" begins a sentence, here it ends one.
            // Of devices the text for sockets ("… on transport endpoint") says too much.
            let words = if errno == Errno::EOPNOTSUPP {
                "operation not supported"
            } else {
                errno.desc()
            };
            let mut letters = words.chars();
            match letters.next() {
                Some(first) if !words.starts_with("I/O") => {
                    write!(f, "{}{}", first.to_lowercase(), letters.as_str())?
                }
                _ => f.write_str(words)?,
            }
            if self.is_permission() {
                f.write_str(" (this needs root)")?;
            }
        }
        match (&self.detail, self.errno) {
            (Some(detail), Some(_)) => write!(f, ": {detail}"),
            (Some(detail), None) => f.write_str(detail),
            (None, _) => Ok(()),
        }
    }
}

impl From<Errno> for Reason {
    fn from(errno: Errno) -> Self {
        Self {
            errno: Some(errno),
            detail: None,
        }
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Errno::from_raw(number).into(),
            None => Self::words(&error.to_string()),
        }
    }
}

impl From<rtnetlink::Error> for Reason {
    fn from(error: rtnetlink::Error) -> Self {
        if let rtnetlink::Error::NetlinkError(message) = &error {
            return Self {
                errno: Some(Errno::from_raw(message.raw_code().saturating_abs())),
                detail: extended_ack(message),
            };
        }
        Self::words(&error.to_string())
    }
}

/// Turns a reason into the error that says what it stood in the way of.
pub(super) fn refused<R: Into<Reason>>(
    action: &'static str,
    object: impl Into<String>,
) -> impl FnOnce(R) -> Error {
    move |reason| Error::Refused {
        action,
        object: object.into(),
        reason: reason.into(),
    }
}

/// The sentence the kernel adds to an error number, if any ("Nexthop has invalid gateway").
///
/// After the 16 bytes of the request's header come attributes (the socket asks that the request's
/// body be left out): length 2, type 2, value. Type 1 is `NLMSGERR_ATTR_MSG`, a string. Numbers are
/// the machine's own.
fn extended_ack(message: &ErrorMessage) -> Option<String> {
    const REQUEST_HEADER_BYTES: usize = 16;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    const DETAIL_CHARS_MAX: usize = 200;
    let mut rest = message.header.get(REQUEST_HEADER_BYTES..)?;
    while let [l0, l1, t0, t1, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([t0, t1]) == NLMSGERR_ATTR_MSG {
            let text = String::from_utf8_lossy(value);
            let text: String = text
                .chars()
                .filter(|c| !c.is_control())
                .take(DETAIL_CHARS_MAX)
                .collect();
            return (!text.is_empty()).then_some(text);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroI32;

    use super::*;

    fn refusal(errno: Errno, attributes: &[u8]) -> rtnetlink::Error {
        let mut message = ErrorMessage::default();
        message.code = NonZeroI32::new(-(errno as i32));
        message.header = [&[0; 16], attributes].concat();
        rtnetlink::Error::NetlinkError(message)
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_refusal_reads_as_one_sentence_without_numbers() {
        let error = refused("set the MTU of", "weave")(refusal(Errno::EINVAL, &[]));
        assert_eq!(
            error.to_string(),
            "cannot set the MTU of weave: invalid argument"
        );
        let error = refused("create bridge", "weave")(Errno::EPERM);
        assert_eq!(
            error.to_string(),
            "cannot create bridge weave: operation not permitted (this needs root)"
        );
        let error = refused("open", "x")(io::Error::from_raw_os_error(2));
        assert_eq!(
            error.to_string(),
            "cannot open x: no such file or directory"
        );
    }

    #[test]
    fn the_kernels_own_sentence_is_kept() {
        let attributes = [
            attribute(2, &[1, 2, 3, 4]),
            attribute(1, b"Nexthop has invalid gateway\0"),
        ]
        .concat();
        let reason = Reason::from(refusal(Errno::ENETUNREACH, &attributes));
        assert_eq!(
            reason.to_string(),
            "network is unreachable: Nexthop has invalid gateway"
        );
        assert_eq!(reason.errno(), Some(Errno::ENETUNREACH as i32));
    }

    #[test]
    fn every_prefix_and_bit_flip_of_the_attributes_is_harmless() {
        let attributes = [attribute(2, &[1, 2, 3, 4]), attribute(1, b"too long\0")].concat();
        for end in 0..attributes.len() {
            let _ = Reason::from(refusal(Errno::EINVAL, &attributes[..end])).to_string();
        }
        for bit in 0..attributes.len() * 8 {
            let mut flipped = attributes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = Reason::from(refusal(Errno::EINVAL, &flipped)).to_string();
        }
    }
}
