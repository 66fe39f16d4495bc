//! The text format of Prometheus, version 0.0.4.
//!
//! ```text
//!  # HELP weave_frames_total Frames of the port.
//!  # TYPE weave_frames_total counter
//!  weave_frames_total{direction="in"} 17
//! ```

use std::fmt::{Display, Write};

/// The format's media type.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric's value does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, from zero at the start of the router.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Kind {
    /// As the format names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// Writes the samples of one metric: all of them together, as the format wants it.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    text: &'a mut String,
    name: &'static str,
    labels: &'static [&'static str],
}

impl<'a> Samples<'a> {
    /// Begins a metric: its help and its kind, each a line of `text`.
    pub(super) fn begin(
        text: &'a mut String,
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        help: &str,
    ) -> Self {
        // Writing to a string fails never.
        let _ = writeln!(text, "# HELP {name} {}", escaped(help, false));
        let _ = writeln!(text, "# TYPE {name} {}", kind.name());
        Self { text, name, labels }
    }

    /// Adds a sample, with a value for each of the metric's labels.
    pub(super) fn add(&mut self, values: &[&str], value: impl Display) {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        self.text.push_str(self.name);
        for (index, (label, value)) in self.labels.iter().zip(values).enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value, true));
        }
        if !self.labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// Backslash and line feed, and between quotes these too, would end what they stand in. Other control characters are
/// allowed by the format, but not by the terminals of those who read it.
fn escaped(text: &str, quoted: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quoted => out.push_str("\\\""),
            other if other.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_value_is_escaped() {
        let mut text = String::new();
        let mut samples = Samples::begin(
            &mut text,
            "x_total",
            Kind::Counter,
            &["a", "b"],
            "one\\two\nthree \"four\"",
        );
        samples.add(&["q\"\\\n", "\x1b[2J"], 1);
        samples.add(&["", "é"], 0.5);
        assert_eq!(
            text,
            "# HELP x_total one\\\\two\\nthree \"four\"\n\
             # TYPE x_total counter\n\
             x_total{a=\"q\\\"\\\\\\n\",b=\"\u{fffd}[2J\"} 1\n\
             x_total{a=\"\",b=\"é\"} 0.5\n"
        );
    }

    #[test]
    fn without_labels_there_are_no_braces() {
        let mut text = String::new();
        Samples::begin(&mut text, "x", Kind::Gauge, &[], "y").add(&[], 1_500);
        assert_eq!(text, "# HELP x y\n# TYPE x gauge\nx 1500\n");
    }
}
