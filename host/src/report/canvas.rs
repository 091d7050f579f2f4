//! A quiet drawing surface over plotters' SVG backend, in pixels of f64.
//!
//! The backend's coordinates are whole numbers, which shows in lines as steps. So everything is drawn `FINE` times as large, and the
//! picture's size is set back at the end; its `viewBox` stays.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{self, Scale};

/// Width of every figure.
pub const WIDTH: f64 = 960.0;
/// Size of labels.
pub const LABEL: f64 = 12.0;
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
/// What stands against the accent: losers of a competition turn to the accent, winners to this.
pub const WARM: RGBColor = RGBColor(196, 84, 0);
/// Shares of a whole.
pub const GREEN: RGBColor = RGBColor(0, 122, 92);
/// Baselines and other lines beside the model's, in their order: after Okabe and Ito, so that they differ for the colour
/// blind too; told apart by their labels as well.
pub const OTHERS: [RGBColor; 6] =
    [RGBColor(128, 138, 150), WARM, GREEN, RGBColor(168, 82, 136), RGBColor(158, 112, 0), RGBColor(62, 142, 196)];
/// Lines that are each other's equals.
pub const LINES: [RGBColor; 6] = [ACCENT, WARM, GREEN, OTHERS[3], OTHERS[4], OTHERS[0]];
/// Short to long.
pub const RAMP: [RGBColor; 4] =
    [RGBColor(240, 176, 64), RGBColor(214, 92, 60), RGBColor(150, 56, 120), RGBColor(52, 44, 132)];
/// Each colour on a dark page: every colour that a picture uses is here.
pub const DARK: [(RGBColor, RGBColor); 15] = [
    (WHITE, RGBColor(21, 25, 30)),
    (INK, RGBColor(226, 231, 236)),
    (MUTED, RGBColor(150, 161, 173)),
    (RULE, RGBColor(44, 51, 59)),
    (ACCENT, RGBColor(86, 180, 233)),
    (WARM, RGBColor(242, 140, 60)),
    (GREEN, RGBColor(52, 190, 150)),
    (OTHERS[0], RGBColor(142, 152, 164)),
    (OTHERS[3], RGBColor(222, 136, 188)),
    (OTHERS[4], RGBColor(226, 178, 60)),
    (OTHERS[5], RGBColor(130, 160, 235)),
    (RAMP[0], RGBColor(250, 200, 90)),
    (RAMP[1], RGBColor(240, 130, 96)),
    (RAMP[2], RGBColor(206, 112, 178)),
    (RAMP[3], RGBColor(146, 138, 240)),
];

/// As SVG and CSS write a colour.
pub fn hex(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

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

    /// A dot without a filling.
    pub fn circle(&self, at: (f64, f64), radius: f64, color: RGBColor) -> Drawn {
        self.area.draw(&Circle::new(fine(at), (radius * FINE) as i32, WHITE.filled())).map_err(refused)?;
        self.area.draw(&Circle::new(fine(at), (radius * FINE) as i32, stroke(color, 1.4))).map_err(refused)
    }

    /// A filled rectangle.
    pub fn tile(&self, from: (f64, f64), to: (f64, f64), color: RGBColor, opacity: f64) -> Drawn {
        let shape = Rectangle::new([fine(from), fine(to)], color.mix(opacity).filled());
        self.area.draw(&shape).map_err(refused)
    }

    /// Rules across the frame at round values, labelled at its left if wanted.
    pub fn rules(&self, frame: &Frame, marks: &[(f64, String)], labelled: bool) -> Drawn {
        for (value, label) in marks {
            let (_, y) = frame.at(frame.over.0, *value);
            self.line([(frame.x.0, y), (frame.x.1, y)], RULE, 1.0)?;
            if labelled {
                self.text(label, (frame.x.0 - 8.0, y), LABEL, MUTED, Anchor::End, false)?;
            }
        }
        Ok(())
    }

    /// Rules across the frame at about `wanted` round values, labelled at its left if wanted.
    pub fn scale(&self, frame: &Frame, wanted: usize, labelled: bool) -> Drawn {
        let Scale { marks, note } = axis::scale(frame.up, wanted);
        self.rules(frame, &marks, labelled)?;
        match note.filter(|_| labelled) {
            Some(note) => self.text(&note, (frame.x.0 + 4.0, frame.y.0 + 6.0), LABEL, MUTED, Anchor::Start, false),
            None => Ok(()),
        }
    }

    /// The frame's lower edge with marks; a label that would run out of the frame is left out.
    pub fn base(&self, frame: &Frame, marks: &[(f64, String)], labelled: bool) -> Drawn {
        self.line([(frame.x.0, frame.y.1), (frame.x.1, frame.y.1)], MUTED, 1.0)?;
        for (value, label) in marks {
            let (x, y) = frame.at(*value, frame.up.0);
            self.line([(x, y), (x, y + 4.0)], MUTED, 1.0)?;
            let half = 2.8 * label.chars().count() as f64;
            if labelled && x > frame.x.0 + half - 8.0 && x < frame.x.1 - half + 8.0 {
                self.text(label, (x, y + 15.0), LABEL, MUTED, Anchor::Middle, false)?;
            }
        }
        Ok(())
    }

    /// Names of lines, from a place to the right.
    pub fn legend(&self, at: (f64, f64), entries: &[(String, RGBColor)]) -> Drawn {
        let (mut x, y) = at;
        for (name, color) in entries {
            self.line([(x, y), (x + 18.0, y)], *color, 2.2)?;
            self.text(name, (x + 24.0, y), LABEL, INK, Anchor::Start, false)?;
            x += 48.0 + 6.4 * name.chars().count() as f64;
        }
        Ok(())
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
