//! What the router's container costs, of the program as it is shipped.

use std::thread;
use std::time::Duration;

use super::lab::{Lab, figure};

pub(super) fn image_and_memory_are_small() {
    let mut lab = Lab::new();
    let pair = lab.pair();
    thread::sleep(Duration::from_secs(30));
    for host in [&pair.a, &pair.b] {
        let resident = host
            .sh(&format!("grep VmRSS: /proc/{}/status", host.router_pid()))
            .id();
        let resident: u64 = resident
            .split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok())
            .expect("proc(5)");
        let image = host
            .docker(&["inspect", "--format", "{{.Image}}", "weave"])
            .id();
        let image: u64 = host
            .docker(&["image", "inspect", "--format", "{{.Size}}", &image])
            .id()
            .parse()
            .unwrap();
        figure(&format!(
            "VmRSS {resident} KiB half a minute after the start, image {image} bytes"
        ));
        assert!(resident <= RESIDENT_KIB_MAX);
        assert!(image <= IMAGE_BYTES_MAX);
    }
}

/// 15 MB.
const RESIDENT_KIB_MAX: u64 = 15_000_000 / 1024;
/// 10 MB.
const IMAGE_BYTES_MAX: u64 = 10_000_000;
