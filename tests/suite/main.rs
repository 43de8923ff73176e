//! What Outrigger does, seen from outside: the host as a process, its plugins as files, a cluster with an API server.
//!
//! The cluster is the one of `OUTRIGGER_TEST_CLUSTER`: `dev` (the default: the embedded development cluster), `real`
//! (etcd, API server, scheduler and controllers, see `tests/controlplane`) or the path of a kubeconfig. The same tests
//! run against each; what one of them can't show is skipped with a reason, on stderr and in the file that
//! `OUTRIGGER_SKIPS` names.
//!
//! Every test has a namespace and nodes of its own, so all of them run at once on one cluster. When one fails it
//! prints its host's log, its pods and events, and keeps its directory.

// All of this is tests, and clippy takes only the functions with the attribute for such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audit;
mod contract;
mod faults;
mod frozen;
mod harness;
mod identity;
mod in_cluster;
mod interop;
mod kill;
mod many_nodes;
mod oracle;
mod restored;
mod rights;
mod scale;
mod skew;
mod storm;
mod trouble;
mod watches;
mod workload;
