//! `weave trace`: by which path frames reach a router, why by that one, and what else there is.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use weave_core::{Trace, TraceHop};
use weave_router::Failure;

use crate::client::Client;
use crate::output::{Output, Paint};
use crate::render::{Table, clean, dash, millis, percent};

/// The flags of `weave trace`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TraceArgs {
    /// Whom: a router's name, nickname, address or the beginning of its identity, or a MAC address behind it
    #[arg(value_name = "ROUTER|MAC")]
    whom: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  weave trace host2                  how frames get there, why that way, and what others would cost
  weave trace 02:3c:00:00:00:07      the same for the container with that MAC address
  weave trace --json host2           for a program

It asks this host's router alone and sends nothing; weave ping measures. Exits 0 when there is a path, 1 when \
there is none.";

/// Asks for the path and prints it.
///
/// # Errors
/// When the router does not run, or cannot tell who is meant.
pub(crate) async fn trace(
    client: &Client,
    args: &TraceArgs,
    output: Output,
) -> Result<ExitCode, Failure> {
    let request = json!({ "peer": args.whom });
    let answer = client.post("/trace", &request, Duration::ZERO).await;
    let document: Value =
        answer.map_err(|error| error.while_doing(format!("cannot trace {}", clean(&args.whom))))?;
    let trace = Trace::deserialize(&document).map_err(|error| {
        Failure::new(
            "cannot read the router's answer",
            error.to_string(),
            "use the tool and the router of one version",
        )
    })?;
    if args.json {
        let text = serde_json::to_string_pretty(&document);
        output.line(&text.unwrap_or_else(|_| document.to_string()))?;
    } else {
        output.line(&render(&trace, output.paint()))?;
    }
    Ok(ExitCode::from(u8::from(!trace.reachable)))
}

fn render(trace: &Trace, paint: Paint) -> String {
    let mut text = headline(trace, paint);
    text.push('\n');
    if !trace.hops.is_empty() {
        text.push_str(&hops(&trace.hops).render(paint));
    }
    if !trace.why.is_empty() && !trace.local {
        let heading = if trace.reachable {
            "why this way"
        } else {
            "why there is none"
        };
        let _ = writeln!(text, "\n{}", paint.bold(heading));
        for sentence in &trace.why {
            let _ = writeln!(text, "  {}", clean(sentence));
        }
    }
    if trace.reachable && !trace.local {
        let _ = writeln!(text, "\n{}", paint.bold("other ways"));
        text.push_str(&others(trace).render(paint));
    }
    text
}

fn headline(trace: &Trace, paint: Paint) -> String {
    let name = clean(&trace.to);
    let whom = match &trace.mac {
        Some(mac) => paint.bold(&format!("{} behind {name}", clean(mac))),
        None => paint.bold(&name),
    };
    if trace.local {
        return match trace.why.first().filter(|_| trace.mac.is_some()) {
            Some(place) => format!("to {whom}: {}", clean(place)),
            None => format!("{whom} is this router itself"),
        };
    }
    if !trace.reachable {
        return format!("to {whom}: {}", paint.bad("no path"));
    }
    let way = match (trace.hops.len(), trace.hops.first()) {
        (0 | 1, _) | (_, None) => "direct".to_owned(),
        (count, Some(next)) => format!("by way of {}, {count} hops", clean(&next.name)),
    };
    let tunnel = if trace.tunnel {
        "a tunnel stands"
    } else {
        "no tunnel yet: the first frame makes one"
    };
    format!(
        "to {whom}: {way}, cost {}, path MTU {}, {tunnel}",
        millis(trace.cost_us),
        trace.path_mtu_bytes
    )
}

fn hops(hops: &[TraceHop]) -> Table {
    let mut table = Table::new(["HOP", "ROUTER", "CARRIER", "COST", "MTU", "RTT", "LOSS"]);
    for (index, hop) in hops.iter().enumerate() {
        table.row([
            &(index + 1).to_string(),
            &hop.name,
            &hop.carrier,
            &millis(hop.cost_us.into()),
            &hop.path_mtu_bytes.to_string(),
            &hop.rtt_us.map_or_else(dash, millis),
            &hop.loss.map_or_else(dash, percent),
        ]);
    }
    table
}

fn others(trace: &Trace) -> Table {
    let mut table = Table::new(["BY WAY OF", "HOPS", "COST", "MORE BY"]);
    for other in &trace.others {
        let next = if other.direct {
            "direct"
        } else {
            &other.next_hop
        };
        let more = match other.cost_us.checked_sub(trace.cost_us) {
            Some(more) => millis(more),
            // A direct path without a link is measured by its round trip alone.
            None => dash(),
        };
        table.row([next, &other.hops.to_string(), &millis(other.cost_us), &more]);
    }
    table
}

#[cfg(test)]
mod tests;
