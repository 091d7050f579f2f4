//! Debug probes at this machine, and writing through one.

use anyhow::{Context as _, Result, anyhow, bail};
use probe_rs::Permissions;
use probe_rs::flashing::{DownloadOptions, FlashProgress, ProgressEvent};
use probe_rs::probe::DebugProbeSelector;
use probe_rs::probe::list::{Accessibility, Lister};

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

/// Writes parts to a board's flash, reads them back, and resets the board.
///
/// # Errors
/// No probe or several, no permission, no board of that chip, or what was written does not read back.
pub fn write(
    board: &Hardware,
    probe: Option<&DebugProbeSelector>,
    parts: &[(u64, &[u8])],
    output: &Output,
) -> Result<()> {
    let lister = Lister::new();
    let probe = match (probe, look()) {
        (Some(selector), _) => lister.open(selector.clone()).with_context(|| format!("the debug probe {selector}"))?,
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
    let mut session = probe
        .attach(board.chip, Permissions::default())
        .with_context(|| format!("no {} answers the debug probe", board.chip))?;
    let mut loader = session.target().flash_loader();
    for (address, bytes) in parts {
        loader.add_data(*address, bytes)?;
    }
    let bar = output.progress(parts.iter().map(|(_, bytes)| bytes.len() as u64).sum(), "writing");
    let mut options = DownloadOptions::default();
    options.verify = true;
    options.progress = FlashProgress::new(|event| {
        if let ProgressEvent::Progress { operation: probe_rs::flashing::ProgressOperation::Program, size, .. } = event {
            bar.inc(size);
        }
    });
    loader.commit(&mut session, options).with_context(|| format!("writing the flash of {}", board.chip))?;
    bar.finish_and_clear();
    session.core(0)?.reset().context("resetting the board")?;
    Ok(())
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
