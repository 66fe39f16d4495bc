//! The window that tells a counter seen before from a new one, though packets arrive out of order.

#[cfg(test)]
mod tests;

/// Remembers which of the last [`ReplayWindow::WIDTH`] counters were accepted.
///
/// A ring of bitmap words, as in RFC 6479: moving forward clears whole words and shifts nothing, so a step costs the same
/// for a jump of one and a jump of millions. One word of the ring is always being filled, so it doesn't count towards
/// the width. Takes any `u64`, 0 and the largest too; 520 bytes, no allocation.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// The highest counter accepted so far, 0 before the first.
    latest: u64,
    /// Bit `c % 64` of word `c / 64 % WORDS` stands for counter `c`, for every `c` of the window.
    words: [u64; WORDS],
}

impl ReplayWindow {
    /// How far behind the latest a counter may be: the latest and the `WIDTH - 1` before it are told apart exactly.
    ///
    /// Eight sending workers with four runs of 64 packets each under way need 2,048; packets that overtake each other on
    /// several paths may need as many again.
    pub const WIDTH: u64 = (WORDS as u64 - 1) * u64::BITS as u64;

    /// A window that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            latest: 0,
            words: [0; WORDS],
        }
    }

    /// Whether `counter` would be accepted; changes nothing.
    ///
    /// # Errors
    /// [`ReplayError`] says why it would not.
    pub fn check(&self, counter: u64) -> Result<(), ReplayError> {
        if counter > self.latest {
            return Ok(());
        }
        if self.latest - counter >= Self::WIDTH {
            return Err(ReplayError::TooOld);
        }
        let (word, bit) = place(counter);
        if self.words[word] & bit == 0 {
            Ok(())
        } else {
            Err(ReplayError::Replayed)
        }
    }

    /// Marks `counter` as seen. Only for what has proved genuine: a forged high counter would shut out all real ones.
    ///
    /// # Errors
    /// [`ReplayError`] if it was seen before, or is too old to know; the window is then as it was.
    pub fn accept(&mut self, counter: u64) -> Result<(), ReplayError> {
        self.check(counter)?;
        if counter > self.latest {
            let (from, to) = (self.latest / BITS, counter / BITS);
            // Beyond a whole ring every word is stale: more clearing would only clear them again.
            for step in 1..=(to - from).min(WORDS as u64) {
                self.words[word_of(from + step)] = 0;
            }
            self.latest = counter;
        }
        let (word, bit) = place(counter);
        self.words[word] |= bit;
        Ok(())
    }

    /// The highest counter accepted so far; 0 before the first.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.latest
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a counter is refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReplayError {
    /// It was accepted before.
    #[error("the counter was seen before")]
    Replayed,
    /// It lies before the window, so nobody knows whether it was seen.
    #[error("the counter is older than the replay window")]
    TooOld,
}

fn place(counter: u64) -> (usize, u64) {
    (word_of(counter / BITS), 1 << (counter % BITS))
}

fn word_of(index: u64) -> usize {
    // The remainder is less than WORDS, so nothing is cut off.
    (index % WORDS as u64) as usize
}

const BITS: u64 = u64::BITS as u64;
/// A power of two, so that the remainder is a mask.
const WORDS: usize = 64;
