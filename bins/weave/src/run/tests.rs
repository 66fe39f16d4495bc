use super::*;
use crate::engine::fake::Fake;

#[test]
fn addresses_come_first_and_the_rest_is_the_engines() {
    let read = |line: &str| Order::read(&args(line));
    let order = read("10.0.1.1/24 fd00::1/64 -t -i ubuntu --no-wait").unwrap();
    assert_eq!(
        order.addresses,
        ["10.0.1.1/24", "fd00::1/64"].map(|text| text.parse().unwrap())
    );
    assert!(order.wait && order.probe);
    assert_eq!(order.words, words("-t -i ubuntu --no-wait"));

    let order = read("10.0.1.1/24 --no-wait --no-probe ubuntu").unwrap();
    assert!(!order.wait && !order.probe);
    assert_eq!(order.words, words("ubuntu"));
    assert!(read("10.0.1.1/24 --help ubuntu").unwrap().help);
    assert!(!read("10.0.1.1/24 ubuntu --help").unwrap().help);

    for (line, part) in [
        ("ubuntu", "\"ubuntu\" is no address"),
        ("-t 10.0.1.1/24 ubuntu", "\"-t\" is no address"),
        ("10.0.1.1 ubuntu", "lacks its prefix length"),
        ("10.0.1.1/33 ubuntu", "is no prefix length"),
        ("10.0.1.1/24 10.0.2.1 ubuntu", "lacks its prefix length"),
        ("10.0.1.1/24 fd00::1/x ubuntu", "is no prefix length"),
    ] {
        let failure = read(line).unwrap_err();
        assert!(failure.to_string().contains(part), "{line}: {failure}");
        assert_eq!(failure.exit_code(), ExitCode::from(2), "{line}");
    }
}

#[test]
fn the_command_line_keeps_every_argument() {
    use clap::Parser;
    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        run: RunArgs,
    }
    let parse =
        |line: &str| Only::try_parse_from(words(&format!("run {line}"))).map(|only| only.run);
    for line in [
        "10.0.1.1/24 -t -i ubuntu",
        "10.0.1.1/24 --help",
        "10.0.1.1/24 -h name --no-wait -- img -- x",
        "10.0.1.1/24 --no-wait --no-probe --control x",
        "-t img",
    ] {
        let run = parse(line).unwrap();
        assert_eq!(run.words, words(line));
        assert!(!run.no_wait && !run.no_probe);
    }
    let run = parse("--no-wait --no-probe 10.0.1.1/24 --no-wait img").unwrap();
    assert!(run.no_wait && run.no_probe);
    assert_eq!(run.words, words("10.0.1.1/24 --no-wait img"));
    assert!(parse("").is_err());
    assert!(
        help().contains("weave run 10.0.1.1/24 -t -i ubuntu"),
        "{}",
        help()
    );
}

#[tokio::test]
async fn what_can_not_be_is_refused_before_anything_is_made() {
    let folder = Folder::new("refused");
    for (line, part) in [
        ("--network host img", "shares the host's (--network host)"),
        ("--net=host img", "shares the host's"),
        ("--network=name=host,alias=x img", "shares the host's"),
        ("-a stdout img", "cannot attach to the container's streams"),
        ("-ita=stdin img", "cannot attach to the container's streams"),
        ("-d=false img", "cannot run the container in the foreground"),
        ("-t", "no image given"),
        ("-t -e", "-e lacks its value"),
        ("--cidfile /dev/null img", "is there already"),
    ] {
        let engine = Fake::new(EngineKind::Docker);
        let failure = planned(&engine, &folder, line).await.unwrap_err();
        assert!(failure.to_string().contains(part), "{line}: {failure}");
        assert_eq!(engine.calls(), Vec::<String>::new(), "{line}");
    }
    // A name that only looks like it.
    let engine = Fake::new(EngineKind::Docker);
    planned(&engine, &folder, "--network hosts --hostname host img host")
        .await
        .unwrap();
}

#[tokio::test]
async fn the_command_is_read_from_a_container_that_never_starts() {
    let folder = Folder::new("command");
    let engine = Fake::new(EngineKind::Docker);
    let plan = planned(
        &engine,
        &folder,
        "-dit --name n --cidfile F --entrypoint e img a",
    )
    .await
    .unwrap();
    assert_eq!(
        engine.calls(),
        [
            "create --network=none --entrypoint e img a".to_owned(),
            format!("inspect {:064x}", 0),
            format!("rm {:064x}", 0),
        ]
    );
    assert_eq!(plan.command.as_deref(), Some(&["/bin/sh".to_owned()][..]));
    assert_eq!(
        (plan.id_file.to_str(), plan.keeps_id_file),
        (Some("F"), true)
    );
    let copy = folder.0.join(program::FILE);
    assert!(copy.is_file());
    let mount = format!(
        "type=bind,source={},target=/.weave-wait,readonly",
        copy.display()
    );
    let mut expected = words("--entrypoint /.weave-wait --mount");
    expected.push(mount.into());
    expected.extend(words("-dit --name n --cidfile F img wait -- /bin/sh"));
    assert_eq!(plan.args, expected);
}

#[tokio::test]
async fn without_waiting_the_arguments_are_as_they_were() {
    let folder = Folder::new("no-wait");
    let engine = Fake::new(EngineKind::Docker);
    let order = Order {
        wait: false,
        ..order("--name n img a")
    };
    let plan = plan(&engine, &folder.0, &order).await.unwrap();
    assert_eq!(engine.calls(), Vec::<String>::new());
    assert_eq!((&plan.command, plan.keeps_id_file), (&None, false));
    assert_eq!(plan.args[1..], words("--name n img a"));
    assert!(!folder.0.join(program::FILE).exists());
}

#[tokio::test]
async fn a_container_asked_for_its_command_goes_even_when_it_has_none() {
    let folder = Folder::new("fails");
    let engine = Fake::new(EngineKind::Docker);
    let why = "odd".to_owned();
    engine.fail("inspect", EngineError::Refused { why });
    let failure = planned(&engine, &folder, "img").await.unwrap_err();
    assert_eq!(failure.to_string(), "cannot run img: odd");
    assert!(engine.state().containers.is_empty());
}

#[tokio::test]
async fn a_new_flag_makes_it_ask_the_engine() {
    let folder = Folder::new("flag");
    let engine = Fake::new(EngineKind::Docker);
    let plan = planned(&engine, &folder, "--future img sh").await.unwrap();
    assert_eq!(engine.calls()[0], "run --help");
    assert_eq!(plan.image, "img");
}

#[tokio::test]
async fn what_an_engine_leaves_of_a_container_that_did_not_start_is_removed() {
    let folder = Folder::new("left");
    let engine = Fake::new(EngineKind::Docker);
    let plan = planned(&engine, &folder, "--name n img").await.unwrap();
    // As docker does it: the container is made, its file written, and it can't be started.
    let id = engine.create(&words("--name n img")).await.unwrap();
    fs::write(&plan.id_file, &id).unwrap();
    let why = "driver failed: port is already allocated".to_owned();
    engine.fail("run", EngineError::Refused { why });
    let failure = started(&engine, &plan).await.unwrap_err();
    assert!(failure.to_string().ends_with("port is already allocated"));
    assert!(engine.state().containers.is_empty());
    assert!(!plan.id_file.exists());
}

#[test]
fn refusals_of_the_run_time_have_dockers_exit_codes() {
    let code = |why: &str| {
        let error = EngineError::Refused {
            why: why.to_owned(),
        };
        refused(&error, "img").exit_code()
    };
    let run_time = "Error response from daemon: failed to create task: OCI runtime create failed: runc create failed: unable to start container process: ";
    let of = |why: &str| code(&format!("{run_time}{why}"));
    assert_eq!(
        of("exec: \"x\": executable file not found in $PATH: unknown"),
        ExitCode::from(127)
    );
    assert_eq!(
        of("exec: \"/x\": stat /x: no such file or directory: unknown"),
        ExitCode::from(127)
    );
    assert_eq!(
        of("exec: \"/x\": permission denied: unknown"),
        ExitCode::from(126)
    );
    assert_eq!(
        code("invalid mount: /nowhere: no such file or directory"),
        ExitCode::from(1)
    );
}

#[test]
fn a_mount_is_a_line_of_csv() {
    let of = |engine, path: &str| mount(engine, Path::new(path)).into_string().unwrap();
    assert_eq!(
        of(EngineKind::Podman, "/s/weave-wait"),
        "type=bind,source=/s/weave-wait,target=/.weave-wait,readonly,relabel=shared"
    );
    assert_eq!(
        of(EngineKind::Docker, "/a,b"),
        "type=bind,\"source=/a,b\",target=/.weave-wait,readonly"
    );
}

async fn planned(engine: &Fake, folder: &Folder, line: &str) -> Result<Plan, Failure> {
    plan(engine, &folder.0, &order(line)).await
}

fn order(line: &str) -> Order {
    Order::read(&args(&format!("10.0.1.1/24 {line}"))).unwrap()
}

fn args(line: &str) -> RunArgs {
    RunArgs {
        no_wait: false,
        no_probe: false,
        words: words(line),
    }
}

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weave-run-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(fs::canonicalize(folder).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
