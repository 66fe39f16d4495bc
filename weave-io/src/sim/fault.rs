//! What can go wrong: conditions of the way from one machine to another, and the faults that change them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::RouterId;
use super::member::Mischief;

/// Conditions of one direction between two machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// Time that a datagram is under way.
    pub latency: Duration,
    /// Up to this much is added, drawn anew for each datagram; order is kept, as queues keep it.
    pub jitter: Duration,
    /// How datagrams are lost.
    pub loss: Loss,
    /// Datagrams in a thousand that arrive twice.
    pub duplicate_permille: u16,
    /// Datagrams in a thousand that are overtaken: they are late by [`Conditions::REORDER_DELAY`].
    pub reorder_permille: u16,
    /// The largest datagram, in bytes of UDP payload; larger ones vanish.
    pub mtu_bytes: usize,
    /// Datagrams in a thousand that arrive with some bits flipped. TCP's checksums see to its own.
    pub corrupt_permille: u16,
    /// Nothing passes, and nobody is told.
    pub cut: bool,
    /// No datagram passes, TCP does: a firewall that knows nothing of us.
    pub udp_blocked: bool,
}

impl Conditions {
    /// How late an overtaken datagram is: some ten datagrams of a fast stream.
    pub const REORDER_DELAY: Duration = Duration::from_millis(3);

    /// A local network: 0.2 ms each way, 1,500 bytes of IPv4 (1,472 of UDP payload), nothing lost.
    pub const LOCAL: Self = Self {
        latency: Duration::from_micros(200),
        jitter: Duration::ZERO,
        loss: Loss::None,
        duplicate_permille: 0,
        reorder_permille: 0,
        mtu_bytes: 1_472,
        corrupt_permille: 0,
        cut: false,
        udp_blocked: false,
    };

    /// Whether datagrams that fit can vanish, or arrive broken, which is the same to who opens them.
    pub fn is_lossy(&self) -> bool {
        self.loss != Loss::None || self.corrupt_permille > 0
    }
}

/// How datagrams are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// None is.
    None,
    /// Each on its own (Bernoulli).
    Random {
        /// Lost in a thousand.
        permille: u16,
    },
    /// In bursts (Gilbert-Elliott): a good state that loses nothing and a bad one that does.
    Bursts {
        /// Datagrams in a thousand that turn good into bad.
        enter_permille: u16,
        /// Datagrams in a thousand that turn bad into good: a burst has 1000 / this many on average.
        leave_permille: u16,
        /// Lost in a thousand while bad.
        bad_permille: u16,
    },
}

/// One thing that goes wrong, or is put right. Faults of a way hold for both directions unless said otherwise.
///
/// The text form (`Display`, `FromStr`) is that of seed files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// `cut A B`: nothing passes, silently.
    Cut(RouterId, RouterId),
    /// `cut-one-way A B`: nothing passes from A to B.
    CutOneWay(RouterId, RouterId),
    /// `block-udp A B`: no datagram passes, TCP does.
    BlockUdp(RouterId, RouterId),
    /// `heal A B`: the way is as it was in the beginning, in both directions.
    Heal(RouterId, RouterId),
    /// `heal-all`: every way is as it was in the beginning. Machines that are down stay down.
    HealAll,
    /// `partition A,B,..`: every way between one of these and any other is cut.
    Partition(BTreeSet<RouterId>),
    /// `crash A`: the process dies; the kernel resets its connections, the state folder survives.
    Crash(RouterId),
    /// `power-off A`: the machine is gone without a word; the state folder survives.
    PowerOff(RouterId),
    /// `restart A`: a machine that is down is up again, with the same identity and a later boot id.
    Restart(RouterId),
    /// `nat-rebind A`: the NAT box that A is behind forgets its mappings, for all behind it.
    NatRebind(RouterId),
    /// `loss A B PERMILLE`: each datagram may be lost.
    Loss(RouterId, RouterId, u16),
    /// `bursts A B ENTER LEAVE BAD`: datagrams are lost in bursts; see [`Loss::Bursts`].
    Bursts(RouterId, RouterId, [u16; 3]),
    /// `jitter A B MICROSECONDS`.
    Jitter(RouterId, RouterId, Duration),
    /// `latency A B MICROSECONDS`: each way.
    Latency(RouterId, RouterId, Duration),
    /// `reorder A B PERMILLE`.
    Reorder(RouterId, RouterId, u16),
    /// `duplicate A B PERMILLE`.
    Duplicate(RouterId, RouterId, u16),
    /// `corrupt A B PERMILLE`: each datagram may arrive with some bits flipped.
    Corrupt(RouterId, RouterId, u16),
    /// `flip-stream A B`: on each TCP stream between them, the next bytes of either direction arrive with some bits
    /// flipped.
    FlipStream(RouterId, RouterId),
    /// `mtu A B BYTES`: of UDP payload. Larger datagrams vanish, and nobody is told.
    Mtu(RouterId, RouterId, usize),
    /// `move A B`: a container at A is at B from now on, with the same addresses, and announces itself. With none at A
    /// nothing happens.
    Move(RouterId, RouterId),
    /// `move-silently A B`: the same, but it says nothing for some seconds, unless it is spoken to.
    MoveSilently(RouterId, RouterId),
    /// `hostile A COUNT`: so many random, mutated and replayed datagrams come to A's socket within a second, from
    /// spoofed addresses of others, from strangers' and from impossible ones.
    Hostile(RouterId, u16),
    /// `strangers A COUNT`: so many strangers connect to A by TCP within a second, talk rubbish or nothing, and stall,
    /// go on byte by byte, or close.
    Strangers(RouterId, u16),
    /// `misbehave A MISCHIEF`: A is a hostile member from now on; see [`Mischief`] for the words.
    Misbehave(RouterId, Mischief),
}

impl Fault {
    /// The largest router number in it; none where it names no router.
    pub fn router_max(&self) -> Option<RouterId> {
        match self {
            Self::HealAll => None,
            Self::Partition(group) => group.last().copied(),
            Self::Crash(router)
            | Self::PowerOff(router)
            | Self::Restart(router)
            | Self::NatRebind(router)
            | Self::Hostile(router, _)
            | Self::Strangers(router, _)
            | Self::Misbehave(router, _) => Some(*router),
            Self::Cut(a, b)
            | Self::CutOneWay(a, b)
            | Self::BlockUdp(a, b)
            | Self::Heal(a, b)
            | Self::Loss(a, b, _)
            | Self::Bursts(a, b, _)
            | Self::Jitter(a, b, _)
            | Self::Latency(a, b, _)
            | Self::Reorder(a, b, _)
            | Self::Duplicate(a, b, _)
            | Self::Corrupt(a, b, _)
            | Self::FlipStream(a, b)
            | Self::Move(a, b)
            | Self::MoveSilently(a, b)
            | Self::Mtu(a, b, _) => Some(*a.max(b)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(a, b) => write!(f, "cut {a} {b}"),
            Self::CutOneWay(a, b) => write!(f, "cut-one-way {a} {b}"),
            Self::BlockUdp(a, b) => write!(f, "block-udp {a} {b}"),
            Self::Heal(a, b) => write!(f, "heal {a} {b}"),
            Self::HealAll => write!(f, "heal-all"),
            Self::Partition(group) => write!(f, "partition {}", list(group)),
            Self::Crash(router) => write!(f, "crash {router}"),
            Self::PowerOff(router) => write!(f, "power-off {router}"),
            Self::Restart(router) => write!(f, "restart {router}"),
            Self::NatRebind(router) => write!(f, "nat-rebind {router}"),
            Self::Loss(a, b, permille) => write!(f, "loss {a} {b} {permille}"),
            Self::Bursts(a, b, [enter, leave, bad]) => {
                write!(f, "bursts {a} {b} {enter} {leave} {bad}")
            }
            Self::Jitter(a, b, jitter) => write!(f, "jitter {a} {b} {}", jitter.as_micros()),
            Self::Latency(a, b, latency) => write!(f, "latency {a} {b} {}", latency.as_micros()),
            Self::Reorder(a, b, permille) => write!(f, "reorder {a} {b} {permille}"),
            Self::Duplicate(a, b, permille) => write!(f, "duplicate {a} {b} {permille}"),
            Self::Corrupt(a, b, permille) => write!(f, "corrupt {a} {b} {permille}"),
            Self::FlipStream(a, b) => write!(f, "flip-stream {a} {b}"),
            Self::Hostile(router, count) => write!(f, "hostile {router} {count}"),
            Self::Strangers(router, count) => write!(f, "strangers {router} {count}"),
            Self::Misbehave(router, mischief) => write!(f, "misbehave {router} {mischief}"),
            Self::Move(from, to) => write!(f, "move {from} {to}"),
            Self::MoveSilently(from, to) => write!(f, "move-silently {from} {to}"),
            Self::Mtu(a, b, bytes) => write!(f, "mtu {a} {b} {bytes}"),
        }
    }
}

/// Routers with commas between them.
pub(super) fn list(routers: &BTreeSet<RouterId>) -> String {
    let numbers: Vec<String> = routers.iter().map(RouterId::to_string).collect();
    numbers.join(",")
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a fault: `{text}`: {reason}")]
pub struct FaultError {
    text: String,
    reason: &'static str,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let error = |reason| FaultError {
            text: text.to_owned(),
            reason,
        };
        let mut words = text.split_whitespace();
        let name = words.next().ok_or_else(|| error("it is empty"))?;
        if name == "partition" {
            let list = words.next().ok_or_else(|| error("routers are missing"))?;
            let group: Result<BTreeSet<_>, _> = list
                .split(',')
                .map(|word| word.parse().map(RouterId))
                .collect();
            return match (group, words.next()) {
                (Ok(group), None) => Ok(Self::Partition(group)),
                _ => Err(error("routers are numbers with commas between them")),
            };
        }
        if name == "misbehave" {
            let (Some(Ok(router)), Some(mischief), None) =
                (words.next().map(str::parse), words.next(), words.next())
            else {
                return Err(error("a router and a mischief are wanted"));
            };
            return Ok(Self::Misbehave(
                RouterId(router),
                mischief.parse().map_err(error)?,
            ));
        }
        let numbers: Vec<u64> = words
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| error("every word but the first is a number"))?;
        let router = |number: u64| RouterId(number as usize);
        let permille = |number: u64| {
            u16::try_from(number)
                .ok()
                .filter(|p| *p <= 1000)
                .ok_or_else(|| error("more than a thousand in a thousand"))
        };
        let count = |number: u64| u16::try_from(number).map_err(|_| error("too many"));
        let fault = match (name, &numbers[..]) {
            ("heal-all", []) => Self::HealAll,
            ("crash", &[a]) => Self::Crash(router(a)),
            ("power-off", &[a]) => Self::PowerOff(router(a)),
            ("restart", &[a]) => Self::Restart(router(a)),
            ("nat-rebind", &[a]) => Self::NatRebind(router(a)),
            ("cut", &[a, b]) => Self::Cut(router(a), router(b)),
            ("cut-one-way", &[a, b]) => Self::CutOneWay(router(a), router(b)),
            ("block-udp", &[a, b]) => Self::BlockUdp(router(a), router(b)),
            ("heal", &[a, b]) => Self::Heal(router(a), router(b)),
            ("loss", &[a, b, p]) => Self::Loss(router(a), router(b), permille(p)?),
            ("bursts", &[a, b, enter, leave, bad]) => Self::Bursts(
                router(a),
                router(b),
                [permille(enter)?, permille(leave)?, permille(bad)?],
            ),
            ("jitter", &[a, b, us]) => {
                Self::Jitter(router(a), router(b), Duration::from_micros(us))
            }
            ("latency", &[a, b, us]) => {
                Self::Latency(router(a), router(b), Duration::from_micros(us))
            }
            ("reorder", &[a, b, p]) => Self::Reorder(router(a), router(b), permille(p)?),
            ("duplicate", &[a, b, p]) => Self::Duplicate(router(a), router(b), permille(p)?),
            ("corrupt", &[a, b, p]) => Self::Corrupt(router(a), router(b), permille(p)?),
            ("flip-stream", &[a, b]) => Self::FlipStream(router(a), router(b)),
            ("hostile", &[a, n]) => Self::Hostile(router(a), count(n)?),
            ("strangers", &[a, n]) => Self::Strangers(router(a), count(n)?),
            ("move", &[from, to]) => Self::Move(router(from), router(to)),
            ("move-silently", &[from, to]) => Self::MoveSilently(router(from), router(to)),
            ("mtu", &[a, b, bytes]) => Self::Mtu(router(a), router(b), bytes as usize),
            _ => return Err(error("unknown word, or a wrong count of numbers")),
        };
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_read_back_from_its_text() {
        for text in [
            "cut 0 1",
            "cut-one-way 3 1",
            "block-udp 0 1",
            "heal 0 1",
            "heal-all",
            "partition 0,2,5",
            "crash 4",
            "power-off 4",
            "restart 4",
            "nat-rebind 4",
            "loss 0 1 100",
            "bursts 0 1 10 300 900",
            "jitter 0 1 5000",
            "latency 0 1 20000",
            "reorder 0 1 50",
            "duplicate 0 1 50",
            "mtu 0 1 1300",
            "move 1 0",
            "move-silently 0 2",
            "corrupt 0 1 20",
            "flip-stream 0 1",
            "hostile 3 1000",
            "strangers 3 300",
            "misbehave 3 equivocate",
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for text in [
            "",
            "cut",
            "cut 1",
            "cut a b",
            "explode 1",
            "partition",
            "partition 1 2",
            "loss 0 1 1001",
            "loss 0 1 99999",
            "hostile 0 99999",
            "misbehave 0",
            "misbehave 0 kindly",
            "misbehave forge 0",
        ] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.to_string().starts_with("not a fault"), "{error}");
        }
    }
}
