//! A terminal for programs that ask: a pair of ends, and what is shown on it.

#![allow(clippy::unwrap_used, reason = "a test ends where there is no terminal")]

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The end of the person, and that of the program.
pub(crate) fn open() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    (File::from(ours), File::options().read(true).write(true).open(name).unwrap())
}

/// All bytes that the program shows, as they come.
pub(crate) fn shown_on(ours: &File) -> Arc<Mutex<Vec<u8>>> {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let (kept, mut reader) = (shown.clone(), ours.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            kept.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
    });
    shown
}
