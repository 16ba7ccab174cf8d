//! Whole Nexus networks under virtual time, by seed.
//!
//! A [`World`] runs the real node: swarm, gossip, handshakes, sync, store and handles as they ship. Its
//! surroundings are simulated: the network ([`transport`]), the disk, the clocks and the randomness
//! ([`hooks`]), and the tasks. So a run follows from its seed: the same seed gives the same [`trace`],
//! to the last byte that arrived.
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
//! Whole nodes are simulated on Linux on x86-64; [`model`] works anywhere.
//!
//! | room | content |
//! |---|---|
//! | `world` | the handle: machines, nodes, cuts, crashes, clocks |
//! | [`hooks`] | time and randomness of the simulating thread |
//! | [`transport`], [`link`] | connections whose bytes take their time |
//! | `machine` | one life of a node: all of its tasks |
//! | [`tap`] | the decrypted bytes that reach strangers |
//! | [`scenario`], [`plan`] | possible faults and operations; those of one run |
//! | `faults`, `outsiders`, `put_back`, `rot`, `stolen`, `admins`, `rogue`, `approvers`, `rogue_approver`, `two_faces`, `meddler`, `eraser`, `glutton`, `forger`, `usurper`, `upgrade`, `raft_frames` | carrying them out |
//! | [`ledger`], [`invariants`] | the promises given; the checks that they held |
//! | [`wire`], [`model`] | a run on whole nodes; on engines and sessions alone |
//! | `critical`, [`linearizability`] | operations on the coordinators; the check that one copy explains the answers |
//! | `secrets` | documents that are erased |
//! | `approvals`, `people` | tasks that need approvals; members, persons and rights as the simulator knows them |
//! | [`plants`] | known faults that must be caught |
//! | [`rare`] | rare places in the nodes that seeds have to reach |
//! | [`outcome`], [`report`] | the result of a run; a page about it |

// where whole nodes cannot be simulated, parts of this are unused
#![cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), allow(dead_code))]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod admins;
mod approvals;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod approvers;
mod blobs;
mod critical;
pub mod dice;
mod documents;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod eraser;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod faults;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod forger;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod glutton;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod hooks;
pub mod invariants;
mod isolated;
pub mod ledger;
pub mod linearizability;
pub mod link;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod machine;
mod meddler;
pub mod memory;
pub mod model;
pub mod outcome;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod outsiders;
mod people;
pub mod plan;
pub mod plants;
mod programs;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod put_back;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod raft_frames;
pub mod rare;
pub mod report;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod rogue;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod rogue_approver;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod rot;
pub mod scenario;
mod secrets;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod stolen;
pub mod tap;
mod tasks;
pub mod trace;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod transport;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod two_faces;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod upgrade;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod usurper;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod wire;
mod world;

pub use isolated::isolated;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use world::{Crash, Sim, SimError, World};
