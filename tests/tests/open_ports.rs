//! B27: a running mesh listens where its documents say, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use portcullis_mesh::paths::root;
use portcullis_mesh::{Mesh, Options};

/// Address and port of sockets that listen, and the program that holds them.
type Listeners = BTreeMap<String, String>;

#[tokio::test]
async fn every_listener_of_a_running_mesh_is_in_the_table_and_every_row_listens() {
    let mesh = Mesh::start(Options::default(), &mut |line| eprintln!("{line}")).await.unwrap();
    let open = listeners();
    let (always, sometimes) = documented(&mesh.plan().prefix());
    let undocumented: Vec<_> =
        open.iter().filter(|(place, _)| !always.contains(*place) && !sometimes.contains(*place)).collect();
    assert!(undocumented.is_empty(), "not in the table of harness/mesh/README.md: {undocumented:#?}");
    let silent: Vec<_> = always.iter().filter(|place| !open.contains_key(*place)).collect();
    assert!(silent.is_empty(), "in the table of harness/mesh/README.md, and nobody listens: {silent:#?}");

    let further = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let place = further.local_addr().unwrap().to_string();
    assert!(!open.contains_key(&place) && listeners().contains_key(&place), "a further one is seen");
    mesh.stop().await;
}

/// The table of the page: what is always open, and in brackets what is so with some overlays.
fn documented(prefix: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let page = fs::read_to_string(root().join("harness/mesh/README.md")).unwrap();
    let (mut always, mut sometimes) = (BTreeSet::new(), BTreeSet::new());
    for row in page.lines().filter_map(|line| line.strip_prefix("| 127.N.")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for port in cells[1].split(", ") {
            let number = port.trim_matches(['(', ')']);
            assert!(number.parse::<u16>().is_ok(), "{port}: {row}");
            let places = if number == port { &mut always } else { &mut sometimes };
            places.insert(format!("{prefix}{}:{number}", cells[0]));
        }
    }
    assert!(always.len() >= 20, "{always:?}");
    (always, sometimes)
}

/// Those of this process and of all that it has started.
fn listeners() -> Listeners {
    let mut holders = BTreeMap::new();
    for pid in processes() {
        let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            if let Ok(target) = fs::read_link(entry.path()) {
                holders.insert(target.to_string_lossy().into_owned(), program.trim().to_owned());
            }
        }
    }
    let mut found = Listeners::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let (Some(holder), "0A") = (holders.get(&format!("socket:[{}]", fields[9])), fields[3]) {
                found.insert(place(fields[1]), holder.clone());
            }
        }
    }
    found
}

/// `0100007F:1F90` as the kernel writes it; of IPv6 the address stays as it is.
fn place(text: &str) -> String {
    let (address, port) = text.split_once(':').unwrap();
    let port = u16::from_str_radix(port, 16).unwrap();
    match u32::from_str_radix(address, 16) {
        Ok(number) => format!("{}:{port}", Ipv4Addr::from(number.to_le_bytes())),
        Err(_) => format!("[{address}]:{port}"),
    }
}

fn processes() -> BTreeSet<u32> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // Behind the name, which may have anything in it: state, parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut ours = BTreeSet::from([std::process::id()]);
    while let Some((pid, _)) =
        parents.iter().find(|(pid, parent)| ours.contains(parent) && !ours.contains(pid))
    {
        ours.insert(*pid);
    }
    ours
}
