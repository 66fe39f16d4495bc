//! An engine for tests: containers and images in memory, a record of what was asked, and failures on demand.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use serde_json::Value;

use super::{Container, Engine, EngineError, EngineInfo, EngineKind, Image};

/// Clones are the same engine, so that a test can look at it afterwards.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    kind: EngineKind,
    state: Arc<Mutex<State>>,
}

/// What the engine is made of; a test may change it at will.
#[derive(Debug)]
pub(crate) struct State {
    /// What was asked, as it would be typed: `run --name a image`.
    pub(crate) calls: Vec<String>,
    /// All containers there are, the newest last.
    pub(crate) containers: Vec<Container>,
    /// All images there are, by the names they were made under.
    pub(crate) images: BTreeMap<String, Image>,
    /// What it says of itself.
    pub(crate) info: EngineInfo,
    /// What each container has written.
    pub(crate) logs: Vec<String>,
    /// Whether the program of a container that is run ends at once, and is started again and again.
    pub(crate) dies: bool,
    /// Calls that fail, by their verbs; once each.
    failures: Vec<(String, EngineError)>,
}

impl Fake {
    /// An engine that holds nothing yet.
    pub(crate) fn new(kind: EngineKind) -> Self {
        Self {
            kind,
            state: Arc::new(Mutex::new(State {
                calls: Vec::new(),
                containers: Vec::new(),
                images: BTreeMap::new(),
                info: EngineInfo {
                    version: "1.0".to_owned(),
                    rootless: false,
                    remapped: false,
                },
                logs: Vec::new(),
                dies: false,
                failures: Vec::new(),
            })),
        }
    }

    /// Its inside.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What was asked so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// The next call of this verb (`run`, `inspect`, …) fails.
    pub(crate) fn fail(&self, verb: &str, error: EngineError) {
        self.state().failures.push((verb.to_owned(), error));
    }

    /// Adds a container that runs, as if somebody had started it.
    pub(crate) fn add_running(&self, name: &str, pid: u32) -> Container {
        let container = self.container(name.to_owned(), Some(pid));
        self.state().containers.push(container.clone());
        container
    }

    fn container(&self, name: String, pid: Option<u32>) -> Container {
        let number = self.state().containers.len();
        Container {
            id: format!("{number:064x}"),
            name,
            pid,
            state: if pid.is_some() { "running" } else { "created" }.to_owned(),
            network_mode: "default".to_owned(),
            command: vec!["/bin/sh".to_owned()],
            image: "sha256:0".to_owned(),
            restarts: 0,
            labels: BTreeMap::new(),
        }
    }

    /// Notes a call, and fails if it is to.
    fn call(&self, verb: &str, args: &[&str]) -> Result<(), EngineError> {
        let mut state = self.state();
        let mut words = vec![verb];
        words.extend(args);
        state.calls.push(words.join(" "));
        match state
            .failures
            .iter()
            .position(|(failing, _)| failing == verb)
        {
            Some(at) => Err(state.failures.remove(at).1),
            None => Ok(()),
        }
    }

    fn make(&self, verb: &str, args: &[OsString], pid: Option<u32>) -> Result<String, EngineError> {
        let words: Vec<String> = args
            .iter()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        self.call(verb, &words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let named = words
            .iter()
            .position(|word| word == "--name")
            .and_then(|at| words.get(at + 1));
        let mut container =
            self.container(named.cloned().unwrap_or_else(|| "unnamed".to_owned()), pid);
        let id = container.id.clone();
        let dies = pid.is_some() && self.state().dies;
        container.restarts = u32::from(dies);
        self.state().containers.push(container);
        Ok(id)
    }

    fn find(&self, container: &str) -> Result<usize, EngineError> {
        let state = self.state();
        let mut all = state.containers.iter();
        let at = all.position(|each| each.name == container || each.id.starts_with(container));
        at.ok_or_else(|| EngineError::NoContainer {
            program: self.kind.program(),
            container: container.to_owned(),
        })
    }

    fn set(&self, container: &str, pid: Option<u32>, state: &str) -> Result<(), EngineError> {
        let at = self.find(container)?;
        let container = &mut self.state().containers[at];
        container.pid = pid;
        container.state = state.to_owned();
        Ok(())
    }
}

#[async_trait]
impl Engine for Fake {
    fn kind(&self) -> EngineKind {
        self.kind
    }

    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.call("info", &[])?;
        Ok(self.state().info.clone())
    }

    async fn inspect(&self, container: &str) -> Result<Container, EngineError> {
        self.call("inspect", &[container])?;
        let at = self.find(container)?;
        Ok(self.state().containers[at].clone())
    }

    async fn running(&self) -> Result<Vec<Container>, EngineError> {
        self.call("ps", &[])?;
        let mut all = self.state().containers.clone();
        all.retain(|container| container.pid.is_some());
        Ok(all)
    }

    async fn run(&self, args: &[OsString]) -> Result<String, EngineError> {
        self.make("run", args, Some(PID))
    }

    async fn run_help(&self) -> Result<String, EngineError> {
        self.call("run", &["--help"])?;
        Ok(
            "  -i, --interactive     Keep stdin open\n      --future        A switch of tomorrow\n"
                .to_owned(),
        )
    }

    async fn create(&self, args: &[OsString]) -> Result<String, EngineError> {
        self.make("create", args, None)
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.call("start", &[container])?;
        self.set(container, Some(PID), "running")
    }

    async fn stop(&self, container: &str, seconds: u32) -> Result<(), EngineError> {
        self.call("stop", &["--time", &seconds.to_string(), container])?;
        self.set(container, None, "exited")
    }

    async fn remove(&self, container: &str) -> Result<(), EngineError> {
        self.call("rm", &[container])?;
        let at = self.find(container)?;
        self.state().containers.remove(at);
        Ok(())
    }

    async fn logs(&self, container: &str, lines: u32) -> Result<Vec<String>, EngineError> {
        self.call("logs", &[container])?;
        self.find(container)?;
        let logs = self.state().logs.clone();
        let surplus = logs.len().saturating_sub(lines as usize);
        Ok(logs[surplus..].to_vec())
    }

    async fn image(&self, image: &str) -> Result<Image, EngineError> {
        self.call("image", &[image])?;
        let found = self.state().images.get(image).cloned();
        found.ok_or_else(|| EngineError::NoImage {
            program: self.kind.program(),
            image: image.to_owned(),
        })
    }

    async fn load(&self, archive: Vec<u8>) -> Result<(), EngineError> {
        self.call("load", &[])?;
        let files = files(&archive);
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config_name = manifest[0]["Config"].as_str().unwrap();
        let config: Value = serde_json::from_slice(&files[config_name]).unwrap();
        let labels = config["config"]["Labels"].clone();
        let image = Image {
            id: config_name.trim_end_matches(".json").to_owned(),
            size: archive.len() as u64,
            labels: serde_json::from_value(labels).unwrap(),
        };
        let name = manifest[0]["RepoTags"][0].as_str().unwrap().to_owned();
        let mut state = self.state();
        let images = &mut state.images;
        // One that loses its name stays, without.
        if let Some(before) = images.remove(&name)
            && before != image
        {
            images.insert(before.id.clone(), before);
        }
        images.insert(name, image);
        Ok(())
    }

    async fn labelled(&self, label: &str) -> Result<Vec<String>, EngineError> {
        self.call("images", &[label])?;
        let state = self.state();
        let images = state.images.values();
        let images = images.filter(|image| image.labels.contains_key(label));
        Ok(images.map(|image| image.id.clone()).collect())
    }

    async fn remove_image(&self, image: &str) -> Result<(), EngineError> {
        self.call("rmi", &[image])?;
        let images = &mut self.state().images;
        images.retain(|name, each| name != image && each.id != image);
        Ok(())
    }

    async fn event(&mut self) -> Result<(), EngineError> {
        self.call("events", &[])
    }
}

/// The files of a tar.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (name, content)
    });
    entries.collect()
}

/// The process id of every container that this engine starts.
const PID: u32 = 4242;
