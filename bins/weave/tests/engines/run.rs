//! `weave run` and `weave start`: containers whose program starts when their network is up, with all that docker and
//! podman let one ask of a container.

use std::time::{Duration, Instant};

use super::lab::{Engine, Host, Lab, Said, figure, within};

pub(super) fn a_program_begins_by_using_its_network() {
    let mut lab = Lab::new();
    let [a] = lab.docker_hosts(["a"]);
    begins_by_using_its_network(&a);
}

pub(super) fn a_program_begins_by_using_its_network_with_podman() {
    let mut lab = Lab::new();
    begins_by_using_its_network(&lab.host("a", Engine::Podman));
}

fn begins_by_using_its_network(host: &Host) {
    // As the README has it.
    let shell = host.weave(&["run", "10.0.1.1/24", "-t", "-i", "bb"]).id();
    assert_eq!(shell.len(), 64, "{shell}");
    let program = host.exec(&shell, &["cat", "/proc/1/comm"]).id();
    assert_eq!(program, "sh");
    host.exec(&shell, &["ping", "-c", "1", "-q", "10.0.1.1"])
        .ok();

    let signals = "grep -E 'SigBlk|SigIgn' /proc/self/status; true";
    let words = ["run", "--rm", "bb", "sh", "-c", signals];
    let signals = host.docker(&words).ok().stdout;
    let first_act = "ip -o address show ethwe; ping -c 1 -W 2 10.0.1.1 >/dev/null; echo answered $?; \
                     grep -E 'SigBlk|SigIgn' /proc/self/status; exec idle";
    let mut times = Vec::new();
    for number in 2..7 {
        let (address, name) = (format!("10.0.1.{number}/24"), format!("c{number}"));
        let extra = format!("fd00::{number}/64");
        let words = ["run", &address, &extra, "--name", &name, "bb", "sh", "-c"];
        let said = host.weave(&[&words[..], &[first_act]].concat()).ok();
        times.push(said.took);
        let logs = || {
            let logs = host.docker(&["logs", &name]).ok().stdout;
            logs.contains("SigIgn").then_some(logs)
        };
        let (logs, _) = within(Duration::from_secs(5), "it says how it went", logs);
        assert!(logs.contains(&format!("inet {address}")), "{logs}");
        assert!(logs.contains(&format!("inet6 {extra}")), "{logs}");
        assert!(logs.contains("answered 0"), "{logs}");
        // Nothing of the waiting is left in its program.
        assert!(logs.ends_with(&signals), "{logs}, not {signals}");
    }
    let program = host
        .exec("c2", &["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"])
        .id();
    assert!(program.contains("idle"), "{program}");

    let mut bare = Vec::new();
    for number in 0..5 {
        let name = format!("d{number}");
        let words = ["run", "-d", "--name", &name, "bb", "idle"];
        bare.push(host.docker(&words).ok().took);
    }
    let mut quick = Vec::new();
    for number in 7..12 {
        let address = format!("10.0.1.{number}/24");
        let words = ["run", "--no-probe", &address, "bb", "idle"];
        quick.push(host.weave(&words).ok().took);
    }
    figure(&format!(
        "weave run {:?}, without probing {:?}, the engine's run -d {:?} (medians of 5)",
        median(times),
        median(quick),
        median(bare)
    ));
}

pub(super) fn every_argument_of_docker_run_passes_through() {
    let mut lab = Lab::new();
    let [a] = lab.docker_hosts(["a"]);
    let mut cases = common_cases();
    cases.extend([
        // Docker's init runs the waiting, and then the program.
        Case::new("--init bb sh -c ps", "docker-init"),
        Case::new("-dit bb echo a", "a"),
        Case::new("--detach=true bb echo b", "b"),
        Case::new("--net none bb cat /sys/class/net/ethwe/ifalias", "weave"),
        Case::new("--dns-opt ndots:1 --sig-proxy=false bb echo c", "c"),
    ]);
    pass_through(&a, "docker", &cases);

    // A healthy container is one whose check runs beside its program.
    let words = "--name sick --health-cmd true --health-interval 1s bb idle";
    weave_run(&a, "10.0.7.1/24", words).ok();
    let health = ["inspect", "--format", "{{.State.Health.Status}}", "sick"];
    within(Duration::from_secs(10), "it is healthy", || {
        (a.docker(&health).id() == "healthy").then_some(())
    });

    // A published port leads to it, as without weave.
    weave_run(&a, "10.0.7.2/24", "-p 8080:80 bb httpd -f -p 80").ok();
    within(Duration::from_secs(5), "its port answers", || {
        a.sh("busybox wget -q -O /dev/null http://127.0.0.1:8080/ 2>&1 | grep -q 404")
            .is_ok()
            .then_some(())
    });
}

pub(super) fn every_argument_of_podman_run_passes_through() {
    let mut lab = Lab::new();
    let a = lab.host("a", Engine::Podman);
    let mut cases = common_cases();
    cases.extend([
        Case::new("--tls-verify=false --no-hosts bb echo a", "a"),
        Case::new("--replace --name again bb echo b", "b"),
        Case::new("--replace --name again bb echo c", "c"),
    ]);
    pass_through(&a, "podman", &cases);
}

fn common_cases() -> Vec<Case> {
    vec![
        Case::new("bb echo plain", "plain"),
        Case::new("--user 1234:56 bb id -u", "1234"),
        Case::new("--read-only bb sh -c 'touch /x; true'", "Read-only"),
        Case::new(
            "--cap-drop ALL bb grep CapEff /proc/self/status",
            "0000000000000000",
        ),
        Case::new("--pids-limit 1 --user 7 bb echo one", "one"),
        Case::new("-w /bin bb ./pwd", "/bin"),
        Case::new("-e A=b -eC=d bb sh -c 'echo $A$C'", "bd"),
        Case::new("-e WEAVE_ENGINE=odd bb sh -c 'echo $WEAVE_ENGINE'", "odd"),
        Case::new("-e PATH=/nowhere bb /bin/echo absolute", "absolute"),
        Case::new("-h named --name named bb hostname", "named"),
        Case::new("--rm=false -- bb echo dashes", "dashes"),
        Case::new("--entrypoint echo bb user", "user"),
        Case::new("--entrypoint= bb echo empty", "empty"),
        // Entry point and command of the image, of both, and of the user.
        Case::new("ep", "entry command"),
        Case::new("ep mine", "entry mine"),
        Case::new("--entrypoint echo ep other", "other"),
        Case::new("--network none bb ip -o address show ethwe", "inet 10.0."),
        // Nothing in it but one program.
        Case::new("scratch /busybox echo scratch", "scratch"),
        Case::new("bb sh -c 'exit 7'", "").exits(7),
        // Not found by the waiting, but by what it became.
        Case::new("bb sh -c 'exit 127'", "").exits(127),
    ]
}

/// Arguments, and what the container then says and exits with.
struct Case {
    arguments: &'static str,
    says: &'static str,
    code: i32,
}

impl Case {
    fn new(arguments: &'static str, says: &'static str) -> Self {
        let code = 0;
        Self {
            arguments,
            says,
            code,
        }
    }

    fn exits(self, code: i32) -> Self {
        Self { code, ..self }
    }
}

fn pass_through(host: &Host, program: &str, cases: &[Case]) {
    host.start_engine();
    host.sh(&format!(
        "set -e
        {program} create --name base bb true
        {program} commit --change 'ENTRYPOINT [\"echo\",\"entry\"]' --change 'CMD [\"command\"]' base ep
        {program} rm base
        mkdir /tmp/scratch; cp $(command -v busybox) /tmp/scratch
        tar -C /tmp/scratch -c . | {program} import - scratch"
    ))
    .ok();
    for (case, number) in cases.iter().zip(1..) {
        let address = format!("10.0.{}.{}/16", number / 200, number % 200 + 1);
        // A shell, for the quotes.
        let line = format!(
            "weave run --no-probe {address} --cidfile /tmp/cid{number} {}",
            case.arguments
        );
        let id = host.sh(&line).id();
        assert_eq!(host.sh(&format!("cat /tmp/cid{number}")).id(), id);
        let ended = || {
            let format = "{{.State.Status}} {{.State.ExitCode}}";
            let state = host.docker(&["inspect", "--format", format, &id]).id();
            state.strip_prefix("exited ").map(str::to_owned)
        };
        let (code, _) = within(Duration::from_secs(10), case.arguments, ended);
        let logs = host.docker(&["logs", &id]).ok();
        let said = format!("{}{}", logs.stdout, logs.stderr);
        assert!(said.contains(case.says), "{}: {said}", case.arguments);
        assert_eq!(code, case.code.to_string(), "{}: {said}", case.arguments);
        host.docker(&["rm", &id]).ok();
    }
    // One that is to be removed, is; its end does not hold up the tool.
    let line = "weave run --no-probe 10.0.9.1/16 --rm --name brief bb true";
    assert_eq!(host.sh(line).id().len(), 64);
    within(Duration::from_secs(10), "it is removed", || {
        (!host.docker(&["inspect", "brief"]).is_ok()).then_some(())
    });
    assert_eq!(host.docker(&["ps", "--all", "--quiet"]).id(), "");
}

pub(super) fn what_can_not_run_leaves_nothing_behind() {
    let mut lab = Lab::new();
    let [a] = lab.docker_hosts(["a"]);
    leaves_nothing(&a);
}

pub(super) fn what_podman_can_not_run_leaves_nothing_behind() {
    let mut lab = Lab::new();
    leaves_nothing(&lab.host("a", Engine::Podman));
}

fn leaves_nothing(host: &Host) {
    // The bridge, and the copy for containers, stay once they are there.
    weave_run(host, "10.0.1.1/24", "--name there -p 81:81 bb idle").ok();
    let id_file = "--cidfile /tmp/id";
    let before = host.snapshot();
    let cases: &[(&str, &str, i32, &str)] = &[
        (
            "10.0.1.2/24",
            "--network host bb idle",
            2,
            "weave: cannot put a container on the network that shares the host's (--network host)",
        ),
        (
            "10.0.1.2/24",
            "-a stdout bb idle",
            2,
            "weave: cannot attach to the container's streams (-a)",
        ),
        (
            "10.0.1.2/24",
            "--detach=false bb idle",
            2,
            "weave: cannot run the container in the foreground (--detach=false)",
        ),
        ("10.0.1.2/24", "-t -i", 2, "weave: no image given"),
        ("bb", "idle", 2, "weave: \"bb\" is no address"),
        (
            "10.0.1.2/24",
            "bb nosuch",
            127,
            "weave: cannot start \"nosuch\" in the container: there is no such program",
        ),
        (
            "10.0.1.2/24",
            "--rm bb /bin/nosuch",
            127,
            "weave: cannot start \"/bin/nosuch\" in the container",
        ),
        (
            "10.0.1.2/24",
            "--entrypoint /bin bb",
            126,
            "weave: cannot start \"/bin\" in the container",
        ),
        ("10.0.1.1/24", "-v /data bb idle", 1, "weave: "),
        ("10.0.1.1/24", "--rm --name second bb idle", 1, "weave: "),
        (
            "10.0.1.2/24",
            "--name there bb idle",
            1,
            "weave: cannot run bb: ",
        ),
        (
            "10.0.1.2/24",
            "-p 81:81 -v /data bb idle",
            1,
            "weave: cannot run bb: ",
        ),
        (
            "10.0.1.2/24",
            "--nosuch x bb idle",
            1,
            "weave: cannot run bb: unknown flag: --nosuch",
        ),
    ];
    for (address, arguments, code, says) in cases {
        let arguments = format!("{id_file} {arguments}");
        let said = weave_run(host, address, &arguments);
        assert!(said.stderr.starts_with(says), "{said}");
        let _ = said.refused(*code);
        before.must_equal(&host.snapshot());
    }
    // Without waiting the engine looks for the program.
    for (program, code) in [("nosuch", 127), ("/bin", 126)] {
        let words = ["run", "--no-wait", "10.0.1.2/24", "bb", program];
        let said = host.weave(&words);
        assert!(said.stderr.starts_with("weave: cannot run bb: "), "{said}");
        let _ = said.refused(code);
        before.must_equal(&host.snapshot());
    }
    // Interrupted while another command holds the ledger.
    let line = "flock /var/lib/weave/host.lock timeout --preserve-status --signal=INT 2 \
                weave run 10.0.1.2/24 --name held bb idle";
    let said = host.sh(line);
    assert!(said.stderr.contains("interrupted before"), "{said}");
    let _ = said.refused(130);
    before.must_equal(&host.snapshot());
    // Of several that want one address at once, one gets it, and nothing of the others stays.
    let line = "for i in 1 2 3; do weave run 10.0.1.9/24 --name at-once$i bb idle & done; wait";
    let said = host.sh(line).ok();
    assert_eq!(said.stdout.lines().count(), 1, "{said}");
    assert_eq!(
        said.stderr.matches("10.0.1.9 belongs to").count(),
        2,
        "{said}"
    );
    let names = [
        "ps",
        "--all",
        "--format",
        "{{.Names}}",
        "--filter",
        "name=at-once",
    ];
    assert_eq!(host.docker(&names).id().lines().count(), 1);
}

pub(super) fn a_container_that_starts_again_waits_again() {
    let mut lab = Lab::new();
    let [a] = lab.docker_hosts(["a"]);
    waits_again(&a);
}

pub(super) fn a_container_of_podman_that_starts_again_waits_again() {
    let mut lab = Lab::new();
    waits_again(&lab.host("a", Engine::Podman));
}

fn waits_again(a: &Host) {
    let first_act = "ping -c 1 -W 2 10.0.1.1 >/dev/null; echo answered $?; exec idle";
    weave_run(a, "10.0.1.1/24", "bb idle").ok();
    let words = ["run", "10.0.1.2/24", "--name", "again", "bb", "sh", "-c"];
    a.weave(&[&words[..], &[first_act]].concat()).ok();
    let answers = |count: usize| {
        within(Duration::from_secs(5), "its program ran", || {
            let logs = a.docker(&["logs", "again"]).ok().stdout;
            (logs == "answered 0\n".repeat(count)).then_some(())
        });
    };
    answers(1);
    a.docker(&["stop", "-t", "5", "again"]).ok();
    assert_eq!(
        a.weave(&["start", "10.0.1.2/24", "again"]).id(),
        "again",
        "as docker start prints"
    );
    answers(2);
    // One that runs is only attached.
    a.weave(&["start", "10.0.1.2/24", "10.0.2.2/24", "again"])
        .ok();
    let addresses = a.exec("again", &["ip", "-o", "address", "show", "ethwe"]);
    assert!(addresses.stdout.contains("10.0.2.2/24"), "{addresses}");

    // Until somebody attaches it, it waits, and can be stopped at once.
    a.docker(&["restart", "-t", "5", "again"]).ok();
    let program = a.exec("again", &["sh", "-c", "cat /proc/1/comm"]).id();
    assert_eq!(program, "weave: waits");
    let started = Instant::now();
    a.docker(&["stop", "again"]).ok();
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let code = ["inspect", "--format", "{{.State.ExitCode}}", "again"];
    assert_eq!(a.docker(&code).id(), "143");
    answers(2);

    // One that can't be attached is stopped again.
    let _ = a.weave(&["start", "10.0.1.1/24", "again"]).refused(1);
    let state = ["inspect", "--format", "{{.State.Status}}", "again"];
    assert_eq!(a.docker(&state).id(), "exited");
    let _ = a.weave(&["start", "10.0.1.9/24", "nosuch"]).refused(1);
    a.docker(&[
        "create",
        "--name",
        "hosts",
        "--network",
        "host",
        "bb",
        "idle",
    ])
    .ok();
    let _ = a.weave(&["start", "10.0.1.9/24", "hosts"]).refused(1);
    let state = ["inspect", "--format", "{{.State.Status}}", "hosts"];
    assert_eq!(a.docker(&state).id(), "created");

    // A container that docker made, and one that shares another's network.
    a.docker(&["create", "--name", "plain", "bb", "idle"]).ok();
    a.weave(&["start", "10.0.1.3/24", "plain"]).ok();
    a.exec("plain", &["ping", "-c", "1", "-W", "2", "10.0.1.1"])
        .ok();
    a.docker(&["run", "-d", "--name", "owner", "bb", "idle"])
        .ok();
    weave_run(
        a,
        "10.0.1.4/24",
        "--name guest --network container:owner bb idle",
    )
    .ok();
    a.exec("owner", &["ping", "-c", "1", "-W", "2", "10.0.1.1"])
        .ok();

    // Nobody waits for ever.
    let copy = "type=bind,source=/var/lib/weave/weave-wait,target=/.weave-wait,readonly";
    let words = [
        "run",
        "--rm",
        "--mount",
        copy,
        "--entrypoint",
        "/.weave-wait",
        "bb",
        "wait",
        "--for",
        "1",
        "--",
        "echo",
        "never",
    ];
    let said = a.docker(&words);
    assert!(
        said.stderr.starts_with("weave: no network within 1 s"),
        "{said}"
    );
    assert_eq!((said.code, said.stdout.as_str()), (Some(125), ""), "{said}");

    // An image made of it runs its program, not a copy's copy.
    a.docker(&["commit", "again", "made"]).ok();
    weave_run(a, "10.0.1.5/24", "--name made --rm made").ok();
    let command = ["inspect", "--format", "{{.Args}}", "made"];
    assert!(a.docker(&command).id().starts_with("[wait -- sh -c ping"));
}

/// Types `weave run ADDRESS ARGUMENTS`.
fn weave_run(host: &Host, address: &str, arguments: &str) -> Said {
    let mut words = vec!["run", address];
    words.extend(arguments.split_whitespace());
    host.weave(&words)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
