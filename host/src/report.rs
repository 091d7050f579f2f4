//! The report.
use crate::backtest::BacktestReport;
/// x
pub fn write(_path: &std::path::Path, _title: &str, _report: &BacktestReport) -> anyhow::Result<()> {
    Ok(())
}
