//! The MTU that a container gets on the network: the router's, running or not.

use serde::Deserialize;

use crate::context::Context;
use crate::ledger::Entries;

/// The running router's; without one what it was launched with last, or what it would choose.
pub(super) async fn container_mtu_bytes(context: &Context, entries: &Entries, bridge: &str) -> u32 {
    /// What is read of the router's status.
    #[derive(Deserialize)]
    struct Status {
        mtu_bytes: u16,
    }
    let launched = || {
        let launched = entries.launched.as_ref()?;
        flag(&launched.args)
    };
    match context.client().get::<Status>("/status").await {
        Ok(status) => status.mtu_bytes.into(),
        Err(_) => launched()
            .unwrap_or_else(|| weave_router::default_mtu_bytes(bridge))
            .into(),
    }
}

/// `--mtu N` or `--mtu=N` among a router's arguments.
fn flag(args: &[String]) -> Option<u16> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if let Some(value) = arg.strip_prefix("--mtu=") {
            return value.parse().ok();
        }
        if arg == "--mtu" {
            return args.next()?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routers_own_flag_is_found() {
        let flag = |args: &[&str]| flag(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert_eq!(flag(&["--port", "7000"]), None);
        assert_eq!(flag(&["--mtu", "1300", "host"]), Some(1300));
        assert_eq!(flag(&["host", "--mtu=1300"]), Some(1300));
        assert_eq!(flag(&["--mtu"]), None);
    }
}
