use clap::CommandFactory;
use weave_crypto::PeerId;

use super::*;
use crate::usage_line;

fn parse(args: &[&str]) -> Result<Options, String> {
    Options::try_parse_from([&["weave-router"], args].concat())
        .map_err(|error| usage_line("weave-router", &error))
}

#[test]
fn the_definition_is_sound_and_every_flag_has_a_variable() {
    let command = Options::command();
    command.clone().debug_assert();
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        // Those of the password have rules of their own: see password.rs.
        assert!(
            argument.get_env().is_some() || id.starts_with("password"),
            "{id} has no environment variable"
        );
    }
}

#[test]
fn without_flags_the_defaults_are_those_of_the_manual() {
    let options = parse(&[]).unwrap();
    assert_eq!(options.port, 6783);
    assert_eq!(options.network, "weave");
    assert_eq!(options.bridge, "weave");
    assert_eq!(options.conn_limit, 32);
    assert_eq!(options.state_dir.to_str(), Some("/var/lib/weave"));
    assert_eq!(options.control.to_str(), Some("/run/weave/weave.sock"));
    assert_eq!(options.level(), tracing::Level::INFO);
    options.check().unwrap();
}

#[test]
fn peers_come_as_names_and_addresses_with_and_without_a_port() {
    let options = parse(&[
        "192.0.2.1",
        "host.example:7000",
        "[2001:db8::1]:6783",
        "[::1]",
    ])
    .unwrap();
    assert_eq!(options.targets().len(), 4);
}

#[test]
fn overlay_addresses_come_one_by_one_and_in_a_list() {
    let options = parse(&[
        "--address",
        "10.2.1.1/24,fd00::1/64",
        "--address",
        "10.3.0.0/31",
    ]);
    let addresses: Vec<String> = options
        .unwrap()
        .overlay_addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(addresses, ["10.2.1.1/24", "fd00::1/64", "10.3.0.0/31"]);
    for single in ["10.2.1.1/32", "10.2.1.1/0", "fe80::1/64"] {
        parse(&["--address", single]).unwrap();
    }
}

#[test]
fn bad_values_are_refused_in_one_line_that_says_why() {
    let long = "x".repeat(65);
    for (args, wanted) in [
        (vec!["--port", "0"], "not a port from 1 to 65535"),
        (vec!["--port", "65536"], "not a port from 1 to 65535"),
        (
            vec!["--mtu", "100"],
            "not a number of bytes from 576 to 65445",
        ),
        (
            vec!["--mtu", "65500"],
            "not a number of bytes from 576 to 65445",
        ),
        (
            vec!["--bridge", "a-name-of-16-byt"],
            "has at most 15 bytes, this has 16",
        ),
        (vec!["--bridge", "a/b"], "no name for a network device"),
        (vec!["--tap", "a b"], "no name for a network device"),
        (vec!["--tap", "t", "--no-port"], "cannot be used with"),
        (vec!["--pcap", "p", "--tap", "t"], "cannot be used with"),
        (vec!["--pcap", "p", "--no-port"], "cannot be used with"),
        (vec!["--pcap", "eth0:bad"], "no name for a network device"),
        (vec!["--bridge", "b", "--tap", "t"], "cannot be used with"),
        (vec!["--listen", "here"], "not an IPv4 or IPv6 address"),
        (vec!["--name", ""], "it is empty"),
        (vec!["--name", &long], "it has 65 bytes, more than 64"),
        (
            vec!["--nickname", "a\u{7}b"],
            "it holds a control character",
        ),
        (
            vec!["--log", "loud"],
            "not one of error, warn, info, debug, trace",
        ),
        (vec!["--conn-limit", "many"], "not a number of connections"),
        (vec!["--address", "10.2.1.1"], "lacks its prefix length"),
        (vec!["--address", "10.2.1.0/24"], "no address that a host"),
        (vec!["--address", "10.2.1.255/24"], "no address that a host"),
        (vec!["--address", "224.0.0.1/4"], "no address that a host"),
        (vec!["--address", "::1/128"], "no address that a host"),
        (
            vec!["--metrics", "127.0.0.1"],
            "not an address and port like",
        ),
        (vec!["--metrics", ":9783"], "not an address and port like"),
        (
            vec!["--metrics", "127.0.0.1:0"],
            "not an address and port like",
        ),
        (vec!["--hub"], "unexpected argument '--hub'"),
        (vec!["host:port"], "PEER"),
        (vec!["host:99999"], "PEER"),
    ] {
        let line = parse(&args).unwrap_err();
        assert!(line.contains(wanted), "{args:?}: {line}");
        assert!(!line.contains('\n'), "{line}");
        assert!(line.contains("--help"), "{line}");
    }
}

#[test]
fn identities_to_refuse_are_64_hex_digits() {
    let key = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
    let other = "ff".repeat(32);
    let options = parse(&["--deny", &key, "--deny", &other]).unwrap();
    assert_eq!(options.denied().len(), 2);
    assert!(options.denied().contains(&PeerId::from_bytes([0xff; 32])));
    for bad in [
        "",
        "0123",
        &key[1..],
        &format!("{key}0"),
        &"xy".repeat(32),
        &"é".repeat(32),
    ] {
        let line = parse(&["--deny", bad]).unwrap_err();
        assert!(line.contains("not an identity of 64 hex digits"), "{line}");
    }
}

#[test]
fn a_capture_is_refused_by_a_build_without_the_feature_and_names_it() {
    let result = parse(&["--pcap", "eth0"]).unwrap().check();
    if cfg!(feature = "pcap") {
        result.unwrap();
    } else {
        let line = result.unwrap_err().to_string();
        assert!(line.starts_with("--pcap"), "{line}");
        assert!(line.contains("without the feature pcap"), "{line}");
    }
}
