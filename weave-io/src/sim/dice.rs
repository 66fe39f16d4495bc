//! The one source of chance in a world: a seeded ChaCha generator, handed on by forking.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A seeded generator with the few draws that a simulation needs. The same seed gives the same draws on every
/// machine and in every release of this crate's generator.
#[derive(Debug, Clone)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// A generator from one number.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(ChaCha8Rng::from_seed(bytes))
    }

    /// A generator of its own for one part of the world, so that draws in one part don't move those in
    /// another.
    pub fn fork(&mut self) -> Self {
        Self(ChaCha8Rng::from_seed(self.seed()))
    }

    /// 32 bytes, to seed something else with.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; 0 where `bound` is 0. The bias of the remainder (below 2^-32 for the bounds in
    /// use) matters to no scenario.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.number() % bound }
    }

    /// An index below `bound`; 0 where `bound` is 0.
    pub fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// A duration below `bound`.
    pub fn duration(&mut self, bound: Duration) -> Duration {
        Duration::from_nanos(self.below(bound.as_nanos() as u64))
    }

    /// True with a probability of `permille` in a thousand. Draws only when the answer is not certain, so that
    /// a perfect network costs nothing.
    pub fn chance(&mut self, permille: u16) -> bool {
        match permille {
            0 => false,
            1000.. => true,
            _ => self.below(1000) < u64::from(permille),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_draws() {
        let draws = |seed| {
            let mut dice = Dice::new(seed);
            let mut fork = dice.fork();
            (dice.number(), fork.seed(), dice.below(10), fork.chance(500))
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn certain_chances_draw_nothing() {
        let mut dice = Dice::new(1);
        let mut other = dice.clone();
        assert!(!dice.chance(0));
        assert!(dice.chance(1000));
        assert_eq!(dice.number(), other.number());
        assert_eq!(dice.below(0), 0);
    }
}
