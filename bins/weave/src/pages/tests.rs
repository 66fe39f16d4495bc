use std::io::Write;
use std::process::{Command as Process, Stdio};

use super::*;

#[test]
fn scripts_name_every_command_and_flag_and_nothing_hidden() {
    for program in [Program::Weave, Program::WeaveRouter] {
        let definition = program.command();
        let name = definition.get_name().to_owned();
        for shell in [ShellName::Bash, ShellName::Zsh, ShellName::Fish] {
            let script = script(shell, program);
            assert!(script.contains(&name), "{shell:?}");
            for command in definition.get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell:?}: {command}");
            }
            for flag in flags(&definition) {
                // Fish writes a long flag as `-l name`.
                let flag = match shell {
                    ShellName::Fish => format!("-l {flag}"),
                    ShellName::Bash | ShellName::Zsh => format!("--{flag}"),
                };
                assert!(script.contains(&flag), "{shell:?}: {flag}");
            }
            for hidden in ["weave,router", "weave man"] {
                assert!(!script.contains(hidden), "{shell:?} of {name}: {hidden}");
            }
        }
    }
}

#[test]
fn every_verb_of_the_manual_that_is_built_has_a_page() {
    let pages = pages().unwrap();
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "weave.1",
            "weave-launch.1",
            "weave-run.1",
            "weave-start.1",
            "weave-attach.1",
            "weave-detach.1",
            "weave-expose.1",
            "weave-hide.1",
            "weave-ps.1",
            "weave-stop.1",
            "weave-reset.1",
            "weave-guard.1",
            "weave-setup.1",
            "weave-image.1",
            "weave-status.1",
            "weave-ping.1",
            "weave-trace.1",
            "weave-connect.1",
            "weave-forget.1",
            "weave-genkey.1",
            "weave-password.1",
            "weave-password-add.1",
            "weave-password-retire.1",
            "weave-password-list.1",
            "weave-report.1",
            "weave-demo.1",
            "weave-version.1",
            "weave-completion.1",
            "weave-router.1",
        ]
    );
}

#[test]
fn pages_have_their_sections_and_say_what_the_help_says() {
    for (name, page) in pages().unwrap() {
        let page = String::from_utf8(page).unwrap();
        let title = name.strip_suffix(".1").unwrap();
        assert!(page.contains(&format!(".TH {title} 1 ")), "{name}: {page}");
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS"] {
            assert!(page.contains(section), "{name} lacks {section}");
        }
        // A line of text never begins like a request that there is none of.
        for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
            let request = line.split_whitespace().next().unwrap();
            let known = [
                ".TH", ".SH", ".SS", ".TP", ".IP", ".RS", ".RE", ".PP", ".br", ".ie", ".el", ".nf",
                ".fi",
            ];
            assert!(known.contains(&request), "{name}: {line}");
        }
    }
    let page = |wanted: &str| {
        let pages = pages().unwrap();
        let (_, page) = pages.into_iter().find(|(name, _)| name == wanted).unwrap();
        String::from_utf8(page).unwrap()
    };
    for command in Program::Weave.command().get_subcommands() {
        let name = command.get_name();
        assert!(
            page("weave.1").contains(&format!("weave\\-{name}(1)")),
            "{name}"
        );
    }
    for (flags, page) in [
        (
            flags(&Program::WeaveRouter.command()),
            page("weave-router.1"),
        ),
        (
            vec!["count".into(), "interval".into(), "timeout".into()],
            page("weave-ping.1"),
        ),
    ] {
        for flag in flags {
            let flag = flag.replace('-', "\\-");
            assert!(page.contains(&format!("\\-\\-{flag}")), "{flag}: {page}");
        }
    }
    assert!(page("weave-ping.1").contains(".SH EXAMPLES\n.PP\n.nf\n"));
}

#[test]
fn bash_takes_the_scripts() {
    for program in [Program::Weave, Program::WeaveRouter] {
        let script = script(ShellName::Bash, program);
        let mut bash = Process::new("bash")
            .arg("-n")
            .stdin(Stdio::piped())
            .spawn()
            .expect("bash is installed");
        bash.stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        assert!(bash.wait().unwrap().success(), "{program:?}");
    }
}

#[test]
fn bash_completes_verbs_and_sections_by_the_script() {
    let script = script(ShellName::Bash, Program::Weave);
    for (words, wanted) in [
        (vec!["weave", "tr"], "trace"),
        (vec!["weave", "status", "mac"], "macs"),
        (vec!["weave", "completion", "fi"], "fish"),
        (vec!["weave", "ping", "--inter"], "--interval"),
    ] {
        let last = words.len() - 1;
        let ask = format!(
            "{script}\nCOMP_WORDS=({}); COMP_CWORD={last}; _weave weave {} {}; echo \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words[last],
            words[last - 1],
        );
        let output = Process::new("bash").args(["-c", &ask]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            said.trim(),
            wanted,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn pages_are_written_to_a_folder_or_refused_in_a_line() {
    let folder = std::env::temp_dir().join(format!("weave-man-{}", std::process::id()));
    let args = ManArgs {
        folder: folder.join("man1"),
    };
    man(&args).unwrap();
    let page = fs::read_to_string(args.folder.join("weave-router.1")).unwrap();
    assert!(page.contains("\\-\\-no\\-discovery"), "{page}");
    let below = ManArgs {
        folder: args.folder.join("weave.1"),
    };
    let line = man(&below).unwrap_err().to_string();
    fs::remove_dir_all(&folder).unwrap();
    assert!(line.starts_with("cannot write manual pages to "), "{line}");
    assert!(!line.contains("os error"), "{line}");
}

#[test]
fn every_command_about_this_host_has_examples() {
    let pages = pages().unwrap();
    for name in [
        "launch", "run", "start", "attach", "detach", "expose", "hide", "ps", "stop", "reset",
        "guard", "setup", "image",
    ] {
        let file = format!("weave-{name}.1");
        let (_, page) = pages.iter().find(|(name, _)| *name == file).unwrap();
        let page = String::from_utf8_lossy(page);
        assert!(page.contains(".SH EXAMPLES\n"), "{name}");
    }
}

#[test]
fn every_command_line_of_the_documents_can_be_typed() {
    let mut seen = 0;
    let mut refused = Vec::new();
    for document in [
        include_str!("../../../../README.md"),
        include_str!("../../../../docs/operations.md"),
        include_str!("../../../../docs/security.md"),
    ] {
        // Blocks are indented by four; what stands before a prompt is where it is typed.
        for line in document
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
        {
            let line = line.split_once("# ").map_or(line, |(before, after)| {
                if before.starts_with("host") && !before.contains(' ') {
                    after
                } else {
                    before
                }
            });
            let line = line.split(" # ").next().unwrap_or_default();
            let line = line.rsplit_once("$ ").map_or(line, |(_, typed)| typed);
            for part in line.split("&&").flat_map(|part| part.split(';')) {
                let part = part.trim().trim_start_matches("sudo ");
                let part = part
                    .split([')', '>', '<', '|', '…'])
                    .next()
                    .unwrap_or_default();
                let (program, definition) = match part.split_whitespace().next() {
                    Some("weave") => ("weave", Cli::command()),
                    Some("weave-router") => ("weave-router", Options::command()),
                    _ => continue,
                };
                let words = part.split_whitespace();
                if let Err(error) = definition.try_get_matches_from(words) {
                    refused.push(format!("{program}: {line}: {error}"));
                }
                seen += 1;
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(seen > 40, "{seen}");
}

fn script(shell: ShellName, program: Program) -> String {
    completion(&CompletionArgs { shell, program })
}

/// The long flags of a command.
fn flags(command: &Command) -> Vec<String> {
    let flags = command
        .get_arguments()
        .filter_map(|argument| argument.get_long());
    flags.map(str::to_owned).collect()
}
