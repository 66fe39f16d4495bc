//! `weave ping`: how long the way to a router and back takes, and to each other router on it.

use std::fmt::Write;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;
use weave_core::{Ping, PingHop};
use weave_router::Failure;

use crate::client::{Client, ClientError};
use crate::output::{Output, Paint};
use crate::render::{Table, clean, dash, millis};

/// The flags of `weave ping`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PingArgs {
    /// Whom: a router's name, nickname, address or the beginning of its identity, or a MAC address behind it
    #[arg(value_name = "ROUTER|MAC")]
    whom: String,
    /// How often, 0 for until Ctrl-C
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    count: u32,
    /// Seconds from one to the next, at least 0.1
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Seconds to wait for an answer, 0.01 to 10
    #[arg(short = 'W', long, value_name = "SECONDS", default_value = "2", value_parser = timeout)]
    timeout: Duration,
    /// Print a JSON document a line, one for each ping
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  weave ping host2                   five times, with the time to each router on the way
  weave ping -c 0 -i 0.2 host2       five times a second, until Ctrl-C
  weave ping 02:3c:00:00:00:07       the router behind which that container is
  weave ping -c 1 --json host2       for a program

Exits 0 when an answer came, 1 when none did. A ping is sealed and travels as frames do: by the same next \
hops, over UDP or TCP as they would. Why they go that way says: weave trace";

/// Pings until the count is reached or the user wants an end, and sums up.
///
/// # Errors
/// When the router does not run, or cannot tell who is meant.
pub(crate) async fn ping(
    client: &Client,
    args: &PingArgs,
    output: Output,
) -> Result<ExitCode, Failure> {
    let mut tally = Tally::default();
    let mut beat = tokio::time::interval(args.interval);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    while args.count == 0 || tally.sent < args.count {
        let answer = tokio::select! {
            _ = &mut interrupt => break,
            answer = async {
                beat.tick().await;
                ask(client, args).await
            } => answer,
        };
        let (document, ping) = answer
            .map_err(|error| error.while_doing(format!("cannot ping {}", clean(&args.whom))))?;
        let news = tally.count(&ping);
        if args.json {
            output.line(&numbered(document, tally.sent).to_string())?;
            continue;
        }
        if news {
            output.line(&path(&ping, output.paint()))?;
        }
        if is_local(&ping) {
            return Ok(ExitCode::SUCCESS);
        }
        output.line(&round(tally.sent, &ping, output.paint()))?;
    }
    if !args.json && tally.sent > 0 {
        output.line(&tally.render(output.paint()))?;
    }
    Ok(ExitCode::from(u8::from(tally.answered == 0)))
}

/// One ping: the router's document as it came, and what this tool knows of it.
async fn ask(client: &Client, args: &PingArgs) -> Result<(Value, Ping), ClientError> {
    let timeout_ms = u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX);
    let request = json!({ "peer": args.whom, "timeout_ms": timeout_ms });
    let document: Value = client.post("/ping", &request, args.timeout).await?;
    let ping = Ping::deserialize(&document).map_err(|error| {
        ClientError::Failed(Failure::new(
            "cannot read the router's answer",
            error.to_string(),
            "use the tool and the router of one version",
        ))
    })?;
    Ok((document, ping))
}

fn numbered(mut document: Value, seq: u32) -> Value {
    if let Some(fields) = document.as_object_mut() {
        fields.insert("seq".to_owned(), seq.into());
    }
    document
}

fn is_local(ping: &Ping) -> bool {
    ping.hops.is_empty() && ping.failure.is_none()
}

/// By which path: a line, and another one with its links.
fn path(ping: &Ping, paint: Paint) -> String {
    let mut whom = clean(&ping.to);
    if let Some(mac) = &ping.mac {
        whom = format!("{} behind {whom}", clean(mac));
    }
    if is_local(ping) {
        return format!("{} is this router itself", paint.bold(&whom));
    }
    let whom = paint.bold(&whom);
    let Some((last, before)) = ping.hops.split_last() else {
        return format!("to {whom}: no path");
    };
    let mut text = match before.first() {
        None => format!("to {whom}, direct: {}", link(last)),
        Some(next) => format!(
            "to {whom} by way of {}: {} hops, path MTU {}",
            clean(&next.name),
            ping.hops.len(),
            ping.path_mtu_bytes
        ),
    };
    if !before.is_empty() {
        let links: Vec<String> = ping
            .hops
            .iter()
            .map(|hop| format!("{} ({})", clean(&hop.name), link(hop)))
            .collect();
        let _ = write!(text, "\n   {}", paint.dim(&links.join(", ")));
    }
    text
}

fn link(hop: &PingHop) -> String {
    format!("{}, MTU {}", clean(&hop.carrier), hop.path_mtu_bytes)
}

/// What came back of one ping.
fn round(seq: u32, ping: &Ping, paint: Paint) -> String {
    let mut parts: Vec<String> = ping
        .hops
        .iter()
        .filter(|hop| hop.rtt_us.is_some() || ping.failure.is_none())
        .map(|hop| {
            let time = hop.rtt_us.map_or_else(|| "no answer".to_owned(), millis);
            format!("{} {time}", clean(&hop.name))
        })
        .collect();
    if let Some(failure) = &ping.failure {
        parts.push(paint.bad(&clean(failure)));
    }
    format!("{seq:>2}  {}", parts.join("   "))
}

/// What came back of all pings.
#[derive(Debug, Default)]
struct Tally {
    sent: u32,
    answered: u32,
    /// Routers that were on the path, in the order in which they came up.
    hops: Vec<HopTally>,
    /// The path of the last ping: routers, carriers and MTUs, whatever they answered.
    path: Option<Vec<PingHop>>,
}

#[derive(Debug)]
struct HopTally {
    peer_id: String,
    name: String,
    asked: u32,
    rtts_us: Rtts,
}

#[derive(Debug, Default)]
struct Rtts {
    count: u32,
    sum: u64,
    least: u64,
    most: u64,
}

impl Tally {
    /// Takes one ping in, and says whether its path is another than the last one's.
    fn count(&mut self, ping: &Ping) -> bool {
        self.sent = self.sent.saturating_add(1);
        self.answered += u32::from(ping.rtt_us.is_some());
        for hop in &ping.hops {
            self.hop(hop).take(hop.rtt_us);
        }
        let path = ping.hops.iter().map(|hop| PingHop {
            rtt_us: None,
            ..hop.clone()
        });
        let path: Option<Vec<PingHop>> = Some(path.collect());
        let news = self.path != path;
        self.path = path;
        news
    }

    fn hop(&mut self, hop: &PingHop) -> &mut HopTally {
        let known = self
            .hops
            .iter()
            .position(|known| known.peer_id == hop.peer_id);
        let index = known.unwrap_or_else(|| {
            self.hops.push(HopTally {
                peer_id: hop.peer_id.clone(),
                name: hop.name.clone(),
                asked: 0,
                rtts_us: Rtts::default(),
            });
            self.hops.len() - 1
        });
        &mut self.hops[index]
    }

    fn render(&self, paint: Paint) -> String {
        let lost = u64::from(self.sent - self.answered) * 100 / u64::from(self.sent.max(1));
        let line = format!(
            "{} sent, {} answered, {lost} % lost",
            self.sent, self.answered
        );
        let line = if self.answered == self.sent {
            paint.good(&line)
        } else {
            paint.bad(&line)
        };
        if self.hops.is_empty() {
            return line;
        }
        let mut table = Table::new(["ROUTER", "ANSWERED", "LEAST", "MEAN", "MOST"]);
        for hop in &self.hops {
            let rtts = &hop.rtts_us;
            let shown = |us: u64| if rtts.count == 0 { dash() } else { millis(us) };
            table.row([
                &hop.name,
                &format!("{} of {}", rtts.count, hop.asked),
                &shown(rtts.least),
                &shown(rtts.sum / u64::from(rtts.count.max(1))),
                &shown(rtts.most),
            ]);
        }
        format!("{line}\n{}", table.render(paint))
    }
}

impl HopTally {
    fn take(&mut self, rtt_us: Option<u64>) {
        self.asked = self.asked.saturating_add(1);
        let Some(us) = rtt_us else { return };
        let rtts = &mut self.rtts_us;
        rtts.least = if rtts.count == 0 {
            us
        } else {
            rtts.least.min(us)
        };
        rtts.most = rtts.most.max(us);
        rtts.sum = rtts.sum.saturating_add(us);
        rtts.count += 1;
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    // A router answers 20 a second to each asker.
    seconds(text, 0.1, 3600.0)
}

fn timeout(text: &str) -> Result<Duration, String> {
    seconds(text, 0.01, 10.0)
}

fn seconds(text: &str, least: f64, most: f64) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (least..=most).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("not a number of seconds from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests;
