//! Checksums of rows: each row with a payload carries a CRC-32 of all its columns and of what says
//! whose it is, so that a row at the wrong place is noticed too, and one that lost whose it is can
//! be told by trying ([`Said`]).

use crate::audit;
use crate::history::Record;
use crate::ids::{EventId, InstanceNo, Seq};
use crate::letter::Address;
use crate::schedule::{Firing, Schedule};
use crate::stream::Chunks;
use crate::wait::{Approval, Event};

/// What a row says, under a checksum but for whose it is.
#[derive(Debug)]
pub(super) struct Said {
    id: u64,
    parts: crc32fast::Hasher,
}

impl Said {
    fn new(id: u64, parts: &[Option<&[u8]>]) -> Self {
        let mut crc = crc32fast::Hasher::new();
        update(&mut crc, parts);
        Self { id, parts: crc }
    }

    /// As [`record`].
    pub(super) fn of_record(seq: Seq, prev: Seq, it: &Record) -> Self {
        with_record(prev, it, |parts| Self::new(seq, parts))
    }

    /// As [`payload`].
    pub(super) fn of_payload(table: &str, payload: Option<&[u8]>) -> Self {
        Self::new(0, &[Some(table.as_bytes()), payload])
    }

    /// As [`event`].
    pub(super) fn of_event(it: &Event) -> Self {
        Self::new(it.id, &event_parts(it, &it.at.to_le_bytes()))
    }

    /// Checksum of the row, if it is this instance's.
    pub(super) fn by(&self, no: InstanceNo) -> u32 {
        let mut crc = begin([no, self.id]);
        crc.combine(&self.parts);
        crc.finalize()
    }
}

/// Checksum of what a row says: whose it is, and its parts.
fn checksum(whose: [u64; 2], parts: &[Option<&[u8]>]) -> u32 {
    let mut crc = begin(whose);
    update(&mut crc, parts);
    crc.finalize()
}

fn begin(whose: [u64; 2]) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(whose.map(u64::to_le_bytes).as_flattened());
    crc
}

fn update(crc: &mut crc32fast::Hasher, parts: &[Option<&[u8]>]) {
    for part in parts {
        // Told apart: no part, an empty part, and where one part ends.
        let len = part.map_or(u64::MAX, |it| it.len() as u64);
        crc.update(&len.to_le_bytes());
        crc.update(part.unwrap_or_default());
    }
}

/// Checksum of a record: every column, and the place of the record before it. What records of old
/// do not have is covered where it is there, so that theirs stay good.
pub(super) fn record(no: InstanceNo, seq: Seq, prev: Seq, it: &Record) -> u32 {
    with_record(prev, it, |parts| checksum([no, seq], parts))
}

fn with_record<T>(prev: Seq, record: &Record, sum: impl FnOnce(&[Option<&[u8]>]) -> T) -> T {
    let operation = &record.operation;
    let codes = [operation.kind as u8, record.verdict as u8].map(u64::from);
    let options = u64::from(record.moment.is_some())
        | u64::from(record.event.is_some()) << 1
        | u64::from(record.begun.is_some()) << 2
        | u64::from(record.erases.is_some()) << 3;
    let numbers = [
        prev,
        codes[0] | codes[1] << 8 | options << 16,
        u64::from(operation.count) | u64::from(record.attempt) << 32,
        record.started_at as u64,
        record.at as u64,
        record.moment.unwrap_or(0) as u64,
        record.event.unwrap_or(0),
        record.begun.unwrap_or(0),
        u64::from(record.erases.unwrap_or(0)),
    ];
    let numbers = numbers.map(u64::to_le_bytes);
    let present = if options >> 2 == 0 { 7 } else { 9 };
    sum(&[
        Some(numbers[..present].as_flattened()),
        Some(operation.branch.as_bytes()),
        Some(operation.name.as_bytes()),
        operation.key.as_deref().map(str::as_bytes),
        record.event_type.as_deref().map(str::as_bytes),
        record.payload.as_deref(),
    ])
}

/// Checksum of a row in one of the tables (no, crc, payload). Each table has its own: their pages
/// look alike.
pub(super) fn payload(table: &str, no: InstanceNo, payload: Option<&[u8]>) -> u32 {
    checksum([no, 0], &[Some(table.as_bytes()), payload])
}

/// Checksum of an event.
pub(super) fn event(no: InstanceNo, it: &Event) -> u32 {
    let at = it.at.to_le_bytes();
    checksum([no, it.id], &event_parts(it, &at))
}

fn event_parts<'a>(it: &'a Event, at: &'a [u8; 8]) -> [Option<&'a [u8]>; 3] {
    [Some(at), Some(it.kind.as_bytes()), it.payload.as_deref()]
}

/// Checksum of an answer to an event.
pub(super) fn answer(no: InstanceNo, event: EventId, payload: &[u8]) -> u32 {
    checksum([no, event], &[Some(b"answer"), Some(payload)])
}

/// Checksum of a row of a stream: whose it is, an instance and its incarnation; its place and part;
/// what else it says.
pub(super) fn chunks(whose: [u64; 2], at: [u64; 2], it: &Chunks, payload: &[u8]) -> u32 {
    let numbers = [
        at[0],
        at[1],
        it.attempt.into(),
        it.mark as u64,
        it.at as u64,
    ];
    let numbers = numbers.map(u64::to_le_bytes);
    let parts = [it.stream.as_bytes(), numbers.as_flattened(), payload];
    checksum(whose, &parts.map(Some))
}

/// Checksum of what says that rows of a stream are to go: when, whose, and which.
pub(super) fn litter(numbers: [i64; 5], stream: &str) -> u32 {
    let [due, no, of, upto, since] = numbers.map(|it| it as u64);
    let which = [due, upto, since].map(u64::to_le_bytes);
    let parts = [stream.as_bytes(), which.as_flattened()];
    checksum([no, of], &parts.map(Some))
}

/// Checksum of a letter.
pub(super) fn letter(to: Address, body: &[u8]) -> u32 {
    let whose = match to {
        Address::Owner(range) => [0, range.0.into()],
        Address::Asker(engine) => [1, engine],
    };
    checksum(whose, &[Some(body)])
}

/// Checksum of an approval. Those of old say no incarnation, and theirs stay good.
pub(super) fn approval(it: &Approval) -> u32 {
    let times = [it.asked_at, it.until, it.decided_at].map(|it| it.map(i64::to_le_bytes));
    let incarnation = it.incarnation.to_le_bytes();
    let parts = [
        Some(it.id.as_bytes()),
        Some(it.name.as_bytes()),
        times[0].as_ref().map(<[u8; 8]>::as_slice),
        times[1].as_ref().map(<[u8; 8]>::as_slice),
        times[2].as_ref().map(<[u8; 8]>::as_slice),
        it.detail.as_deref(),
        it.decision.as_deref(),
        Some(&incarnation[..]),
    ];
    let present = parts.len() - usize::from(it.incarnation == 0);
    checksum([it.no, it.status as u64], &parts[..present])
}

/// Checksum of what a call was answered.
pub(super) fn call(id: &[u8], at: i64, answer: &[u8]) -> u32 {
    checksum([at as u64, 0], &[Some(id), Some(answer)])
}

/// Checksum of a row of the audit.
pub(super) fn audit(it: &audit::Entry) -> u32 {
    let texts = [&it.by.actor, &it.by.note, &it.workflow, &it.id, &it.filter];
    let texts = texts.map(|it| it.as_deref().map(str::as_bytes));
    let [actor, note, workflow, id, filter] = texts;
    checksum(
        [it.number, it.at as u64],
        &[
            actor,
            note,
            Some(it.operation.as_bytes()),
            Some(it.namespace.as_bytes()),
            workflow,
            id,
            filter,
            Some(it.result.as_bytes()),
        ],
    )
}

/// Checksum of one half of what is done to many: what it is, or how far.
pub(super) fn bulk(half: &str, number: u64, bytes: &[u8]) -> u32 {
    checksum([number, 0], &[Some(half.as_bytes()), Some(bytes)])
}

/// Checksum of what changes of a schedule.
pub(super) fn schedule(it: &Schedule) -> u32 {
    let next = it.next.map(i64::to_le_bytes);
    checksum(
        [it.number, it.revision],
        &[
            Some(it.namespace.as_bytes()),
            Some(it.id.as_bytes()),
            next.as_ref().map(<[u8; 8]>::as_slice),
            Some(&it.state),
        ],
    )
}

/// Checksum of what a schedule is.
pub(super) fn scheduled(number: u64, what: &[u8]) -> u32 {
    checksum([number, 0], &[Some(b"schedule"), Some(what)])
}

/// Checksum of a firing.
pub(super) fn firing(it: &Firing) -> u32 {
    let times = [Some(it.at), it.until, Some(it.decided_at)].map(|it| it.map(i64::to_le_bytes));
    checksum(
        [it.schedule, it.number],
        &[
            times[0].as_ref().map(<[u8; 8]>::as_slice),
            times[1].as_ref().map(<[u8; 8]>::as_slice),
            times[2].as_ref().map(<[u8; 8]>::as_slice),
            Some(it.outcome.as_bytes()),
            it.why.as_deref().map(str::as_bytes),
            it.id.as_deref().map(str::as_bytes),
        ],
    )
}
