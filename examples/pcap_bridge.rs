//! Bridges an existing Ethernet interface into a weave network, by packet capture: stations on its wire and those
//! elsewhere in the network talk as if on one. Needs root (or CAP_NET_RAW), and the feature `pcap` with libpcap.
//!
//! The interface must be up, and not the one by which the peers are reached. Nothing on it is changed. On two hosts
//! with a lab network on `eth1` each:
//!
//! ```text
//! host1# pcap_bridge eth1
//! host2# pcap_bridge eth1 host1
//! ```
//!
//! Run with `cargo run -p weave-examples --features pcap --example pcap_bridge -- eth1`; Ctrl-C ends it.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use weave_examples::{MTU_BYTES, run_router};
use weave_io::{FramePort, PcapPort};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(device) = arguments.next() else {
        return Err("usage: pcap_bridge IFACE [PEER]...".into());
    };
    let peers: Vec<String> = arguments.collect();

    // The kernel may hand over several packets of a TCP stream as one: they are cut again to this size.
    let port = PcapPort::open(&device)?.with_segment_mtu(MTU_BYTES);
    println!("bridges {device}; Ctrl-C ends it");
    run_router(FramePort::with_descriptor(port)?, &device, &peers)
}
