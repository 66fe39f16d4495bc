use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::{MemoryHost, MemoryPort};

#[tokio::test]
async fn two_routers_on_loopback_find_each_other_and_carry_frames() {
    frames_are_carried_over(Ipv4Addr::LOCALHOST.into()).await;
}

#[tokio::test]
async fn two_routers_on_an_ipv6_underlay_find_each_other_and_carry_frames() {
    frames_are_carried_over(std::net::Ipv6Addr::LOCALHOST.into()).await;
}

async fn frames_are_carried_over(loopback: IpAddr) {
    let (a, a_host) = router_at(loopback, 1, vec![]);
    let (b, b_host) = router_at(loopback, 2, vec![target(&a)]);

    // Broadcasts are lost until the link carries frames, as those of a real network are.
    let question = frame(BROADCAST, mac(2), b"who is there?");
    let received = until(|| {
        b_host.push_bytes(&question);
        std::iter::from_fn(|| a_host.pop()).find(|frame| frame.bytes == question)
    });
    assert_eq!(received.await.bytes, question);

    // The answer is unicast: its first frames wait for the tunnel, or are flooded.
    let answer = frame(mac(2), mac(1), b"I am");
    let received = until(|| {
        a_host.push_bytes(&answer);
        std::iter::from_fn(|| b_host.pop()).find(|frame| frame.bytes == answer)
    });
    received.await;

    let status = a.handle().status().await.unwrap();
    assert_eq!(status.connections.len(), 1);
    assert!(status.connections[0].usable);
    assert_eq!(status.port, a.address().port());
    assert!(status.traffic.frames_in > 0 && status.traffic.packets_out > 0);

    // Goodbyes reach the other side at once.
    b.shutdown().await.unwrap();
    let alone = until_status(&a, |status| status.connections.is_empty());
    alone.await;
    a.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_target_added_later_is_dialled_and_a_refused_one_is_told() {
    let (a, _a_host) = router(1, vec![]);
    let (b, _b_host) = router(2, vec![]);
    // A port that is free now, and so has nobody listening.
    let nobody = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody: Target = nobody.to_string().parse().unwrap();
    b.handle().connect(nobody.clone()).await.unwrap();
    until_status(&b, |status| {
        let mut targets = status.targets.iter();
        targets.any(|target| target.state.contains("refused"))
    })
    .await;
    b.handle().forget(nobody).await.unwrap();
    b.handle().connect(target(&a)).await.unwrap();
    until_status(&b, |status| {
        status.targets.len() == 1 && status.targets[0].connected
    })
    .await;
}

#[tokio::test]
async fn shutdown_frees_the_address_and_ends_the_handles() {
    let (a, _host) = router(1, vec![]);
    let address = a.address();
    let handle = a.handle();
    a.shutdown().await.unwrap();
    assert_eq!(handle.status().await.unwrap_err(), Ended);
    drop(bind(address).unwrap());
}

#[tokio::test]
async fn dropping_a_router_stops_it() {
    let (a, _host) = router(1, vec![]);
    let (address, handle) = (a.address(), a.handle());
    drop(a);
    assert_eq!(handle.shutdown().await, Err(Ended));
    drop(bind(address).unwrap());
}

#[tokio::test]
async fn a_taken_address_is_told_at_the_start() {
    let (a, _host) = router(1, vec![]);
    let error = Sockets::bind(a.address()).unwrap_err();
    assert!(error.to_string().contains("cannot listen on 127.0.0.1"));
}

#[tokio::test]
async fn a_port_that_breaks_ends_the_router_with_the_reason() {
    let mut config = config(1, vec![]);
    config.port = Some(FramePort::with_descriptor(BrokenPort::new()).unwrap());
    let running = start(config).unwrap();
    let error = running.wait().await.unwrap_err();
    assert!(matches!(error, RunError::Worker(WorkerError::Port(_))));
}

/// A device that somebody deleted.
struct BrokenPort(std::net::UdpSocket);

impl BrokenPort {
    fn new() -> Self {
        Self(std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }
}

impl std::os::fd::AsFd for BrokenPort {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl weave_core::FrameIo for BrokenPort {
    fn caps(&self) -> weave_core::FrameCaps {
        weave_core::FrameCaps {
            frame_bytes_max: 1514,
            segmentation: false,
            checksum: false,
        }
    }

    fn recv(&mut self, _: &mut weave_core::Batch<weave_core::FrameMeta>) -> io::Result<usize> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn send(&mut self, _: &mut weave_core::Batch<weave_core::FrameMeta>) -> io::Result<usize> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn router(number: u8, targets: Vec<Target>) -> (Running, MemoryHost) {
    router_at(Ipv4Addr::LOCALHOST.into(), number, targets)
}

fn router_at(loopback: IpAddr, number: u8, targets: Vec<Target>) -> (Running, MemoryHost) {
    let (port, host) = MemoryPort::plain(1514, 256);
    let mut config = config(number, targets);
    config.sockets = Sockets::bind(SocketAddr::new(loopback, 0)).unwrap();
    config.port = Some(port.into());
    (start(config).unwrap(), host)
}

fn config(number: u8, targets: Vec<Target>) -> RunConfig {
    let mut router = Config::new("test", &format!("router {number}"));
    router.mesh.targets = targets;
    RunConfig {
        router,
        identity: Arc::new(Identity::from_seed([number; 32])),
        boot_id: 1,
        sockets: Sockets::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap(),
        port: None,
        state: None,
        local_addresses: Box::new(HostAddresses::default),
        bridge: None,
        underlay_mtu: Box::new(|| None),
    }
}

fn target(running: &Running) -> Target {
    running.address().to_string().parse().unwrap()
}

const BROADCAST: [u8; 6] = [0xff; 6];

fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

fn frame(to: [u8; 6], from: [u8; 6], payload: &[u8]) -> Vec<u8> {
    // An EtherType for experiments (IEEE 802), and the least length of a frame.
    let mut frame = [&to[..], &from, &[0x88, 0xb6], payload].concat();
    frame.resize(60, 0);
    frame
}

/// Tries until there is something, for real sockets take real time.
async fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2_000 {
        if let Some(found) = attempt() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 20 s");
}

async fn until_status(running: &Running, wanted: impl Fn(&Status) -> bool) {
    for _ in 0..2_000 {
        let status = running.handle().status().await.unwrap();
        if wanted(&status) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = running.handle().status().await.unwrap();
    panic!("not within 20 s: {status:#?}");
}
