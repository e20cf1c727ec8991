//! A real Prometheus beside a mesh.

use std::net::SocketAddr;
use std::process::Command;

use hyper::Method;
use portcullis_mesh::http::Request;
use portcullis_mesh::process::Process;
use portcullis_mesh::wait::Seen;
use portcullis_mesh::{Mesh, paths, tools};
use serde_json::Value;

use crate::definitions::Definitions;

pub(crate) struct Prometheus {
    process: Process,
    address: SocketAddr,
}

impl Prometheus {
    pub(crate) async fn start(mesh: &Mesh, definitions: &Definitions) -> Self {
        let folder = mesh.run_dir().join("prometheus");
        std::fs::create_dir_all(&folder).unwrap();
        let write =
            |name: &str, content: Value| std::fs::write(folder.join(name), content.to_string()).unwrap();
        write("rules.yaml", definitions.hurried_rules());
        write("prometheus.yaml", definitions.scrapes(mesh));
        let address = mesh.plan().spare(90, 9090);
        let program = tools::installed_set(&paths::root(), "monitoring").unwrap().join("prometheus");
        let mut command = Command::new(program);
        command.current_dir(&folder).args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", command.into(), &mesh.log("prometheus")).unwrap();
        let mut prometheus = Self { process, address };
        prometheus
            .until("every target", "up", |up| up.len() == 6 && up.iter().all(|one| value(one) > 0.0))
            .await;
        prometheus
    }

    /// An instant query.
    pub(crate) async fn ask(&self, query: &str) -> Vec<Value> {
        ask(self.address, query).await
    }

    /// Asks until the answer is as it should be.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        query: &str,
        fits: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let address = self.address;
        let looks = async || {
            let ready = Request::get(address, "/-/ready").send().await;
            if !ready.is_ok_and(|answer| answer.status == 200) {
                return Ok(Seen::NotYet("Prometheus is not ready".to_owned()));
            }
            let answer = ask(address, query).await;
            Ok(if fits(&answer) { Seen::Done(answer) } else { Seen::NotYet(format!("{query}: {answer:?}")) })
        };
        // One that is dead will never say it.
        self.process.until(what, looks).await.unwrap()
    }

    pub(crate) async fn fires(&mut self, alert: &str) {
        self.until(alert, &firing(alert), |answer| !answer.is_empty()).await;
    }

    pub(crate) async fn ends(&mut self, alert: &str) {
        self.until(&format!("the end of {alert}"), &firing(alert), <[_]>::is_empty).await;
    }

    /// The alerts that fire now.
    pub(crate) async fn firing(&self) -> Vec<String> {
        let firing = self.ask("ALERTS{alertstate=\"firing\"}").await;
        firing.iter().map(|alert| alert["metric"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn stop(mut self) {
        self.process.stop().await;
    }
}

async fn ask(address: SocketAddr, query: &str) -> Vec<Value> {
    let request = Request::get(address, "/api/v1/query").method(Method::POST).form(&[("query", query)]);
    let answer = request.send().await.unwrap().json();
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    answer["data"]["result"].as_array().unwrap().clone()
}

fn firing(alert: &str) -> String {
    format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}")
}

pub(crate) fn value(sample: &Value) -> f64 {
    sample["value"][1].as_str().unwrap().parse().unwrap()
}
