//! How much of what was learnt to keep: weights on the way from the closed form's to those that training led to.
//!
//! Few rows choose, and from many candidates, so what looks best on them is somewhat less good elsewhere; where they show
//! little gain, most of it may be chance. A share of the way forecasts a share of the residual.

use flowcast_core::format::Header;

/// Shares to choose from, beside all of it.
pub(crate) const SHARES: [f32; 3] = [0.25, 0.5, 0.75];

/// Weights `share` of the way from `first` to `learnt`, in the order of [`Header::tensors`]: those of gate, head and
/// readout, which say what is made of the hidden state; the others are as learnt.
pub(crate) fn between(header: &Header, first: &[f32], learnt: &[f32], share: f32) -> Vec<f32> {
    let mut between = learnt.to_vec();
    for tensor in header.tensors().filter(|tensor| speaks(&tensor.to_string())) {
        let place = tensor.start..tensor.start + tensor.len();
        for (weight, first) in between[place.clone()].iter_mut().zip(&first[place]) {
            *weight = first + share * (*weight - first);
        }
    }
    between
}

fn speaks(name: &str) -> bool {
    name.starts_with("gate.") || name == "head.weight" || name == "head.bias" || name == "readout.weight"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use flowcast_core::presets::PRESETS;

    #[test]
    fn no_share_is_the_closed_form_and_all_of_it_what_was_learnt() {
        let header = Config::example(&PRESETS[0], 24).header().unwrap();
        let (first, learnt) = (vec![1.0; header.weight_count()], vec![3.0; header.weight_count()]);
        let at = |share: f32| between(&header, &first, &learnt, share);
        assert_eq!(at(1.0), learnt);
        for tensor in header.tensors() {
            let name = tensor.to_string();
            let expected = match name.as_str() {
                "gate.weight" | "gate.bias" | "head.weight" | "head.bias" | "readout.weight" => (1.0, 2.0),
                _ => (3.0, 3.0),
            };
            assert_eq!((at(0.0)[tensor.start], at(0.5)[tensor.start]), expected, "{name}");
        }
    }
}
