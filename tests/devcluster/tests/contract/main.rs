//! What clients may rely on, asked through kube's client, plain HTTP and the real kubectl.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod controllers;
mod faults;
mod kubectl;
mod node;
mod objects;
mod pods;
mod streams;
mod support;
mod watches;
