//! An engine by its command line: each call runs `docker` or `podman` once, without a shell, and reads what it prints.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use weave_router::words;

use super::parse::{self, Asked};
use super::{Container, Engine, EngineError, EngineInfo, EngineKind, Image};

/// Docker or podman, by its program.
#[derive(Debug)]
pub(crate) struct CommandLine {
    kind: EngineKind,
    events: Option<Events>,
}

/// A running `events`.
#[derive(Debug)]
struct Events {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl CommandLine {
    /// For the engine of this kind, installed or not.
    pub(crate) fn new(kind: EngineKind) -> Self {
        Self { kind, events: None }
    }

    /// Whether there is such a program on the `PATH`.
    pub(crate) fn is_installed(kind: EngineKind) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| {
            let program = folder.join(kind.program());
            nix::unistd::access(&program, nix::unistd::AccessFlags::X_OK).is_ok()
                && program.is_file()
        })
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.kind.program());
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// A question that the engine answers at once, or not at all.
    async fn ask(&self, args: &[&str], asked: Asked<'_>) -> Result<Answer, EngineError> {
        let mut command = self.command(args);
        // Not where the user's own arguments are passed on: `-e LANG` takes the value from here.
        command.env("LANG", "C").env("LC_ALL", "C");
        let answer = tokio::time::timeout(PATIENCE, self.outcome(command, None, false));
        let answer = answer.await.unwrap_or_else(|_| {
            Err(EngineError::NotRunning {
                program: self.kind.program(),
                why: format!("nothing within {} s", PATIENCE.as_secs()),
            })
        })?;
        self.succeeded(answer, asked)
    }

    /// Work of the engine that takes as long as it takes (an image may have to be pulled), with what it shows meanwhile.
    async fn work(&self, verb: &[&str], args: &[OsString]) -> Result<String, EngineError> {
        let verb = verb.iter().map(OsStr::new);
        let command = self.command(verb.chain(args.iter().map(OsString::as_os_str)));
        let answer = self.outcome(command, None, true).await?;
        let answer = self.succeeded(answer, Asked::Nothing)?;
        // Podman may print lines of a pull before it.
        Ok(answer
            .stdout
            .trim()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned())
    }

    fn succeeded(&self, answer: Answer, asked: Asked<'_>) -> Result<Answer, EngineError> {
        if answer.success {
            Ok(answer)
        } else {
            Err(parse::failed(self.kind, &asked, &answer.stderr))
        }
    }

    /// Runs it to its end, with `input` if it is to have some; `shown`: what is on the way to its end goes to stderr at
    /// once.
    async fn outcome(
        &self,
        mut command: Command,
        input: Option<Vec<u8>>,
        shown: bool,
    ) -> Result<Answer, EngineError> {
        let mut child = command.spawn().map_err(|error| self.not_started(&error))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(self.not_started(&io::Error::other("it has no output")));
        };
        let stdin = child.stdin.take();
        let feed = async move {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // One that does not read on says why on stderr.
                let _ = stdin.write_all(&input).await;
            }
        };
        let ((), stdout, stderr, status) =
            tokio::join!(feed, whole(stdout), messages(stderr, shown), child.wait());
        Ok(Answer {
            success: status.map_err(|error| self.not_started(&error))?.success(),
            stdout: stdout.map_err(|error| self.not_started(&error))?,
            stderr: stderr.map_err(|error| self.not_started(&error))?,
        })
    }

    fn not_started(&self, error: &io::Error) -> EngineError {
        let program = self.kind.program();
        if error.kind() == io::ErrorKind::NotFound {
            return EngineError::NotInstalled { program };
        }
        EngineError::NotRunning {
            program,
            why: words(error),
        }
    }

    fn start_events(&self) -> Result<Events, EngineError> {
        let format = match self.kind {
            EngineKind::Docker => "{{json .}}",
            EngineKind::Podman => "json",
        };
        let mut command = std::process::Command::new(self.kind.program());
        command
            .args(["events", "--filter", "type=container", "--format", format])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        weave_io::host::end_with_parent(&mut command);
        let mut child = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        let Some(stdout) = child.stdout.take() else {
            return Err(self.not_started(&io::Error::other("it has no output")));
        };
        Ok(Events {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }
}

#[async_trait]
impl Engine for CommandLine {
    fn kind(&self) -> EngineKind {
        self.kind
    }

    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let answer = self
            .ask(&["info", "--format", "{{json .}}"], Asked::Nothing)
            .await?;
        parse::info(self.kind, &answer.stdout)
    }

    async fn inspect(&self, container: &str) -> Result<Container, EngineError> {
        let asked = Asked::Container(container);
        let args = ["inspect", "--type", "container", "--", container];
        let answer = self.ask(&args, asked).await?;
        parse::container(answer.stdout.trim())
    }

    async fn running(&self) -> Result<Vec<Container>, EngineError> {
        let ids = self
            .ask(&["ps", "--quiet", "--no-trunc"], Asked::Nothing)
            .await?;
        let mut containers = Vec::new();
        for id in ids.stdout.split_whitespace() {
            match self.inspect(id).await {
                Ok(container) if container.pid.is_some() => containers.push(container),
                // Gone since.
                Ok(_) | Err(EngineError::NoContainer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(containers)
    }

    async fn run(&self, args: &[OsString]) -> Result<String, EngineError> {
        self.work(&["run", "--detach"], args).await
    }

    async fn run_help(&self) -> Result<String, EngineError> {
        let answer = self.ask(&["run", "--help"], Asked::Nothing).await?;
        Ok(answer.stdout)
    }

    async fn create(&self, args: &[OsString]) -> Result<String, EngineError> {
        self.work(&["create"], args).await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.ask(&["start", "--", container], Asked::Container(container))
            .await?;
        Ok(())
    }

    async fn stop(&self, container: &str, seconds: u32) -> Result<(), EngineError> {
        let seconds = seconds.to_string();
        let args = ["stop", "-t", &seconds, "--", container];
        self.ask(&args, Asked::Container(container)).await?;
        Ok(())
    }

    async fn remove(&self, container: &str) -> Result<(), EngineError> {
        let args = ["rm", "--force", "--volumes", "--", container];
        let answer = self.ask(&args, Asked::Container(container)).await?;
        // With --force they don't mind that there is none, some say so.
        if answer.stdout.trim().is_empty() {
            return Err(parse::failed(
                self.kind,
                &Asked::Container(container),
                "no such container",
            ));
        }
        Ok(())
    }

    async fn logs(&self, container: &str, lines: u32) -> Result<Vec<String>, EngineError> {
        let count = lines.to_string();
        let args = ["logs", "--tail", &count, "--", container];
        let answer = self.ask(&args, Asked::Container(container)).await?;
        let both = answer.stdout.lines().chain(answer.stderr.lines());
        let all: Vec<String> = both.map(str::to_owned).collect();
        let surplus = all.len().saturating_sub(lines as usize);
        Ok(all.into_iter().skip(surplus).collect())
    }

    async fn image(&self, image: &str) -> Result<Image, EngineError> {
        let args = ["image", "inspect", "--", image];
        let answer = self.ask(&args, Asked::Image(image)).await?;
        parse::image(answer.stdout.trim())
    }

    async fn load(&self, archive: Vec<u8>) -> Result<(), EngineError> {
        let mut command = self.command(["load", "--quiet"]);
        command
            .stdin(Stdio::piped())
            .env("LANG", "C")
            .env("LC_ALL", "C");
        let answer = self.outcome(command, Some(archive), false).await?;
        self.succeeded(answer, Asked::Nothing)?;
        Ok(())
    }

    async fn labelled(&self, label: &str) -> Result<Vec<String>, EngineError> {
        let filter = format!("label={label}");
        let args = ["images", "--quiet", "--no-trunc", "--filter", &filter];
        let answer = self.ask(&args, Asked::Nothing).await?;
        let ids = answer.stdout.split_whitespace();
        let mut ids: Vec<String> = ids.map(|id| parse::bare(id).to_owned()).collect();
        // An image of two names stands there twice.
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        self.ask(&["rmi", "--", image], Asked::Image(image)).await?;
        Ok(())
    }

    async fn event(&mut self) -> Result<(), EngineError> {
        let events = match &mut self.events {
            Some(events) => events,
            None => {
                let started = self.start_events()?;
                self.events.insert(started)
            }
        };
        loop {
            match events.lines.next_line().await {
                Ok(Some(line)) if parse::is_change(&line) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        if let Some(mut ended) = self.events.take() {
            let _ = ended.child.kill().await;
        }
        Err(EngineError::NotRunning {
            program: self.kind.program(),
            why: "it tells of no events any more".to_owned(),
        })
    }
}

/// What a program left behind.
#[derive(Debug)]
struct Answer {
    success: bool,
    stdout: String,
    stderr: String,
}

/// Reads to the end, and keeps no more than [`ANSWER_BYTES_MAX`] of it.
async fn whole(mut source: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut bytes = Vec::new();
    (&mut source)
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .await?;
    tokio::io::copy(&mut source, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a program says beside its answer; `shown`: lines that are no errors are passed on as they come.
async fn messages(source: impl AsyncRead + Unpin, shown: bool) -> io::Result<String> {
    if !shown {
        return whole(source).await;
    }
    let mut kept = String::new();
    let mut lines = BufReader::new(source).lines();
    while let Some(line) = lines.next_line().await? {
        if !line.is_empty() && parse::is_progress(&line) {
            // Nowhere is left to show it when stderr fails.
            let _ = writeln!(io::stderr(), "{line}");
        }
        if kept.len() < MESSAGE_BYTES_MAX {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
    Ok(kept)
}

/// An engine answers a question within a second, a loaded one within some; stopping a container takes as long as its
/// program lets it, 10 s by default.
const PATIENCE: Duration = Duration::from_secs(60);
/// A container with a thousand labels and mounts has some 100 KB of JSON.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// More of an error than anybody reads.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
