//! Dense layers over weights that lie in flash, with one fixed order of summation on every machine.
//!
//! A model's scalar decides the form of its weights: `f32` meets `f32`, and [`Q20`](crate::q20::Q20)
//! meets `i8` with a multiplier for each row, all in integers: `linear/{float,integer}.rs`.

mod float;
mod integer;

pub use integer::Scaled;

use core::fmt::Debug;

use crate::math::Real;
use crate::persist::Persist;
use crate::unit::Unit;

/// Features beside the seasonal ones that a token holds: ln scale and location.
pub const LEVEL_FEATURES: usize = 2;
/// Scaled features enter a token divided by this, which brings most of them within ±1.
pub const TOKEN_DIVISOR: f32 = 3.0;

/// How a model computes, and how its weights lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numeric {
    /// In `f32`, all weights of it.
    F32,
    /// In integers: matrices as `i8` with a multiplier for each output, laid out for [`crate::kernel`]; the rest in
    /// steps of 2⁻²⁰ ([`crate::q20`]).
    I8,
}

impl Numeric {
    /// As the commands print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::I8 => "int8",
        }
    }
}

/// The scalar of a model: what numbers are, and what weights meet them.
pub trait Element: Real + Persist {
    /// The form of model files that this is for.
    const NUMERIC: Numeric;
    /// A channel's unit.
    type Unit: Unit<Self>;
    /// A number as it lies in the file.
    type Number: bytemuck::Pod + Debug;
    /// Room for what a vector of up to `N` numbers becomes before it meets weights.
    type Room<const N: usize>: Copy + Debug;
    /// What is kept of a vector of up to `N` numbers for layers that will take it.
    type Held<const N: usize>: Copy + Debug;
    /// What a layer takes.
    type Input<'x>: Copy + Debug;
    /// How large inputs a layer can bear; larger ones saturate.
    type Limit: Copy + Debug;
    /// A matrix for products with the whole of it, where it lies.
    type Matrix<'m>: Copy + Debug;
    /// A matrix for products with single rows, where it lies.
    type Rows<'m>: Copy + Debug;
    /// One row of a matrix, or a part of it.
    type Row<'m>: Copy + Debug;

    /// A number of the file.
    fn number(stored: Self::Number) -> Self;

    /// Room that holds nothing.
    fn room<const N: usize>() -> Self::Room<N>;
    /// Prepares a vector of up to `N` numbers for layers that bear so much.
    fn prepare<const N: usize>(values: &[Self], limit: Self::Limit, room: &mut Self::Room<N>);
    /// What holds nothing.
    fn nothing_held<const N: usize>() -> Self::Held<N>;
    /// Holds the numbers that `fill` writes, for layers that bear so much; returns how many there are, as `fill` does.
    fn hold<const N: usize>(
        held: &mut Self::Held<N>,
        limit: Self::Limit,
        fill: impl FnOnce(&mut [Self; N]) -> usize,
    ) -> usize;
    /// So many numbers that are held.
    fn held<const N: usize>(held: &Self::Held<N>, count: usize) -> Self::Input<'_>;
    /// A vector that has been prepared.
    fn input<'x, const N: usize>(values: &'x [Self], room: &'x Self::Room<N>) -> Self::Input<'x>;

    /// The next matrix of a file; of eight-bit weights it lies as matrices of `part` inputs, one after the other.
    fn matrix<'m>(source: &mut Source<'m>, outputs: usize, inputs: usize, part: usize) -> Self::Matrix<'m>;
    /// The next matrix of a file that is taken row by row, each in two parts of so many columns.
    fn rows<'m>(source: &mut Source<'m>, outputs: usize, parts: [usize; 2]) -> Self::Rows<'m>;

    /// What inputs a matrix can bear.
    fn limit(matrix: &Self::Matrix<'_>) -> Self::Limit;
    /// That of a matrix for single rows.
    fn no_limit() -> Self::Limit;
    /// What layers of both limits can bear.
    fn tighter(a: Self::Limit, b: Self::Limit) -> Self::Limit;

    /// y = b + W x, `[rows]`; rows beyond the shortest are left alone.
    fn product(matrix: &Self::Matrix<'_>, bias: &[Self::Number], x: Self::Input<'_>, y: &mut [Self]);
    /// y += W x, the same.
    fn add_product(matrix: &Self::Matrix<'_>, x: Self::Input<'_>, y: &mut [Self]);
    /// The `index`-th row in two parts, of `left` and of `right` columns; empty beyond the last.
    fn row<'m>(rows: &Self::Rows<'m>, index: usize, left: usize, right: usize) -> [Self::Row<'m>; 2];
    /// Σ w_c x_c over the shorter length.
    fn dot(row: &Self::Row<'_>, x: Self::Input<'_>) -> Self;

    /// Prepares a token's input for its layer: `clamp(u/scale, ±most) / 3` of each feature u, and what is `last`
    /// ([`crate::model`]). `values` is as long as the input, at most `N`.
    fn prepare_token<const N: usize>(
        features: &[Self],
        scale: Self,
        most: Self,
        last: [Self; LEVEL_FEATURES],
        limit: Self::Limit,
        values: &mut [Self],
        room: &mut Self::Room<N>,
    );
    /// x += b + contract · ReLU(expand · normed), few hidden units at a time; `contract` and its bias as
    /// [`crate::block::Block`] has them.
    fn feed_forward<const D_MODEL: usize>(
        expand: &Linear<'_, Self>,
        contract: &Linear<'_, Self>,
        normed: &[Self; D_MODEL],
        x: &mut [Self; D_MODEL],
    );
    /// y = gain (x − mean) / √(variance + ε) + bias; see [`crate::norm`].
    fn normalize<const D_MODEL: usize>(
        x: &[Self; D_MODEL],
        gain: &[Self::Number],
        bias: &[Self::Number],
    ) -> [Self; D_MODEL];
}

/// A file's weights that have not been taken yet.
#[derive(Debug, Clone, Copy)]
pub struct Source<'m> {
    numbers: &'m [u32],
    /// Eight-bit weights, four a word.
    matrices: &'m [u32],
    refused: bool,
}

impl<'m> Source<'m> {
    /// Numbers, and eight-bit weights by words.
    pub fn new(numbers: &'m [u32], matrices: &'m [u32]) -> Self {
        Self { numbers, matrices, refused: false }
    }

    /// The next `count` numbers; what there is, if there are fewer.
    pub fn numbers<N: bytemuck::Pod>(&mut self, count: usize) -> &'m [N] {
        let (taken, rest) = self.numbers.split_at_checked(count).unwrap_or((self.numbers, &[]));
        self.numbers = rest;
        // A number is a word: there is nothing to fail.
        bytemuck::try_cast_slice(taken).unwrap_or_default()
    }

    /// The next `count` words of eight-bit weights; what there is, if there are fewer.
    pub fn words(&mut self, count: usize) -> &'m [u32] {
        let (taken, rest) = self.matrices.split_at_checked(count).unwrap_or((self.matrices, &[]));
        self.matrices = rest;
        taken
    }
}

impl Source<'_> {
    /// A matrix was taken that no input can meet without leaving the range.
    pub(crate) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Whether there was one.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }
}

/// A vector that is prepared for layers and kept; `N` is a multiple of 4.
#[derive(Debug, Clone)]
pub struct Vector<R: Element, const N: usize> {
    held: R::Held<N>,
    count: usize,
}

impl<R: Element, const N: usize> Vector<R, N> {
    /// No number.
    #[inline]
    pub fn empty() -> Self {
        Self { held: R::nothing_held(), count: 0 }
    }

    /// Has `fill` write up to `N` numbers and say how many there are, for layers that bear so much. (In place: a vector is
    /// dear to move.)
    #[inline]
    pub fn fill(&mut self, limit: R::Limit, fill: impl FnOnce(&mut [R; N]) -> usize) {
        self.count = R::hold(&mut self.held, limit, fill).min(N);
    }

    /// What a layer takes of it.
    #[inline]
    pub fn input(&self) -> R::Input<'_> {
        R::held(&self.held, self.count)
    }
}

/// y = W x + b.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'m, R: Element> {
    /// `[outputs][inputs]`
    pub weight: R::Matrix<'m>,
    /// `[outputs]`
    pub bias: &'m [R::Number],
}

impl<R: Element> Linear<'_, R> {
    /// What inputs it can bear.
    #[inline]
    pub fn limit(&self) -> R::Limit {
        R::limit(&self.weight)
    }

    /// Writes `[outputs]` numbers; `x` is `[inputs]`. Rows beyond either slice are left alone.
    #[inline]
    pub fn apply(&self, x: R::Input<'_>, y: &mut [R]) {
        R::product(&self.weight, self.bias, x, y);
    }

    /// As [`Linear::apply`], of a vector that no other layer takes; `N` is its length or more, a multiple of 4.
    #[inline]
    pub fn apply_once<const N: usize>(&self, x: &[R], y: &mut [R]) {
        let mut room = R::room::<N>();
        R::prepare(x, self.limit(), &mut room);
        self.apply(R::input(x, &room), y);
    }
}

/// The `index`-th run of `width` numbers; empty beyond the last.
#[inline]
pub fn run<T>(values: &[T], index: usize, width: usize) -> &[T] {
    values.get(index * width..).and_then(|rest| rest.get(..width)).unwrap_or_default()
}
