//! What only programs of the system can show: a PostgreSQL with TLS, the real PgBouncer, a disk that is full or can only be
//! read, a clock that jumps. `make test-full` runs it; what is not installed is an error that says what to install.

#![cfg(feature = "slow")]

mod common;
mod database_cases;
