//! A whole store from SQLite to a server: every table as it is, so that its life goes on there.

use std::path::Path;

use portcullis_control_domain::backup::TableDigest;
use portcullis_control_domain::sealing::SealingKeySource;
use portcullis_sql::{Backend, Connection, params};

use super::audit::is_converted;
use super::connect::Purpose;
use super::failure::Failure;
use super::life::{Life, life};
use super::location::{Location, never_served};
use super::secrets::Secrets;
use super::tables::{self, Content, Table};
use super::{Database, schema, sqlite};
use crate::StoreError;
use crate::folder::{self, Elsewhere, FolderLock};
use crate::seal::SealingKey;

/// What was copied, and found again at the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The store's life, which goes on.
    pub generation: [u8; 16],
    /// Its newest revision.
    pub revision: u64,
    /// Every table.
    pub tables: Vec<TableDigest>,
}

impl Database {
    /// Copies the database of a folder to a server, where it is made in one transaction: all of it is there, or nothing.
    /// Neither is served meanwhile. From then on the folder says that its database is elsewhere, and is not served from.
    ///
    /// # Errors
    /// [`StoreError`] with what is wrong and what to do; both sides are as they were then.
    pub fn copy(from: &Location, to: &Location) -> Result<Copied, StoreError> {
        let (
            Location::Folder { folder, sealing_key },
            Location::Server { folder: own, sealing_key: new_key, .. },
        ) = (from, to)
        else {
            return Err(StoreError::Unfit("a store is copied from a folder to a server".to_owned()));
        };
        let _lock = FolderLock::take(folder)?;
        let begun = matches!(Elsewhere::read(folder)?, Some(Elsewhere { copying: true, .. }));
        let source = source(folder)?;
        let life = life(&source)?;
        let key = SealingKey::load(sealing_key, false)?;
        // What does not open here would not open there.
        Secrets::load(&source, &key)?;
        let target = to.connect(Purpose::Fill)?;
        to.alone(&target)?;
        let made = key.copy(new_key)?;
        let marked = [folder.as_path(), own.as_path()];
        match over(&source, &target, Marker { folders: marked, life, begun }) {
            Ok(tables) => {
                Elsewhere::new(life.generation, false).write_all(&marked)?;
                Ok(Copied { generation: life.generation, revision: life.revision, tables })
            }
            Err(error) => {
                // A key of a store that is not there hurts nobody, but its file would be in the way of another one.
                if let SealingKeySource::File(file) = new_key
                    && made
                    && !error.is_disconnected()
                {
                    let _ = std::fs::remove_file(file);
                }
                Err(error)
            }
        }
    }
}

/// What folders say before the server commits.
struct Marker<'f> {
    folders: [&'f Path; 2],
    life: Life,
    /// An earlier attempt has said it already, and may have come to its end without knowing.
    begun: bool,
}

/// Has the server hold what the source holds.
fn over(
    source: &Connection,
    target: &Connection,
    marker: Marker<'_>,
) -> Result<Vec<TableDigest>, StoreError> {
    let Marker { folders, life: Life { generation, .. }, begun } = marker;
    // Dropped without a commit, the connection takes everything back.
    target.begin().map_err(Failure::from)?;
    let done = begun && !never_served(target)? && life(target)?.generation == generation;
    let tables = if done { compare(source, target)? } else { fill(source, target)? };
    Elsewhere::new(generation, true).write_all(&folders)?;
    let Err(error) = target.commit() else { return Ok(tables) };
    let error = StoreError::from(Failure::from(error));
    // Where nobody knows whether the server has committed, neither side is served until the copy is run again.
    if !begun && !error.is_disconnected() {
        folders.iter().try_for_each(|folder| Elsewhere::remove(folder))?;
    }
    Err(error)
}

/// The database of a folder that is to be copied, in a transaction that keeps others from writing to it.
fn source(folder: &Path) -> Result<Connection, StoreError> {
    if let Some(Elsewhere { copying: false, .. }) = Elsewhere::read(folder)? {
        return Err(StoreError::Unfit(format!(
            "{} was copied to a server already; what happened since stands there alone",
            folder::database(folder).display()
        )));
    }
    let file = folder::database(folder);
    if !file.is_file() {
        return Err(StoreError::data_dir(folder, "it has no portcullis.db that could be copied"));
    }
    let opened = sqlite::connect(&file).map_err(|e| StoreError::data_dir(folder, e))?;
    let source = Connection::sqlite(opened);
    source.begin().map_err(Failure::from)?;
    schema::expect_current(&source)?;
    if !is_converted(&source)? {
        let told = "the audit log is still in the form of an older version; run `portcullis store migrate` without \
                    DATABASE_URL first";
        return Err(StoreError::Unfit(told.to_owned()));
    }
    if never_served(&source)? {
        return Err(StoreError::data_dir(folder, "its portcullis.db is empty: there is nothing to copy"));
    }
    Ok(source)
}

/// Writes all tables, and reads them again.
fn fill(source: &Connection, target: &Connection) -> Result<Vec<TableDigest>, Failure> {
    if schema::is_old(target)? {
        schema::expect_current(target)?;
    }
    schema::migrate_within(target)?;
    let (from, to) = (tables::all(source)?, tables::all(target)?);
    expect_empty(target, &to)?;
    for table in &from {
        if !to.iter().any(|other| other.name == table.name && other.columns == table.columns) {
            return Err(Failure::database(format!("the server's table {} has other columns", table.name)));
        }
    }
    from.iter().map(|table| copy_table(source, target, table)).collect()
}

/// Reads all tables on both sides: an earlier attempt has filled them.
fn compare(source: &Connection, target: &Connection) -> Result<Vec<TableDigest>, Failure> {
    let compared = tables::all(source)?.into_iter().map(|table| {
        let (there, here) = (table.content(source)?, table.content(target)?);
        copied(table.name, there, here)
    });
    compared.collect()
}

/// The tables that hold something as soon as they are made.
fn seeded() -> Result<Vec<String>, Failure> {
    let fresh = sqlite::in_memory()?;
    schema::migrate(&fresh)?;
    let mut seeded = Vec::new();
    for table in tables::all(&fresh)? {
        if !table.is_empty(&fresh)? {
            seeded.push(table.name);
        }
    }
    Ok(seeded)
}

/// What the schema itself does not fill must be empty.
fn expect_empty(target: &Connection, tables: &[Table]) -> Result<(), Failure> {
    let seeded = seeded()?;
    for table in tables.iter().filter(|table| !seeded.contains(&table.name)) {
        if !table.is_empty(target)? {
            let told = format!(
                "the database of DATABASE_URL holds a store already: its table {} is not empty; name an empty database",
                table.name
            );
            return Err(StoreError::Unfit(told).into());
        }
    }
    Ok(())
}

/// Fills a table, reads it again, and tells what it holds.
pub(super) fn copy_table(
    source: &Connection,
    target: &Connection,
    table: &Table,
) -> Result<TableDigest, Failure> {
    let Table { name, columns, .. } = table;
    if !table.is_empty(target)? {
        target.execute(&format!("DELETE FROM {name}"), params![])?;
    }
    let mut there = Content::default();
    target.load(name, columns, |write| {
        there = table.each(source, |row| write(row))?;
        Ok::<_, Failure>(())
    })?;
    go_on_counting(target, name)?;
    copied(name.clone(), there, table.content(target)?)
}

fn copied(name: String, there: Content, here: Content) -> Result<TableDigest, Failure> {
    let Content { rows, sha256 } = here;
    if there == here {
        return Ok(TableDigest { name, rows, sha256 });
    }
    let told = format!(
        "the table {name} has {rows} rows where it was copied to, and not the {} that were to come",
        there.rows
    );
    Err(Failure::database(told))
}

/// Numbers that the server gives out by itself come after those that are there.
fn go_on_counting(target: &Connection, table: &str) -> Result<(), Failure> {
    if target.backend() == Backend::Sqlite {
        return Ok(());
    }
    let counted = "SELECT CAST(attname AS TEXT) FROM pg_attribute WHERE attrelid = to_regclass(?1) AND attidentity <> ''";
    for column in target.query(counted, params![table], |row| row.get::<String>(0))? {
        let sql = format!(
            "SELECT setval(CAST(pg_get_serial_sequence(?1, ?2) AS regclass), (SELECT max({column}) FROM {table}))"
        );
        target.query_one(&sql, params![table, column], |row| row.get::<Option<i64>>(0))?;
    }
    Ok(())
}
