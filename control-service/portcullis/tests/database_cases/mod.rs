mod clock;
mod disk;
mod pool;
mod read_only;
mod tls;
