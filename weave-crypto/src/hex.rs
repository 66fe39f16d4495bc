//! Hexadecimal text, for identifiers and the key file.

use std::fmt;

/// Writes `bytes` as lower-case hex digits, two each.
pub(crate) fn write(bytes: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

/// Reads exactly `2 * N` hex digits of either case; anything else is `None`.
pub(crate) fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(ascii: u8) -> Option<u8> {
    match ascii {
        b'0'..=b'9' => Some(ascii - b'0'),
        b'a'..=b'f' => Some(ascii - b'a' + 10),
        b'A'..=b'F' => Some(ascii - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_either_case_come_back_and_nothing_else_does() {
        assert_eq!(parse::<3>("00aFf9"), Some([0x00, 0xaf, 0xf9]));
        for bad in [
            "",
            "00aff",
            "00aff99",
            "00afg9",
            "+0aff9",
            "00 ff9",
            "é0aff",
            "00af\u{e9}",
        ] {
            assert_eq!(parse::<3>(bad), None, "{bad:?}");
        }
        let mut text = String::new();
        write(&[0x00, 0xaf, 0xf9], &mut text).unwrap();
        assert_eq!(text, "00aff9");
    }
}
