//! A disk that can only be read while SQLite has its files open, as a file system becomes after an error: strace has every
//! call by which the service would change them fail so, for as long as it is attached.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::outage::{is_well_again, refuses};
use crate::common::{GATEWAY, Server, until};

/// The calls by which SQLite changes its files.
const CALLS: &str = "write,pwrite64,pwritev,ftruncate,fallocate,fsync,fdatasync";

/// A disk that can only be read, until this is ended.
struct ReadOnly(Child);

impl ReadOnly {
    async fn begin(service: &Server) -> Self {
        let data = service.folder.path().join("data");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-p", &service.id().to_string()]);
        strace.args(["-e", &format!("trace={CALLS}"), "-e", &format!("inject={CALLS}:error=EROFS")]);
        for file in ["portcullis.db", "portcullis.db-wal"] {
            strace.arg("-P").arg(data.join(file));
        }
        let child = strace.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
        let mut child = child.expect(
            "strace is missing, by which writes are made to fail: install it (Debian: `apt install strace`)",
        );
        until("strace is attached", async || {
            assert!(child.try_wait().unwrap().is_none(), "strace may not attach to a process of this user");
            all_traced(service.id())
        })
        .await;
        Self(child)
    }

    /// The disk can be written to again.
    fn end(mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether every thread of a process is traced.
fn all_traced(process: u32) -> bool {
    let threads = std::fs::read_dir(Path::new("/proc").join(process.to_string()).join("task")).unwrap();
    threads.flatten().all(|thread| {
        // One that has ended meanwhile needs no tracer.
        let Ok(status) = std::fs::read_to_string(thread.path().join("status")) else { return true };
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|id| id.trim() != "0"))
    })
}

#[tokio::test]
async fn a_disk_that_can_only_be_read_is_told_and_used_again_when_it_can_be_written_to() {
    let service = Server::start().await;
    service.register("orders").await;
    let mut gateway = service.reader("gateway", GATEWAY, "01");
    gateway.sync(&service).await;
    let revision = gateway.state.revision();
    for _ in 0..2 {
        let disk = ReadOnly::begin(&service).await;
        for _ in 0..3 {
            refuses(&service).await;
        }
        service.until_logged("the database takes nothing").await;
        assert_eq!(service.state_of("orders").await, "pending", "what is there can be read");
        gateway.poll(&service, 0).await;
        assert_eq!(gateway.state.revision(), revision, "filters go on by what is so");
        disk.end();
        until("the service is ready again", async || service.ready().await.0).await;
    }
    is_well_again(&service).await;
    gateway.poll(&service, 0).await;
    assert!(gateway.state.revision() > revision);
}
