//! Plugins: from a file's name to a provider that takes calls.
//!
//! [`find`](find()) the file, verify it (`verify`, `elf`), try it out in a child ([`probe`]), make code of it (`load`, `image`), start
//! an instance (`instance`, with `services` for what it may call and `calls` for what it owes), and keep one running
//! (`supervise`). Bytes move beside the calls (`stream`, `session`). The rest of the host sees [`Provider`].
//!
//! What crosses the boundary and why is told in `outrigger-wire`; what can't be contained in `plugin-api/SAFETY.md`.

mod calls;
mod elf;
mod error;
mod find;
mod forward;
mod image;
mod instance;
mod layout;
mod load;
pub mod probe;
mod provider;
mod services;
mod session;
mod stream;
mod supervise;
mod tuning;
mod verify;

pub use elf::Fault as ElfFault;
pub use error::Error;
pub use error::StartFault;
pub use find::Candidate;
pub use find::candidates;
pub use find::file_name;
pub use find::find;
pub use image::Capability;
pub use image::Verdict;
pub use load::Abi;
pub use load::Fault as LoadFault;
pub use probe::Admits;
pub use probe::Inspection;
pub use probe::Probe;
pub use probe::inspect;
pub use provider::Provider;
pub use services::Dropped;
pub use services::Sink;
pub use services::dropped;
pub use session::Forward;
pub use session::Resizer;
pub use session::Session;
pub use session::SessionEnd;
pub use session::Stream;
pub use stream::LogStream;
pub use supervise::{MOST_ASKED_FOR, State};
pub use tuning::Tuning;
pub use verify::Fault as FileFault;
