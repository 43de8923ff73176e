//! The tables of function pointers, one set per provider type, in constant memory.

use super::{Exported, entry};
use outrigger_wire::{
    ABI_MINOR, CheckTypeLayout, LibHeader, Plugin, PluginRef, PrefixRefTrait, RResult, RootModuleResult, WithMetadata,
};
use std::marker::PhantomData;

/// What the exported constructor returns.
pub type RootResult = RootModuleResult;

struct Table<P>(PhantomData<P>);

impl<P: Exported> Table<P> {
    const ROOT: &'static WithMetadata<Plugin> = &WithMetadata::new(Plugin {
        abi_minor: ABI_MINOR,
        describe: entry::describe::<P>,
        create: entry::create::<P>,
        sync: entry::sync::<P>,
        create_pod: entry::create_pod::<P>,
        update_pod: entry::update_pod::<P>,
        stop_pod: entry::stop_pod::<P>,
        remove_pod: entry::remove_pod::<P>,
        get_pod: entry::get_pod::<P>,
        list_pods: entry::list_pods::<P>,
        describe_node: entry::describe_node::<P>,
        ping: entry::ping::<P>,
        shutdown: entry::shutdown::<P>,
        cancel: entry::cancel::<P>,
        release: entry::release::<P>,
        set_log_level: entry::set_log_level,
        capability: entry::capability::<P>,
    });
}

/// The root table of a provider, for the exported constructor.
#[allow(unsafe_code)]
pub fn root<P: Exported>() -> RootResult {
    let table = PluginRef(Table::<P>::ROOT.static_as_prefix());
    // SAFETY: the header made by `header` declares the root type as `PluginRef`, so the loader casts it back to that.
    RResult::ROk(unsafe { table.to_prefix_ref().cast() })
}

/// The exported header. `constructor` must return the result of [`root`].
#[allow(unsafe_code)]
pub const fn header(constructor: extern "C" fn() -> RootResult) -> LibHeader {
    // SAFETY: `RootResult` is only made by `root`, from a `PluginRef`.
    unsafe { LibHeader::from_constructor::<PluginRef>(constructor, CheckTypeLayout::Yes) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_exported_name_is_the_loaders() {
        assert_eq!(
            outrigger_wire::ROOT_MODULE_LOADER_NAME,
            "_1as_0lib_1header_0root_bmodule_bloader"
        );
    }
}
