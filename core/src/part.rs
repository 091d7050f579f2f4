//! The parts of an `observe`, for whoever counts what each of them costs.
//!
//! A forecaster says where a part begins to a [`Marks`]; [`Unmarked`] says nothing and compiles to nothing.

/// What an `observe` is doing, in this order; a channel and a block take their parts in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// How rare the sample was ([`crate::anomaly`]).
    Anomaly,
    /// A reading becomes a sample ([`crate::intake`]).
    Intake,
    /// Forecasts that were kept meet the sample ([`crate::probe`], [`crate::conformal`], [`crate::adaptation`]).
    Intervals,
    /// Seasonal memories, trends and the ring take it ([`crate::seasonal`]).
    Memories,
    /// The token's features: levels and pooled memories.
    Features,
    /// Keys and queries of the seasonal Flow-Attention ([`crate::retrieval`]).
    Keys,
    /// Features become a token.
    Embedding,
    /// A layer norm.
    Norm,
    /// A block's queries, keys and values.
    Projections,
    /// The attention's state ([`crate::attention`]).
    Attention,
    /// A block's output projection.
    Output,
    /// A block's feed-forward layers.
    FeedForward,
    /// What all steps of the forecast have in common: gates and features of the readout.
    Readout,
    /// The next sample's forecast.
    NextStep,
    /// The forecast of one more step, kept until its sample comes.
    Probe,
}

/// Is told where each part begins.
pub trait Marks {
    /// What follows belongs to this part.
    #[inline(always)]
    fn begin(part: Part) {
        let _ = part;
    }
}

/// Nobody is told.
#[derive(Debug, Clone, Copy)]
pub struct Unmarked;

impl Marks for Unmarked {}
