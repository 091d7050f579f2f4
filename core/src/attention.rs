//! The causal Flow-Attention cell as a recurrence of running means.
//!
//! Wu et al., "Flowformer: Linearizing Transformers with Conservation Flows", ICML 2022 (arXiv 2202.06258), section 3.2
//! and the causal form of the released code. Values flow from sources (keys, values) to sinks (queries) through
//! capacities φ(q)·φ(k), φ = σ. For each head, with gain g = max(1/n, 1/N) at the n-th sample and ε = 1e-6:
//!
//! ```text
//! key_mean          += g (φk − key_mean)                query_mean    += g (φq − query_mean)
//! sink_incoming    I = 1 / Σ (φq+ε)(key_mean + ε g)     source_outgoing O = 1 / Σ (φk+ε)(query_mean + ε g)
//! key_out_mean      += g (φk O − key_out_mean)          query_in_mean += g (φq I − query_in_mean)
//! conserved_sink   r = Σ (φq+ε)(key_out_mean + ε g)     conserved_source c = clamp(Σ (φk+ε)(query_in_mean + ε g), ±κ)
//! sink_allocation  a = σ(r)                             exp_mean      += g (eᶜ − exp_mean)
//! source_competition w = eᶜ / exp_mean                  key_value_mean += g (φk ⊗ w v − key_value_mean)
//! y = a I φqᵀ key_value_mean
//! ```
//!
//! With N = ∞ this equals the released code, whose sums are these means times n. Means stay bounded however long the
//! stream runs, and a finite memory N lets old regimes leave: after N samples the mean becomes an exponential one. A
//! source's weight is fixed when it arrives, so the streaming and the whole-sequence form are one function.

use nalgebra::{ArrayStorage, SMatrix, SVector};

use crate::math::Real;

/// What a Flow-Attention layer fixes beside its projections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowParameters<T, const HEADS: usize> {
    /// 1/N of each head, N its memory in samples; 0 is the paper's infinite memory. `[HEADS]`, in 0..=1.
    pub memory_gain: [T; HEADS],
    /// κ: conserved_source is clamped to ±κ (released code: 1; 5 in language, 10 in reinforcement learning).
    pub source_clamp: T,
    /// The largest sink_incoming and source_outgoing, so that a sink or source of tiny capacity stays bounded; ∞ is the
    /// paper's form.
    pub flow_limit: T,
}

/// The state of one head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowHead<T: Real, const HEAD_DIM: usize> {
    key_mean: SVector<T, HEAD_DIM>,
    query_mean: SVector<T, HEAD_DIM>,
    key_out_mean: SVector<T, HEAD_DIM>,
    query_in_mean: SVector<T, HEAD_DIM>,
    exp_mean: T,
    /// `[key dimension][value dimension]`; nalgebra keeps a column, one value dimension, contiguous.
    key_value_mean: SMatrix<T, HEAD_DIM, HEAD_DIM>,
}

/// The flows of one head at one sample, as the paper names them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowTrace<T> {
    /// I: one over the flow that enters this sink.
    pub sink_incoming: T,
    /// O: one over the flow that leaves this source.
    pub source_outgoing: T,
    /// r: the sink's incoming flow once every source's outgoing flow is 1.
    pub conserved_sink: T,
    /// c: the source's outgoing flow once every sink's incoming flow is 1, clamped.
    pub conserved_source: T,
    /// a = σ(r).
    pub sink_allocation: T,
    /// w: this source's share against the mean of its past.
    pub source_competition: T,
}

impl<T: Real> FlowTrace<T> {
    /// The same in `f32`.
    pub fn to_f32(&self) -> FlowTrace<f32> {
        FlowTrace {
            sink_incoming: self.sink_incoming.to_f32(),
            source_outgoing: self.source_outgoing.to_f32(),
            conserved_sink: self.conserved_sink.to_f32(),
            conserved_source: self.conserved_source.to_f32(),
            sink_allocation: self.sink_allocation.to_f32(),
            source_competition: self.source_competition.to_f32(),
        }
    }
}

/// The state of a whole layer: constant size, whatever the length of the stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowState<T: Real, const HEADS: usize, const HEAD_DIM: usize> {
    count: u32,
    heads: [FlowHead<T, HEAD_DIM>; HEADS],
}

crate::persist::persist!(impl [T: Real + crate::persist::Persist, const HEAD_DIM: usize] FlowHead<T, HEAD_DIM> {
    key_mean,
    query_mean,
    key_out_mean,
    query_in_mean,
    exp_mean,
    key_value_mean
});
crate::persist::persist!(
    impl [T: Real + crate::persist::Persist, const HEADS: usize, const HEAD_DIM: usize] FlowState<T, HEADS, HEAD_DIM> {
        count,
        heads
    }
);

impl<T: Real, const HEAD_DIM: usize> FlowHead<T, HEAD_DIM> {
    const ZERO: Self = {
        let zero = SVector::from_array_storage(ArrayStorage([[T::ZERO; HEAD_DIM]]));
        Self {
            key_mean: zero,
            query_mean: zero,
            key_out_mean: zero,
            query_in_mean: zero,
            exp_mean: T::ZERO,
            key_value_mean: SMatrix::from_array_storage(ArrayStorage([[T::ZERO; HEAD_DIM]; HEAD_DIM])),
        }
    };

    #[inline]
    fn step(
        &mut self,
        gain: T,
        source_clamp: T,
        flow_limit: T,
        [query, key, value]: [&[T; HEAD_DIM]; 3],
        output: &mut [T; HEAD_DIM],
    ) -> FlowTrace<T> {
        let [query, key] = [query.map(T::sigmoid), key.map(T::sigmoid)];
        let smallest = T::EPSILON * gain;

        let [query, key] = [&query, &key];
        T::approach_all(self.key_mean.as_mut_slice(), key, T::ONE, gain);
        T::approach_all(self.query_mean.as_mut_slice(), query, T::ONE, gain);
        let sink_incoming = T::flow(query, self.key_mean.as_slice(), smallest).recip().at_most(flow_limit);
        let source_outgoing = T::flow(key, self.query_mean.as_slice(), smallest).recip().at_most(flow_limit);

        T::approach_all(self.key_out_mean.as_mut_slice(), key, source_outgoing, gain);
        T::approach_all(self.query_in_mean.as_mut_slice(), query, sink_incoming, gain);
        let conserved_sink = T::flow(query, self.key_out_mean.as_slice(), smallest);
        let conserved_source =
            T::flow(key, self.query_in_mean.as_slice(), smallest).at_most(source_clamp).at_least(-source_clamp);

        let sink_allocation = conserved_sink.sigmoid();
        let exp = conserved_source.exp();
        self.exp_mean += gain * (exp - self.exp_mean);
        let source_competition = exp / self.exp_mean;

        let outgoing = sink_allocation * sink_incoming;
        let values = value.map(|value| source_competition * value);
        let received = T::remember(&mut self.key_value_mean.data.0, key, &values, gain, query);
        for (output, received) in output.iter_mut().zip(received) {
            *output = outgoing * received;
        }
        FlowTrace {
            sink_incoming,
            source_outgoing,
            conserved_sink,
            conserved_source,
            sink_allocation,
            source_competition,
        }
    }
}

impl<T: Real, const HEADS: usize, const HEAD_DIM: usize> FlowState<T, HEADS, HEAD_DIM> {
    /// The state before the first sample.
    pub const ZERO: Self = Self { count: 0, heads: [FlowHead::ZERO; HEADS] };

    /// The state before the first sample.
    pub const fn new() -> Self {
        Self::ZERO
    }

    /// How many samples the state has seen, up to `u32::MAX`.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Takes one token and writes what its sink receives.
    ///
    /// `[query, key, value]` are the projections before φ, each `[HEADS][HEAD_DIM]`; `output` is `[HEADS][HEAD_DIM]`.
    /// Finite for every finite query and key, and values up to `MAX / (8 HEAD_DIM flow_limit e^(2 source_clamp))`, which
    /// a model file's bounds keep every value far below. Returns the flows of each head; unused, they cost nothing.
    #[inline]
    pub fn step(
        &mut self,
        parameters: &FlowParameters<T, HEADS>,
        [query, key, value]: [&[[T; HEAD_DIM]; HEADS]; 3],
        output: &mut [[T; HEAD_DIM]; HEADS],
    ) -> [FlowTrace<T>; HEADS] {
        self.count = self.count.saturating_add(1);
        let growing = T::one_over(self.count);
        let mut traces = [FlowTrace {
            sink_incoming: T::ZERO,
            source_outgoing: T::ZERO,
            conserved_sink: T::ZERO,
            conserved_source: T::ZERO,
            sink_allocation: T::ZERO,
            source_competition: T::ZERO,
        }; HEADS];
        let tokens = query.iter().zip(key).zip(value).zip(output);
        let heads = self.heads.iter_mut().zip(&parameters.memory_gain).zip(&mut traces);
        for (((head, floor), trace), (((query, key), value), output)) in heads.zip(tokens) {
            let gain = growing.at_least(*floor);
            *trace = head.step(gain, parameters.source_clamp, parameters.flow_limit, [query, key, value], output);
        }
        traces
    }
}

impl<T: Real, const HEADS: usize, const HEAD_DIM: usize> Default for FlowState<T, HEADS, HEAD_DIM> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::q20::Q20;

    const HEADS: usize = 4;
    const HEAD_DIM: usize = 8;

    /// Each sample of queries, keys and values is one of these, for a while: the worst that layers put out.
    const WORST: [fn(u32) -> Q20; 7] = [
        |_| Q20::MAX,
        |_| Q20::MIN,
        |sample| if sample.is_multiple_of(2) { Q20::MAX } else { Q20::MIN },
        |sample| if sample.is_multiple_of(997) { Q20::MAX } else { Q20::MIN },
        |_| Q20::ZERO,
        |sample| Q20::from_raw(sample.wrapping_mul(0x9e37_79b9) as i32),
        |sample| Q20::from_raw(sample.wrapping_mul(0x9e37_79b9) as i32 >> 8),
    ];

    /// As BOUNDS.md says.
    #[test]
    fn integers_stay_within_their_bounds() {
        for (source_clamp, flow_limit) in [(1.0, 64.0), (10.0, 1e4), (0.0, 1.0)] {
            let parameters = FlowParameters {
                memory_gain: [1.0, 0.25, 1.0 / 720.0, 0.0].map(Q20::of),
                source_clamp: Q20::of(source_clamp),
                flow_limit: Q20::of(flow_limit),
            };
            let mut state = FlowState::<Q20, HEADS, HEAD_DIM>::new();
            for sample in 0..60_000_u32 {
                // Each kind of each beside each kind of the others.
                let kind = sample / 150;
                let [query, key, value] =
                    [kind % 7, kind / 7 % 7, kind / 49 % 7].map(|kind| WORST[kind as usize](sample));
                let token = [query, key, value].map(|number| [[number; HEAD_DIM]; HEADS]);
                let mut output = [[Q20::ZERO; HEAD_DIM]; HEADS];
                state.step(&parameters, [&token[0], &token[1], &token[2]], &mut output);
                let step = Q20::EPSILON;
                let within = |numbers: &[Q20], least: Q20, most: Q20| {
                    assert!(
                        numbers.iter().all(|number| (least..=most + step + step).contains(number)),
                        "{numbers:?} at sample {sample}, expected {least:?} to {most:?}"
                    );
                };
                for head in &state.heads {
                    within(head.key_mean.as_slice(), Q20::ZERO, Q20::ONE);
                    within(head.query_mean.as_slice(), Q20::ZERO, Q20::ONE);
                    within(head.key_out_mean.as_slice(), Q20::ZERO, Q20::of(256.0).at_most(parameters.flow_limit));
                    within(head.query_in_mean.as_slice(), Q20::ZERO, Q20::of(256.0).at_most(parameters.flow_limit));
                    let clamp = parameters.source_clamp;
                    within(&[head.exp_mean], (-clamp).exp() - step, clamp.exp() + step);
                    within(head.key_value_mean.as_slice(), Q20::of(-256.0), Q20::of(256.0));
                }
            }
        }
    }
}
