use super::*;
use crate::output::Output;

fn translated_words(line: &str) -> String {
    let words = translated(line.split(' ').map(OsString::from));
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.into_string().unwrap())
        .collect();
    words.join(" ")
}

#[test]
fn the_originals_spelling_is_understood() {
    for (line, wanted) in [
        (
            "weave launch 10.0.0.1/16",
            "weave launch --address 10.0.0.1/16",
        ),
        (
            "weave launch 10.0.0.2/16 -password wEaVe -debug host1 host2",
            "weave launch --address 10.0.0.2/16 --password wEaVe --debug host1 host2",
        ),
        ("weave launch -password=x", "weave launch --password=x"),
        (
            "weave --engine podman launch -port 7000 10.0.0.1/16",
            "weave --engine podman launch --port 7000 --address 10.0.0.1/16",
        ),
        ("weave launch -help", "weave launch --help"),
        (
            "weave launch 10.2.0.1/16 fd00::1/64 host1",
            "weave launch --address 10.2.0.1/16 --address fd00::1/64 host1",
        ),
        // A password that looks like something else.
        (
            "weave launch --password 10.0.0.1/16 -password launch",
            "weave launch --password 10.0.0.1/16 --password launch",
        ),
        (
            "weave launch --address 10.0.0.1/16",
            "weave launch --address 10.0.0.1/16",
        ),
    ] {
        assert_eq!(translated_words(line), wanted);
    }
}

#[test]
fn what_is_not_for_launch_is_left_alone() {
    for line in [
        "weave run 10.0.0.1/24 -t -i ubuntu -debug",
        "weave --state-dir launch status -debug",
        "weave router launch -debug",
        "weave launch host1 10.0.0.1/16",
        "weave launch -h",
        "weave launch -- -debug",
        "weave launch -nonsense",
        "weave",
    ] {
        assert_eq!(translated_words(line), line);
    }
}

#[test]
fn the_routers_arguments_are_written_out_without_the_password() {
    let args = parse(
        "launch --no-discovery --mtu 1400 --deny DENY --password geheim --debug 192.0.2.1 [::1]:7000",
    );
    let deny = "ab".repeat(32);
    assert_eq!(
        args.router,
        [
            format!("--deny={deny}").as_str(),
            "--mtu=1400",
            "--no-discovery",
            "--debug",
            "192.0.2.1",
            "[::1]:7000"
        ]
    );
    assert_eq!(args.password.as_ref().map(Secret::text), Some("geheim"));
    assert!(!args.no_container);

    let (options, words) = args.options(&context(Some("blue"))).unwrap();
    assert_eq!((options.bridge.as_str(), options.mtu), ("blue", Some(1400)));
    assert_eq!(
        words[..6],
        [
            "--control",
            "/c/weave.sock",
            "--state-dir",
            "/s",
            "--bridge",
            "blue"
        ]
    );
    assert!(
        !words.iter().any(|word| word.contains("geheim")),
        "{words:?}"
    );
}

#[test]
fn bad_flags_are_refused_before_anything_happens() {
    let refused = |line: &str| {
        let words = std::iter::once("weave")
            .chain(line.split(' '))
            .map(OsString::from);
        Cli::try_parse_from(translated(words))
            .unwrap_err()
            .to_string()
    };
    let line = refused("launch --port 0");
    assert!(line.contains("not a port from 1 to 65535"), "{line}");
    let line = refused("launch --mtu 1400 --nonsense");
    assert!(line.contains("--nonsense"), "{line}");
    let line = refused("launch host1 10.0.0.1/16");
    assert!(line.contains("10.0.0.1/16"), "{line}");
    let line = refused("launch 10.0.0.0/16");
    assert!(
        line.contains("10.0.0.0 is no address that a host can have"),
        "{line}"
    );

    let line = parse("launch --no-port")
        .options(&context(Some("blue")))
        .unwrap_err()
        .to_string();
    assert!(
        line.contains("--no-port") && line.contains("--bridge"),
        "{line}"
    );
    assert!(
        line.ends_with("'weave launch --help' lists what there is"),
        "{line}"
    );
}

#[test]
fn the_global_flags_work_on_both_sides() {
    for line in [
        "--state-dir /x launch --bridge blue",
        "launch --state-dir /x --bridge blue",
    ] {
        let args = parse(line);
        assert!(args.router.is_empty(), "{:?}", args.router);
    }
}

fn parse(line: &str) -> LaunchArgs {
    let line = line.replace("DENY", &"ab".repeat(32));
    let words = std::iter::once("weave")
        .chain(line.split(' '))
        .map(OsString::from);
    let matches = Cli::command()
        .try_get_matches_from(translated(words))
        .unwrap();
    let (_, launch) = matches.subcommand().unwrap();
    LaunchArgs::from_arg_matches(launch).unwrap()
}

fn context(bridge: Option<&str>) -> Context {
    Context {
        control: "/c/weave.sock".into(),
        state_dir: "/s".into(),
        engine: None,
        bridge: bridge.map(str::to_owned),
        output: Output::new(),
    }
}
