//! An I²C bus with an LM75, an SHT40, an LIS2DH12 and a DS3231 on it, and everything that goes wrong with such a bus.

use std::cell::RefCell;
use std::rc::Rc;

use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

/// Where the devices answer.
pub const LM75: u8 = 0x48;
/// See [`LM75`].
pub const SHT40: u8 = 0x44;
/// See [`LM75`].
pub const LIS2DH12: u8 = 0x18;
/// See [`LM75`].
pub const DS3231: u8 = 0x68;

/// What is wrong with a bus or a device on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing.
    #[default]
    Nothing,
    /// Nobody answers.
    Unplugged,
    /// The controller finds a line held low.
    Held,
    /// Bits fall over on the way back.
    Flipped,
    /// Something else answers: every byte is 0x55.
    Impostor,
}

/// What the devices measure, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// In sixteenths of a degree.
    pub lm75: i16,
    /// Raw temperature and humidity.
    pub sht40: [u16; 2],
    /// In mg.
    pub acceleration: [i16; 3],
    /// Of everything on the bus.
    pub wrong: Wrong,
    /// Transfers up to now.
    pub transfers: u32,
    /// Whether the accelerometer was set up since it had power.
    pub accelerometer_on: bool,
    /// The clock's registers, times in binary-coded decimals; those from the sixteenth on are control and state.
    pub clock: [u8; 0x13],
    pending: u8,
}

/// A bus; clones share its world.
#[derive(Clone, Debug, Default)]
pub struct Bus(pub Rc<RefCell<World>>);

/// A failed transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed(ErrorKind);

impl Error for Failed {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

impl ErrorType for Bus {
    type Error = Failed;
}

impl I2c for Bus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Failed> {
        let mut world = self.0.borrow_mut();
        world.transfers += 1;
        match world.wrong {
            Wrong::Unplugged => {
                world.accelerometer_on = false;
                return Err(Failed(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address)));
            }
            Wrong::Held => return Err(Failed(ErrorKind::Bus)),
            _ => {}
        }
        if ![LM75, SHT40, LIS2DH12, DS3231].contains(&address) {
            return Err(Failed(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address)));
        }
        for operation in operations {
            match operation {
                Operation::Write(bytes) => world.write(address, bytes),
                Operation::Read(bytes) => world.read(address, bytes),
            }
        }
        Ok(())
    }
}

impl World {
    fn write(&mut self, address: u8, bytes: &[u8]) {
        if let [register, rest @ ..] = bytes {
            self.pending = *register;
            if address == DS3231 {
                let places = self.clock.iter_mut().skip((*register).into());
                places.zip(rest).for_each(|(place, byte)| *place = *byte);
            }
            // CTRL_REG1: a data rate other than power-down.
            self.accelerometer_on |= address == LIS2DH12 && register & 0x7F == 0x20 && rest.iter().any(|b| b >> 4 != 0);
        }
    }

    fn read(&mut self, address: u8, bytes: &mut [u8]) {
        let answer = match address {
            DS3231 => self.clock.iter().copied().skip(self.pending.into()).collect(),
            LM75 => (self.lm75 << 4).to_be_bytes().to_vec(),
            SHT40 => self.sht40.iter().flat_map(|word| with_crc(word.to_be_bytes())).collect(),
            _ if self.pending & 0x7F == 0x0F => vec![0x33],
            _ if self.pending & 0x7F == 0x28 && self.accelerometer_on => {
                self.acceleration.iter().flat_map(|mg| (mg << 4).to_le_bytes()).collect()
            }
            _ => vec![0],
        };
        for (place, byte) in bytes.iter_mut().zip(answer.into_iter().cycle()) {
            *place = match self.wrong {
                Wrong::Flipped => byte ^ 0x10,
                Wrong::Impostor => 0x55,
                _ => byte,
            };
        }
    }
}

/// A word and Sensirion's CRC-8 of it: polynomial 0x31, start 0xFF.
fn with_crc(word: [u8; 2]) -> [u8; 3] {
    let crc = word.iter().fold(0xFF_u8, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x31 })
    });
    [word[0], word[1], crc]
}
