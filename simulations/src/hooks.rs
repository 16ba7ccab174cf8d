//! Time and randomness of the simulating thread: C symbols that take the place of the system's.
//!
//! std, tokio, libp2p and the random number crates all end in four functions of the C library. These are
//! `clock_gettime`, `getrandom`, `getentropy`, and `syscall` (some versions of the `getrandom` crate call
//! it themselves). A symbol of the executable comes before one of a library, so it is enough to define
//! them here.
//!
//! They act only on a thread that called [`enter`]. Any other thread gets the system's answer. It may
//! not ask for randomness while a simulation runs, since its effects could not be repeated.

#![expect(unsafe_code, reason = "C symbols, raw system calls")]

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The monotonic clock at the start of a simulation. Not zero, which some code takes for "never".
const START: Duration = Duration::from_secs(1_000_000);
/// The wall clock at the start of a simulation: 2030-01-01.
const START_WALL: Duration = Duration::from_secs(1_893_456_000);

/// The error of a wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wall {
    /// The time that it is ahead, in milliseconds.
    pub ahead_ms: i64,
    /// The time since the start of the simulation at which it stands still, in milliseconds.
    pub frozen_ms: Option<u64>,
}

/// The state of a thread; without destructors, so that it can be read at any time.
struct Local {
    active: Cell<bool>,
    /// Whether this is inside of the clock hook: tokio's clock may ask the system's.
    asking: Cell<bool>,
    origin: Cell<Option<Instant>>,
    last: Cell<Duration>,
    random: Cell<[u64; 4]>,
    wall: Cell<Wall>,
    /// The node whose task runs.
    node: Cell<Option<usize>>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            active: Cell::new(false),
            asking: Cell::new(false),
            origin: Cell::new(None),
            last: Cell::new(START),
            random: Cell::new([0; 4]),
            wall: Cell::new(Wall { ahead_ms: 0, frozen_ms: None }),
            node: Cell::new(None),
        }
    };
}

/// Whether a thread of the process simulates.
static RUNNING: AtomicBool = AtomicBool::new(false);

/// Ends the simulation of this thread when dropped.
#[derive(Debug)]
pub struct Entered(());

/// Makes this thread's time tokio's, and its randomness the seed's. Call it on a fresh thread: std
/// keeps the keys of its hash maps per thread, from their first use on.
///
/// # Panics
/// If a simulation runs in this process already, or if the hooks are not in place.
#[expect(clippy::disallowed_methods, reason = "asks the clock in order to see that it is ours")]
pub fn enter(seed: u64) -> Entered {
    assert!(!RUNNING.swap(true, Ordering::SeqCst), "one simulation at a time in a process");
    LOCAL.with(|local| {
        let mut mixer = seed;
        local.random.set([mix(&mut mixer), mix(&mut mixer), mix(&mut mixer), mix(&mut mixer)]);
        local.last.set(START);
        local.wall.set(Wall::default());
        local.active.set(true);
        local.origin.set(Some(Instant::now()));
    });
    let entered = Entered(());
    if let Err(what) = check() {
        drop(entered);
        panic!("the simulator's hooks are not in place: {what}. Is the executable linked in an unusual way?");
    }
    entered
}

impl Drop for Entered {
    fn drop(&mut self) {
        LOCAL.with(|local| local.active.set(false));
        RUNNING.store(false, Ordering::SeqCst);
    }
}

/// Sets this thread's wall clock. Returns the one before.
pub(crate) fn set_wall(wall: Wall) -> Wall {
    LOCAL.with(|local| local.wall.replace(wall))
}

/// Says whose task runs on this thread from now on. Returns whose it was.
pub(crate) fn set_node(node: Option<usize>) -> Option<usize> {
    LOCAL.with(|local| local.node.replace(node))
}

/// The node whose task runs on this thread.
pub fn node() -> Option<usize> {
    LOCAL.with(|local| local.node.get())
}

/// Virtual time since the start of the simulation.
pub fn elapsed() -> Duration {
    LOCAL.with(now).saturating_sub(START)
}

/// The machine's own monotonic clock, also during a simulation.
pub fn real_now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame.
    unsafe {
        raw_syscall(
            libc::SYS_clock_gettime,
            [c_long::from(libc::CLOCK_MONOTONIC), (&raw mut time) as c_long, 0, 0, 0, 0],
        )
    };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Checks that each hook is in place.
#[expect(clippy::disallowed_methods, reason = "asks the clocks in order to see that they are ours")]
fn check() -> Result<(), &'static str> {
    let random = LOCAL.with(|local| local.random.get());
    let expected = |fill: &dyn Fn(&mut [u8; 16]) -> bool| {
        LOCAL.with(|local| local.random.set(random));
        let mut got = [0; 16];
        let filled = fill(&mut got);
        LOCAL.with(|local| local.random.set(random));
        let mut wanted = [0; 16];
        fill_random(&mut wanted);
        filled && got == wanted
    };
    let origin = Instant::now();
    if LOCAL.with(|local| local.origin.get()) != Some(origin) {
        return Err("the monotonic clock moves by itself");
    }
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    if wall.ok() != Some(START_WALL) {
        return Err("the wall clock is the machine's");
    }
    if !expected(&|bytes| getrandom::fill(bytes).is_ok()) {
        return Err("the getrandom crate is answered by the system");
    }
    // SAFETY: each call gets a buffer of sixteen bytes and its length.
    if !expected(&|bytes| unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), 16, 0) } == 16) {
        return Err("getrandom() is the system's");
    }
    // SAFETY: as above.
    if !expected(&|bytes| unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), 16) } == 0) {
        return Err("getentropy() is the system's");
    }
    // SAFETY: as above.
    if !expected(&|bytes| unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), 16, 0) } == 16) {
        return Err("syscall() is the system's");
    }
    LOCAL.with(|local| local.random.set(random));
    Ok(())
}

/// Virtual time: tokio's paused clock, or its last value.
fn now(local: &Local) -> Duration {
    let Some(origin) = local.origin.get() else { return local.last.get() };
    if local.asking.replace(true) {
        return local.last.get();
    }
    if tokio::runtime::Handle::try_current().is_ok() {
        let since = tokio::time::Instant::now().into_std().saturating_duration_since(origin);
        local.last.set(START + since);
    }
    local.asking.set(false);
    local.last.get()
}

fn wall_now(local: &Local) -> Duration {
    let since = now(local).saturating_sub(START);
    let Wall { ahead_ms, frozen_ms } = local.wall.get();
    let since = frozen_ms.map_or(since, Duration::from_millis);
    let ahead = Duration::from_millis(ahead_ms.unsigned_abs());
    let exact = START_WALL + since;
    if ahead_ms < 0 { exact.saturating_sub(ahead) } else { exact + ahead }
}

/// SplitMix64, for seeding.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// xoshiro256**: fast, seeded, and good enough without an attacker.
fn next_random(local: &Local) -> u64 {
    let [mut a, mut b, mut c, mut d] = local.random.get();
    let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
    let t = b << 17;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = d.rotate_left(45);
    local.random.set([a, b, c, d]);
    result
}

fn fill_random(out: &mut [u8]) {
    LOCAL.with(|local| {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&next_random(local).to_le_bytes()[..chunk.len()]);
        }
    });
}

/// Whether this thread simulates. Ends the process if another thread simulates and this one asks for
/// randomness.
fn active_or_alone() -> bool {
    if LOCAL.with(|local| local.active.get()) {
        return true;
    }
    if RUNNING.load(Ordering::Relaxed) {
        let message = b"nexus-sim: a thread outside of the simulation asks for randomness while it runs;\n\
            what it does cannot be repeated. Run one simulation per process, and no threads beside it.\n";
        // SAFETY: a constant message and its length; abort does not return.
        unsafe {
            libc::write(2, message.as_ptr().cast(), message.len());
            libc::abort();
        }
    }
    false
}

/// # Safety
/// The arguments must be as the system call demands.
unsafe fn raw_syscall(number: c_long, args: [c_long; 6]) -> c_long {
    let result: c_long;
    // SAFETY: the kernel's calling convention on x86-64; the caller vouches for the arguments.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// Returns as the C library does: -1, and the reason in `errno`.
///
/// # Safety
/// As [`raw_syscall`].
unsafe fn forward(number: c_long, args: [c_long; 6]) -> c_long {
    // SAFETY: the caller's.
    let result = unsafe { raw_syscall(number, args) };
    if (-4095..0).contains(&result) {
        // SAFETY: the C library's errno of this thread.
        unsafe { *libc::__errno_location() = c_int::try_from(-result).unwrap_or(libc::EINVAL) };
        return -1;
    }
    result
}

/// # Safety
/// `time` is null or points to a timespec.
#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let virtual_now = LOCAL.with(|local| {
        if !local.active.get() {
            return None;
        }
        match clock {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => Some(wall_now(local)),
            libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_BOOTTIME => {
                Some(now(local))
            }
            _ => None,
        }
    });
    match virtual_now {
        Some(now) if !time.is_null() => {
            let seconds = libc::time_t::try_from(now.as_secs()).unwrap_or(libc::time_t::MAX);
            let value = libc::timespec { tv_sec: seconds, tv_nsec: c_long::from(now.subsec_nanos()) };
            // SAFETY: not null, and the caller vouches that it is a timespec.
            unsafe { time.write(value) };
            0
        }
        // SAFETY: the caller's arguments, unchanged.
        _ => unsafe { forward(libc::SYS_clock_gettime, [c_long::from(clock), time as c_long, 0, 0, 0, 0]) as c_int },
    }
}

/// # Safety
/// `out` points to `len` bytes.
unsafe fn fill_raw(out: *mut c_void, len: usize) {
    if len > 0 {
        // SAFETY: the caller vouches for the buffer.
        fill_random(unsafe { std::slice::from_raw_parts_mut(out.cast(), len) });
    }
}

#[unsafe(no_mangle)]
extern "C" fn getrandom(out: *mut c_void, len: usize, flags: c_uint) -> isize {
    if active_or_alone() && !out.is_null() {
        // SAFETY: the C function's contract: `out` has `len` bytes.
        unsafe { fill_raw(out, len) };
        return isize::try_from(len).unwrap_or(isize::MAX);
    }
    // SAFETY: the caller's arguments, unchanged.
    unsafe { forward(libc::SYS_getrandom, [out as c_long, len as c_long, c_long::from(flags), 0, 0, 0]) as isize }
}

#[unsafe(no_mangle)]
extern "C" fn getentropy(out: *mut c_void, len: usize) -> c_int {
    if len > 256 {
        return -1;
    }
    if active_or_alone() {
        // SAFETY: the C function's contract: `out` has `len` bytes.
        unsafe { fill_raw(out, len) };
        return 0;
    }
    // SAFETY: the caller's arguments, unchanged.
    let got = unsafe { forward(libc::SYS_getrandom, [out as c_long, len as c_long, 0, 0, 0, 0]) };
    if got == len as c_long { 0 } else { -1 }
}

/// The C function takes as many arguments as the call needs. On x86-64 they come in the same registers
/// as six fixed ones; registers without an argument are not read.
#[unsafe(no_mangle)]
extern "C" fn syscall(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    if number == libc::SYS_getrandom && active_or_alone() {
        // SAFETY: the system call's contract: `a` points to `b` bytes.
        unsafe { fill_raw(a as *mut c_void, usize::try_from(b).unwrap_or(0)) };
        return b;
    }
    // SAFETY: the caller's arguments, unchanged.
    unsafe { forward(number, [a, b, c, d, e, f]) }
}
