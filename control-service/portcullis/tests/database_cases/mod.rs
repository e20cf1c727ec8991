mod clock;
mod disk;
mod pool;
mod tls;
