//! The router's own address on the overlay: `--address`.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use super::basics::LINK_TIME_MAX;
use super::lab::{Container, Lab};

pub(super) fn the_routers_own_address_answers_containers_near_and_far() {
    let mut lab = Lab::new();
    let (mut a, mut b) = (lab.host("a"), lab.host("b"));
    a.start_with(&["--address", "10.32.1.250/24,fd32::250/64"], &[]);
    b.start_with(&["--address", "10.32.1.251/24"], &[a.address()]);
    let near = a.container(&["10.32.1.1/24", "fd32::1/64"]);
    let far = b.container(&["10.32.1.2/24", "fd32::2/64"]);
    for container in [&near, &far] {
        for address in ["10.32.1.250", "10.32.1.251", "fd32::250"] {
            must_answer(container, address, LINK_TIME_MAX);
        }
        // Larger than a packet: in fragments both ways.
        for address in ["10.32.1.250", "fd32::250"] {
            ping(container, address, 4_000);
        }
        for address in ["10.32.1.252", "fd32::251"] {
            let silence = container.reaches(ip(address), Duration::from_millis(300));
            assert_eq!(silence, None, "{address}");
        }
    }
    // Containers are as before.
    near.must_reach(&far, Duration::from_secs(1));
    let status = a.status().expect("it runs");
    assert!(
        status.frame_port.contains("10.32.1.250/24"),
        "{}",
        status.frame_port
    );
    assert!(
        status.frame_port.contains("weave-tap"),
        "{}",
        status.frame_port
    );
    assert_eq!(status.traffic.drops.get("port_refused"), None);
}

pub(super) fn a_router_without_a_port_answers_on_its_address() {
    let mut lab = Lab::new();
    let (mut a, mut b) = (lab.host("a"), lab.host("b"));
    a.start_with(
        &[
            "--no-port",
            "--address",
            "10.32.1.250/24",
            "--address",
            "fd32::250/64",
        ],
        &[],
    );
    b.start(&[a.address()]);
    let container = b.container(&["10.32.1.2/24", "fd32::2/64"]);
    for address in ["10.32.1.250", "fd32::250"] {
        must_answer(&container, address, LINK_TIME_MAX);
        // The second answer must not wait for anything else to wake the router.
        must_answer(&container, address, Duration::from_millis(200));
    }
    let status = a.status().expect("it runs");
    assert_eq!(
        status.frame_port,
        "this router at 10.32.1.250/24, fd32::250/64"
    );
    // Its MAC address is known as its own, like any station's.
    let own = status.macs.iter().filter(|entry| entry.local).count();
    assert_eq!(own, 1, "{:?}", status.macs);
}

fn must_answer(from: &Container, address: &str, limit: Duration) {
    let answer = from.reaches(ip(address), limit);
    assert!(
        answer.is_some(),
        "{address} does not answer {} within {limit:?}",
        from.address()
    );
}

/// One ping with so many bytes, by the program that a user would take.
fn ping(from: &Container, address: &str, data_bytes: usize) {
    let output = from.run(|| {
        Command::new("ping")
            .args(["-c", "1", "-W", "2", "-s", &data_bytes.to_string(), address])
            .output()
            .expect("package iputils-ping is installed")
    });
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a constant")
}
