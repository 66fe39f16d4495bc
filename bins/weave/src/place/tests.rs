use super::*;
use crate::engine::EngineKind;
use crate::engine::fake::Fake;

fn container() -> Subject {
    Subject::Container {
        engine: EngineKind::Docker,
        id: "0123456789abcdef".to_owned(),
        name: "c1".to_owned(),
    }
}

#[test]
fn a_container_that_does_not_run_is_refused_by_its_state() {
    let said = |state| idle("docker", "c1", state).to_string();
    assert_eq!(
        said("created"),
        "container c1 does not run: it was never started; 'weave start CIDR c1' starts and attaches it"
    );
    assert_eq!(
        said("exited"),
        "container c1 does not run: it has ended; 'weave start CIDR c1' starts and attaches it"
    );
    assert_eq!(
        said("paused"),
        "container c1 is paused; 'docker unpause c1' lets it go on"
    );
    assert_eq!(
        said("restarting"),
        "container c1 does not run: docker is restarting it; 'docker logs c1' may say why"
    );
    assert_eq!(
        said("dead"),
        "container c1 does not run: it is dead; 'docker rm -f c1' removes what is left of it"
    );
}

#[test]
fn a_container_on_the_hosts_network_or_an_unknown_one_is_refused() {
    let engine = Fake::new(EngineKind::Docker);
    engine.add_running("c1", std::process::id());
    assert_eq!(
        find(&engine, "c1").unwrap_err().to_string(),
        "container c1 has no network of its own: it is on the host's; give the host an address with: weave expose CIDR"
    );
    assert_eq!(
        find(&engine, "c2").unwrap_err().to_string(),
        "cannot find container c2: docker knows no container c2; docker ps -a lists those there are"
    );
    let gone = EngineError::NotRunning {
        program: "docker",
        why: "no socket".to_owned(),
    };
    engine.fail("inspect", gone);
    assert_eq!(
        find(&engine, "c1").unwrap_err().to_string(),
        "cannot find container c1: docker does not answer: no socket; start it: systemctl start docker"
    );
}

#[test]
fn of_a_container_with_anothers_network_the_other_is_found() {
    let engine = Fake::new(EngineKind::Docker);
    let owner = engine.add_running("owner", std::process::id());
    engine.add_running("guest", std::process::id());
    engine.state().containers[1].network_mode = format!("container:{}", owner.id);
    let owned = runtime().block_on(async {
        let guest = engine.inspect("guest").await.unwrap();
        network_owner(&engine, &guest).await
    });
    assert_eq!(owned, Some(owner));
}

#[test]
fn what_is_no_process_or_on_the_hosts_network_is_refused() {
    let said = |text| Place::of_process(text).unwrap_err().to_string();
    for text in ["", "x", "+1", "-1", "0", "99999999999"] {
        assert_eq!(
            said(text),
            format!("\"pid:{text}\" names no process; give a process id, as in pid:1234")
        );
    }
    // The kernel gives none above 4,194,304 (PID_MAX_LIMIT).
    assert_eq!(
        said("4194305"),
        "there is no process 4194305; name one that runs, as in pid:1234"
    );
    let own = std::process::id().to_string();
    assert_eq!(
        said(&own),
        format!(
            "process {own} has no network of its own: it is on the host's; give the host an address with: weave \
             expose CIDR"
        )
    );
}

#[test]
fn what_is_no_namespace_or_the_hosts_is_refused() {
    let said = |text| Place::of_path(text).unwrap_err().to_string();
    assert_eq!(
        said(""),
        "\"netns:\" names no network namespace; give a path, or a name that 'ip netns' lists, as in netns:a"
    );
    assert_eq!(
        said("weave-none"),
        "there is no network namespace weave-none: /var/run/netns/weave-none: no such file or directory; 'ip \
         netns' lists those that have a name"
    );
    assert_eq!(
        said("/proc/self/status"),
        format!(
            "there is no network namespace /proc/self/status: /proc/{}/status is another file; 'ip netns' lists \
             those that have a name",
            std::process::id()
        )
    );
    assert_eq!(
        said("/proc/self/ns/net"),
        format!(
            "process {} has no network of its own: it is on the host's; give the host an address with: weave \
             expose CIDR",
            std::process::id()
        )
    );
}

#[test]
fn a_process_is_known_by_its_start() {
    let own = started(std::process::id()).unwrap();
    assert!(own.contains(" ticks after boot "), "{own}");
    assert_eq!(started(std::process::id()).as_ref(), Some(&own));
    assert_ne!(started(1), Some(own));
}

#[test]
fn a_subject_answers_to_what_the_user_calls_it() {
    let c = container();
    for text in ["c1", "0123", "0123456789abcdef"] {
        assert!(c.answers_to(text), "{text}");
    }
    for text in ["c", "012", "1234", "netns:c1"] {
        assert!(!c.answers_to(text), "{text}");
    }
    let named = Subject::Namespace {
        path: "/run/netns/a".into(),
    };
    assert_eq!(named.label(), "netns:a");
    assert!(named.answers_to("netns:a") && named.answers_to("netns:/run/netns/a"));
    assert!(!named.answers_to("a"));
    let process = Subject::Process {
        pid: 7,
        started: String::new(),
    };
    assert!(process.answers_to("pid:7") && !process.answers_to("7"));
}

#[test]
fn a_renamed_container_is_the_same() {
    let Subject::Container { engine, id, .. } = container() else {
        unreachable!()
    };
    let renamed = Subject::Container {
        engine,
        id,
        name: "c2".to_owned(),
    };
    assert!(container().is(&renamed));
    let podmans = Subject::Container {
        engine: EngineKind::Podman,
        id: "0123456789abcdef".to_owned(),
        name: "c1".to_owned(),
    };
    assert!(!container().is(&podmans));
}

#[test]
fn a_path_to_a_processs_namespace_is_that_process() {
    for (path, pid) in [
        ("/proc/7/ns/net", Some("7")),
        ("/proc/7/task/8/ns/net", Some("8")),
        ("/proc/7/ns/mnt", None),
        ("/run/netns/a", None),
    ] {
        assert_eq!(process_of(Path::new(path)), pid, "{path}");
    }
    let link = std::env::temp_dir().join(format!("weave-place-{}", std::process::id()));
    std::os::unix::fs::symlink("/proc/self/ns/net", &link).unwrap();
    let found = resolved(&link);
    fs::remove_file(&link).unwrap();
    assert_eq!(
        found.unwrap(),
        Path::new(&format!("/proc/{}/ns/net", std::process::id()))
    );
    std::os::unix::fs::symlink(&link, &link).unwrap();
    let found = resolved(&link);
    fs::remove_file(&link).unwrap();
    assert!(found.is_err());
}

fn find(engine: &Fake, text: &str) -> Result<Place, Failure> {
    runtime().block_on(Place::ask(engine, text))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}
