//! Whole Nexus networks under virtual time, by seed.
//!
//! What runs in a [`World`] is the real node: swarm, gossip, handshakes, sync, store and handles
//! as they ship. Replaced are the things outside of it: the network ([`transport`]), the disk, the
//! clocks and the randomness ([`hooks`]), and where tasks run. So a run follows from its seed: the
//! same seed gives the same [`trace`], to the last byte that arrived.
//!
//! ```no_run
//! use std::time::Duration;
//! use nexus_node::NewMemory;
//! use nexus_sim::{SimError, World};
//!
//! let all_equal_after = World::new(7).run(async |sim| {
//!     let laptop = sim.found("laptop").await?;
//!     let office = sim.add("office").await?;
//!     sim.cut(laptop, office);
//!     sim.on(laptop, async |node| node.brain().remember(NewMemory::note("on the train")).await).await?;
//!     sim.sleep(Duration::from_secs(3_600)).await;
//!     sim.mend(laptop, office);
//!     sim.settled(Duration::from_secs(60)).await
//! })?;
//! # Ok::<(), SimError>(())
//! ```
//!
//! | room | what is in it |
//! |---|---|
//! | `world` | the handle: machines, nodes, cuts, crashes, clocks |
//! | [`hooks`] | time and randomness of the simulating thread |
//! | [`transport`], [`link`] | connections whose bytes take their time |
//! | `machine` | one life of a node: all of its tasks |
//! | [`tap`] | what reaches strangers, decrypted |
//! | [`scenario`], [`plan`] | what may go wrong, and what will |
//! | `faults`, `outsiders` | carrying it out |
//! | [`ledger`], [`invariants`] | what was promised, and whether it held |
//! | [`wire`], [`model`] | a run on whole nodes; on engines and sessions alone |
//! | [`plants`] | known faults that must be caught |
//! | [`outcome`], [`report`] | what came of it |

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("the simulator replaces C symbols of Linux on x86-64: build it there (every other crate builds anywhere)");

pub mod dice;
mod faults;
pub mod hooks;
pub mod invariants;
mod isolated;
pub mod ledger;
pub mod link;
mod machine;
pub mod memory;
pub mod model;
pub mod outcome;
mod outsiders;
pub mod plan;
pub mod plants;
pub mod report;
pub mod scenario;
pub mod tap;
pub mod trace;
pub mod transport;
pub mod wire;
mod world;

pub use isolated::isolated;
pub use world::{Crash, Sim, SimError, World};
