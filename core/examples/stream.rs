//! The device's loop on a desk: readings on standard input, one sample a line, forecasts on standard output.
//!
//! ```text
//! zcat tests/data/mast_10min.csv.gz | tail -n +2 | cut -d, -f2-5 |
//!     cargo run -p flowcast-core --example stream -- flowcast-demo/mast.flow
//! ```

use std::io::BufRead;

use flowcast_core::presets::Small;

/// Up to 8 channels, up to 512 slots of all seasons.
type Forecaster<'m> = Small<'m, 8, 704>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: stream MODEL.flow < SAMPLES")?;
    let bytes = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    // A model lies at a multiple of 4 bytes; a board's linker sees to that, here a vector of words does.
    let mut words = vec![0_u32; bytes.len().div_ceil(4)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(&bytes);
    let mut forecaster = Forecaster::new(bytemuck::cast_slice(&words))?;

    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let readings: Vec<f32> = line?.split(',').map(|cell| cell.trim().parse().unwrap_or(f32::NAN)).collect();
        forecaster.observe(&readings);
        let Some(forecast) = forecaster.forecast() else { continue };
        let next = (0..readings.len()).filter_map(|channel| forecast.channel(channel)?.at(forecast.horizon()));
        let shown: Vec<_> = next.map(|q| format!("{} ({} to {})", q.median(), q.lower(), q.upper())).collect();
        println!("after sample {}, {} ahead: {}", number + 1, forecast.horizon(), shown.join(", "));
    }
    Ok(())
}
