//! Every feature of the tool on real engines: dockerd and podman on hosts that are namespaces of this machine, driven
//! by the command lines that a user types.
//!
//! Needs root, dockerd, and busybox-static for the containers' image, and says so where it is ignored without. A test
//! that fails prints what each host's engine said. What a host is, and how to write a test, is in [`lab`].
// All of this is tests, which clippy tells by an attribute that a harness of one's own has none of.
#![allow(clippy::unwrap_used)]

mod harness;
mod lab;
#[path = "../../../../weave-io/tests/support/root_tests.rs"]
mod root_tests;
mod run;
mod trouble;

use std::process::ExitCode;

fn main() -> ExitCode {
    const TESTS: &[root_tests::RootTest] = root_tests::tests![
        harness::an_engine_of_its_own_runs_containers,
        harness::podman_runs_containers_too,
        harness::hosts_meet_on_the_underlay_until_they_are_cut_off,
        harness::a_snapshot_shows_every_change_and_nothing_else,
        harness::a_reboot_keeps_files_and_images_and_nothing_else,
        harness::nothing_outlives_a_killed_run,
        trouble::a_wrong_password_is_named_on_both_sides,
        run::a_program_begins_by_using_its_network,
        run::a_program_begins_by_using_its_network_with_podman,
        run::every_argument_of_docker_run_passes_through,
        run::every_argument_of_podman_run_passes_through,
        run::what_can_not_run_leaves_nothing_behind,
        run::what_podman_can_not_run_leaves_nothing_behind,
        run::a_container_that_starts_again_waits_again,
        run::a_container_of_podman_that_starts_again_waits_again,
    ];
    lab::run(TESTS)
}
