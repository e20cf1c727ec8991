//! `portcullis agent`, the program of a data cluster, at a real service.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::agent::{address, join_token, listen};
use crate::common::{Server, run_in, until};

/// A data cluster's side: a folder of the agent, and where the platform is.
struct Side {
    home: TempDir,
    server: String,
}

impl Side {
    fn at(server: &Server, token: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), token).unwrap();
        Self { home, server: format!("https://localhost:{}", address(server.access()).port()) }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let folder = self.path("agent");
        run_in(self.home.path(), &[&["agent", "--folder", &folder], arguments].concat())
    }

    fn join(&self) -> Output {
        self.run(&["join", "--server", &self.server, "--token-file", &self.path("token")])
    }

    fn start(&self) -> Running {
        let log = PathBuf::from(self.path("log"));
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["agent", "--folder", &self.path("agent"), "run", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Running { child, log }
    }
}

/// A running agent, which ends with the test.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

#[tokio::test]
async fn the_program_joins_comes_online_and_tells_that_it_was_revoked() {
    let server = Server::start_with(|config: &mut Value| {
        listen(config);
        config["agents"]["serverNames"] = json!(["localhost"]);
    })
    .await;
    server.register("acme").await;
    let token = join_token(&server, "acme").await;
    let side = Side::at(&server, &token);
    let joined = side.join();
    assert!(joined.status.success() && said(&joined).contains("acme"), "{}", said(&joined));
    let other = Side::at(&server, &token).join();
    assert!(!other.status.success() && said(&other).contains("was used already"), "{}", said(&other));

    let running = side.start();
    until("the cluster is online", async || server.state_of("acme").await == "online").await;
    until("its status says so", async || said(&side.run(&["status"])).contains("online")).await;

    server.expect(200, Method::POST, "/v1/clusters/acme/certificates/revoke", None).await;
    let told = async || said(&side.run(&["status"])).contains("revoked");
    until("the agent tells why it is refused", told).await;
    let all = [running.log(), said(&joined), said(&side.run(&["status", "--output", "json"]))].concat();
    assert!(!all.contains(&token), "a token is told");
}
