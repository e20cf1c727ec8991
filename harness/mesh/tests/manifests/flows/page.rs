//! The table as `docs/install.md` has it.

use std::collections::BTreeMap;

use super::table::{Flow, Table};

/// Without its last line break.
pub(crate) fn of(table: &Table) -> String {
    let mut lines = vec!["| to | port | from | for |".to_owned(), "|---|---|---|---|".to_owned()];
    let mut before = "";
    for flow in &table.flows {
        let to = if flow.to == before { String::new() } else { format!(" {}", flow.to) };
        before = &flow.to;
        let remark = flow.remark.as_ref().map(|remark| format!(" ({remark})")).unwrap_or_default();
        lines.push(format!("|{to} | {} | {}{remark} | {} |", ports(table, flow), flow.from, flow.r#for));
    }
    lines.join("\n")
}

/// Each with its name at the workloads that it leads to.
fn ports(table: &Table, flow: &Flow) -> String {
    let members = table.members(&flow.to);
    let workloads = table.workloads.iter().filter(|one| members.contains(&one.name.as_str()));
    let listens = workloads.flat_map(|one| &one.listens).chain(&table.proxies);
    let mut names = BTreeMap::new();
    for port in listens {
        names.entry(port.port).or_insert(port.name.as_str());
    }
    let named = |port: &u16| match names.get(port) {
        None => port.to_string(),
        Some(name) => format!("{port} {name}"),
    };
    let mut all: Vec<String> = flow.ports.iter().map(named).collect();
    if !flow.udp.is_empty() {
        assert_eq!(flow.udp, flow.ports, "by both protocols");
        all.push("by TCP and UDP".to_owned());
    }
    all.join("; ")
}
