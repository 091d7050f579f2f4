//! A model that is part of the program: whether the forecaster holds it is decided when the program is compiled.

use super::Forecaster;
use crate::format::Needs;
use crate::linear::{Element, Numeric};

/// The bytes of a model file, aligned for use in place; it does not compile where the forecaster, a type without its lifetime's
/// name, cannot hold the model. The path is as `include_bytes!` takes it.
///
/// ```ignore
/// static MODEL: &[u8] = flowcast_core::include_model!("house.flow", Small<4, 72>);
/// ```
#[macro_export]
macro_rules! include_model {
    ($path:expr, $forecaster:ty) => {{
        #[repr(C, align(4))]
        struct Aligned<T>(T);
        const BYTES: &[u8] = include_bytes!($path);
        const _: () = <$forecaster>::holds(BYTES);
        static MODEL: Aligned<[u8; BYTES.len()]> = Aligned(*include_bytes!($path));
        &MODEL.0
    }};
}

impl<
    R: Element,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
    const FLOWS: usize,
> Forecaster<'_, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>
{
    /// For constants: compiles where a forecaster of this type holds the model, as far as its header says.
    ///
    /// ```
    /// # use flowcast_core::presets::{Small, Tiny};
    /// # const fn with(mut file: [u8; 128], at: usize, values: &[u16]) -> [u8; 128] {
    /// #     let mut i = 0;
    /// #     while i < values.len() {
    /// #         [file[at + 2 * i], file[at + 2 * i + 1]] = values[i].to_le_bytes();
    /// #         i += 1;
    /// #     }
    /// #     file
    /// # }
    /// # const EMPTY: [u8; 128] = with([0; 128], 0, &[0x4C46, 0x574F, flowcast_core::format::VERSION]);
    /// # // `small`, two channels, a season of 144 samples, two a slot.
    /// # const MODEL: &[u8] = &with(with(with(EMPTY, 16, &[32, 4, 8, 1]), 28, &[2]), 80, &[144, 0, 2, 0]);
    /// const _: () = Small::<2, 72>::holds(MODEL);
    /// ```
    ///
    /// One slot too few:
    ///
    /// ```compile_fail,E0080
    /// # use flowcast_core::presets::Small;
    /// # const fn with(mut file: [u8; 128], at: usize, values: &[u16]) -> [u8; 128] {
    /// #     let mut i = 0;
    /// #     while i < values.len() {
    /// #         [file[at + 2 * i], file[at + 2 * i + 1]] = values[i].to_le_bytes();
    /// #         i += 1;
    /// #     }
    /// #     file
    /// # }
    /// # const EMPTY: [u8; 128] = with([0; 128], 0, &[0x4C46, 0x574F, flowcast_core::format::VERSION]);
    /// # const MODEL: &[u8] = &with(with(with(EMPTY, 16, &[32, 4, 8, 1]), 28, &[2]), 80, &[144, 0, 2, 0]);
    /// const _: () = Small::<2, 71>::holds(MODEL);
    /// ```
    ///
    /// # Panics
    /// The bytes are no model of this version, or the model is of another backbone or form, or has more channels or needs
    /// more slots or attention than there is: with a constant, when compiled.
    pub const fn holds(model: &[u8]) {
        let Some(needs) = Needs::of(model) else {
            panic!("these bytes are no model of the version that this crate reads")
        };
        let backbone = [D_MODEL as u16, HEADS as u16, HEAD_DIM as u16, LAYERS as u16];
        let mut index = 0;
        while index < backbone.len() {
            assert!(needs.backbone[index] == backbone[index], "the model is of another preset than the forecaster");
            index += 1;
        }
        assert!(
            matches!(needs.numeric, Numeric::F32) == matches!(R::NUMERIC, Numeric::F32),
            "the model computes in another form than the forecaster: f32 or int8"
        );
        assert!(needs.channels as usize <= CHANNELS, "the model has more channels than the forecaster holds");
        assert!(
            needs.slots <= SLOTS,
            "the model needs more slots than the forecaster holds: `flowcast inspect` says how many"
        );
        assert!(
            needs.flows as usize <= FLOWS,
            "the model's blocks have an attention, and the forecaster no room for it"
        );
    }
}
