//! State to bytes and back, field by field, without an allocator: what [`crate::snapshot`] is made of.
//!
//! Little-endian, nothing between the fields, each type its own fields in the order in which `persist!` names them. Naming
//! them takes the type apart, so a field that is forgotten does not compile.

use nalgebra::{SMatrix, Scalar};

/// What can be kept and brought back.
pub trait Persist {
    /// Writes every field.
    fn save(&self, writer: &mut Writer<'_>);
    /// Reads every field. Where the bytes end early, or hold what no field can be, the reader says so in the end.
    fn load(&mut self, reader: &mut Reader<'_>);
}

/// Where fields go: into a buffer, or, beyond its end, nowhere; counted in either case.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> Writer<'b> {
    /// At the buffer's start.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// Bytes up to now, those without room among them.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// The next bytes. (One copy serves all fields: flash is dearer than a call.)
    #[inline(never)]
    pub fn bytes(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        if let Some(place) = self.buffer.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
        }
        self.length = end;
    }
}

/// Where fields come from.
#[derive(Debug)]
pub struct Reader<'b> {
    rest: &'b [u8],
    sound: bool,
}

impl<'b> Reader<'b> {
    /// At the first byte.
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes, sound: true }
    }

    /// The next bytes; zeros beyond the end.
    #[inline(never)]
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk() {
            Some((bytes, rest)) => {
                self.rest = rest;
                *bytes
            }
            None => {
                self.sound = false;
                [0; N]
            }
        }
    }

    /// Notes that what was read cannot be.
    pub const fn refuse(&mut self) {
        self.sound = false;
    }

    /// Whether every byte was read and every field can be.
    pub const fn is_sound(&self) -> bool {
        self.sound && self.rest.is_empty()
    }
}

macro_rules! number {
    ($type:ty, $reader:ident, $value:ident, $possible:expr) => {
        impl Persist for $type {
            fn save(&self, writer: &mut Writer<'_>) {
                writer.bytes(&self.to_le_bytes());
            }

            fn load(&mut self, $reader: &mut Reader<'_>) {
                let $value = Self::from_le_bytes($reader.array());
                if $possible {
                    *self = $value;
                } else {
                    $reader.refuse();
                }
            }
        }
    };
}

number!(u8, reader, value, true);
number!(u16, reader, value, true);
number!(u32, reader, value, true);
number!(i32, reader, value, true);
// No state holds a number that is not finite: it would never leave again.
number!(f32, reader, value, value.is_finite());

impl Persist for bool {
    fn save(&self, writer: &mut Writer<'_>) {
        u8::from(*self).save(writer);
    }

    fn load(&mut self, reader: &mut Reader<'_>) {
        match reader.array() {
            [0] => *self = false,
            [1] => *self = true,
            [_] => reader.refuse(),
        }
    }
}

impl<T: Persist> Persist for [T] {
    fn save(&self, writer: &mut Writer<'_>) {
        self.iter().for_each(|value| value.save(writer));
    }

    fn load(&mut self, reader: &mut Reader<'_>) {
        self.iter_mut().for_each(|value| value.load(reader));
    }
}

impl<T: Persist, const N: usize> Persist for [T; N] {
    fn save(&self, writer: &mut Writer<'_>) {
        self.as_slice().save(writer);
    }

    fn load(&mut self, reader: &mut Reader<'_>) {
        self.as_mut_slice().load(reader);
    }
}

/// Column by column.
impl<T: Persist + Scalar, const ROWS: usize, const COLUMNS: usize> Persist for SMatrix<T, ROWS, COLUMNS> {
    fn save(&self, writer: &mut Writer<'_>) {
        self.as_slice().save(writer);
    }

    fn load(&mut self, reader: &mut Reader<'_>) {
        self.as_mut_slice().load(reader);
    }
}

/// `persist!(Type { fields })` or `persist!(impl [generics] Type { fields })`: [`Persist`] by the fields, all of them.
macro_rules! persist {
    ($type:ident { $($field:ident),* $(,)? }) => {
        $crate::persist::persist!(impl [] $type { $($field),* });
    };
    (impl [$($generics:tt)*] $type:ty { $($field:ident),* $(,)? }) => {
        impl<$($generics)*> $crate::persist::Persist for $type {
            fn save(&self, writer: &mut $crate::persist::Writer<'_>) {
                let Self { $($field),* } = self;
                $($crate::persist::Persist::save($field, writer);)*
            }

            fn load(&mut self, reader: &mut $crate::persist::Reader<'_>) {
                let Self { $($field),* } = self;
                $($crate::persist::Persist::load($field, reader);)*
            }
        }
    };
}

pub(crate) use persist;
