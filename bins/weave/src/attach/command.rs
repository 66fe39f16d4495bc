//! The command lines of `weave attach` and `weave detach`.

use std::process::ExitCode;

use clap::Args;
use weave_io::host::Cidr;
use weave_router::Failure;

use super::{How, address, attach_held};
use crate::context::Context;
use crate::ledger::{Ledger, warn};
use crate::place::{Place, check_root};

/// The flags of `weave attach`.
#[derive(Debug, Args)]
#[command(after_help = ATTACH_EXAMPLES)]
pub(crate) struct AttachArgs {
    /// Don't ask the network whether somebody has the address already
    #[arg(long)]
    no_probe: bool,
    #[command(flatten)]
    whom: Whom,
}

/// The flags of `weave detach`.
#[derive(Debug, Args)]
#[command(after_help = DETACH_EXAMPLES)]
pub(crate) struct DetachArgs {
    #[command(flatten)]
    pub(super) whom: Whom,
}

/// Addresses, and whose.
#[derive(Debug, Args)]
pub(super) struct Whom {
    /// The container's addresses on the network, each with the length of its network
    #[arg(required = true, num_args = 1.., value_name = "CIDR")]
    addresses: Vec<String>,
    /// The container: its name or id, pid:N for a process's network, or netns:PATH
    #[arg(required = true, value_name = "CONTAINER")]
    pub(super) container: String,
}

const ATTACH_EXAMPLES: &str = "\
Examples:
  weave attach 10.2.1.1/24 web                 web gets an interface ethwe with this address
  weave attach 10.2.2.1/24 web                 and one of another network
  weave attach 10.2.1.2/24 fd00:2::2/64 db     several at once, IPv6 too
  weave attach 10.2.1.3/24 pid:1234            the network of a process, without an engine
  weave attach 10.2.1.4/24 netns:a             a network namespace that 'ip netns' lists, or its path

Twice is the same as once. An address that somebody on the network has is refused; --no-probe takes it
all the same. It works before 'weave launch' too: then the containers of this host talk to each other.";

const DETACH_EXAMPLES: &str = "\
Examples:
  weave detach 10.2.2.1/24 web     web loses this address
  weave detach 10.2.1.1/24 web     and with the last one its interface ethwe

For a container that does not run, or is gone, the address is forgotten: 'weave launch' and 'weave guard'
will not give it back.";

impl Whom {
    /// The addresses, as a failure of `what` ("cannot attach c1").
    ///
    /// # Errors
    /// Exit code 2 for one that can't be.
    pub(super) fn addresses(&self, what: &str, verb: &str) -> Result<Vec<Cidr>, Failure> {
        let wrong_order = self.container.parse::<Cidr>().is_ok();
        if wrong_order {
            let [first, rest @ ..] = &self.addresses[..] else {
                return Err(Failure::usage(what, "there is no address", ""));
            };
            let addresses: Vec<_> = rest.iter().chain([&self.container]).cloned().collect();
            return Err(Failure::usage(
                format!("cannot {verb} {first}"),
                "the container comes last",
                format!("weave {verb} {} {first}", addresses.join(" ")),
            ));
        }
        address::parse(what, &self.addresses)
    }
}

/// Runs `weave attach`.
///
/// # Errors
/// What the user must know; nothing is changed then.
pub(crate) async fn attach_command(
    context: &Context,
    args: &AttachArgs,
) -> Result<ExitCode, Failure> {
    let container = &args.whom.container;
    let what = format!("cannot attach {container}");
    let addresses = args.whom.addresses(&what, "attach")?;
    check_root()?;
    let mut ledger = Ledger::lock(&context.state_dir)?;
    let place = Place::find(context, container).await?;
    if let Some(guest) = &place.asked_for {
        warn(&format!(
            "{guest} has the network of {0}: {0} is attached",
            place.name
        ));
    }
    let how = How {
        probe: !args.no_probe,
    };
    attach_held(context, &mut ledger, &place, &addresses, how).await?;
    Ok(ExitCode::SUCCESS)
}
