//! A quiet drawing surface over plotters' SVG backend, in pixels of f64.
//!
//! The backend's coordinates are whole numbers, which shows in lines as steps. So everything is drawn `FINE` times as large, and the
//! picture's size is set back at the end; its `viewBox` stays.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const FINE: f64 = 8.0;
/// plotters sets a font's size 1.24 times smaller in SVG.
const FONT_FACTOR: f64 = 1.24;
const FONTS: &str = "system-ui, Roboto, Helvetica, Arial, sans-serif";

/// Text and measured values.
pub const INK: RGBColor = RGBColor(31, 41, 51);
/// Labels and what stands back.
pub const MUTED: RGBColor = RGBColor(107, 119, 133);
/// Rules behind the data.
pub const RULE: RGBColor = RGBColor(231, 234, 238);
/// The model.
pub const ACCENT: RGBColor = RGBColor(0, 95, 158);
/// Baselines, in their order; told apart by their labels too.
pub const OTHERS: [RGBColor; 5] = [
    RGBColor(148, 158, 170),
    RGBColor(196, 110, 38),
    RGBColor(176, 164, 138),
    RGBColor(122, 98, 160),
    RGBColor(58, 140, 110),
];

/// Where a text stands beside its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// The text begins there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

/// A part of the picture and the values that it spans.
#[derive(Clone, Copy)]
pub struct Frame {
    /// Left and right edge in pixels.
    pub x: (f64, f64),
    /// Top and bottom edge in pixels.
    pub y: (f64, f64),
    /// Values at the left and the right edge.
    pub over: (f64, f64),
    /// Values at the bottom and the top edge.
    pub up: (f64, f64),
}

impl Frame {
    /// The pixel of a value.
    pub fn at(&self, over: f64, up: f64) -> (f64, f64) {
        let part = |value: f64, range: (f64, f64)| (value - range.0) / (range.1 - range.0);
        (self.x.0 + part(over, self.over) * (self.x.1 - self.x.0), self.y.1 - part(up, self.up) * (self.y.1 - self.y.0))
    }
}

/// Draws one picture.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

type Drawn = anyhow::Result<()>;

/// Draws a picture of this size with `draw`, and returns it as SVG with `title` for those who cannot see it.
///
/// # Errors
/// Whatever plotters refuses.
pub fn picture(
    width: u32,
    height: u32,
    title: &str,
    draw: impl FnOnce(&Canvas) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut svg = String::new();
    let fine = |size: u32| (f64::from(size) * FINE) as u32;
    {
        let area = SVGBackend::with_string(&mut svg, (fine(width), fine(height))).into_drawing_area();
        area.fill(&WHITE).map_err(refused)?;
        let canvas = Canvas { area };
        draw(&canvas)?;
        canvas.area.present().map_err(refused)?;
    }
    let head = format!(r#"<svg width="{}" height="{}""#, fine(width), fine(height));
    let sized = format!(r#"<svg role="img" width="{width}" height="{height}""#);
    let svg = svg.replacen(&head, &sized, 1);
    Ok(svg.replacen(">\n", &format!(">\n<title>{}</title>\n", escape(title)), 1))
}

/// Text for XML and HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn refused<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow::anyhow!("drawing: {error}")
}

fn fine(point: (f64, f64)) -> (i32, i32) {
    ((point.0 * FINE).round() as i32, (point.1 * FINE).round() as i32)
}

fn stroke(color: RGBColor, width: f64) -> ShapeStyle {
    ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: (width * FINE).round() as u32 }
}

impl Canvas<'_> {
    /// A line through points; a NaN breaks it.
    pub fn line(&self, points: impl IntoIterator<Item = (f64, f64)>, color: RGBColor, width: f64) -> Drawn {
        let points: Vec<(f64, f64)> = points.into_iter().collect();
        for run in points.split(|(x, y)| !(x.is_finite() && y.is_finite())).filter(|run| run.len() > 1) {
            let path: Vec<(i32, i32)> = run.iter().copied().map(fine).collect();
            self.area.draw(&PathElement::new(path, stroke(color, width))).map_err(refused)?;
        }
        Ok(())
    }

    /// A line of dashes.
    pub fn dashes(&self, from: (f64, f64), to: (f64, f64), color: RGBColor) -> Drawn {
        const DASH: f64 = 3.0;
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let point = |along: f64| {
            let part = (along / length).min(1.0);
            (from.0 + part * (to.0 - from.0), from.1 + part * (to.1 - from.1))
        };
        let mut along = 0.0;
        while along < length {
            self.line([point(along), point(along + DASH)], color, 1.0)?;
            along += 2.0 * DASH;
        }
        Ok(())
    }

    /// An area between two lines over the same places: `(x, low, high)` in pixels.
    pub fn band(&self, points: &[(f64, f64, f64)], color: RGBColor, opacity: f64) -> Drawn {
        let low = points.iter().map(|&(x, low, _)| fine((x, low)));
        let high = points.iter().rev().map(|&(x, _, high)| fine((x, high)));
        let outline: Vec<(i32, i32)> = low.chain(high).collect();
        self.area.draw(&Polygon::new(outline, color.mix(opacity).filled())).map_err(refused)
    }

    /// A filled dot.
    pub fn dot(&self, at: (f64, f64), radius: f64, color: RGBColor) -> Drawn {
        self.area.draw(&Circle::new(fine(at), (radius * FINE) as i32, color.filled())).map_err(refused)
    }

    /// A text whose middle height is at the point.
    pub fn text(&self, text: &str, at: (f64, f64), size: f64, color: RGBColor, anchor: Anchor, bold: bool) -> Drawn {
        let side = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let weight = if bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = FontDesc::new(FontFamily::Name(FONTS), size * FONT_FACTOR * FINE, weight);
        let style = TextStyle::from(font).color(&color).pos(Pos::new(side, VPos::Center));
        self.area.draw(&Text::new(text.to_owned(), fine(at), style)).map_err(refused)
    }
}
