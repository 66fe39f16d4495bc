//! TCP sockets for links: options that must stand before connecting and listening, and faults in the mesh's
//! words.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use weave_mesh::CloseReason;

use crate::udp::{is_any_v6, is_ipv6_off};

/// A dial is given up after this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that stay unacknowledged for so long end the stream (RFC 5482): the link lives on over UDP, and a new
/// stream takes it over.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Segments are so small that no control message ever needs path MTU discovery, which many networks break.
const SEGMENT_BYTES: u32 = 1_200;

/// Bytes that the system takes beyond what it has sent: what waits longer waits in our own queues, where control
/// messages go first and packets grow old.
const NOT_SENT_BYTES: u32 = 16 << 10;

/// Streams that wait to be accepted: a burst of strangers must not have the kernel drop what a peer opens.
const BACKLOG: i32 = 1_024;

/// Listens. `[::]` also takes IPv4, and falls back to `0.0.0.0` where IPv6 is switched off.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match listen_exactly(address) {
        Err(error) if is_any_v6(address) && is_ipv6_off(&error) => {
            listen_exactly(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        result => result,
    }
}

/// Opens a stream.
pub(crate) async fn dial(remote: SocketAddr) -> Result<TcpStream, CloseReason> {
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(|error| close_reason(&error))?;
    let opened = async {
        configure(&SockRef::from(&socket))?;
        socket.connect(remote).await
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, opened).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(close_reason(&error)),
        Err(_) => Err(CloseReason::TimedOut),
    }
}

/// Prepares a stream that was accepted.
pub(crate) fn configure_accepted(stream: &TcpStream) -> io::Result<()> {
    configure(&SockRef::from(stream))
}

/// Why a stream ended or did not open.
pub(crate) fn close_reason(error: &io::Error) -> CloseReason {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    if errno == Errno::ECONNREFUSED {
        CloseReason::Refused
    } else if matches!(
        errno,
        Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED
    ) {
        CloseReason::Reset
    } else if errno == Errno::ETIMEDOUT || error.kind() == io::ErrorKind::TimedOut {
        CloseReason::TimedOut
    } else if matches!(
        errno,
        Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN
    ) {
        CloseReason::Unreachable
    } else {
        CloseReason::Other(error.to_string())
    }
}

fn listen_exactly(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for the last run's streams to be forgotten.
    socket.set_reuse_address(true)?;
    configure(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Control messages are small and urgent: none waits for an acknowledgement.
fn configure(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_notsent_lowat(NOT_SENT_BYTES)?;
    socket.set_tcp_mss(SEGMENT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_in_the_meshs_words() {
        let reason = |errno: Errno| close_reason(&io::Error::from(errno));
        assert_eq!(reason(Errno::ECONNREFUSED), CloseReason::Refused);
        assert_eq!(reason(Errno::ECONNRESET), CloseReason::Reset);
        assert_eq!(reason(Errno::ETIMEDOUT), CloseReason::TimedOut);
        assert_eq!(reason(Errno::ENETUNREACH), CloseReason::Unreachable);
        assert!(matches!(reason(Errno::EMFILE), CloseReason::Other(_)));
    }

    #[test]
    fn options_stand_on_a_listening_socket() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let socket = SockRef::from(&listener);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOT_SENT_BYTES);
    }
}
