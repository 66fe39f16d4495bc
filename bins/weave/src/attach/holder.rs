//! Who has an address already: another container of this host, the host itself, a station behind some router.

use serde::Deserialize;
use weave_io::host::Cidr;

use crate::context::Context;
use crate::ledger::Entries;
use crate::place::Presence;
use crate::plumbing;

/// Why an address can't be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The reason.
    pub(super) why: String,
    /// What to do about it.
    pub(super) remedy: String,
}

/// Looks in the ledger for somebody other than the attachment at `own` who has `wanted`, whatever the length of the
/// network. One that is gone for good loses it, which is taken from `entries`.
pub(super) async fn find(
    context: &Context,
    entries: &mut Entries,
    own: Option<usize>,
    wanted: Cidr,
) -> Option<Refusal> {
    let address = wanted.address();
    let exposed = plumbing::exposed(entries);
    if let Some(cidr) = exposed.iter().find(|cidr| cidr.address() == address) {
        return Some(Refusal {
            why: format!("this host has {address}"),
            remedy: format!("weave hide {cidr} frees it"),
        });
    }
    for (position, attachment) in entries.attachments.iter_mut().enumerate() {
        let mut cidrs = attachment.cidrs().into_iter();
        let held = cidrs.find(|cidr| cidr.address() == address);
        let Some(held) = held.filter(|_| own != Some(position)) else {
            continue;
        };
        let idle = match Presence::of(context, &attachment.of).await {
            Presence::Gone => {
                let text = held.to_string();
                attachment.addresses.retain(|other| *other != text);
                continue;
            }
            Presence::Idle => ", which does not run",
            Presence::Here(_) | Presence::Unknown(_) => "",
        };
        let label = attachment.of.label();
        return Some(Refusal {
            why: format!("{address} belongs to {label} on this host{idle}"),
            remedy: format!("weave detach {held} {label} frees it"),
        });
    }
    None
}

/// The name of the router behind which a station is, where the router of this host runs and knows it.
pub(super) async fn router_of(context: &Context, mac: &str) -> Option<String> {
    /// What is read of the router's status.
    #[derive(Deserialize)]
    struct Status {
        macs: Vec<Station>,
    }
    #[derive(Deserialize)]
    struct Station {
        mac: String,
        peer: String,
        local: bool,
    }
    let status = context.client().get::<Status>("/status").await.ok()?;
    let mut stations = status.macs.into_iter();
    let station = stations.find(|station| station.mac == mac && !station.local)?;
    Some(station.peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Attachment, Subject};
    use crate::output::Output;

    fn attachment(of: Subject, address: &str) -> Attachment {
        Attachment {
            of,
            mac: "02:00:00:00:00:01".to_owned(),
            addresses: vec![address.to_owned()],
        }
    }

    /// A process that lives, under its own start time or another's.
    fn process(started: &str) -> Subject {
        Subject::Process {
            pid: std::process::id(),
            started: started.to_owned(),
        }
    }

    fn look(entries: &mut Entries, own: Option<usize>, wanted: &str) -> Option<Refusal> {
        let context = Context {
            control: "/nonexistent".into(),
            state_dir: "/nonexistent".into(),
            engine: None,
            bridge: None,
            output: Output::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(find(&context, entries, own, wanted.parse().unwrap()))
    }

    #[test]
    fn the_hosts_own_address_is_taken() {
        let mut entries = Entries {
            exposed: vec!["10.0.1.100/24".to_owned()],
            ..Entries::default()
        };
        assert_eq!(look(&mut entries, None, "10.0.1.101/24"), None);
        let refusal = look(&mut entries, None, "10.0.1.100/16").unwrap();
        assert_eq!(refusal.why, "this host has 10.0.1.100");
        assert_eq!(refusal.remedy, "weave hide 10.0.1.100/24 frees it");
    }

    #[test]
    fn what_is_gone_loses_its_address_and_ones_own_is_no_obstacle() {
        let mut entries = Entries {
            attachments: vec![
                attachment(process("another process"), "10.0.1.1/24"),
                attachment(
                    Subject::Namespace {
                        path: "/run/netns/weave-none".into(),
                    },
                    "10.0.1.2/24",
                ),
            ],
            ..Entries::default()
        };
        assert_eq!(look(&mut entries, Some(0), "10.0.1.1/24"), None);
        assert_eq!(entries.attachments[0].addresses.len(), 1, "its own");
        assert_eq!(look(&mut entries, None, "10.0.1.1/24"), None);
        assert_eq!(entries.attachments[0].addresses.len(), 0, "it is gone");
        assert_eq!(look(&mut entries, None, "10.0.1.2/16"), None);
        assert_eq!(entries.attachments[1].addresses.len(), 0);
    }
}
