//! A back-test as one self-contained HTML file: figures as inline SVG, tables of every measure, nothing loaded from elsewhere.

pub mod axis;
pub mod calibration;
pub mod canvas;
pub mod collect;
pub mod days;
pub mod figure;
pub mod flow;
pub mod learning;
pub mod memory;
pub mod passes;
pub mod png;
pub mod residual;

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};

use flowcast_core::forecaster::Inside;
use flowcast_core::format::Numeric;

use crate::backtest::{BacktestReport, MODEL};
use crate::config::TrainedModel;
use crate::data::Series;
use crate::file::write_atomic;
use crate::metrics::Scores;
use crate::output::Output;
use crate::plural::counted;
use canvas::{escape, hex};
use collect::Diagnostics;

/// Channels that the figures show, at most: the first ones.
const CHANNELS: usize = 6;

const STYLE: &str = "
:root{color-scheme:light dark;--page:#fff;--ink:#1f2933;--muted:#6b7785;--rule:#e7eaee;--accent:#005f9e}
body{margin:0 auto;padding:2.5rem 1.5rem 4rem;max-width:60rem;background:var(--page);color:var(--ink);
 font:16px/1.55 system-ui,Roboto,Helvetica,Arial,sans-serif}
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.15rem;margin:2.6rem 0 .4rem}
p{margin:.3rem 0 1rem;max-width:46rem}.quiet{color:var(--muted)}
figure{margin:0}
svg{max-width:100%;height:auto;display:block}
.cards{display:flex;flex-wrap:wrap;gap:2.5rem;margin:1.6rem 0}
.card b{display:block;font-size:2rem;line-height:1.2;color:var(--accent);font-weight:600}.card.worse b{color:var(--muted)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem;margin:.4rem 0 1.2rem}
th,td{text-align:right;padding:.28rem .9rem;border-bottom:1px solid var(--rule);white-space:nowrap}
th{font-weight:500;color:var(--muted)}th:first-child,td:first-child{text-align:left;padding-left:0;width:13rem;white-space:normal}
tr.own td:first-child{color:var(--accent);font-weight:600}td.best{font-weight:700}
";

/// Writes the report; see [`html`].
///
/// # Errors
/// When drawing or writing fails; a report that was there stays.
pub fn write(path: &Path, model: &str, report: &BacktestReport, found: &Diagnostics) -> Result<()> {
    write_atomic(path, html(model, report, &sections(report, found)?).as_bytes())
}

/// Writes every figure of the report as a PNG file into a folder, which is made if it is not there.
///
/// # Errors
/// When drawing or writing fails.
pub fn write_figures(folder: &Path, report: &BacktestReport, found: &Diagnostics) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let renderer = png::Renderer::new();
    for section in sections(report, found)? {
        write_atomic(&folder.join(format!("{}.png", section.name)), &renderer.render(&section.svg)?)?;
    }
    Ok(())
}

/// Collects what the figures show; `file` is the model's path and bytes.
///
/// The training's curves come from the trained model beside it, `MODEL.safetensors`, if that is what it was exported from.
///
/// # Errors
/// An interruption.
pub fn diagnose(
    model: &mut dyn Inside,
    series: &Series,
    report: &BacktestReport,
    (path, bytes): (&Path, &[u8]),
    output: &Output,
) -> Result<Diagnostics> {
    let header = model.header().clone();
    let scaling: Vec<(f32, f32)> = (0..usize::from(header.channels))
        .filter_map(|channel| header.channel(bytes, channel))
        .map(|channel| (channel.offset, channel.scale))
        .collect();
    let learning = || {
        let beside = path.with_extension("safetensors");
        let exported = TrainedModel::load(&beside).ok()?.to_flow_as(header.numeric).ok()?;
        // Calibrated weights differ from the trained ones.
        let alike = match header.numeric {
            Numeric::F32 => *exported == *bytes,
            Numeric::I8 => exported.get(..header.weights_start()) == bytes.get(..header.weights_start()),
        };
        if alike { TrainedModel::load_learning(&beside).ok()? } else { None }
    };
    Ok(Diagnostics { learning: learning(), ..collect::collect(model, series, report, &scaling, output)? })
}

/// A figure with what it is and how to read it.
#[derive(Debug, Clone)]
pub struct Section {
    /// Names its file.
    pub name: &'static str,
    /// Its heading; a section without one belongs to the one before.
    pub title: &'static str,
    /// How to read it.
    pub reading: String,
    /// The figure.
    pub svg: String,
}

/// Every figure, in the order of the report.
///
/// # Errors
/// When drawing fails.
pub fn sections(report: &BacktestReport, found: &Diagnostics) -> Result<Vec<Section>> {
    let channels: Vec<usize> = shown(found).collect();
    let promised = axis::share(found.promised());
    let mut sections = vec![
        Section {
            name: "forecasts",
            title: "Forecasts beside what came",
            reading: format!(
                "Held-out days that training never saw: right of the dashed line, the moment of the forecast, the black line should \
                 stay within the shaded band {promised} of the time."
            ),
            svg: figure::forecasts(report, &channels)?,
        },
        Section {
            name: "error",
            title: "Error by time ahead",
            reading: "Mean absolute error at each single step, divided by that of repeating the last season in the training part \
                      (MASE), mean over channels: the lower line is the better method, and below 1 beats last season."
                .to_owned(),
            svg: figure::error_curves(report)?,
        },
        Section {
            name: "calibration",
            title: "Calibration",
            reading: "How many values fell below each quantile: dots on the dashed diagonal are honest, a line flatter than it has \
                      too narrow a band, a steeper one too wide a band (a value that equals a quantile counts on the side \
                      nearer to the diagonal)."
                .to_owned(),
            svg: calibration::reliability(report, found)?,
        },
        Section {
            name: "coverage",
            title: "Coverage over time",
            reading: format!(
                "Share of values within the {promised} band over the tenth of the held-out time that ends there: a line that \
                 leaves the dashed one for long means that the device was too sure, or not sure enough."
            ),
            svg: calibration::coverage(report, found)?,
        },
        Section {
            name: "residuals",
            title: "Residuals over time",
            reading: format!(
                "Measured less forecast: the dark bars hold {promised} of the residuals and should fill the room between the two \
                 lines, which are the half widths that the device forecast."
            ),
            svg: residual::residuals(report, found)?,
        },
        Section {
            name: "memories",
            title: "What the device remembers",
            reading: "The seasonal memories after the last row, by phase: where the lines lie together every period is like the \
                      last, where they part the series has changed lately."
                .to_owned(),
            svg: memory::memories(report, found)?,
        },
        Section {
            name: "interval_factors",
            title: "How the device corrects its intervals",
            reading: "Factors of the band's half widths that the device has learned from its own misses: above ×1 it had been too \
                      sure and widens, below it narrows."
                .to_owned(),
            svg: memory::factors(report, found)?,
        },
    ];
    if found.channels.iter().any(|channel| !channel.made_of.is_empty()) {
        sections.push(Section {
            name: "experts",
            title: "Whom the device believes",
            reading: "What each forecast is made of after the last row, by steps ahead: the model's own, and what the device draws it \
                      towards because it was nearer lately: the linear path without the network, the last sample, the last few \
                      periods moved to it."
                .to_owned(),
            svg: memory::experts(report, found)?,
        });
    }
    if found.channels.iter().any(|channel| channel.passes.is_some()) {
        sections.push(Section {
            name: "days",
            title: "Which days attention reads",
            reading: days::reading(report, found),
            svg: days::days(report, found)?,
        });
    }
    if !found.memory_gains.is_empty() {
        sections.push(Section {
            name: "attention",
            title: "Which samples attention chose",
            reading: "A strip for each head, named by its memory: orange samples won the competition among the sources and weigh \
                      more than the past's mean, blue ones lost it; the greener a strip of allocation, the more that moment's \
                      forecast took from the past."
                .to_owned(),
            svg: flow::flows(report, found)?,
        });
    }
    if let Some(learning) = found.learning.as_ref().filter(|learning| !learning.epochs.is_empty()) {
        sections.push(Section {
            name: "learning",
            title: "How the training went",
            reading: "The loss that training makes small, of each step's batch and of the validation rows: the ring is the model \
                      that was kept, step 0 the closed form."
                .to_owned(),
            svg: learning::curves(learning)?,
        });
    }
    Ok(sections)
}

/// The channels that the figures show.
fn shown(found: &Diagnostics) -> Range<usize> {
    0..found.channels.len().min(CHANNELS)
}

/// A range that holds all finite values, with a little room.
fn room(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let known = values.filter(|value| value.is_finite());
    let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let margin = ((high - low) * 0.06).max(1e-6 * high.abs()).max(1e-9);
    if low <= high { (low - margin, high + margin) } else { (0.0, 1.0) }
}

/// The page's and every picture's colours where the reader prefers dark.
fn dark() -> String {
    let [page, ink, muted, rule, accent] = [0, 1, 2, 3, 4].map(|index| hex(canvas::DARK[index].1));
    let mut style = format!(
        "@media (prefers-color-scheme:dark){{:root{{--page:{page};--ink:{ink};--muted:{muted};--rule:{rule};--accent:{accent}}}\n"
    );
    for (light, dark) in canvas::DARK {
        let (light, dark) = (hex(light), hex(dark));
        let _ = writeln!(style, "svg [fill=\"{light}\"]{{fill:{dark}}}svg [stroke=\"{light}\"]{{stroke:{dark}}}");
    }
    style.push_str("}\n");
    style
}

/// The report as HTML; `model` is what the reader knows the model by.
pub fn html(model: &str, report: &BacktestReport, sections: &[Section]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Flowcast back-test of {0}</title><style>{STYLE}{dark}</style></head><body>\n\
         <h1>Back-test of {0}</h1>\n<p class=\"quiet\">{1}</p>\n",
        escape(model),
        escape(&setting(report)),
        dark = dark(),
    );
    cards(&mut page, report);
    for section in sections {
        let _ = write!(
            page,
            "<h2 id=\"{}\">{}</h2>\n<p>{}</p>\n<figure>{}</figure>\n",
            section.name,
            escape(section.title),
            escape(&section.reading),
            section.svg
        );
        if section.name == "error" {
            tables(&mut page, report);
        }
    }
    page.push_str("</body></html>\n");
    page
}

/// Every method at every horizon, and each channel.
fn tables(page: &mut String, report: &BacktestReport) {
    page.push_str("<h2>All methods</h2>\n<p>Mean over channels and over the steps from the first to the one named. The best of each column is bold. MASE: mean absolute error over that of repeating the last season in the training part. WQL: pinball loss over the quantiles, by the mean size of the values; a point forecast counts as all of its quantiles.</p>\n");
    let methods: Vec<(&str, Vec<Scores>)> = report
        .methods()
        .map(|(name, horizons, _)| (name, horizons.iter().map(|horizon| horizon.up_to).collect()))
        .collect();
    table(page, report, "MASE", &methods, |scores| scores.mase);
    table(page, report, "WQL", &methods, |scores| scores.wql);
    if report.overall.coverage80.is_some() {
        coverage(page, report);
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
        table(page, report, &title, &methods, |scores| Some(scores.mae));
    }
}

fn setting(report: &BacktestReport) -> String {
    format!(
        "{} of {}, one every {}, over the last {} of {} rows; a sample every {}. The model streamed every row from \
         the first through the code that runs on the device.",
        counted(report.origins, "forecast"),
        counted(report.columns.len(), "channel"),
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
    use std::collections::HashMap;

    use super::*;
    use crate::backtest::tests::report_of_a_repeater;
    use crate::backtest::{Options, score};
    use crate::config::Config;
    use crate::device::DeviceChoice;
    use crate::file::AlignedBytes;
    use crate::forecaster::open;
    use crate::train::setup::Wishes;
    use crate::train::{self, learning::Learning};
    use flowcast_core::known::nothing;
    use flowcast_core::presets::PRESETS;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const ROWS: usize = 1_200;

    /// Two channels of hourly samples with a daily wave and holes, from a Tuesday on.
    fn series() -> Series {
        let wave = |row: usize, noise: usize, size: f32| {
            let phase = row as f32 / 24.0 * std::f32::consts::TAU;
            if row % 97 == 13 { f32::NAN } else { 10.0 + size * phase.sin() + ((row * noise) % 1_009) as f32 / 500.0 }
        };
        Series {
            columns: vec!["indoors".into(), "<out>".into()],
            interval_ms: 3_600_000,
            start: Some("2024-01-02T05:00:00Z".parse().unwrap()),
            values: vec![
                (0..ROWS).map(|row| wave(row, 7_919, 3.0)).collect(),
                (0..ROWS).map(|row| wave(row, 104_729, 30.0)).collect(),
            ],
        }
    }

    /// A model of [`series`] in closed form, whose blocks have no attention, and how its training went.
    fn trained() -> (TrainedModel, Learning) {
        let wishes = Wishes { targets: 2, ..Wishes::example(24, 24) };
        let _device = DeviceChoice::Cpu;
        let options = train::Options::closed_form(wishes);
        let (model, report) = train::train(&series(), &options, &Output::default()).unwrap();
        assert!(report.learning.start.loss > 0.0 && report.learning.epochs.is_empty());
        assert!(model.config.memories.is_empty());
        (model, Learning { epochs: vec![report.validation; 2], losses: vec![1.5; 40], ..report.learning })
    }

    /// The same model with an attention in its blocks, and a seasonal one if asked for: what it lacks for them, or has in
    /// another shape, is random.
    fn attending(model: &TrainedModel, retrieval: bool) -> TrainedModel {
        let memories = Config::spread_memories(&PRESETS[0], 24);
        let config = Config { memories, retrieval, adapted: true, ..model.config.clone() };
        let (from, to) = (model.config.header().unwrap(), config.header().unwrap());
        let own: HashMap<String, &[f32]> =
            from.tensors().map(|own| (own.to_string(), &model.weights[own.start..][..own.len()])).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let weights = to.tensors().flat_map(|tensor| match own.get(&tensor.to_string()) {
            Some(own) if own.len() == tensor.len() => own.to_vec(),
            _ => (0..tensor.len()).map(|_| rng.random_range(-0.3..0.3)).collect(),
        });
        TrainedModel { weights: weights.collect(), config }
    }

    /// Puts a model into a folder, `m.safetensors`, and returns its file.
    fn exported(folder: &Path, (model, learning): (&TrainedModel, &Learning)) -> AlignedBytes {
        model.save(&folder.join("m.safetensors"), learning).unwrap();
        model.to_flow().unwrap()
    }

    /// The report, and what it shows, of the model in a folder.
    fn reported(folder: &Path, bytes: &[u8]) -> (String, Diagnostics, Vec<Section>) {
        let mut model = open(bytes).unwrap();
        let options = Options { origins: Some(12), ..Options::default() };
        let report = score(model.as_mut(), &series(), &options, &Output::default()).unwrap();
        let file = (folder.join("m.flow"), bytes);
        let found = diagnose(model.as_mut(), &series(), &report, (&file.0, file.1), &Output::default()).unwrap();
        let sections = sections(&report, &found).unwrap();
        (html("m.flow", &report, &sections), found, sections)
    }

    #[test]
    fn every_section_is_there_whole_and_the_same_twice() {
        let folder = tempfile::tempdir().unwrap();
        let (model, learning) = trained();
        let always = ["forecasts", "error", "calibration", "coverage", "residuals", "memories", "interval_factors"];
        for (model, of_attention) in
            [(model.clone(), &[][..]), (attending(&model, true), &["experts", "days", "attention"][..])]
        {
            let bytes = exported(folder.path(), (&model, &learning));
            let (page, found, sections) = reported(folder.path(), &bytes);
            assert_eq!(page, reported(folder.path(), &bytes).0);
            let names: Vec<&str> = sections.iter().map(|section| section.name).collect();
            let expected = [&always[..], of_attention, &["learning"]].concat();
            assert_eq!(names, expected);
            assert_eq!(page.matches("<svg").count(), expected.len());
            assert_eq!(found.learning.as_ref().map(|learning| learning.losses.len()), Some(40));
            check(&page, &sections);
        }
        // Where the trained model is another, its curves are not this one's.
        let bytes = exported(folder.path(), (&model, &learning));
        let other = TrainedModel { weights: vec![0.5; model.weights.len()], ..model };
        exported(folder.path(), (&other, &learning));
        assert!(reported(folder.path(), &bytes).1.learning.is_none());
    }

    /// Every section is on the page, with sound numbers, and in colours that a dark page has too.
    fn check(page: &str, sections: &[Section]) {
        for Section { name, svg, .. } in sections {
            assert!(page.contains(&format!("<h2 id=\"{name}\">")), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
            assert!(!svg.contains("<out>"), "{name}");
            for color in svg.split('"').filter(|word| word.starts_with('#')) {
                let known = canvas::DARK.iter().any(|(light, _)| hex(*light) == color);
                assert!(known, "{name} has {color}, which is the same on a dark page");
            }
        }
    }

    #[test]
    fn what_is_collected_is_what_the_device_does() {
        let folder = tempfile::tempdir().unwrap();
        let (model, learning) = trained();
        for (model, heads) in [(model.clone(), 0), (attending(&model, false), 2)] {
            let bytes = exported(folder.path(), (&model, &learning));
            compare(&bytes, &reported(folder.path(), &bytes).1, heads);
        }
    }

    #[test]
    fn passes_are_those_of_the_values_that_came() {
        let folder = tempfile::tempdir().unwrap();
        let (model, learning) = trained();
        let bytes = exported(folder.path(), (&attending(&model, true), &learning));
        let (_, found, _) = reported(folder.path(), &bytes);
        for (channel, values) in found.channels.iter().zip(series().values) {
            let passes = channel.passes.as_ref().unwrap();
            for (bin, passes) in passes.bins().iter().enumerate() {
                let came = (bin..ROWS).step_by(24).filter(|row| !values[*row].is_nan());
                let expected: Vec<(usize, f64)> = came.map(|row| (row, values[row].into())).collect();
                assert_eq!(passes.iter().map(|pass| (pass.row, pass.mean)).collect::<Vec<_>>(), expected);
            }
            // Of the last day that is forecast, every earlier day but the first is read.
            let [read]: [Vec<f64>; 1] = passes.by_day(|row| row / 24, 49..50, 0..50).try_into().unwrap();
            assert!(read[0].is_nan() && read[49].is_nan() && read[1..49].iter().all(|log| log.is_finite()), "{read:?}");
            assert!(read.iter().any(|log| log.abs() > 1e-3));
        }
    }

    /// Compares what was found of a model with so many heads of attention with what its device does.
    fn compare(bytes: &[u8], found: &Diagnostics, heads: usize) {
        assert_eq!((found.groups[0], found.groups[3].1, found.leads.as_slice()), ((1, 1), 24, &[1, 24][..]));
        // A tracing device forecasts as one that does not trace.
        let (mut traced, mut plain) = (open(bytes).unwrap(), open(bytes).unwrap());
        let mut sample = [0.0; 2];
        let mut seen = 0;
        for row in 0..ROWS {
            series().row(row, &mut sample);
            traced.observe_traced(&sample, &nothing, &mut |_, _, flows| seen += flows.len());
            plain.observe(&sample);
        }
        let fan = |model: &dyn Inside| {
            let mut fan = [0.0; 72];
            assert_eq!(model.forecast_into(1, &mut fan), 72);
            fan
        };
        assert_eq!(fan(traced.as_ref()), fan(plain.as_ref()));
        let missing = series().values[0].iter().filter(|value| value.is_nan()).count();
        assert_eq!(seen, 2 * heads * (ROWS - missing));

        for (index, channel) in found.channels.iter().enumerate() {
            assert_eq!(channel.measured.len(), 7 * 24);
            let lengths = [channel.competition.len(), channel.allocation.len(), found.memory_gains.len()];
            assert_eq!(lengths, [heads; 3]);
            for (competition, allocation) in channel.competition.iter().zip(&channel.allocation) {
                for ((weight, share), value) in competition.iter().zip(allocation).zip(&channel.measured) {
                    assert_eq!((weight.is_nan(), share.is_nan()), (value.is_nan(), value.is_nan()));
                    assert!(value.is_nan() || (*weight > 0.0 && (0.0..=1.0).contains(share)), "{weight} {share}");
                }
            }
            // The memory over the last period is the last period.
            let values = &series().values[index];
            let last = ROWS - 1;
            let slot = found.channels[index].means[0][last % 24].unwrap()[0];
            assert!((slot - f64::from(values[last])).abs() < 1e-3 * slot.abs(), "{slot} {}", values[last]);
            // Uniform noise about a wave is learned well enough for most values to be within the band.
            let below = &channel.below[0];
            assert!(below[0] < 0.3 && below[2] > 0.7, "{below:?}");
        }
    }

    #[test]
    fn figures_are_pictures_of_twice_their_size() {
        let svg = figure::error_curves(&report_of_a_repeater()).unwrap();
        let png = png::Renderer::new().render(&svg).unwrap();
        let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        assert_eq!((&png[1..4], side(16), side(20)), (&b"PNG"[..], 1_920, 760));
        // Text is drawn: without the labels the picture is another.
        let (begin, end) = (svg.find("<text").unwrap(), svg.rfind("</text>").unwrap() + "</text>".len());
        let silent = format!("{}{}", &svg[..begin], &svg[end..]);
        assert_ne!(png::Renderer::new().render(&silent).unwrap(), png);
        assert!(png::Renderer::new().render("no picture").is_err());
    }

    #[test]
    fn one_file_without_outside_resources() {
        let page = html("a<b>.flow", &report_of_a_repeater(), &[]);
        assert!(page.contains("a&lt;b&gt;.flow") && !page.contains("a<b>"));
        let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "src=", "url(", "@import", "<script", "<link"] {
            assert!(!without_namespace.contains(outside), "{outside}");
        }
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
