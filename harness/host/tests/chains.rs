//! Chains of several plugins, of one module or of several: who shares a VM, and in which order they act.

mod common;

use std::time::Duration;

use common::script;
use portcullis_testhost::{Answer, FailurePolicy, Fault, Host, HostBuilder, Module, Plugin, Request, VmId};

fn chain(plugins: impl IntoIterator<Item = Plugin>) -> HostBuilder {
    plugins.into_iter().fold(Host::builder(), HostBuilder::plugin)
}

/// A module that is not the script probe: it adds `x-stamp: seen`.
fn stamp() -> Plugin {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/stamp.wat");
    Plugin::new(&Module::from_file(path).unwrap()).name("stamp")
}

/// The names of the headers that plugins of these tests add, in the order of the map.
fn added(host: &mut Host) -> Vec<String> {
    let seen = host.request(Request::get("/")).assert_forwarded();
    let names = seen.headers.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned());
    names.filter(|name| ["x-stamp", "x-one", "x-two"].contains(&name.as_str())).collect()
}

#[test]
fn plugins_of_one_module_share_a_vm_unless_ids_differ() {
    let count = |plugins: Vec<Plugin>| chain(plugins).start().unwrap().vms().len();
    let [a, b] = [script("request_headers: note").root_id("a"), script("log: note").root_id("b")];
    assert_eq!(count(vec![a.clone(), b.clone()]), 2, "one on main, one on the worker");
    assert_eq!(count(vec![a.clone(), b.clone().vm_id("other")]), 4);
    assert_eq!(count(vec![a, b.vm_config("log: note")]), 4);
}

/// Two modules, three plugins: a VM of each module on each thread, and one chain.
#[test]
fn plugins_of_two_modules_make_one_chain() {
    let adds = |name: &str| {
        let says = format!(
            "request_headers: get 0 x-stamp; request_headers: add 0 x-{name} 1; response_headers: note"
        );
        script(&says).name(name).root_id(name)
    };
    let mut host = chain([adds("one"), stamp(), adds("two")]).start().unwrap();
    let vms: Vec<_> = host.vms().into_iter().map(|vm| vm.vm).collect();
    assert_eq!(vms, [VmId::Main, VmId::Main, VmId::Worker(0), VmId::Worker(0)]);
    assert_eq!(added(&mut host), ["x-one", "x-stamp", "x-two"]);
    let said = |host: &Host| -> Vec<String> {
        host.logs().into_iter().map(|line| format!("{} {}", line.context, line.message)).collect()
    };
    // Contexts 1 and 2 of the script's VM are roots. The response goes the other way.
    let response = "[] response_headers end=1";
    assert_eq!(
        said(&host),
        [
            "3 [] request_headers 0 get -> 1 ".to_owned(),
            "3 [] request_headers 1 add -> 0 ".to_owned(),
            "4 [] request_headers 0 get -> 0 seen".to_owned(),
            "4 [] request_headers 1 add -> 0 ".to_owned(),
            format!("4 {response}"),
            format!("3 {response}"),
        ]
    );
    let mut reversed = chain([adds("two"), stamp(), adds("one")]).start().unwrap();
    assert_eq!(added(&mut reversed), ["x-two", "x-stamp", "x-one"]);
}

#[test]
fn a_module_that_dies_takes_no_other_module_with_it() {
    let dying = script("request_headers: add 0 x-one 1").on_failure(FailurePolicy::Open);
    let mut host = chain([dying, stamp()]).start().unwrap();
    host.inject(Fault::trap().on("proxy_get_header_map_value"));
    host.request(Request::get("/")).assert_status(503);
    assert_eq!(added(&mut host), ["x-stamp"]);
    assert_eq!(host.vms().iter().filter(|vm| vm.failure.is_some()).count(), 1);
}

#[test]
fn a_trap_takes_all_plugins_of_its_vm_and_each_follows_its_own_policy() {
    use FailurePolicy::{Closed, Open};
    let after_a_trap = |first, second| {
        let plugin = |root: &str, policy| {
            script(&format!("request_headers: add 0 x-{root} 1")).root_id(root).name(root).on_failure(policy)
        };
        let mut host = chain([plugin("one", first), plugin("two", second)])
            .upstream(Answer::ok().body("hello"))
            .start()
            .unwrap();
        host.inject(Fault::trap().nth(3));
        host.request(Request::get("/")).assert_status(503);
        host.clear_faults();
        host
    };
    let called = |host: &mut Host| {
        let exchange = host.request(Request::get("/"));
        (exchange.status(), exchange.upstream().is_some(), exchange.trace().calls().len())
    };
    // Neither plugin is called any more; the closed one refuses, wherever it stands.
    assert_eq!(called(&mut after_a_trap(Open, Open)), (Some(200), true, 0));
    for (first, second) in [(Open, Closed), (Closed, Open), (Closed, Closed)] {
        let mut host = after_a_trap(first, second);
        assert_eq!(called(&mut host), (Some(503), false, 0), "{first:?} before {second:?}");
        host.advance(Duration::from_secs(60));
        assert_eq!(called(&mut host), (Some(503), false, 0), "{first:?} before {second:?}, later");
    }
    // One that reloads comes back; the open one of the dead VM stays away.
    let mut host = after_a_trap(Open, FailurePolicy::reload());
    assert_eq!(called(&mut host).0, Some(503));
    host.advance(Duration::from_secs(1));
    assert_eq!(added(&mut host), ["x-two"]);
}
