//! The kernel settings that forwarding into the network and out of it needs, and how they were before.

use weave_io::host::Netlink;
use weave_router::Failure;

use crate::ledger::{Ledger, Setting, warn};
use crate::plumbing::change_setting;
use crate::rules;
use crate::undo::Undo;

/// The settings of one family of addresses.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// Has the kernel forward.
    forwarding: &'static str,
    /// IPv4: whether redirects are believed, which forwarding changes on its own.
    redirects: Option<&'static str>,
    /// IPv4: whether an answer may come in by another device than its question went out by.
    reverse_path: Option<String>,
}

impl Keys {
    pub(super) fn new(bridge: &str, v4: bool) -> Self {
        if v4 {
            Self {
                forwarding: FORWARDING_V4,
                redirects: Some(REDIRECTS),
                reverse_path: Some(format!("ipv4/conf/{bridge}/rp_filter")),
            }
        } else {
            Self {
                forwarding: FORWARDING_V6,
                redirects: None,
                reverse_path: None,
            }
        }
    }

    /// Whether it is one of these, changed for them.
    pub(super) fn has(&self, setting: &Setting) -> bool {
        let advertisements = self.forwarding == FORWARDING_V6
            && is_about_advertisements(&setting.key)
            && setting.set == ADVERTISEMENTS_ALL_THE_SAME;
        setting.key == self.forwarding
            || Some(setting.key.as_str()) == self.redirects
            || Some(&setting.key) == self.reverse_path.as_ref()
            || advertisements
    }
}

/// Whether a noted setting must stay as it was set. One that only changed along with another may be changed by anybody.
pub(crate) fn must_stay(setting: &Setting) -> bool {
    setting.key != REDIRECTS
}

/// Has the kernel forward between the bridge and other devices, for one family. How it was is in the ledger, and the
/// way back on `undo`.
///
/// # Errors
/// What the kernel refuses.
pub(super) fn forward<'a>(
    netlink: &'a Netlink,
    ledger: &mut Ledger,
    bridge: &str,
    v4: bool,
    undo: &mut Undo<'a>,
) -> Result<(), Failure> {
    let keys = Keys::new(bridge, v4);
    let read = |key: &str| netlink.setting(key).map_err(failure);
    if read(keys.forwarding)? != "1" {
        if let Some(key) = keys.redirects {
            let before = read(key)?;
            let noted = ledger.entries.settings.iter().any(|noted| noted.key == key);
            if !noted {
                ledger.entries.settings.push(Setting {
                    key: key.to_owned(),
                    before: before.clone(),
                    set: "0".to_owned(),
                });
            }
            // Pushed before that of forwarding itself, so run after it.
            undo.push(async move { netlink.set_setting(key, &before).map_err(failure) });
        }
        if !v4 {
            // A host that forwards doesn't believe router advertisements, unless told that it shall: it would lose
            // its own default route, minutes later.
            for link in netlink.links().map_err(failure)? {
                let key = format!("ipv6/conf/{}/accept_ra", link.name);
                let believes = netlink.setting(&key).is_ok_and(|value| value == "1");
                if believes && !link.loopback && link.controller.is_none() {
                    change_setting(netlink, ledger, &key, ADVERTISEMENTS_ALL_THE_SAME, undo)?;
                }
            }
        }
        change_setting(netlink, ledger, keys.forwarding, "1", undo)?;
    }
    if let Some(key) = &keys.reverse_path {
        change_setting(netlink, ledger, key, "2", undo)?;
    }
    Ok(())
}

/// Puts those noted settings back that `which` picks, the last first, and strikes them from the ledger (which the
/// caller saves). One that somebody else changed since is left alone; so is forwarding where others need it by now.
pub(super) async fn put_back(
    netlink: &Netlink,
    ledger: &mut Ledger,
    bridge: &str,
    which: impl Fn(&Setting) -> bool,
) {
    let all = std::mem::take(&mut ledger.entries.settings);
    let (picked, kept) = all.into_iter().partition::<Vec<_>, _>(which);
    ledger.entries.settings = kept;
    // Looked at before any is written: forwarding changes others on its own.
    let mut ours = Vec::new();
    for setting in picked {
        // Gone with its device, else.
        let is_ours = netlink
            .setting(&setting.key)
            .is_ok_and(|now| now == setting.set);
        let is_forwarding = setting.key == FORWARDING_V4 || setting.key == FORWARDING_V6;
        let v4 = setting.key == FORWARDING_V4;
        if is_ours && is_forwarding && rules::others_forward(bridge, v4).await {
            warn(&format!(
                "leaves {} on: other firewall rules of this host forward too",
                setting.key
            ));
            // With all that goes with it; they were noted before it.
            let keys = Keys::new(bridge, v4);
            ours.retain(|setting| !keys.has(setting));
        } else if is_ours {
            ours.push(setting);
        }
    }
    for setting in ours.iter().rev() {
        if let Err(error) = netlink.set_setting(&setting.key, &setting.before) {
            warn(&format!("cannot put a setting back: {error}"));
        }
    }
}

fn is_about_advertisements(key: &str) -> bool {
    key.starts_with("ipv6/conf/") && key.ends_with("/accept_ra")
}

fn failure(error: weave_io::host::Error) -> Failure {
    Failure::new("cannot set up this host", error.to_string(), "")
}

const FORWARDING_V4: &str = "ipv4/ip_forward";
const REDIRECTS: &str = "ipv4/conf/all/accept_redirects";
const FORWARDING_V6: &str = "ipv6/conf/all/forwarding";
/// Router advertisements are believed though the host forwards (Documentation/networking/ip-sysctl.rst).
const ADVERTISEMENTS_ALL_THE_SAME: &str = "2";
