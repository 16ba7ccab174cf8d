//! Messages in and out: one a line.

use std::io::{self, BufRead, Read, Write};

use tokio::sync::mpsc;

/// The longest line that is read. A longer one is answered with an error.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// The most lines that wait before stdin is read on.
const WAITING_MAX: usize = 16;

/// A line of stdin.
#[derive(Debug)]
pub enum Line {
    /// Its bytes, without the line's end.
    Text(Vec<u8>),
    /// It is longer than 16 MiB.
    TooLong,
}

/// The lines of stdin, from a thread of their own, so that nothing else waits for a read.
pub fn input() -> mpsc::Receiver<Line> {
    let (sender, lines) = mpsc::channel(WAITING_MAX);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        while let Ok(Some(line)) = read(&mut stdin) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn read(stdin: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    stdin.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() as u64 == LINE_BYTES_MAX && bytes.last() != Some(&b'\n') {
        // Skips the rest of the line.
        while bytes.last().is_some_and(|last| *last != b'\n') {
            bytes.clear();
            stdin.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
        }
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(Line::Text(bytes)))
}

/// Writes messages to stdout, each as one line. It waits for a slow reader.
pub fn output() -> (mpsc::Sender<Vec<u8>>, std::thread::JoinHandle<()>) {
    let (sender, mut messages) = mpsc::channel::<Vec<u8>>(WAITING_MAX);
    let writer = std::thread::spawn(move || {
        let mut stdout = io::stdout().lock();
        while let Some(mut message) = messages.blocking_recv() {
            message.push(b'\n');
            if stdout.write_all(&message).and_then(|()| stdout.flush()).is_err() {
                break;
            }
        }
    });
    (sender, writer)
}
