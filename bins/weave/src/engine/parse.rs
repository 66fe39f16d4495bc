//! What the engines' programs print, as far as the tool cares: their JSON, and their errors.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Container, EngineError, EngineInfo, EngineKind, Image};

/// Reads what `inspect --type container` prints of one container.
pub(super) fn container(json: &str) -> Result<Container, EngineError> {
    only(read(json)?).map(seen)
}

/// Reads what `inspect --type container` prints of any number of them.
pub(super) fn containers(json: &str) -> Result<Vec<Container>, EngineError> {
    let inspected: Vec<InspectedContainer> = read(json)?;
    Ok(inspected.into_iter().map(seen).collect())
}

fn seen(inspected: InspectedContainer) -> Container {
    let command = command(&inspected);
    Container {
        id: inspected.id,
        name: inspected.name.trim_start_matches('/').to_owned(),
        // Engines say 0 of one that does not run, and may keep the last one's number for a moment.
        pid: Some(inspected.state.pid)
            .filter(|pid| *pid != 0 && inspected.state.status != "exited"),
        state: inspected.state.status,
        network_mode: inspected.host_config.network_mode,
        command,
        image: bare(&inspected.image).to_owned(),
        restarts: inspected.restart_count,
        labels: inspected.config.labels.unwrap_or_default(),
    }
}

/// Reads what `image inspect` prints of one image.
pub(super) fn image(json: &str) -> Result<Image, EngineError> {
    let inspected: InspectedImage = only(read(json)?)?;
    Ok(Image {
        id: bare(&inspected.id).to_owned(),
        size: inspected.size,
        labels: inspected.config.labels.unwrap_or_default(),
    })
}

/// The program that a container runs, and its arguments. Podman 4 repeats a program without arguments as its argument,
/// and what it was made of tells it from one that is given its own name.
fn command(inspected: &InspectedContainer) -> Vec<String> {
    let InspectedContainer {
        path, args, config, ..
    } = inspected;
    let args = args.as_deref().unwrap_or_default();
    let given = config.cmd.as_deref().unwrap_or_default();
    let entry_point: Vec<&str> = if let Value::Array(words) = &config.entrypoint {
        words.iter().filter_map(Value::as_str).collect()
    } else {
        let one = config.entrypoint.as_str();
        one.filter(|one| !one.is_empty()).into_iter().collect()
    };
    let mut words = entry_point
        .into_iter()
        .chain(given.iter().map(String::as_str));
    let is_alone = words.next() == Some(path) && words.next().is_none();
    let mut command = vec![path.clone()];
    if !(is_alone && *args == [path.clone()]) {
        command.extend_from_slice(args);
    }
    command
}

/// An image's id without the name of the digest, which podman puts before it in some places only.
pub(super) fn bare(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}

/// Reads what `info --format '{{json .}}'` prints: docker's form, or podman's, which may also call itself docker.
pub(super) fn info(kind: EngineKind, json: &str) -> Result<EngineInfo, EngineError> {
    let info: Info = read(json)?;
    if let Some(why) = info.server_errors.into_iter().flatten().next() {
        return Err(failed(kind, &Asked::Nothing, &why));
    }
    let option = |name: &str| {
        let mut options = info.security_options.iter().flatten();
        // As `name=rootless`, or `name=seccomp,profile=builtin`.
        options.any(|option| {
            option
                .split(',')
                .any(|part| part.strip_prefix("name=") == Some(name))
        })
    };
    Ok(EngineInfo {
        rootless: option("rootless") || info.host.is_some_and(|host| host.security.rootless),
        remapped: option("userns"),
        version: info
            .server_version
            .or_else(|| info.version.map(|version| version.version))
            .unwrap_or_default(),
    })
}

/// Whether a line of `events` tells of a container that started, died or went.
pub(super) fn is_change(json: &str) -> bool {
    let Ok(event) = serde_json::from_str::<Event>(json) else {
        return false;
    };
    let action = event.action.or(event.status).or(event.docker_status);
    matches!(
        action.as_deref(),
        Some("start" | "restart" | "unpause" | "die" | "died" | "destroy" | "remove" | "rename")
    )
}

/// What a call was about, for its errors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    Container(&'a str),
    Image(&'a str),
    Nothing,
}

/// An error out of what the program wrote to stderr.
pub(super) fn failed(kind: EngineKind, asked: &Asked<'_>, stderr: &str) -> EngineError {
    let program = kind.program();
    let why = words(stderr);
    let lower = why.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if has(NOT_RUNNING) {
        return EngineError::NotRunning { program, why };
    }
    match asked {
        Asked::Container(name) if has(NO_CONTAINER) => EngineError::NoContainer {
            program,
            container: (*name).to_owned(),
        },
        Asked::Image(name) if has(NO_IMAGE) => EngineError::NoImage {
            program,
            image: (*name).to_owned(),
        },
        Asked::Container(_) | Asked::Image(_) | Asked::Nothing => EngineError::Refused { why },
    }
}

/// What went wrong, on one line: without the programs' own beginnings and their hints at the help.
fn words(stderr: &str) -> String {
    let hints = [
        "See '",
        "Run '",
        "Usage:",
        "Error: failed to start containers",
    ];
    let lines = stderr.lines().map(str::trim);
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !hints.iter().any(|hint| line.starts_with(hint)))
        .collect();
    let reasons: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| !is_progress(line))
        .collect();
    let mut text = match (&reasons[..], lines.last()) {
        ([], Some(last)) => (*last).to_owned(),
        ([], None) => return "it does not say why".to_owned(),
        (reasons, _) => reasons.join(" "),
    };
    for beginning in BEGINNINGS {
        if let Some(rest) = text.strip_prefix(beginning) {
            text = rest.to_owned();
        }
    }
    let text = text
        .strip_suffix(" Is the docker daemon running?")
        .unwrap_or(&text);
    // It goes into a sentence of ours.
    text.strip_suffix('.').unwrap_or(text).to_owned()
}

/// Whether a line of stderr is on the way to an end rather than its reason: what a pull shows, and warnings.
pub(super) fn is_progress(line: &str) -> bool {
    let error = [
        "docker: ",
        "podman: ",
        "Error",
        "error",
        "See '",
        "Run '",
        "Usage:",
        "Cannot connect",
        // What is wrong with a flag docker says before how it is used, on lines of their own.
        "unknown ",
        "invalid ",
        "flag needs ",
        "permission denied",
    ];
    !error
        .iter()
        .any(|beginning| line.trim_start().starts_with(beginning))
        && !is_reason(line)
}

/// Whether a line holds one of the reasons that are told apart.
fn is_reason(line: &str) -> bool {
    let lower = line.to_lowercase();
    [NOT_RUNNING, NO_CONTAINER, NO_IMAGE]
        .iter()
        .any(|parts| parts.iter().any(|part| lower.contains(part)))
}

const NOT_RUNNING: &[&str] = &[
    "cannot connect to the docker daemon",
    "is the docker daemon running",
    "error during connect",
    "permission denied while trying to connect",
    "cannot connect to podman",
    "unable to connect to podman",
    "connection refused",
];
const NO_CONTAINER: &[&str] = &["no such container", "no container with name or id"];
const NO_IMAGE: &[&str] = &["no such image", "image not known"];
const BEGINNINGS: &[&str] = &[
    "docker: ",
    "podman: ",
    "Error: ",
    "Error response from daemon: ",
];

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, EngineError> {
    serde_json::from_str(json).map_err(|error| EngineError::Refused {
        why: format!("its answer is not understood ({error})"),
    })
}

/// The one element of a list: with a `--format`, one engine leaves the list away, another does not.
fn only<T>(mut all: Vec<T>) -> Result<T, EngineError> {
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(EngineError::Refused {
            why: "its answer is not about one thing".to_owned(),
        }),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedContainer {
    id: String,
    name: String,
    state: InspectedState,
    host_config: InspectedHostConfig,
    #[serde(default)]
    path: String,
    args: Option<Vec<String>>,
    #[serde(default)]
    image: String,
    #[serde(default)]
    restart_count: u32,
    #[serde(default)]
    config: InspectedConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    status: String,
    #[serde(default)]
    pid: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedHostConfig {
    #[serde(default)]
    network_mode: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedConfig {
    labels: Option<BTreeMap<String, String>>,
    /// A list, or one text in podman 4.
    #[serde(default)]
    entrypoint: Value,
    cmd: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedImage {
    id: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    config: InspectedConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    server_version: Option<String>,
    server_errors: Option<Vec<String>>,
    security_options: Option<Vec<String>>,
    #[serde(rename = "version")]
    version: Option<PodmanVersion>,
    #[serde(rename = "host")]
    host: Option<PodmanHost>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PodmanVersion {
    version: String,
}

#[derive(Deserialize)]
struct PodmanHost {
    security: PodmanSecurity,
}

#[derive(Deserialize)]
struct PodmanSecurity {
    rootless: bool,
}

/// Docker says what happened in `Action`, and in `status` until version 29; podman in `Status`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: Option<String>,
    status: Option<String>,
    #[serde(rename = "status")]
    docker_status: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: EngineKind = EngineKind::Docker;

    #[test]
    fn dockers_and_podmans_containers_are_read() {
        let docker = r#"[{"Id":"ab","Name":"/c1","Image":"sha256:cd","Path":"/bin/sh","Args":["-c","x y"],
            "State":{"Status":"running","Pid":7},"HostConfig":{"NetworkMode":"default"},"Config":{"Labels":{"a":"b"}}}]"#;
        let read = container(docker).unwrap();
        assert_eq!((read.name.as_str(), read.pid), ("c1", Some(7)));
        assert_eq!(read.command, ["/bin/sh", "-c", "x y"]);
        assert_eq!(
            (read.labels["a"].as_str(), read.image.as_str()),
            ("b", "cd")
        );
        let podman = r#"[{"Id":"ab","Name":"c1","Image":"cd","Path":"true","Args":null,
            "State":{"Status":"exited","Pid":0},"HostConfig":{"NetworkMode":"bridge"},"Config":{"Labels":null}}]"#;
        let read = container(podman).unwrap();
        assert_eq!((read.name.as_str(), read.pid), ("c1", None));
        assert_eq!(read.command, ["true"]);
        let line = container("[{}]").unwrap_err().to_string();
        assert!(line.contains("not understood"), "{line}");
        let line = container("[]").unwrap_err().to_string();
        assert_eq!(line, "its answer is not about one thing");
    }

    #[test]
    fn a_program_alone_is_told_from_one_with_its_own_name() {
        let command = |path: &str, args: &str, config: &str| {
            let json = format!(
                r#"[{{"Id":"ab","Name":"c1","Path":"{path}","Args":{args},"State":{{"Status":"created"}},
                "HostConfig":{{}},"Config":{{{config}}}}}]"#
            );
            container(&json).unwrap().command.join(" ")
        };
        // As podman 4.3 prints them.
        let podman = |config| command("sh", r#"["sh"]"#, config);
        assert_eq!(podman(r#""Entrypoint":"","Cmd":["sh"]"#), "sh");
        assert_eq!(podman(r#""Entrypoint":"sh","Cmd":null"#), "sh");
        assert_eq!(podman(r#""Entrypoint":"sh","Cmd":["sh"]"#), "sh sh");
        assert_eq!(podman(r#""Entrypoint":"","Cmd":["sh","sh"]"#), "sh sh");
        assert_eq!(podman(r#""Entrypoint":"sh sh""#), "sh sh");
        // As docker does.
        let docker = |args, config| command("sh", args, config);
        assert_eq!(docker("[]", r#""Entrypoint":null,"Cmd":["sh"]"#), "sh");
        assert_eq!(docker("[]", r#""Entrypoint":["sh"],"Cmd":[]"#), "sh");
        assert_eq!(docker(r#"["sh"]"#, r#""Entrypoint":["sh","sh"]"#), "sh sh");
        assert_eq!(
            docker(r#"["sh"]"#, r#""Entrypoint":["sh"],"Cmd":["sh"]"#),
            "sh sh"
        );
    }

    #[test]
    fn rootless_and_remapped_engines_are_known() {
        let docker =
            |options| format!(r#"{{"ServerVersion":"28.2.2","SecurityOptions":[{options}]}}"#);
        let plain = info(DOCKER, &docker(r#""name=seccomp,profile=builtin""#)).unwrap();
        assert_eq!(
            plain,
            EngineInfo {
                version: "28.2.2".to_owned(),
                rootless: false,
                remapped: false
            }
        );
        assert!(
            info(DOCKER, &docker(r#""name=rootless""#))
                .unwrap()
                .rootless
        );
        assert!(info(DOCKER, &docker(r#""name=userns""#)).unwrap().remapped);
        let podman = r#"{"host":{"security":{"rootless":true}},"version":{"Version":"4.3.1"}}"#;
        let podman = info(EngineKind::Podman, podman).unwrap();
        assert_eq!((podman.version.as_str(), podman.rootless), ("4.3.1", true));
    }

    #[test]
    fn a_daemon_that_is_down_is_told_from_what_it_refuses() {
        let down = r#"{"ServerErrors":["Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"]}"#;
        let error = info(DOCKER, down).unwrap_err();
        assert!(matches!(error, EngineError::NotRunning { .. }), "{error:?}");

        let c1 = Asked::Container("c1");
        let unknown = EngineError::NoContainer {
            program: "docker",
            container: "c1".to_owned(),
        };
        assert_eq!(
            failed(
                DOCKER,
                &c1,
                "Error response from daemon: No such container: c1\n"
            ),
            unknown
        );
        assert_eq!(
            failed(DOCKER, &c1, "Error: No such container: c1\n"),
            unknown
        );
        let line = "docker: Error response from daemon: Conflict. The name is taken.\n\nRun 'docker run --help' for more\n";
        assert_eq!(
            failed(DOCKER, &c1, line).to_string(),
            "Conflict. The name is taken"
        );
        let podman = "Error: no container with name or ID \"c1\" found: no such container\n";
        assert!(matches!(
            failed(EngineKind::Podman, &c1, podman),
            EngineError::NoContainer { .. }
        ));
        let i = Asked::Image("i");
        assert!(matches!(
            failed(EngineKind::Podman, &i, "Error: i: image not known\n"),
            EngineError::NoImage { .. }
        ));
        assert_eq!(failed(DOCKER, &i, "").to_string(), "it does not say why");
    }

    #[test]
    fn changes_are_told_from_the_noise() {
        for change in [
            r#"{"status":"start","id":"x","Type":"container","Action":"start"}"#,
            r#"{"Type":"container","Action":"die"}"#,
            r#"{"ID":"x","Status":"died","Type":"container"}"#,
        ] {
            assert!(is_change(change), "{change}");
        }
        for noise in [
            r#"{"Action":"exec_start: sh"}"#,
            r#"{"Status":"exec"}"#,
            "",
            "x",
        ] {
            assert!(!is_change(noise), "{noise}");
        }
    }
}
