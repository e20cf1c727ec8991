//! Shared data and shared queues.

use super::cx::{Cx, Done};
use crate::codes::Status;
use crate::world::{Arg, Listener};

pub(super) fn get_data(cx: &mut Cx<'_, '_>, key: u32, len: u32, value: u32, size: u32, cas: u32) -> Done {
    let key = cx.read(key, len)?;
    cx.argument(Arg::Bytes(&key));
    let state = cx.state();
    let found = state.world.lock().shared_data.get(&state.vm_id, &key).cloned();
    let (bytes, number) = found.ok_or(Status::NotFound)?;
    cx.result(Arg::Bytes(&bytes));
    cx.result(Arg::Number(number.into()));
    cx.give(&bytes, value, size)?;
    Ok(cx.write_u32(cas, number)?)
}

pub(super) fn set_data(cx: &mut Cx<'_, '_>, key: u32, len: u32, value: u32, size: u32, cas: u32) -> Done {
    let key = cx.read(key, len)?;
    let value = cx.read(value, size)?;
    cx.argument(Arg::Bytes(&key));
    cx.argument(Arg::Bytes(&value));
    cx.argument(Arg::Number(cas.into()));
    let state = cx.state();
    Ok(state.world.lock().shared_data.set(&state.vm_id, &key, value, cas)?)
}

pub(super) fn register_queue(cx: &mut Cx<'_, '_>, name: u32, len: u32, token: u32) -> Done {
    let name = cx.read(name, len)?;
    cx.argument(Arg::Bytes(&name));
    let state = cx.state();
    let listener = Listener { vm: state.vm, key: state.vm_key.clone(), root: state.root_id()? };
    let number = state.world.lock().queues.register(&state.vm_id, &name, listener);
    cx.result(Arg::Number(number.into()));
    Ok(cx.write_u32(token, number)?)
}

pub(super) fn resolve_queue(
    cx: &mut Cx<'_, '_>,
    vm: u32,
    vm_len: u32,
    name: u32,
    len: u32,
    token: u32,
) -> Done {
    let vm_id = cx.read_text(vm, vm_len)?;
    let name = cx.read(name, len)?;
    cx.argument(Arg::Bytes(vm_id.as_bytes()));
    cx.argument(Arg::Bytes(&name));
    let state = cx.state();
    let scope = if vm_id.is_empty() { &state.vm_id } else { &vm_id };
    let number = state.world.lock().queues.resolve(scope, &name).ok_or(Status::NotFound)?;
    cx.result(Arg::Number(number.into()));
    Ok(cx.write_u32(token, number)?)
}

pub(super) fn enqueue(cx: &mut Cx<'_, '_>, token: u32, data: u32, size: u32) -> Done {
    let entry = cx.read(data, size)?;
    cx.argument(Arg::Number(token.into()));
    cx.argument(Arg::Bytes(&entry));
    let result = cx.state().world.lock().enqueue(token, entry);
    Ok(result?)
}

pub(super) fn dequeue(cx: &mut Cx<'_, '_>, token: u32, data: u32, size: u32) -> Done {
    cx.argument(Arg::Number(token.into()));
    let entry = cx.state().world.lock().queues.dequeue(token)?;
    cx.result(Arg::Bytes(&entry));
    cx.give(&entry, data, size)
}
