//! What bad input gets: a clear refusal, and nothing changed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::{Duration, Instant};

use super::basics::LINK_TIME_MAX;
use super::lab::capture::Capture;
use super::lab::ping::Pinger;
use super::lab::shapes::Pair;
use super::lab::{Host, Lab, control, figure};

pub(super) fn bad_flags_are_refused_in_a_line_and_change_nothing() {
    let mut lab = Lab::new();
    let host = lab.host("a");
    let before = snapshot(&host);
    let cases: &[&[&str]] = &[
        &["--no-such-flag"],
        &["--port", "0"],
        &["--port", "65536"],
        &["--port", "http"],
        &["--port"],
        &["--listen", "nowhere"],
        // Not an address of this host.
        &["--listen", "192.0.2.1"],
        &["--bridge", "a/b"],
        &["--bridge", "a name that is too long"],
        &["--bridge", ""],
        // A device that is no bridge.
        &["--bridge", "eth0"],
        &["--tap", "eth0"],
        &["--tap", "a b"],
        &["--tap", "t", "--bridge", "b"],
        &["--tap", "t", "--no-port"],
        &["--mtu", "0"],
        &["--mtu", "70000"],
        &["--conn-limit", "-1"],
        &["--name", ""],
        &["--network", ""],
        &["--log", "loud"],
        &["--pcap", "eth0:bad"],
        &["--pcap", "nothing"],
        &["--pcap", "lo"],
        // Leads to the peers.
        &["--pcap", "eth0"],
        &["--address", "10.32.1.300/24"],
        &["--address", "10.32.1.1/33"],
        &["--password-file", "/nowhere/at/all"],
        &["--deny", "xyz"],
        &["--metrics", "here"],
        &["host:port"],
        &["198.18.0.1:99999"],
        &["[::1"],
        &["a host"],
        &["::::"],
        &[""],
    ];
    // All cases are tried, so that one run tells all that is wrong.
    let mut faults = Vec::new();
    for case in cases {
        let mut arguments = host.arguments();
        arguments.extend(case.iter().map(|argument| (*argument).to_owned()));
        let output = host.run_to_end(&arguments);
        if let Err(fault) = refusal(&output) {
            faults.push(format!("{case:?}: {fault}"));
        }
        let after = snapshot(&host);
        if after != before {
            let changes: Vec<_> = after.symmetric_difference(&before).collect();
            faults.push(format!("{case:?} changed something: {changes:?}"));
            host.netlink().delete_link("weave").unwrap();
        }
        if host.control_path().exists() {
            faults.push(format!("{case:?} left its control socket"));
            fs::remove_file(host.control_path()).unwrap();
        }
        // So that each case finds the host as the first one did.
        let _ = fs::remove_dir_all(host.state_path());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[cfg(not(feature = "pcap"))]
pub(super) fn without_pcap_the_flag_names_the_feature() {
    let mut lab = Lab::new();
    let host = lab.host("a");
    let mut arguments = host.arguments();
    arguments.extend(["--pcap", "eth0"].map(str::to_owned));
    let output = host.run_to_end(&arguments);
    refusal(&output).unwrap();
    let line = String::from_utf8_lossy(&output.stderr);
    assert!(line.contains("without the feature pcap"), "{line}");
}

pub(super) fn damaged_state_is_refused_in_a_line_and_left_as_it_is() {
    let mut lab = Lab::new();
    let mut host = lab.host("a");
    // A first start makes the files.
    host.start(&[]);
    super::lab::within(LINK_TIME_MAX, "the router's status", || host.status());
    host.router().signal(nix::sys::signal::Signal::SIGTERM);
    host.router().wait(Duration::from_secs(3)).expect("it ends");
    let folder = host.state_path();
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let identity = folder.join("identity");
    assert_eq!(
        fs::metadata(&identity).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let good = fs::read(&identity).unwrap();
    let before = snapshot(&host);

    let mut damages: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("text", b"my key\n".to_vec()),
        ("binary", vec![0xff; 200]),
        ("huge", vec![b'a'; 1 << 20]),
        ("cut short", good[..good.len() / 2].to_vec()),
    ];
    let mut flipped = good.clone();
    let middle = flipped.len() - 10;
    flipped[middle] ^= 0x80;
    damages.push(("one bit wrong", flipped));
    for (damage, bytes) in damages {
        fs::write(&identity, &bytes).unwrap();
        must_refuse(damage, &host.run_to_end(&host.arguments()));
        assert!(
            fs::read(&identity).unwrap() == bytes,
            "{damage}: the file was written to"
        );
        assert_eq!(snapshot(&host), before, "{damage}");
    }
    fs::write(&identity, &good).unwrap();
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o644)).unwrap();
    must_refuse(
        "a key that others can read",
        &host.run_to_end(&host.arguments()),
    );
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();

    for (file, bytes) in [
        ("boot-id", &b"yesterday"[..]),
        ("peers", b"somewhere\n"),
        ("peers", &[0xff; 100]),
    ] {
        let path = folder.join(file);
        let kept = fs::read(&path).ok();
        fs::write(&path, bytes).unwrap();
        must_refuse(file, &host.run_to_end(&host.arguments()));
        assert!(fs::read(&path).unwrap() == bytes, "{file} was written to");
        match kept {
            Some(kept) => fs::write(&path, kept).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }

    // All is as it was, and the router starts, and keeps others from its folder and its socket meanwhile.
    host.start(&[]);
    let (status, _) = super::lab::within(LINK_TIME_MAX, "the router's status", || host.status());
    must_refuse("a second router", &host.run_to_end(&host.arguments()));
    let mut elsewhere = host.arguments();
    elsewhere.extend([
        "--control".to_owned(),
        host.folder().join("other.sock").display().to_string(),
    ]);
    must_refuse("the folder of another", &host.run_to_end(&elsewhere));
    elsewhere.extend([
        "--state-dir".to_owned(),
        host.folder().join("other").display().to_string(),
    ]);
    elsewhere.extend(["--bridge".to_owned(), "other".to_owned()]);
    must_refuse("the port of another", &host.run_to_end(&elsewhere));
    assert_eq!(
        host.netlink().find_link("other").unwrap(),
        None,
        "the refused router left a bridge"
    );
    assert_eq!(
        host.status().map(|status| status.peer_id),
        Some(status.peer_id)
    );
}

pub(super) fn bad_control_requests_are_refused_and_change_nothing() {
    let mut lab = Lab::new();
    let Pair {
        one,
        other,
        a,
        b: _b,
    } = lab.pair(&[]);
    let mode = fs::metadata(a.control_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others may use the control socket");
    let pinger = Pinger::start(&one, other.address(), b"");
    let start = Instant::now();

    let long = "a".repeat(1 << 20);
    let long_json = format!("{{\"peer\":\"{long}\"}}");
    let deep = "[".repeat(100_000);
    let cases: &[(&str, &str, &[u8])] = &[
        ("GET", "/", b""),
        ("GET", "/nothing/here", b""),
        ("GET", "/../../etc/passwd", b""),
        ("DELETE", "/status", b""),
        ("POST", "/status", b"{}"),
        ("GET", "/connect", b""),
        ("POST", "/connect", b""),
        ("POST", "/connect", b"not JSON"),
        ("POST", "/connect", b"{}"),
        ("POST", "/connect", b"[1,2,3]"),
        ("POST", "/connect", b"{\"peer\":7}"),
        ("POST", "/connect", b"{\"peer\":\"\"}"),
        ("POST", "/connect", b"{\"peer\":\"host:port\"}"),
        ("POST", "/connect", b"{\"peer\":\"198.18.99.99:99999\"}"),
        (
            "POST",
            "/connect",
            b"{\"peer\":\"198.18.99.99\",\"force\":true}",
        ),
        ("POST", "/connect", b"{\"peer\":\"198.18.99.99\""),
        ("POST", "/connect", b"{\"peer\":\"\xff\xfe\"}"),
        ("POST", "/connect", long_json.as_bytes()),
        ("POST", "/connect", deep.as_bytes()),
        // Not one of its targets.
        ("POST", "/forget", b"{\"peer\":\"198.18.99.99\"}"),
        ("POST", "/forget", b"null"),
    ];
    for (method, path, body) in cases {
        // Closing without an answer is a refusal too, for a body that is far too long.
        let Some(answer) = a.request(method, path, body) else {
            assert!(
                body.len() > 1 << 16,
                "{method} {path} {:?} got no answer",
                String::from_utf8_lossy(body)
            );
            continue;
        };
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
        assert!(
            (400..500).contains(&answer.code),
            "{method} {path} {shown}: {}",
            answer.code
        );
        let refusal: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let why = refusal["error"].as_str().unwrap_or_default();
        assert!(
            why.lines().count() == 1,
            "{method} {path} {shown}: {}",
            answer.text()
        );
    }
    let raw: &[&[u8]] = &[
        b"",
        b"\r\n\r\n",
        b"GET",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /status HTTP/9.9\r\n\r\n",
        b"POST /connect HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /connect HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /connect HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    ];
    for bytes in raw {
        half_closed(&a, bytes);
    }

    let status = a.status().expect("it still answers");
    assert!(status.targets.is_empty(), "{:?}", status.targets);
    assert!(a.router().is_running());
    // Whatever the requests did to it would show by now.
    std::thread::sleep(UNDISTURBED);
    let gap = pinger.gap_since(start);
    figure(&format!("longest interruption {gap:?}"));
    assert!(gap < UNDISTURBED, "traffic was interrupted for {gap:?}");
    assert!(control::raw(&a.control_path(), b"GET /status HTTP/1.0\r\n\r\n").is_ok());
}

pub(super) fn garbage_from_strangers_gets_no_reply_and_disturbs_nobody() {
    let mut lab = Lab::new();
    let Pair {
        one,
        other,
        a,
        mut b,
    } = lab.pair(&[]);
    let stranger = lab.host("s");
    b.await_links(LINK_TIME_MAX, &[&a]);
    let resident_before = a.router().resident_kib();
    let pinger = Pinger::start(&one, other.address(), b"");
    let start = Instant::now();
    pinger
        .answered_after(start, LINK_TIME_MAX)
        .expect("traffic");
    let start = Instant::now();

    // Genuine datagrams to this router, for the stranger to send again.
    let capture = Capture::start(lab.underlay());
    std::thread::sleep(Duration::from_millis(500));
    let mut genuine: Vec<Vec<u8>> = capture
        .stop()
        .iter()
        .filter_map(|frame| datagram(&frame.bytes, a.address()))
        .collect();
    genuine.dedup();
    assert!(genuine.len() > 10, "{}", genuine.len());

    let target = SocketAddr::new(a.address().into(), 6783);
    let bind = || UdpSocket::bind((stranger.address(), 0)).unwrap();
    let socket = stranger.namespace().run(bind).unwrap();
    socket.connect(target).unwrap();
    let mut random = Random(1);
    let mut sent: u32 = 0;
    for round in 0..3_000_u32 {
        let length =
            [0, 1, 2, 12, 16, 27, 28, 29, 44, 100, 1_200, 1_472][random.next() as usize % 12];
        let mut bytes = random.bytes(length);
        // Most begin as packets of ours do: version 1, any kind.
        if round % 4 != 0 && !bytes.is_empty() {
            bytes[0] = 0x10 | (random.next() as u8 & 7);
            if let Some(reserved) = bytes.get_mut(1) {
                *reserved = if round % 3 == 0 { 0 } else { 16 };
            }
        }
        if socket.send(&bytes).is_ok() {
            sent += 1;
        }
    }
    for bytes in &genuine {
        let mut flipped = bytes.clone();
        let at = random.next() as usize % flipped.len();
        flipped[at] ^= 1 << (random.next() % 8);
        let shorter = &bytes[..random.next() as usize % bytes.len()];
        for bytes in [&bytes[..], &flipped, shorter] {
            sent += u32::from(socket.send(bytes).is_ok());
        }
    }
    assert!(sent > 2_900, "{sent}");
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let reply = socket.recv(&mut [0; 2048]);
    let silent = reply
        .as_ref()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(silent, "a stranger's datagram was answered: {reply:?}");

    // TCP: noise, half sentences, other protocols, silence; more connections than the budget of one source allows.
    let connect = || {
        stranger
            .namespace()
            .run(|| TcpStream::connect_timeout(&target, Duration::from_secs(2)))
    };
    let mut silent = Vec::new();
    for round in 0..60 {
        let Ok(mut stream) = connect().unwrap() else {
            continue;
        };
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let bytes = match round % 6 {
            0 => {
                silent.push(stream);
                continue;
            }
            1 => random.bytes(3),
            2 => random.bytes(100_000),
            3 => vec![0; 4_096],
            4 => vec![0xff; 4_096],
            _ => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        };
        // The router may close before it has read all of it.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read(&mut [0; 2048]);
    }
    std::thread::sleep(Duration::from_secs(1));

    assert!(a.router().is_running() && b.router().is_running());
    let gap = pinger.gap_since(start);
    let grown = a.router().resident_kib().saturating_sub(resident_before);
    let status = a.status().expect("it still answers");
    figure(&format!(
        "{sent} datagrams and 60 connections in {:?}: longest interruption {gap:?}, {grown} KiB more; {:?}",
        start.elapsed(),
        status.refusals
    ));
    assert!(gap < UNDISTURBED, "traffic was interrupted for {gap:?}");
    assert!(grown < 8 * 1024, "{grown} KiB more than before");
    assert_eq!(status.peers.len(), 2, "{:?}", status.peers);
    assert!(!status.refusals.is_empty(), "nothing of it was counted");
    drop(silent);
    // And whoever does belong here still gets in.
    b.kill();
    b.start(&[a.address()]);
    one.must_reach(&other, LINK_TIME_MAX);
}

fn must_refuse(case: &str, output: &Output) {
    if let Err(fault) = refusal(output) {
        panic!("{case}: {fault}");
    }
}

/// Exit code 1 or 2, one line on stderr, no panic, no error numbers.
fn refusal(output: &Output) -> Result<(), String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let coded = matches!(output.status.code(), Some(1 | 2));
    let worded = stderr.trim_end().lines().count() == 1
        && !stderr.contains("os error")
        && !stderr.contains("panicked");
    if coded && worded && output.stdout.is_empty() {
        return Ok(());
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    Err(format!("{}: {stderr}{stdout}", output.status))
}

/// Devices, addresses and state of a host, a line each.
fn snapshot(host: &Host) -> BTreeSet<String> {
    let devices = host.netlink().links().unwrap().into_iter();
    let addresses = host.netlink().addresses().unwrap().into_iter();
    let files = fs::read_dir(host.state_path()).into_iter().flatten();
    devices
        .map(|device| format!("{device:?}"))
        .chain(addresses.map(|address| format!("{} {}", address.device, address.cidr)))
        .chain(files.map(|file| format!("{:?}", file.unwrap().path())))
        .collect()
}

/// The payload of a UDP datagram to this host's port 6783, if the frame holds one whole.
pub(super) fn datagram(frame: &[u8], to: Ipv4Addr) -> Option<Vec<u8>> {
    let fits = frame.get(12..14)? == [8, 0]
        && frame.get(23)? == &17
        && frame.get(30..34)? == to.octets()
        && frame.get(36..38)? == 6783_u16.to_be_bytes();
    // Ethernet, IPv4 and UDP headers; what is longer is several in one piece, as the sender hands them to the card.
    let payload = frame.get(42..)?;
    (fits && !payload.is_empty() && payload.len() <= 1_472).then(|| payload.to_vec())
}

/// Sends bytes to the control socket and nothing after them; the answer, if any, does not matter.
fn half_closed(host: &Host, bytes: &[u8]) {
    use std::os::unix::net::UnixStream;
    let mut stream = UnixStream::connect(host.control_path()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Bytes without a pattern, the same in each run (xorshift64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// Twenty missed beats of the pings: more than scheduling on a busy machine, less than any time-out of the routers.
const UNDISTURBED: Duration = Duration::from_millis(400);
