//! The part of WASI preview 1 that Proxy-Wasm hosts offer: no files, no sockets; stdout and stderr are
//! the log, clocks are virtual, randomness is seeded.

use wasmtime::{Caller, Linker};

use super::cx::{Cx, Offered};
use crate::codes::LogLevel;
use crate::state::VmState;
use crate::world::Arg;

const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

const SUCCESS: u32 = 0;
const BADF: u32 = 8;
const FAULT: u32 = 21;
const INVAL: u32 = 28;
const NOENT: u32 = 44;
const NOSYS: u32 = 52;
const NOTSUP: u32 = 58;

/// Envoy's limit of one `random_get`.
const MAX_RANDOM: u32 = 64 * 1024;

type Errno = Result<(), u32>;

macro_rules! wasi {
    ($($name:ident($($arg:ident: $ty:ty),*) = $body:expr;)*) => {
    /// The names of these hostcalls.
    pub(super) const HOSTCALLS: &[&str] = &["proc_exit", $(stringify!($name),)*];

    fn register_others(linker: &mut Linker<VmState>, offered: &mut Offered) -> wasmtime::Result<()> {$(
        for module in MODULES {
            linker.func_wrap(module, stringify!($name), |mut caller: Caller<'_, VmState>, $($arg: $ty),*| {
                let body: fn(&mut Cx<'_, '_>, $($ty),*) -> Errno = $body;
                Cx::wasi(&mut caller, stringify!($name), |cx| {
                    let errno = body(cx, $($arg),*).err().unwrap_or(SUCCESS);
                    cx.result(Arg::Number(errno.into()));
                    errno
                })
            })?;
            offered.insert((module, stringify!($name)));
        }
    )*
        Ok(())
    }
    };
}

pub(super) fn register(linker: &mut Linker<VmState>, offered: &mut Offered) -> wasmtime::Result<()> {
    for module in MODULES {
        linker.func_wrap(module, "proc_exit", |mut caller: Caller<'_, VmState>, code: u32| {
            Cx::wasi(&mut caller, "proc_exit", |cx| {
                cx.argument(Arg::Number(code.into()));
                SUCCESS
            })
            .map(drop)
        })?;
        offered.insert((module, "proc_exit"));
    }
    register_others(linker, offered)
}

wasi! {
    fd_write(fd: u32, vectors: u32, count: u32, written: u32) = write;
    environ_sizes_get(count: u32, size: u32) = environ_sizes;
    environ_get(pointers: u32, bytes: u32) = environ;
    args_sizes_get(count: u32, size: u32) = no_arguments;
    args_get(_pointers: u32, _bytes: u32) = |_, _, _| Ok(());
    clock_time_get(clock: u32, _precision: u64, time: u32) = clock_time;
    clock_res_get(clock: u32, resolution: u32) = clock_resolution;
    random_get(bytes: u32, len: u32) = random;
    sched_yield() = |_| Ok(());
    poll_oneoff(_in: u32, _out: u32, _count: u32, events: u32) = |cx, _, _, _, at| put(cx, at, 0);
    fd_fdstat_get(fd: u32, stat: u32) = fdstat;
    fd_fdstat_set_flags(_fd: u32, _flags: u32) = |_, _, _| Err(NOSYS);
    fd_prestat_get(_fd: u32, _stat: u32) = |_, _, _| Err(BADF);
    fd_prestat_dir_name(_fd: u32, _path: u32, _len: u32) = |_, _, _, _| Err(NOSYS);
    fd_filestat_get(_fd: u32, _stat: u32) = |_, _, _| Err(BADF);
    fd_read(_fd: u32, _vectors: u32, _count: u32, _read: u32) = |_, _, _, _, _| Err(NOSYS);
    fd_pread(_fd: u32, _vectors: u32, _count: u32, _at: u64, _read: u32) = |_, _, _, _, _, _| Err(NOSYS);
    fd_pwrite(fd: u32, vectors: u32, count: u32, _at: u64, written: u32)
        = |cx, fd, vectors, count, _, written| write(cx, fd, vectors, count, written);
    fd_seek(_fd: u32, _offset: i64, _whence: u32, _new: u32) = |_, _, _, _, _| Ok(());
    fd_close(_fd: u32) = |_, _| Ok(());
    fd_advise(_fd: u32, _at: u64, _len: u64, _advice: u32) = |_, _, _, _, _| Ok(());
    fd_allocate(fd: u32, _at: u64, _len: u64) = |_, fd, _, _| output(fd);
    fd_datasync(fd: u32) = |_, fd| output(fd);
    fd_sync(fd: u32) = |_, fd| output(fd);
    fd_fdstat_set_rights(fd: u32, _base: u64, _inheriting: u64) = |_, fd, _, _| output(fd);
    fd_filestat_set_size(fd: u32, _size: u64) = |_, fd, _| output(fd);
    fd_filestat_set_times(fd: u32, _access: u64, _modified: u64, _flags: u32) = |_, fd, _, _, _| output(fd);
    fd_renumber(_from: u32, _to: u32) = |_, _, _| Err(NOTSUP);
    fd_tell(fd: u32, at: u32) = |cx, fd, at| output(fd).and_then(|()| put(cx, at, 0));
    fd_readdir(_fd: u32, _buf: u32, _len: u32, _cookie: u64, _used: u32) = |_, _, _, _, _, _| Err(NOTSUP);
    path_open(_fd: u32, _flags: u32, _path: u32, _len: u32, _open: u32, _base: u64, _inheriting: u64,
        _fdflags: u32, _opened: u32) = |_, _, _, _, _, _, _, _, _, _| Err(NOENT);
    path_create_directory(_fd: u32, _path: u32, _len: u32) = |_, _, _, _| Err(NOTSUP);
    path_filestat_get(_fd: u32, _flags: u32, _path: u32, _len: u32, _stat: u32) = |_, _, _, _, _, _| Err(NOTSUP);
    path_filestat_set_times(_fd: u32, _flags: u32, _path: u32, _len: u32, _access: u64, _modified: u64,
        _times: u32) = |_, _, _, _, _, _, _, _| Err(NOTSUP);
    path_link(_from: u32, _flags: u32, _path: u32, _len: u32, _to: u32, _new: u32, _new_len: u32)
        = |_, _, _, _, _, _, _, _| Err(NOTSUP);
    path_readlink(_fd: u32, _path: u32, _len: u32, _buf: u32, _size: u32, _used: u32)
        = |_, _, _, _, _, _, _| Err(NOTSUP);
    path_remove_directory(_fd: u32, _path: u32, _len: u32) = |_, _, _, _| Err(NOTSUP);
    path_rename(_fd: u32, _path: u32, _len: u32, _to: u32, _new: u32, _new_len: u32)
        = |_, _, _, _, _, _, _| Err(NOTSUP);
    path_symlink(_path: u32, _len: u32, _fd: u32, _new: u32, _new_len: u32) = |_, _, _, _, _, _| Err(NOTSUP);
    path_unlink_file(_fd: u32, _path: u32, _len: u32) = |_, _, _, _| Err(NOTSUP);
    sock_accept(_fd: u32, _flags: u32, _accepted: u32) = |_, _, _, _| Err(NOTSUP);
    sock_recv(_fd: u32, _vectors: u32, _count: u32, _flags: u32, _read: u32, _out: u32)
        = |_, _, _, _, _, _, _| Err(NOTSUP);
    sock_send(_fd: u32, _vectors: u32, _count: u32, _flags: u32, _sent: u32) = |_, _, _, _, _, _| Err(NOTSUP);
    sock_shutdown(_fd: u32, _how: u32) = |_, _, _| Err(NOTSUP);
}

/// Standard output and standard error are all there is.
fn output(fd: u32) -> Errno {
    if matches!(fd, 1 | 2) { Ok(()) } else { Err(BADF) }
}

fn put(cx: &mut Cx<'_, '_>, at: u32, value: u32) -> Errno {
    cx.write_u32(at, value).map_err(|_| FAULT)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn write(cx: &mut Cx<'_, '_>, fd: u32, vectors: u32, count: u32, written: u32) -> Errno {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return Err(BADF),
    };
    let table = cx.read(vectors, count.checked_mul(8).ok_or(FAULT)?).map_err(|_| FAULT)?;
    let mut text = Vec::new();
    for vector in table.chunks_exact(8) {
        text.extend(cx.read(word(vector, 0), word(vector, 4)).map_err(|_| FAULT)?);
    }
    let size = u32::try_from(text.len()).map_err(|_| FAULT)?;
    let line = String::from_utf8_lossy(text.strip_suffix(b"\n").unwrap_or(&text)).into_owned();
    cx.argument(Arg::Bytes(line.as_bytes()));
    let state = cx.state();
    if size != 0 && level >= state.world.log_level {
        state.log(level, line);
    }
    put(cx, written, size)
}

fn environ_sizes(cx: &mut Cx<'_, '_>, count: u32, size: u32) -> Errno {
    let env = &cx.state().env;
    let bytes: usize = env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let entries = u32::try_from(env.len()).map_err(|_| FAULT)?;
    put(cx, count, entries)?;
    put(cx, size, u32::try_from(bytes).map_err(|_| FAULT)?)
}

fn environ(cx: &mut Cx<'_, '_>, pointers: u32, bytes: u32) -> Errno {
    let env = cx.state().env.clone();
    let (mut pointer, mut at) = (pointers, bytes);
    for (name, value) in env {
        let entry = format!("{name}={value}\0");
        put(cx, pointer, at)?;
        cx.write(at, entry.as_bytes()).map_err(|_| FAULT)?;
        pointer = pointer.wrapping_add(4);
        at = at.wrapping_add(u32::try_from(entry.len()).map_err(|_| FAULT)?);
    }
    Ok(())
}

fn no_arguments(cx: &mut Cx<'_, '_>, count: u32, size: u32) -> Errno {
    put(cx, count, 0)?;
    put(cx, size, 0)
}

fn clock_time(cx: &mut Cx<'_, '_>, clock: u32, _precision: u64, time: u32) -> Errno {
    let now = {
        let world = cx.state().world.lock();
        match clock {
            0 => world.clock.unix_nanos(),
            1 => world.clock.monotonic_nanos(),
            _ => return Err(NOTSUP),
        }
    };
    cx.write_u64(time, now).map_err(|_| FAULT)
}

fn clock_resolution(cx: &mut Cx<'_, '_>, clock: u32, resolution: u32) -> Errno {
    if clock > 1 {
        return Err(NOTSUP);
    }
    cx.write_u64(resolution, 1).map_err(|_| FAULT)
}

fn random(cx: &mut Cx<'_, '_>, at: u32, len: u32) -> Errno {
    if len > MAX_RANDOM {
        return Err(INVAL);
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| INVAL)?];
    cx.state().world.lock().random.fill(&mut bytes);
    cx.write(at, &bytes).map_err(|_| FAULT)
}

/// A 24-byte record of which only the right to write is set.
fn fdstat(cx: &mut Cx<'_, '_>, fd: u32, stat: u32) -> Errno {
    output(fd)?;
    let mut record = [0; 24];
    record[8..16].copy_from_slice(&64_u64.to_le_bytes());
    cx.write(stat, &record).map_err(|_| FAULT)
}
