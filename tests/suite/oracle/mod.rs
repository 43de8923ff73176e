//! What would the kubelet do? The same pod runs on a real kubelet (`tests/oracle`) and on a node of ours, whose mock is told
//! to do what the container's command does, and what the API shows of both is compared: phases in their order, every field
//! of the last status, events, what their containers are given, and what their kubelet ports answer.
//!
//! What differs is a failure, unless [`differences`] allows it with its reason.

mod answers;
mod case;
mod compare;
mod course;
mod differences;
mod ends;
mod files;
mod given;
mod init;
mod kinds;
mod lifecycle;
mod listing;
mod names;
mod pair;
mod refused;
mod services;
mod variables;
mod waiting;
mod words;
