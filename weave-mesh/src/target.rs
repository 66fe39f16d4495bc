//! What a user may name to connect to: `HOST[:PORT]`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Port that routers listen on unless told otherwise.
pub const DEFAULT_PORT: u16 = 6783;
/// Most bytes of a host name (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// A host by name or address, and a port. An IPv6 address stands in brackets, or bare without a
/// port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    host: String,
    port: u16,
}

impl Target {
    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP and UDP port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, if the host is one and needs no resolver.
    pub fn socket(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }
}

impl From<SocketAddr> for Target {
    fn from(socket: SocketAddr) -> Self {
        Self {
            host: socket.ip().to_canonical().to_string(),
            port: socket.port(),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or(TargetError::Bracket)?;
            host.parse::<Ipv6Addr>().map_err(|_| TargetError::Ipv6)?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(TargetError::Bracket),
            }
        } else if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(TargetError::Ipv6),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse::<u16>() {
                Ok(number) if number != 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                    number
                }
                Ok(_) | Err(_) => return Err(TargetError::Port),
            },
        };
        if host.is_empty() {
            return Err(TargetError::NoHost);
        }
        if host.len() > HOST_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if !host.bytes().all(is_host_byte) {
            return Err(TargetError::Host);
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is no target. All of them are the user's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Nothing before the port.
    #[error("no host: write HOST or HOST:PORT")]
    NoHost,
    /// Longer than a name may be.
    #[error("host is longer than {HOST_BYTES_MAX} bytes")]
    TooLong,
    /// A character that no name and no address has.
    #[error("host may only have letters, digits, '-', '.' and '_'")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("port is not a number from 1 to 65535")]
    Port,
    /// `[` without `]`, or something other than a port behind it.
    #[error("an IPv6 address in brackets is written [ADDRESS] or [ADDRESS]:PORT")]
    Bracket,
    /// Several colons, or brackets, but no IPv6 address.
    #[error("not an IPv6 address; with a port write [ADDRESS]:PORT")]
    Ipv6,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, shown) in [
            ("example.org", "example.org:6783"),
            ("Example.org:80", "example.org:80"),
            ("192.0.2.7", "192.0.2.7:6783"),
            ("192.0.2.7:7000", "192.0.2.7:7000"),
            ("2001:db8::1", "[2001:db8::1]:6783"),
            ("[2001:db8::1]", "[2001:db8::1]:6783"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
            ("host_a", "host_a:6783"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(shown.parse(), Ok(target));
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (text, error) in [
            ("", TargetError::NoHost),
            (":80", TargetError::NoHost),
            ("host:", TargetError::Port),
            ("host:0", TargetError::Port),
            ("host:+5", TargetError::Port),
            ("host:65536", TargetError::Port),
            ("a b", TargetError::Host),
            ("host/24", TargetError::Host),
            ("[2001:db8::1", TargetError::Bracket),
            ("[2001:db8::1]80", TargetError::Bracket),
            ("[host]:80", TargetError::Ipv6),
            ("2001:db8::1::2:80", TargetError::Ipv6),
        ] {
            assert_eq!(text.parse::<Target>(), Err(error), "{text}");
        }
        assert_eq!("a".repeat(256).parse::<Target>(), Err(TargetError::TooLong));
    }
}
