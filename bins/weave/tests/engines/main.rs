//! Every feature of the tool on real engines: dockerd and podman on hosts that are namespaces of this machine, driven
//! by the command lines that a user types.
//!
//! Needs root, dockerd, and busybox-static for the containers' image, and says so where it is ignored without. A test
//! that fails prints what each host's engine said. What a host is, and how to write a test, is in [`lab`].
// All of this is tests, which clippy tells by an attribute that a harness of one's own has none of.
#![allow(clippy::unwrap_used)]

mod alongside;
mod dynamic;
mod example;
mod failures;
mod harness;
mod lab;
mod lifecycle;
mod light;
mod mobility;
mod paths;
mod podman;
mod reboots;
#[path = "../../../../weave-io/tests/support/root_tests.rs"]
mod root_tests;
mod run;
mod services;
mod trouble;

use std::process::ExitCode;

pub(crate) fn main() -> ExitCode {
    const RELEASE: &[root_tests::RootTest] = root_tests::tests![light::image_and_memory_are_small];
    const TESTS: &[root_tests::RootTest] = root_tests::tests![
        harness::an_engine_of_its_own_runs_containers,
        harness::podman_runs_containers_too,
        harness::hosts_meet_on_the_underlay_until_they_are_cut_off,
        harness::a_snapshot_shows_every_change_and_nothing_else,
        harness::a_reboot_keeps_files_and_images_and_nothing_else,
        harness::nothing_outlives_a_killed_run,
        example::two_containers_on_two_hosts_ping_each_other,
        example::netcat_is_answered_over_tcp_and_udp,
        example::applications_are_isolated_by_subnet,
        example::the_first_ping_is_answered_soon_with_the_image_and_without,
        dynamic::a_running_container_joins_and_leaves,
        dynamic::a_container_changes_networks_and_has_two,
        trouble::those_who_share_a_password_meet_and_it_is_seen_nowhere,
        trouble::a_wrong_password_is_named_on_both_sides,
        run::a_program_begins_by_using_its_network,
        run::a_program_begins_by_using_its_network_with_podman,
        run::every_argument_of_docker_run_passes_through,
        run::every_argument_of_podman_run_passes_through,
        run::what_can_not_run_leaves_nothing_behind,
        run::what_podman_can_not_run_leaves_nothing_behind,
        run::a_container_that_starts_again_waits_again,
        run::a_container_of_podman_that_starts_again_waits_again,
        trouble::status_version_and_logs_tell_how_it_is,
        lifecycle::stop_leaves_local_traffic_and_launch_brings_back_the_rest,
        lifecycle::a_connection_survives_a_relaunch,
        lifecycle::a_killed_router_is_back_by_itself,
        lifecycle::after_a_restart_of_the_engine_all_is_on_the_network_again,
        lifecycle::a_restarted_container_is_attached_again,
        lifecycle::reset_leaves_no_trace,
        paths::hosts_that_are_cut_off_meet_over_a_third,
        paths::whoever_is_told_one_peer_finds_all,
        services::an_exposed_host_reaches_all_containers_and_hide_takes_it_back,
        services::exposing_one_network_opens_no_way_into_it,
        services::a_service_is_exported_by_a_host_that_does_not_run_it,
        services::an_imported_service_is_reached_from_every_container,
        services::an_imported_service_is_rebound_without_a_word_to_its_users,
        services::services_are_routed_between_networks_of_the_same_addresses,
        mobility::a_container_moves_to_another_engine_with_its_address,
        mobility::a_container_moves_to_another_engine_with_its_mac,
        mobility::an_address_moves_between_containers_that_run,
        alongside::docker_networking_goes_on_beside_ours,
        alongside::networks_that_docker_was_told_to_make_go_on_too,
        alongside::a_reload_of_the_firewall_is_repaired,
        alongside::a_restart_of_dockerd_does_not_close_the_bridge,
        reboots::after_a_reboot_launch_attaches_again_what_runs,
        reboots::a_stopped_router_stays_stopped_over_a_reboot,
        reboots::without_the_state_folder_nothing_is_claimed,
        podman::containers_of_podman_and_docker_share_a_network,
        podman::podman_is_used_where_there_is_no_docker_or_the_flag_names_it,
        failures::what_is_no_address_or_no_container_is_named,
        failures::an_address_that_somebody_has_is_refused,
        failures::a_missing_right_and_a_wrong_host_are_named,
        failures::an_engine_that_is_of_no_use_is_named,
    ];
    // One source for both targets, so that neither has code that it does not use.
    let release = env!("CARGO_CRATE_NAME") == "engines_release";
    lab::run(if release { RELEASE } else { TESTS })
}
