//! The router's command line: every flag, and what is wrong with a value.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use clap::builder::FalseyValueParser;
use serde::Serialize;
use weave_core::Config;
use weave_crypto::PeerId;
use weave_io::host::{Cidr, CidrError};
use weave_mesh::Target;

use crate::{Failure, Secret};

/// The command line of `weave-router`. Every flag has an environment variable too; the flag wins.
#[derive(Debug, Clone, Parser, Serialize)]
#[command(
    name = "weave-router",
    version,
    about = "Connects this host's containers to those of other hosts by a virtual Ethernet switch.",
    long_about = "Connects this host's containers to those of other hosts by a virtual Ethernet switch.\n\n\
        The router runs in the foreground and logs to stderr. It meets its peers on one TCP and UDP port, \
        learns of all others from any one of them, and takes frames from a TAP on a bridge, or from an interface that \
        exists (--pcap). \
        SIGTERM and SIGINT make it say goodbye and remove its TAP; the bridge and the containers stay.",
    after_help = EXAMPLES
)]
pub struct Options {
    /// This router's name in the mesh, a label [default: made from its identity key]
    #[arg(long, env = "WEAVE_NAME", hide_env = true, value_name = "NAME", value_parser = label)]
    pub name: Option<String>,

    /// Shown to people beside the name [default: the host's name]
    #[arg(long, env = "WEAVE_NICKNAME", hide_env = true, value_name = "TEXT", value_parser = label)]
    pub nickname: Option<String>,

    /// The mesh's name; routers of another network are refused
    #[arg(long, env = "WEAVE_NETWORK", hide_env = true, value_name = "NAME", default_value = "weave", value_parser = label)]
    pub network: String,

    /// TCP and UDP port
    #[arg(long, env = "WEAVE_PORT", hide_env = true, value_name = "N", default_value_t = PORT, value_parser = port)]
    pub port: u16,

    /// Address to listen on [default: all, IPv6 and IPv4]
    #[arg(long, env = "WEAVE_LISTEN", hide_env = true, value_name = "ADDR", value_parser = address)]
    pub listen: Option<IpAddr>,

    /// Make the bridge if it isn't there, and put a TAP on it
    #[arg(long, env = "WEAVE_BRIDGE", hide_env = true, value_name = "NAME", default_value = "weave", value_parser = device_name)]
    pub bridge: String,

    /// A TAP of that name, on no bridge
    #[arg(long, env = "WEAVE_TAP", hide_env = true, value_name = "NAME", conflicts_with = "bridge", value_parser = device_name)]
    pub tap: Option<String>,

    /// Capture from and inject into an interface that exists, instead of a TAP; needs the build feature pcap
    #[arg(long, env = "WEAVE_PCAP", hide_env = true, value_name = "IFACE", conflicts_with_all = ["bridge", "tap"], value_parser = device_name)]
    pub pcap: Option<String>,

    /// No local frame port: a pure relay
    #[arg(long, env = "WEAVE_NO_PORT", hide_env = true, conflicts_with_all = ["bridge", "tap", "pcap"], value_parser = FalseyValueParser::new())]
    pub no_port: bool,

    /// The router itself answers on this overlay address (ARP, ping): ping it from any container
    #[arg(long = "address", env = "WEAVE_ADDRESS", hide_env = true, value_name = "CIDR", value_delimiter = ',', value_parser = overlay_address)]
    pub addresses: Vec<String>,

    /// File with the network's password, which decides who may join: a line that only its owner may read, or two while the
    /// password is being changed, the newest first
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    pub password_file: Option<PathBuf>,

    /// The password itself; others can see it in the process list, so --password-file or WEAVE_PASSWORD are better
    #[arg(long, value_name = "TEXT")]
    #[serde(skip)]
    pub password: Option<Secret>,

    /// Refuse this identity on this host: 64 hex digits, as weave status peers --json shows them
    #[arg(long, env = "WEAVE_DENY", hide_env = true, value_name = "KEY", value_delimiter = ',', value_parser = identity)]
    pub deny: Vec<String>,

    /// MTU for containers, in bytes [default: the underlay's less 110, at least 1280]
    #[arg(long, env = "WEAVE_MTU", hide_env = true, value_name = "N", value_parser = mtu)]
    pub mtu: Option<u16>,

    /// Neighbours that it keeps connections with, 0 for any number
    #[arg(long, env = "WEAVE_CONN_LIMIT", hide_env = true, value_name = "N", default_value_t = 32, value_parser = conn_limit)]
    pub conn_limit: usize,

    /// New keys for every tunnel in use after so many seconds, 1 to 120
    // For tests of what a change of keys does to traffic; nobody else gains from another time.
    #[arg(long, env = "WEAVE_REKEY_AFTER", hide = true, value_name = "SECONDS", default_value_t = Config::REKEY_AFTER.as_secs(), value_parser = clap::value_parser!(u64).range(1..=Config::REKEY_AFTER.as_secs()))]
    pub rekey_after: u64,

    /// Only connect to the peers named
    #[arg(long, env = "WEAVE_NO_DISCOVERY", hide_env = true, value_parser = FalseyValueParser::new())]
    pub no_discovery: bool,

    /// Folder of the identity key and of the peers to rejoin
    #[arg(long, env = "WEAVE_STATE_DIR", hide_env = true, value_name = "DIR", default_value = STATE_DIR)]
    pub state_dir: PathBuf,

    /// Unix socket of the control API
    #[arg(long, env = "WEAVE_CONTROL", hide_env = true, value_name = "PATH", default_value = CONTROL)]
    pub control: PathBuf,

    /// Prometheus metrics over HTTP, at /metrics of that address; whoever reaches it reads them, so take 127.0.0.1
    #[arg(long, env = "WEAVE_METRICS", hide_env = true, value_name = "ADDR:PORT", value_parser = metrics_address)]
    pub metrics: Option<SocketAddr>,

    /// What to log: error, warn, info, debug or trace
    #[arg(long, env = "WEAVE_LOG", hide_env = true, value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    pub log: String,

    /// Log every frame of the port (the same as --log trace)
    #[arg(long, env = "WEAVE_DEBUG", hide_env = true, value_parser = FalseyValueParser::new())]
    pub debug: bool,

    /// Routers to connect to, as HOST or HOST:PORT: names, IPv4 and IPv6 addresses
    #[arg(value_name = "PEER", env = "WEAVE_PEERS", hide_env = true, value_delimiter = ',', value_parser = peer)]
    pub peers: Vec<String>,
}

impl Options {
    /// Refuses flags that this build knows and cannot honour: ignoring one would leave its user with less than they asked
    /// for, and none the wiser.
    ///
    /// # Errors
    /// The first such flag, with what to do instead.
    pub fn check(&self) -> Result<(), Failure> {
        if self.pcap.is_some() && !cfg!(feature = "pcap") {
            return Err(Failure::usage(
                "--pcap cannot be honoured",
                "this program was built without the feature pcap",
                "build one with: cargo build --release --features pcap (it needs libpcap-dev), or use --bridge NAME or --tap NAME",
            ));
        }
        Ok(())
    }

    /// The peers given, as targets.
    pub fn targets(&self) -> Vec<Target> {
        self.peers
            .iter()
            .filter_map(|peer| peer.parse().ok())
            .collect()
    }

    /// The identities to refuse.
    pub fn denied(&self) -> BTreeSet<PeerId> {
        self.deny.iter().filter_map(|key| peer_id(key)).collect()
    }

    /// The overlay addresses that the router itself answers on.
    pub fn overlay_addresses(&self) -> Vec<Cidr> {
        let addresses = self.addresses.iter();
        addresses.filter_map(|text| text.parse().ok()).collect()
    }

    /// The most verbose level that is logged.
    pub fn level(&self) -> tracing::Level {
        if self.debug {
            return tracing::Level::TRACE;
        }
        self.log.parse().unwrap_or(tracing::Level::INFO)
    }
}

/// The default port: what Weave has always used.
pub(crate) const PORT: u16 = 6783;
/// Where the router keeps its identity, unless told otherwise.
pub const STATE_DIR: &str = "/var/lib/weave";
/// Where the router's control API listens unless told otherwise.
pub const CONTROL: &str = "/run/weave/weave.sock";

/// Bytes of a name or nickname: what a record carries.
const LABEL_BYTES_MAX: usize = 64;
/// Bytes of a device's name: the kernel's `IFNAMSIZ` less its final zero.
pub(crate) const DEVICE_NAME_BYTES_MAX: usize = 15;
/// The smallest MTU of IPv4 hosts that one can rely on (RFC 791: every host takes 576).
const MTU_BYTES_MIN: u16 = 576;
/// The largest frame of a UDP datagram: 65,507 bytes of payload (RFC 768 in IPv4) less relay envelope 16,
/// header 12, entry 4, Ethernet 14 and tag 16.
const MTU_BYTES_MAX: u16 = 65_445;

const EXAMPLES: &str = "\
Examples:
  weave-router                             the first host: waits for others to connect
  weave-router 192.0.2.1                   joins the mesh of which that host is part
  weave-router --password-file /etc/weave/password 192.0.2.1
                                           only routers with the same password join (make one: weave genkey)
  weave-router --no-port [2001:db8::1]     a relay without containers
  weave-router --address 10.2.1.250/24     answers pings on the overlay: ping 10.2.1.250 from any container
  weave-router --metrics 127.0.0.1:9783    serves metrics to a Prometheus on this host
  weave-router --port 7000 --bridge blue --state-dir /var/lib/blue --control /run/blue.sock host:7000
                                           a second network on the same hosts

Each flag has an environment variable: WEAVE_PORT for --port, WEAVE_NO_DISCOVERY=1 for --no-discovery,
WEAVE_PEERS=192.0.2.1,192.0.2.2 for the peers. See what the router does with: weave status";

fn label(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > LABEL_BYTES_MAX {
        return Err(format!(
            "it has {} bytes, more than {LABEL_BYTES_MAX}",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("it holds a control character".to_owned());
    }
    Ok(text.to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a port from 1 to 65535".to_owned()),
        Ok(port) => Ok(port),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    // In brackets as in URLs, too.
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .map_err(|_| "not an IPv4 or IPv6 address of this host".to_owned())
}

fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(address),
        _ => Err("not an address and port like 127.0.0.1:9783 or [::1]:9783".to_owned()),
    }
}

/// An address that a single host can have.
fn overlay_address(text: &str) -> Result<String, String> {
    let cidr: Cidr = text.parse().map_err(|error: CidrError| error.to_string())?;
    if cidr.is_one_host() {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is no address that a host can have",
            cidr.address()
        ))
    }
}

fn identity(text: &str) -> Result<String, String> {
    match peer_id(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("not an identity of 64 hex digits".to_owned()),
    }
}

fn peer_id(text: &str) -> Option<PeerId> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    for (byte, digits) in bytes.iter_mut().zip(digits) {
        let high = char::from(digits[0]).to_digit(16)?;
        let low = char::from(digits[1]).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(PeerId::from_bytes(bytes))
}

fn device_name(text: &str) -> Result<String, String> {
    if text.len() > DEVICE_NAME_BYTES_MAX {
        return Err(format!(
            "a network device's name has at most {DEVICE_NAME_BYTES_MAX} bytes, this has {}",
            text.len()
        ));
    }
    let bad = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text == "." || text == ".." || text.contains(bad) {
        return Err("no name for a network device".to_owned());
    }
    Ok(text.to_owned())
}

fn mtu(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(mtu @ MTU_BYTES_MIN..=MTU_BYTES_MAX) => Ok(mtu),
        _ => Err(format!(
            "not a number of bytes from {MTU_BYTES_MIN} to {MTU_BYTES_MAX}"
        )),
    }
}

fn conn_limit(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "not a number of connections (0 for any number)".to_owned())
}

fn log_level(text: &str) -> Result<String, String> {
    match text {
        "error" | "warn" | "info" | "debug" | "trace" => Ok(text.to_owned()),
        _ => Err("not one of error, warn, info, debug, trace".to_owned()),
    }
}

fn peer(text: &str) -> Result<String, String> {
    match text.parse::<Target>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
