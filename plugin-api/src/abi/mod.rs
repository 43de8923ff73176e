//! The plugin's side of the boundary: generated entry points, panic containment, runtime, log forwarding.
//!
//! Public only for [`export_provider!`](crate::export_provider); nothing here is part of the SDK's promise.

mod capability;
mod entry;
pub mod guard;
mod instance;
pub mod link;
mod table;
#[cfg(test)]
mod tests;
mod trace;

pub use capability::{Attach, Exec, Images, Logs, PortForward, Stats};
pub use outrigger_wire::{CapabilityEntry, LibHeader};
pub use table::{RootResult, header, root};

/// What [`export_provider!`](crate::export_provider) implements for a provider.
pub trait Exported: crate::Provider {
    /// Ids of the capabilities named in the macro.
    const CAPABILITIES: &'static [&'static str];

    /// A capability's table.
    fn capability(id: &str) -> Option<CapabilityEntry>;
}

/// Exports a [`Provider`](crate::Provider) from this library. Once per library.
///
/// ```ignore
/// outrigger_plugin::export_provider!(MyProvider);
/// outrigger_plugin::export_provider!(MyProvider, capabilities: [Logs, Stats]);
/// ```
///
/// The second form names the capability traits that the provider implements beside `Provider`. Refuses to compile with
/// `panic = "abort"`: a panic of a plugin must stay its own.
#[macro_export]
macro_rules! export_provider {
    ($provider:ty) => {
        $crate::export_provider!($provider, capabilities: []);
    };
    ($provider:ty, capabilities: [$($capability:ident),* $(,)?]) => {
        const _: () = {
            #[cfg(not(panic = "unwind"))]
            compile_error!("an outrigger plugin must be built with panic = \"unwind\"");

            impl $crate::abi::Exported for $provider {
                const CAPABILITIES: &'static [&'static str] = &[$($crate::abi::$capability::ID),*];

                fn capability(id: &str) -> ::core::option::Option<$crate::abi::CapabilityEntry> {
                    match id {
                        $($crate::abi::$capability::ID => ::core::option::Option::Some(
                            $crate::abi::$capability::entry::<$provider>(),
                        ),)*
                        _ => ::core::option::Option::None,
                    }
                }
            }

            extern "C" fn constructor() -> $crate::abi::RootResult {
                $crate::abi::root::<$provider>()
            }

            // The name is abi_stable's `ROOT_MODULE_LOADER_NAME`; a test of the SDK compares the two.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static OUTRIGGER_PLUGIN: $crate::abi::LibHeader = $crate::abi::header(constructor);
        };
    };
}
