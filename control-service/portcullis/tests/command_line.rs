//! How the commands speak to a service, and what they say when it does not answer.

mod common;

use std::process::Output;
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};

use common::{GATEWAY, Server, portcullis, stdout};

fn call(server: &str, token: &str, arguments: &[&str]) -> Output {
    let mut command = portcullis();
    command.env("PORTCULLIS_TOKEN", token).env("PORTCULLIS_SERVER", server);
    command.args(arguments).output().unwrap()
}

fn error(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up_and_a_change_may_have_been_made() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = ["http://", &silent.local_addr().unwrap().to_string()].concat();
    let begun = Instant::now();
    let told = error(&call(&url, "pca_x", &["clusters", "--timeout", "1", "list"]));
    assert!(told.contains("did not answer within 1 s (--timeout)") && !told.contains("repeat"), "{told}");
    let told = error(&call(&url, "pca_x", &["clusters", "--timeout", "1", "suspend", "acme"]));
    assert!(told.contains("within 1 s (--timeout); the change may have been made"), "{told}");
    assert!(begun.elapsed() < common::AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(call(&url, "pca_x", &["clusters", "--timeout", "0", "list"]).status.code(), Some(2));
}

#[tokio::test]
async fn an_address_that_takes_no_connection_is_given_up() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    // Nobody takes these, and the system lets no more wait.
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100);
    }
    let url = ["http://", &address.to_string()].concat();
    let told = error(&call(&url, "pca_x", &["proxies", "--connect-timeout", "1"]));
    assert!(told.contains("took no connection within 1 s (--connect-timeout)"), "{told}");
}

#[tokio::test]
async fn a_token_is_one_line_and_one_that_is_not_is_named_and_not_shown() {
    let server = Server::start().await;
    let url = server.url("platform", "");
    let file = server.folder.path().join("admin");
    let path = file.to_str().unwrap();
    let listed = ["admins", "--token-file", path, "list"];
    std::fs::write(&file, [server.admin.as_str(), "\r\n"].concat()).unwrap();
    stdout(&call(&url, "", &listed));
    for token in
        [&[server.admin.as_str(), "\n", &server.admin].concat(), "", "\n", "pca_a pca_b", "pca_\u{e9}"]
    {
        std::fs::write(&file, token).unwrap();
        for (told, named) in [
            (error(&call(&url, "", &listed)), path),
            (error(&call(&url, token, &["admins", "list"])), "PORTCULLIS_TOKEN"),
        ] {
            assert!(
                told.contains(&["the token in ", named, " is empty or has a line break"].concat()),
                "{told}"
            );
            assert!(!told.contains(&server.admin) && !told.contains("pca_a"), "{told}");
        }
    }
}

#[tokio::test]
async fn proxies_are_listed() {
    let server = Server::start().await;
    server.reader("gateway", GATEWAY, "01").sync(&server).await;
    let told = stdout(&call(&server.url("platform", ""), &server.admin, &["proxies"]));
    let line = told.lines().find(|line| line.starts_with("01  ")).unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains("router~127.0.0.1~gateway  gateway"), "{told}");
    assert!(told.contains("WORKER  PROXY"), "{told}");
}
