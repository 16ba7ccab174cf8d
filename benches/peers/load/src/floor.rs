//! The floor of every durable write over a socket.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::Failure;
use crate::stats::Samples;

/// The size of the file from the beginning on, like the log of a database.
const FILE_BYTES: usize = 1 << 20;
const WRITE_BYTES: usize = 512;

/// Milliseconds of one small write with fdatasync, into a file that does not grow, and one round
/// trip over loopback.
pub fn measure(path: &str, rounds: usize) -> Result<Samples, Failure> {
    let file = File::create(path)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.set_nodelay(true);
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        }
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut samples = Samples::default();
    for n in 0..rounds {
        let start = Instant::now();
        file.write_all_at(&[7; WRITE_BYTES], (n * WRITE_BYTES % FILE_BYTES) as u64)?;
        file.sync_data()?;
        let mut byte = [1];
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        samples.add(start.elapsed().as_secs_f64() * 1e3);
    }
    drop(stream);
    let _ = echo.join();
    std::fs::remove_file(path)?;
    Ok(samples)
}
