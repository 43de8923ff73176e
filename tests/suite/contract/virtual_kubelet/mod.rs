//! What virtual-kubelet (Go) gets wrong, does halfway or leaves to its providers, and what happens here instead.
//!
//! A name ends in the number of the upstream issue or pull request where there is one (`vk_989`; others name their
//! project). `tests/suite/VIRTUAL_KUBELET.md` has the whole list, of tests elsewhere too; [`list`] keeps it honest.

mod deletion;
mod list;
mod node;
mod provider;
mod status;
