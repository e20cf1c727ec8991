//! What a request burns in the test host, callback by callback.

use std::collections::BTreeMap;

use portcullis_testhost::VmId;

use crate::world::World;

/// Requests that fill caches and buffers first.
const WARM_UP: u64 = 20;

/// Requests that are averaged.
const REQUESTS: u64 = 50;

/// Units of fuel by the callback's name.
pub(crate) type ByCallback = BTreeMap<String, u64>;

/// Units a request of the kind that is sent.
pub(crate) fn a_request(world: &mut World, send: impl Fn(&mut World)) -> ByCallback {
    (0..WARM_UP).for_each(|_| send(world));
    let before = so_far(world);
    (0..REQUESTS).for_each(|_| send(world));
    let used = |(name, units): (String, u64)| {
        let units = (units - before.get(&name).copied().unwrap_or_default()) / REQUESTS;
        (name, units)
    };
    so_far(world).into_iter().map(used).filter(|(_, units)| *units > 0).collect()
}

/// Units that the workers have burnt.
fn so_far(world: &World) -> ByCallback {
    let workers = world.host.vms().into_iter().filter(|vm| matches!(vm.vm, VmId::Worker(_)));
    workers.flat_map(|vm| vm.fuel).map(|used| (format!("{:?}", used.callback), used.units)).collect()
}
