//! What the model sees of a series: core's own intake and seasonal memories, run over the training data.
//!
//! Training never recomputes a feature in another way: the numbers are those that the device will have. A series of any
//! length costs little memory, for the memories' state is kept once in a while and rerun from there.

use flowcast_core::ends::Ends;
use flowcast_core::intake::{Intake, Watch};
use flowcast_core::known::{KNOWN_FEATURES, features as known_features};
use flowcast_core::retrieval::SUMMARY;
use flowcast_core::seasonal::{
    Clocks, Level, MAX_ALIGNED, MAX_FEATURES, MAX_STANDING, MEMORIES, MIXED_TRENDS, RING, SeasonalState, Seasons,
    TRENDS,
};
use flowcast_core::spike::Limit;

use crate::config::Config;
use crate::data::Series;
use crate::forecaster::SLOTS;
use crate::retrieval::{Foretold, Keys};

/// Rows between two kept states.
const KEEP: usize = 256;

/// A channel's memories, as the host holds them.
pub type State = SeasonalState<SLOTS, f32>;

/// Every channel's samples and features.
pub struct Features {
    seasons: Seasons,
    /// Of the seasonal Flow-Attention, if the model has it.
    keys: Option<Keys>,
    /// What is retrieved in the place of that, in experiments.
    foretold: Option<Foretold>,
    knots: Vec<u16>,
    channels: Vec<Channel>,
    /// The last so many channels are known in advance.
    known: usize,
}

struct Channel {
    /// As the intake's.
    spike_limit: Limit<f32>,
    /// In deviations of the training data and on the channel's level, NaN where the device would take the reading as
    /// missing. `[rows]`
    samples: Vec<f32>,
    /// The rows from which the channel is on another level, the first one among them, and by how much that is shifted.
    levels: Vec<(usize, f32)>,
    /// What other channels see after each row. `[rows][MIXED_TRENDS]`
    mixed: Vec<[f32; MIXED_TRENDS.len()]>,
    /// The memories before row `KEEP * i`.
    kept: Vec<State>,
}

/// Which parts the readout sees, of all that [`Features`] can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// How many of the seasons.
    pub seasons: usize,
    /// What the seasonal Flow-Attention retrieves.
    pub retrieval: bool,
    /// The ring of last samples.
    pub ring: bool,
    /// Trends of the other channels.
    pub mixed: bool,
    /// Which of the columns that are known in advance: bit `i` for the `i`-th of them.
    pub known: u8,
}

/// Where the memories stand after a sample that was there.
pub struct After<'a> {
    /// The sample's row.
    pub row: usize,
    /// The channel's memories.
    pub state: &'a State,
    /// Where the next sample falls.
    pub clocks: &'a Clocks,
    /// The memories of the columns that are known in advance. `[known]`
    known: &'a [State],
}

/// What the readout sees at one row.
#[derive(Debug, Clone, Default)]
pub struct Readout {
    /// `[knots][Features::aligned]`
    pub aligned: Vec<f32>,
    /// `[standing]`, others' trends included.
    pub standing: Vec<f32>,
    /// The level.
    pub level: Option<Level<f32>>,
}

impl Features {
    /// Runs the intake and the seasonal memories over a series whose columns are the configuration's channels. `keys`
    /// are there if the configuration has a seasonal Flow-Attention.
    pub fn new(config: &Config, series: &Series, keys: Option<&Keys>) -> Self {
        let seasons = config.seasons();
        let channels = config.records().into_iter().zip(&series.values).map(|(record, values)| {
            let intake = Intake::<f32>::new(&record);
            let (mut watch, mut ends) = (Watch::new(), Ends::new(&record));
            let (mut state, mut clocks) = (State::new(), Clocks::default());
            let mut kept = Vec::with_capacity(values.len() / KEEP + 1);
            let mut mixed = Vec::with_capacity(values.len());
            let mut samples = Vec::with_capacity(values.len());
            let mut levels = vec![(0, watch.shift())];
            for (row, value) in values.iter().enumerate() {
                if row % KEEP == 0 {
                    kept.push(state);
                }
                let foreseen = state.foreseen(&state.expected(&seasons, &clocks));
                let sample = intake.take(&mut watch, &mut ends, foreseen, *value).unwrap_or(f32::NAN);
                if levels.last().is_none_or(|(_, shift)| *shift != watch.shift()) {
                    levels.push((row, watch.shift()));
                }
                step(&mut state, &mut clocks, &seasons, keys, intake.spike_limit(), sample);
                samples.push(sample);
                mixed.push(MIXED_TRENDS.map(|trend| state.trends()[trend]));
            }
            Channel { spike_limit: *intake.spike_limit(), samples, levels, mixed, kept }
        });
        let channels = channels.collect();
        Self {
            seasons,
            keys: keys.cloned(),
            foretold: None,
            knots: config.knots.clone(),
            channels,
            known: config.known.into(),
        }
    }

    /// The same, but that the readout is told something else in the place of what the device retrieves.
    pub fn foretelling(self, foretold: Foretold) -> Self {
        Self { foretold: Some(foretold), ..self }
    }

    /// Samples of a channel that are there, among the first `rows`.
    pub fn readings(&self, channel: usize, rows: usize) -> usize {
        self.samples(channel)[..rows].iter().filter(|sample| !sample.is_nan()).count()
    }

    /// Samples of a channel in deviations, on its level, NaN where missing; one a row of the series.
    pub fn samples(&self, channel: usize) -> &[f32] {
        &self.channels[channel].samples
    }

    /// By how much a channel is shifted after a row: what a forecast from there lies above one on the channel's level.
    pub fn shift(&self, channel: usize, row: usize) -> f32 {
        let levels = &self.channels[channel].levels;
        let after = levels.partition_point(|(begin, _)| *begin <= row);
        levels[..after].last().map_or(0.0, |(_, shift)| *shift)
    }

    /// Numbers of a token's seasonal features.
    pub fn width(&self) -> usize {
        self.seasons.features()
    }

    /// The seasons.
    pub fn seasons(&self) -> &Seasons {
        &self.seasons
    }

    /// Steps ahead with weights of their own.
    pub fn knots(&self) -> &[u16] {
        &self.knots
    }

    /// Channels, those that are only seen among them.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// How many of the channels, the last ones, are known in advance.
    pub fn known(&self) -> usize {
        self.known
    }

    /// Channels whose trends the readout of one of them could see, those that are known in advance aside.
    pub fn mixing(&self) -> usize {
        self.channels.len() - self.known
    }

    /// How many features a step ahead reads where it will fall: as `Header::step_features`.
    pub fn aligned(&self) -> usize {
        self.seasons.aligned() + self.known * KNOWN_FEATURES
    }

    /// All that the readout could see.
    pub fn every_part(&self) -> Parts {
        let retrieval = self.seasons.retrieval.is_some();
        let known = ((1_u16 << self.known) - 1) as u8;
        Parts { seasons: self.seasons.list.len(), retrieval, ring: true, mixed: true, known }
    }

    /// Where each of the readout's features stands among those with every part: indices for some parts, aligned ones
    /// first.
    pub fn columns(&self, parts: Parts) -> Vec<usize> {
        let memories = self.seasons.list.len() * MEMORIES;
        let retrieved = self.seasons.aligned();
        let aligned = self.aligned();
        let kept = parts.seasons * MEMORIES;
        let trends = aligned + memories - 1;
        let ring = trends + TRENDS;
        let mixed = ring + RING;
        let others = (self.mixing() - 1) * MIXED_TRENDS.len();
        let is_known = |column: &usize| parts.known & 1 << ((column - retrieved) / KNOWN_FEATURES) != 0;
        (0..kept)
            .chain((memories..retrieved).filter(|_| parts.retrieval))
            .chain((retrieved..aligned).filter(is_known))
            .chain(aligned..aligned + kept - 1)
            .chain(trends..ring)
            .chain((ring..mixed).filter(|_| parts.ring))
            .chain((mixed..mixed + others).filter(|_| parts.mixed))
            .collect()
    }

    /// What the readout sees of a channel, parts as told; of the columns that are known in advance, every one.
    pub fn readout(&self, channel: usize, after: &After<'_>, parts: Parts) -> Readout {
        let After { row, state, clocks, known } = *after;
        let seasons = &self.seasons;
        let mut token = [0.0; MAX_FEATURES];
        let level = state.features(seasons, clocks, &mut token);
        let mut aligned = Vec::with_capacity(self.knots.len() * self.aligned());
        for knot in &self.knots {
            let mut read = [0.0; MAX_ALIGNED];
            state.memories().aligned(seasons, clocks, &level, (*knot).into(), &mut read);
            if let Some(foretold) = &self.foretold {
                let places = read.iter_mut().skip(seasons.list.len() * MEMORIES);
                for (place, received) in places.zip(foretold.read(channel, row, (*knot).into())) {
                    *place = level.scale * received;
                }
            }
            aligned.extend_from_slice(&read[..seasons.aligned()]);
            let place = clocks.place_ahead(seasons, (*knot).into());
            for (column, own) in self.channels[self.mixing()..].iter().zip(known) {
                let told = column.samples.get(row + usize::from(*knot)).copied().unwrap_or(f32::NAN);
                aligned.extend(known_features(
                    &own.memories(),
                    &place,
                    own.trends()[0],
                    (!told.is_nan()).then_some(told),
                ));
            }
        }
        let mut standing = [0.0; MAX_STANDING];
        let width = seasons.standing(parts.ring);
        state.standing(seasons, &level, &mut standing[..width]);
        let mut standing = standing[..width].to_vec();
        if parts.mixed {
            let others = self.channels[..self.mixing()].iter().enumerate().filter(|(other, _)| *other != channel);
            standing.extend(others.flat_map(|(_, other)| other.mixed[row]));
        }
        Readout { aligned, standing, level: Some(level) }
    }

    /// Features of a token, relative to the location, `[Features::width]`, and the level.
    pub fn token(&self, after: &After<'_>) -> (Vec<f32>, Level<f32>) {
        let mut token = [0.0; MAX_FEATURES];
        let level = after.state.features(&self.seasons, after.clocks, &mut token);
        (token[..self.width()].to_vec(), level)
    }

    /// Shows, up to row `end`, what each bin of `seasons`' seasonal Flow-Attention holds when a pass through it ends: the
    /// row, the bin, u and the mean r of the pass.
    pub fn summarise(
        &self,
        channel: usize,
        end: usize,
        seasons: &Seasons,
        mut each: impl FnMut(usize, usize, &[f32; SUMMARY], f32),
    ) {
        let (mut state, mut clocks) = (State::new(), Clocks::default());
        let mut came = false;
        let bin_of = |row: usize| seasons.bin_of_phase(row as u32 % seasons.period());
        let Channel { spike_limit, samples, .. } = &self.channels[channel];
        for (row, sample) in samples.iter().enumerate().take(end) {
            step(&mut state, &mut clocks, seasons, None, spike_limit, *sample);
            came |= !sample.is_nan();
            if bin_of(row + 1) != bin_of(row) && std::mem::take(&mut came) {
                let level = state.features(seasons, &clocks, &mut [0.0; MAX_FEATURES]);
                let (bin, residual) = state.bin_residual(seasons);
                each(row, bin, &state.summary(seasons, &level), residual);
            }
        }
    }

    /// Shows the memories after each sample that is there from row `start` on, up to row `end`, while `each` says so.
    pub fn visit(&self, channel: usize, start: usize, end: usize, mut each: impl FnMut(&After<'_>) -> bool) {
        let Channel { spike_limit, samples, kept, .. } = &self.channels[channel];
        let first = start / KEEP * KEEP;
        let Some(mut state) = kept.get(start / KEEP).copied() else { return };
        let columns = &self.channels[self.mixing()..];
        let mut known: Vec<State> = columns.iter().map(|column| column.kept[start / KEEP]).collect();
        let mut clocks = Clocks::default();
        clocks.skip(&self.seasons, first as u32);
        let keys = self.keys.as_ref();
        for (row, sample) in samples.iter().enumerate().take(end).skip(first) {
            for (state, column) in known.iter_mut().zip(columns) {
                // Nothing is retrieved of them.
                step(state, &mut clocks.clone(), &self.seasons, None, &column.spike_limit, column.samples[row]);
            }
            step(&mut state, &mut clocks, &self.seasons, keys, spike_limit, *sample);
            let after = After { row, state: &state, clocks: &clocks, known: &known };
            if row >= start && !sample.is_nan() && !each(&after) {
                return;
            }
        }
    }
}

/// As `Forecaster::observe` does.
fn step(
    state: &mut State,
    clocks: &mut Clocks,
    seasons: &Seasons,
    keys: Option<&Keys>,
    spike_limit: &Limit<f32>,
    sample: f32,
) {
    let expected = state.expected(seasons, clocks);
    if sample.is_nan() {
        state.miss(state.foreseen(&expected));
    } else {
        state.observe(seasons, clocks, &expected, spike_limit, sample);
    }
    clocks.advance(seasons);
    if let Some(keys) = keys.filter(|_| !sample.is_nan()) {
        let level = state.features(seasons, clocks, &mut [0.0; MAX_FEATURES]);
        state.encode(seasons, &level, &keys.encoder());
    }
    state.leave(seasons, clocks);
}
