//! A pin that is not there, for boards on which nobody looks at one.

use core::convert::Infallible;

use embedded_hal::digital::{ErrorType, OutputPin};

/// It.
#[derive(Clone, Copy, Debug)]
pub struct NoPin;

impl ErrorType for NoPin {
    type Error = Infallible;
}

impl OutputPin for NoPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
