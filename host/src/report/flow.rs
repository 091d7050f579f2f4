//! What attention chose: the competition's weight of each past sample, and the share that the sink takes.

use std::ops::Range;

use anyhow::Result;
use plotters::style::RGBColor;

use super::axis;
use super::canvas::{ACCENT, Anchor, Canvas, Frame, GREEN, INK, LABEL, MUTED, WARM, WIDTH, picture};
use super::collect::Diagnostics;
use super::figure::channel_title;
use super::{room, shown};
use crate::backtest::BacktestReport;
use crate::duration::show_ms;

const LEFT: f64 = 124.0;
const STRIP: f64 = 11.0;
/// Heads at most, evenly from those that there are.
const HEADS: usize = 8;
/// Channels at most.
pub(super) const CHANNELS: usize = 4;
/// Tiles of a strip.
const COLUMNS: usize = 336;
/// Shades of a tile.
const SHADES: f64 = 12.0;
/// Width of a tile of a scale.
const TILE: f64 = 12.0;

/// The last periods of each channel: the series, and under it a strip for each head, of competition and of allocation.
///
/// # Errors
/// Whatever drawing refuses.
pub fn flows(report: &BacktestReport, found: &Diagnostics) -> Result<String> {
    const HEAD: f64 = 54.0;
    const SERIES: f64 = 92.0;
    let all = found.memory_gains.len();
    let heads: Vec<usize> = (0..all.min(HEADS)).map(|place| place * all / all.min(HEADS)).collect();
    let channels: Range<usize> = 0..shown(found).len().min(CHANNELS);
    let strips = heads.len() as f64 * (STRIP + 2.0);
    let block = 24.0 + SERIES + 2.0 * (strips + 8.0) + 44.0;
    let height = HEAD + block * channels.len() as f64;
    let weights = || channels.clone().flat_map(|index| found.channels[index].competition.iter().flatten().copied());
    let farthest = high(weights().map(|weight| weight.ln().abs()), 0.99).max(1e-6);
    let shares = || channels.clone().flat_map(|index| found.channels[index].allocation.iter().flatten().copied());
    let (least, most) = (-high(shares().map(|share| -share), 0.99), high(shares(), 0.99));
    let allocation = |share: f32| {
        let part = f64::from((share - least) / (most - least).max(1e-6)).clamp(0.0, 1.0);
        (part * SHADES).round() / SHADES
    };
    picture(WIDTH as u32, height as u32, "Attention's competition and allocation under the series", |canvas| {
        scales(canvas, farthest, (least, most))?;
        for index in channels.clone() {
            let channel = &found.channels[index];
            let top = HEAD + block * index as f64;
            let frame = Frame {
                x: (LEFT, WIDTH - 12.0),
                y: (top + 24.0, top + 24.0 + SERIES),
                over: (found.flow_rows.start as f64, found.flow_rows.end as f64),
                up: room(channel.measured.iter().map(|value| f64::from(*value))),
            };
            canvas.text(&channel_title(report, index), (LEFT, top + 10.0), 13.0, INK, Anchor::Start, true)?;
            canvas.scale(&frame, 4, true)?;
            let measured = channel.measured.iter().enumerate();
            let points = measured.map(|(row, value)| frame.at(frame.over.0 + row as f64 + 0.5, f64::from(*value)));
            canvas.line(points, INK, 1.3)?;
            let mut y = frame.y.1 + 8.0;
            for (name, strips) in [("competition", &channel.competition), ("allocation", &channel.allocation)] {
                for (place, &head) in heads.iter().enumerate() {
                    let gain = found.memory_gains[head];
                    let middle = y + STRIP / 2.0;
                    let label = if name == "competition" { memory(report, gain) } else { String::new() };
                    if place == 0 {
                        canvas.text(name, (8.0, middle), 11.0, INK, Anchor::Start, false)?;
                    }
                    canvas.text(&label, (LEFT - 8.0, middle), 11.0, MUTED, Anchor::End, false)?;
                    let frame = Frame { y: (y, y + STRIP), ..frame };
                    if name == "competition" {
                        strip(canvas, &frame, &strips[head], |weight| shade(weight.ln().into(), farthest.into()))?;
                    } else {
                        strip(canvas, &frame, &strips[head], |share| (GREEN, allocation(share)))?;
                    }
                    y += STRIP + 2.0;
                }
                y += 8.0;
            }
            let frame = Frame { y: (frame.y.0, y - 4.0), ..frame };
            canvas.base(&frame, &axis::rows(report, found, &found.flow_rows, 7), true)?;
        }
        Ok(())
    })
}

/// A head's memory.
fn memory(report: &BacktestReport, gain: f32) -> String {
    if gain > 0.0 {
        let rounded = ((1.0 / gain).round() as u64).saturating_mul(report.interval_ms);
        // One unit is enough for a label.
        show_ms(rounded).split_inclusive(' ').take(2).collect::<String>().trim_end().to_owned()
    } else {
        "infinite".to_owned()
    }
}

/// Means of values over columns, as tiles; equal neighbours are one.
fn strip(canvas: &Canvas, frame: &Frame, values: &[f32], shade: impl Fn(f32) -> (RGBColor, f64)) -> Result<()> {
    let columns = values.len().min(COLUMNS);
    let row = |column: usize| column * values.len() / columns.max(1);
    let mean = |column: usize| {
        let known: Vec<f32> = values[row(column)..row(column + 1)].iter().copied().filter(|x| x.is_finite()).collect();
        (!known.is_empty()).then(|| shade(known.iter().sum::<f32>() / known.len() as f32))
    };
    let mut begin = 0;
    while begin < columns {
        let first = mean(begin);
        let end = (begin + 1..columns).find(|column| mean(*column) != first).unwrap_or(columns);
        let place = |column: usize| frame.at(frame.over.0 + row(column) as f64, 0.0).0;
        if let Some((color, opacity)) = first.filter(|shade| shade.1 > 0.0) {
            canvas.tile((place(begin), frame.y.0), (place(end), frame.y.1), color, opacity)?;
        }
        begin = end;
    }
    canvas.line([(frame.x.0, frame.y.1 + 1.0), (frame.x.1, frame.y.1 + 1.0)], super::canvas::RULE, 1.0)?;
    Ok(())
}

/// The colour of a weight, of its logarithm, where the farthest is full, and how full it is.
pub(super) fn shade(log: f64, farthest: f64) -> (RGBColor, f64) {
    let part = ((log / farthest).clamp(-1.0, 1.0) * SHADES).round() / SHADES;
    (if part < 0.0 { ACCENT } else { WARM }, part.abs())
}

/// What the shades of weights mean, from a place to the right; returns where it ends.
pub(super) fn scale(canvas: &Canvas, (mut x, y): (f64, f64), name: &str, farthest: f64) -> Result<f64> {
    let steps = SHADES as i32;
    let label = |text: &str, x: f64| canvas.text(text, (x, y), LABEL, INK, Anchor::Start, false);
    let name = format!("{name} ×{:.2}", (-farthest).exp());
    label(&name, x)?;
    x += 6.7 * name.chars().count() as f64 + 10.0;
    for step in (-steps..=steps).step_by(2) {
        let (color, opacity) = shade(f64::from(step), SHADES);
        canvas.tile((x, y - 6.0), (x + TILE, y + 6.0), color, opacity)?;
        x += TILE;
    }
    label(&format!("×{:.2}", farthest.exp()), x + 8.0)?;
    Ok(x + 8.0)
}

/// What the shades mean.
fn scales(canvas: &Canvas, farthest: f32, (least, most): (f32, f32)) -> Result<()> {
    let y = 14.0;
    let steps = SHADES as i32;
    let label = |text: &str, x: f64, anchor: Anchor| canvas.text(text, (x, y), LABEL, INK, anchor, false);
    let mut x = scale(canvas, (LEFT, y), "weight", farthest.into())? + 112.0;
    label(&format!("share {least:.2}"), x, Anchor::Start)?;
    x += 76.0;
    for shade in (0..=steps).step_by(2) {
        canvas.tile((x, y - 6.0), (x + TILE, y + 6.0), GREEN, f64::from(shade) / SHADES)?;
        x += TILE;
    }
    label(&format!("{most:.2}"), x + 8.0, Anchor::Start)
}

/// A high quantile of the finite values; 0 without any.
pub(super) fn high(values: impl Iterator<Item = f32>, level: f64) -> f32 {
    let mut sorted: Vec<f32> = values.filter(|value| value.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    sorted.get((sorted.len().saturating_sub(1) as f64 * level).round() as usize).copied().unwrap_or(0.0)
}
