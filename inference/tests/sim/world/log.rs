//! Owns the input: the logs of the topic's partitions, all that they ever were, and what became of each record.

use kafka_admin::Partition;
use kafka_io::Record;

/// The identity of a record, whatever becomes of its offset.
pub(crate) type Serial = u32;

/// The form of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Good,
    /// Much in memory, little in its result.
    Fat,
    Null,
    NotJson,
    /// Its result is too large for the broker.
    TooLarge,
    /// Its result is too large for the producer.
    FarTooLarge,
    /// As a dead letter it is too large for the broker.
    LargeNoise,
}

const KINDS: [Kind; 7] = [
    Kind::Good,
    Kind::Fat,
    Kind::Null,
    Kind::NotJson,
    Kind::TooLarge,
    Kind::FarTooLarge,
    Kind::LargeNoise,
];

impl Kind {
    /// Most bytes give a good record.
    pub(crate) fn of(byte: u8) -> Self {
        KINDS[usize::from(byte.saturating_sub(190)) % KINDS.len()]
    }

    fn value(self) -> Option<Vec<u8>> {
        let message = |text: usize, passed: usize| {
            format!(
                r#"{{"text":"{}","uuid":"{}"}}"#,
                "t".repeat(text),
                "u".repeat(passed)
            )
        };
        Some(match self {
            Self::Good => br#"{"text":"a"}"#.to_vec(),
            Self::Fat => message(700, 0).into_bytes(),
            Self::Null => return None,
            Self::NotJson => b"{".to_vec(),
            Self::TooLarge => message(1, 260).into_bytes(),
            Self::FarTooLarge => message(1, 600).into_bytes(),
            Self::LargeNoise => "n".repeat(400).into_bytes(),
        })
    }
}

/// A record that was written, once and for all.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) partition: usize,
    pub(crate) offset: i64,
    pub(crate) kind: Kind,
    /// How many results of it are durable.
    pub(crate) results: u32,
    /// Compacted or expired: nobody can read it any more.
    pub(crate) gone: bool,
    /// It need not be answered: skipped by policy, or hidden in a log that grew over the offset that was read next
    /// before anybody could look.
    pub(crate) excused: bool,
}

impl Written {
    pub(crate) fn is_done(&self) -> bool {
        self.results > 0 || self.gone || self.excused
    }

    pub(crate) fn record(&self, serial: Serial) -> Record {
        Record {
            partition: partition(self.partition),
            offset: self.offset,
            timestamp_ms: None,
            key: Some(serial.to_le_bytes().to_vec()),
            value: self.kind.value(),
            headers: Vec::new(),
        }
    }
}

/// A log of a partition, until it is truncated or made again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) start: i64,
    /// The record at each offset; none where a transaction's marker is.
    pub(crate) entries: Vec<Option<Serial>>,
}

impl Log {
    pub(crate) fn end(&self) -> i64 {
        i64::try_from(self.entries.len()).unwrap()
    }

    /// The records from one offset to another that are in the log.
    pub(crate) fn records(&self, from: i64, to: i64) -> impl Iterator<Item = Serial> {
        let from = usize::try_from(from).unwrap_or(0).min(self.entries.len());
        let to = usize::try_from(to).unwrap_or(0).clamp(from, self.entries.len());
        self.entries[from..to].iter().flatten().copied()
    }
}

/// All logs: of each partition its generations, the last of which can be read.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) partitions: Vec<Vec<Log>>,
    pub(crate) written: Vec<Written>,
    pub(crate) incarnation: u32,
}

impl Logs {
    pub(crate) fn new(partitions: usize) -> Self {
        Self {
            partitions: vec![vec![Log::default()]; partitions],
            ..Self::default()
        }
    }

    pub(crate) fn now(&self, partition: usize) -> &Log {
        &self.partitions[partition][self.generation(partition)]
    }

    fn now_mut(&mut self, partition: usize) -> &mut Log {
        self.partitions[partition].last_mut().unwrap()
    }

    pub(crate) fn generation(&self, partition: usize) -> usize {
        self.partitions[partition].len() - 1
    }

    pub(crate) fn append(&mut self, partition: usize, kind: Kind) {
        let serial = Serial::try_from(self.written.len()).unwrap();
        let log = self.now_mut(partition);
        let offset = log.end();
        log.entries.push(Some(serial));
        self.written.push(Written {
            partition,
            offset,
            kind,
            results: 0,
            gone: false,
            excused: false,
        });
    }

    pub(crate) fn append_marker(&mut self, partition: usize) {
        self.now_mut(partition).entries.push(None);
    }

    /// The record at the offset or behind it.
    pub(crate) fn next(&self, partition: usize, from: i64) -> Option<Serial> {
        let log = self.now(partition);
        let mut records = log.records(from, log.end());
        records.find(|serial| !self.written[*serial as usize].gone)
    }

    /// Another record of the same key makes this one vanish.
    pub(crate) fn compact(&mut self, partition: usize, offset: i64) {
        let index = usize::try_from(offset).unwrap();
        if let Some(Some(serial)) = self.now(partition).entries.get(index) {
            let serial = *serial;
            self.written[serial as usize].gone = true;
        }
    }

    /// Retention removes the records below an offset.
    pub(crate) fn expire(&mut self, partition: usize, start: i64) {
        for offset in self.now(partition).start..start {
            self.compact(partition, offset);
        }
        let log = self.now_mut(partition);
        log.start = log.start.max(start);
    }

    /// A leader without the last records takes over.
    pub(crate) fn truncate(&mut self, partition: usize, end: i64) {
        let mut log = self.now(partition).clone();
        log.entries.truncate(usize::try_from(end).unwrap());
        log.start = log.start.min(end);
        self.partitions[partition].push(log);
    }

    /// The topic is deleted and created again.
    pub(crate) fn create_again(&mut self) {
        self.incarnation += 1;
        for logs in &mut self.partitions {
            logs.push(Log::default());
        }
    }

    pub(crate) fn add_partition(&mut self) {
        self.partitions.push(vec![Log::default()]);
    }

    /// The records below an offset need not be answered.
    pub(crate) fn excuse_below(&mut self, partition: usize, offset: i64) {
        let log = self.partitions[partition].last().unwrap();
        for serial in log.records(0, offset) {
            self.written[serial as usize].excused = true;
        }
    }

    /// The first record of a generation, of those from one offset to another, that has no durable result.
    pub(crate) fn unanswered(
        &self,
        partition: usize,
        generation: usize,
        from: i64,
        to: i64,
    ) -> Option<Serial> {
        let mut records = self.partitions[partition][generation].records(from, to);
        records.find(|serial| !self.written[*serial as usize].is_done())
    }
}

pub(crate) fn partition(index: usize) -> Partition {
    Partition(i32::try_from(index).unwrap())
}

pub(crate) fn index(partition: Partition) -> usize {
    usize::try_from(partition.0).unwrap()
}
