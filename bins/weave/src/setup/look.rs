//! Looks at this host, and changes nothing on it: what is tried (a bridge, a veth) is tried in a network namespace that
//! is gone afterwards, and ports are held for no longer than it takes to see that they are free.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::geteuid;
use weave_io::host::{NetNs, Netlink};
use weave_router::words;

use super::facts::{
    Clock, Content, Devices, Disk, EngineFound, Facts, Firewall, Folder, ReversePath, Rights,
    StateFolder, Taken, Tun, WayOut,
};
use super::firewall::{Family, Insert, Ruleset, parse_iptables, parse_nft};
use super::owners;
use super::system::System;
use crate::context::Context;
use crate::engine::EngineError;
use crate::machine;

/// Looks at everything. `port` is the router's; `engine` says whether there is to be a container engine.
pub(crate) async fn look(context: &Context, port: u16, engine: bool) -> Facts {
    let ours = running_port(context).await;
    let rights = rights();
    let netlink = Netlink::open().ok();
    Facts {
        system: System::of_this_host(),
        rights,
        tun: tun(),
        devices: devices(rights),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        bridge_netfilter: bridge_netfilter(netlink.as_ref()),
        iptables: program("iptables").is_some(),
        engine: engine_found(context, engine).await,
        port,
        taken: taken(port, ours),
        firewall: firewall(rights, port).await,
        reverse_path: reverse_path(netlink.as_ref()),
        clock: clock().await,
        state: StateFolder {
            path: context.state_dir.clone(),
            content: content(&context.state_dir, ours.is_some()),
        },
        disk: disk(&context.state_dir),
        way_out: way_out(netlink.as_ref()),
    }
}

/// The port of the router that answers at the control socket.
async fn running_port(context: &Context) -> Option<u16> {
    let status = context
        .client()
        .get::<serde_json::Value>("/status")
        .await
        .ok()?;
    status["port"].as_u64()?.try_into().ok()
}

fn rights() -> Rights {
    /// CAP_NET_ADMIN and CAP_SYS_ADMIN, of which the second enters the containers' namespaces (linux/capability.h).
    const NEEDED: u64 = 1 << 12 | 1 << 21;
    let user = geteuid();
    if !user.is_root() {
        return Rights::User(user.as_raw());
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    match mask {
        Some(mask) if mask & NEEDED == NEEDED => Rights::Root,
        _ => Rights::Caged,
    }
}

fn tun() -> Tun {
    // Opening it makes nothing: a device comes with the ioctl after.
    match OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
    {
        Ok(_) => Tun::Opens,
        Err(error) if error.kind() == ErrorKind::NotFound => Tun::Absent,
        Err(error) => Tun::Refused(words(&error)),
    }
}

fn devices(rights: Rights) -> Devices {
    if rights != Rights::Root {
        return Devices::Untried;
    }
    // The namespace goes with the thread and the handles on it.
    let tried = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| words(&errno.into()))?;
        let tried = NetNs::current().and_then(|namespace| {
            let netlink = Netlink::open_in(&namespace)?;
            netlink.ensure_bridge("weave", None)?;
            netlink.create_veth("vethwe", "ethwe", None)
        });
        tried.map_err(|error| error.to_string())
    });
    match tried.join() {
        Ok(Ok(())) => Devices::Made,
        Ok(Err(why)) => Devices::Refused(why),
        Err(_) => Devices::Refused("the attempt came to no end".into()),
    }
}

fn bridge_netfilter(netlink: Option<&Netlink>) -> Option<[bool; 2]> {
    let on = |key| Some(netlink?.setting(key).ok()?.trim() != "0");
    Some([
        on("bridge/bridge-nf-call-iptables")?,
        on("bridge/bridge-nf-call-ip6tables")?,
    ])
}

async fn engine_found(context: &Context, wanted: bool) -> EngineFound {
    if !wanted {
        return EngineFound::Unwanted;
    }
    let Ok(engine) = context.engine() else {
        return EngineFound::NotInstalled(context.engine);
    };
    let kind = engine.kind();
    match engine.info().await {
        Ok(info) => EngineFound::Answers {
            kind,
            version: info.version,
            rootless: info.rootless,
            remapped: info.remapped,
        },
        Err(EngineError::NotInstalled { .. }) => EngineFound::NotInstalled(Some(kind)),
        Err(EngineError::NotRunning { why, .. } | EngineError::Refused { why }) => {
            EngineFound::Silent { kind, why }
        }
        Err(error @ (EngineError::NoContainer { .. } | EngineError::NoImage { .. })) => {
            EngineFound::Silent {
                kind,
                why: error.to_string(),
            }
        }
    }
}

/// Who has the port, of TCP and of UDP.
fn taken(port: u16, ours: Option<u16>) -> [Taken; 2] {
    let addresses = [
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
    ];
    // Held one after the other: the first may stand for both families.
    let free = |bind: &dyn Fn(SocketAddr) -> io::Result<()>| {
        let failed = addresses.iter().find_map(|address| match bind(*address) {
            Ok(()) => None,
            // A host without IPv6.
            Err(error)
                if address.is_ipv6()
                    && matches!(
                        error.kind(),
                        ErrorKind::Unsupported | ErrorKind::AddrNotAvailable
                    ) =>
            {
                None
            }
            Err(error) => Some(error),
        });
        failed.map_or(Ok(()), Err)
    };
    let tcp = free(&|address| TcpListener::bind(address).map(drop));
    let udp = free(&|address| UdpSocket::bind(address).map(drop));
    [("tcp", tcp), ("udp", udp)].map(|(protocol, free)| match free {
        Ok(()) => Taken::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if ours == Some(port) {
                Taken::Ours
            } else {
                Taken::By(owners::of_port(protocol, port))
            }
        }
        Err(error) => Taken::Refused(words(&error)),
    })
}

async fn firewall(rights: Rights, port: u16) -> Firewall {
    if rights != Rights::Root {
        return Firewall::Unknown;
    }
    if said("firewall-cmd", &["--state"]).await.is_some() {
        let open = async |protocol: &str| {
            let query = format!("--query-port={port}/{protocol}");
            said("firewall-cmd", &[&query]).await.is_some()
        };
        return Firewall::Firewalld([open("tcp").await, open("udp").await]);
    }
    let ufw = said("ufw", &["status"])
        .await
        .is_some_and(|text| text.starts_with("Status: active"));
    let mut rulesets = Vec::new();
    let mut families_seen = [false; 2];
    for (family, number, name) in [(Family::V4, 0, "iptables"), (Family::V6, 1, "ip6tables")] {
        if let Some(text) = said(name, &["-w", "-S"]).await {
            rulesets.push(parse_iptables(family, &text));
            if let Some(seen) = families_seen.get_mut(number) {
                *seen = true;
            }
        }
    }
    if let Some(tables) = said("nft", &["-j", "list", "ruleset"])
        .await
        .and_then(|text| parse_nft(&text))
    {
        // Those of iptables by nft stand there, too, in a form that says less.
        let told_already = |ruleset: &Ruleset| match &ruleset.insert {
            Insert::Nft { family, table } if table == "filter" => match family.as_str() {
                "ip" => families_seen.first() == Some(&true),
                "ip6" => families_seen.get(1) == Some(&true),
                _ => false,
            },
            Insert::Nft { .. } | Insert::Iptables(_) => false,
        };
        rulesets.extend(tables.into_iter().filter(|table| !told_already(table)));
    }
    Firewall::Rules { ufw, rulesets }
}

fn reverse_path(netlink: Option<&Netlink>) -> ReversePath {
    let off = ReversePath { mode: 0, ways: 0 };
    let Some(netlink) = netlink else {
        return off;
    };
    let mode = |device: &str| {
        let setting = netlink.setting(&format!("ipv4/conf/{device}/rp_filter"));
        setting
            .ok()
            .and_then(|text| text.trim().parse::<u8>().ok())
            .unwrap_or_default()
    };
    let out: Vec<String> = default_devices(netlink);
    let own = out.iter().map(|device| mode(device)).max();
    let mode = mode("all").max(own.unwrap_or_default());
    let links = netlink.links().unwrap_or_default();
    let addresses = netlink.addresses().unwrap_or_default();
    // Hardware, as far as the kernel knows it: bridges and veths are containers', tunnels lead where others do.
    let hardware = links
        .iter()
        .filter(|link| !link.loopback && link.up && link.kind.is_none());
    let ways = hardware
        .filter(|link| {
            addresses
                .iter()
                .any(|address| address.device == link.name && address.cidr.address().is_ipv4())
        })
        .count();
    ReversePath { mode, ways }
}

fn default_devices(netlink: &Netlink) -> Vec<String> {
    let routes = netlink.routes().unwrap_or_default();
    let default = routes
        .into_iter()
        .filter(|route| route.to.prefix_len() == 0);
    default.filter_map(|route| route.device).collect()
}

async fn clock() -> Clock {
    if let Some(text) = said("timedatectl", &["show", "-p", "NTPSynchronized", "--value"]).await {
        match text.trim() {
            "yes" => return Clock::Synchronised,
            "no" => return Clock::Free,
            _ => {}
        }
    }
    if let Some(text) = said("chronyc", &["-n", "tracking"]).await {
        return if text.contains("Leap status     : Normal") {
            Clock::Synchronised
        } else {
            Clock::Free
        };
    }
    // busybox's, which says it in words: "return value: 0 (clock is synchronized)".
    let told = match said("adjtimex", &[]).await {
        None => said("busybox", &["adjtimex"]).await,
        told => told,
    };
    match told {
        Some(text) if text.contains("return value:") => {
            if text.contains("not synchronized") {
                Clock::Free
            } else {
                Clock::Synchronised
            }
        }
        _ => Clock::Unknown,
    }
}

/// Secret files of the state folder.
const SECRETS: [&str; 4] = ["identity", "identity.bak", "passwords", "password"];

/// `answers`: the host's router does, so that it may be the one that holds the folder.
fn content(path: &Path, answers: bool) -> Content {
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return Content::NoFolder,
        Err(error) if error.kind() == ErrorKind::NotFound => return Content::Nothing,
        Err(error) => return Content::Closed(words(&error)),
    };
    if let Err(error) = fs::read_dir(path) {
        return Content::Closed(words(&error));
    }
    let exposed = SECRETS.iter().filter(|name| {
        fs::metadata(path.join(name)).is_ok_and(|metadata| metadata.mode() & 0o077 != 0)
    });
    let lock = fs::metadata(path.join("lock")).ok();
    Content::Folder(Folder {
        mode: metadata.mode() & 0o777,
        owner: metadata.uid(),
        exposed: exposed.map(|name| (*name).to_owned()).collect(),
        identity: path.join("identity").exists(),
        former_identity: path.join("identity.bak").exists(),
        same_machine: machine::same(path),
        held_by: lock
            .filter(|_| !answers)
            .and_then(|lock| owners::of_lock(lock.dev(), lock.ino())),
    })
}

fn disk(path: &Path) -> Disk {
    // The folder may not be there yet.
    let there = path.ancestors().find_map(|place| statvfs(place).ok());
    let Some(there) = there else {
        return Disk {
            free_bytes: None,
            free_files: None,
            read_only: false,
        };
    };
    Disk {
        free_bytes: Some(
            there
                .blocks_available()
                .saturating_mul(there.fragment_size()),
        ),
        // Filesystems without a table of inodes say 0 of both.
        free_files: (there.files() > 0).then_some(there.files_available()),
        read_only: there.flags().contains(FsFlags::ST_RDONLY),
    }
}

fn way_out(netlink: Option<&Netlink>) -> WayOut {
    let found = netlink.and_then(|netlink| {
        let device = default_devices(netlink).into_iter().next()?;
        // Addresses for documentation (RFC 5737, 3849), to which nothing is sent: the route may have an MTU of its own.
        let path = ["192.0.2.1", "2001:db8::1"]
            .iter()
            .find_map(|address| netlink.path_to(address.parse().ok()?).ok());
        let mtu_bytes = match path.filter(|path| path.device.name == device) {
            Some(path) => path.mtu_bytes,
            None => netlink.link(&device).ok()?.mtu_bytes,
        };
        Some(WayOut::By { device, mtu_bytes })
    });
    found.unwrap_or(WayOut::Nowhere)
}

/// Where a program is, also where the user's PATH lacks what only root needs.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| {
            fs::metadata(file)
                .is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
        })
}

/// How long a program may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a program prints, if it is there and ends well and soon.
async fn said(name: &str, args: &[&str]) -> Option<String> {
    let output = tokio::process::Command::new(program(name)?)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(ANSWER_TIMEOUT, output)
        .await
        .ok()?
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
