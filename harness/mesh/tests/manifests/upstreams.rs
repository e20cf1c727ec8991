//! How a gateway bears replicas of a Data API that fail, by what `components/hosted-cluster` says (B11, B20): retries,
//! time-outs, circuit breaking, and another zone when the near one is gone.

use std::time::{Duration, Instant};

use hyper::Method;
use portcullis_mesh::bootstrap::LOCALITY;
use portcullis_mesh::http::{Request, Response};
use portcullis_mesh::pki::Workload;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{Mesh, Options};
use serde_json::{Value, json};

use crate::hosted::{Hosted, placed};
use crate::replica::{AT_ONCE, Answer, Replica};

/// Longer than the time-out of the test, and shorter than anybody's patience.
const SLOW: Duration = Duration::from_secs(3);

/// A mesh whose hosted cluster has two replicas of version 1 beside the gateway, and of version 2 a near one and a far one.
struct Cluster {
    mesh: Mesh,
    hosted: Hosted,
    one: Replica,
    two: Replica,
    near: Replica,
    far: Replica,
}

impl Cluster {
    async fn start() -> Self {
        let options =
            Options { plugins: false, private_manifests: true, gateway_workers: 1, ..Options::default() };
        let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
        let here = format!("{}/{}", LOCALITY.0, LOCALITY.1);
        let leaf = mesh.leaf_of(Workload::HOSTED).unwrap();
        let address = |host| mesh.plan().spare(host, mesh.plan().hosted_sidecar().port());
        let endpoint = |host, version, locality: &str| {
            let value = json!({"address": address(host).ip().to_string(), "serviceAccount": Workload::HOSTED.account,
                "labels": {"app": "data-api", "version": version}, "locality": locality});
            json!({"op": "add", "path": "/spec/endpoints/-", "value": value})
        };
        let endpoints = json!([
            endpoint(11, "v1", &here),
            endpoint(12, "v1", &here),
            endpoint(21, "v2", &here),
            endpoint(22, "v2", "elsewhere/elsewhere-a"),
        ]);
        let hosted = quicker(Hosted::of_the_overlay());
        hosted.apply(&mesh, &endpoints).await;
        let one = Replica::start("one", address(11), &leaf).await;
        let two = Replica::start("two", address(12), &leaf).await;
        let near = Replica::start("near", address(21), &leaf).await;
        let far = Replica::start("far", address(22), &leaf).await;
        let cluster = Self { mesh, hosted, one, two, near, far };
        for version in ["1", "2"] {
            let request = cluster.version(version);
            wait::in_a_row("the replicas", &cluster.log(), async || seen_ok(&request).await).await.unwrap();
        }
        cluster
    }

    fn log(&self) -> std::path::PathBuf {
        self.mesh.log("ingressgateway")
    }

    fn version(&self, version: &str) -> Request {
        placed(&self.mesh).header("x-api-version", version)
    }

    /// A request that changes something.
    fn change(&self) -> Request {
        self.version("1").method(Method::POST).json(&json!({"change": "once"}))
    }

    /// How many requests the replicas of version 1 have had.
    fn seen(&self) -> usize {
        self.one.seen() + self.two.seen()
    }

    fn answer(&self, answer: Answer) {
        self.one.answers(answer);
        self.two.answers(answer);
    }

    /// Waits until so many requests at a time to version 1 are what the gateway holds to.
    async fn bears(&self, requests: u32) {
        let wanted = format!(
            "|v1|data-api.acme-hosted.svc.cluster.local::default_priority::max_requests::{requests}\n"
        );
        let page = Request::get(self.mesh.plan().ingress_admin(), "/clusters");
        wait::until("the pool", &self.log(), async || {
            let text = page.send().await?.text();
            Ok(if text.contains(&wanted) { Seen::Done(()) } else { Seen::NotYet(text) })
        })
        .await
        .unwrap();
    }

    /// A statistic of the gateway on a subset of the Data API.
    async fn stat(&self, version: &str, name: &str) -> u64 {
        let page =
            Request::get(self.mesh.plan().ingress_admin(), "/stats?filter=data-api").send().await.unwrap();
        let (subset, ending) = (format!("|{version}|"), format!(".{name}: "));
        let text = page.text();
        let mut found =
            text.lines().filter(|line| line.contains(&subset)).filter_map(|line| line.split_once(&ending));
        let (_, value) = found.next().unwrap_or_else(|| panic!("no {name} of {version}: {text}"));
        value.parse().unwrap()
    }
}

/// The same rules with the test's patience: a second where the overlay has a minute, and ejections that end soon.
fn quicker(mut hosted: Hosted) -> Hosted {
    let mut timed = 0;
    for route in hosted.route["spec"]["http"].as_array_mut().unwrap() {
        if route["timeout"] == "60s" {
            route["timeout"] = "1s".into();
            timed += 1;
        }
    }
    assert_eq!(timed, 2, "{}", hosted.route);
    replace(&mut hosted.connections, "/spec/trafficPolicy/outlierDetection/interval", "5s", json!("1s"));
    replace(
        &mut hosted.connections,
        "/spec/trafficPolicy/outlierDetection/baseEjectionTime",
        "30s",
        json!("2s"),
    );
    hosted
}

/// The same again with room for one request.
fn narrower(mut hosted: Hosted) -> Hosted {
    replace(
        &mut hosted.connections,
        "/spec/trafficPolicy/connectionPool/http/http2MaxRequests",
        1024,
        json!(1),
    );
    hosted
}

fn replace(resource: &mut Value, pointer: &str, from: impl Into<Value>, to: Value) {
    let found = resource.pointer_mut(pointer).unwrap();
    assert_eq!(*found, from.into(), "{pointer}");
    *found = to;
}

async fn seen_ok(request: &Request) -> portcullis_mesh::Result<Seen<()>> {
    let answer = request.send().await?;
    Ok(if answer.status == 200 { Seen::Done(()) } else { Seen::NotYet(said(&answer)) })
}

fn said(answer: &Response) -> String {
    format!("{} {}", answer.status, answer.text())
}

#[tokio::test]
async fn replicas_that_fail_are_borne_as_the_manifests_say() {
    let mut cluster = Cluster::start().await;
    what_was_sent_is_not_sent_again(&cluster).await;
    who_takes_too_long_is_left(&cluster).await;
    what_was_not_sent_goes_elsewhere(&mut cluster).await;
    more_than_the_pool_holds_is_refused(&cluster).await;
    the_far_zone_takes_over_from_the_near_one(&mut cluster).await;
    cluster.mesh.stop().await;
}

/// Whether it has been carried out nobody knows but the replica: neither a change nor a read is repeated.
async fn what_was_sent_is_not_sent_again(cluster: &Cluster) {
    for (answer, body) in [(Answer::CutOff, "reset"), (Answer::Unavailable, "")] {
        for request in [cluster.change(), cluster.version("1")] {
            cluster.answer(answer);
            let before = cluster.seen();
            let answered = request.send().await.unwrap();
            assert_eq!(answered.status, 503, "{answer:?}: {}", said(&answered));
            assert!(answered.text().contains(body), "{answer:?}: {}", said(&answered));
            assert_eq!(cluster.seen() - before, 1, "{answer:?}: it came more than once");
            // So that nobody is ejected yet.
            cluster.answer(AT_ONCE);
            settle(cluster).await;
        }
    }
}

/// Until both replicas have answered well.
async fn settle(cluster: &Cluster) {
    let (one, two) = (cluster.one.seen(), cluster.two.seen());
    let request = cluster.version("1");
    wait::until("both replicas", &cluster.log(), async || {
        let answer = request.send().await?;
        let both = cluster.one.seen() > one && cluster.two.seen() > two;
        Ok(if answer.status == 200 && both { Seen::Done(()) } else { Seen::NotYet(said(&answer)) })
    })
    .await
    .unwrap();
}

async fn who_takes_too_long_is_left(cluster: &Cluster) {
    cluster.answer(Answer::Ok(SLOW));
    let before = cluster.seen();
    let answered = cluster.version("1").send().await.unwrap();
    assert_eq!(answered.status, 504, "{}", said(&answered));
    assert!((Duration::from_millis(900)..SLOW).contains(&answered.elapsed), "{:?}", answered.elapsed);
    assert_eq!(cluster.seen() - before, 1, "nor is that tried again");
    let stream = cluster.version("1").header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(stream.status, 200, "a stream has no time-out: {}", said(&stream));
    assert!(stream.elapsed >= SLOW, "{:?}", stream.elapsed);
    cluster.answer(AT_ONCE);
    settle(cluster).await;
}

/// A replica that takes no connection costs nobody a request; it is ejected, and comes back.
async fn what_was_not_sent_goes_elsewhere(cluster: &mut Cluster) {
    cluster.two.stop();
    let (one, two) = (cluster.one.seen(), cluster.two.seen());
    let mut sent = 0;
    while cluster.stat("v1", "outlier_detection.ejections_active").await == 0 {
        let answered = cluster.change().send().await.unwrap();
        assert_eq!((answered.status, answered.text().as_str()), (200, "one"), "request {sent}");
        sent += 1;
        assert!(sent < 1000, "nobody was ejected");
    }
    assert!(cluster.stat("v1", "upstream_rq_retry_success").await > 0, "it took a second try");
    let retries = cluster.stat("v1", "upstream_rq_retry").await;
    assert_eq!(cluster.change().send().await.unwrap().status, 200);
    assert_eq!(cluster.stat("v1", "upstream_rq_retry").await, retries, "who is ejected is not even asked");
    assert_eq!((cluster.one.seen() - one, cluster.two.seen() - two), (sent + 1, 0), "each came once");
    cluster.two.start_again().await;
    settle(cluster).await;
    assert_eq!(cluster.stat("v1", "outlier_detection.ejections_active").await, 0);
}

/// The rest is refused at once, and does not wait for memory to run out.
async fn more_than_the_pool_holds_is_refused(cluster: &Cluster) {
    narrower(cluster.hosted.clone()).apply_again(&cluster.mesh).await;
    cluster.bears(1).await;
    cluster.answer(Answer::Ok(Duration::from_millis(500)));
    let before = cluster.seen();
    let sent = (0..12).map(|_| {
        // Without a time-out, so that nothing but the pool ends them.
        let request = cluster.version("1").header("accept", "text/event-stream");
        tokio::spawn(async move { request.send().await.unwrap() })
    });
    let sent: Vec<_> = sent.collect();
    let (mut well, mut refused) = (0, 0);
    for answer in sent {
        let answer = answer.await.unwrap();
        if answer.status == 200 {
            well += 1;
        } else {
            assert_eq!(answer.status, 503, "{}", said(&answer));
            assert!(answer.text().contains("overflow"), "{}", said(&answer));
            refused += 1;
        }
    }
    assert!(well >= 1 && refused >= 6, "{well} went through and {refused} were refused");
    assert_eq!(cluster.seen() - before, well, "a replica heard of no other");
    assert!(cluster.stat("v1", "upstream_rq_active_overflow").await >= refused);
    cluster.hosted.apply_again(&cluster.mesh).await;
    cluster.bears(1024).await;
    cluster.answer(AT_ONCE);
    settle(cluster).await;
}

async fn the_far_zone_takes_over_from_the_near_one(cluster: &mut Cluster) {
    let request = cluster.version("2");
    for _ in 0..20 {
        assert_eq!(
            request.send().await.unwrap().text(),
            "near",
            "the far one is for when the near one is gone"
        );
    }
    assert_eq!(cluster.far.seen(), 0);
    cluster.near.stop();
    let gone = Instant::now();
    let mut failed = 0;
    wait::in_a_row("the far zone", &cluster.log(), async || {
        let answer = request.send().await?;
        failed += usize::from(answer.status != 200);
        Ok(if answer.text() == "far" { Seen::Done(()) } else { Seen::NotYet(said(&answer)) })
    })
    .await
    .unwrap();
    eprintln!("the far zone answered after {:?}, and {failed} requests failed before", gone.elapsed());
    assert!(failed <= 5, "{failed} requests failed");
    cluster.near.start_again().await;
    wait::in_a_row("the near zone", &cluster.log(), async || {
        let answer = request.send().await?;
        Ok(if answer.text() == "near" { Seen::Done(()) } else { Seen::NotYet(said(&answer)) })
    })
    .await
    .unwrap();
}
