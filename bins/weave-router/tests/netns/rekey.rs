//! Keys that are replaced under traffic.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::basics::LINK_TIME_MAX;
use super::lab::capture::Capture;
use super::lab::datagram::Datagram;
use super::lab::shapes::Line;
use super::lab::{Container, Host, Lab, figure};
use super::strangers::Pace;

pub(super) fn keys_replaced_under_traffic_cost_no_datagram_between_neighbours() {
    let mut lab = Lab::new();
    let (mut a, mut b) = (lab.host("a"), lab.host("b"));
    a.start_with(&OFTEN, &[]);
    b.start_with(&OFTEN, &[a.address()]);
    let (one, other) = (
        a.container(&["10.32.1.1/24"]),
        b.container(&["10.32.1.2/24"]),
    );
    a.await_links(LINK_TIME_MAX, &[&b]);
    traffic(&lab, [&one, &other], &[&a, &b], false);
}

pub(super) fn keys_replaced_under_traffic_cost_no_datagram_over_a_relay() {
    let mut lab = Lab::new();
    let Line {
        one,
        other,
        a,
        b,
        c,
    } = lab.line(&OFTEN);
    traffic(&lab, [&one, &other], &[&a, &b, &c], true);
}

/// Numbered datagrams both ways at once, so that the end that begins the set-ups and the one that answers both send; all
/// of them must arrive, once.
fn traffic(lab: &Lab, ends: [&Container; 2], hosts: &[&Host], is_relayed: bool) {
    ends[0].must_reach(ends[1], LINK_TIME_MAX);
    ends[1].must_reach(ends[0], LINK_TIME_MAX);
    let receivers = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&receivers);
    let capture = Capture::start_where(lab.underlay(), move |frame| {
        if let Some(datagram) =
            Datagram::of(frame).filter(|datagram| datagram.is_relayed() == is_relayed)
        {
            seen.lock().unwrap().extend(datagram.receiver());
        }
        false
    });
    let sockets = ends.map(|end| {
        let socket = end.run(|| UdpSocket::bind((end.address(), PORT)).unwrap());
        // 32 MiB: all that comes, should the reader not be scheduled for long.
        setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20)).unwrap();
        socket
    });
    let drops = |host: &&Host| host.status().unwrap().traffic.drops;
    let before: Vec<_> = hosts.iter().map(drops).collect();
    let received = thread::scope(|scope| {
        let readers = [0, 1].map(|end| {
            let socket = &sockets[end];
            scope.spawn(|| read(socket))
        });
        for end in [0, 1] {
            let (socket, to) = (&sockets[end], ends[1 - end].address());
            scope.spawn(move || {
                let mut pace = Pace::new(PER_S);
                for number in 0..PER_S * SECONDS {
                    pace.wait();
                    // Of changing length, so that runs are cut here and there.
                    let mut bytes = vec![0; 40 + number as usize / 16 % 600];
                    bytes[..4].copy_from_slice(&number.to_be_bytes());
                    socket.send_to(&bytes, (to, PORT)).unwrap();
                }
            });
        }
        readers.map(|reader| reader.join().unwrap())
    });
    capture.stop();
    let epochs = receivers.lock().unwrap().len();
    figure(&format!(
        "{} and {} of {} datagrams each way at {PER_S}/s in {SECONDS} s, {epochs} keys seen on the wire",
        received[0].len(),
        received[1].len(),
        PER_S * SECONDS
    ));
    let after: Vec<_> = hosts.iter().map(drops).collect();
    let all: Vec<u32> = (0..PER_S * SECONDS).collect();
    for mut numbers in received {
        numbers.sort_unstable();
        let lost: Vec<&u32> = all
            .iter()
            .filter(|number| numbers.binary_search(number).is_err())
            .collect();
        assert!(
            numbers == all,
            "{} lost: {:?}; drops before {before:?}, after {after:?}",
            lost.len(),
            &lost[..lost.len().min(20)]
        );
    }
    // One each second, for each direction, and some of the probes of other tunnels.
    assert!(epochs >= 2 * (SECONDS as usize - 2), "{epochs}");
}

/// The numbers of all that comes until nothing comes any more.
fn read(socket: &UdpSocket) -> Vec<u32> {
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut numbers = Vec::new();
    let mut bytes = [0; 2_048];
    while let Ok(length) = socket.recv(&mut bytes) {
        assert!(length >= 40);
        numbers.push(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    }
    numbers
}

/// New keys each second.
const OFTEN: [&str; 2] = ["--rekey-after", "1"];
const PER_S: u32 = 5_000;
const SECONDS: u32 = 15;
const PORT: u16 = 7_004;
