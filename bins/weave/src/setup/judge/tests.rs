use std::path::PathBuf;

use super::*;
use crate::setup::facts::{
    Content, Disk, Firewall, Folder, ReversePath, StateFolder, Taken, WayOut,
};
use crate::setup::firewall::{Family, parse_iptables};
use crate::setup::system::System;

/// A Debian host on which all is well.
fn well() -> Facts {
    Facts {
        system: System::new("ID=debian", true),
        rights: Rights::Root,
        tun: Tun::Opens,
        devices: Devices::Made,
        kernel: "6.1.0".into(),
        bridge_netfilter: None,
        iptables: true,
        engine: EngineFound::Answers {
            kind: EngineKind::Docker,
            version: "20.10.24".into(),
            rootless: false,
            remapped: false,
        },
        port: 6783,
        taken: [Taken::Free, Taken::Free],
        firewall: Firewall::Rules {
            ufw: false,
            rulesets: Vec::new(),
        },
        reverse_path: ReversePath { mode: 0, ways: 1 },
        clock: Clock::Synchronised,
        state: StateFolder {
            path: PathBuf::from("/var/lib/weave"),
            content: Content::Nothing,
        },
        disk: Disk {
            free_bytes: Some(4 << 30),
            free_files: Some(100_000),
            read_only: false,
        },
        way_out: WayOut::By {
            device: "eth0".into(),
            mtu_bytes: 1500,
        },
    }
}

fn folder() -> Folder {
    Folder {
        mode: 0o700,
        owner: 0,
        exposed: Vec::new(),
        identity: true,
        former_identity: false,
        same_machine: Some(true),
        held_by: None,
    }
}

/// As `missing: what was found -> what mends it`.
fn line(facts: &Facts, name: &str) -> String {
    let check = judge(facts)
        .into_iter()
        .find(|check| check.name == name)
        .unwrap();
    let state = match check.state {
        State::Ok => "ok",
        State::Note => "note",
        State::Missing => "missing",
    };
    let mend = check.mend.map(|mend| format!(" -> {mend}"));
    format!("{state}: {}{}", check.found, mend.unwrap_or_default())
}

/// What one check says after one fact changed.
fn says(name: &str, wanted: &str, change: impl FnOnce(&mut Facts)) {
    let mut facts = well();
    change(&mut facts);
    assert_eq!(line(&facts, name), wanted);
}

#[test]
fn on_a_host_with_everything_every_line_is_ok() {
    for check in judge(&well()) {
        assert_eq!(check.state, State::Ok, "{check:?}");
        assert_eq!(check.mend, None, "{check:?}");
    }
}

#[test]
fn whatever_is_missing_comes_with_what_mends_it_on_one_line() {
    let mut worst = well();
    worst.rights = Rights::Caged;
    worst.tun = Tun::Absent;
    worst.devices = Devices::Refused("operation not supported".into());
    worst.engine = EngineFound::NotInstalled(None);
    worst.iptables = false;
    worst.bridge_netfilter = Some([true, true]);
    worst.taken = [Taken::By(None), Taken::Free];
    worst.firewall = Firewall::Firewalld([false, false]);
    worst.clock = Clock::Free;
    worst.state.content = Content::NoFolder;
    worst.disk.read_only = true;
    worst.way_out = WayOut::By {
        device: "ppp0".into(),
        mtu_bytes: 576,
    };
    let checks = judge(&worst);
    let missing = |check: &&Check| check.state == State::Missing;
    assert_eq!(checks.iter().filter(missing).count(), 10);
    for check in &checks {
        assert_eq!(check.mend.is_some(), check.state != State::Ok, "{check:?}");
        let mend = check.mend.as_deref().unwrap_or_default();
        assert!(
            !check.found.contains('\n') && !mend.contains('\n'),
            "{check:?}"
        );
    }
}

#[test]
fn rights_and_devices() {
    says(
        "rights",
        "missing: user 1000, and weave changes the network of this host -> sudo weave setup",
        |facts| {
            facts.rights = Rights::User(1000);
        },
    );
    says(
        "rights",
        "missing: root without the rights to change the network, as in a container -> run weave on the host itself, or \
         give the container --privileged --network host --pid host",
        |facts| facts.rights = Rights::Caged,
    );
    says(
        "tun",
        "missing: there is no /dev/net/tun -> modprobe -a tun && printf '%s\\n' tun >> /etc/modules-load.d/weave.conf",
        |facts| facts.tun = Tun::Absent,
    );
    says(
        "tun",
        "missing: there is no /dev/net/tun -> modprobe -a tun && printf '%s\\n' tun >> /etc/modules",
        |facts| {
            facts.system = System::new("ID=alpine", false);
            facts.tun = Tun::Absent;
        },
    );
    says(
        "tun",
        "missing: /dev/net/tun is there and leads nowhere: no such device -> modprobe -a tun && printf '%s\\n' tun >> \
         /etc/modules-load.d/weave.conf",
        |facts| facts.tun = Tun::Refused("no such device".into()),
    );
    says(
        "tun",
        "missing: /dev/net/tun can't be opened: operation not permitted -> in a container, start it with --device \
         /dev/net/tun",
        |facts| facts.tun = Tun::Refused("operation not permitted".into()),
    );
    says(
        "tun",
        "note: /dev/net/tun: permission denied; it takes root to find out",
        |facts| {
            facts.rights = Rights::User(1);
            facts.tun = Tun::Refused("permission denied".into());
        },
    );
    says(
        "kernel",
        "missing: Linux 6.1.0 makes no bridge and veth: operation not supported -> modprobe -a bridge veth && printf \
         '%s\\n' bridge veth >> /etc/modules-load.d/weave.conf",
        |facts| facts.devices = Devices::Refused("operation not supported".into()),
    );
}

#[test]
fn engines() {
    let answers = |kind, rootless, remapped| EngineFound::Answers {
        kind,
        version: "1".into(),
        rootless,
        remapped,
    };
    for (found, wanted) in [
        (
            EngineFound::Unwanted,
            "ok: none wanted: weave launch --no-container",
        ),
        (
            EngineFound::NotInstalled(None),
            "missing: there is neither docker nor podman here; a host without containers takes weave launch \
             --no-container -> apt-get install -y docker.io",
        ),
        (
            EngineFound::NotInstalled(Some(EngineKind::Podman)),
            "missing: there is no podman here -> apt-get install -y podman",
        ),
        (
            EngineFound::Silent {
                kind: EngineKind::Docker,
                why: "no daemon".into(),
            },
            "missing: docker does not answer: no daemon -> systemctl enable --now docker",
        ),
        (
            answers(EngineKind::Docker, true, false),
            "missing: docker 1 runs without root: its containers are not on this host's network -> use the system's \
             engine: unset DOCKER_HOST; docker context use default; systemctl enable --now docker",
        ),
        (
            answers(EngineKind::Podman, true, false),
            "missing: podman 1 runs without root: its containers are not on this host's network -> run weave and podman \
             as root: sudo weave setup",
        ),
        (
            answers(EngineKind::Docker, false, true),
            "missing: docker 1 maps the users of its containers (userns-remap), which weave can't enter -> take \
             userns-remap out of /etc/docker/daemon.json and start the engine anew, or weave launch --no-container",
        ),
        (
            answers(EngineKind::Podman, false, false),
            "ok: podman 1 answers",
        ),
    ] {
        says("engine", wanted, |facts| facts.engine = found);
    }
    says(
        "engine",
        "missing: there is no docker here -> dnf install -y moby-engine && systemctl enable --now docker",
        |facts| {
            facts.system = System::new("ID=fedora", true);
            facts.engine = EngineFound::NotInstalled(Some(EngineKind::Docker));
        },
    );
}

#[test]
fn red_hat_has_podman_among_its_packages() {
    says(
        "engine",
        "missing: there is neither docker nor podman here; a host without containers takes weave launch --no-container -> \
         dnf install -y podman",
        |facts| {
            facts.system = System::new("ID=almalinux\nID_LIKE=\"rhel centos fedora\"", true);
            facts.engine = EngineFound::NotInstalled(None);
        },
    );
}

#[test]
fn an_engine_that_may_answer_root_is_not_called_missing() {
    says(
        "engine",
        "note: docker does not answer this user: permission denied",
        |facts| {
            facts.rights = Rights::User(1000);
            facts.engine = EngineFound::Silent {
                kind: EngineKind::Docker,
                why: "permission denied".into(),
            };
        },
    );
}

#[test]
fn iptables_is_needed_where_something_drops_bridged_frames() {
    says(
        "iptables",
        "missing: not there: Docker drops what crosses bridges that are not its own, and weave can't say otherwise -> \
         apt-get install -y iptables",
        |facts| facts.iptables = false,
    );
    says(
        "iptables",
        "note: not there, which does no harm until something is exposed (weave expose) -> apt-get install -y iptables",
        |facts| {
            facts.iptables = false;
            facts.engine = EngineFound::Unwanted;
        },
    );
    says(
        "iptables",
        "missing: not there: bridged packets meet the firewall here, and weave can't make its exception -> apt-get \
         install -y iptables",
        |facts| {
            facts.iptables = false;
            facts.engine = EngineFound::Unwanted;
            facts.bridge_netfilter = Some([false, true]);
        },
    );
    says(
        "bridged",
        "ok: bridged packets meet the firewall (br_netfilter); weave's rules let them pass",
        |facts| facts.bridge_netfilter = Some([true, true]),
    );
    says(
        "bridged",
        "ok: br_netfilter is off: bridged packets meet no firewall",
        |facts| {
            facts.bridge_netfilter = Some([false, false]);
        },
    );
}

#[test]
fn a_port_that_somebody_has() {
    let program = || {
        Some(Program {
            name: "nc".into(),
            pid: 12,
        })
    };
    says(
        "port",
        "missing: UDP port 6783 is taken by nc (process 12) -> kill 12, or on every host: weave launch --port N, with N \
         of your choice",
        |facts| facts.taken = [Taken::Free, Taken::By(program())],
    );
    says(
        "port",
        "missing: TCP port 6783 is taken; as root, setup tells by whom -> ss -tlnp sport = :6783",
        |facts| facts.taken = [Taken::By(None), Taken::Free],
    );
    says(
        "port",
        "ok: TCP and UDP 6783: this host's router has it",
        |facts| {
            facts.taken = [Taken::Ours, Taken::Ours];
        },
    );
    says(
        "port",
        "missing: TCP port 83 can't be had: permission denied -> weave launch --port N, with an N above 1023, on every \
         host",
        |facts| {
            facts.port = 83;
            facts.taken = [Taken::Refused("permission denied".into()), Taken::Free];
        },
    );
}

#[test]
fn firewalls_are_opened_by_what_made_them() {
    let rules = |family, text: &str| vec![parse_iptables(family, text)];
    let closed = "-P INPUT DROP\n-A INPUT -p tcp -m tcp --dport 6783 -j ACCEPT\n";
    says(
        "firewall",
        "missing: the firewall keeps out UDP 6783 over IPv4; keep the rule where this host keeps its others, or it is \
         gone at the next boot -> iptables -I INPUT -p tcp --dport 6783 -j ACCEPT && iptables -I INPUT -p udp --dport \
         6783 -j ACCEPT",
        |facts| {
            facts.firewall = Firewall::Rules {
                ufw: false,
                rulesets: rules(Family::V4, closed),
            };
        },
    );
    says(
        "firewall",
        "missing: ufw keeps out UDP 6783 over IPv4 -> ufw allow 6783/tcp && ufw allow 6783/udp",
        |facts| {
            facts.firewall = Firewall::Rules {
                ufw: true,
                rulesets: rules(Family::V4, closed),
            };
        },
    );
    says(
        "firewall",
        "missing: firewalld keeps out TCP and UDP 6783 -> firewall-cmd --permanent --add-port=6783/tcp \
         --add-port=6783/udp && firewall-cmd --reload",
        |facts| facts.firewall = Firewall::Firewalld([false, false]),
    );
    says(
        "firewall",
        "ok: firewalld lets in TCP and UDP 6783",
        |facts| {
            facts.firewall = Firewall::Firewalld([true, true]);
        },
    );
    says(
        "firewall",
        "note: the firewall lets in 6783 over IPv4 and keeps out TCP and UDP 6783 over IPv6 -> ip6tables -I INPUT -p tcp \
         --dport 6783 -j ACCEPT && ip6tables -I INPUT -p udp --dport 6783 -j ACCEPT",
        |facts| {
            facts.firewall = Firewall::Rules {
                ufw: false,
                rulesets: rules(Family::V6, "-P INPUT DROP\n"),
            };
        },
    );
    says(
        "firewall",
        "note: the firewall lets in some hosts only over IPv4: see that the peers are among them -> iptables -I INPUT -p \
         tcp --dport 6783 -j ACCEPT && iptables -I INPUT -p udp --dport 6783 -j ACCEPT",
        |facts| {
            facts.firewall = Firewall::Rules {
                ufw: false,
                rulesets: rules(
                    Family::V4,
                    "-P INPUT DROP\n-A INPUT -s 192.0.2.0/24 -j ACCEPT\n",
                ),
            };
        },
    );
    says(
        "firewall",
        "note: whether it lets others reach port 6783, it takes root to find out",
        |facts| {
            facts.firewall = Firewall::Unknown;
        },
    );
}

#[test]
fn the_underlay_and_the_clock() {
    says(
        "rp_filter",
        "note: strict, with 2 ways out: what peers send by another way than the answer's is dropped in silence -> sysctl \
         -w net.ipv4.conf.all.rp_filter=2 && echo net.ipv4.conf.all.rp_filter=2 > /etc/sysctl.d/60-weave.conf",
        |facts| facts.reverse_path = ReversePath { mode: 1, ways: 2 },
    );
    says(
        "rp_filter",
        "ok: strict, which suits a host with one way out",
        |facts| {
            facts.reverse_path = ReversePath { mode: 1, ways: 1 };
        },
    );
    let by = |mtu_bytes| WayOut::By {
        device: "eth0".into(),
        mtu_bytes,
    };
    says(
        "mtu",
        "missing: eth0 takes 1279 bytes, and weave needs 1280 -> ip link set eth0 mtu 1280",
        |facts| facts.way_out = by(1279),
    );
    says(
        "mtu",
        "note: eth0 takes 9001 bytes; if not all hosts do, give all the same: weave launch --mtu 1390",
        |facts| facts.way_out = by(9001),
    );
    says("mtu", "ok: eth0 takes 1280 bytes", |facts| {
        facts.way_out = by(1280)
    });
    says(
        "mtu",
        "ok: no default route: peers are on networks of this host",
        |facts| {
            facts.way_out = WayOut::Nowhere;
        },
    );
    says(
        "clock",
        "note: not synchronised: a clock that jumps makes the router set up its links anew, and log lines of several \
         hosts don't compare -> apt-get install -y chrony",
        |facts| facts.clock = Clock::Free,
    );
}

#[test]
fn the_state_folder_and_who_else_may_be_in_it() {
    let there = |change: fn(&mut Folder)| {
        let mut folder = folder();
        change(&mut folder);
        move |facts: &mut Facts| facts.state.content = Content::Folder(folder)
    };
    says(
        "state",
        "ok: /var/lib/weave is not there yet, and will be made",
        |_| {},
    );
    says("state", "ok: /var/lib/weave, mode 700", there(|_| {}));
    says(
        "state",
        "missing: /var/lib/weave may be changed by others (mode 777) -> chmod 700 /var/lib/weave",
        there(|folder| folder.mode = 0o777),
    );
    says(
        "state",
        "missing: /var/lib/weave belongs to user 1000 -> chown -R root /var/lib/weave",
        there(|folder| folder.owner = 1000),
    );
    says(
        "state",
        "missing: others may read /var/lib/weave/identity /var/lib/weave/password: if they have, a new identity or \
         password is due -> chmod 600 /var/lib/weave/identity /var/lib/weave/password",
        there(|folder| folder.exposed = vec!["identity".into(), "password".into()]),
    );
    says(
        "state",
        "missing: weave-router (process 9) uses /var/lib/weave and does not answer at this socket: two routers can't \
         share a folder -> kill 9, or name its socket (--control) or another folder (--state-dir)",
        there(|folder| {
            folder.held_by = Some(Program {
                name: "weave-router".into(),
                pid: 9,
            });
        }),
    );
    says(
        "state",
        "missing: /var/lib/weave is no folder -> mv /var/lib/weave /var/lib/weave.old",
        |facts| {
            facts.state.content = Content::NoFolder;
        },
    );

    says("identity", "ok: made at the first start", |_| {});
    says("identity", "ok: made on this machine", there(|_| {}));
    says(
        "identity",
        "note: /var/lib/weave was made on another machine: if that one runs weave too, the two have one identity, and the \
         later takes a new one; if this is the copy, delete it before launch -> weave stop; rm -r /var/lib/weave",
        there(|folder| folder.same_machine = Some(false)),
    );
    says(
        "identity",
        "note: another router had this one's, so it took a new one; the former is kept in /var/lib/weave/identity.bak",
        there(|folder| folder.former_identity = true),
    );
    says(
        "identity",
        "ok: there; on which machine it was made is not known, and routers notice copies within seconds",
        there(|folder| folder.same_machine = None),
    );
}

#[test]
fn a_full_disk() {
    says(
        "disk",
        "missing: 3 MB are free for /var/lib/weave and the router's image takes 32 MB -> df -h /var/lib/weave; docker \
         image prune",
        |facts| facts.disk.free_bytes = Some(3 << 20),
    );
    says(
        "disk",
        "missing: the disk of /var/lib/weave takes no more files -> df -i /var/lib/weave",
        |facts| facts.disk.free_files = Some(0),
    );
    says(
        "disk",
        "missing: /var/lib/weave is on a disk that can only be read -> weave launch --state-dir DIR, with a folder on one \
         that can be written, or mount -o remount,rw",
        |facts| facts.disk.read_only = true,
    );
    says("disk", "ok: 4096 MB free", |_| {});
}
