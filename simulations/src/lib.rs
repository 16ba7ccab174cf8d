//! stub
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod hooks;
pub mod dice;
pub mod link;
mod faults;
pub mod invariants;
pub mod ledger;
mod machine;
pub mod memory;
pub mod outcome;
mod outsiders;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod tap;
pub mod trace;
pub mod transport;
pub mod wire;
mod world;

pub use world::{Crash, Sim, SimError, World};
