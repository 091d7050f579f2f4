//! A back-test as one self-contained HTML file: figures as inline SVG, tables of every measure, nothing loaded from elsewhere.

pub mod axis;
pub mod canvas;
pub mod figure;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use crate::backtest::{BacktestReport, MODEL};
use crate::file::write_atomic;
use crate::metrics::Scores;
use canvas::escape;

const STYLE: &str = "
:root{color-scheme:light}
body{margin:0 auto;padding:2.5rem 1.5rem 4rem;max-width:60rem;background:#fff;color:#1f2933;
 font:16px/1.55 system-ui,Roboto,Helvetica,Arial,sans-serif}
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.15rem;margin:2.6rem 0 .4rem}
p{margin:.3rem 0 1rem;max-width:46rem}.quiet{color:#6b7785}
svg{max-width:100%;height:auto;display:block}
.cards{display:flex;flex-wrap:wrap;gap:2.5rem;margin:1.6rem 0}
.card b{display:block;font-size:2rem;line-height:1.2;color:#005f9e;font-weight:600}.card.worse b{color:#6b7785}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem;margin:.4rem 0 1.2rem}
th,td{text-align:right;padding:.28rem .9rem;border-bottom:1px solid #e7eaee;white-space:nowrap}
th{font-weight:500;color:#6b7785}th:first-child,td:first-child{text-align:left;padding-left:0;width:13rem;white-space:normal}
tr.own td:first-child{color:#005f9e;font-weight:600}td.best{font-weight:700}
";

/// Writes the report; see [`html`].
///
/// # Errors
/// When drawing or writing fails; a report that was there stays.
pub fn write(path: &Path, model: &str, report: &BacktestReport) -> Result<()> {
    write_atomic(path, html(model, report)?.as_bytes())
}

/// The report as HTML; `model` is what the reader knows the model by.
///
/// # Errors
/// When drawing fails.
pub fn html(model: &str, report: &BacktestReport) -> Result<String> {
    let channels: Vec<usize> = (0..report.columns.len()).collect();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Flowcast back-test of {0}</title><style>{STYLE}</style></head><body>\n\
         <h1>Back-test of {0}</h1>\n<p class=\"quiet\">{1}</p>\n",
        escape(model),
        escape(&setting(report)),
    );
    cards(&mut page, report);
    page.push_str("<h2>Forecasts beside what came</h2>\n<p>Held-out days that training never saw. The dashed line is the moment of the forecast.</p>\n");
    page.push_str(&figure::forecasts(report, &channels)?);
    page.push_str(
        "<h2>Error by time ahead</h2>\n<p>Mean absolute error at each single step, divided by that of repeating the last season in the \
         training part (MASE), mean over channels.</p>\n",
    );
    page.push_str(&figure::error_curves(report)?);
    page.push_str("<h2>All methods</h2>\n<p>Mean over channels and over the steps from the first to the one named. The best of each column is bold. MASE: mean absolute error over that of repeating the last season in the training part. WQL: pinball loss over the quantiles, by the mean size of the values; a point forecast counts as all of its quantiles.</p>\n");
    let methods: Vec<(&str, Vec<Scores>)> = report
        .methods()
        .map(|(name, horizons, _)| (name, horizons.iter().map(|horizon| horizon.up_to).collect()))
        .collect();
    table(&mut page, report, "MASE", &methods, |scores| scores.mase);
    table(&mut page, report, "WQL", &methods, |scores| scores.wql);
    if report.overall.coverage80.is_some() {
        coverage(&mut page, report);
    }
    page.push_str("<h2>Each channel</h2>\n<p>Mean absolute error in the channel's unit, over the steps from the first to the one named.</p>\n");
    for (index, (name, channel)) in report.channels.iter().enumerate() {
        let own = channel.horizons.iter().map(|horizon| horizon.up_to).collect();
        let theirs = channel
            .baselines
            .iter()
            .map(|(name, method)| (name.as_str(), method.horizons.iter().map(|horizon| horizon.up_to).collect()));
        let methods: Vec<(&str, Vec<Scores>)> = std::iter::once((MODEL, own)).chain(theirs).collect();
        let unit = report.units.get(index).filter(|unit| !unit.is_empty());
        let title = unit.map_or_else(|| name.clone(), |unit| format!("{name}, {unit}"));
        table(&mut page, report, &title, &methods, |scores| Some(scores.mae));
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

fn setting(report: &BacktestReport) -> String {
    format!(
        "{} forecasts of {} channel{}, one every {}, over the last {} of {} rows; a sample every {}. The model streamed every row from \
         the first through the code that runs on the device.",
        report.origins,
        report.columns.len(),
        if report.columns.len() == 1 { "" } else { "s" },
        report.ahead(report.stride),
        report.rows - report.test_start,
        report.rows,
        report.ahead(1),
    )
}

/// How much smaller the model's MASE is than that of the best baseline, at each horizon.
fn cards(page: &mut String, report: &BacktestReport) {
    page.push_str("<div class=\"cards\">");
    for (index, horizon) in report.horizons.iter().enumerate() {
        let best = report
            .baselines
            .iter()
            .filter_map(|(name, method)| Some((name, method.horizons[index].up_to.mase?)))
            .min_by(|left, right| left.1.total_cmp(&right.1));
        if let (Some(own), Some((name, best))) = (horizon.up_to.mase, best)
            && best > 0.0
        {
            let change = 100.0 * (own / best - 1.0);
            let (sign, class) = if change < 0.0 { ("−", "card") } else { ("+", "card worse") };
            let _ = write!(
                page,
                "<div class=\"{class}\"><b>{sign}{:.0} %</b>error up to {}<br><span class=\"quiet\">against {}, the best baseline</span></div>",
                change.abs(),
                report.ahead(horizon.steps),
                escape(&name.replace('_', " ")),
            );
        }
    }
    page.push_str("</div>\n");
}

fn heads(page: &mut String, report: &BacktestReport, title: &str) {
    let _ = write!(page, "<div class=\"scroll\"><table><tr><th>{}</th>", escape(title));
    for horizon in &report.horizons {
        let _ = write!(page, "<th>{}</th>", report.ahead(horizon.steps));
    }
    page.push_str("</tr>\n");
}

fn table(
    page: &mut String,
    report: &BacktestReport,
    title: &str,
    methods: &[(&str, Vec<Scores>)],
    measure: impl Fn(&Scores) -> Option<f64>,
) {
    heads(page, report, title);
    for (name, scores) in methods {
        let class = if *name == MODEL { " class=\"own\"" } else { "" };
        let _ = write!(page, "<tr{class}><td>{}</td>", escape(&name.replace('_', " ")));
        for (column, score) in scores.iter().enumerate() {
            let value = measure(score);
            let best = methods.iter().filter_map(|(_, scores)| measure(&scores[column])).min_by(f64::total_cmp);
            let class = if value.is_some() && value == best { " class=\"best\"" } else { "" };
            let _ = write!(page, "<td{class}>{}</td>", crate::backtest::show(value));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

fn coverage(page: &mut String, report: &BacktestReport) {
    heads(page, report, "80 % band");
    let mut row = |name: &str, measure: &dyn Fn(&Scores) -> Option<f64>| {
        let _ = write!(page, "<tr><td>{name}</td>");
        for horizon in &report.horizons {
            let value =
                measure(&horizon.up_to).map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", 100.0 * share));
            let _ = write!(page, "<td>{value}</td>");
        }
        page.push_str("</tr>\n");
    };
    row("values within", &|scores| scores.coverage80);
    page.push_str("</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::tests::report_of_a_repeater;

    #[test]
    fn one_file_without_outside_resources() {
        let page = html("a<b>.flow", &report_of_a_repeater()).unwrap();
        assert!(page.contains("a&lt;b&gt;.flow") && !page.contains("a<b>"));
        let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "src=", "url(", "@import", "<script", "<link"] {
            assert!(!without_namespace.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(!page.contains("NaN") && !page.contains("inf"), "no broken number");
    }

    #[test]
    fn figures_draw_every_method_and_scale_down() {
        let report = report_of_a_repeater();
        let svg = figure::error_curves(&report).unwrap();
        for (name, _) in &report.curves {
            assert!(svg.contains(&name.replace('_', " ")), "{name}");
        }
        assert!(svg.starts_with("<svg role=\"img\" width=\"960\""), "{}", &svg[..80]);
        assert!(svg.contains("viewBox=\"0 0 7680 3040\""));
        assert!(figure::forecasts(&report, &[7]).is_err());
    }
}
