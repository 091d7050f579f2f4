//! What happens to a sensor's wires, by a schedule: for the image that is there to be tested (`sensor`, on an emulated
//! board), where no hand can pull a plug.

use core::ops::Range;

/// How the wires are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wires {
    /// As they should be.
    Sound,
    /// The sensor is unplugged: nothing pulls the data line down.
    Unplugged,
    /// The data line is shorted to ground: everything reads as zero, acknowledged.
    Shorted,
}

/// Samples, counted from the start, at which something is wrong.
pub const SCHEDULE: [(Range<u32>, Wires); 3] =
    [(180..201, Wires::Unplugged), (250..251, Wires::Shorted), (300..340, Wires::Shorted)];

/// How the wires are at a sample.
pub fn at(sample: u32) -> Wires {
    let wrong = SCHEDULE.into_iter().find(|(samples, _)| samples.contains(&sample));
    wrong.map_or(Wires::Sound, |(_, wires)| wires)
}
