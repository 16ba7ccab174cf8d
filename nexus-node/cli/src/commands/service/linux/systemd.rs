//! The unit of systemd.

#[cfg(test)]
mod tests;

use super::words::{Scope, Words, mark};

pub(super) const UNIT: &str = "nexus-node.service";

/// The most open files of a service: one for each connection of the largest `connections_max`.
const FILES_MAX: u32 = 65_536;
/// The directories that `ProtectHome=yes` hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// The directory of a system service below `/var/lib`.
const STATE: &str = "nexus-node";

/// The text of a unit.
///
/// A manager of one account may set up neither mounts nor capabilities on every machine. Its unit has only what a
/// process may forbid itself.
pub(super) fn text(scope: Scope, words: &Words<'_>) -> String {
    let mut unit = Unit(format!("# {}\n", mark()));
    unit.section("Unit");
    unit.set("Description", "Nexus node");
    if scope == Scope::System {
        unit.set("After", "network.target");
        unit.set("RequiresMountsFor", &quoted(words.data_dir));
    }
    // a fault that stays ends in a failed service: ten starts within five minutes, then none
    unit.set("StartLimitIntervalSec", "300");
    unit.set("StartLimitBurst", "10");

    unit.section("Service");
    unit.set("Type", "exec");
    unit.set("ExecStart", &command(words));
    unit.set("Restart", "on-failure");
    unit.set("RestartSec", "5");
    // usage and conflict: another start would say the same
    unit.set("RestartPreventExitStatus", "2 7");
    unit.set("TimeoutStopSec", "30");
    unit.set("UMask", "0077");
    unit.set("LimitNOFILE", &FILES_MAX.to_string());
    unit.set("NoNewPrivileges", "yes");
    unit.set("LockPersonality", "yes");
    unit.set("MemoryDenyWriteExecute", "yes");
    unit.set("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK");
    unit.set("RestrictNamespaces", "yes");
    unit.set("RestrictRealtime", "yes");
    unit.set("RestrictSUIDSGID", "yes");
    unit.set("SystemCallArchitectures", "native");
    match scope {
        Scope::User => {
            if let Some(state) = words.state_home {
                unit.set("Environment", &quoted(&format!("XDG_STATE_HOME={state}")));
            }
            unit.section("Install");
            unit.set("WantedBy", "default.target");
        }
        Scope::System => {
            if let Some(account) = words.account {
                unit.set("User", &specifiers(account));
            }
            unit.set("CapabilityBoundingSet", "");
            unit.set("ProtectSystem", "strict");
            unit.set("ReadWritePaths", &quoted(words.data_dir));
            let at_home = is_at_home(words.data_dir) || is_at_home(words.program);
            unit.set("ProtectHome", if at_home { "read-only" } else { "yes" });
            // the age of the data directory is kept outside of it
            unit.set("StateDirectory", STATE);
            unit.set("StateDirectoryMode", "0700");
            unit.set("Environment", &quoted(&format!("XDG_STATE_HOME=/var/lib/{STATE}")));
            for yes in [
                "PrivateTmp",
                "PrivateDevices",
                "ProtectClock",
                "ProtectControlGroups",
                "ProtectHostname",
                "ProtectKernelLogs",
                "ProtectKernelModules",
                "ProtectKernelTunables",
            ] {
                unit.set(yes, "yes");
            }
            unit.section("Install");
            unit.set("WantedBy", "multi-user.target");
        }
    }
    unit.0
}

/// Whether a unit of ours names this data directory.
pub(super) fn names(text: &str, data_dir: &str) -> bool {
    let words = format!(" \"--data-dir\" {} ", argument(data_dir));
    text.lines().any(|line| line.starts_with("ExecStart=") && line.contains(&words))
}

struct Unit(String);

impl Unit {
    fn section(&mut self, name: &str) {
        self.0.push_str(&format!("\n[{name}]\n"));
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.push_str(&format!("{name}={value}\n"));
    }
}

fn command(words: &Words<'_>) -> String {
    let arguments = ["--data-dir", words.data_dir, "up", "--started-by", "service"].map(argument);
    // systemd replaces no variables in the program's own path
    std::iter::once(quoted(words.program)).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// A word after the program in a command line.
fn argument(word: &str) -> String {
    quoted(word).replace('$', "$$")
}

/// A word of a setting.
fn quoted(word: &str) -> String {
    format!("\"{}\"", specifiers(&word.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

fn is_at_home(path: &str) -> bool {
    HOMES.iter().any(|home| std::path::Path::new(path).starts_with(home))
}
