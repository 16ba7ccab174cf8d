//! stub
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod hooks;
pub mod dice;
pub mod link;
mod machine;
pub mod tap;
pub mod trace;
pub mod transport;
mod world;

pub use world::{Crash, Sim, SimError, World};
