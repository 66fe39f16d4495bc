//! The rules as data.

use std::net::IpAddr;

use weave_io::host::Cidr;

/// Of which addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    /// What goes to many at once: their sender's address must stay, they expect no answer to another.
    fn to_many(self) -> &'static [&'static str] {
        match self {
            Self::V4 => &["224.0.0.0/4", "255.255.255.255/32"],
            Self::V6 => &["ff00::/8"],
        }
    }
}

/// What must stand in one family: the rules of our chain in two tables, as `iptables-save` prints them after
/// `-A CHAIN `.
///
/// Table `filter`, jumped to from `FORWARD`:
///
/// | rule | for |
/// | --- | --- |
/// | from bridge to bridge: accept | frames between ports, which br_netfilter shows to `FORWARD` |
/// | into the bridge: accept what answers, and connections that a DNAT rule sent there | service export; the answers to import |
/// | into the bridge: drop the rest | isolation: a container of another application network reaches this host by its eth0, and would be routed into the exposed one and masqueraded |
/// | out of the bridge: accept what answers, and connections that a DNAT rule sent out | service import; the answers to export |
///
/// The last three only where something is exposed: without an address on the bridge the host routes nothing there.
/// What a container sends out by the host on its own account (the host as its gateway) is left to the host's other
/// rules.
///
/// Table `nat`, jumped to from `POSTROUTING`, only where something is exposed; for each exposed network:
///
/// | masqueraded | for |
/// | --- | --- |
/// | out of the bridge, from another network: takes the exposed address | export: the container's way back to a client outside is another host's |
/// | from the network, out by another device: takes that one's address | import: the service outside knows no way back |
/// | from the network into it, where a DNAT rule changed the destination | import of what is a container itself: its answer must come by here |
///
/// So what this host itself sends to a container keeps its address, the exposed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    chain: String,
    bridge: String,
    pub(super) filter: Vec<String>,
    pub(super) nat: Vec<String>,
}

impl Wanted {
    /// For this bridge and the addresses of the family among `exposed`.
    ///
    /// `bridged_frames_are_filtered`: whether br_netfilter is loaded. Frames between two ports of the bridge are never
    /// masqueraded; they come to `POSTROUTING` only there, and the match that tells them apart would load it where it
    /// is not, and have all bridges of the host meet the firewall.
    pub(super) fn new(
        family: Family,
        bridge: &str,
        exposed: &[Cidr],
        bridged_frames_are_filtered: bool,
    ) -> Self {
        let mut networks: Vec<Cidr> = exposed
            .iter()
            .filter(|cidr| family.has(cidr.address()))
            .map(Cidr::network)
            .collect();
        networks.sort();
        networks.dedup();
        let mut filter = vec![format!("-i {bridge} -o {bridge} -j ACCEPT")];
        let mut nat = Vec::new();
        if !networks.is_empty() {
            // One state a rule: iptables-nft 1.8.9 shows of RELATED,ESTABLISHED,DNAT the last alone.
            let states = ["RELATED,ESTABLISHED", "DNAT"];
            for state in states {
                filter.push(format!(
                    "-o {bridge} -m conntrack --ctstate {state} -j ACCEPT"
                ));
            }
            filter.push(format!("-o {bridge} -j DROP"));
            for state in states {
                filter.push(format!(
                    "-i {bridge} -m conntrack --ctstate {state} -j ACCEPT"
                ));
            }
            for many in family.to_many() {
                nat.push(format!("-d {many} -j RETURN"));
            }
        }
        let masquerade = if bridged_frames_are_filtered {
            "-m physdev ! --physdev-is-bridged -j MASQUERADE"
        } else {
            "-j MASQUERADE"
        };
        for network in networks {
            nat.push(format!(
                "! -s {network} -d {network} -o {bridge} {masquerade}"
            ));
            nat.push(format!(
                "-s {network} ! -d {network} ! -o {bridge} {masquerade}"
            ));
            nat.push(format!(
                "-s {network} -d {network} -o {bridge} -m conntrack --ctstate DNAT {masquerade}"
            ));
        }
        Self {
            chain: chain(bridge),
            bridge: bridge.to_owned(),
            filter,
            nat,
        }
    }

    /// The name of our chain.
    pub(super) fn chain(&self) -> &str {
        &self.chain
    }

    /// The bridge that they are about.
    pub(super) fn bridge(&self) -> &str {
        &self.bridge
    }

    /// Whether packets are to be routed into the bridge or out of it.
    pub(super) fn routes(&self) -> bool {
        !self.nat.is_empty()
    }
}

/// The name of our chain for a bridge, at most 21 of the 28 bytes that iptables takes.
pub(super) fn chain(bridge: &str) -> String {
    if bridge == crate::plumbing::BRIDGE {
        "WEAVE".to_owned()
    } else {
        format!("WEAVE-{bridge}")
    }
}
