//! What an error does not mean: rows that trained a model, on which errors and surprises are smaller than they will be, and readings
//! that stand still.

use std::ops::Range;

use flowcast_core::format::Header;

use crate::data::Series;
use crate::data::fault::{self, Fate};

/// Of these rows, those up to the one after the last that trained the model; empty where model or data tell no times.
fn seen(header: &Header, series: &Series, rows: &Range<usize>) -> Range<usize> {
    let until = i64::try_from(header.seen_until_ms).unwrap_or(i64::MAX);
    let Some(start) = series.start.filter(|_| until > 0) else { return rows.start..rows.start };
    let unseen = (until - start.as_millisecond()).max(0) as u64;
    let unseen = usize::try_from(unseen.div_ceil(series.interval_ms.max(1))).unwrap_or(usize::MAX);
    rows.start..unseen.clamp(rows.start, rows.end)
}

/// The first row that trained nothing; 0 where model or data tell no times.
pub fn until(header: &Header, series: &Series) -> usize {
    seen(header, series, &(0..series.rows())).end
}

/// A line where held-out rows are among those that trained the model.
pub fn scored(header: &Header, series: &Series, held_out: Range<usize>) -> Option<String> {
    let seen = seen(header, series, &held_out);
    (!seen.is_empty()).then(|| {
        format!(
            "{} of the {} rows that are scored, those before {}, trained the model: its errors on them flatter it",
            seen.len(),
            held_out.len(),
            series.when(seen.end)
        )
    })
}

/// A line where held-out readings are scored that the device takes as missing, because they stand still.
pub fn stuck(header: &Header, model: &[u8], series: &Series, held_out: Range<usize>) -> Option<String> {
    let of_channel = |index: usize| {
        let channel = header.channel(model, index)?;
        let fates = fault::fates(&channel, series.values.get(index)?);
        Some(fates.get(held_out.clone())?.iter().filter(|fate| **fate == Fate::Stuck).count())
    };
    let count: usize = (0..usize::from(header.targets)).filter_map(of_channel).sum();
    (count > 0).then(|| {
        format!(
            "{count} of the readings that are scored stand still for too long for the device, which takes them as missing: a dead sensor is no \
             error of a forecast, one that rests is"
        )
    })
}

/// A line where rows that trained the model only warm it up, or where all did and are counted nevertheless.
pub fn skipped(header: &Header, series: &Series) -> Option<String> {
    let seen = seen(header, series, &(0..series.rows()));
    (!seen.is_empty()).then(|| {
        let (count, rows) = (seen.len(), series.rows());
        if count == rows {
            format!("all {rows} rows trained the model: what is counted on them flatters it")
        } else {
            format!(
                "{count} of the {rows} rows, those before {}, trained the model: they are not counted",
                series.when(seen.end)
            )
        }
    })
}

/// A line where streamed rows are among those that trained the model.
pub fn streamed(header: &Header, series: &Series) -> Option<String> {
    let seen = seen(header, series, &(0..series.rows()));
    (!seen.is_empty()).then(|| {
        format!("the rows before {} trained the model: what comes in them surprises it less", series.when(seen.end))
    })
}
