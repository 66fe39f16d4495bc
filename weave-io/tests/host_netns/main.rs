//! The host's plumbing against the real kernel, each test in network namespaces of its own. They
//! need root.
// All of this is tests, which clippy tells by an attribute that a harness of one's own has none of.
#![allow(clippy::unwrap_used)]

mod announce;
mod bridges;
mod conntrack;
mod devices;
mod fdb;
mod namespaces;
#[cfg(feature = "pcap")]
mod pcap;
#[path = "../support/root_tests.rs"]
mod root_tests;
mod routes;

use std::fs;
use std::net::IpAddr;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering};

use weave_io::host::{Cidr, NetNs};

fn main() -> ExitCode {
    const TESTS: &[root_tests::RootTest] = root_tests::tests![
        announce::an_address_that_nobody_has_is_known_to_be_free_in_300_ms,
        announce::whoever_has_an_address_answers_a_probe,
        announce::of_two_who_ask_for_one_address_at_the_same_time_none_takes_it,
        announce::an_announcement_changes_what_the_neighbours_know,
        announce::a_device_that_is_off_or_none_is_refused,
        announce::multicast_leaves_by_the_device_that_was_chosen,
        bridges::a_bridge_is_made_once_with_our_settings,
        bridges::a_bridge_left_with_other_settings_is_put_right,
        bridges::ports_come_and_go,
        bridges::the_routers_tap_takes_super_frames_and_every_group,
        bridges::two_containers_on_a_bridge_reach_each_other,
        conntrack::what_is_remembered_of_a_port_is_dropped_and_nothing_else,
        devices::devices_are_looked_up_changed_and_removed,
        devices::a_device_moves_to_another_namespace,
        fdb::stations_of_a_bridge_are_noticed_as_they_come_and_go,
        fdb::a_port_that_joins_has_the_bridge_forget_what_was_behind_the_routers_port,
        fdb::stations_that_were_there_before_are_listed_and_overruns_survived,
        namespaces::a_namespace_is_made_found_and_removed,
        namespaces::a_namespace_in_scope_goes_when_the_scope_fails,
        namespaces::a_programs_children_inherit_the_namespace,
        namespaces::settings_belong_to_their_namespace,
        namespaces::a_handle_works_inside_an_async_runtime_and_from_many_threads,
        routes::addresses_are_added_listed_and_removed,
        routes::routes_are_added_listed_and_removed,
        routes::the_path_to_an_address_tells_device_source_and_mtu,
    ];
    #[cfg(feature = "pcap")]
    const PCAP: &[root_tests::RootTest] = root_tests::tests![
        pcap::a_device_that_cannot_be_captured_from_is_refused_with_the_reason,
        pcap::frames_come_in_once_and_go_out_and_none_comes_back,
        pcap::what_the_kernel_left_undone_is_told_and_what_nobody_can_mend_counted,
        pcap::a_full_ring_is_counted_and_a_device_that_goes_ends_the_port,
    ];
    #[cfg(not(feature = "pcap"))]
    const PCAP: &[root_tests::RootTest] = &[];
    root_tests::run([TESTS, PCAP].concat().leak(), &[], None)
}

/// At most 15 bytes, as device names, for tests that name devices so.
fn unique_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!(
        "wvt-{}-{}",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

struct RemoveByName(String);

impl Drop for RemoveByName {
    fn drop(&mut self) {
        if let Ok(namespace) = NetNs::open(&self.0) {
            let _ = namespace.remove();
        }
    }
}

fn own_namespace() -> String {
    fs::read_link("/proc/thread-self/ns/net")
        .expect("/proc is mounted")
        .display()
        .to_string()
}

/// What `ip` says: an opinion independent of the code under test.
fn ip(namespace: &NetNs, arguments: &[&str]) -> String {
    let output = namespace
        .run(|| Command::new("ip").args(arguments).output())
        .expect("root may enter")
        .expect("ip is installed");
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("a constant")
}

fn ip_of(text: &str) -> IpAddr {
    text.parse().expect("a constant")
}
