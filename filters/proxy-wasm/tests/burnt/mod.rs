//! What a request burns in the test host, callback by callback and function by function.

use std::collections::BTreeMap;

use portcullis_testhost::{VmId, VmReport};

use crate::world::World;

/// Requests that fill caches and buffers first.
const WARM_UP: u64 = 20;

/// Requests that are averaged.
const REQUESTS: u64 = 50;

/// Units of fuel by the callback's or the function's name.
pub(crate) type ByName = BTreeMap<String, u64>;

/// Units a request.
pub(crate) struct Burnt {
    pub(crate) callbacks: ByName,
    /// Empty unless the module is profiled.
    #[allow(dead_code, reason = "each file that measures reads a part of it")]
    pub(crate) functions: ByName,
}

/// Units a request of the kind that is sent.
pub(crate) fn a_request(world: &mut World, send: impl Fn(&mut World)) -> Burnt {
    (0..WARM_UP).for_each(|_| send(world));
    let before = so_far(world);
    (0..REQUESTS).for_each(|_| send(world));
    let after = so_far(world);
    Burnt {
        callbacks: per_request(&before.callbacks, after.callbacks),
        functions: per_request(&before.functions, after.functions),
    }
}

fn per_request(before: &ByName, after: ByName) -> ByName {
    let used = |(name, units): (String, u64)| {
        let units = (units - before.get(&name).copied().unwrap_or_default()) / REQUESTS;
        (name, units)
    };
    after.into_iter().map(used).filter(|(_, units)| *units > 0).collect()
}

/// Units that the workers have burnt.
fn so_far(world: &World) -> Burnt {
    let (mut callbacks, mut functions) = (ByName::new(), ByName::new());
    for VmReport { fuel, functions: profile, .. } in
        world.host.vms().into_iter().filter(|vm| matches!(vm.vm, VmId::Worker(_)))
    {
        callbacks.extend(fuel.into_iter().map(|used| (format!("{:?}", used.callback), used.units)));
        functions.extend(profile.into_iter().map(|used| (used.name, used.units)));
    }
    Burnt { callbacks, functions }
}
