//! One tensor of a model file, and how it lies there.

use core::fmt;

use crate::kernel::{Layout, OFFSET_BITS};
use crate::linear::Numeric;
use crate::math::{Real, round};

/// The largest number of an eight-bit weight; -128 is not used.
pub const LARGEST_I8: f32 = 127.0;

/// One tensor of the weights, row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    /// The block that it belongs to.
    pub layer: Option<usize>,
    /// Its name within the block or the model.
    pub name: &'static str,
    /// Its shape; leading dimensions of 1 where it has fewer than three.
    pub shape: [usize; 3],
    /// What it is to an eight-bit model.
    pub form: Form,
    /// Where it starts, in weights.
    pub start: usize,
}

/// How a tensor enters products, and so how it lies in an eight-bit model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Numbers that stay numbers.
    Vector,
    /// A matrix taken as a whole; a row is an output.
    Matrix,
    /// The same, transposed: a column is an output. Of eight bits it lies as matrices of so many inputs as there are
    /// outputs, one after the other.
    Transposed,
    /// A matrix taken row by row, each in two parts of so many columns.
    Rows([usize; 2]),
}

impl Form {
    /// Bytes of the eight-bit weights between so many outputs and inputs.
    pub(super) fn bytes(self, outputs: usize, inputs: usize) -> usize {
        match self {
            Self::Vector => 0,
            Self::Matrix => Layout::Pairs.bytes(outputs, inputs),
            Self::Transposed => {
                let (whole, rest) = (inputs / outputs.max(1), inputs % outputs.max(1));
                whole * Layout::Pairs.bytes(outputs, outputs) + Layout::Pairs.bytes(outputs, rest)
            }
            Self::Rows(parts) => outputs * parts.iter().map(|columns| Layout::Rows.bytes(1, *columns)).sum::<usize>(),
        }
    }

    /// The byte of a weight of an output.
    pub(super) fn byte(self, output: usize, weight: i8) -> u8 {
        match self {
            Self::Matrix | Self::Transposed => Layout::Pairs.byte(output, weight),
            Self::Vector | Self::Rows(_) => Layout::Rows.byte(output, weight),
        }
    }

    /// What is added to weights within a word.
    pub(super) fn offset(self) -> u32 {
        if matches!(self, Self::Matrix | Self::Transposed) { OFFSET_BITS } else { 0 }
    }

    /// Where the weight between an output and an input of so many lies among them, in bytes.
    pub(super) fn place(self, [output, outputs]: [usize; 2], [input, inputs]: [usize; 2]) -> usize {
        match self {
            Self::Vector => 0,
            Self::Matrix => Layout::Pairs.place(inputs, output, input),
            Self::Transposed => {
                let part = input / outputs.max(1);
                let before = part * outputs;
                let columns = (inputs - before).min(outputs);
                self.bytes(outputs, before) + Layout::Pairs.place(columns, output, input - before)
            }
            Self::Rows([left, right]) => {
                let start = self.bytes(output, inputs);
                match input.checked_sub(left) {
                    None => start + Layout::Rows.place(left, 0, input),
                    Some(column) => start + Layout::Rows.bytes(1, left) + Layout::Rows.place(right, 0, column),
                }
            }
        }
    }
}

impl Tensor {
    /// Outputs, each of which has a multiplier in an eight-bit model; 0 of a vector.
    pub fn outputs(&self) -> usize {
        let [outer, rows, columns] = self.shape;
        match self.form {
            Form::Vector => 0,
            Form::Matrix | Form::Rows(_) => outer * rows,
            Form::Transposed => columns,
        }
    }

    /// Inputs of each output; 0 of a vector.
    pub fn inputs(&self) -> usize {
        self.len().checked_div(self.outputs()).unwrap_or(0)
    }

    /// Bytes that it takes in a file.
    pub fn bytes(&self, numeric: Numeric) -> usize {
        match numeric {
            Numeric::F32 => 4 * self.len(),
            Numeric::I8 => 4 * self.numbers(numeric) + self.eight_bit_bytes(),
        }
    }

    /// Numbers of four bytes among them.
    pub(super) fn numbers(&self, numeric: Numeric) -> usize {
        match (numeric, self.form) {
            (Numeric::F32, _) | (_, Form::Vector) => self.len(),
            // A multiplier for each, and their exponent.
            _ => self.outputs() + 1,
        }
    }

    /// Bytes of its eight-bit weights in an eight-bit model.
    pub(super) fn eight_bit_bytes(&self) -> usize {
        self.form.bytes(self.outputs(), self.inputs())
    }

    /// Where the weight between an input and an output lies among the tensor's numbers.
    pub(super) fn index(&self, output: usize, input: usize) -> usize {
        match self.form {
            Form::Transposed => input * self.outputs() + output,
            _ => output * self.inputs() + input,
        }
    }

    /// Rounds its numbers to what eight bits keep of them, if it is a matrix.
    pub fn round_to_eight_bits(&self, values: &mut [f32]) {
        for output in 0..self.outputs() {
            let places = (0..self.inputs()).map(|input| self.index(output, input));
            let scale = output_scale(places.clone().map(|place| values.get(place).copied().unwrap_or(0.0)));
            for place in places {
                if let Some(value) = values.get_mut(place) {
                    *value = f32::from(quantize(*value, scale)) * scale;
                }
            }
        }
    }

    /// How many numbers it holds.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Tensor {
    /// The name that training checkpoints use too, as `blocks.0.query.weight`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "blocks.{layer}.{}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// What 1 means among the eight-bit weights of an output; not finite if one of its weights is not.
pub(super) fn output_scale(values: impl Iterator<Item = f32>) -> f32 {
    let largest = values.fold(
        0.0,
        |largest: f32, value| {
            if value.abs() > largest || value.is_nan() { value.abs() } else { largest }
        },
    );
    largest / LARGEST_I8
}

/// The nearest eight-bit weight.
pub(super) fn quantize(value: f32, scale: f32) -> i8 {
    if scale > 0.0 { round(value / scale).at_least(-LARGEST_I8).at_most(LARGEST_I8) as i8 } else { 0 }
}
