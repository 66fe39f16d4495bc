//! `weave attach`, `detach` and `ps` on bare network namespaces, each test on a host of its own. They need root, and
//! say so where they are ignored without.
// All of this is tests, which clippy tells by an attribute that a harness of one's own has none of.
#![allow(clippy::unwrap_used)]

mod at_once;
mod failures;
mod lab;
mod network;
mod ps;
#[path = "../../../../weave-io/tests/support/root_tests.rs"]
mod root_tests;
mod routers;

use std::process::ExitCode;

fn main() -> ExitCode {
    root_tests::run(
        root_tests::tests![
            network::two_containers_talk_before_there_is_a_router,
            network::twice_is_the_same_as_once,
            network::addresses_come_and_go_and_the_interface_with_the_last,
            network::a_container_without_ipv6_gets_it_with_an_ipv6_address,
            network::a_stream_arrives_whole_with_all_offloads_on,
            network::what_was_unplugged_is_plugged_in_again,
            network::a_container_that_comes_again_keeps_its_ethernet_address,
            network::what_is_gone_is_forgotten,
            failures::each_has_its_own_line_and_changes_nothing,
            failures::an_address_in_use_is_refused_unless_one_insists,
            failures::what_was_done_is_taken_back_when_a_later_step_fails,
            failures::a_container_whose_own_network_is_in_the_way_is_left_alone,
            at_once::ten_containers_are_attached,
            at_once::of_ten_that_want_one_address_one_gets_it,
            at_once::one_that_is_interrupted_leaves_nothing_behind,
            at_once::one_that_is_killed_leaves_nothing_that_the_next_cannot_mend,
            at_once::one_that_waits_says_for_whom,
            ps::it_lists_what_is_there_and_says_what_is_wrong,
            routers::the_mtu_is_the_routers,
            routers::an_address_of_another_host_is_refused_and_its_router_named,
        ],
        &["/dev/net/tun"],
        Some(4),
    )
}
