//! What the host tells about itself.

pub mod logs;
pub mod metrics;
