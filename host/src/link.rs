//! The host's end of the line to a board: requests out, replies in, over anything that reads and writes bytes (an
//! emulator's socket, a serial port).
//!
//! The messages are [`flowcast_core::wire`]'s. The line may be noisy: bytes that are no frame are counted and skipped.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use flowcast_core::wire::{Deframer, FRAME_BYTES, Hello, PROTOCOL, Refusal, Reply, Request, Stats, encode};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The line itself failed.
    #[error("the line to the board failed: {0}")]
    Line(#[from] std::io::Error),
    /// The other end is gone.
    #[error("the board closed the line")]
    Closed,
    /// Nothing came for too long.
    #[error("no answer from the board within {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// The board understood and would not.
    #[error("the board refused: {0}")]
    Refused(Box<Refusal>),
    /// The board answered something else than was asked.
    #[error("the board answered {found}, expected {expected}")]
    Unexpected {
        /// The reply.
        found: String,
        /// What was due.
        expected: &'static str,
    },
    /// The board speaks another version.
    #[error("the board speaks protocol version {found}, this program {PROTOCOL}")]
    Protocol {
        /// The board's version.
        found: u16,
    },
}

/// Waited before each read, so that a board's bytes come by the hundred: an emulated UART hands them over one by one, and
/// waking for each of them halves its speed.
const GATHER: Duration = Duration::from_micros(300);

/// A line to a board.
///
/// Reads must give up after a while (`set_read_timeout` of a socket, the timeout of a serial port); only then is
/// `timeout` looked at.
#[derive(Debug)]
pub struct Link<LINE> {
    line: LINE,
    timeout: Duration,
    deframer: Deframer,
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` starts.
    start: usize,
    noise: u64,
    reported: u32,
}

impl<LINE: Read + Write> Link<LINE> {
    /// A link over `line` that waits up to `timeout` for each reply.
    pub fn new(line: LINE, timeout: Duration) -> Self {
        Self { line, timeout, deframer: Deframer::new(), buffer: Vec::new(), start: 0, noise: 0, reported: 0 }
    }

    /// The line itself.
    pub fn line(&mut self) -> &mut LINE {
        &mut self.line
    }

    /// Runs of bytes from the board that were no frame.
    pub fn noise(&self) -> u64 {
        self.noise
    }

    /// Bad frames that the board has reported, as it counts them.
    pub fn reported(&self) -> u32 {
        self.reported
    }

    /// Sends one request.
    ///
    /// # Errors
    /// The line's.
    pub fn send(&mut self, request: &Request) -> Result<(), LinkError> {
        self.send_bytes(encode(request, &mut [0; FRAME_BYTES]))
    }

    /// Sends bytes as they are, whatever they mean: tests make noise with it.
    ///
    /// # Errors
    /// The line's.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.line.write_all(bytes).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => LinkError::Closed,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => LinkError::Silent(self.timeout),
            _ => LinkError::Line(error),
        })
    }

    /// Waits for the next reply. Reports of bad frames answer nothing: they are counted and passed over.
    ///
    /// # Errors
    /// The line's, and [`LinkError::Silent`] when nothing comes in time.
    pub fn receive(&mut self) -> Result<Reply, LinkError> {
        let deadline = Instant::now() + self.timeout;
        let mut looked = false;
        loop {
            while let Some(&byte) = self.buffer.get(self.start) {
                self.start += 1;
                match self.deframer.push::<Reply>(byte) {
                    None => {}
                    Some(Err(_)) => self.noise += 1,
                    Some(Ok(Reply::BadFrame { count, .. })) => self.reported = count,
                    Some(Ok(reply)) => return Ok(reply),
                }
            }
            // Whatever came: a line that never rests may say nothing.
            if looked && Instant::now() >= deadline {
                return Err(LinkError::Silent(self.timeout));
            }
            looked = true;
            self.start = 0;
            self.buffer.resize(1 << 16, 0);
            std::thread::sleep(GATHER);
            let read = match self.line.read(&mut self.buffer) {
                Ok(0) => Err(LinkError::Closed),
                Ok(length) => Ok(length),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(0),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Err(LinkError::Closed),
                    _ => Err(LinkError::Line(error)),
                },
            };
            self.buffer.truncate(read.as_ref().map_or(0, |length| *length));
            read?;
        }
    }

    /// Asks the board who it is.
    ///
    /// # Errors
    /// The line's; a refusal with the board's reason; another version of the protocol.
    pub fn hello(&mut self) -> Result<Hello, LinkError> {
        self.send(&Request::Hello { protocol: PROTOCOL })?;
        match self.receive()? {
            Reply::Hello(hello) if hello.protocol == PROTOCOL => Ok(hello),
            Reply::Hello(hello) => Err(LinkError::Protocol { found: hello.protocol }),
            other => Err(unexpected(other, "Hello")),
        }
    }

    /// Has the board forget all samples.
    ///
    /// # Errors
    /// The line's, or a refusal.
    pub fn reset(&mut self) -> Result<(), LinkError> {
        self.send(&Request::Reset)?;
        match self.receive()? {
            Reply::Reset => Ok(()),
            other => Err(unexpected(other, "Reset")),
        }
    }

    /// Asks for the board's account of itself.
    ///
    /// # Errors
    /// The line's.
    pub fn stats(&mut self) -> Result<Stats, LinkError> {
        self.send(&Request::Stats)?;
        match self.receive()? {
            Reply::Stats(stats) => Ok(stats),
            other => Err(unexpected(other, "Stats")),
        }
    }
}

/// A reply that is not the one that was due.
pub fn unexpected(found: Reply, expected: &'static str) -> LinkError {
    match found {
        Reply::Refused(refusal) => LinkError::Refused(Box::new(refusal)),
        found => LinkError::Unexpected { found: format!("{found:?}"), expected },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowcast_core::wire::FrameError;
    use std::collections::VecDeque;

    /// A line that answers with what is in it, a few bytes at a time, and then with nothing.
    struct Tape(VecDeque<u8>);

    impl Read for Tape {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            let length = buffer.len().min(3).min(self.0.len());
            buffer[..length].copy_from_slice(&self.0.drain(..length).collect::<Vec<_>>());
            Ok(length)
        }
    }

    impl Write for Tape {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn link(parts: &[&[u8]]) -> Link<Tape> {
        Link::new(Tape(parts.concat().into()), Duration::from_millis(50))
    }

    fn frame(reply: &Reply) -> Vec<u8> {
        encode(reply, &mut [0; FRAME_BYTES]).to_vec()
    }

    #[test]
    fn noise_before_a_reply_is_skipped_and_counted() {
        let report = frame(&Reply::BadFrame { error: FrameError::Checksum, count: 7 });
        let mut link = link(&[b"boot\0\xFF\xFF", &report, &report[..4], &frame(&Reply::Reset)]);
        link.reset().unwrap();
        assert_eq!((link.noise(), link.reported()), (3, 7));
    }

    /// Another program's line: bytes without end, and no frame among them.
    struct Chatter;

    impl Read for Chatter {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            buffer[..8].copy_from_slice(b"$GPRMC,\0");
            Ok(8)
        }
    }

    impl Write for Chatter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_never_rests_is_silent_too() {
        for timeout in [Duration::ZERO, Duration::from_millis(20)] {
            let mut link = Link::new(Chatter, timeout);
            assert!(matches!(link.hello(), Err(LinkError::Silent(_))));
            assert!(link.noise() > 0);
        }
    }

    #[test]
    fn silence_refusals_and_strange_answers_are_told_apart() {
        assert!(matches!(link(&[]).hello(), Err(LinkError::Silent(_))));
        let refusal = Refusal::Order { found: 3, expected: 2 };
        let refused = link(&[&frame(&Reply::Refused(refusal))]).reset().unwrap_err();
        assert_eq!(refused.to_string(), "the board refused: sample 3 out of order, the board expects sample 2");
        assert!(matches!(link(&[&frame(&Reply::Reset)]).stats(), Err(LinkError::Unexpected { .. })));
    }
}
