//! Who must wait after wrong secrets. It stands in the database, so that those who guess get no more tries from several
//! replicas than from one.

use std::time::Duration;

use portcullis_control_domain::clock::millis;
use portcullis_control_domain::pause::{FORGET, MOST, Pause, PauseName};
use portcullis_protocol::wire::AuditRecord;
use portcullis_sql::{Connection, params};

use super::Store;
use super::failure::Failure;
use crate::StoreError;

fn find(connection: &Connection, name: PauseName) -> Result<Option<Pause>, Failure> {
    Ok(connection.query_optional(
        "SELECT failures, failed_at_ms, until_ms FROM pause WHERE name = ?1",
        params![name.0],
        |row| Ok(Pause { failures: row.get(0)?, failed_at_ms: row.get(1)?, until_ms: row.get(2)? }),
    )?)
}

/// How long those of these names that must wait have to wait.
fn left(connection: &Connection, names: &[PauseName], now_ms: u64) -> Result<Option<Duration>, Failure> {
    let mut longest = None;
    for name in names {
        longest = longest.max(find(connection, *name)?.and_then(|pause| pause.left(now_ms)));
    }
    Ok(longest)
}

fn count(connection: &Connection, name: PauseName, now_ms: u64) -> Result<(), Failure> {
    let before = find(connection, name)?;
    let pause = before.unwrap_or_default().failed(now_ms);
    connection.execute(
        "INSERT INTO pause (name, failures, failed_at_ms, until_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET failures = excluded.failures,
                failed_at_ms = excluded.failed_at_ms, until_ms = excluded.until_ms",
        params![name.0, pause.failures, pause.failed_at_ms, pause.until_ms],
    )?;
    if before.is_none() {
        let forgotten_ms = now_ms.saturating_sub(millis(FORGET));
        connection.execute(
            "DELETE FROM pause WHERE failed_at_ms < ?1
                OR failed_at_ms < (SELECT failed_at_ms FROM pause ORDER BY failed_at_ms DESC LIMIT 1 OFFSET ?2)",
            params![forgotten_ms, MOST - 1],
        )?;
    }
    Ok(())
}

impl Store {
    /// Refuses somebody who has not proved who they are: the failure is counted for these names and audited. Where one of
    /// them must wait nothing is written, so that nobody can fill the audit log, and the answer is how long.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn refuse(
        &self,
        names: Vec<PauseName>,
        record: AuditRecord,
    ) -> Result<Option<Duration>, StoreError> {
        // Whoever must wait costs no write.
        let asked = names.clone();
        let waits =
            self.readers.run(move |connection| left(connection, &asked, connection.now_ms()?)).await?;
        if waits.is_some() {
            return Ok(waits);
        }
        self.writer
            .run(move |transaction| {
                let connection = transaction.connection();
                let now_ms = connection.now_ms()?;
                // Of those who came at once, one may have been counted meanwhile.
                let waits = left(connection, &names, now_ms)?;
                if waits.is_some() {
                    return Ok(waits);
                }
                names.iter().try_for_each(|name| count(connection, *name, now_ms))?;
                transaction.record(record)?;
                Ok(None)
            })
            .await
    }

    /// How long this name has to wait, if it must.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn pause_of(&self, name: PauseName) -> Result<Option<Duration>, StoreError> {
        self.readers.run(move |connection| left(connection, &[name], connection.now_ms()?)).await
    }

    /// Forgets the failures of somebody who has proved who they are.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn forgive(&self, name: PauseName) -> Result<(), StoreError> {
        // As a rule there are none, and then nothing is written.
        let known = self.readers.run(move |connection| find(connection, name)).await?;
        if known.is_none() {
            return Ok(());
        }
        self.writer
            .run(move |transaction| {
                transaction.connection().execute("DELETE FROM pause WHERE name = ?1", params![name.0])?;
                Ok(())
            })
            .await
    }
}
