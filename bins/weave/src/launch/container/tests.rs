use std::path::PathBuf;

use clap::Parser;
use weave_router::Options;

use super::*;
use crate::engine::EngineKind;
use crate::engine::fake::Fake;

#[test]
fn the_container_has_the_rights_it_needs_and_no_more() {
    let plan = plan(
        "weave",
        &["--no-discovery", "--password-file=/s/password", "192.0.2.1"],
    );
    let wanted = format!(
        "--name weave --network host --userns host --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW \
         --device /dev/net/tun --security-opt no-new-privileges --read-only --restart unless-stopped \
         --volume /s:/s --volume /run/w:/run/w {} --control /run/w/weave.sock --state-dir /s --no-discovery \
         --password-file=/s/password 192.0.2.1",
        image::name()
    );
    assert_eq!(words(&run_args(&plan)), wanted);
}

#[test]
fn another_bridge_has_a_container_of_its_own_and_a_low_port_the_right_to_it() {
    let line = words(&run_args(&plan("blue", &["--port=443"])));
    assert!(line.starts_with("--name weave-blue "), "{line}");
    assert!(line.contains(" --cap-add NET_BIND_SERVICE "), "{line}");
}

#[tokio::test]
async fn rootless_and_remapped_engines_are_refused_by_name() {
    let fake = Fake::new(EngineKind::Podman);
    check(&fake).await.unwrap();
    fake.state().info.rootless = true;
    assert_eq!(
        check(&fake).await.unwrap_err().to_string(),
        "cannot launch the router: this podman is rootless, and its containers' network is not the host's; use the \
         podman of root, or run it without one: weave launch --no-container"
    );
    let fake = Fake::new(EngineKind::Docker);
    fake.state().info.remapped = true;
    assert_eq!(
        check(&fake).await.unwrap_err().to_string(),
        "cannot launch the router: this docker maps the users of its containers to others (userns-remap); switch \
         userns-remap off in docker's configuration, or run it without one: weave launch --no-container"
    );
    let down = EngineError::NotRunning {
        program: "docker",
        why: "no socket".to_owned(),
    };
    fake.fail("info", down);
    assert_eq!(
        check(&fake).await.unwrap_err().to_string(),
        "cannot launch the router: docker does not answer: no socket; start it: systemctl start docker, or run it \
         without one: weave launch --no-container"
    );
}

#[tokio::test]
async fn a_router_that_dies_is_heard_and_removed() {
    let fake = Fake::new(EngineKind::Docker);
    fake.state().logs = vec![
        "an earlier line".to_owned(),
        "weave router: cannot listen on port 6783 (TCP and UDP): address already in use; stop what uses it".to_owned(),
    ];
    fake.state().dies = true;
    let mut undo = Undo::new();
    let client = Client::new("/nonexistent/weave.sock".as_ref());
    let failure = start(&fake, &plan("weave", &[]), None, &client, &mut undo)
        .await
        .unwrap_err();
    assert_eq!(
        failure.to_string(),
        "the router does not start: cannot listen on port 6783 (TCP and UDP): address already in use; stop what uses it"
    );
    undo.back().await;
    assert!(fake.state().containers.is_empty());
    assert!(fake.state().images.is_empty(), "the image was made in vain");
}

#[tokio::test]
async fn an_engine_that_refuses_leaves_nothing() {
    let fake = Fake::new(EngineKind::Docker);
    fake.fail(
        "run",
        EngineError::Refused {
            why: "no space left on device".to_owned(),
        },
    );
    let mut undo = Undo::new();
    let client = Client::new("/nonexistent/weave.sock".as_ref());
    let failure = start(&fake, &plan("weave", &[]), None, &client, &mut undo)
        .await
        .unwrap_err();
    assert_eq!(
        failure.to_string(),
        "cannot launch the router: no space left on device"
    );
    undo.back().await;
    assert!(fake.state().images.is_empty());
}

fn plan(bridge: &str, args: &[&str]) -> Plan {
    let mut all = vec!["--control", "/run/w/weave.sock", "--state-dir", "/s"];
    all.extend(args);
    Plan {
        options: Options::try_parse_from(std::iter::once("weave").chain(all.iter().copied()))
            .unwrap(),
        args: all.iter().map(|arg| (*arg).to_owned()).collect(),
        bridge: bridge.to_owned(),
        state_dir: PathBuf::from("/s"),
        control: PathBuf::from("/run/w/weave.sock"),
    }
}

fn words(args: &[OsString]) -> String {
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
    words.join(" ")
}
