//! The processes that this worker started for its tasks. The processes that one of them leaves behind, since it was killed
//! itself, become the worker's children on Linux, and are killed.

use std::collections::BTreeSet;
use std::io::Result;
use std::sync::{Mutex, MutexGuard, PoisonError};
#[cfg(target_os = "linux")]
use std::time::Duration;

use tokio::process::Child;

/// The time between two looks at what was left behind.
#[cfg(target_os = "linux")]
const LOOK: Duration = Duration::from_millis(20);
/// The longest time for that. A program that took another account's rights cannot be killed.
#[cfg(target_os = "linux")]
const LOOKS: Duration = Duration::from_secs(60);

/// The numbers of the processes that were started and have not ended.
#[derive(Debug, Default)]
pub(super) struct Wardens(Mutex<BTreeSet<u32>>);

impl Wardens {
    /// Makes this process the parent of what a killed warden leaves behind.
    pub(super) fn adopt() {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{getpid, set_child_subreaper};
            // without it the first process of the system is
            let _ = set_child_subreaper(Some(getpid()));
        }
    }

    /// Starts a process. No look takes it for another one meanwhile.
    pub(super) fn start(&self, spawn: impl FnOnce() -> Result<Child>) -> Result<Child> {
        let mut started = self.locked();
        let child = spawn()?;
        started.extend(child.id());
        Ok(child)
    }

    /// Notes that a process has ended, and kills what it left behind.
    pub(super) async fn ended(&self, number: Option<u32>) {
        let Some(number) = number else { return };
        self.locked().remove(&number);
        #[cfg(target_os = "linux")]
        {
            let looks = async {
                while crate::descendants::sweep_strays(&self.locked()) {
                    tokio::time::sleep(LOOK).await;
                }
            };
            let _ = tokio::time::timeout(LOOKS, looks).await;
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
