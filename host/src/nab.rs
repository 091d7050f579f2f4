//! `flowcast nab`: the Numenta Anomaly Benchmark, 58 labelled series, by the device's own code and NAB's own rules.

pub mod corpus;
pub mod detector;
pub mod gaussian;
pub mod scoring;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;

use crate::file::{Kind, refuse_output, write_atomic};
use crate::output::Output;
use corpus::Labelled;
use detector::{Detection, detect};
use scoring::{PROFILES, Scored, best, probation};

/// Run the Numenta Anomaly Benchmark through the device's own code, by NAB's own scoring rules
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The benchmark: a checkout of numenta/NAB, or a .tar.gz with its data/ and labels/
    #[arg(value_name = "NAB_FOLDER|NAB.tar.gz")]
    pub corpus: PathBuf,
    /// Write the table, one JSON object
    #[arg(long, value_name = "TABLE.json")]
    pub out: Option<PathBuf>,
}

/// Scores of others, standard, reward_low_FP_rate, reward_low_FN_rate: NAB's `results/final_results.json`.
const PUBLISHED: [(&str, [f64; 3]); 9] = [
    ("ARTime", [74.9, 65.2, 80.4]),
    ("Numenta HTM", [70.1, 63.1, 74.3]),
    ("CAD OSE", [69.9, 67.0, 73.2]),
    ("KNN-CAD", [58.0, 43.4, 64.8]),
    ("Relative Entropy", [54.6, 47.6, 58.8]),
    ("Random Cut Forest", [51.7, 38.4, 59.7]),
    ("Windowed Gaussian", [39.6, 20.9, 47.4]),
    ("Etsy Skyline", [35.7, 27.1, 44.5]),
    ("Random", [16.8, 5.8, 25.9]),
];

/// What `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Series of the corpus.
    pub series: usize,
    /// Their rows.
    pub rows: usize,
    /// Series whose probation stands still: no model, no detection.
    pub untrained: usize,
    /// By profile.
    pub profiles: BTreeMap<&'static str, scoring::Result>,
    /// NAB's windowed Gaussian, run here: it must score as published.
    pub windowed_gaussian: BTreeMap<&'static str, scoring::Result>,
    /// Each series at the standard profile's threshold.
    pub each: BTreeMap<String, Each>,
}

/// One series at the standard profile's threshold.
#[derive(Debug, Clone, Serialize)]
pub struct Each {
    /// Rows.
    pub rows: usize,
    /// Samples of the season; none where no model could be trained.
    pub period: Option<u32>,
    /// Windows.
    pub windows: usize,
    /// Windows with a detection.
    pub windows_found: usize,
    /// Detections outside windows.
    pub false_alarms: usize,
}

/// Runs the command.
///
/// # Errors
/// The corpus cannot be read, a model cannot be trained, the table cannot be written.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    if let Some(out) = &args.out {
        refuse_output(std::slice::from_ref(&args.corpus), out, Kind::Json)?;
    }
    crate::interrupt::listen();
    let corpus = corpus::read(&args.corpus)?;
    let report = benchmark(&corpus, output)?;
    if let Some(out) = &args.out {
        write_atomic(out, &serde_json::to_vec_pretty(&report)?)?;
    }
    output.result(|| report.table(), &report)
}

/// Runs the detector and the windowed Gaussian over a corpus.
///
/// # Errors
/// A model cannot be trained.
pub fn benchmark(corpus: &[Labelled], output: &Output) -> Result<Report> {
    let bar = output.progress(corpus.len() as u64, "detecting");
    let detected: Vec<(Detection, Vec<f64>)> = corpus
        .par_iter()
        .map(|series| {
            crate::interrupt::check()?;
            let detection = detect(series)?;
            bar.inc(1);
            Ok((detection, gaussian::scores(&series.values)))
        })
        .collect::<Result<_>>()?;
    bar.finish_and_clear();
    let (detections, gaussian): (Vec<Detection>, Vec<Vec<f64>>) = detected.into_iter().unzip();
    let score = |scores: Vec<&[f64]>| -> BTreeMap<&'static str, scoring::Result> {
        let scored: Vec<Scored<'_>> =
            corpus.iter().zip(scores).map(|(series, scores)| Scored { scores, windows: &series.windows }).collect();
        PROFILES.iter().map(|profile| (profile.name, best(&scored, profile))).collect()
    };
    let profiles = score(detections.iter().map(|detection| detection.scores.as_slice()).collect());
    let threshold = profiles[PROFILES[0].name].threshold;
    let each = |(series, detection): (&Labelled, &Detection)| {
        let rows = series.values.len();
        let detected = (probation(rows)..rows).filter(|row| detection.scores[*row] >= threshold);
        let within: Vec<usize> = detected
            .map(|row| series.windows.iter().position(|window| window.contains(&row)).unwrap_or(usize::MAX))
            .collect();
        let each = Each {
            rows,
            period: detection.period,
            windows: series.windows.len(),
            windows_found: (0..series.windows.len()).filter(|window| within.contains(window)).count(),
            false_alarms: within.iter().filter(|window| **window == usize::MAX).count(),
        };
        (series.name.clone(), each)
    };
    Ok(Report {
        series: corpus.len(),
        rows: corpus.iter().map(|series| series.values.len()).sum(),
        untrained: detections.iter().filter(|detection| detection.period.is_none()).count(),
        each: corpus.iter().zip(&detections).map(each).collect(),
        windowed_gaussian: score(gaussian.iter().map(Vec::as_slice).collect()),
        profiles,
    })
}

impl Report {
    /// The result for people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} series, {} rows; {} without a model (their probation stands still)\n\n{:<24}",
            self.series, self.rows, self.untrained, "NAB score"
        );
        for profile in &PROFILES {
            let _ = write!(text, "{:>20}", profile.name);
        }
        let mut line = |name: &str, scores: [f64; 3]| {
            let _ = write!(text, "\n{name:<24}");
            for score in scores {
                let _ = write!(text, "{score:>20.1}");
            }
        };
        let own = |of: &BTreeMap<&'static str, scoring::Result>| PROFILES.map(|profile| of[profile.name].score);
        line("flowcast", own(&self.profiles));
        line("windowed Gaussian, here", own(&self.windowed_gaussian));
        for (name, scores) in PUBLISHED {
            line(&format!("  {name}"), scores);
        }
        text.push_str("\n(indented: as NAB publishes them; on the whole corpus only, do they compare)\n\n");
        for profile in &PROFILES {
            let result = &self.profiles[profile.name];
            let _ = writeln!(
                text,
                "{}: {} of {} windows found, {} false alarms, at a score of {}",
                profile.name, result.windows_found, result.windows, result.false_alarms, result.threshold
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scoring::sweep;
    use std::path::Path;

    #[test]
    fn a_step_in_a_made_corpus_is_found() {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in corpus::tests::files() {
            let file = place.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
        }
        let output = Output::keeping();
        let out = place.path().join("table.json");
        run(&Args { corpus: place.path().to_owned(), out: Some(out.clone()) }, &output).unwrap();
        let kept = output.kept().unwrap();
        let written: serde_json::Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
        assert_eq!(kept.json["each"], written["each"]);
        let standard = &written["profiles"]["standard"];
        assert_eq!((&standard["windows"], &standard["windows_found"]), (&1.into(), &1.into()), "{standard}");
        // The step is 4 rows into a window of 120: nearly all that there is to win, and nothing lost.
        assert!(standard["score"].as_f64().unwrap() > 98.0 && standard["false_alarms"] == 0, "{standard}");
        assert_eq!(written["each"]["made/step.csv"]["period"], 12);
        assert!(kept.human.contains("flowcast") && kept.human.contains("1 of 1 windows found"), "{}", kept.human);
    }

    /// On the whole corpus, where there is one: at one threshold, the windowed Gaussian's three scores are those that NAB
    /// publishes. (A little higher one, which NAB's optimiser of that time missed, is better.)
    #[test]
    fn the_windowed_gaussian_scores_as_published() {
        let Some(path) = std::env::var_os("FLOWCAST_NAB") else { return };
        let corpus = corpus::read(Path::new(&path)).unwrap();
        assert_eq!((corpus.len(), corpus.iter().map(|series| series.windows.len()).sum::<usize>()), (58, 116));
        let scores: Vec<Vec<f64>> = corpus.iter().map(|series| gaussian::scores(&series.values)).collect();
        let scored: Vec<Scored<'_>> =
            corpus.iter().zip(&scores).map(|(series, scores)| Scored { scores, windows: &series.windows }).collect();
        let published = [39.649_523_496_077_585, 20.867_985_824_741_38, 47.410_027_158_304_6];
        let all = PROFILES.map(|profile| sweep(&scored, &profile));
        let same = |index: usize| (0..3).all(|profile| (all[profile][index].score - published[profile]).abs() < 1e-9);
        let index = (0..all[0].len()).find(|index| same(*index)).expect("a threshold with the published scores");
        println!("{:?}, best {:?}", all[0][index], best(&scored, &PROFILES[0]));
        assert!((1.0 - all[0][index].threshold) < 1e-12, "{:?}", all[0][index]);
    }
}
