//! `weave expose` and `weave hide`, the firewall's rules and the guard, on hosts that are network namespaces with
//! Docker's policy. They need root.
// All of this is tests, which clippy tells by an attribute that a harness of one's own has none of.
#![allow(clippy::unwrap_used)]

mod expose;
mod guard;
mod lab;
mod refusals;
mod reset;
#[path = "../../../../weave-io/tests/support/root_tests.rs"]
mod root_tests;
mod services;

use std::process::ExitCode;

fn main() -> ExitCode {
    root_tests::run(
        root_tests::tests![
            expose::hide_takes_back_exactly_what_expose_did,
            expose::each_family_and_each_address_goes_for_itself,
            expose::a_host_that_forwards_already_goes_on_forwarding,
            services::bridged_frames_pass_whatever_docker_says,
            services::the_host_reaches_containers_by_its_exposed_address,
            services::a_service_is_exported_by_the_readmes_rule,
            services::a_service_is_imported_by_the_readmes_rule_and_bound_anew,
            services::nothing_else_is_routed_into_the_network,
            guard::what_a_reload_removes_is_back_within_ten_seconds,
            guard::there_is_one_guard_and_it_costs_next_to_nothing,
            guard::a_container_that_lost_its_cable_gets_it_back,
            reset::no_trace_is_left,
            refusals::what_cannot_be_exposed_is_named_and_changes_nothing,
        ],
        &["/usr/sbin/iptables"],
        Some(2),
    )
}
