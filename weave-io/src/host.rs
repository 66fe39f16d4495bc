//! The host's plumbing: bridge, TAP port, veths, namespaces, addresses, routes and kernel settings.
//!
//! This is the only code of the project that speaks netlink, and nothing here runs `ip`,
//! `ethtool` or `conntrack`. The router makes its bridge and enslaves its TAP with it, the host tool attaches
//! containers, and tests and demos build whole networks out of namespaces.
//!
//! [`Netlink`] is a handle on one network namespace. Its calls block until the kernel has answered,
//! a millisecond or so; from an async program call them by `spawn_blocking` or on a thread of your
//! own, so that they hold up nobody else (nothing breaks if you don't). Calls that ask for a state
//! (`ensure_`, `set_`, `add_`, `remove_`, `attach`) succeed when it is so already, and those where
//! it matters say which it was.
//!
//! ```no_run
//! use weave_io::host::{Netlink, ScopedNetNs};
//!
//! # fn main() -> Result<(), weave_io::host::Error> {
//! let container = ScopedNetNs::create("example")?; // removed when dropped
//! let host = Netlink::open()?;
//! host.ensure_bridge("weave", None)?;
//! host.create_veth("vethwe1", "ethwe", Some(&container))?;
//! host.attach("weave", "vethwe1")?;
//! host.set_up("vethwe1")?;
//!
//! let inside = Netlink::open_in(&container)?;
//! inside.add_address("ethwe", "10.2.1.1/24".parse().expect("a constant"))?;
//! inside.set_up("ethwe")?;
//! inside.route_multicast_ipv4("ethwe")?;
//! # Ok(())
//! # }
//! ```

mod addr;
mod announce;
mod bridge;
mod child;
mod cidr;
mod conntrack;
mod error;
mod fdb;
mod link;
mod multicast;
mod netlink;
mod netns;
mod route;
mod sysctl;
mod veth;

pub use addr::InterfaceAddress;
pub use announce::AddressHolder;
pub use bridge::Ensured;
pub use child::{end_with_parent, in_own_session};
pub use cidr::{Cidr, CidrError};
pub use error::{Error, Reason};
pub use fdb::FdbWatch;
pub use link::Link;
pub use netlink::Netlink;
pub use netns::{NetNs, ScopedNetNs};
pub use route::{Path, Route};
