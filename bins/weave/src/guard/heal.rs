//! What must stand, whether it does, and how it is put back.

use std::collections::BTreeMap;

use weave_io::host::{Error, Link, NetNs, Netlink};
use weave_router::{Failure, tap_name};

use super::log;
use crate::attach::{DEVICE, How, READY, attach_held};
use crate::context::Context;
use crate::engine::{Engine, EngineKind};
use crate::expose;
use crate::ledger::{Attachment, Entries, Ledger, Subject, warn};
use crate::place::{Place, Presence};
use crate::plumbing::{self, bridge_name};
use crate::rules::{self, Rules};
use crate::undo::Undo;

/// Attaches again what the ledger holds and runs, with the addresses and the Ethernet address it had, and gives the
/// host its bridge and its own addresses back: after a reboot, when all of that is gone. What is as it was stays;
/// containers that were removed are forgotten. Gives what was put back, each as `c1 (10.2.1.1/24)`; what can't be put
/// back is a line on stderr, for the rest is put back all the same.
///
/// # Errors
/// What the kernel or the firewall refuses about the bridge, or an engine that does not answer.
pub(crate) async fn reattach(
    context: &Context,
    engine: Option<&dyn Engine>,
    ledger: &mut Ledger,
) -> Result<Vec<String>, Failure> {
    if ledger.entries.attachments.is_empty() && ledger.entries.exposed.is_empty() {
        return Ok(Vec::new());
    }
    let netlink = open()?;
    let bridge = bridge_name(context, &ledger.entries);
    let mut put_back = Vec::new();
    if let (_, Some(failure)) =
        put_bridge_back(context, &netlink, ledger, &bridge, &mut put_back).await?
    {
        warn(&failure.to_string());
    }
    let survey = survey(&netlink, &ledger.entries, &bridge, engine).await?;
    for outcome in attach_again(context, ledger, survey).await {
        match outcome {
            Ok(name) => put_back.push(name),
            Err((_, failure)) => warn(&failure.to_string()),
        }
    }
    Ok(put_back)
}

/// Looks, and mends what is amiss.
pub(super) struct Healer<'a> {
    context: &'a Context,
    netlink: &'a Netlink,
    /// The bridge's ports at the last look.
    ports: Vec<String>,
    /// What went wrong last about each matter, so that it is told once.
    told: BTreeMap<String, String>,
}

/// What a look came upon.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Engines that have attached containers.
    pub(super) engines: Vec<EngineKind>,
    /// The bridge or what belongs to it had to be mended, or its ports are others: containers may have lost their
    /// cables.
    pub(super) is_changed: bool,
}

impl<'a> Healer<'a> {
    pub(super) fn new(context: &'a Context, netlink: &'a Netlink) -> Self {
        Self {
            context,
            netlink,
            ports: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    pub(super) fn context(&self) -> &'a Context {
        self.context
    }

    /// Looks at bridge, rules, settings and the host's addresses.
    pub(super) async fn look(&mut self) -> Seen {
        let entries = match Ledger::peek(&self.context.state_dir) {
            Ok(entries) => entries,
            Err(failure) => {
                self.tell("ledger", Some(&failure));
                return Seen::default();
            }
        };
        let engines = entries.attachments.iter().filter_map(engine_of).collect();
        let bridge = bridge_name(self.context, &entries);
        let mended = match self.stands(&entries, &bridge).await {
            Ok(true) => Ok(false),
            Ok(false) => self.mend().await,
            Err(failure) => Err(failure),
        };
        self.tell("bridge", mended.as_ref().err());
        let ports = self.netlink.bridge_ports(&bridge).unwrap_or_default();
        let are_others = ports != self.ports;
        self.ports = ports;
        Seen {
            engines,
            is_changed: mended.unwrap_or(false) || are_others,
        }
    }

    /// Looks at the attached containers, and attaches those again that lost their cable. False when that has to wait.
    pub(super) async fn look_at_containers(&mut self) -> bool {
        match self.try_look_at_containers().await {
            Ok(is_done) => {
                self.tell("containers", None);
                is_done
            }
            Err(failure) => {
                self.tell("containers", Some(&failure));
                true
            }
        }
    }

    async fn try_look_at_containers(&mut self) -> Result<bool, Failure> {
        let entries = Ledger::peek(&self.context.state_dir)?;
        let bridge = bridge_name(self.context, &entries);
        let mut kinds: Vec<Option<EngineKind>> = vec![None];
        for kind in entries.attachments.iter().filter_map(engine_of) {
            if !kinds.contains(&Some(kind)) {
                kinds.push(Some(kind));
            }
        }
        let mut is_done = true;
        let mut failed = None;
        for kind in kinds {
            let engine = match kind {
                Some(kind) => Some(
                    Context {
                        engine: Some(kind),
                        ..self.context.clone()
                    }
                    .engine()?,
                ),
                None => None,
            };
            let of_engine = Entries {
                attachments: entries
                    .attachments
                    .iter()
                    .filter(|attachment| engine_of(attachment) == kind)
                    .cloned()
                    .collect(),
                ..entries.clone()
            };
            match survey(self.netlink, &of_engine, &bridge, engine.as_deref()).await {
                Ok(survey) if survey.is_empty() => {}
                Ok(survey) => match Ledger::try_lock(&self.context.state_dir)? {
                    Some(mut ledger) => self.attach_again(&mut ledger, survey).await,
                    None => is_done = false,
                },
                // The other engine may answer.
                Err(failure) => failed = Some(failure),
            }
        }
        failed.map_or(Ok(is_done), Err)
    }

    async fn attach_again(&mut self, ledger: &mut Ledger, survey: Survey) {
        for subject in &survey.gone {
            log::line(&format!("forgets {}, which was removed", subject.label()));
        }
        for outcome in attach_again(self.context, ledger, survey).await {
            match outcome {
                Ok(name) => {
                    log::line(&format!("attached {name} again"));
                    self.tell(&name, None);
                }
                Err((name, failure)) => self.tell(&name, Some(&failure)),
            }
        }
    }

    /// Whether all of it is as it must be.
    async fn stands(&self, entries: &Entries, bridge: &str) -> Result<bool, Failure> {
        let link = self.netlink.find_link(bridge).map_err(failure)?;
        let is_ours = entries.bridge.is_some();
        let Some(link) = link else {
            // Nothing is here yet, or it was taken away.
            return Ok(!is_ours);
        };
        if is_ours {
            let is_set = |key: &str, value: &str| match self.netlink.setting(key) {
                Ok(now) => now == value,
                // A kernel without IPv6; a device that is gone.
                Err(_) => true,
            };
            let accept_ra = format!("ipv6/conf/{bridge}/accept_ra");
            let settings = &entries.settings;
            if !link.up
                || unplugged_tap(self.netlink, bridge)
                    .map_err(failure)?
                    .is_some()
                || !is_set(&accept_ra, "0")
                || !settings
                    .iter()
                    .filter(|setting| expose::must_stay(setting))
                    .all(|setting| is_set(&setting.key, &setting.set))
                || expose::is_missing(self.context, self.netlink, entries, bridge)?
            {
                return Ok(false);
            }
        }
        rules::stand(bridge, &plumbing::exposed(entries)).await
    }

    /// Puts it back; false when another command has the ledger, which may be what changes it all.
    async fn mend(&mut self) -> Result<bool, Failure> {
        let Some(mut ledger) = Ledger::try_lock(&self.context.state_dir)? else {
            return Ok(false);
        };
        let bridge = bridge_name(self.context, &ledger.entries);
        // Of a bridge that a router of its own made, and nothing else, only the rules are the guard's.
        if ledger.entries.bridge.is_none() {
            return match rules::put(&bridge, &[]).await? {
                Rules::Repaired => {
                    log::line("put the firewall rules back");
                    Ok(true)
                }
                Rules::Stood | Rules::NoFirewall => Ok(false),
            };
        }
        let mut put_back = Vec::new();
        let (rules, failed) = put_bridge_back(
            self.context,
            self.netlink,
            &mut ledger,
            &bridge,
            &mut put_back,
        )
        .await?;
        if rules == Rules::Repaired {
            put_back.insert(0, "the firewall rules".to_owned());
        }
        if !put_back.is_empty() {
            log::line(&format!("put back {}", put_back.join(", ")));
        }
        match failed {
            None => Ok(!put_back.is_empty()),
            Some(failure) => Err(failure),
        }
    }

    /// Says a failure once, and again when it is another.
    fn tell(&mut self, matter: &str, failure: Option<&Failure>) {
        match failure.map(Failure::to_string) {
            None => {
                self.told.remove(matter);
            }
            Some(text) if self.told.get(matter) == Some(&text) => {}
            Some(text) => {
                log::line(&text);
                self.told.insert(matter.to_owned(), text);
            }
        }
    }
}

/// The bridge, its settings, the firewall's rules and the host's own addresses. What was put back is added to
/// `put_back`, but for the rules, which are the first answer; the second is an address that somebody else has by now.
async fn put_bridge_back(
    context: &Context,
    netlink: &Netlink,
    ledger: &mut Ledger,
    bridge: &str,
    put_back: &mut Vec<String>,
) -> Result<(Rules, Option<Failure>), Failure> {
    let link = netlink.find_link(bridge).map_err(failure)?;
    // Before the rest is, so that it is known whether they were missing.
    let rules = rules::put(bridge, &plumbing::exposed(&ledger.entries)).await?;
    let mut undo = Undo::new();
    match plumbing::ensure(netlink, ledger, bridge, &mut undo).await {
        Ok(()) => undo.keep(),
        Err(failure) => {
            undo.back().await;
            return Err(failure);
        }
    }
    match link {
        None => put_back.push(format!("the bridge {bridge}")),
        Some(link) if !link.up => {
            put_back.push(format!("the bridge {bridge}, which was switched off"))
        }
        Some(_) => {}
    }
    if let Some(tap) = unplugged_tap(netlink, bridge).map_err(failure)? {
        netlink.attach(bridge, &tap.name).map_err(failure)?;
        netlink
            .configure_tap_port(&tap.name, tap.mtu_bytes)
            .map_err(failure)?;
        put_back.push("the router's port".to_owned());
    }
    let settings = ledger.entries.settings.iter();
    for setting in settings.filter(|setting| expose::must_stay(setting)) {
        let changed = netlink
            .setting(&setting.key)
            .is_ok_and(|now| now != setting.set);
        if changed {
            netlink
                .set_setting(&setting.key, &setting.set)
                .map_err(failure)?;
            put_back.push(format!("the setting {}", setting.key));
        }
    }
    let (addresses, failed) = expose::restore(context, netlink, ledger, bridge).await;
    let own = addresses.iter().map(|cidr| format!("this host's {cidr}"));
    put_back.extend(own);
    Ok((rules, failed))
}

/// The router's port, if it is on no bridge any more, for it was removed and made anew.
fn unplugged_tap(netlink: &Netlink, bridge: &str) -> Result<Option<Link>, Error> {
    let tap = netlink.find_link(&tap_name(bridge))?;
    Ok(tap.filter(|tap| tap.controller.is_none() && tap.kind.as_deref() == Some("tun")))
}

/// What of the ledger is not as it was.
#[derive(Debug, Default)]
struct Survey {
    /// Runs, and has no cable, or not all its addresses.
    lost: Vec<(Subject, Place)>,
    /// Will never run again.
    gone: Vec<Subject>,
}

impl Survey {
    fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.gone.is_empty()
    }
}

/// Looks at all attachments that are not of another engine.
async fn survey(
    netlink: &Netlink,
    entries: &Entries,
    bridge: &str,
    engine: Option<&dyn Engine>,
) -> Result<Survey, Failure> {
    let mut survey = Survey::default();
    let kind = engine.map(Engine::kind);
    let is_asked =
        |attachment: &&Attachment| engine_of(attachment).is_none_or(|of| Some(of) == kind);
    // One question about all of them, for each costs some 30 ms.
    let running = match engine {
        Some(engine) if !entries.attachments.is_empty() => engine
            .running()
            .await
            .map_err(|error| error.while_doing("cannot find the containers"))?,
        _ => Vec::new(),
    };
    for attachment in entries.attachments.iter().filter(is_asked) {
        let subject = &attachment.of;
        let runs = match subject {
            Subject::Container { id, .. } => running.iter().find(|container| container.id == *id),
            Subject::Namespace { .. } | Subject::Process { .. } => None,
        };
        let presence = match (runs, engine) {
            (Some(container), Some(engine)) => {
                Place::of_container(engine, container).map_or(Presence::Idle, Presence::Here)
            }
            (_, engine) => Presence::with(engine, subject).await,
        };
        match presence {
            Presence::Here(place) => {
                if !is_in_place(netlink, bridge, &place.namespace, attachment) {
                    survey.lost.push((subject.clone(), place));
                }
            }
            // A path may lead to a namespace again.
            Presence::Gone if !matches!(subject, Subject::Namespace { .. }) => {
                survey.gone.push(subject.clone());
            }
            Presence::Gone | Presence::Idle => {}
            Presence::Unknown(failure) => return Err(failure),
        }
    }
    Ok(survey)
}

/// Whether a container has its interface, ready, with its addresses, and the bridge the other end.
fn is_in_place(
    netlink: &Netlink,
    bridge: &str,
    namespace: &NetNs,
    attachment: &Attachment,
) -> bool {
    let look = || -> Result<bool, Error> {
        let inside = Netlink::open_in(namespace)?;
        let Some(device) = inside.find_link(DEVICE)? else {
            return Ok(false);
        };
        let addresses = inside.addresses_of(DEVICE)?;
        let Some(bridge) = netlink.find_link(bridge)? else {
            return Ok(false);
        };
        let is_on_bridge = netlink
            .links()?
            .iter()
            .any(|link| Some(link.index) == device.peer && link.controller == Some(bridge.index));
        Ok(device.up
            && device.alias.as_deref() == Some(READY)
            && is_on_bridge
            && attachment
                .cidrs()
                .iter()
                .all(|cidr| addresses.contains(cidr)))
    };
    look().unwrap_or(false)
}

/// Attaches what was lost, and forgets what is gone; each by its name and addresses, or the name and why not.
async fn attach_again(
    context: &Context,
    ledger: &mut Ledger,
    survey: Survey,
) -> Vec<Result<String, (String, Failure)>> {
    let mut outcomes = Vec::new();
    // As it stands now: another command may have been quicker than the look.
    let is_kept = |attachment: &Attachment| !survey.gone.iter().any(|gone| gone.is(&attachment.of));
    let before = ledger.entries.attachments.len();
    ledger.entries.attachments.retain(is_kept);
    if ledger.entries.attachments.len() != before
        && let Err(failure) = ledger.save()
    {
        outcomes.push(Err(("ledger".to_owned(), failure)));
    }
    for (subject, place) in survey.lost {
        let Some(position) = ledger.entries.position_of(&subject) else {
            continue;
        };
        let attachment = &ledger.entries.attachments[position];
        let name = format!("{} ({})", place.name, attachment.addresses.join(", "));
        let addresses = attachment.cidrs();
        // Somebody may have taken the address meanwhile.
        let how = How { probe: true };
        outcomes.push(
            match attach_held(context, ledger, &place, &addresses, how).await {
                Ok(()) => Ok(name),
                Err(failure) => Err((name, failure)),
            },
        );
    }
    outcomes
}

fn engine_of(attachment: &Attachment) -> Option<EngineKind> {
    match attachment.of {
        Subject::Container { engine, .. } => Some(engine),
        Subject::Namespace { .. } | Subject::Process { .. } => None,
    }
}

fn open() -> Result<Netlink, Failure> {
    Netlink::open().map_err(failure)
}

fn failure(error: Error) -> Failure {
    Failure::new("cannot put the network back", error.to_string(), "")
}
