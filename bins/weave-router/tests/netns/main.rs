//! The router end to end: real processes, TAPs and containers in network namespaces, with wires that are cut.
//!
//! These tests need root, and say so where they are ignored without it. They run one after the other, since several
//! of them time things that others would disturb. `WEAVE_TEST_LOG=debug` makes the routers say more.
// All of this is tests, which clippy tells by an attribute that a harness of one's own has none of.
#![allow(clippy::unwrap_used)]

mod address;
mod basics;
mod carriers;
mod clones;
#[path = "../support/exposition.rs"]
mod exposition;
mod failover;
mod frames;
mod input;
mod lab;
mod loops;
mod mesh;
mod mobility;
mod mtu;
mod nat;
mod passwords;
#[cfg(feature = "pcap")]
mod pcap;
mod quality;
mod rekey;
mod relay;
mod replays;
#[path = "../../../../weave-io/tests/support/root_tests.rs"]
mod root_tests;
mod secrecy;
mod stop;
mod strangers;
mod twenty;
mod verbs;

use std::process::ExitCode;

pub(crate) fn main() -> ExitCode {
    const TWENTY: &[root_tests::RootTest] = root_tests::tests![twenty::twenty_routers_are_light];
    const TESTS: &[root_tests::RootTest] = root_tests::tests![
        address::the_routers_own_address_answers_containers_near_and_far,
        address::a_router_without_a_port_answers_on_its_address,
        basics::two_hosts_containers_ping_both_ways,
        basics::applications_are_kept_apart_by_subnet,
        carriers::blocked_udp_costs_less_than_a_second_and_tcp_is_left_within_ten,
        carriers::udp_that_never_passes_leaves_all_to_tcp,
        clones::a_copied_state_folder_is_noticed_and_the_copy_takes_a_new_identity,
        clones::of_two_copies_of_a_machine_that_start_at_once_one_takes_a_new_identity,
        frames::tcp_and_udp_cross_whole_and_unchanged,
        frames::ipv6_and_its_neighbour_discovery_cross,
        frames::multicast_reaches_its_group,
        frames::frames_of_every_kind_cross_byte_for_byte,
        relay::two_hosts_cut_off_from_each_other_meet_over_a_third,
        relay::nothing_of_a_relayed_frame_is_on_any_wire,
        mesh::a_chain_becomes_a_full_mesh_and_lives_on_without_its_middle,
        mesh::the_first_ping_is_answered_within_a_second_of_the_start,
        failover::a_silent_cut_under_traffic_is_bridged_within_a_second,
        failover::a_cut_of_one_direction_is_bridged_within_two_seconds,
        failover::a_killed_router_is_back_within_two_seconds,
        loops::joined_bridges_are_noticed_and_nothing_goes_round,
        loops::bridges_that_were_joined_before_the_routers_start_are_noticed,
        mobility::a_container_that_moves_is_found_by_its_old_mac,
        mobility::a_container_that_moves_is_found_by_a_new_mac,
        mobility::a_container_that_moves_is_found_by_a_new_mac_over_ipv6,
        mobility::a_container_is_found_after_its_old_host_died,
        mtu::underlays_of_every_mtu_carry_all_that_containers_send,
        mtu::a_black_hole_for_large_packets_stalls_tcp_for_less_than_3_s,
        mtu::a_change_of_the_devices_mtu_stalls_tcp_for_less_than_3_s,
        nat::a_host_behind_nat_meets_one_with_an_open_port,
        nat::two_hosts_behind_nats_find_the_direct_path,
        nat::nats_that_change_ports_leave_the_relay_and_status_says_so,
        nat::a_neighbour_that_changes_its_address_is_followed,
        passwords::who_may_not_join_is_named_on_both_sides_within_two_seconds,
        passwords::a_thousand_wrong_guesses_a_second_are_tested_once_a_second,
        passwords::a_network_changes_its_password_and_loses_no_ping,
        passwords::a_password_costs_memory_for_a_moment_only,
        quality::a_path_that_loses_thirty_percent_is_left_within_three_seconds,
        quality::a_link_that_flaps_each_second_moves_routes_once_in_two_seconds_at_most,
        quality::both_sides_of_a_partition_work_and_meet_again_within_five_seconds,
        quality::a_relay_that_is_killed_costs_less_than_two_seconds,
        rekey::keys_replaced_under_traffic_cost_no_datagram_between_neighbours,
        rekey::keys_replaced_under_traffic_cost_no_datagram_over_a_relay,
        replays::what_is_sent_again_is_delivered_once,
        replays::a_flipped_bit_is_dropped_or_leads_to_the_true_frame_once,
        secrecy::a_relay_knows_nothing_of_what_it_carries,
        stop::a_terminated_router_takes_what_it_made_and_leaves_the_rest,
        stop::an_interrupted_router_takes_what_it_made_and_leaves_the_rest,
        input::bad_flags_are_refused_in_a_line_and_change_nothing,
        input::damaged_state_is_refused_in_a_line_and_left_as_it_is,
        input::bad_control_requests_are_refused_and_change_nothing,
        input::garbage_from_strangers_gets_no_reply_and_disturbs_nobody,
        strangers::a_storm_of_datagrams_disturbs_nobody_and_gets_no_byte,
        strangers::ten_thousand_half_open_strangers_keep_no_peer_out,
        strangers::a_million_source_addresses_harm_no_known_traffic,
        verbs::ping_trace_and_metrics_tell_the_way_over_a_relay,
    ];
    #[cfg(feature = "pcap")]
    const PCAP: &[root_tests::RootTest] = root_tests::tests![
        pcap::containers_on_captured_devices_talk_as_on_a_bridge,
        pcap::a_capture_that_cannot_be_is_refused_with_the_reason,
        pcap::the_routers_own_address_answers_beside_a_capture,
    ];
    // Said here, so that nobody takes a run without them for a whole one.
    #[cfg(not(feature = "pcap"))]
    const PCAP: &[root_tests::RootTest] =
        root_tests::tests![input::without_pcap_the_flag_names_the_feature];
    // One source for both targets, so that neither has code that it does not use.
    let tests = if env!("CARGO_CRATE_NAME") == "netns_twenty" {
        TWENTY.to_vec()
    } else {
        [TESTS, PCAP].concat()
    };
    // Two processors at most are taken as given, and the routers and pingers of one test keep them busy.
    root_tests::run(tests.leak(), &["/dev/net/tun"], Some(1))
}
