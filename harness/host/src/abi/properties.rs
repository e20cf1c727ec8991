//! `proxy_get_property` and `proxy_set_property`.

use super::cx::{Cx, Done};
use crate::codes::Status;
use crate::property::Value;
use crate::world::Arg;

/// Properties that the module sets lie in the stream's filter state under this prefix.
const STATE_PREFIX: &str = "wasm.";

pub(super) fn get(cx: &mut Cx<'_, '_>, path: u32, len: u32, value: u32, size: u32) -> Done {
    let path = cx.read(path, len)?;
    cx.argument(Arg::Path(&path));
    let bytes = find(cx, &path)?.ok_or(Status::NotFound)?;
    cx.result(Arg::Bytes(&bytes));
    cx.give(&bytes, value, size)
}

fn find(cx: &Cx<'_, '_>, path: &[u8]) -> Result<Option<Vec<u8>>, Status> {
    let trimmed = path.strip_suffix(&[0]).unwrap_or(path);
    let Ok(text) = std::str::from_utf8(trimmed) else { return Ok(None) };
    let parts: Vec<&str> = text.split('\0').collect();
    let state = cx.state();
    let context = state.context()?;
    match parts.as_slice() {
        ["plugin_name"] => return Ok(Some(context.spec.name.clone().into_bytes())),
        ["plugin_root_id"] => return Ok(Some(context.spec.root_id.clone().into_bytes())),
        ["plugin_vm_id"] => return Ok(Some(state.vm_id.clone().into_bytes())),
        _ => {}
    }
    if let Some((stream, _)) = &context.stream {
        let elapsed = state.world.lock().clock.elapsed();
        let mut stream = stream.lock();
        if let Some(value) = stream.property(&parts, elapsed) {
            return Ok(Some(value.encode()));
        }
        if let Some(value) = stream.filter_state.get(format!("{STATE_PREFIX}{text}").as_bytes()) {
            return Ok(Some(value.clone()));
        }
    }
    Ok(state.world.properties.get(&parts).map(Value::encode))
}

pub(super) fn set(cx: &mut Cx<'_, '_>, path: u32, len: u32, value: u32, size: u32) -> Done {
    let path = cx.read(path, len)?;
    let value = cx.read(value, size)?;
    cx.argument(Arg::Path(&path));
    cx.argument(Arg::Bytes(&value));
    let Some((stream, _)) = &cx.state().context()?.stream else {
        cx.misuse("a root context has no filter state to set a property in");
        return Err(Status::NotFound.into());
    };
    let key = [STATE_PREFIX.as_bytes(), &path].concat();
    stream.lock().filter_state.insert(key, value);
    Ok(())
}
