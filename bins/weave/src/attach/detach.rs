//! `weave detach`: takes addresses away, and the interface with the last one.

use std::process::ExitCode;

use weave_io::host::{Cidr, Error, Netlink};
use weave_router::Failure;

use super::command::DetachArgs;
use super::ends::{self, Found};
use super::{DEVICE, address};
use crate::context::Context;
use crate::ledger::{Ledger, mac_text, warn};
use crate::place::{Place, Presence, check_root};
use crate::undo::Undo;

/// Runs `weave detach`.
///
/// # Errors
/// What the user must know; nothing is changed then.
pub(crate) async fn detach(context: &Context, args: &DetachArgs) -> Result<ExitCode, Failure> {
    let container = &args.whom.container;
    let what = format!("cannot detach {container}");
    let addresses = args.whom.addresses(&what, "detach")?;
    check_root()?;
    let mut ledger = Ledger::lock(&context.state_dir)?;
    let place = match Place::find(context, container).await {
        Ok(place) => place,
        Err(failure) => {
            // It may be known here, though it does not run.
            let mut attachments = ledger.entries.attachments.iter();
            let Some(position) = attachments.position(|a| a.of.answers_to(container)) else {
                return Err(failure);
            };
            let subject = &ledger.entries.attachments[position].of;
            let state = match Presence::of(context, subject).await {
                // A paused container.
                Presence::Here(place) => {
                    return detach_from(&what, &mut ledger, &place, &addresses).await;
                }
                Presence::Unknown(failure) => return Err(failure),
                Presence::Idle => "does not run",
                Presence::Gone => "is gone",
            };
            forget(&what, &mut ledger, position, &addresses)?;
            let forgotten = addresses.iter().map(ToString::to_string);
            let forgotten = forgotten.collect::<Vec<_>>().join(", ");
            warn(&format!("{container} {state}: {forgotten} is forgotten"));
            return Ok(ExitCode::SUCCESS);
        }
    };
    detach_from(&what, &mut ledger, &place, &addresses).await
}

/// Takes the addresses from what is not there out of the ledger.
fn forget(
    what: &str,
    ledger: &mut Ledger,
    position: usize,
    addresses: &[Cidr],
) -> Result<(), Failure> {
    let attachment = &mut ledger.entries.attachments[position];
    let known = attachment.cidrs();
    if let Some(stranger) = addresses.iter().find(|cidr| !known.contains(cidr)) {
        return Err(not_attached(what, *stranger, &known));
    }
    let gone: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    attachment.addresses.retain(|text| !gone.contains(text));
    ledger
        .entries
        .attachments
        .retain(|attachment| !attachment.addresses.is_empty());
    ledger.save()
}

async fn detach_from(
    what: &str,
    ledger: &mut Ledger,
    place: &Place,
    addresses: &[Cidr],
) -> Result<ExitCode, Failure> {
    let refused = |error: Error| Failure::new(what, error.to_string(), "");
    let host = Netlink::open().map_err(refused)?;
    let inside = Netlink::open_in(&place.namespace).map_err(refused)?;
    let found = ends::find(&host, &inside).map_err(refused)?;
    let (port, mac, there) = match &found {
        Found::Ours(ends) => (
            Some(&ends.port.name),
            ends.device.mac.map(mac_text),
            inside.addresses_of(DEVICE).map_err(refused)?,
        ),
        // An interface of that name that is not ours is no business of ours.
        Found::Nothing | Found::Foreign => (None, None, Vec::new()),
    };
    let entries = &ledger.entries;
    let position = entries.position_of(&place.subject).or_else(|| {
        let mac = mac.as_ref()?;
        entries.attachments.iter().position(|a| a.mac == *mac)
    });
    let known = position.map_or_else(Vec::new, |at| entries.attachments[at].cidrs());
    for cidr in addresses {
        if !there.contains(cidr) && !known.contains(cidr) {
            let mut all = there.clone();
            all.extend(&known);
            return Err(not_attached(what, *cidr, &all));
        }
    }
    let before = entries.clone();
    if let Some(position) = position {
        let gone: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let attachments = &mut ledger.entries.attachments;
        attachments[position]
            .addresses
            .retain(|a| !gone.contains(a));
        attachments.retain(|attachment| !attachment.addresses.is_empty());
        ledger.save()?;
    }
    let mut undo = Undo::new();
    let done = match port {
        Some(port) => take(&host, &inside, port, &there, addresses, &mut undo),
        None => Ok(()),
    };
    match done {
        Ok(()) => {
            undo.keep();
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            undo.back().await;
            ledger.put_back(before);
            Err(refused(error))
        }
    }
}

/// Takes addresses from `ethwe`, and all of it where none stays but what it made itself.
fn take<'a>(
    host: &Netlink,
    inside: &'a Netlink,
    port: &str,
    there: &[Cidr],
    addresses: &[Cidr],
    undo: &mut Undo<'a>,
) -> Result<(), Error> {
    let stays = |cidr: &Cidr| !addresses.contains(cidr) && !address::is_link_local(cidr.address());
    if !there.iter().any(stays) {
        return host.delete_link(port).map(drop);
    }
    // Else all of one network go with the first.
    inside.set_setting(&format!("ipv4/conf/{DEVICE}/promote_secondaries"), "1")?;
    for cidr in addresses.iter().filter(|cidr| there.contains(cidr)) {
        inside.remove_address(DEVICE, *cidr)?;
        let cidr = *cidr;
        undo.push(async move {
            let added = inside.add_address_undetected(DEVICE, cidr).map(drop);
            added.map_err(|error| Failure::new("cannot give it back", error.to_string(), ""))
        });
    }
    Ok(())
}

fn not_attached(what: &str, wanted: Cidr, known: &[Cidr]) -> Failure {
    let other = known.iter().find(|cidr| cidr.address() == wanted.address());
    match other {
        Some(other) => Failure::new(
            what,
            format!("it has {other}, not {wanted}"),
            "give the address as it was attached",
        ),
        None => Failure::new(
            what,
            format!("it does not have {wanted} on the network"),
            "weave ps lists what is attached",
        ),
    }
}
