//! Virtual nodes: one [`NodeAgent`] each claims its node, registers it and keeps its status and its lease fresh.
//!
//! [`claim`] decides which host acts; [`agent`] writes the Node object, but only while the claim is held. What a Node
//! should look like ([`object`], [`status`]) and what to do about a lease ([`lease`]) are pure functions.

pub mod agent;
pub mod claim;
mod compact;
pub mod facts;
mod handle;
pub mod health;
mod images;
pub mod lease;
pub mod object;
pub mod register;
pub mod status;
mod tenure;

pub use agent::Config;
pub use agent::NodeAgent;
pub use agent::Timing;
pub use handle::NodeHandle;
pub use handle::Ownership;
pub use handle::Taint;
pub use handle::Terms;
pub use health::Broken;
pub use health::Health;
pub use health::Monitor;
pub use health::Trouble;
pub use health::Verdict;
