//! Every operation of the store, on SQLite and on a real PostgreSQL: what it does, what it refuses, and what is there
//! after a restart.

mod access;
mod audit;
mod enrolment;
mod entry;
mod life;
mod replicas;
mod shared;
mod tokens;
mod world;

/// Makes two tests of each function: one on SQLite, one on PostgreSQL.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::world::World::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::world::World::postgres(concat!(module_path!(), "::", stringify!($name))).await).await;
            })+
        }
    };
}
pub(crate) use on_both;
