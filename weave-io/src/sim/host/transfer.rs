//! Bulk transfers over smoltcp's TCP: the opener sends a length and that many bytes, the other end checks
//! them and sends back how many were right.

use smoltcp::socket::tcp::Socket;

use super::MARKER;

/// Eight bytes of length in front, eight bytes of count back.
const HEADER_BYTES: usize = 8;

/// How a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferState {
    /// Bytes are under way.
    Running,
    /// The other host has all bytes, and says so.
    Done,
    /// It broke off, or bytes were wrong.
    Failed,
}

/// The opener's side.
#[derive(Debug)]
pub(super) struct Sender {
    bytes: u64,
    /// Of the header and the bytes.
    sent: u64,
    report: Vec<u8>,
}

impl Sender {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            sent: 0,
            report: Vec::new(),
        }
    }

    pub(super) fn state(&self, socket: &Socket<'_>) -> TransferState {
        match <[u8; HEADER_BYTES]>::try_from(&self.report[..]) {
            Ok(report) if report == self.bytes.to_be_bytes() => TransferState::Done,
            Ok(_) => TransferState::Failed,
            Err(_) if socket.is_active() => TransferState::Running,
            Err(_) => TransferState::Failed,
        }
    }

    /// Says whether anything moved.
    pub(super) fn serve(&mut self, socket: &mut Socket<'_>) -> bool {
        let mut moved = false;
        while socket.can_send() && self.sent < self.bytes + HEADER_BYTES as u64 {
            let mut chunk = Vec::with_capacity(1_024);
            while chunk.len() < 1_024
                && self.sent + (chunk.len() as u64) < self.bytes + HEADER_BYTES as u64
            {
                chunk.push(self.byte(self.sent + chunk.len() as u64));
            }
            let Ok(count) = socket.send_slice(&chunk) else {
                break;
            };
            self.sent += count as u64;
            moved = true;
        }
        while socket.can_recv() && self.report.len() < HEADER_BYTES {
            let mut bytes = [0; HEADER_BYTES];
            let room = HEADER_BYTES - self.report.len();
            let Ok(count) = socket.recv_slice(&mut bytes[..room]) else {
                break;
            };
            self.report.extend_from_slice(&bytes[..count]);
            moved = true;
        }
        if self.report.len() == HEADER_BYTES && socket.may_send() {
            socket.close();
            moved = true;
        }
        moved
    }

    fn byte(&self, at: u64) -> u8 {
        match usize::try_from(at) {
            Ok(at) if at < HEADER_BYTES => self.bytes.to_be_bytes()[at],
            _ => pattern(at - HEADER_BYTES as u64),
        }
    }
}

/// The other side.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    header: Vec<u8>,
    received: u64,
    right: u64,
    reported: bool,
}

impl Receiver {
    /// Says whether anything moved.
    pub(super) fn serve(&mut self, socket: &mut Socket<'_>) -> bool {
        let mut moved = false;
        while socket.can_recv() {
            let mut bytes = [0; 1_024];
            let Ok(count) = socket.recv_slice(&mut bytes) else {
                break;
            };
            for byte in &bytes[..count] {
                if self.header.len() < HEADER_BYTES {
                    self.header.push(*byte);
                } else {
                    self.right += u64::from(*byte == pattern(self.received));
                    self.received += 1;
                }
            }
            moved = true;
        }
        let length = <[u8; HEADER_BYTES]>::try_from(&self.header[..]).map(u64::from_be_bytes);
        if length.is_ok_and(|length| length == self.received) && !self.reported && socket.can_send()
        {
            self.reported = socket.send_slice(&self.right.to_be_bytes()) == Ok(HEADER_BYTES);
            moved = true;
        }
        if !socket.may_recv() && socket.may_send() {
            socket.close();
            moved = true;
        }
        moved
    }
}

fn pattern(at: u64) -> u8 {
    MARKER[(at % MARKER.len() as u64) as usize]
}
