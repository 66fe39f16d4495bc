//! The frame port by packet capture: `--pcap`.

use std::process::Command;
use std::time::Duration;

use super::basics::LINK_TIME_MAX;
use super::frames::{self, Pair};
use super::lab::capture::Tap;
use super::lab::{Host, Lab, figure};

pub(super) fn containers_on_captured_devices_talk_as_on_a_bridge() {
    let mut lab = Lab::new();
    let (mut a, mut b) = (lab.host("a"), lab.host("b"));
    let (one, device_a) = a.lone_container(&["10.32.1.1/24", "fd00:32::1/64"]);
    let (other, device_b) = b.lone_container(&["10.32.1.2/24", "fd00:32::2/64"]);
    a.start_with(&["--pcap", &device_a], &[]);
    b.start_with(&["--pcap", &device_b], &[a.address()]);
    one.must_reach(&other, LINK_TIME_MAX);

    // A megabyte each way, datagrams that need fragments, every kind of frame exactly once.
    let pair = Pair { one, other };
    frames::tcp_and_udp_cross(&pair);
    frames::ipv6_crosses(&pair);
    frames::multicast_crosses(&pair);
    frames::frames_cross(&pair);

    // What the far router injects, the near one captures: it must not take it for a frame of its own.
    let broadcast = [
        &[0xff; 6][..],
        &pair.one.mac(),
        &0x88b6_u16.to_be_bytes(),
        b"to all, and from one, and once over and no more",
    ]
    .concat();
    let (near, far) = (Tap::open(&pair.one), Tap::open(&pair.other));
    near.send(&broadcast);
    assert_eq!(far.receive(&broadcast, Duration::from_secs(1)), 1);
    assert_eq!(near.receive(&broadcast, Duration::from_millis(200)), 0);

    for (host, device) in [(&a, &device_a), (&b, &device_b)] {
        let status = host.status().expect("it runs");
        assert_eq!(status.frame_port, format!("pcap on {device}"));
        assert!(status.segment.is_empty(), "{:?}", status.segment);
        for drop in ["port_refused", "port_overrun", "frame_unfinished"] {
            assert_eq!(status.traffic.drops.get(drop), None, "{drop}");
        }
    }

    let resident_mib = a.router().resident_kib() >> 10;
    figure(&format!(
        "resident memory with the ring of the capture: {resident_mib} MiB"
    ));
    assert!(resident_mib < 64);

    // Datagrams that the kernel keeps as one are counted, and status says what to do.
    let socket = pair
        .one
        .run(|| std::net::UdpSocket::bind((pair.one.address(), 0)))
        .unwrap();
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::UdpGsoSegment, &1000).unwrap();
    socket
        .send_to(&[1; 5000], (pair.other.address(), 7009))
        .unwrap();
    a.await_status(Duration::from_secs(2), "a warning", |status| {
        let mut warnings = status.warnings.iter();
        warnings.any(|warning| warning.contains("tx-udp-segmentation off"))
    });
}

pub(super) fn a_capture_that_cannot_be_is_refused_with_the_reason() {
    let mut lab = Lab::new();
    let mut host = lab.host("a");
    let (_container, device) = host.lone_container(&["10.32.1.1/24"]);
    host.netlink().set_down(&device).unwrap();
    for (device, wanted) in [
        (device.as_str(), "is down; switch it on first"),
        ("nothing", "no network device of that name"),
        ("lo", "no Ethernet frames"),
        ("eth0", "the way to the peers leads through it"),
    ] {
        refused(&host, &["--pcap", device], wanted);
    }
    host.netlink().set_up(&device).unwrap();
    // All rights of root but the one.
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"])
        .args(["timeout", "--signal=KILL", "10", super::lab::host::ROUTER])
        .args(host.arguments())
        .args(["--pcap", &device]);
    let output = host.namespace().run(|| command.output()).unwrap().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.contains("CAP_NET_RAW"), "{line}");
    assert_eq!(output.status.code(), Some(1));
}

pub(super) fn the_routers_own_address_answers_beside_a_capture() {
    let mut lab = Lab::new();
    let (mut a, mut b) = (lab.host("a"), lab.host("b"));
    let (near, device) = a.lone_container(&["10.32.1.1/24", "fd32::1/64"]);
    let far = b.container(&["10.32.1.2/24", "fd32::2/64"]);
    a.start_with(
        &[
            "--pcap",
            &device,
            "--address",
            "10.32.1.250/24,fd32::250/64",
        ],
        &[],
    );
    b.start(&[a.address()]);
    for container in [&near, &far] {
        for address in ["10.32.1.250", "fd32::250"] {
            let answer = container.reaches(address.parse().unwrap(), LINK_TIME_MAX);
            assert!(answer.is_some(), "{address}");
        }
    }
    // A TAP and a capture are ports of one switch.
    near.must_reach(&far, Duration::from_secs(1));
    let status = a.status().expect("it runs");
    assert_eq!(
        status.frame_port,
        format!("pcap on {device}, and this router at 10.32.1.250/24, fd32::250/64")
    );
}

fn refused(host: &Host, flags: &[&str], wanted: &str) {
    let mut arguments = host.arguments();
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let output = host.run_to_end(&arguments);
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.contains(wanted), "{flags:?}: {line}");
    assert_eq!(output.status.code(), Some(1), "{flags:?}");
}
