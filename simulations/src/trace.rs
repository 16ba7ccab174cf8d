//! The trace: all events in order, as one hash. Two runs are the same if their hashes are.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use crate::plan::NodeNo;

/// The number of lines kept for the report of a failure.
const RECENT_MAX: usize = 40;

/// The number of bytes hashed at once: large pieces are hashed several times faster.
const HASHED_BYTES: usize = 1 << 16;

/// The node of a line that belongs to no node.
pub const NOBODY: NodeNo = NodeNo::MAX;

/// The trace of a run: every event and every chunk of bytes that arrived, each with its virtual time.
pub struct Trace {
    hasher: blake3::Hasher,
    /// Bytes that are not hashed yet.
    pending: Vec<u8>,
    lines: u64,
    /// The writer of the lines, if any.
    out: Option<Box<dyn Write + Send>>,
    recent: VecDeque<String>,
}

impl Trace {
    /// An empty trace that writes its lines to `out`, if there is one.
    pub fn new(out: Option<Box<dyn Write + Send>>) -> Self {
        let hasher = blake3::Hasher::new_derive_key("nexus-sim trace v1");
        Self { hasher, pending: Vec::with_capacity(HASHED_BYTES), lines: 0, out, recent: VecDeque::new() }
    }

    /// Records an event at a node, or of the world.
    pub fn event(&mut self, at: Duration, node: NodeNo, what: fmt::Arguments<'_>) {
        let line = match node {
            NOBODY => format!("{:>10} -   {what}", at.as_micros()),
            node => format!("{:>10} n{node:<2} {what}", at.as_micros()),
        };
        self.hash_in(&[line.as_bytes(), b"\n"]);
        self.lines += 1;
        self.write(&line);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
    }

    /// Records bytes that arrived at a node.
    pub fn chunk(&mut self, at: Duration, from: NodeNo, to: NodeNo, connection: u64, bytes: &[u8]) {
        let mut head = [0; 40];
        let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        for (place, number) in [at_us, from as u64, to as u64, connection, bytes.len() as u64].into_iter().enumerate() {
            head[place * 8..place * 8 + 8].copy_from_slice(&number.to_le_bytes());
        }
        self.hash_in(&[&head, bytes]);
        self.lines += 1;
        if self.out.is_some() {
            let hash = blake3::hash(bytes).to_hex();
            let line =
                format!("{at_us:>10} n{to:<2} {} bytes from n{from} on {connection}: {}", bytes.len(), &hash[..16]);
            self.write(&line);
        }
    }

    fn hash_in(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.pending.extend_from_slice(part);
        }
        if self.pending.len() >= HASHED_BYTES {
            self.hasher.update(&self.pending);
            self.pending.clear();
        }
    }

    fn write(&mut self, line: &str) {
        if let Some(out) = &mut self.out {
            // a trace that cannot be written is short, which shows
            let _ = writeln!(out, "{line}");
        }
    }

    /// The hash of all events so far, 64 hexadecimal digits.
    pub fn hash(&self) -> String {
        self.hasher.clone().update(&self.pending).finalize().to_hex().to_string()
    }

    /// The number of events and chunks.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The last events, oldest first.
    pub fn recent(&self) -> Vec<String> {
        self.recent.iter().cloned().collect()
    }

    /// Writes the buffer out.
    pub fn flush(&mut self) {
        if let Some(out) = &mut self.out {
            let _ = out.flush();
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("lines", &self.lines).finish_non_exhaustive()
    }
}
