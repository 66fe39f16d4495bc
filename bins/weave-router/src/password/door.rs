//! Changing the password of a running router, for the control API.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio::sync::Mutex;
use weave_crypto::{NetworkId, PasswordKey, Passwords};
use weave_io::{Ended, Handle, StateDir};

use super::{Secret, Source, WEAK};

/// The passwords in force, and what is to be done when they change.
pub(crate) struct Door {
    network: NetworkId,
    state: Arc<StateDir>,
    source: Source,
    /// One change at a time.
    entries: Mutex<Vec<Entry>>,
}

/// A password in force, the newest first.
#[derive(Clone)]
struct Entry {
    key: PasswordKey,
    since: Instant,
    from: String,
}

/// What users see of the passwords: nothing that a guess could be held against.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    /// The newest first.
    passwords: Vec<ListedPassword>,
    /// What has to be done so that the next start has the same ones.
    next_start: String,
    /// A word of warning about the one that was just added.
    warning: Option<&'static str>,
}

/// One of them.
#[derive(Debug, Serialize)]
struct ListedPassword {
    /// `newest`, with which others are met, or `older`, which is accepted too.
    rank: &'static str,
    /// Where it was taken from.
    from: String,
    /// Seconds since this router has it.
    age_s: u64,
}

/// Why a change was not made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// What was asked for makes no sense.
    Bad(String),
    /// Not as things stand.
    Conflict(String),
    /// The system, or the router, could not.
    Failed(String),
}

impl Door {
    /// With the passwords of the start.
    pub(crate) fn new(
        network: NetworkId,
        state: Arc<StateDir>,
        source: Source,
        keys: &[PasswordKey],
        now: Instant,
    ) -> Self {
        let from = source.words();
        let entry = |key: &PasswordKey| Entry {
            key: key.clone(),
            since: now,
            from: from.clone(),
        };
        let mut entries: Vec<Entry> = keys.iter().map(entry).collect();
        // Two equal ones are one.
        entries.dedup_by(|a, b| a.key == b.key);
        Self {
            network,
            state,
            entries: Mutex::new(entries),
            source,
        }
    }

    /// Those in force, as the router takes them.
    pub(crate) async fn passwords(&self) -> Passwords {
        in_order(&self.entries.lock().await)
    }

    /// What is in force.
    pub(crate) async fn list(&self, now: Instant) -> Listed {
        let entries = self.entries.lock().await;
        self.listed(now, &entries, self.in_force(&entries))
    }

    /// Accepts one more password from now on, and takes it as the newest.
    pub(crate) async fn add(
        &self,
        now: Instant,
        secret: Secret,
        handle: &Handle,
    ) -> Result<Listed, Refused> {
        let mut entries = self.entries.lock().await;
        if entries.len() >= Passwords::MAX {
            return Err(Refused::Conflict(
                "two passwords are accepted already: retire the older one first (weave password retire)"
                    .to_owned(),
            ));
        }
        let is_weak = secret.is_weak();
        let (network, to_stretch) = (self.network, secret.clone());
        // Not on this thread, which answers requests; nor on the router's, which knows nothing of it.
        let stretched = tokio::task::spawn_blocking(move || to_stretch.stretch(network)).await;
        let key = stretched
            .map_err(|_| Refused::Failed("the password could not be stretched".to_owned()))?
            .map_err(|error| Refused::Bad(error.to_string()))?;
        if entries.iter().any(|entry| entry.key == key) {
            return Err(Refused::Conflict(
                "that password is accepted already".to_owned(),
            ));
        }
        let mut changed = entries.clone();
        let entry = Entry {
            key,
            since: now,
            from: "weave password add".to_owned(),
        };
        changed.insert(0, entry);
        self.apply(&changed, handle, |kept| {
            kept.insert(0, secret);
        })
        .await?;
        *entries = changed;
        tracing::info!(
            "told a new password; {} accepted now",
            if entries.len() == 1 {
                "it alone is"
            } else {
                "it and the one before are"
            }
        );
        let mut listed = self.listed(
            now,
            &entries,
            self.to_change("put the new password above the old one"),
        );
        listed.warning = is_weak.then_some(WEAK);
        Ok(listed)
    }

    /// Accepts the older of two passwords no more.
    pub(crate) async fn retire(&self, now: Instant, handle: &Handle) -> Result<Listed, Refused> {
        let mut entries = self.entries.lock().await;
        let refusal = match entries.len() {
            0 => "there is no password to retire",
            1 => "there is one password only: add its successor first (weave password add)",
            _ => "",
        };
        if !refusal.is_empty() {
            return Err(Refused::Conflict(refusal.to_owned()));
        }
        let mut changed = entries.clone();
        changed.truncate(1);
        self.apply(&changed, handle, |kept| kept.truncate(1))
            .await?;
        *entries = changed;
        tracing::info!("told to retire the older password; one is accepted now");
        Ok(self.listed(now, &entries, self.to_change("take the old password out")))
    }

    /// Keeps the change for the next start where that is the router's business, then has the router obey it.
    async fn apply(
        &self,
        changed: &[Entry],
        handle: &Handle,
        keep: impl FnOnce(&mut Vec<Secret>),
    ) -> Result<(), Refused> {
        if self.source == Source::State {
            self.keep(keep).map_err(Refused::Failed)?;
        }
        let obeyed = handle.set_passwords(in_order(changed)).await;
        obeyed.map_err(|Ended| Refused::Failed("the router is ending".to_owned()))
    }

    /// Changes the state folder's file: a few lines, written within milliseconds.
    fn keep(&self, change: impl FnOnce(&mut Vec<Secret>)) -> Result<(), String> {
        let kept = self.state.passwords().map_err(|error| error.to_string())?;
        let mut secrets = match kept {
            Some(text) => Secret::lines(&text)?,
            None => Vec::new(),
        };
        change(&mut secrets);
        let lines: Vec<&str> = secrets.iter().map(Secret::text).collect();
        let stored = self.state.store_passwords(&lines);
        stored.map_err(|error| error.to_string())
    }

    fn listed(&self, now: Instant, entries: &[Entry], next_start: String) -> Listed {
        let passwords = entries.iter().zip(["newest", "older"]);
        Listed {
            passwords: passwords
                .map(|(entry, rank)| ListedPassword {
                    rank,
                    from: entry.from.clone(),
                    age_s: now.saturating_duration_since(entry.since).as_secs(),
                })
                .collect(),
            next_start,
            warning: None,
        }
    }

    /// What the next start finds, nothing having been changed.
    fn in_force(&self, entries: &[Entry]) -> String {
        let is_changed = entries
            .iter()
            .any(|entry| entry.from != self.source.words());
        match &self.source {
            Source::State if entries.is_empty() => {
                "there is no password: whoever reaches the port can join".to_owned()
            }
            Source::State => self.kept(),
            _ if is_changed => self.to_change("put there what is in force now"),
            Source::File { path, by } => {
                format!("the next start reads {} ({by}) again", path.display())
            }
            Source::Text { by } => format!("the next start needs {by} again"),
        }
    }

    /// What is left to do by hand after a change.
    fn to_change(&self, what: &str) -> String {
        match &self.source {
            Source::State => self.kept(),
            Source::File { path, by } => format!(
                "this router was started with {by}: before its next start, {what} in {}",
                path.display()
            ),
            Source::Text { by } => {
                format!("this router was started with {by}: before its next start, change that")
            }
        }
    }

    fn kept(&self) -> String {
        let path = self.state.passwords_path();
        format!("kept for the next start in {}", path.display())
    }
}

fn in_order(entries: &[Entry]) -> Passwords {
    let mut keys = entries.iter().map(|entry| entry.key.clone());
    match (keys.next(), keys.next()) {
        (Some(newest), Some(older)) => Passwords::two(newest, older),
        (Some(only), None) => Passwords::one(only),
        (None, _) => Passwords::none(),
    }
}

#[cfg(test)]
impl Listed {
    /// One with every field.
    pub(crate) fn example() -> Self {
        let password = ListedPassword {
            rank: "newest",
            from: "weave password add".to_owned(),
            age_s: 1,
        };
        Self {
            passwords: vec![password],
            next_start: "kept".to_owned(),
            warning: Some(WEAK),
        }
    }
}
