//! Finished cells in a file beside the table, so that a long table goes on where it was interrupted.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::experiment::Cell;
use super::variant::Variant;
use crate::file::write_atomic;

/// Cells of one table, and of any other that had the same name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cells {
    cells: Vec<Cell>,
    /// Where they are kept, if anywhere.
    #[serde(skip)]
    path: Option<PathBuf>,
}

impl Cells {
    /// Those beside a table.
    ///
    /// # Errors
    /// The file is there and holds something else.
    pub fn beside(out: Option<&Path>) -> Result<Self> {
        let Some(out) = out else { return Ok(Self::default()) };
        let mut name = out.as_os_str().to_owned();
        name.push(".cells");
        let path = PathBuf::from(name);
        let mut cells = if path.exists() {
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            serde_json::from_slice(&bytes)
                .with_context(|| format!("{}: not cells of `flowcast ablate`: remove it", path.display()))?
        } else {
            Self::default()
        };
        cells.path = Some(path);
        Ok(cells)
    }

    /// A finished one.
    pub fn find(&self, identity: &str, variant: Variant, seed: u64) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.identity == identity && cell.variant == variant && cell.seed == seed)
    }

    /// All of them, in the order in which they were finished.
    pub fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter()
    }

    /// Keeps one more.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, cell: Cell) -> Result<()> {
        self.cells.push(cell);
        let Some(path) = &self.path else { return Ok(()) };
        write_atomic(path, &serde_json::to_vec_pretty(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::experiment::Scores;
    use super::*;

    #[test]
    fn a_finished_cell_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("table.json");
        let scores = Scores { mse: 0.1, mae: 0.2, mase: None };
        let cell = Cell {
            identity: "x".to_owned(),
            variant: Variant::Gru,
            seed: 2,
            parameters: 7,
            epoch: 1,
            validation: scores,
            test: scores,
            step_ms: 1.5,
        };
        Cells::beside(Some(&out)).unwrap().add(cell.clone()).unwrap();
        let cells = Cells::beside(Some(&out)).unwrap();
        assert_eq!(cells.find("x", Variant::Gru, 2), Some(&cell));
        assert_eq!(cells.find("x", Variant::Gru, 1), None);
        assert_eq!(cells.find("y", Variant::Gru, 2), None);
        std::fs::write(folder.path().join("table.json.cells"), b"{}").unwrap();
        let error = format!("{:#}", Cells::beside(Some(&out)).unwrap_err());
        assert!(error.contains("table.json.cells: not cells of"), "{error}");
    }
}
