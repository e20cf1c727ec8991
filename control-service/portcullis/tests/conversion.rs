//! The audit log of an older version, which is brought into the form of entries in parts: cut off in the middle on both
//! databases, and what it costs.

mod common;

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use portcullis_control_domain::audit::leaf_hash;
use portcullis_control_store::Server as DatabaseServer;
use portcullis_mesh::postgres::Postgres;
use portcullis_protocol::audit::hex;
use portcullis_protocol::wire::AuditRecord;
use prost::Message;
use tempfile::TempDir;

use common::database::postgres;
use common::{PATIENCE, portcullis, run_in};

/// Records that go into the old table by one statement.
const AT_ONCE: u64 = 500;

fn record(n: u64) -> AuditRecord {
    AuditRecord {
        stream: vec![1; 16],
        sequence: n,
        time_ms: 1_790_000_000_000 + n,
        proxy: "router~10.0.0.1~gateway".to_owned(),
        request_id: format!("{n:08x}-7a35-4b1e-9d2c-3f6a5b8c9d0e"),
        decision: "allow".to_owned(),
        status: 200,
        duration_us: 1_500,
        // Of every ten requests one is of nobody in particular.
        subject: if n.is_multiple_of(10) { String::new() } else { format!("person-{}", n % 1000) },
        tenant: "acme".to_owned(),
        source_type: "human".to_owned(),
        credential: "jwt".to_owned(),
        issuer: "https://idp.example.com".to_owned(),
        cluster: "orders".to_owned(),
        method: "GET".to_owned(),
        path: format!("/clusters/orders/tables/{n}"),
        client_address: "203.0.113.7".to_owned(),
        mode: "enforce".to_owned(),
        hop: "gateway".to_owned(),
        ..AuditRecord::default()
    }
}

/// A service's folder, and where its database is.
struct Old {
    folder: TempDir,
    place: Place,
}

enum Place {
    File(PathBuf),
    Server { url: String },
}

impl Old {
    fn in_a_file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        Self::configured(folder, Place::File(data.join("portcullis.db")))
    }

    async fn on_a_server(name: &str) -> (Postgres, Self) {
        let (server, url) = postgres(&["conversion-", name].concat()).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("database-url"), &url).unwrap();
        (server, Self::configured(folder, Place::Server { url }))
    }

    fn configured(folder: TempDir, place: Place) -> Self {
        std::fs::write(folder.path().join("token"), common::MESH_TOKEN).unwrap();
        common::write_config(folder.path(), &common::configuration());
        Self { folder, place }
    }

    /// Fills it as the fourth schema did, before there were entries.
    fn fill(&self, records: u64) {
        let sqlite = [
            include_str!("../../store/src/sql/schema/sqlite/1.sql"),
            include_str!("../../store/src/sql/schema/sqlite/2.sql"),
            include_str!("../../store/src/sql/schema/sqlite/3.sql"),
            include_str!("../../store/src/sql/schema/sqlite/4.sql"),
            "PRAGMA user_version = 4; PRAGMA synchronous = OFF",
        ];
        let postgres = [
            include_str!("../../store/src/sql/schema/postgres/4.sql"),
            "UPDATE schema_version SET version = 4; SET synchronous_commit = off",
        ];
        let stream = format!(
            "INSERT INTO audit_stream (stream, proxy, hop, stored, highest, duplicates, conflicts, principal, kind)
                VALUES ({}, 'router~1', 'gateway', {records}, {records}, 0, 0, 'spiffe://c/ns/g/sa/a', 'gateway')",
            self.bytes(&[1; 16])
        );
        let life = format!(
            "INSERT INTO snapshot_life (id, generation, revision, floor) VALUES (1, {}, 0, 0)",
            self.bytes(&[7; 16])
        );
        let steps = match &self.place {
            Place::File(_) => &sqlite[..],
            Place::Server { .. } => &postgres,
        };
        let parts = (0..records.div_ceil(AT_ONCE)).map(|part| {
            let numbers = part * AT_ONCE + 1..=((part + 1) * AT_ONCE).min(records);
            let rows: Vec<_> = numbers.map(|n| self.row(&record(n))).collect();
            let columns = "position, stream_id, sequence, request_id, subject, cluster, bytes, leaf";
            format!("INSERT INTO audit_record ({columns}) VALUES {}", rows.join(", "))
        });
        let all = steps.iter().map(|step| (*step).to_owned()).chain([life, stream]).chain(parts);
        match &self.place {
            Place::File(file) => {
                let connection = rusqlite::Connection::open(file).unwrap();
                all.for_each(|sql| connection.execute_batch(&sql).unwrap());
            }
            Place::Server { url } => {
                let connection = DatabaseServer::parse(url).unwrap().connect().unwrap();
                all.for_each(|sql| connection.batch(&sql).unwrap());
            }
        }
    }

    fn row(&self, record: &AuditRecord) -> String {
        let AuditRecord { sequence, request_id, subject, cluster, .. } = record;
        let bytes = record.encode_to_vec();
        let (bytes, leaf) = (self.bytes(&bytes), self.bytes(&leaf_hash(&bytes)));
        format!("({sequence}, 1, {sequence}, '{request_id}', '{subject}', '{cluster}', {bytes}, {leaf})")
    }

    /// Bytes as they stand in SQL.
    fn bytes(&self, bytes: &[u8]) -> String {
        match &self.place {
            Place::File(_) => format!("X'{}'", hex(bytes)),
            Place::Server { .. } => format!("'\\x{}'", hex(bytes)),
        }
    }

    /// What a query counts; `None` where there is no such table just now.
    fn count(&self, sql: &str) -> Option<i64> {
        match &self.place {
            Place::File(file) => {
                let connection = rusqlite::Connection::open(file).unwrap();
                connection.busy_timeout(PATIENCE).unwrap();
                connection.query_row(sql, [], |row| row.get(0)).ok()
            }
            Place::Server { url } => {
                let connection = DatabaseServer::parse(url).unwrap().connect().unwrap();
                connection.query_one(sql, &[], |row| row.get(0)).ok()
            }
        }
    }

    /// How many are converted, while not all are.
    fn converted(&self) -> Option<i64> {
        self.count(
            "SELECT (SELECT count(*) FROM audit_record) WHERE EXISTS (SELECT 1 FROM audit_record_before)",
        )
    }

    fn migrate(&self) -> Child {
        let mut command = portcullis();
        command.args(["store", "migrate", "--config"]).arg(self.folder.path().join("control.yaml"));
        if let Place::Server { url } = &self.place {
            command.env("DATABASE_URL", url);
        }
        command.stdout(Stdio::null()).spawn().unwrap()
    }

    /// Everything is there, in the new form.
    fn is_whole(&self, records: u64) {
        let config = self.folder.path().join("control.yaml");
        let checked = run_in(self.folder.path(), &["store", "check", "--config", config.to_str().unwrap()]);
        let told = String::from_utf8(checked.stdout).unwrap();
        assert!(told.contains("everything fits together"), "{told}");
        let all = format!("SELECT count(*) FROM audit_record WHERE position BETWEEN 1 AND {records}");
        assert_eq!(self.count(&all), i64::try_from(records).ok());
        for n in [1, records / 2, records] {
            let leaf = self.bytes(&leaf_hash(&record(n).encode_to_vec()));
            let same = format!("SELECT count(*) FROM audit_record WHERE position = {n} AND leaf = {leaf}");
            assert_eq!(self.count(&same), Some(1), "what was published of {n}");
        }
        assert_eq!(self.converted(), None, "the old table is gone");
    }
}

/// Ends the conversion three times as a power cut would, each time further on.
fn is_cut_off_and_goes_on(old: &Old) {
    const RECORDS: u64 = 20_000;
    old.fill(RECORDS);
    for enough in [1, 5_000, 10_000] {
        let (mut child, begun) = (old.migrate(), Instant::now());
        while old.converted().is_none_or(|converted| converted < enough) {
            assert!(child.try_wait().unwrap().is_none(), "it was to be cut off before its end");
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let left = old.count("SELECT count(*) FROM audit_record_before").unwrap();
        let done = old.count("SELECT count(*) FROM audit_record").unwrap();
        assert!(left > 0 && done >= enough, "{done} and {left}");
        assert_eq!(u64::try_from(left + done).unwrap(), RECORDS, "each is in one form");
    }
    assert!(old.migrate().wait().unwrap().success());
    old.is_whole(RECORDS);
}

#[test]
fn a_conversion_that_is_cut_off_goes_on_in_a_file() {
    is_cut_off_and_goes_on(&Old::in_a_file());
}

#[tokio::test]
async fn a_conversion_that_is_cut_off_goes_on_on_a_server() {
    let (server, old) = Old::on_a_server("cut-off").await;
    tokio::task::spawn_blocking(move || is_cut_off_and_goes_on(&old)).await.unwrap();
    drop(server);
}

#[cfg(feature = "slow")]
mod cost {
    use std::path::Path;

    use portcullis_mesh::paths;

    use super::*;

    /// How much a database's log beside its tables holds: a file, or those of a folder.
    fn log_bytes(log: &Path) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        match std::fs::read_dir(log) {
            Ok(files) => files.flatten().map(|file| size(&file.path())).sum(),
            Err(_) => size(log),
        }
    }

    /// The most memory that a process has had, in bytes; 0 when it has ended.
    fn peak_memory(process: u32) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        line.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// It goes on in parts that are all of one size: ten times as many records take ten times as long, and no more memory
    /// or log.
    fn takes_its_time_and_little_else(old: &Old, log: &Path, log_bound: u64) {
        const RECORDS: u64 = 1_000_000;
        old.fill(RECORDS);
        let (mut child, begun, before) = (old.migrate(), Instant::now(), log_bytes(log));
        let (mut memory, mut most) = (0, before);
        let outcome = loop {
            if let Some(outcome) = child.try_wait().unwrap() {
                break outcome;
            }
            memory = memory.max(peak_memory(child.id()));
            most = most.max(log_bytes(log));
            std::thread::sleep(Duration::from_millis(50));
        };
        let took = begun.elapsed().as_secs_f64();
        assert!(outcome.success());
        println!(
            "{}: {RECORDS} records converted in {took:.0} s, {} MiB of memory, {} MiB of log (before: {} MiB); ten million \
             would take {:.0} min",
            log.display(),
            memory >> 20,
            most >> 20,
            before >> 20,
            took * 10.0 / 60.0
        );
        assert!(memory < 256 << 20, "{memory} bytes of memory");
        assert!(most < log_bound, "{most} bytes of log");
        old.is_whole(RECORDS);
    }

    #[test]
    fn a_million_records_are_converted_in_a_file_without_much_memory_or_log() {
        let old = Old::in_a_file();
        let log = old.folder.path().join("data/portcullis.db-wal");
        takes_its_time_and_little_else(&old, &log, 256 << 20);
    }

    #[tokio::test]
    async fn a_million_records_are_converted_on_a_server_without_much_memory_or_log() {
        let (server, old) = Old::on_a_server("million").await;
        let log = paths::target().join("postgres/conversion-million/data/pg_wal");
        // The server keeps up to max_wal_size of it, 1 GiB, and a checkpoint under way lets it grow meanwhile.
        let convert = move || takes_its_time_and_little_else(&old, &log, 2 << 30);
        tokio::task::spawn_blocking(convert).await.unwrap();
        drop(server);
    }
}
