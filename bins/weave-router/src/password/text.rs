//! A password as people write it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use weave_crypto::{NetworkId, PasswordError, PasswordKey, Passwords};
use zeroize::Zeroizing;

/// A password in clear: wiped with its last clone, and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// A copy of a text.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.to_owned())))
    }

    /// The passwords of a text: one a line, the newest first, one or two of them. A last line end is no part of any.
    ///
    /// # Errors
    /// What is wrong with the text; nothing of it is repeated.
    pub fn lines(text: &str) -> Result<Vec<Self>, String> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let lines: Vec<&str> = text
            .split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line))
            .collect();
        match lines.as_slice() {
            [""] => return Err("it is empty".to_owned()),
            lines if lines.len() > Passwords::MAX => {
                return Err(format!(
                    "it has {} lines, and one password a line is accepted, two at most",
                    lines.len()
                ));
            }
            lines if lines.contains(&"") => {
                return Err("one of its lines is empty".to_owned());
            }
            _ => {}
        }
        Ok(lines.into_iter().map(Self::new).collect())
    }

    /// Like [`Secret::lines`], where only one password makes sense.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn line(text: &str) -> Result<Self, String> {
        let mut lines = Self::lines(text)?;
        match (lines.pop(), lines.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err("it has two lines, and a password is one".to_owned()),
        }
    }

    /// The text itself.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Stretches it: 100 to 300 ms, and 64 MiB for the while.
    ///
    /// # Errors
    /// When it is empty or too long, has a line end inside, or memory is short.
    pub(crate) fn stretch(&self, network: NetworkId) -> Result<PasswordKey, PasswordError> {
        PasswordKey::derive(self.0.as_bytes(), network)
    }

    /// Whether there are less than 64 bits to guess even if its characters were drawn at random from those of its kinds.
    /// Words of a language hold less than that says: a hint, and no measure.
    pub(crate) fn is_weak(&self) -> bool {
        let has = |is_of_kind: fn(char) -> bool| self.0.chars().any(is_of_kind);
        let kinds = [
            (has(|c| c.is_ascii_digit()), 10),
            (has(|c| c.is_ascii_lowercase()), 26),
            (has(|c| c.is_ascii_uppercase()), 26),
            (has(|c| c.is_ascii() && !c.is_ascii_alphanumeric()), 33),
            (has(|c| !c.is_ascii()), 100),
        ];
        let used = kinds.iter().filter(|(is_used, _)| *is_used);
        let alphabet: u32 = used.map(|(_, count)| count).sum();
        let characters = self.0.chars().count() as f64;
        characters * f64::from(alphabet.max(1)).log2() < f64::from(BITS_MIN)
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(Arc::new(Zeroizing::new(text))))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Fewer bits than this are worth a word.
const BITS_MIN: u32 = 64;
