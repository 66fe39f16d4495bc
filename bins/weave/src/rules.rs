//! The firewall rules that the network needs beside Docker's, by `iptables` and `ip6tables`, in chains of our own.
//!
//! What is wanted is data ([`wanted`]), a function of the bridge, the exposed addresses and the family. [`put`] reads
//! what stands (`iptables-save`), and only where that differs hands all of it to one `iptables-restore`, which
//! exchanges our chain's rules in one step: there is no moment without them.
//!
//! Docker sets the policy of `FORWARD` to DROP, and where br_netfilter is loaded (Docker loads it) bridged frames meet
//! it. An accept in another nft table could not overrule that, so these rules must stand where Docker's stand: a jump
//! to our chain before everything else in `FORWARD`, except the administrator's own rules about the very bridge.

mod saved;
mod tool;
mod wanted;

use weave_io::host::Cidr;
use weave_router::Failure;

use self::saved::Saved;
use self::tool::{Tool, ToolError};
use self::wanted::{Family, Wanted};

/// What [`put`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// All as it must be.
    Stood,
    /// Something was missing and is there now.
    Repaired,
    /// This host has no iptables: nothing can drop bridged frames by it, and nothing can be masqueraded.
    NoFirewall,
}

/// Makes sure that frames cross `bridge` whatever Docker's rules say, and that the `exposed` addresses of the host
/// reach what lies behind them; rules of addresses no longer exposed go. Idempotent; where all stands it costs one
/// `iptables-save` for each family.
///
/// # Errors
/// What iptables says, and when it is missing though something is exposed.
pub(crate) async fn put(bridge: &str, exposed: &[Cidr]) -> Result<Rules, Failure> {
    check_name(bridge)?;
    let mut found = Rules::NoFirewall;
    for family in Family::BOTH {
        let wanted = Wanted::new(family, bridge, exposed, tool::bridged_frames_are_filtered());
        let outcome = put_family(Tool::new(family), &wanted).await;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(ToolError::Missing) if !wanted.routes() => Rules::NoFirewall,
            Err(error) => return Err(error.failure(family)),
        };
        found = match (found, outcome) {
            (Rules::Repaired, _) | (_, Rules::Repaired) => Rules::Repaired,
            (Rules::Stood, _) | (_, Rules::Stood) => Rules::Stood,
            (Rules::NoFirewall, Rules::NoFirewall) => Rules::NoFirewall,
        };
    }
    Ok(found)
}

/// Whether all is as [`put`] would have it. Changes nothing.
///
/// # Errors
/// What iptables says.
pub(crate) async fn stand(bridge: &str, exposed: &[Cidr]) -> Result<bool, Failure> {
    check_name(bridge)?;
    for family in Family::BOTH {
        let wanted = Wanted::new(family, bridge, exposed, tool::bridged_frames_are_filtered());
        match Tool::new(family).save().await {
            Ok(text) => {
                let saved = Saved::parse(&text, wanted.chain());
                if saved.repair_script(&wanted).is_some() {
                    return Ok(false);
                }
            }
            Err(ToolError::Missing) => {}
            Err(error) => return Err(error.failure(family)),
        }
    }
    Ok(true)
}

/// Takes all of them back: the jumps, whoever wrote them, and the chains.
///
/// # Errors
/// What iptables says.
pub(crate) async fn clear(bridge: &str) -> Result<(), Failure> {
    check_name(bridge)?;
    for family in Family::BOTH {
        let tool = Tool::new(family);
        let cleared = async {
            let saved = Saved::parse(&tool.save().await?, &wanted::chain(bridge));
            match saved.clear_script() {
                Some(script) => tool.restore(&script).await,
                None => Ok(()),
            }
        };
        match cleared.await {
            Ok(()) | Err(ToolError::Missing) => {}
            Err(error) => return Err(error.failure(family)),
        }
    }
    Ok(())
}

/// Whether rules of others send packets from one device to another, which a host does that forwards: Docker's, for
/// instance.
pub(crate) async fn others_forward(bridge: &str, v4: bool) -> bool {
    let family = if v4 { Family::V4 } else { Family::V6 };
    match Tool::new(family).save().await {
        Ok(text) => Saved::parse(&text, &wanted::chain(bridge)).others_forward(bridge),
        Err(_) => false,
    }
}

async fn put_family(tool: Tool, wanted: &Wanted) -> Result<Rules, ToolError> {
    let standing = |text: String| Saved::parse(&text, wanted.chain());
    let before = standing(tool.save().await?);
    let Some(script) = before.repair_script(wanted) else {
        return Ok(Rules::Stood);
    };
    tool.restore(&script).await?;
    // An iptables that spells a rule otherwise than we do is not repaired each time.
    let after = standing(tool.save().await?);
    Ok(if after == before {
        Rules::Stood
    } else {
        Rules::Repaired
    })
}

/// Rules are handed over as text: a bridge's name must not end a word or be a pattern (`a+` means all that begin so).
fn check_name(bridge: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if bridge.chars().all(plain) {
        return Ok(());
    }
    Err(Failure::new(
        "cannot write firewall rules",
        format!("the name of the bridge, {bridge:?}, means something else to iptables"),
        "choose one of letters, digits, - and _ with --bridge",
    ))
}

#[cfg(test)]
mod tests;
