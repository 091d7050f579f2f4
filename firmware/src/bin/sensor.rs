//! The logger on an emulated board: QEMU's TMP105 on the board's I²C wires, forecasts and reports over UART0, the host
//! for a clock. Its wires fail by a schedule (`flowcast_firmware::wiring`): this image is there to be tested.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    panic!(
        "built for the wrong target: cargo build -p flowcast-firmware --bin sensor --target thumbv7em-none-eabihf --profile firmware"
    );
}

#[cfg(target_os = "none")]
use defmt_semihosting as _;

#[cfg(target_os = "none")]
#[cortex_m_rt::entry]
fn main() -> ! {
    use flowcast_core::wire::Refusal;
    use flowcast_firmware::{
        bitbang::BitBang,
        board::{memory, take, trust, wire},
        logger::{Logger, Plan},
        paced::Paced,
        sampler::Sampler,
        sensor::lm75::Lm75,
        state::Forecaster,
        wiring,
    };
    use static_cell::ConstStaticCell;

    static FORECASTER: ConstStaticCell<Forecaster> = ConstStaticCell::new(Forecaster::unbound());
    static HAND: wire::Hand = wire::Hand::new();
    /// A TMP105's or an LM75's first address.
    const ADDRESS: u8 = 0x48;

    let (Some((port, _, meter)), Some((clock, data))) = (take(), wire::take(&HAND)) else {
        defmt::panic!("the board's devices are taken once, here");
    };
    let mut sensor = Lm75::new(BitBang::new(clock, data, wire::Spin), ADDRESS);
    let model = memory::model();
    let forecaster = FORECASTER.take();
    let logger = match trust::bind(forecaster, model) {
        Ok(()) => Logger::new(forecaster, model, Sampler::new([&mut sensor]), Plan::DEFAULT).map_err(Refusal::Unfit),
        Err(fault) => Err(Refusal::Model(fault)),
    };
    if logger.is_err() {
        defmt::error!("no model for this board and its sensor; the reason goes to every host that asks");
    }
    let mut paced = Paced::new(logger, port, meter);
    loop {
        HAND.make(wiring::at(paced.samples()));
        match paced.step() {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }
}
