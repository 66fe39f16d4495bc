//! `weave expose` and `weave hide`: addresses of this host on the network, and what service export and import need
//! beside them: the kernel forwards, and the firewall lets connections through that a DNAT rule sent in or out
//! ([`rules`]).
//!
//! `hide` takes back exactly that; and the bridge, if `expose` made it and nothing is on it.

mod settings;

pub(crate) use self::settings::must_stay;

use std::process::ExitCode;

use clap::Args;
use weave_io::host::{AddressHolder, Cidr, Error, Netlink};
use weave_router::Failure;

use crate::attach::check_addresses;
use crate::context::Context;
use crate::ledger::{Entries, Ledger, mac_text, warn};
use crate::place::{Presence, check_root};
use crate::plumbing::{self, bridge_name};
use crate::rules;
use crate::undo::Undo;

/// The flags of `weave expose`.
#[derive(Debug, Args)]
#[command(after_help = EXPOSE_EXAMPLES)]
pub(crate) struct ExposeArgs {
    /// Don't ask the network whether somebody has the address already
    #[arg(long)]
    no_probe: bool,
    /// This host's address on the network, with its prefix length
    #[arg(required = true, value_name = "CIDR")]
    addresses: Vec<Cidr>,
}

const EXPOSE_EXAMPLES: &str = "\
Examples:
  weave expose 10.0.1.102/24   this host reaches the containers of 10.0.1.0/24, wherever they are
  weave expose 10.0.1.102/24 fd00:1::66/64

A service of the container at 10.0.1.1, for those who reach this host by eth0:
  iptables -t nat -A PREROUTING -p tcp -i eth0 --dport 2211 -j DNAT --to-destination 10.0.1.1:4422

A service outside, for containers, which find it at the exposed address:
  iptables -t nat -A PREROUTING -p tcp -d 10.0.1.102 --dport 3322 -j DNAT --to-destination 192.0.2.3:2211

Nothing else is routed into the network. To let in more, put a rule of your own first:
  iptables -I FORWARD -s 192.0.2.0/24 -o weave -j ACCEPT";

/// Runs `weave expose`.
pub(crate) async fn expose(context: &Context, args: &ExposeArgs) -> Result<ExitCode, Failure> {
    let addresses = check_addresses("cannot expose an address", &args.addresses)?;
    check_root()?;
    let mut ledger = Ledger::lock(&context.state_dir)?;
    let netlink = Netlink::open().map_err(|error| refused("cannot expose an address", &error))?;
    let bridge = bridge_name(context, &ledger.entries);
    let before = ledger.entries.clone();
    let mut undo = Undo::new();
    let host = Host {
        context,
        netlink: &netlink,
        bridge: &bridge,
    };
    match host
        .add(&mut ledger, &addresses, !args.no_probe, &mut undo)
        .await
    {
        Ok(()) => {
            undo.keep();
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            undo.back().await;
            ledger.put_back(before);
            Err(failure)
        }
    }
}

/// The flags of `weave hide`.
#[derive(Debug, Args)]
#[command(after_help = HIDE_EXAMPLES)]
pub(crate) struct HideArgs {
    /// The address, as it was exposed
    #[arg(required = true, value_name = "CIDR")]
    addresses: Vec<Cidr>,
}

const HIDE_EXAMPLES: &str = "\
Examples:
  weave hide 10.0.1.102/24   takes back what 'weave expose 10.0.1.102/24' did, and nothing else

DNAT rules are the administrator's: they stay, and lead nowhere.";

/// Runs `weave hide`.
pub(crate) async fn hide(context: &Context, args: &HideArgs) -> Result<ExitCode, Failure> {
    check_root()?;
    let mut ledger = Ledger::lock(&context.state_dir)?;
    let mut hidden: Vec<Cidr> = Vec::new();
    let exposed = plumbing::exposed(&ledger.entries);
    for address in &args.addresses {
        let same = |other: &&Cidr| other.address() == address.address();
        match exposed.iter().find(same) {
            Some(found) if found == address => hidden.push(*address),
            Some(other) => {
                return Err(Failure::new(
                    format!("cannot hide {address}"),
                    format!("it is exposed as {other}"),
                    format!("weave hide {other}"),
                ));
            }
            // Twice is once; but it may be a slip of the pen.
            None => warn(&format!(
                "{address} is not exposed here, there is nothing to hide"
            )),
        }
    }
    if hidden.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let netlink = Netlink::open().map_err(|error| refused("cannot hide an address", &error))?;
    let bridge = bridge_name(context, &ledger.entries);
    let before = ledger.entries.clone();
    let mut undo = Undo::new();
    let host = Host {
        context,
        netlink: &netlink,
        bridge: &bridge,
    };
    match host.remove(&mut ledger, &hidden, &mut undo).await {
        Ok(()) => {
            undo.keep();
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            undo.back().await;
            ledger.put_back(before);
            Err(failure)
        }
    }
}

/// Gives this host back the addresses that the ledger says it has, with all that belongs to them, after the bridge was
/// made anew or somebody took them away. One that somebody else has by now is left to them: it stays noted, and is told
/// as an error. Says which were put back.
///
/// # Errors
/// What the kernel or the firewall refuses, and an address in use; the others are put back all the same.
pub(crate) async fn restore(
    context: &Context,
    netlink: &Netlink,
    ledger: &mut Ledger,
    bridge: &str,
) -> (Vec<Cidr>, Option<Failure>) {
    let host = Host {
        context,
        netlink,
        bridge,
    };
    let exposed = plumbing::exposed(&ledger.entries);
    let missing = match host.missing(&exposed) {
        Ok(missing) => missing,
        Err(failure) => return (Vec::new(), Some(failure)),
    };
    let mut restored = Vec::new();
    let mut failed = None;
    for address in exposed {
        let is_missing = missing.contains(&address);
        let mut undo = Undo::new();
        match host.add(ledger, &[address], is_missing, &mut undo).await {
            Ok(()) => {
                undo.keep();
                restored.extend(is_missing.then_some(address));
            }
            Err(failure) => {
                undo.back().await;
                failed = Some(failure);
            }
        }
    }
    (restored, failed)
}

/// Whether the bridge lacks an address that the ledger says it has.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn is_missing(
    context: &Context,
    netlink: &Netlink,
    entries: &Entries,
    bridge: &str,
) -> Result<bool, Failure> {
    let host = Host {
        context,
        netlink,
        bridge,
    };
    let missing = host.missing(&plumbing::exposed(entries))?;
    Ok(!missing.is_empty())
}

/// Puts back all kernel settings that are noted in the ledger, and strikes them from it.
pub(crate) async fn put_settings_back(netlink: &Netlink, ledger: &mut Ledger, bridge: &str) {
    settings::put_back(netlink, ledger, bridge, |_| true).await;
}

/// This host's end of the network.
#[derive(Clone, Copy)]
struct Host<'a> {
    context: &'a Context,
    netlink: &'a Netlink,
    bridge: &'a str,
}

impl<'a> Host<'a> {
    /// Makes all of it so; what is so already stays.
    async fn add(
        self,
        ledger: &mut Ledger,
        addresses: &[Cidr],
        probe: bool,
        undo: &mut Undo<'a>,
    ) -> Result<(), Failure> {
        for address in addresses {
            self.check(&ledger.entries, *address).await?;
        }
        plumbing::ensure(self.netlink, ledger, self.bridge, undo).await?;
        let missing = self.missing(addresses)?;
        if probe {
            self.probe(&missing)?;
        }
        let before = plumbing::exposed(&ledger.entries);
        for address in addresses {
            let text = address.to_string();
            if !ledger.entries.exposed.contains(&text) {
                ledger.entries.exposed.push(text);
            }
        }
        ledger.save()?;
        let after = plumbing::exposed(&ledger.entries);
        for v4 in [true, false] {
            if addresses.iter().any(|cidr| cidr.address().is_ipv4() == v4) {
                settings::forward(self.netlink, ledger, self.bridge, v4, undo)?;
            }
        }
        let bridge = self.bridge;
        undo.push(async move { rules::put(bridge, &before).await.map(drop) });
        rules::put(self.bridge, &after).await?;
        // Now that nothing can be routed in by it that should not.
        for address in missing {
            self.give(address, undo)?;
        }
        let announced: Vec<_> = addresses.iter().map(Cidr::address).collect();
        let sent = self.netlink.announce_addresses(self.bridge, &announced);
        sent.map_err(|error| refused("cannot announce the address", &error))
    }

    /// Takes all of it back.
    async fn remove(
        self,
        ledger: &mut Ledger,
        addresses: &[Cidr],
        undo: &mut Undo<'a>,
    ) -> Result<(), Failure> {
        for address in addresses {
            let removed = self.netlink.remove_address(self.bridge, *address);
            match removed {
                Ok(true) => {
                    let (host, address) = (self, *address);
                    undo.push(async move { host.give(address, &mut Undo::new()) });
                }
                Ok(false) | Err(Error::NoDevice { .. }) => {}
                Err(error) => return Err(refused(&format!("cannot hide {address}"), &error)),
            }
        }
        let before = plumbing::exposed(&ledger.entries);
        let gone: Vec<String> = addresses.iter().map(Cidr::to_string).collect();
        ledger.entries.exposed.retain(|text| !gone.contains(text));
        let after = plumbing::exposed(&ledger.entries);
        let bridge = self.bridge;
        undo.push(async move { rules::put(bridge, &before).await.map(drop) });
        if self.is_idle(&ledger.entries)? {
            rules::clear(self.bridge).await?;
            settings::put_back(self.netlink, ledger, self.bridge, |_| true).await;
            if ledger.entries.made_bridge {
                let removed = self.netlink.delete_link(self.bridge);
                removed.map_err(|error| refused("cannot remove the bridge", &error))?;
            }
            ledger.entries.bridge = None;
            ledger.entries.made_bridge = false;
        } else {
            rules::put(self.bridge, &after).await?;
            for v4 in [true, false] {
                if !after.iter().any(|cidr| cidr.address().is_ipv4() == v4) {
                    let keys = settings::Keys::new(self.bridge, v4);
                    settings::put_back(self.netlink, ledger, self.bridge, |setting| {
                        keys.has(setting)
                    })
                    .await;
                }
            }
        }
        ledger.save()
    }

    /// Whether nothing uses the bridge any more.
    fn is_idle(self, entries: &Entries) -> Result<bool, Failure> {
        let used = entries.launched.is_some()
            || !entries.attachments.is_empty()
            || !entries.exposed.is_empty();
        if used {
            return Ok(false);
        }
        // A router that somebody else started has its port there.
        match self.netlink.bridge_ports(self.bridge) {
            Ok(ports) => Ok(ports.is_empty()),
            Err(Error::NoDevice { .. }) => Ok(true),
            Err(error) => Err(refused("cannot look at the bridge", &error)),
        }
    }

    /// Those of the addresses that the bridge lacks.
    fn missing(self, addresses: &[Cidr]) -> Result<Vec<Cidr>, Failure> {
        let there = match self.netlink.addresses_of(self.bridge) {
            Ok(there) => there,
            Err(Error::NoDevice { .. }) => Vec::new(),
            Err(error) => return Err(refused("cannot look at the bridge", &error)),
        };
        let mut missing: Vec<Cidr> = addresses.to_vec();
        missing.sort();
        missing.dedup();
        missing.retain(|address| !there.contains(address));
        Ok(missing)
    }

    /// Refuses an address that something on this host has.
    async fn check(self, entries: &Entries, address: Cidr) -> Result<(), Failure> {
        let cannot = |why: String, remedy: String| {
            Err(Failure::new(
                format!("cannot expose {address}"),
                why,
                remedy,
            ))
        };
        let exposed = plumbing::exposed(entries);
        if exposed.contains(&address) {
            return Ok(());
        }
        let same = |other: &Cidr| other.address() == address.address();
        if let Some(other) = exposed.iter().find(|other| same(other)) {
            return cannot(
                format!("it is exposed as {other}"),
                format!("take that away first: weave hide {other}"),
            );
        }
        for attachment in &entries.attachments {
            let Some(cidr) = attachment.cidrs().into_iter().find(same) else {
                continue;
            };
            // One that was removed is forgotten at the next occasion.
            let presence = Presence::of(self.context, &attachment.of).await;
            if !matches!(presence, Presence::Gone) {
                let label = attachment.of.label();
                return cannot(
                    format!("{} belongs to {label} on this host", address.address()),
                    format!("weave detach {cidr} {label} frees it"),
                );
            }
        }
        let addresses = self.netlink.addresses();
        for other in addresses.map_err(|error| refused("cannot expose an address", &error))? {
            let device = &other.device;
            if same(&other.cidr) {
                let text = other.cidr;
                return cannot(
                    format!("{device} of this host has that address"),
                    format!(
                        "choose another one, or take it away first: ip addr del {text} dev {device}"
                    ),
                );
            }
            // The way to that device's neighbours would lead into the network, that to our peers perhaps.
            if other.device != self.bridge
                && address.prefix_len() >= other.cidr.prefix_len()
                && address.network().contains(other.cidr.address())
            {
                return cannot(
                    format!(
                        "{device} of this host is in that network, as {}",
                        other.cidr
                    ),
                    "choose one of another network".to_owned(),
                );
            }
        }
        Ok(())
    }

    /// Refuses addresses that somebody on the network has.
    fn probe(self, addresses: &[Cidr]) -> Result<(), Failure> {
        if addresses.is_empty() {
            return Ok(());
        }
        let plain: Vec<_> = addresses.iter().map(Cidr::address).collect();
        let found = self.netlink.probe_addresses(self.bridge, &plain);
        match found {
            Ok(None) => Ok(()),
            Ok(Some(holder)) => Err(in_use(addresses, holder)),
            Err(error) => Err(refused("cannot ask the network for the address", &error)),
        }
    }

    fn give(self, address: Cidr, undo: &mut Undo<'a>) -> Result<(), Failure> {
        let cannot = move |error: Error| refused(&format!("cannot expose {address}"), &error);
        // Without the kernel's own duplicate detection, of which nothing is left in doubt.
        let added = self.netlink.add_address_undetected(self.bridge, address);
        if added.map_err(cannot)? {
            let Self {
                netlink, bridge, ..
            } = self;
            undo.push(async move {
                let removed = netlink.remove_address(bridge, address).map(drop);
                removed.map_err(cannot)
            });
        }
        Ok(())
    }
}

fn in_use(addresses: &[Cidr], holder: AddressHolder) -> Failure {
    let wanted = addresses
        .iter()
        .find(|cidr| cidr.address() == holder.address)
        .map_or_else(|| holder.address.to_string(), Cidr::to_string);
    Failure::new(
        format!("cannot expose {wanted}"),
        format!(
            "{} is in use on the network, by {}",
            holder.address,
            mac_text(holder.mac)
        ),
        "choose another one, or take it all the same with --no-probe",
    )
}

fn refused(what: &str, error: &Error) -> Failure {
    Failure::new(what, error.to_string(), "")
}
