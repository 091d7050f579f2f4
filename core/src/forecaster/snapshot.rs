//! A forecaster's state to bytes and back. What the model says, a snapshot does not.

use super::Forecaster;
use super::channel::ChannelState;
use crate::format::Header;
use crate::linear::Element;
use crate::persist::{Persist, Reader, Writer};
use crate::snapshot::{CRC_BYTES, HEADER_BYTES, Snapshot, SnapshotError, check, write};

impl<
    R: Element,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const FLOWS: usize,
> ChannelState<R, SLOTS, D_MODEL, HEADS, HEAD_DIM, FLOWS>
{
    fn save(&self, header: &Header, writer: &mut Writer<'_>) {
        let Self {
            intake: _,
            ends,
            seasonal,
            flow,
            hidden,
            level,
            next,
            schedule,
            probes,
            conformal,
            adaptation,
            watch,
            anomaly,
            missing,
            missing_run,
        } = self;
        ends.save(writer);
        seasonal.save(header.seasons.capacity(), writer);
        for flow in flow.iter().take(header.attending_layers().into()) {
            flow.save(writer);
        }
        hidden.save(writer);
        level.save(writer);
        next.save(writer);
        schedule.save(writer);
        probes.save(writer);
        conformal.save(writer);
        adaptation.save(writer);
        watch.save(writer);
        anomaly.save(writer);
        missing.save(writer);
        missing_run.save(writer);
    }

    fn load(&mut self, header: &Header, reader: &mut Reader<'_>) {
        let Self {
            intake: _,
            ends,
            seasonal,
            flow,
            hidden,
            level,
            next,
            schedule,
            probes,
            conformal,
            adaptation,
            watch,
            anomaly,
            missing,
            missing_run,
        } = self;
        ends.load(reader);
        seasonal.load(header.seasons.capacity(), reader);
        for flow in flow.iter_mut().take(header.attending_layers().into()) {
            flow.load(reader);
        }
        hidden.load(reader);
        level.load(reader);
        next.load(reader);
        schedule.load(reader);
        probes.load(reader);
        conformal.load(reader);
        adaptation.load(reader);
        watch.load(reader);
        anomaly.load(reader);
        missing.load(reader);
        missing_run.load(reader);
    }
}

impl<
    R: Element,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
    const FLOWS: usize,
> Forecaster<'_, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>
{
    fn save(&self, header: &Header, writer: &mut Writer<'_>) {
        self.samples.save(writer);
        self.clocks.save(writer);
        for state in self.channels.iter().take(header.channels.into()) {
            state.save(header, writer);
        }
    }

    fn state_length(&self, header: &Header) -> usize {
        let mut counting = Writer::new(&mut []);
        self.save(header, &mut counting);
        HEADER_BYTES + counting.length() + CRC_BYTES
    }
}

impl<
    R: Element,
    const CHANNELS: usize,
    const SLOTS: usize,
    const D_MODEL: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const LAYERS: usize,
    const FLOWS: usize,
> Snapshot for Forecaster<'_, R, CHANNELS, SLOTS, D_MODEL, HEADS, HEAD_DIM, LAYERS, FLOWS>
{
    fn snapshot_bytes(&self) -> usize {
        self.model.get().map_or(0, |model| self.state_length(model.header()))
    }

    fn snapshot(&self, buffer: &mut [u8]) -> Result<usize, SnapshotError> {
        let header = self.model.get().ok_or(SnapshotError::NoModel)?.header();
        write(header.identity, R::NUMERIC, self.state_length(header), buffer, |writer| self.save(header, writer))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let length = self.snapshot_bytes();
        let Self { model, channels, clocks, samples } = self;
        let header = model.get().ok_or(SnapshotError::NoModel)?.header();
        let mut reader = Reader::new(check(bytes, header.identity, R::NUMERIC, length)?);
        samples.load(&mut reader);
        clocks.load(&mut reader);
        for state in channels.iter_mut().take(header.channels.into()) {
            state.load(header, &mut reader);
        }
        if reader.is_sound() && clocks.belong_to(&header.seasons) {
            return Ok(());
        }
        self.reset();
        Err(SnapshotError::Field)
    }
}
