//! `weave ps`: what is on the network here: what the ledger says, compared with what is in the containers.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use weave_io::host::{Cidr, Netlink};
use weave_router::Failure;

use crate::attach::{Seen, is_port, look};
use crate::context::Context;
use crate::engine::{Container, EngineKind};
use crate::ledger::{Attachment, Ledger, Subject, mac_text, warn};
use crate::output::Paint;
use crate::place::{Place, Presence, check_root};
use crate::plumbing::bridge_name;
use crate::render::{Table, clean};

/// The flags of `weave ps`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  weave ps             each container: id, name, MAC address, addresses, and what is wrong with it
  weave ps --json      for a program

What does not run is listed too: it gets its addresses back when it is started with 'weave start', or, where
'weave guard' runs, however it is started. 'weave detach' makes weave forget it.";

/// Runs `weave ps`.
///
/// # Errors
/// When the ledger can't be read.
pub(crate) async fn ps(context: &Context, args: &PsArgs) -> Result<ExitCode, Failure> {
    check_root()?;
    let entries = Ledger::peek(&context.state_dir)?;
    let refused = |error: weave_io::host::Error| {
        Failure::new("cannot look at this host's network", error.to_string(), "")
    };
    let host = Netlink::open().map_err(refused)?;
    let bridge = bridge_name(context, &entries);
    let running = running(context, &entries.attachments).await;
    let mut rows: Vec<Row<'_>> = Vec::new();
    for attachment in &entries.attachments {
        let presence = presence(context, &running, &attachment.of).await;
        rows.push(Row::of(&host, &bridge, attachment, &presence));
    }
    let ports = host.links().map_err(refused)?;
    let strangers: Vec<&str> = ports
        .iter()
        .map(|link| link.name.as_str())
        .filter(|name| is_port(name) && !rows.iter().any(|row| row.port.as_deref() == Some(name)))
        .collect();
    if args.json {
        let list: Value = rows.iter().map(Row::json).collect();
        let text = serde_json::to_string_pretty(&list).unwrap_or_else(|_| list.to_string());
        context.output.line(&text)?;
    } else if !rows.is_empty() {
        context.output.line(&text(&rows))?;
    }
    if !strangers.is_empty() {
        warn(&format!(
            "{} belong{} to no container that weave knows: 'weave attach' makes one known again, 'weave reset' removes \
             them",
            strangers.join(", "),
            if strangers.len() == 1 { "s" } else { "" }
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What runs in each engine that the ledger names, by id: one question for all. An engine that does not answer is left
/// out.
async fn running(
    context: &Context,
    attachments: &[Attachment],
) -> BTreeMap<&'static str, Vec<Container>> {
    let mut all = BTreeMap::new();
    for kind in [EngineKind::Docker, EngineKind::Podman] {
        let named =
            |of: &Subject| matches!(of, Subject::Container { engine, .. } if *engine == kind);
        if !attachments.iter().any(|attachment| named(&attachment.of)) {
            continue;
        }
        let context = Context {
            engine: Some(kind),
            ..context.clone()
        };
        if let Ok(engine) = context.engine()
            && let Ok(containers) = engine.running().await
        {
            all.insert(kind.program(), containers);
        }
    }
    all
}

async fn presence(
    context: &Context,
    running: &BTreeMap<&'static str, Vec<Container>>,
    subject: &Subject,
) -> Presence {
    if let Subject::Container { engine, id, .. } = subject
        && let Some(containers) = running.get(engine.program())
        && let Some(container) = containers.iter().find(|container| container.id == *id)
        && let Ok(place) = Place::enter(*engine, container)
    {
        return Presence::Here(place);
    }
    Presence::of(context, subject).await
}

/// A line of the list.
#[derive(Debug)]
struct Row<'a> {
    attachment: &'a Attachment,
    /// As it is called now.
    name: String,
    state: &'static str,
    /// The Ethernet address, and the addresses: those that it has, or had.
    mac: String,
    addresses: Vec<Cidr>,
    /// What somebody should look at, in words.
    remarks: Vec<String>,
    /// Its end on the bridge.
    port: Option<String>,
}

impl<'a> Row<'a> {
    fn of(host: &Netlink, bridge: &str, attachment: &'a Attachment, presence: &Presence) -> Self {
        let mut row = Self {
            attachment,
            name: attachment.of.label(),
            state: "running",
            mac: attachment.mac.clone(),
            addresses: attachment.cidrs(),
            remarks: Vec::new(),
            port: None,
        };
        match presence {
            Presence::Here(place) => {
                if matches!(place.subject, Subject::Container { .. }) {
                    row.name.clone_from(&place.name);
                }
                match look(host, place, bridge) {
                    Ok(seen) => row.compare(seen),
                    Err(error) => row.remarks.push(error.to_string()),
                }
            }
            Presence::Idle => row.idle("not running"),
            Presence::Gone => row.idle("gone"),
            Presence::Unknown(failure) => {
                row.state = "unknown";
                row.remarks.push(failure.to_string());
            }
        }
        row
    }

    fn idle(&mut self, state: &'static str) {
        self.state = state;
        self.remarks.push(state.to_owned());
    }

    /// What is there counts; what should be there and is not is said.
    fn compare(&mut self, seen: Option<Seen>) {
        let Some(seen) = seen else {
            self.remarks
                .push("has no interface on the network: attach it again".to_owned());
            return;
        };
        let known = self.attachment.cidrs();
        let missing = known.iter().filter(|cidr| !seen.addresses.contains(cidr));
        let missing: Vec<String> = missing.map(ToString::to_string).collect();
        if !missing.is_empty() {
            self.remarks
                .push(format!("lacks {}: attach it again", missing.join(" ")));
        }
        if !seen.on_bridge {
            self.remarks
                .push("is not on the bridge: attach it again".to_owned());
        }
        if !seen.up {
            self.remarks
                .push("is switched off: attach it again".to_owned());
        }
        if let Some(mac) = seen.mac {
            self.mac = mac_text(mac);
        }
        self.addresses = seen.addresses;
        self.port = Some(seen.port);
    }

    /// The engine's short form of an id, or how a namespace is named.
    fn short(&self) -> String {
        match &self.attachment.of {
            Subject::Container { id, .. } => id.chars().take(ID_DIGITS).collect(),
            of @ (Subject::Namespace { .. } | Subject::Process { .. }) => of.label(),
        }
    }

    fn json(&self) -> Value {
        let (kind, engine, id) = match &self.attachment.of {
            Subject::Container { engine, id, .. } => ("container", Some(engine), Some(id)),
            Subject::Namespace { .. } => ("namespace", None, None),
            Subject::Process { .. } => ("process", None, None),
        };
        json!({
            "kind": kind,
            "engine": engine,
            "id": id,
            "name": self.name,
            "state": self.state,
            "mac": self.mac,
            "addresses": self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "attached": self.attachment.addresses,
            "port": self.port,
            "remarks": self.remarks,
        })
    }
}

/// A line for each, in columns.
fn text(rows: &[Row<'_>]) -> String {
    let mut table = Table::plain();
    for row in rows {
        let addresses = row.addresses.iter().map(ToString::to_string);
        let addresses = addresses.collect::<Vec<_>>().join(" ");
        let remarks = if row.remarks.is_empty() {
            String::new()
        } else {
            format!("({})", row.remarks.join("; "))
        };
        let name = match &row.attachment.of {
            Subject::Container { .. } => clean(&row.name),
            Subject::Namespace { .. } | Subject::Process { .. } => "-".to_owned(),
        };
        table.row([&row.short(), &name, &row.mac, &addresses, &remarks]);
    }
    let text = table.render(Paint { colour: false });
    // Programs read it: no margin.
    let lines = text.lines().map(|line| line.strip_prefix("  "));
    lines
        .map(Option::unwrap_or_default)
        .collect::<Vec<_>>()
        .join("\n")
}

/// As engines show ids.
const ID_DIGITS: usize = 12;

#[cfg(test)]
mod tests;
