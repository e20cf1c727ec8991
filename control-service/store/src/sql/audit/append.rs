//! Adding records to the audit log.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use portcullis_control_domain::audit::{Ingested, LogEntry, Parsed, RejectReason, Sender};
use portcullis_control_domain::clock::now_ms;
use portcullis_protocol::audit::hex;
use portcullis_sql::{Connection, ToValue, Value, params};

use super::super::failure::Failure;
use super::super::restoration::audit_from;
use super::evidence::Evidence;
use super::incoming::Incoming;
use super::recorder::{Recorder, Subjects};
use super::streams::{StoredStream, count_rejected, load_stream, plain, tenants};

/// Numbers that are looked up together when no more than this lies between them.
const CLOSE: i64 = 8;

/// Appends the records that their sender may write; those that are there already are counted, not stored again.
pub(in crate::sql) fn append(
    connection: &Connection,
    recorder: &Recorder,
    sender: &Sender,
    records: &[Incoming],
) -> Result<Ingested, Failure> {
    let mut outcome = Ingested::default();
    let tenants = tenants(connection, sender)?;
    let mut log = Appending::begin(connection, recorder, sender, records)?;
    for incoming in records {
        if let Err(unfit) = sender.judge(incoming.parsed.record(), &tenants) {
            outcome.reject(unfit, 1);
            continue;
        }
        match log.take(incoming)? {
            Taken::Stored => outcome.ack.stored += 1,
            Taken::Repeated => outcome.ack.duplicates += 1,
            Taken::Refused(unfit) => outcome.reject(unfit, 1),
        }
    }
    log.finish()?;
    count_rejected(connection, sender, outcome.ack.rejected)?;
    Ok(outcome)
}

/// What became of a record.
enum Taken {
    Stored,
    Repeated,
    Refused(RejectReason),
}

/// Records on their way into the log.
struct Appending<'a> {
    connection: &'a Connection,
    recorder: &'a Recorder,
    sender: &'a Sender,
    subjects: Subjects<'a>,
    /// The numbers that come, by stream.
    numbers: HashMap<[u8; 16], Vec<i64>>,
    streams: HashMap<[u8; 16], OpenStream>,
    received_ms: u64,
    /// The index of the newest record.
    index: u64,
    rows: Vec<NewRecord<'a>>,
}

/// A stream, and those of its numbers that come and are there already.
struct OpenStream {
    stored: StoredStream,
    there: HashSet<i64>,
}

impl<'a> Appending<'a> {
    fn begin(
        connection: &'a Connection,
        recorder: &'a Recorder,
        sender: &'a Sender,
        records: &[Incoming],
    ) -> Result<Self, Failure> {
        let mut numbers: HashMap<_, Vec<i64>> = HashMap::new();
        for Incoming { parsed, .. } in records {
            numbers.entry(parsed.stream()).or_default().push(parsed.sequence());
        }
        Ok(Self {
            connection,
            recorder,
            sender,
            subjects: recorder.subjects(connection)?,
            numbers,
            streams: HashMap::new(),
            received_ms: now_ms(),
            index: size(connection)?,
            rows: Vec::with_capacity(records.len()),
        })
    }

    fn take(&mut self, incoming: &'a Incoming) -> Result<Taken, Failure> {
        let parsed = &incoming.parsed;
        let numbers = self.numbers.get(&parsed.stream()).map(Vec::as_slice).unwrap_or_default();
        let open = match self.streams.entry(parsed.stream()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                new.insert(OpenStream::load(self.connection, self.sender, parsed, numbers)?)
            }
        };
        let now = i64::try_from(self.received_ms).unwrap_or(i64::MAX);
        if let Err(unfit) = open.stored.stream.admits(self.sender, parsed.sequence(), now) {
            return Ok(Taken::Refused(unfit));
        }
        let id = open.stored.id;
        if open.there.insert(parsed.sequence()) {
            open.stored.stream.stored(parsed.sequence());
            let row = self.row(id, incoming)?;
            self.rows.push(row);
            return Ok(Taken::Stored);
        }
        // The one before may stand in the same batch.
        self.flush()?;
        let differs =
            Evidence::of(self.connection, id, parsed.sequence())?.differs(self.recorder.keys(), parsed)?;
        if let Some(open) = self.streams.get_mut(&parsed.stream()) {
            open.stored.stream.repeated(differs);
        }
        if differs {
            tracing::warn!(stream = %hex(&parsed.stream()), sequence = parsed.sequence(),
                "an audit record came twice with different content; the first one stands");
        }
        Ok(Taken::Repeated)
    }

    fn row(&mut self, stream_id: i64, incoming: &'a Incoming) -> Result<NewRecord<'a>, Failure> {
        let (parsed, record) = (&incoming.parsed, incoming.parsed.record());
        let committed = incoming.committed(self.sender, &self.subjects, self.received_ms)?;
        self.index += 1;
        let commitment = committed.commitment;
        let entry = LogEntry { index: self.index, received_ms: self.received_ms, commitment };
        Ok(NewRecord {
            position: self.index,
            stream_id,
            sequence: parsed.sequence(),
            entry: Some(entry.encode()),
            leaf: None,
            request: committed.request,
            cluster: Some(plain(&record.cluster)).filter(|cluster| !cluster.is_empty()),
            subject_id: committed.subject_id,
            salt: committed.salt,
            body: match committed {
                Cow::Borrowed(committed) => Cow::Borrowed(committed.body.as_slice()),
                Cow::Owned(committed) => Cow::Owned(committed.body),
            },
        })
    }

    fn flush(&mut self) -> Result<(), Failure> {
        write(self.connection, &self.rows)?;
        self.rows.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        let update = "UPDATE audit_stream SET stored = ?2, highest = ?3, duplicates = ?4, conflicts = ?5 WHERE id = ?1";
        for OpenStream { stored: StoredStream { id, stream }, .. } in self.streams.values() {
            let values = params![id, stream.stored, stream.highest, stream.duplicates, stream.conflicts];
            self.connection.execute(update, values)?;
        }
        Ok(())
    }
}

impl OpenStream {
    fn load(
        connection: &Connection,
        sender: &Sender,
        first: &Parsed,
        numbers: &[i64],
    ) -> Result<Self, Failure> {
        let stored = load_stream(connection, sender, first)?;
        let mut behind: Vec<_> = numbers.iter().copied().filter(|n| *n <= stored.stream.highest).collect();
        behind.sort_unstable();
        let mut there = HashSet::new();
        let sql = "SELECT sequence FROM audit_record WHERE stream_id = ?1 AND sequence BETWEEN ?2 AND ?3";
        for run in behind.chunk_by(|a, b| b - a <= CLOSE) {
            there.extend(
                connection
                    .query(sql, params![stored.id, run.first(), run.last()], |row| row.get::<i64>(0))?,
            );
        }
        Ok(Self { stored, there })
    }
}

/// A row of the log.
pub(super) struct NewRecord<'a> {
    pub(super) position: u64,
    pub(super) stream_id: i64,
    pub(super) sequence: i64,
    pub(super) entry: Option<Vec<u8>>,
    pub(super) leaf: Option<[u8; 32]>,
    pub(super) request: Option<i64>,
    pub(super) cluster: Option<Cow<'a, str>>,
    pub(super) subject_id: Option<i64>,
    pub(super) salt: [u8; 32],
    pub(super) body: Cow<'a, [u8]>,
}

const COLUMNS: [&str; 10] = [
    "position",
    "stream_id",
    "sequence",
    "entry",
    "leaf",
    "request",
    "cluster",
    "subject_id",
    "salt",
    "body",
];

pub(super) fn write(connection: &Connection, records: &[NewRecord<'_>]) -> Result<(), Failure> {
    fn values<'v>(new: &'v NewRecord<'_>) -> [Value<'v>; 10] {
        [
            new.position.to_value(),
            new.stream_id.to_value(),
            new.sequence.to_value(),
            new.entry.to_value(),
            new.leaf.to_value(),
            new.request.to_value(),
            new.cluster.to_value(),
            new.subject_id.to_value(),
            new.salt.to_value(),
            Value::Bytes(&new.body),
        ]
    }
    match records {
        [] => {}
        // The record of a change, which others wait for. To begin and end what is for many takes a server longer.
        [one] => {
            let columns = COLUMNS.join(", ");
            let sql = [
                "INSERT INTO audit_record (",
                &columns,
                ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            ];
            connection.execute(&sql.concat(), &values(one))?;
        }
        many => connection.append("audit_record", &COLUMNS, many.iter().map(values))?,
    }
    Ok(())
}

/// Records in the log. There is one writer at a time, so the next one's index is one more.
fn size(connection: &Connection) -> Result<u64, Failure> {
    let newest: u64 =
        connection
            .query_one("SELECT coalesce(max(position), 0) FROM audit_record", params![], |row| row.get(0))?;
    // After a restore no index is given out that the life before may have given out.
    Ok(newest.max(audit_from(connection)?))
}
