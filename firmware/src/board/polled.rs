//! A port over registers that are polled, one byte at a time.

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, Write};

/// A serial device.
pub trait Serial {
    /// Waits for a byte.
    fn receive(&mut self) -> u8;

    /// Sends a byte, once there is room for it.
    fn send(&mut self, byte: u8);

    /// Waits until what was sent is out.
    fn drain(&mut self);
}

/// A serial device as a port.
#[derive(Debug)]
pub struct Polled<S>(pub S);

impl<S> ErrorType for Polled<S> {
    type Error = Infallible;
}

impl<S: Serial> Read for Polled<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = buffer.first_mut() else {
            return Ok(0);
        };
        *first = self.0.receive();
        Ok(1)
    }
}

impl<S: Serial> Write for Polled<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            self.0.send(byte);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        self.0.drain();
        Ok(())
    }
}
