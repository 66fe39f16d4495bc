//! `weave demo`: three hosts on this one machine, two of them cut off from each other, and how frames find their
//! way. With root the hosts are network namespaces and everything is real; without, the simulator tells the
//! same story.

mod hosts;
pub(crate) mod ping;
mod real;
mod simulated;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use weave_router::{Failure, words};

use crate::output::Output;

/// The demo's flags.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Tell it in the simulator, as is done without root
    #[arg(long)]
    simulate: bool,
    /// The simulator's seed: the same seed, the same story
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Tells the story, on real hosts where the rights suffice. Whatever happens, nothing is left behind.
pub(crate) async fn demo(args: &DemoArgs, output: Output) -> Result<ExitCode, Failure> {
    let lacks = match (args.simulate, lacks()) {
        (false, None) => return on_real_hosts(output).await,
        (true, _) => None,
        (false, lacks) => lacks,
    };
    let why = lacks.map_or_else(
        || "simulated, as asked for".to_owned(),
        |lacks| format!("simulated, since real network namespaces need {lacks}"),
    );
    simulated::tell(args.seed, &why, output)?;
    Ok(ExitCode::SUCCESS)
}

/// What real hosts would need and is not there.
fn lacks() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root");
    }
    (!Path::new("/dev/net/tun").exists()).then_some("/dev/net/tun (modprobe tun)")
}

/// The story blocks, so it has a thread; here is watched for signals, which end it at its next wait.
async fn on_real_hosts(output: Output) -> Result<ExitCode, Failure> {
    let failed = |error: std::io::Error| Failure::new("cannot start the demo", words(&error), "");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut story = tokio::task::spawn_blocking({
        let stop = Arc::clone(&stop);
        move || real::tell(&Stop(stop), output)
    });
    let told = tokio::select! {
        told = &mut story => told,
        _ = interrupt.recv() => end(&stop, story).await,
        _ = terminate.recv() => end(&stop, story).await,
        _ = hangup.recv() => end(&stop, story).await,
    };
    match told {
        Ok(told) => told.map(|()| ExitCode::SUCCESS),
        Err(error) => Err(Failure::new("the demo failed", error.to_string(), "")),
    }
}

async fn end<T>(
    stop: &AtomicBool,
    story: tokio::task::JoinHandle<T>,
) -> Result<T, tokio::task::JoinError> {
    stop.store(true, Ordering::Relaxed);
    story.await
}

/// Tells the story's thread to end.
#[derive(Debug, Clone)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Waits for `time`, or until the user wants an end.
    ///
    /// # Errors
    /// When the user does.
    fn sleep(&self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        loop {
            if self.0.load(Ordering::Relaxed) {
                return Err(Failure::new(
                    "the demo was interrupted",
                    "all that it made is removed",
                    "",
                ));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(10)));
        }
    }

    /// Waits until `holds`, and says how long that took.
    ///
    /// # Errors
    /// When `patience` is over or the user wants an end.
    fn until(
        &self,
        what: &str,
        patience: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> Result<Duration, Failure> {
        let start = Instant::now();
        while !holds() {
            if start.elapsed() > patience {
                return Err(Failure::new(
                    format!("the demo waits in vain for {what}"),
                    format!("{} s are over", patience.as_secs()),
                    "please report it, with what it printed",
                ));
            }
            self.sleep(Duration::from_millis(10))?;
        }
        Ok(start.elapsed())
    }
}

/// A line of the story, at its time.
fn line(output: Output, at: Duration, text: &str) -> Result<(), Failure> {
    let time = output.paint().dim(&format!("{:6.2} s", at.as_secs_f64()));
    output.line(&format!("{time}  {text}"))
}

/// What came back of some pings, and how fast the middle one was.
fn pings(mut round_trips: Vec<Duration>, sent: usize) -> String {
    round_trips.sort();
    match round_trips.get(round_trips.len() / 2) {
        Some(median) => format!(
            "{} of {sent} pings answered, median {:.2} ms",
            round_trips.len(),
            median.as_secs_f64() * 1000.0
        ),
        None => format!("none of {sent} pings answered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_summed_up_with_their_median() {
        let ms = Duration::from_millis;
        assert_eq!(
            pings(vec![ms(9), ms(1), ms(2)], 4),
            "3 of 4 pings answered, median 2.00 ms"
        );
        assert_eq!(pings(vec![], 4), "none of 4 pings answered");
    }

    #[test]
    fn a_wait_ends_when_the_user_wants_it_to() {
        let stop = Stop(Arc::new(AtomicBool::new(true)));
        let failure = stop.sleep(Duration::from_secs(60)).unwrap_err();
        assert!(failure.to_string().contains("interrupted"));
        let stop = Stop(Arc::new(AtomicBool::new(false)));
        stop.until("now", Duration::ZERO, || true).unwrap();
        let failure = stop.until("never", Duration::ZERO, || false).unwrap_err();
        assert!(failure.to_string().contains("never"));
    }
}
