use clap::Parser;

use super::*;

/// The command line of `weave setup` alone.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    setup: SetupArgs,
}

fn args(words: &[&str]) -> SetupArgs {
    let words = ["setup"].iter().chain(words);
    Line::try_parse_from(words).unwrap().setup
}

fn host() -> Host {
    Host {
        system: "Linux".into(),
        machine: std::env::consts::ARCH.into(),
        root: true,
        sum: Some(String::new()),
    }
}

#[test]
fn what_follows_the_host_goes_to_ssh_before_what_weave_adds() {
    let args = args(&["--no-container", "--ssh", "a@b", "-p", "2222", "--json"]);
    assert!(
        args.no_container && !args.json,
        "what follows is not weave's"
    );
    let line = ssh_args(&args, "a@b", false);
    let line: Vec<String> = line
        .into_iter()
        .map(|word| word.into_string().unwrap())
        .collect();
    assert_eq!(
        line[..line.len() - 1],
        [
            "-p",
            "2222",
            "--json",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=15",
            "--",
            "a@b"
        ]
    );
    let script = line.last().unwrap();
    assert!(
        script.ends_with("/usr/local/bin/weave setup --no-container'"),
        "{script}"
    );
    assert_eq!(script.matches('\'').count(), 2, "{script}");
    assert!(!script.contains('\n'), "{script}");
    assert_eq!(way(&args, "a@b"), "ssh -p 2222 --json a@b");
    let line = ssh_args(&self::args(&["--ssh", "b"]), "b", true);
    assert_eq!(line[..4], ["-o", "ConnectTimeout=15", "--", "b"]);
}

#[test]
fn ssh_arguments_without_a_host_are_refused() {
    assert!(Line::try_parse_from(["setup", "-p", "22"]).is_err());
    assert!(Line::try_parse_from(["setup", "x"]).is_err());
    assert!(Line::try_parse_from(["setup", "--port", "0"]).is_err());
}

#[tokio::test]
async fn a_host_says_what_it_is_among_what_its_shell_prints() {
    let said = "Welcome!\nweave-setup system Linux\nweave-setup machine x86_64\nweave-setup user\n\
        weave-setup root yes\nweave-setup sum 0a1b  /usr/local/bin/weave\nweave-setup\nweave-setup ready\nmore\n";
    let found = heard(&mut BufReader::new(said.as_bytes())).await.unwrap();
    let wanted = Host {
        system: "Linux".into(),
        machine: "x86_64".into(),
        root: true,
        sum: Some("0a1b".into()),
    };
    assert_eq!(found, wanted);
    let mut cut = BufReader::new(&said.as_bytes()[..60]);
    assert_eq!(heard(&mut cut).await, None);
    let nothing = b"weave-setup sum \nweave-setup ready\n";
    let found = heard(&mut BufReader::new(&nothing[..])).await.unwrap();
    assert_eq!(found.sum.as_deref(), Some(""));
}

#[test]
fn a_host_that_weave_cannot_be_on_is_refused_before_anything_is_copied() {
    let refused = |change: fn(&mut Host)| {
        let mut host = host();
        change(&mut host);
        same(&host, "0a", "b").unwrap_err().to_string()
    };
    for (said, wanted) in [
        (
            refused(|host| host.system = "Darwin".into()),
            "cannot set up b: it runs Darwin, and weave runs on Linux; name the virtual machine in which its containers run",
        ),
        (
            refused(|host| host.machine = "riscv128".into()),
            concat!(
                "cannot set up b: its processor is riscv128, and this weave is for ",
                "ARCH",
                "; build weave there, or take a release for that processor"
            ),
        ),
        (
            refused(|host| host.root = false),
            "cannot set up b: its user is not root, and does not become it by sudo without a password; name another user (--ssh root@HOST), or \
             let this one use sudo without a password",
        ),
        (
            refused(|host| host.sum = None),
            "cannot set up b: it has no sha256sum, by which a copy is checked; install coreutils there",
        ),
    ] {
        assert_eq!(said, wanted.replace("ARCH", std::env::consts::ARCH));
    }
    assert_eq!(same(&host(), "0a", "b"), Ok(false));
    let there = Host {
        sum: Some("0a".into()),
        ..host()
    };
    assert_eq!(same(&there, "0a", "b"), Ok(true));
}

#[test]
fn a_program_fits_the_processors_that_run_it() {
    for (arch, machine, wanted) in [
        ("x86_64", "x86_64", true),
        ("x86_64", "aarch64", false),
        ("x86_64", "", false),
        ("aarch64", "aarch64", true),
        ("arm", "armv7l", true),
        ("arm", "aarch64", true),
        ("x86", "x86_64", true),
        ("riscv64", "riscv64", true),
    ] {
        assert_eq!(fits(arch, machine), wanted, "{arch} on {machine}");
    }
}

#[test]
fn each_end_of_the_session_has_its_own_sentence() {
    let said = |runs, complaints: &str| Said {
        copied: true,
        runs,
        text: String::new(),
        complaints: complaints.into(),
    };
    assert_eq!(
        concluded(&said(true, "a warning\n"), Some(0), "b", "ssh b"),
        Ok(0)
    );
    assert_eq!(concluded(&said(true, ""), Some(3), "b", "ssh b"), Ok(3));
    for (runs, code, complaints, wanted) in [
        (
            false,
            Some(255),
            "Warning: added.\nb: Permission denied (publickey).\r\n\n",
            "cannot reach b: b: Permission denied (publickey).; see that this works, without a question: ssh -p 22 b true",
        ),
        (
            true,
            Some(255),
            "",
            "cannot reach b: it gave no reason; see that this works, without a question: ssh -p 22 b true",
        ),
        (
            false,
            Some(71),
            "mktemp: No space left on device",
            "cannot copy weave to b: mktemp: No space left on device; see if its disk is full: ssh -p 22 b df -h /tmp",
        ),
        (
            false,
            Some(72),
            "",
            "cannot copy weave to b: what arrived is not what was sent; try once more; if it stays so, see if its disk is \
             full",
        ),
        (
            false,
            Some(73),
            "cp: no",
            "cannot put weave in its place on b: cp: no; see if /usr/local/bin/weave can be written there",
        ),
        (
            true,
            Some(127),
            "not found",
            "cannot run weave on b: not found; see if it is a static program: file $(command -v weave)",
        ),
        (
            true,
            Some(1),
            "weave: no",
            "weave setup failed on b: weave: no",
        ),
        (false, Some(0), "", "cannot set up b: it gave no reason"),
    ] {
        let failure = concluded(&said(runs, complaints), code, "b", "ssh -p 22 b").unwrap_err();
        assert_eq!(failure.to_string(), wanted);
    }
}
