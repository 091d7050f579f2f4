//! The gate's rival, which needs no model: a sample is sent when a channel has left the last value that was, or after as many
//! samples of silence as the gate allows.

use flowcast_core::gate::SILENCE;

/// A board that sends on change.
#[derive(Clone, Debug)]
pub struct Deadband<'e> {
    errors: &'e [f32],
    silent: usize,
    messages: usize,
    /// What the other end takes each sample for. `[sample][CHANNELS]`
    filled: Vec<f32>,
}

impl<'e> Deadband<'e> {
    /// With the largest error of each channel.
    pub fn new(errors: &'e [f32]) -> Self {
        Self { errors, silent: 0, messages: 0, filled: Vec::new() }
    }

    /// Takes a sample; whether it is sent.
    pub fn sends(&mut self, sample: &[f32]) -> bool {
        let last: Vec<f32> = match self.filled.rchunks(self.errors.len()).next() {
            Some(last) => last.to_vec(),
            None => vec![f32::NAN; sample.len()],
        };
        let stays = |((value, last), error): ((&f32, &f32), &f32)| {
            (value.is_nan() && last.is_nan()) || (value - last).abs() <= *error
        };
        let still = sample.iter().zip(&last).zip(self.errors).all(stays);
        let sends = !still || self.silent + 1 >= SILENCE || self.filled.is_empty();
        self.silent = if sends { 0 } else { self.silent + 1 };
        self.messages += usize::from(sends);
        self.filled.extend_from_slice(if sends { sample } else { &last });
        sends
    }

    /// Samples that were sent.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// What the other end took each sample for. `[sample][CHANNELS]`
    pub fn filled(&self) -> &[f32] {
        &self.filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_last_value_is_sent_and_so_is_silence_that_lasts() {
        let mut deadband = Deadband::new(&[1.0]);
        let sent: Vec<bool> =
            [5.0, 6.0, 6.1, 5.1, f32::NAN, f32::NAN, 5.0].map(|value| deadband.sends(&[value])).into();
        assert_eq!(sent, [true, false, true, false, true, false, true]);
        assert_eq!(deadband.filled()[..4], [5.0, 5.0, 6.1, 6.1]);
        let longest = (0..100).filter(|_| deadband.sends(&[5.0])).count();
        assert_eq!((longest, deadband.messages()), (100 / SILENCE, 4 + 100 / SILENCE));
    }
}
