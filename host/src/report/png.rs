//! A figure as PNG: the same SVG, rendered with a font that the program carries, so that it needs nothing of the system and
//! gives the same pixels everywhere.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// Pixels for each of the figure's.
const SCALE: f32 = 2.0;

/// Renders figures.
pub struct Renderer {
    options: Options<'static>,
}

impl Renderer {
    /// Reads the font, once for all figures.
    pub fn new() -> Renderer {
        let mut fonts = fontdb::Database::new();
        for font in [dejavu::sans::regular(), dejavu::sans::bold()] {
            fonts.load_font_source(fontdb::Source::Binary(Arc::new(font)));
        }
        // Wherever none of a figure's fonts is known.
        fonts.set_sans_serif_family("DejaVu Sans");
        Renderer {
            options: Options { fontdb: Arc::new(fonts), font_family: "DejaVu Sans".to_owned(), ..Options::default() },
        }
    }

    /// The PNG of an SVG.
    ///
    /// # Errors
    /// When it is no SVG.
    pub fn render(&self, svg: &str) -> Result<Vec<u8>> {
        let tree = Tree::from_str(svg, &self.options).context("a figure as PNG")?;
        let size = tree.size().to_int_size().scale_by(SCALE).context("a figure without a size")?;
        let mut pixels = Pixmap::new(size.width(), size.height()).context("a figure without a size")?;
        resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
        pixels.encode_png().context("a figure as PNG")
    }
}

impl Default for Renderer {
    fn default() -> Renderer {
        Renderer::new()
    }
}
