//! All that the tool could have changed on a host, as text that can be compared.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Engine, Host, within};

/// A host at one moment, by sections of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<&'static str, Vec<String>>);

impl Host {
    /// Devices, addresses, routes, firewall, network settings, files of state, processes, and what the engine has.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.start_engine();
        // An address of IPv6 that the kernel gave a device becomes another one in a second's time (RFC 4862 section 5.4).
        within(Duration::from_secs(5), "addresses settle", || {
            let tentative = self.sh("ip -6 address show tentative").ok();
            tentative.stdout.is_empty().then_some(())
        });
        let mut sections: BTreeMap<_, _> = SECTIONS
            .iter()
            .map(|(name, line)| (*name, self.lines(line)))
            .collect();
        if self.engine != Engine::None {
            for (name, arguments) in ENGINE_SECTIONS {
                let line = format!("{} {arguments}", self.engine.program());
                sections.insert(*name, self.lines(&line));
            }
        }
        Snapshot(sections)
    }

    fn lines(&self, line: &str) -> Vec<String> {
        let said = self.sh(line).ok();
        said.stdout.lines().map(str::to_owned).collect()
    }
}

impl Snapshot {
    /// What is otherwise in the later one: a line each, `-` for what is gone and `+` for what is new. Empty if nothing is.
    pub(crate) fn changes(&self, later: &Self) -> String {
        let mut text = String::new();
        for (name, before) in &self.0 {
            let none = Vec::new();
            let after = later.0.get(name).unwrap_or(&none);
            let (gone, new) = (only_in(before, after), only_in(after, before));
            if gone.is_empty() && new.is_empty() {
                continue;
            }
            text += &format!("{name}:\n");
            gone.iter()
                .for_each(|line| text += &format!("  - {line}\n"));
            new.iter().for_each(|line| text += &format!("  + {line}\n"));
        }
        text
    }

    /// Fails with the differences if there is one.
    #[track_caller]
    pub(crate) fn must_equal(&self, later: &Self) {
        let changes = self.changes(later);
        assert!(changes.is_empty(), "the host is not as it was:\n{changes}");
    }
}

/// Lines of one that the other has not, or not as often.
fn only_in(one: &[String], other: &[String]) -> Vec<String> {
    let mut other: Vec<&String> = other.iter().collect();
    let mut only = Vec::new();
    for line in one {
        match other.iter().position(|candidate| *candidate == line) {
            Some(at) => {
                other.swap_remove(at);
            }
            None => only.push(line.clone()),
        }
    }
    only
}

/// What makes lines of iptables-save's that can be compared: without times and counters, each with its table, and
/// without the chains of a table that are there since somebody looked at it, and let all pass.
macro_rules! rules {
    () => {
        r"sed -E 's/ \[[0-9:]+\]$//' | \
          awk '/^\*/ {table = $1} /^[:-]/ && !/^:[A-Z]+ ACCEPT$/ {print table, $0}'"
    };
}
/// Sections of each host, and the lines that print them. Order that means something is kept: that of rules.
const SECTIONS: &[(&str, &str)] = &[
    // Indices of devices of other namespaces are left in: they tell one device from its successor.
    (
        "links",
        "ip -o -d link show | sed -E 's/ [a-z_]*timer +[0-9.]+//g' | sort",
    ),
    (
        "addresses",
        "ip -o address show | sed 's/^[0-9]*: //' | sort",
    ),
    (
        "routes",
        "ip route show table all | sort; ip -6 route show table all | sort",
    ),
    ("bridge ports", "bridge -d link show | sort"),
    ("iptables", concat!("iptables-save | ", rules!())),
    ("ip6tables", concat!("ip6tables-save | ", rules!())),
    // Some of them count by themselves, some can't be read.
    (
        "settings",
        "grep -rs '' /proc/sys/net | grep -v -e nf_conntrack_count -e /stable_secret: | sort",
    ),
    (
        "files",
        "find /var/lib /run /tmp /etc/weave /etc/systemd /opt \
         \\( -path /var/lib/docker -o -path /run/docker -o -path /var/lib/containers -o -path /run/containers \
         -o -path /var/lib/containerd -o -path /run/libpod -o -path /run/bin -o -path /run/crun \\) -prune \
         -o -printf '%M %u %p %l\\n' 2>/dev/null | sort || true",
    ),
    // The guard asks the engine when it likes.
    (
        "processes",
        "ps -e -o comm= | grep -vx -e ps -e sh -e grep -e sort -e docker | sort",
    ),
];

/// Sections of the engine's own, and the arguments that print them.
const ENGINE_SECTIONS: &[(&str, &str)] = &[
    (
        "images",
        "images --all --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort",
    ),
    (
        "containers",
        // Podman's state says since when.
        "ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.Image}} {{.State}}' | sed 's/ Up .*/ running/' | sort",
    ),
    ("volumes", "volume ls --quiet | sort"),
    (
        "networks",
        "network ls --format '{{.Name}} {{.Driver}}' | sort",
    ),
];
