//! How the training went.

use anyhow::Result;

use super::axis;
use super::canvas::{ACCENT, Anchor, Frame, INK, LABEL, MUTED, OTHERS, WIDTH, picture};
use super::room;
use crate::train::EPOCH_STEPS;
use crate::train::learning::Learning;

/// Loss of each step's batch, and of each epoch on the validation rows.
///
/// # Errors
/// Whatever drawing refuses.
pub fn curves(learning: &Learning) -> Result<String> {
    const HEIGHT: f64 = 300.0;
    let epochs: Vec<(f64, f64)> = std::iter::once(&learning.start)
        .chain(&learning.epochs)
        .enumerate()
        .map(|(epoch, validation)| ((epoch * EPOCH_STEPS) as f64, validation.loss))
        .collect();
    let losses = || learning.losses.iter().map(|loss| f64::from(*loss));
    let frame = Frame {
        x: (52.0, WIDTH - 12.0),
        y: (36.0, HEIGHT - 46.0),
        over: (0.0, learning.losses.len().max(1) as f64),
        up: room(losses().chain(epochs.iter().map(|epoch| epoch.1))),
    };
    picture(WIDTH as u32, HEIGHT as u32, "Loss in training and on validation", |canvas| {
        let names = [("a step's batch", OTHERS[0]), ("validation", ACCENT)];
        canvas.legend((52.0, 14.0), &names.map(|(name, color)| (name.to_owned(), color)))?;
        canvas.scale(&frame, 5, true)?;
        let marks: Vec<_> = axis::scale(frame.over, 8).marks.into_iter().filter(|mark| mark.0.fract() == 0.0).collect();
        canvas.base(&frame, &marks, true)?;
        let middle = (frame.x.0 + frame.x.1) / 2.0;
        canvas.text("step", (middle, HEIGHT - 12.0), LABEL, MUTED, Anchor::Middle, false)?;
        canvas.line(losses().enumerate().map(|(step, loss)| frame.at(step as f64 + 0.5, loss)), OTHERS[0], 1.2)?;
        canvas.line(epochs.iter().map(|&(step, loss)| frame.at(step, loss)), ACCENT, 2.2)?;
        for &(step, loss) in &epochs {
            canvas.dot(frame.at(step, loss), 3.0, ACCENT)?;
        }
        if let Some(&(step, loss)) = epochs.get(learning.kept) {
            let (x, y) = frame.at(step, loss);
            canvas.circle((x, y), 5.0, ACCENT)?;
            let anchor = if x > frame.x.1 - 60.0 { Anchor::End } else { Anchor::Start };
            canvas.text(
                "kept",
                (x + if x > frame.x.1 - 60.0 { -9.0 } else { 9.0 }, y - 13.0),
                LABEL,
                INK,
                anchor,
                false,
            )?;
        }
        Ok(())
    })
}
