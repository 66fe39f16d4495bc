//! The examples are the files beside this one; `cargo run -p weave-examples --example NAME` runs one.
//!
//! Here is what those of them share that put a router on real devices.

use std::error::Error;
use std::sync::Arc;

use weave_core::{Config, Identity};
use weave_io::{FramePort, HostAddresses, RunConfig, Sockets, os_seed};
use weave_mesh::Target;

/// The MTU for stations behind a port, in bytes: what an underlay of 1,500 carries whole, over IPv6 and relayed, too.
pub const MTU_BYTES: u16 = 1390;

/// Runs a router of the network `example` with this port, on TCP and UDP port 6783, until Ctrl-C.
///
/// It is a new router each time, with an identity that nothing remembers. Give it a folder
/// ([`StateDir`](weave_io::StateDir)) to make it the same one after a restart.
///
/// # Errors
/// When a peer is no address, the port is taken, or the router ends by itself.
pub fn run_router(port: FramePort, words: &str, peers: &[String]) -> Result<(), Box<dyn Error>> {
    let mut router = Config::new("example", "an example");
    router.frame_port = Some(words.to_owned());
    router.mtu_bytes = MTU_BYTES;
    for peer in peers {
        router.mesh.targets.push(peer.parse::<Target>()?);
    }
    let running = weave_io::start(RunConfig {
        router,
        identity: Arc::new(Identity::from_seed(os_seed()?)),
        boot_id: 1,
        sockets: Sockets::bind("[::]:6783".parse()?)?,
        port: Some(port),
        bridge: None,
        state: None,
        // Others find out by themselves from where they are spoken to.
        local_addresses: Box::new(HostAddresses::default),
        underlay_mtu: Box::new(|| None),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::signal::ctrl_c().await?;
        running.shutdown().await?;
        Ok(())
    })
}
