//! The bridge and the kernel settings that the network needs on this host, made if they are not there.

use weave_io::host::{Cidr, Error, Netlink};
use weave_router::Failure;

use crate::context::Context;
use crate::ledger::{Entries, Ledger, Setting};
use crate::rules;
use crate::undo::Undo;

/// The bridge's name without `--bridge`.
pub(crate) const BRIDGE: &str = "weave";

/// The bridge that a command is about: the one that `--bridge` names, else the one that this host has already, else
/// [`BRIDGE`].
pub(crate) fn bridge_name(context: &Context, entries: &Entries) -> String {
    context
        .bridge
        .clone()
        .or_else(|| entries.bridge.clone())
        .unwrap_or_else(|| BRIDGE.to_owned())
}

/// Makes sure of the bridge, its settings, and the firewall's leave for what crosses it; notes in the ledger what was
/// made. Before `launch` as well: containers of one host talk without a router. What was made now is on `undo`.
///
/// A bridge that is there already is used as it is, but for spanning tree, forward delay and multicast snooping,
/// which need to be ours, and stay so.
///
/// # Errors
/// What the kernel or the firewall refuses, and a bridge other than the one that this host's containers are on. The
/// caller runs `undo` then, and puts the ledger back.
pub(crate) async fn ensure<'a>(
    netlink: &'a Netlink,
    ledger: &mut Ledger,
    bridge: &str,
    undo: &mut Undo<'a>,
) -> Result<(), Failure> {
    check_only(&ledger.entries, bridge)?;
    let refused = |error| bridge_failure(bridge, &error);
    netlink.check_bridge(bridge).map_err(refused)?;
    let there = netlink.find_link(bridge).map_err(refused)?.is_some();
    let is_first = ledger.entries.bridge.is_none();
    if !there || is_first {
        ledger.entries.bridge = Some(bridge.to_owned());
        ledger.entries.made_bridge = !there || ledger.entries.made_bridge;
        // Before it is made: a command that is killed in between leaves no bridge that nobody knows of.
        ledger.save()?;
    }
    if there && !ledger.entries.made_bridge {
        for (key, value) in BRIDGE_SETTINGS {
            let key = format!("ipv6/conf/{bridge}/{key}");
            match netlink.setting(&key) {
                Ok(_) => change_setting(netlink, ledger, &key, value, undo)?,
                // A kernel without IPv6 has nothing to keep away.
                Err(_) => break,
            }
        }
    }
    netlink.ensure_bridge(bridge, None).map_err(refused)?;
    if !there {
        let bridge = bridge.to_owned();
        undo.push(async move {
            let removed = netlink.delete_link(&bridge).map(drop);
            removed.map_err(|error| bridge_failure(&bridge, &error))
        });
    }
    if !there || is_first {
        let bridge = bridge.to_owned();
        undo.push(async move { rules::clear(&bridge).await });
    }
    rules::put(bridge, &exposed(&ledger.entries)).await?;
    Ok(())
}

/// Gives a kernel setting below `/proc/sys/net` a value; what it was before is in the ledger, and its way back on
/// `undo`, before it is changed. Nothing is done where it has the value.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn change_setting<'a>(
    netlink: &'a Netlink,
    ledger: &mut Ledger,
    key: &str,
    value: &str,
    undo: &mut Undo<'a>,
) -> Result<(), Failure> {
    let before = netlink.setting(key).map_err(setting_failure)?;
    if before == value {
        return Ok(());
    }
    let noted = ledger.entries.settings.iter_mut().find(|s| s.key == key);
    match noted {
        // Changed by somebody else meanwhile; what it was before us is known already.
        Some(noted) => noted.set = value.to_owned(),
        None => ledger.entries.settings.push(Setting {
            key: key.to_owned(),
            before: before.clone(),
            set: value.to_owned(),
        }),
    }
    ledger.save()?;
    let key = key.to_owned();
    let changed = netlink.set_setting(&key, value);
    undo.push(async move {
        let restored = netlink.set_setting(&key, &before);
        restored.map_err(setting_failure)
    });
    changed.map_err(setting_failure)
}

/// The host's own addresses on the network.
pub(crate) fn exposed(entries: &Entries) -> Vec<Cidr> {
    let parsed = entries.exposed.iter().map(|text| text.parse());
    // The ledger was read with them checked.
    parsed.filter_map(Result::ok).collect()
}

/// One state folder is about one bridge.
fn check_only(entries: &Entries, bridge: &str) -> Result<(), Failure> {
    match &entries.bridge {
        Some(other) if other != bridge => Err(Failure::new(
            format!("cannot use the bridge {bridge}"),
            format!("this host's network is on the bridge {other}"),
            "leave out --bridge, or give a second network a folder of its own with --state-dir",
        )),
        _ => Ok(()),
    }
}

fn bridge_failure(bridge: &str, error: &Error) -> Failure {
    let named = matches!(
        error,
        Error::NotABridge { .. } | Error::BadDeviceName { .. }
    );
    let remedy = if named {
        "name another one with --bridge"
    } else {
        ""
    };
    Failure::new(
        format!("cannot use the bridge {bridge}"),
        error.to_string(),
        remedy,
    )
}

fn setting_failure(error: Error) -> Failure {
    Failure::new("cannot set up this host", error.to_string(), "")
}

/// What a bridge that carries others' frames must not do of itself (see [`Netlink::disable_ipv6_autoconf`]): make a
/// link-local address, believe router advertisements.
const BRIDGE_SETTINGS: [(&str, &str); 2] = [("addr_gen_mode", "1"), ("accept_ra", "0")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;

    fn context(bridge: Option<&str>) -> Context {
        Context {
            control: "/c".into(),
            state_dir: "/s".into(),
            engine: None,
            bridge: bridge.map(str::to_owned),
            output: Output::new(),
        }
    }

    fn on(bridge: Option<&str>) -> Entries {
        Entries {
            bridge: bridge.map(str::to_owned),
            ..Entries::default()
        }
    }

    #[test]
    fn the_bridge_is_the_one_named_else_the_ledgers_else_weave() {
        assert_eq!(bridge_name(&context(None), &on(None)), "weave");
        assert_eq!(bridge_name(&context(None), &on(Some("a"))), "a");
        assert_eq!(bridge_name(&context(Some("b")), &on(Some("a"))), "b");
    }

    #[test]
    fn a_second_bridge_is_refused() {
        check_only(&on(None), "b").unwrap();
        check_only(&on(Some("b")), "b").unwrap();
        assert_eq!(
            check_only(&on(Some("a")), "b").unwrap_err().to_string(),
            "cannot use the bridge b: this host's network is on the bridge a; leave out --bridge, or give a second \
             network a folder of its own with --state-dir"
        );
    }
}
