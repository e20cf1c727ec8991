//! Where a module's fuel goes, function by function.
//!
//! The engine stops where a function begins and where a loop begins anew, since its epoch is always over. The fuel
//! that was used since it stopped last counts for the function in which that was.

use std::collections::BTreeMap;

use wasmtime::{AsContext, Store, UpdateDeadline, WasmBacktrace};

/// The fuel that a function has used so far, with what its callers used after it until they called another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFuel {
    /// Its index in the module.
    pub index: u32,
    /// Its name as the module has it; empty where it has none.
    pub name: String,
    /// Units of fuel.
    pub units: u64,
}

/// What is known of the functions of one VM.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    functions: BTreeMap<u32, (String, u64)>,
    /// The function that counts at the moment, and how much fuel was left when it began to.
    current: Option<(u32, u64)>,
}

impl Profile {
    /// Has every function of a store's module tell that it begins, to the profile that is found in the store's data.
    pub(crate) fn watch<T>(
        store: &mut Store<T>,
        profile: impl Fn(&mut T) -> &mut Self + Send + Sync + 'static,
    ) {
        store.set_epoch_deadline(0);
        store.epoch_deadline_callback(move |mut context| {
            let left = context.get_fuel()?;
            let trace = WasmBacktrace::force_capture(context.as_context());
            if let Some(frame) = trace.frames().first() {
                profile(context.data_mut()).enter(frame.func_index(), frame.func_name(), left);
            }
            Ok(UpdateDeadline::Continue(0))
        });
    }

    fn enter(&mut self, index: u32, name: Option<&str>, left: u64) {
        self.settle(left);
        self.functions.entry(index).or_insert_with(|| (name.unwrap_or_default().to_owned(), 0));
        self.current = Some((index, left));
    }

    /// Nothing counts any more: a callback ends with so much fuel left.
    pub(crate) fn settle(&mut self, left: u64) {
        if let Some((index, before)) = self.current.take()
            && let Some((_, units)) = self.functions.get_mut(&index)
        {
            *units += before.saturating_sub(left);
        }
    }

    /// The functions, the one that used most first.
    pub(crate) fn functions(&self) -> Vec<FunctionFuel> {
        let function = |(index, (name, units)): (&u32, &(String, u64))| FunctionFuel {
            index: *index,
            name: name.clone(),
            units: *units,
        };
        let mut functions: Vec<_> = self.functions.iter().map(function).collect();
        functions.sort_by_key(|function| std::cmp::Reverse(function.units));
        functions
    }
}
