//! Debug probes at this machine, and writing through one.

use anyhow::{Context as _, Result, anyhow, bail};
use probe_rs::flashing::{DownloadOptions, FlashProgress, ProgressEvent, ProgressOperation};
use probe_rs::probe::DebugProbeSelector;
use probe_rs::probe::list::{Accessibility, Lister};
use probe_rs::{MemoryInterface as _, Permissions, Session};

use crate::hardware::Hardware;
use crate::output::Output;

/// What is at this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No probe.
    Nothing,
    /// Probes, and this user may use them.
    Probes(Vec<String>),
    /// Probes that this user may not use, and the commands that change it.
    Forbidden(Vec<String>, String),
}

/// Looks for probes.
pub fn look() -> Found {
    let probes = Lister::new().list_all_with_access();
    let (open, shut): (Vec<_>, Vec<_>) =
        probes.iter().partition(|probe| probe.accessibility == Accessibility::Accessible);
    let names = |probes: &[&probe_rs::probe::list::ProbeListItem]| -> Vec<String> {
        probes.iter().map(|probe| probe.info.to_string()).collect()
    };
    match (&open[..], &shut[..]) {
        ([], []) => Found::Nothing,
        ([], shut) => Found::Forbidden(names(shut), rule(shut.iter().map(|probe| probe.info.vendor_id))),
        (open, _) => Found::Probes(names(open)),
    }
}

/// Commands that give whoever sits at the machine the probes of these vendors.
fn rule(vendors: impl Iterator<Item = u16>) -> String {
    let mut vendors: Vec<_> = vendors.collect();
    vendors.sort_unstable();
    vendors.dedup();
    let lines: String = vendors
        .iter()
        .map(|vendor| format!(r#"SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor:04x}", TAG+="uaccess"\n"#))
        .collect();
    format!(
        "printf '{lines}' | sudo tee /etc/udev/rules.d/69-flowcast.rules && sudo udevadm control --reload && sudo udevadm trigger"
    )
}

/// Where to get a probe, for whoever has none.
pub const NONE: &str =
    "connect one by USB (a nRF52840-DK has one on board; else a CMSIS-DAP, J-Link or ST-Link probe, or a second Pico)";

/// A board at a probe.
pub struct Board {
    session: Session,
    chip: &'static str,
}

impl Board {
    /// Attaches to a board.
    ///
    /// # Errors
    /// No probe or several, no permission, no board of that chip.
    pub fn attach(board: &Hardware, probe: Option<&DebugProbeSelector>) -> Result<Self> {
        let lister = Lister::new();
        let probe = match (probe, look()) {
            (Some(selector), _) => {
                lister.open(selector.clone()).with_context(|| format!("the debug probe {selector}"))?
            }
            (None, Found::Nothing) => bail!("no debug probe was found; {NONE}"),
            (None, Found::Forbidden(names, rule)) => bail!("no permission for {}; run: {rule}", names.join(", ")),
            (None, Found::Probes(names)) => match (&names[..], &lister.list_all()[..]) {
                ([_], infos) => {
                    let open = infos.iter().find_map(|info| info.open().ok());
                    open.ok_or_else(|| anyhow!("the debug probe {} does not open", names.join(", ")))?
                }
                _ => bail!("found {} debug probes ({}), name one with --probe", names.len(), names.join("; ")),
            },
        };
        let session = probe
            .attach(board.chip, Permissions::default())
            .with_context(|| format!("no {} answers the debug probe", board.chip))?;
        Ok(Self { session, chip: board.chip })
    }

    /// Reads memory.
    ///
    /// # Errors
    /// The probe's.
    pub fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<()> {
        let mut core = self.session.core(0)?;
        core.read(address, bytes).with_context(|| format!("reading {} at {address:#010x}", self.chip))
    }

    /// Writes parts of the flash, in sectors that are erased for them, and reads them back.
    ///
    /// # Errors
    /// What was written does not read back.
    pub fn write(&mut self, parts: &[(u64, &[u8])], output: &Output) -> Result<()> {
        self.commit(parts, false, output)
    }

    /// The same into flash that is erased, whatever lies beside it.
    ///
    /// # Errors
    /// As [`Board::write`].
    pub fn write_erased(&mut self, parts: &[(u64, &[u8])], output: &Output) -> Result<()> {
        self.commit(parts, true, output)
    }

    fn commit(&mut self, parts: &[(u64, &[u8])], erased: bool, output: &Output) -> Result<()> {
        let mut loader = self.session.target().flash_loader();
        for (address, bytes) in parts {
            loader.add_data(*address, bytes)?;
        }
        let bar = output.progress(parts.iter().map(|(_, bytes)| bytes.len() as u64).sum(), "writing");
        let mut options = DownloadOptions::default();
        options.verify = true;
        options.skip_erase = erased;
        options.progress = FlashProgress::new(|event| {
            if let ProgressEvent::Progress { operation: ProgressOperation::Program, size, .. } = event {
                bar.inc(size);
            }
        });
        loader.commit(&mut self.session, options).with_context(|| format!("writing the flash of {}", self.chip))?;
        bar.finish_and_clear();
        Ok(())
    }

    /// Starts what was written.
    ///
    /// # Errors
    /// The probe's.
    pub fn reset(&mut self) -> Result<()> {
        self.session.core(0)?.reset().context("resetting the board")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_each_vendor_once() {
        let rule = rule([0x2E8A, 0x1366, 0x2E8A].into_iter());
        let lines = r#"printf 'SUBSYSTEM=="usb", ATTR{idVendor}=="1366", TAG+="uaccess"\nSUBSYSTEM=="usb", ATTR{idVendor}=="2e8a", TAG+="uaccess"\n'"#;
        assert!(rule.starts_with(&format!("{lines} | sudo tee /etc/udev/rules.d/69-flowcast.rules && ")), "{rule}");
    }
}
