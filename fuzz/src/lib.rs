//! Any bytes for every decoder that a stranger or a member reaches.
//!
//! A [`Target`] takes bytes and reads them by the code that reads them in a node. It must not panic, and
//! must not allocate much more than it was given. Where the bytes were read, its laws hold: most decoders
//! read a value from one encoding alone.
//!
//! | room | content |
//! |---|---|
//! | [`targets`] | the table of targets, and the laws of those without a door of their own |
//! | [`corpus`] | the kept inputs of each target |
//! | [`seeds`] | good inputs, from `docs/vectors` and from the encoders |
//! | [`mutate`] | other inputs made from kept ones, by a seed |
//! | [`execution`] | one execution: its panic, its memory, its time |
//! | [`campaign`] | many executions of one target |
//! | [`allocation`], [`coverage`] | counted memory; the counters of an instrumented build |
//! | [`mod@file`] | the program of one target, for an outside fuzzer |

pub mod allocation;
pub mod campaign;
pub mod corpus;
pub mod coverage;
pub mod execution;
pub mod file;
pub mod mutate;
pub mod seeds;
pub mod targets;

pub use targets::Target;
