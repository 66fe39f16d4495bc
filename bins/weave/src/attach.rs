//! `weave attach` and `detach`: a container's interface `ethwe`, and its addresses.
//!
//! ```text
//!  host's namespace                          container's namespace
//!  bridge weave ──── vethweF0000123 ─ ─ ─ ─ ─ ethwe   10.2.1.1/24, fd00::1/64
//!     └── weave-tap (the router)                      224.0.0.0/4, ff00::/8
//! ```
//!
//! An attachment is made in this order: looked at what there is, noted in the ledger, bridge, cable, MTU, switched on,
//! address asked for on the network, given to the interface, multicast routes, announced, and last of all the alias
//! [`READY`], for which `weave wait` waits. Whatever fails, what was done until then is taken back.

mod address;
mod command;
mod detach;
mod ends;
mod holder;
mod mtu;

use std::net::IpAddr;

use tokio::signal::unix::{SignalKind, signal};
use weave_io::host::{Cidr, Error, Netlink};
use weave_io::os_seed;
use weave_router::{Failure, words};

pub(crate) use self::address::check as check_addresses;
use self::address::{Obstacle, Own};
pub(crate) use self::command::{AttachArgs, DetachArgs, attach_command};
pub(crate) use self::detach::detach;
use self::ends::Found;
pub(crate) use self::ends::{PORT_PREFIX, Seen, is_port, look};
use crate::context::Context;
use crate::ledger::{Attachment, Entries, Ledger, mac_text, parse_mac, warn};
use crate::place::Place;
use crate::plumbing;
use crate::undo::Undo;

/// The interface's name in the container.
pub(crate) const DEVICE: &str = "ethwe";
/// Its alias once the network can be used.
pub(crate) const READY: &str = "weave";

/// How an attachment is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Whether to ask the network first if somebody has the address already (RFC 5227).
    pub(crate) probe: bool,
}

/// Puts a container on the network with these addresses: bridge, veth, MTU, addresses, multicast route, announcement,
/// ledger. What it has already is left. All of it, or nothing.
///
/// # Errors
/// Each reason by its own sentence; nothing is changed then.
pub(crate) async fn attach(
    context: &Context,
    place: &Place,
    addresses: &[Cidr],
    how: How,
) -> Result<(), Failure> {
    let mut ledger = Ledger::lock(&context.state_dir)?;
    attach_held(context, &mut ledger, place, addresses, how).await
}

/// [`attach`] for whoever holds the ledger already. It is saved.
///
/// # Errors
/// Those of [`attach`]; what stands in the ledger is what stood before then.
pub(crate) async fn attach_held(
    context: &Context,
    ledger: &mut Ledger,
    place: &Place,
    addresses: &[Cidr],
    how: How,
) -> Result<(), Failure> {
    let what = format!("cannot attach {}", place.name);
    let addresses = &check_addresses(&what, addresses)?;
    let refused = |error: Error| Failure::new(&what, error.to_string(), "");
    let host = Netlink::open().map_err(refused)?;
    let inside = Netlink::open_in(&place.namespace).map_err(refused)?;
    let before = ledger.entries.clone();
    let mut undo = Undo::new();
    let done = {
        let mut attaching = Attaching {
            what: &what,
            context,
            ledger: &mut *ledger,
            place,
            host: &host,
            inside: &inside,
            undo: &mut undo,
        };
        tokio::select! {
            // Looked at first: the steps hardly ever wait, and would run to their end.
            biased;
            failure = interrupted(&what) => Err(failure),
            done = attaching.run(addresses, how) => done,
        }
    };
    match done {
        Ok(()) => {
            undo.keep();
            Ok(())
        }
        Err(failure) => {
            undo.back().await;
            ledger.put_back(before);
            Err(failure)
        }
    }
}

/// Ends when the user, or the system, wants an end.
async fn interrupted(what: &str) -> Failure {
    let (Ok(mut int), Ok(mut term)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
    Failure::new(what, "it was interrupted", "nothing was changed")
}

/// All that the steps need.
struct Attaching<'a, 'u> {
    /// "cannot attach c1".
    what: &'a str,
    context: &'a Context,
    ledger: &'a mut Ledger,
    place: &'a Place,
    host: &'u Netlink,
    inside: &'u Netlink,
    undo: &'a mut Undo<'u>,
}

impl<'u> Attaching<'_, 'u> {
    async fn run(&mut self, addresses: &[Cidr], how: How) -> Result<(), Failure> {
        let bridge = plumbing::bridge_name(self.context, &self.ledger.entries);
        let found = ends::find(self.host, self.inside).map_err(|error| self.refused(&error))?;
        let own = match &found {
            Found::Nothing => None,
            Found::Ours(ends) => ends.device.mac,
            Found::Foreign => {
                return Err(self.refuse(
                    format!("it has an interface {DEVICE} that weave did not make"),
                    format!("give that another name: ip link set {DEVICE} name NAME"),
                ));
            }
        };
        let position = self.position(own);
        let new = self.new_addresses(addresses)?;
        for cidr in &new {
            let held = holder::find(self.context, &mut self.ledger.entries, position, *cidr);
            if let Some(refusal) = held.await {
                return Err(self.refuse(refusal.why, refusal.remedy));
            }
        }
        let mac = self.note(position, own, addresses)?;
        plumbing::ensure(self.host, self.ledger, &bridge, self.undo).await?;
        let mtu_bytes = mtu::container_mtu_bytes(self.context, &self.ledger.entries, &bridge).await;
        let fresh = own.is_none();
        let port = match found {
            Found::Ours(ends) => {
                self.mend(&bridge, &ends)
                    .map_err(|error| self.refused(&error))?;
                ends.port.name
            }
            Found::Nothing | Found::Foreign => self
                .lay(&bridge, mac, mtu_bytes)
                .map_err(|error| self.refused(&error))?,
        };
        if new.iter().any(|cidr| cidr.address().is_ipv6()) {
            self.switch_ipv6_on(fresh)?;
        }
        let ips: Vec<IpAddr> = addresses.iter().map(Cidr::address).collect();
        let new_ips: Vec<IpAddr> = new.iter().map(Cidr::address).collect();
        if how.probe && !new_ips.is_empty() {
            self.probe(&port, &new_ips).await?;
        }
        for cidr in &new {
            self.give(*cidr).map_err(|error| self.refused(&error))?;
        }
        self.route_multicast()
            .map_err(|error| self.refused(&error))?;
        self.inside
            .announce_addresses(DEVICE, &ips)
            .map_err(|error| self.refused(&error))?;
        self.inside
            .set_alias(DEVICE, READY)
            .map_err(|error| self.refused(&error))
    }

    fn refuse(&self, why: String, remedy: String) -> Failure {
        Failure::new(self.what, why, remedy)
    }

    fn refused(&self, error: &Error) -> Failure {
        Failure::new(self.what, error.to_string(), "")
    }

    /// Where in the ledger the container is: under its own name, or, found by the Ethernet address of its interface,
    /// under another that leads to the same namespace.
    fn position(&self, mac: Option<[u8; 6]>) -> Option<usize> {
        let entries = &self.ledger.entries;
        entries.position_of(&self.place.subject).or_else(|| {
            let mac = mac_text(mac?);
            entries.attachments.iter().position(|a| a.mac == mac)
        })
    }

    /// Those of the addresses that the container does not have yet, if nothing of its own is in their way.
    fn new_addresses(&self, addresses: &[Cidr]) -> Result<Vec<Cidr>, Failure> {
        let asked = self.inside.addresses();
        let there = asked.map_err(|error| self.refused(&error))?;
        let routes = self.inside.routes().map_err(|error| self.refused(&error))?;
        let others = Own::among(&there);
        let mut new = Vec::new();
        for cidr in addresses {
            let same = there
                .iter()
                .find(|own| own.device == DEVICE && own.cidr.address() == cidr.address());
            match same {
                Some(own) if own.cidr == *cidr => continue,
                Some(own) => {
                    return Err(self.refuse(
                        format!("it has {} already", own.cidr),
                        format!(
                            "weave detach {} {} takes that away",
                            own.cidr, self.place.name
                        ),
                    ));
                }
                None => {}
            }
            match address::obstacle(*cidr, &others, &routes) {
                Some(Obstacle::Refusal(why, remedy)) => return Err(self.refuse(why, remedy)),
                Some(Obstacle::Warning(text)) => warn(&format!("{}: {text}", self.place.name)),
                None => {}
            }
            new.push(*cidr);
        }
        Ok(new)
    }

    /// Notes what is about to be, before it is: a command that is killed leaves nothing that nobody knows of. Gives the
    /// interface's Ethernet address: the one that it has, else the one that the container had before, else a new one.
    fn note(
        &mut self,
        position: Option<usize>,
        own: Option<[u8; 6]>,
        addresses: &[Cidr],
    ) -> Result<[u8; 6], Failure> {
        let what = self.what;
        let entries = &mut self.ledger.entries;
        let position = match position {
            Some(position) => position,
            None => {
                let mac = new_mac(entries).map_err(|error| {
                    Failure::new(what, format!("no random number: {}", words(&error)), "")
                })?;
                entries.attachments.push(Attachment {
                    of: self.place.subject.clone(),
                    mac: mac_text(mac),
                    addresses: Vec::new(),
                });
                entries.attachments.len() - 1
            }
        };
        let attachment = &mut entries.attachments[position];
        // It may have another name now.
        if attachment.of.is(&self.place.subject) {
            attachment.of = self.place.subject.clone();
        }
        let mac = own.or_else(|| parse_mac(&attachment.mac));
        let mac = mac.expect("the ledger is read, and written, with Ethernet addresses only");
        attachment.mac = mac_text(mac);
        for cidr in addresses {
            let text = cidr.to_string();
            if !attachment.addresses.contains(&text) {
                attachment.addresses.push(text);
            }
        }
        // Those who are gone for good and lost their last address to this one.
        entries.attachments.retain(|a| !a.addresses.is_empty());
        self.ledger.save()?;
        Ok(mac)
    }

    /// Lays the cable, and gives the name of its end on the bridge.
    fn lay(&mut self, bridge: &str, mac: [u8; 6], mtu_bytes: u32) -> Result<String, Error> {
        let (host, inside) = (self.host, self.inside);
        let port = ends::port_name(&self.place.namespace)?;
        host.create_veth(&port, DEVICE, Some(&self.place.namespace))?;
        let (name, what) = (port.clone(), self.what.to_owned());
        self.undo.push(async move {
            let removed = host.delete_link(&name).map(drop);
            removed.map_err(|error| Failure::new(what, error.to_string(), ""))
        });
        host.set_mtu(&port, mtu_bytes)?;
        inside.set_mtu(DEVICE, mtu_bytes)?;
        inside.set_mac(DEVICE, mac)?;
        // Of several addresses of one network, the others stay when the first one goes.
        inside.set_setting(&format!("ipv4/conf/{DEVICE}/promote_secondaries"), "1")?;
        // Anybody on the network could else give the container routes and addresses (CVE-2020-13401). A kernel without
        // IPv6 has no such setting.
        let accept_ra = format!("ipv6/conf/{DEVICE}/accept_ra");
        if inside.setting(&accept_ra).is_ok() {
            inside.set_setting(&accept_ra, "0")?;
        }
        host.attach(bridge, &port)?;
        host.set_up(&port)?;
        inside.set_up(DEVICE)?;
        Ok(port)
    }

    /// Puts right what somebody changed about a cable: plugs it in again, and switches it on.
    fn mend(&mut self, bridge: &str, ends: &ends::Ends) -> Result<(), Error> {
        let (host, inside) = (self.host, self.inside);
        let port = &ends.port.name;
        let controller = host.link(bridge)?.index;
        if ends.port.controller != Some(controller) {
            host.attach(bridge, port)?;
        }
        if !ends.port.up {
            host.set_up(port)?;
        }
        if !ends.device.up {
            inside.set_up(DEVICE)?;
        }
        Ok(())
    }

    /// Containers have no IPv6 unless their engine was told so; on this interface they have it when somebody gives
    /// them an IPv6 address.
    fn switch_ipv6_on(&mut self, fresh: bool) -> Result<(), Failure> {
        let inside = self.inside;
        let key = format!("ipv6/conf/{DEVICE}/disable_ipv6");
        let Ok(before) = inside.setting(&key) else {
            return Err(self.refuse(
                "this host's kernel has no IPv6".to_owned(),
                "give it an IPv4 address".to_owned(),
            ));
        };
        inside
            .set_setting(&key, "0")
            .map_err(|error| self.refused(&error))?;
        if !fresh && before != "0" {
            let what = self.what.to_owned();
            self.undo.push(async move {
                let restored = inside.set_setting(&key, &before);
                restored.map_err(|error| Failure::new(what, error.to_string(), ""))
            });
        }
        Ok(())
    }

    /// Asks the network whether somebody has one of the addresses.
    async fn probe(&self, port: &str, addresses: &[IpAddr]) -> Result<(), Failure> {
        let asked = ends::wait_until_forwarding(self.host, port)
            .and_then(|()| self.inside.probe_addresses(DEVICE, addresses));
        let held = asked.map_err(|error| self.refused(&error))?;
        // The one moment that is long enough for an interrupt: see whether there was one.
        tokio::task::yield_now().await;
        let Some(held) = held else {
            return Ok(());
        };
        let mac = mac_text(held.mac);
        let behind = holder::router_of(self.context, &mac).await;
        let behind = behind.map_or_else(String::new, |name| format!(", behind the router {name}"));
        Err(self.refuse(
            format!(
                "{} is in use on the network, by {mac}{behind}",
                held.address
            ),
            "give it another address, or take it all the same with --no-probe".to_owned(),
        ))
    }

    /// Gives the interface an address. The network was asked already, better than the kernel asks.
    fn give(&mut self, cidr: Cidr) -> Result<(), Error> {
        let inside = self.inside;
        if !inside.add_address_undetected(DEVICE, cidr)? {
            return Ok(());
        }
        let what = self.what.to_owned();
        self.undo.push(async move {
            let removed = inside.remove_address(DEVICE, cidr).map(drop);
            removed.map_err(|error| Failure::new(what, error.to_string(), ""))
        });
        Ok(())
    }

    /// Multicast leaves by `ethwe`, unless the container has a route of its own for it.
    fn route_multicast(&self) -> Result<(), Error> {
        let inside = self.inside;
        let ipv4 = inside
            .addresses_of(DEVICE)?
            .iter()
            .any(|cidr| cidr.address().is_ipv4());
        let ipv6 = inside
            .setting(&format!("ipv6/conf/{DEVICE}/disable_ipv6"))
            .is_ok_and(|disabled| disabled == "0");
        let routed = [
            (ipv4, Netlink::route_multicast_ipv4 as fn(_, _) -> _),
            (ipv6, Netlink::route_multicast_ipv6),
        ];
        for (on, route) in routed {
            match on.then(|| route(inside, DEVICE)) {
                Some(Err(Error::RouteExists { to })) => warn(&format!(
                    "{} has a route of its own to {to}, which stays",
                    self.place.name
                )),
                Some(Err(error)) => return Err(error),
                Some(Ok(_)) | None => {}
            }
        }
        Ok(())
    }
}

/// An Ethernet address that nobody has: random, of those that everybody may give away (IEEE 802, "locally
/// administered").
fn new_mac(entries: &Entries) -> std::io::Result<[u8; 6]> {
    loop {
        let [first, b, c, d, e, f, ..] = os_seed()?;
        let mac = [(first & 0b1111_1100) | 0b10, b, c, d, e, f];
        let text = mac_text(mac);
        if entries.attachments.iter().all(|a| a.mac != text) {
            return Ok(mac);
        }
    }
}
