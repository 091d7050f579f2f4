//! `core/FORMAT.md` against the code: a model file is laid out here from the document's own tables, without the writer,
//! and must be the writer's to the byte; the reader must find every field in it again.

use std::collections::BTreeMap;

use flowcast::file::AlignedBytes;
use flowcast_core::format::{Channel, FormatError, Header, Numeric};
use flowcast_core::seasonal::{Season, Seasons};

const DOCUMENT: &str = include_str!("../../core/FORMAT.md");

/// The cells of every table row between a heading and the next one, without the tables' heads.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let start = DOCUMENT.find(&format!("### {heading}\n")).expect("the document has this heading");
    let section = &DOCUMENT[start + 4..];
    let section = section.split("\n##").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with('|') && !line.contains("---") && line.contains('`'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// A record of fields by the document: its fields lie one after the other, aligned, and fill it.
fn record(heading: &str, bytes: usize, values: &mut BTreeMap<&str, Vec<u8>>) -> Vec<u8> {
    let mut record = Vec::new();
    for row in rows(heading) {
        let [offset, size] = [&row[0], &row[1]].map(|cell| cell.parse::<usize>().unwrap());
        let (kind, name) = (row[2].as_str(), row[3].trim_matches('`'));
        assert_eq!(offset, record.len(), "{name} follows the field before it");
        let unit = match kind {
            "u8" | "bytes" | "text" => 1,
            "u16" => 2,
            "u32" | "f32" | "2 × f32" | "4 × f32" => 4,
            "u64" => 8,
            other => panic!("{name} has type {other}"),
        };
        assert!(offset % unit == 0, "{name} is aligned");
        let mut value = if name == "reserved" { Vec::new() } else { values.remove(name).expect(name) };
        assert!(value.len() == size || matches!(kind, "text" | "bytes"), "{name}");
        value.resize(size, 0);
        record.append(&mut value);
    }
    assert_eq!(record.len(), bytes, "{heading}");
    assert!(values.is_empty(), "the document lacks {:?}", values.keys());
    record
}

/// Bit by bit, as the document defines it.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Sizes that no two of are equal, so that none can take another's place.
const D_MODEL: u16 = 24;
const HEADS: u16 = 3;
const HEAD_DIM: u16 = 8;
const LAYERS: u16 = 5;
const D_FF: u16 = 29;
const KNOTS: [u16; 5] = [1, 2, 3, 7, 13];
const TARGETS: u16 = 3;
const CHANNELS: u16 = 6;
const KNOWN: u16 = 2;
const HORIZON: u16 = 13;
const PERIODS: [u32; 2] = [19, 141];
const SLOT_SAMPLES: [u32; 2] = [2, 9];
const SLOTS: [u16; 2] = [10, 16];
const QUANTILES: [f32; 3] = [0.05, 0.5, 0.9];
const MEMORY_GAIN: [f32; 4] = [1.0, 0.3, 0.1, 0.03];
const RETRIEVAL_GAIN: [f32; 2] = [0.2, 0.04];

/// A form of the weights, and whether the blocks have an attention.
type Kind = (Numeric, bool);

const KINDS: [Kind; 4] = [(Numeric::F32, true), (Numeric::I8, true), (Numeric::F32, false), (Numeric::I8, false)];

fn header((numeric, attention): Kind) -> Header {
    Header {
        d_model: D_MODEL,
        heads: HEADS,
        head_dim: HEAD_DIM,
        layers: LAYERS,
        attention,
        d_ff: D_FF,
        numeric,
        channels: CHANNELS,
        targets: TARGETS,
        known: KNOWN,
        readouts: TARGETS,
        horizon: HORIZON,
        knots: KNOTS.len() as u16,
        ring: true,
        mixed: true,
        corrected: true,
        adapted: false,
        seasons: Seasons {
            list: [0, 1]
                .map(|index| Season {
                    period: PERIODS[index],
                    slot_samples: SLOT_SAMPLES[index],
                    slots: SLOTS[index].into(),
                })
                .into_iter()
                .collect(),
            memory_gain: MEMORY_GAIN,
            scale_floor: 0.07,
            retrieval: Some(RETRIEVAL_GAIN),
        },
        interval_ms: 0x0000_0123_4567_89ab,
        source_clamp: if attention { 1.5 } else { 0.0 },
        flow_limit: if attention { 65.0 } else { 0.0 },
        feature_clamp: 12.5,
        quantiles: QUANTILES.into_iter().collect(),
        seen_until_ms: 0x0000_0198_7654_3210,
        identity: 0,
    }
}

fn channels() -> [Channel<'static>; CHANNELS as usize] {
    let channel = |name, unit, stuck_limit| Channel {
        name,
        unit,
        offset: -3.25,
        scale: 1.5,
        valid_min: -40.0,
        valid_max: 125.0,
        stuck_limit,
        spike_limit: 4.5,
        spike_least: 0.75,
        resolution: 0.25,
        lowest: -39.5,
        highest: 125.0,
    };
    [
        channel("temp", "°C", 0),
        channel("a name that fills all 32 bytes..", "", 7),
        channel("ß", "µg/m³", 1),
        channel("d", "8 bytes.", u32::MAX),
        channel("plan", "", 0),
        channel("tariff", "ct/kWh", 0),
    ]
}

/// 1/N of each head; weights that tell where they belong.
fn head_gains(attention: bool) -> Vec<f32> {
    (0..LAYERS * HEADS).filter(|_| attention).map(|index| f32::from(index) / 16.0).collect()
}

fn weights(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index as f32).sin()).collect()
}

/// Names and shapes of the tensors by the document, in its order.
fn tensors(attention: bool) -> Vec<(String, Vec<usize>)> {
    let features = 4 * usize::from(SLOTS[0].min(24)) + 24;
    let seen = 8 * PERIODS.len() + 7 + 24 + 2 * usize::from(CHANNELS - KNOWN - 1) + 2 + 3 * usize::from(KNOWN);
    let size = |name: &str| -> usize {
        match name {
            "`d_model`" => D_MODEL.into(),
            "`d_ff`" => D_FF.into(),
            "`knots`" => KNOTS.len(),
            "`readouts`" | "`targets`" => TARGETS.into(),
            "18" | "16" | "4" | "2" => name.parse().unwrap(),
            "*seen*" => seen,
            "`quantiles`" => QUANTILES.len(),
            "*features*" => features,
            "*inputs*" => features + 2,
            other => panic!("size {other}"),
        }
    };
    let rows: Vec<(String, Vec<usize>)> = rows("Weights")
        .iter()
        .filter(|row| row[0].contains('.'))
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].split(" × ").map(size).collect()))
        .collect();
    let place = |wanted: &str| rows.iter().position(|(name, _)| name == wanted).unwrap();
    let (first, last) = (place("norm_attention.gain"), place("norm.gain"));
    let begin = if attention { first } else { place("norm_feed_forward.gain") };
    let blocks = (0..LAYERS).flat_map(|layer| {
        rows[begin..last].iter().map(move |(name, shape)| (format!("blocks.{layer}.{name}"), shape.clone()))
    });
    rows[..first].iter().cloned().chain(blocks).chain(rows[last..].iter().cloned()).collect()
}

/// Bytes of the tables.
fn table_bytes(attention: bool) -> usize {
    4 * (QUANTILES.len() + head_gains(attention).len()) + 2 * KNOTS.len()
}

/// A row of eight-bit weights by the document.
fn row_words(row: &[u8]) -> Vec<u8> {
    row.chunks(4).flat_map(|four| [0, 2, 1, 3].map(|column| four.get(column).copied().unwrap_or(0))).collect()
}

/// A matrix of eight-bit weights in pairs of rows, by the document.
fn pairs(rows: &[Vec<u8>]) -> Vec<u8> {
    let at = |row: Option<&Vec<u8>>, column: usize| row.and_then(|row| row.get(column)).copied().unwrap_or(0);
    let columns = rows[0].len().next_multiple_of(4);
    let of_pair = |pair: &[Vec<u8>]| -> Vec<u8> {
        let byte = |column: usize| [at(pair.first(), column).wrapping_add(128), at(pair.get(1), column)];
        (0..columns).flat_map(byte).collect()
    };
    rows.chunks(2).flat_map(of_pair).collect()
}

/// The weights' bytes by the document: those of form 0 or, of eight bits, those of form 1.
fn laid_out((numeric, attention): Kind) -> Vec<u8> {
    let count = tensors(attention).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let weights = weights(count);
    let (mut numbers, mut matrices) = (Vec::new(), Vec::new());
    let mut start = 0;
    for (name, shape) in tensors(attention) {
        let len: usize = shape.iter().product();
        let values = &weights[start..start + len];
        start += len;
        if numeric == Numeric::F32 {
            numbers.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            continue;
        }
        if !name.ends_with("weight") {
            let steps = |value: &f32| (f64::from(*value) * f64::from(1 << 20)).round() as i32;
            numbers.extend(values.iter().flat_map(|value| steps(value).to_le_bytes()));
            continue;
        }
        // `[outputs][inputs]`.
        let inputs = *shape.last().unwrap();
        let outputs: Vec<Vec<f32>> = if name.ends_with("contract.weight") {
            (0..inputs).map(|output| values.iter().skip(output).step_by(inputs).copied().collect()).collect()
        } else {
            values.chunks(inputs).map(<[f32]>::to_vec).collect()
        };
        let scale = |output: &Vec<f32>| output.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / 127.0;
        let largest = outputs.iter().map(scale).fold(0.0, f32::max);
        let exponent =
            (0..100).find(|exponent| f64::from(largest) * 2_f64.powi(*exponent) >= 2_f64.powi(30)).unwrap().min(38);
        numbers.extend(exponent.to_le_bytes());
        let eight: Vec<Vec<u8>> = outputs
            .iter()
            .map(|output| {
                let scale = scale(output);
                let multiplier = (f64::from(scale) * 2_f64.powi(exponent)).round() as i32;
                numbers.extend(multiplier.to_le_bytes());
                output.iter().map(|value| (value / scale).round_ties_even() as i8 as u8).collect()
            })
            .collect();
        let part = |from: usize, to: usize| -> Vec<Vec<u8>> {
            eight.iter().map(|output| output[from..to.min(output.len())].to_vec()).collect()
        };
        let seen = 4 * PERIODS.len() + 2 + 3 * usize::from(KNOWN);
        let all = eight[0].len();
        if name == "readout.weight" {
            let (left, right) = (part(0, seen), part(seen, all));
            for (left, right) in left.iter().zip(&right) {
                matrices.extend([row_words(left), row_words(right)].concat());
            }
        } else if name == "head.weight" {
            matrices.extend(eight.iter().flat_map(|row| row_words(row)));
        } else if name.ends_with("contract.weight") {
            let width = usize::from(D_MODEL);
            matrices.extend((0..all).step_by(width).flat_map(|from| pairs(&part(from, from + width))));
        } else {
            matrices.extend(pairs(&eight));
        }
    }
    numbers.extend(matrices);
    numbers
}

/// The file by the document.
fn by_hand(kind: Kind) -> Vec<u8> {
    let (numeric, attention) = kind;
    let weights = laid_out(kind);
    let weights_start = (128 + table_bytes(attention)).next_multiple_of(16) + 80 * usize::from(CHANNELS);
    let length = weights_start + weights.len() + 4;
    let header = header(kind);

    let mut fields = BTreeMap::from([
        ("magic", b"FLOW".to_vec()),
        ("version", vec![9, 0]),
        ("numeric", vec![u8::from(numeric == Numeric::I8)]),
        ("flags", vec![1 + 2 + 4 + 16 + 32 * u8::from(attention)]),
        ("length", (length as u32).to_le_bytes().to_vec()),
        ("weights", (weights_start as u32).to_le_bytes().to_vec()),
        ("memories", vec![4]),
        ("ring", vec![24]),
        ("bins", vec![SLOTS[0].min(24) as u8]),
        ("quantiles", vec![QUANTILES.len() as u8]),
        ("period", PERIODS[0].to_le_bytes().to_vec()),
        ("slot_samples", SLOT_SAMPLES[0].to_le_bytes().to_vec()),
        ("period_2", PERIODS[1].to_le_bytes().to_vec()),
        ("slot_samples_2", SLOT_SAMPLES[1].to_le_bytes().to_vec()),
        ("period_3", vec![0; 4]),
        ("slot_samples_3", vec![0; 4]),
        ("seen_until_ms", header.seen_until_ms.to_le_bytes().to_vec()),
        ("interval_ms", header.interval_ms.to_le_bytes().to_vec()),
        ("source_clamp", header.source_clamp.to_le_bytes().to_vec()),
        ("flow_limit", header.flow_limit.to_le_bytes().to_vec()),
        ("feature_clamp", header.feature_clamp.to_le_bytes().to_vec()),
        ("scale_floor", header.seasons.scale_floor.to_le_bytes().to_vec()),
        ("retrieval_gain", RETRIEVAL_GAIN.iter().flat_map(|gain| gain.to_le_bytes()).collect()),
        ("known", vec![KNOWN as u8]),
        ("memory_gain", MEMORY_GAIN.iter().flat_map(|gain| gain.to_le_bytes()).collect()),
    ]);
    for (name, size) in [
        ("d_model", D_MODEL),
        ("heads", HEADS),
        ("head_dim", HEAD_DIM),
        ("layers", LAYERS),
        ("d_ff", D_FF),
        ("knots", KNOTS.len() as u16),
        ("channels", CHANNELS),
        ("targets", TARGETS),
        ("readouts", TARGETS),
        ("horizon", HORIZON),
    ] {
        fields.insert(name, size.to_le_bytes().to_vec());
    }
    let mut file = record("Header", 128, &mut fields);
    for number in QUANTILES.into_iter().chain(head_gains(attention)) {
        file.extend(number.to_le_bytes());
    }
    file.extend(KNOTS.iter().flat_map(|knot| knot.to_le_bytes()));
    file.resize(file.len().next_multiple_of(16), 0);
    for channel in channels() {
        let mut fields = BTreeMap::from([
            ("offset", channel.offset.to_le_bytes().to_vec()),
            ("scale", channel.scale.to_le_bytes().to_vec()),
            ("valid_min", channel.valid_min.to_le_bytes().to_vec()),
            ("valid_max", channel.valid_max.to_le_bytes().to_vec()),
            ("stuck_limit", channel.stuck_limit.to_le_bytes().to_vec()),
            ("spike_limit", channel.spike_limit.to_le_bytes().to_vec()),
            ("spike_least", channel.spike_least.to_le_bytes().to_vec()),
            ("resolution", channel.resolution.to_le_bytes().to_vec()),
            ("lowest", channel.lowest.to_le_bytes().to_vec()),
            ("highest", channel.highest.to_le_bytes().to_vec()),
            ("name", channel.name.as_bytes().to_vec()),
            ("unit", channel.unit.as_bytes().to_vec()),
        ]);
        file.extend(record("Channel record", 80, &mut fields));
    }
    assert_eq!(file.len(), weights_start);
    file.extend(weights);
    let checksum = crc32(&file);
    file.extend(checksum.to_le_bytes());
    assert_eq!(file.len(), length);
    file
}

#[test]
fn the_checksum_is_the_one_of_zlib() {
    // The catalogue's check value of CRC-32/ISO-HDLC.
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn the_writer_writes_what_the_document_says() {
    for kind in KINDS {
        let file = by_hand(kind);
        let header = header(kind);
        assert_eq!(header.length(), file.len());
        let mut written = vec![0xff; file.len()];
        let weights = weights(header.weight_count());
        let identity = header.write(&head_gains(kind.1), &KNOTS, &channels(), &weights, &mut written).unwrap();
        assert_eq!(written.iter().zip(&file).position(|(written, file)| written != file), None);
        assert_eq!(identity.to_le_bytes(), file[file.len() - 4..]);
    }
}

#[test]
fn the_reader_finds_every_field_that_the_document_places() {
    for attention in [true, false] {
        finds_every_field(attention);
    }
}

fn finds_every_field(attention: bool) {
    let (float, integer) = ((Numeric::F32, attention), (Numeric::I8, attention));
    let file = AlignedBytes::from(by_hand(float).as_slice());
    let read = Header::parse(&file).unwrap();
    let identity = u32::from_le_bytes(file[file.len() - 4..].try_into().unwrap());
    assert_eq!(read, Header { identity, ..header(float) });
    let gains: Vec<f32> =
        (0..LAYERS.into()).flat_map(|layer| read.head_gains(&file, layer).collect::<Vec<_>>()).collect();
    assert_eq!(gains, head_gains(attention));
    for (index, channel) in channels().into_iter().enumerate() {
        assert_eq!(read.channel(&file, index), Some(channel));
    }
    assert_eq!(read.channel(&file, CHANNELS.into()), None);
    assert_eq!(read.knots(&file).unwrap(), KNOTS);
    let numbers: Vec<u32> = weights(read.weight_count()).into_iter().map(f32::to_bits).collect();
    assert_eq!(read.weights(&file).unwrap(), (numbers.as_slice(), &[][..]));
    let eight = AlignedBytes::from(by_hand(integer).as_slice());
    let read = Header::parse(&eight).unwrap();
    let (numbers, matrices) = read.weights(&eight).unwrap();
    let read: Vec<u8> = [numbers, matrices].map(bytemuck::cast_slice::<u32, u8>).concat();
    assert_eq!(laid_out(integer), read);
}

#[test]
fn the_tensors_are_those_of_the_document() {
    for attention in [true, false] {
        let header = header((Numeric::I8, attention));
        let expected = tensors(attention);
        let mut start = 0;
        for (index, tensor) in header.tensors().enumerate() {
            let (name, shape) = &expected[index];
            assert_eq!(&tensor.to_string(), name);
            let found: Vec<usize> = tensor.shape[3 - shape.len()..].to_vec();
            assert_eq!((&found, tensor.start), (shape, start), "{name}");
            start += tensor.len();
        }
        assert_eq!(header.tensors().count(), expected.len());
        assert_eq!(header.weight_count(), start);
    }
}

/// The order in which the document says that a reader refuses.
#[test]
fn what_is_refused_first_is_named_first() {
    let good = by_hand((Numeric::F32, true));
    let seal = |mut file: Vec<u8>| {
        let end = file.len() - 4;
        let checksum = crc32(&file[..end]);
        file[end..].copy_from_slice(&checksum.to_le_bytes());
        file
    };
    let mut bad = good.clone();
    bad[16..18].copy_from_slice(&0_u16.to_le_bytes());
    let name = |file: &[u8]| Header::parse(file).unwrap_err().to_string();
    assert!(name(&bad).contains("CRC-32"));
    bad = seal(bad);
    assert!(name(&bad).contains("d_model 0, expected 1 to 1020"), "{}", name(&bad));
    bad[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(name(&bad).contains("truncated"));
    bad[4] = 1;
    assert!(name(&bad).contains("version 1"));
    bad[0] = b'f';
    assert!(name(&bad).contains("not a Flowcast model"));
    assert_eq!(Header::parse(&bad[..3]), Err(FormatError::Truncated { found: 3, expected: 132 }));

    // Reserved bytes, the space between the tables and the channels, the end of a text, and what lies outside its range.
    let tables = 128 + table_bytes(true);
    let channel = tables.next_multiple_of(16);
    for reserved in [121, 127, tables, channel - 1] {
        let mut file = good.clone();
        assert_eq!(file[reserved], 0);
        file[reserved] = 1;
        assert!(name(&seal(file)).contains("reserved bytes"), "byte {reserved}");
    }
    let mut file = good.clone();
    file[120] = (CHANNELS - TARGETS) as u8 + 1;
    assert!(name(&seal(file)).contains("channels known in advance 4, expected at most"), "more than are not forecast");
    let mut file = good.clone();
    file[channel + 63] = b'x';
    assert!(name(&seal(file)).contains("channel 0"), "a name goes on after its end");
    for (at, end, found) in [
        (24, -40.5, "channel's lowest forecast -40.5"),
        (0, 1e14, "channel's offset 100000000000000, expected within 2^31 scales of 0"),
        (24, f32::NAN, "channel's lowest forecast NaN"),
        (28, 125.5, "channel's highest forecast 125.5"),
        (28, -39.75, "channel's highest forecast -39.75"),
        (72, 1000.5, "channel's spike limit 1000.5, expected 0 to 1000"),
        (72, -0.5, "channel's spike limit -0.5"),
        (72, f32::NAN, "channel's spike limit NaN"),
        (76, -0.5, "channel's least spike -0.5, expected 0 to 1000 deviations"),
    ] {
        let mut file = good.clone();
        file[channel + at..][..4].copy_from_slice(&f32::to_le_bytes(end));
        assert!(name(&seal(file)).contains(found), "{found}");
    }
    // What only an attention needs is not kept without one.
    let mut file = by_hand((Numeric::F32, false));
    file[48..52].copy_from_slice(&(-0.0_f32).to_le_bytes());
    assert!(name(&seal(file)).contains("reserved bytes 128, expected 0"));
}
