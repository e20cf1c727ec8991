//! The table of sealed secrets.

use portcullis_control_domain::random::random;
use portcullis_protocol::audit::hex;
use portcullis_protocol::wire::RecordKind;
use portcullis_sql::{Begun, Connection, params};
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::StoreError;
use crate::seal::{SealError, Sealed, SealingKey, Wrapped};

/// True when the database holds secrets, so that its sealing key must be there.
pub(super) fn any(connection: &Connection) -> Result<bool, Failure> {
    Ok(connection.query_one("SELECT EXISTS (SELECT 1 FROM secret)", params![], |row| row.get(0))?)
}

/// Runs what opens secrets, outside of any transaction; once more when one does not open, with the keys as their source has
/// them by then: the secrets may have been sealed anew.
pub(super) fn opening<T>(key: &SealingKey, job: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
    match job() {
        Err(Failure(StoreError::Seal(SealError::DoesNotOpen { .. }))) => {
            key.refresh()?;
            job()
        }
        outcome => outcome,
    }
}

/// One of the secrets that are there: all are sealed by the same key.
pub(super) fn any_wrapped(connection: &Connection) -> Result<Option<Wrapped>, Failure> {
    let sql = "SELECT name, wrapped_key FROM secret ORDER BY name LIMIT 1";
    let wrapped = connection
        .query_optional(sql, params![], |row| Ok(Wrapped { name: row.get(0)?, wrapped_key: row.get(1)? }));
    Ok(wrapped?)
}

/// Opens a secret; makes it when it is not there yet. In a transaction: of two processes that made it at once, one would go on
/// with a secret that nobody has.
pub(super) fn load_or_make(
    begun: Begun<'_>,
    key: &SealingKey,
    name: &str,
) -> Result<Zeroizing<[u8; 32]>, Failure> {
    if let Some(secret) = load(&begun, key, name)? {
        return Ok(secret);
    }
    let secret = Zeroizing::new(random::<32>());
    store(&begun, key, name, &*secret)?;
    Ok(secret)
}

/// Opens a secret of the service's own that was stored.
pub(super) fn load(
    connection: &Connection,
    key: &SealingKey,
    name: &str,
) -> Result<Option<Zeroizing<[u8; 32]>>, Failure> {
    let Some(opened) = open(connection, key, name)? else { return Ok(None) };
    let secret = <[u8; 32]>::try_from(opened.as_slice());
    let secret = secret.map_err(|_| Failure::database(format!("the secret {name} has not 32 bytes")))?;
    Ok(Some(Zeroizing::new(secret)))
}

/// Opens a secret of any length.
pub(super) fn open(
    connection: &Connection,
    key: &SealingKey,
    name: &str,
) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let found = connection.query_optional(
        "SELECT wrapped_key, ciphertext FROM secret WHERE name = ?1",
        params![name],
        |row| Ok(Sealed { wrapped_key: row.get(0)?, ciphertext: row.get(1)? }),
    )?;
    let Some(sealed) = found else { return Ok(None) };
    Ok(Some(key.open(name, &sealed)?))
}

/// Wraps the data key of every secret by the first of the sealing keys; returns how many were not.
pub(super) fn rewrap_all(connection: &Connection, key: &SealingKey) -> Result<usize, Failure> {
    let secrets = connection.query("SELECT name, wrapped_key, ciphertext FROM secret", params![], |row| {
        Ok((row.get::<String>(0)?, Sealed { wrapped_key: row.get(1)?, ciphertext: row.get(2)? }))
    })?;
    let mut rewrapped = 0;
    for (name, sealed) in secrets {
        if let Some(wrapped) = key.rewrap(&name, &sealed)? {
            let sql = "UPDATE secret SET wrapped_key = ?2 WHERE name = ?1";
            connection.execute(sql, params![name, wrapped])?;
            rewrapped += 1;
        }
    }
    Ok(rewrapped)
}

/// Opens every secret once.
pub(super) fn open_all(connection: &Connection, key: &SealingKey) -> Result<(), Failure> {
    connection.each("SELECT name, wrapped_key, ciphertext FROM secret", params![], |row| {
        let sealed = Sealed { wrapped_key: row.get(1)?, ciphertext: row.get(2)? };
        key.open(&row.get::<String>(0)?, &sealed)?;
        Ok(())
    })
}

/// Seals and stores a secret, in the place of one that has the same name.
pub(super) fn store(
    connection: &Connection,
    key: &SealingKey,
    name: &str,
    secret: &[u8],
) -> Result<(), Failure> {
    let sealed = key.seal(name, secret, any_wrapped(connection)?.as_ref())?;
    connection.execute(
        "INSERT INTO secret (name, wrapped_key, ciphertext) VALUES (?1, ?2, ?3) ON CONFLICT (name)
            DO UPDATE SET wrapped_key = excluded.wrapped_key, ciphertext = excluded.ciphertext",
        params![name, sealed.wrapped_key, sealed.ciphertext],
    )?;
    Ok(())
}

/// What the secret value of an entry of the snapshot is called.
pub(super) fn name_of_entry(kind: RecordKind, key: &[u8]) -> String {
    format!("entry:{}:{}", kind as i32, hex(key))
}

/// Removes a secret.
pub(super) fn remove(connection: &Connection, name: &str) -> Result<(), Failure> {
    connection.execute("DELETE FROM secret WHERE name = ?1", params![name])?;
    Ok(())
}
