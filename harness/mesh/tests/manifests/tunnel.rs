//! Both ends of a tunnel, each with exactly the file that is applied: that of `overlays/dev` at the platform, and that of
//! `data-cluster/on-premises` at the customer. Addresses are replaced, and certificates are those that cert-manager would make.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis_identity::ClusterId;
use portcullis_mesh::block::Block;
use portcullis_mesh::data_api::{self, DataApi, Trust};
use portcullis_mesh::http::Request;
use portcullis_mesh::pki::Authority;
use portcullis_mesh::process::Process;
use portcullis_mesh::tls::Tls;
use portcullis_mesh::wait::Seen;
use portcullis_mesh::{ONPREM, Result};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::{JoinHandle, JoinSet};

use crate::rendered::{Rendered, Settings, built, pods, tool};

/// A Deployment with an Envoy of its own, and where it runs here.
struct End {
    name: &'static str,
    /// The files of its ConfigMap, `envoy.yaml` among them, and what stands in for the volume of that.
    files: BTreeMap<String, String>,
    configuration: PathBuf,
    /// Its arguments.
    words: Vec<String>,
    /// What stands in for the volume of its Secret.
    secret: PathBuf,
    log: PathBuf,
}

impl End {
    fn of(rendered: &Rendered, name: &'static str, folder: &Path) -> Self {
        let deployment = rendered.named("Deployment", name);
        let pod = pods(&deployment).unwrap();
        let volume = |kind: &str, field: &str| {
            let volumes = pod["volumes"].as_array().unwrap();
            let found = volumes.iter().find(|volume| !volume[kind].is_null()).unwrap();
            let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["name"] == found["name"]).unwrap();
            (found[kind][field].as_str().unwrap().to_owned(), mount["mountPath"].as_str().unwrap().to_owned())
        };
        let (map, configured) = volume("configMap", "name");
        let (_, certified) = volume("secret", "secretName");
        let (secret, configuration) = (folder.join(name), folder.join(name).join("configuration"));
        let here = |text: &Value| {
            let text = text.as_str().unwrap().replace(&certified, &secret.join("volume").to_string_lossy());
            text.replace(&configured, &configuration.to_string_lossy())
        };
        let map = rendered.named("ConfigMap", &map);
        let files =
            map["data"].as_object().unwrap().iter().map(|(file, text)| (file.clone(), here(text))).collect();
        let words = pod["containers"][0]["args"].as_array().unwrap().iter().map(here).collect();
        let log = folder.join(name).with_extension("log");
        Self { name, files, configuration, words, secret, log }
    }

    /// At this address, with these others in the place of what it calls.
    fn at(mut self, own: SocketAddr, others: &[(&str, SocketAddr)]) -> Self {
        let text = self.files.get_mut("envoy.yaml").unwrap();
        for (name, address) in others {
            assert!(text.contains(name), "{name}: {text}");
            let here = format!("{{address: {}, port_value: {}}}", address.ip(), address.port());
            *text = text.replace(name, &here);
        }
        for everywhere in ["0.0.0.0", "127.0.0.1"] {
            let (from, to) = (format!("{{address: {everywhere},"), format!("{{address: {},", own.ip()));
            *text = text.replace(&from, &to);
        }
        self
    }

    /// Writes the files of its Secret as the kubelet does: beside what was there, and then in its place at once.
    fn write(&self, authority: &Authority, name: &str, turn: &str) {
        let files = self.secret.join(turn);
        std::fs::create_dir_all(&files).unwrap();
        let leaf = authority.named(name).unwrap();
        for (file, text) in
            [("tls.crt", &leaf.certificate), ("tls.key", &leaf.key), ("ca.crt", &authority.root())]
        {
            std::fs::write(files.join(file), text).unwrap();
        }
        let volume = self.secret.join("volume");
        std::fs::create_dir_all(&volume).unwrap();
        std::os::unix::fs::symlink(&files, volume.join("..data_tmp")).unwrap();
        std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        for file in ["tls.crt", "tls.key", "ca.crt"] {
            // There already but for the first time.
            let _ = std::os::unix::fs::symlink(Path::new("..data").join(file), volume.join(file));
        }
    }

    fn start(&self) -> Process {
        std::fs::create_dir_all(&self.configuration).unwrap();
        for (file, text) in &self.files {
            std::fs::write(self.configuration.join(file), text).unwrap();
        }
        let mut command = tokio::process::Command::from(tool(|tools| &tools.envoy));
        command.args(&self.words).args(["--disable-hot-restart", "--log-level", "info"]).env_clear();
        Process::start(self.name, command, &self.log).unwrap()
    }
}

/// The one name in a Certificate of the authority of the tunnels, which stands in this Secret.
fn certified(rendered: &Rendered, secret: &str) -> String {
    let certificate = rendered.named("Certificate", secret);
    let spec = &certificate["spec"];
    assert_eq!((&spec["secretName"], &spec["issuerRef"]["name"]), (&secret.into(), &"tunnels".into()));
    assert_eq!(spec["dnsNames"].as_array().map(Vec::len), Some(1), "{spec}");
    spec["dnsNames"][0].as_str().unwrap().to_owned()
}

/// A request of the gateway for this cluster, and what comes back.
async fn asks(egress: SocketAddr, cluster: &str) -> Result<(u16, String, Value)> {
    let answer = Request::get(egress, "/tables").header("x-portcullis-cluster", cluster).send().await?;
    Ok((answer.status, answer.header("x-portcullis-reason").to_owned(), answer.json()["cluster"].clone()))
}

async fn goes_through(egress: SocketAddr, agent: &mut Process) {
    let through = async || {
        Ok(match asks(egress, ONPREM).await {
            Ok((200, _, cluster)) if cluster == ONPREM => Seen::Done(()),
            other => Seen::NotYet(format!("{other:?}")),
        })
    };
    agent.until("a request through the tunnel", through).await.unwrap();
}

/// Waits until a client that trusts this authority alone finds the tunnel gateway good.
async fn shows_a_certificate_of(
    authority: &Authority,
    name: &str,
    accept: SocketAddr,
    gateway: &mut Process,
) {
    let tls = Tls::new(&authority.root(), Some(&authority.named(name).unwrap())).unwrap();
    let shown = async || {
        Ok(match Request::get(accept, "/").over(&tls).send().await {
            Err(error) => Seen::NotYet(error.to_string()),
            // Mutual TLS is through; it is no handshake of a tunnel.
            Ok(answer) => {
                assert_eq!(answer.status, 404, "{}", answer.text());
                Seen::Done(())
            }
        })
    };
    gateway.until("the new certificate", shown).await.unwrap();
}

/// Both ends of a tunnel with what stands behind, ready to be started.
struct Ends {
    platform: End,
    customer: End,
    accept: SocketAddr,
    egress: SocketAddr,
    /// The names in their certificates.
    names: [String; 2],
    api: JoinHandle<()>,
    block: Block,
    _folder: tempfile::TempDir,
}

impl Ends {
    async fn new() -> Self {
        let block = Block::take_any().unwrap();
        let plan = block.plan();
        let (accept, egress) = (plan.spare(1, 8443), plan.spare(1, 8080));
        let (agent_at, api_at) = (plan.spare(2, 15000), plan.spare(3, 8080));
        let api = DataApi {
            cluster: ClusterId::new(ONPREM).unwrap(),
            trust: Trust::default(),
            require_identity: false,
        };
        let api = data_api::serve(api, api_at).await.unwrap();
        let platform = built("overlays/dev");
        let customer = Settings::filled("data-cluster/on-premises");
        let customer = customer.with_domain("dev.alfred-platform.example.com").build().unwrap();
        let names = [certified(platform, "tunnel-gateway"), certified(platform, "tunnel-agent-acme-onprem")];
        let folder = tempfile::tempdir().unwrap();
        let gateway = End::of(platform, "tunnel-gateway", folder.path()).at(accept, &[]);
        let agent = End::of(&customer, "tunnel-agent", folder.path()).at(
            agent_at,
            &[
                (&format!("{{address: \"{}\", port_value: 443}}", names[0]), accept),
                ("{address: data-api, port_value: 8080}", api_at),
            ],
        );
        let authority = Authority::new("tunnels").unwrap();
        gateway.write(&authority, &names[0], "first");
        agent.write(&authority, &names[1], "first");
        let (platform, customer, _folder) = (gateway, agent, folder);
        Self { platform, customer, accept, egress, names, api, block, _folder }
    }
}

impl Ends {
    /// Waits until as many connections as wanted were refused at the tunnel gateway, because of too many. Asked is the
    /// listener at which the kubelet asks, too.
    async fn refused_connections(&self, gateway: &mut Process, wanted: impl Fn(Option<u64>) -> bool) {
        let operations = SocketAddr::new(self.accept.ip(), 8081);
        let refused = async || {
            let page = match Request::get(operations, "/stats/prometheus").send().await {
                Ok(answer) => answer.text(),
                Err(error) => return Ok(Seen::NotYet(error.to_string())),
            };
            let line =
                page.lines().find(|line| line.starts_with("envoy_connection_limit_limited_connections{"));
            let count = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
            Ok(if wanted(count) { Seen::Done(()) } else { Seen::NotYet(format!("{count:?}")) })
        };
        gateway.until("refused connections", refused).await.unwrap();
    }
}

/// A4, A5.
#[tokio::test]
async fn a_request_goes_through_the_tunnel_of_the_applied_files_and_new_certificates_are_taken_over() {
    let ends = Ends::new().await;
    let ([host, cluster], accept, egress) = (&ends.names, ends.accept, ends.egress);
    let (gateway, agent) = (&ends.platform, &ends.customer);
    let mut running = gateway.start();
    let mut dialling = agent.start();
    goes_through(egress, &mut dialling).await;
    let (status, reason, _) = asks(egress, "globex-onprem").await.unwrap();
    assert_eq!((status, reason.as_str()), (503, "cluster_unreachable"));

    // A5: both ends get certificates of another authority, and nobody is started anew.
    let next = Authority::new("tunnels, the next").unwrap();
    gateway.write(&next, host, "second");
    agent.write(&next, cluster, "second");
    shows_a_certificate_of(&next, cluster, accept, &mut running).await;
    goes_through(egress, &mut dialling).await;
    // A tunnel lasts, whatever becomes of its certificate. With the next pod of the gateway it is dialled anew.
    running.stop().await;
    let mut running = gateway.start();
    goes_through(egress, &mut dialling).await;

    running.check().unwrap();
    dialling.check().unwrap();
    running.stop().await;
    dialling.stop().await;
    ends.api.abort();
}

/// How many connections are opened on which nothing is proved.
const UNPROVED: u16 = 1_500;

/// The beginning of a ClientHello, of which the rest never comes.
const HALF_A_HELLO: [u8; 11] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// Opens a connection and says nothing, or half of a handshake; comes again whenever it is ended, if it is to.
async fn proves_nothing(from: SocketAddr, to: SocketAddr, says: &[u8], again: bool) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(from).unwrap();
        if let Ok(mut connection) = socket.connect(to).await {
            // Until the other end has enough.
            let _ = connection.write_all(says).await;
            let _ = connection.read(&mut [0; 64]).await;
        }
        if !again {
            return;
        }
        // 1,500 a second for as long as it goes on.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Connections of this many, from one address.
fn unproved(from: SocketAddr, to: SocketAddr, again: bool) -> JoinSet<()> {
    let mut all = JoinSet::new();
    for number in 0..UNPROVED {
        let says: &[u8] = if number % 2 == 0 { &[] } else { &HALF_A_HELLO };
        all.spawn(proves_nothing(from, to, says, again));
    }
    all
}

/// A4: by whoever knows the address. Those of one address, which come again and again, keep no agent of another out; and those
/// at the agent's own have to go before long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_prove_nothing_keep_no_agent_out() {
    let ends = Ends::new().await;
    let (accept, egress) = (ends.accept, ends.egress);
    let plan = ends.block.plan();
    // The agent comes from 127.0.0.1: another last digit, and the same.
    let (elsewhere, beside) = (plan.spare(62, 0), plan.spare(71, 0));
    // In the second case its first try is refused, and it waits some seconds before the next.
    for (from, again, within) in [(elsewhere, true, 10), (beside, false, 30)] {
        let mut running = ends.platform.start();
        ends.refused_connections(&mut running, |count| count.is_some()).await;
        let attack = unproved(from, accept, again);
        ends.refused_connections(&mut running, |count| count.is_some_and(|count| count > 0)).await;
        let begun = Instant::now();
        let mut dialling = ends.customer.start();
        goes_through(egress, &mut dialling).await;
        println!("the agent was in {:?} after it began, with {from} opening connections", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(within), "{from}: {:?}", begun.elapsed());
        drop(attack);
        running.check().unwrap();
        dialling.stop().await;
        running.stop().await;
    }
    ends.api.abort();
}
