//! The load generator: creates and deletes pods over plain API and sees with a watch of its own what becomes of them.

mod ledger;
mod load;

pub use load::Direction;
pub use load::Generator;
pub use load::Pace;

/// The image of all pods. Nobody pulls it.
pub const IMAGE: &str = "bench.invalid/app:1";
