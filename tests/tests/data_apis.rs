//! The programs of `docs/data-apis.md` against tokens that were minted here: each accepts the good one and
//! refuses all others, also while the key changes. Those that need tools of their own run in `make test-full`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_compact::{KeyPair, Seed};
use portcullis_identity::{ClusterId, KeyId};
use portcullis_identity::{Minter, testing};
use portcullis_mesh::idp::now_s;
use portcullis_mesh::wait::PATIENCE;
use serde_json::{Value, json};

const ISSUER: &str = "https://platform.example/identity";
const CLUSTER: &str = "acme-hosted";

/// How often a program is asked while a new key is waited for.
const AGAIN: Duration = Duration::from_millis(200);

fn minter(seed: u8, kid: &str, issuer: &str) -> Minter {
    Minter::new([seed; 32], KeyId::new(kid).unwrap(), issuer, 60)
}

fn mint(minter: &Minter, cluster: &str, now_s: u64) -> String {
    minter.mint(&testing::identity("ann", "acme"), &ClusterId::new(cluster).unwrap(), now_s).text
}

/// A key set on a loopback port, which may change.
struct Keys {
    url: String,
    answer: Arc<Mutex<String>>,
}

impl Keys {
    fn serve(first: &Minter) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/identity/jwks", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(String::new()));
        let keys = Self { url, answer: Arc::clone(&answer) };
        keys.set(&[first]);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let body = answer.lock().unwrap().clone();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
                // A client that has gone away gets no answer.
                let _ = write!(stream, "{head} {}\r\n\r\n{body}", body.len());
            }
        });
        keys
    }

    fn set(&self, minters: &[&Minter]) {
        let keys: Vec<Value> = minters.iter().map(|m| m.jwks()["keys"][0].clone()).collect();
        *self.answer.lock().unwrap() = json!({ "keys": keys }).to_string();
    }
}

/// A program that answers one line for each token.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(mut command: Command, keys: &Keys) -> Self {
        command.env("IDENTITY_ISSUER", ISSUER).env("IDENTITY_JWKS_URL", &keys.url).env("CLUSTER", CLUSTER);
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn ask(&mut self, token: &str) -> String {
        writeln!(self.input, "{token}").unwrap();
        self.input.flush().unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

/// A token with this header and these claims, signed with the key that the set holds.
fn odd(header: Value, change: &[(&str, Value)]) -> String {
    let mut claims = json!({"iss": ISSUER, "sub": "ann", "aud": CLUSTER, "iat": now_s(), "exp": now_s() + 60,
        "tenant": "acme", "source_type": "human", "credential": "jwt"});
    for (name, value) in change {
        claims[*name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = [encode(&header), encode(&claims)].join(".");
    let signature = KeyPair::from_seed(Seed::new([1; 32])).sk.sign(signed.as_bytes(), None);
    [signed, URL_SAFE_NO_PAD.encode(*signature)].join(".")
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "portcullis-identity+jwt", "kid": "k1"})
}

fn refused_tokens() -> Vec<(&'static str, String)> {
    let own = minter(1, "k1", ISSUER);
    let good = mint(&own, CLUSTER, now_s());
    let (signed, _) = good.rsplit_once('.').unwrap();
    let none = [
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"portcullis-identity+jwt","kid":"k1"}"#).as_str(),
        signed.split_once('.').unwrap().1,
        "",
    ]
    .join(".");
    vec![
        ("another cluster", mint(&own, "globex-hosted", now_s())),
        ("another issuer", mint(&minter(1, "k1", "https://elsewhere.example"), CLUSTER, now_s())),
        ("expired", mint(&own, CLUSTER, now_s() - 120)),
        ("another key of the same name", mint(&minter(2, "k1", ISSUER), CLUSTER, now_s())),
        ("an unsigned token", none),
        ("a stripped signature", [signed, ""].join(".")),
        ("an ordinary JWT", odd(json!({"alg": "EdDSA", "typ": "JWT", "kid": "k1"}), &[])),
        ("a long life", odd(header(), &[("exp", json!(now_s() + 3600))])),
        ("no end", odd(header(), &[("exp", Value::Null)])),
        ("no tenant", odd(header(), &[("tenant", Value::Null)])),
        ("from the future", odd(header(), &[("iat", json!(now_s() + 40)), ("exp", json!(now_s() + 60))])),
        ("nothing", "x".to_owned()),
    ]
}

fn check(command: Command) {
    let (first, second) = (minter(1, "k1", ISSUER), minter(3, "k2", ISSUER));
    let keys = Keys::serve(&first);
    let mut program = Program::start(command, &keys);
    assert_eq!(program.ask(&mint(&first, CLUSTER, now_s())), "ann acme human");
    for (what, token) in refused_tokens() {
        let said = program.ask(&token);
        assert!(said.starts_with("refused: "), "{what}: {said}");
    }
    assert_eq!(program.ask(&odd(header(), &[])), "ann acme human", "the odd tokens differ in one thing only");
    // A new key is published and signs; nobody has been told. The refused tokens made the program fetch the set,
    // and it may wait a while until it does so again.
    keys.set(&[&first, &second]);
    let begun = Instant::now();
    let mut said = program.ask(&mint(&second, CLUSTER, now_s()));
    while said != "ann acme human" {
        assert!(begun.elapsed() < PATIENCE, "the new key is not known: {said}");
        std::thread::sleep(AGAIN);
        said = program.ask(&mint(&second, CLUSTER, now_s()));
    }
    assert_eq!(program.ask(&mint(&first, CLUSTER, now_s())), "ann acme human");
}

fn sources(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data-apis").join(language)
}

/// A copy of a language's folder in which packages may be installed.
#[cfg(feature = "slow")]
fn workplace(language: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("data-apis").join(language);
    std::fs::create_dir_all(&place).unwrap();
    for entry in std::fs::read_dir(sources(language)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, place.join(path.file_name().unwrap())).unwrap();
    }
    place
}

#[cfg(feature = "slow")]
fn run(program: &str, arguments: &[&str], folder: &Path) {
    let status = Command::new(program).args(arguments).current_dir(folder).stdin(Stdio::null()).status();
    let status = status.unwrap_or_else(|e| panic!("{program} cannot be started: {e}; install it"));
    assert!(status.success(), "{program} {arguments:?} failed");
}

#[test]
fn rust() {
    // `cargo test` builds examples beside the tests: target/PROFILE/deps/THIS, target/PROFILE/examples.
    let own = std::env::current_exe().unwrap();
    check(Command::new(own.ancestors().nth(2).unwrap().join("examples/data_api")));
}

#[cfg(feature = "slow")]
#[test]
fn python() {
    let place = workplace("python");
    run("python3", &["-m", "venv", "venv"], &place);
    run(
        "venv/bin/pip",
        &["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"],
        &place,
    );
    let mut command = Command::new(place.join("venv/bin/python"));
    command.arg(place.join("verify.py"));
    check(command);
}

#[cfg(feature = "slow")]
#[test]
fn node() {
    let place = workplace("node");
    run("npm", &["ci", "--no-audit", "--no-fund"], &place);
    let mut command = Command::new("node");
    command.arg(place.join("verify.mjs"));
    check(command);
}

#[cfg(feature = "slow")]
#[test]
fn go() {
    let place = workplace("go");
    run("go", &["build", "-o", "verify", "."], &place);
    check(Command::new(place.join("verify")));
}

#[cfg(feature = "slow")]
#[test]
fn java() {
    let place = workplace("java");
    run("mvn", &["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"], &place);
    run("javac", &["-cp", "lib/*", "Verify.java"], &place);
    let mut command = Command::new("java");
    command.args(["-cp", "lib/*:.", "Verify"]).current_dir(&place);
    check(command);
}

#[test]
fn the_page_shows_the_programs_that_were_tried() {
    let page = include_str!("../../docs/data-apis.md");
    for (fence, language, file) in [
        ("rust", "rust", "main.rs"),
        ("python", "python", "verify.py"),
        ("js", "node", "verify.mjs"),
        ("go", "go", "main.go"),
        ("java", "java", "Verify.java"),
    ] {
        let program = std::fs::read_to_string(sources(language).join(file)).unwrap();
        assert!(page.contains(&format!("```{fence}\n{program}```\n")), "{file} is not on the page as it is");
    }
}
