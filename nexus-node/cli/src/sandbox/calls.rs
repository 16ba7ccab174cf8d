//! The system calls that a command is refused, by seccomp.
//!
//! Files and TCP ports are Landlock's. Here are the ways around it, into the kernel, and into other processes. A call that
//! programs do without is answered like an old kernel's (`ENOSYS`). One about attributes of files is answered
//! like a file system's without any (`ENOTSUP`). Any other is refused (`EPERM`).

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, sock_filter,
};

/// The last system call that this program knows: `mseal`. A later one may be a way around the filter. So may the calls of
/// the x32 personality, whose numbers are larger, too.
const LAST_KNOWN: u32 = 462;

/// Calls that programs do without. The flags of `clone3` lie in memory, where a filter cannot look.
const ABSENT: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    MEMFD_SECRET,
    // the mounts of the machine, which the files about them do not tell either
    STATMOUNT,
    LISTMOUNT,
];

/// More such calls where the machine's files have their names: each watches a file by its path, which Landlock does not judge.
const ABSENT_AMONG_OTHERS: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_inotify_init,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
];

/// Calls that change attributes of files there, by their paths or by a file that is open for reading.
const ATTRIBUTES: &[c_long] = &[
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
];

/// Requests that do the same: flags, project, version, verity and encryption.
const ATTRIBUTE_REQUESTS: [u64; 6] = [0x4008_6602, 0x4004_6602, 0x401c_5820, 0x4008_7602, 0x4080_6685, 0x800c_6613];

/// Calls that are refused, whatever their arguments.
const REFUSED: &[c_long] = &[
    // into other processes; Landlock refuses most of it once more
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    PROCESS_MRELEASE,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // other roots and namespaces
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // keys of the account
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // much of the kernel for few programs
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    // memory, queues and semaphores that processes outside of the sandbox share by number or name. The numbers are small,
    // so a command knows them without a call that makes one
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmdt,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // the machine
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    QUOTACTL_FD,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Flags of `clone` that make a namespace.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// The bits of a socket's type without its flags.
const TYPE_MASK: u64 = 0xf;
/// The types of sockets with addresses: of TCP, and of UDP.
const SOCKETS: [u64; 2] = [1, 2];
/// Their protocols: the type's own, TCP, UDP.
const PROTOCOLS: [u64; 3] = [0, 6, 17];
/// The types of a pair of sockets that have no other end than each other: streams, and packets in order.
const PAIRS: [u64; 2] = [1, 5];
/// The only family of sockets with pairs that programs use.
const AF_UNIX: u64 = 1;

/// `kexec_file_load`, which not every C library names.
const KEXEC_FILE_LOAD: c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// Calls that not every C library names. They have one number everywhere.
const QUOTACTL_FD: c_long = 443;
const MEMFD_SECRET: c_long = 447;
const PROCESS_MRELEASE: c_long = 448;
const STATMOUNT: c_long = 457;
const LISTMOUNT: c_long = 458;

/// Requests that put words into a terminal, in one type for every C library.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filters, made before memory is limited.
pub(super) struct Calls(Vec<BpfProgram>);

impl Calls {
    /// The filters with the network or without it, among the files of the machine or in namespaces of its own.
    pub(super) fn new(net: bool, among_others: bool) -> Result<Self, String> {
        let all = |calls: &[c_long]| -> Rules { calls.iter().map(|call| (*call, Vec::new())).collect() };
        let mut absent = all(ABSENT);
        let mut programs = Vec::new();
        if among_others {
            absent.extend(all(ABSENT_AMONG_OTHERS));
            let mut attributes = all(ATTRIBUTES);
            for request in ATTRIBUTE_REQUESTS {
                refuse(&mut attributes, libc::SYS_ioctl, &[(1, SeccompCmpOp::Eq, request)])
                    .map_err(|e| e.to_string())?;
            }
            programs.push(program(attributes, libc::ENOTSUP));
        }
        programs.push(program(absent, libc::ENOSYS));
        programs.push(refused(net).and_then(|rules| program(rules, libc::EPERM)));
        let mut programs: Vec<BpfProgram> =
            programs.into_iter().collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        programs.push(later_calls());
        Ok(Self(programs))
    }

    /// Refuses the calls from now on, for this thread and for all that it begins.
    pub(super) fn apply(&self) -> Result<(), String> {
        self.0.iter().try_for_each(|program| apply_filter(program)).map_err(|error| format!("seccomp: {error}"))
    }
}

/// A filter that answers with this error.
fn program(rules: Rules, errno: i32) -> Result<BpfProgram, seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    let action = SeccompAction::Errno(errno.unsigned_abs());
    // a call of another architecture kills: its numbers mean other calls
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()?)
}

/// A filter that answers later calls like an old kernel.
fn later_calls() -> BpfProgram {
    let (load, greater, give) = (0x20, 0x25, 0x06);
    let (allow, absent) = (0x7fff_0000, 0x0005_0000 | libc::ENOSYS.unsigned_abs());
    let step = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    // the number is the first field of what a filter sees
    vec![step(load, 0, 0), step(greater, 1, LAST_KNOWN), step(give, 0, absent), step(give, 0, allow)]
}

/// Refuses a call where all of these hold.
fn refuse(rules: &mut Rules, call: c_long, conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<(), seccompiler::Error> {
    let condition = |(argument, op, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, op.clone(), *value)
    };
    let conditions = conditions.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    Ok(())
}

fn refused(net: bool) -> Result<Rules, seccompiler::Error> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let mut rules: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let mut refuse = |call: c_long, conditions: &[_]| refuse(&mut rules, call, conditions);
    for flag in NAMESPACES {
        let flag = u64::from(flag.unsigned_abs());
        refuse(libc::SYS_clone, &[(0, MaskedEq(flag), flag)])?;
    }
    // words put into a terminal are read by whoever reads there next
    for request in [TIOCSTI, TIOCLINUX] {
        refuse(libc::SYS_ioctl, &[(1, Eq, request)])?;
    }
    // the limits and turns of other processes, such as the worker
    for call in [
        libc::SYS_prlimit64,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setaffinity,
    ] {
        refuse(call, &[(0, Ne, 0)])?;
    }
    for call in [libc::SYS_setpriority, libc::SYS_ioprio_set] {
        refuse(call, &[(1, Ne, 0)])?;
    }
    refuse(libc::SYS_setpriority, &[(0, Ne, 0)])?;
    // 1 is a process, unlike for `setpriority`
    refuse(libc::SYS_ioprio_set, &[(0, Ne, 1)])?;
    // of what they hold, another process would wait for it
    refuse(libc::SYS_fcntl, &[(1, Eq, u64::from(libc::F_SETLEASE.unsigned_abs()))])?;
    refuse(libc::SYS_get_robust_list, &[(0, Ne, 0)])?;
    // a pair of datagram sockets may each be connected to another socket afterwards, and the kernel makes some of other
    // types, too. It loads the code of a family to say that it has no pairs
    refuse(libc::SYS_socketpair, &[(0, Ne, AF_UNIX)])?;
    refuse(libc::SYS_socketpair, &[(2, Ne, 0)])?;
    let types = |allowed: [u64; 2]| (0..=TYPE_MASK).filter(move |kind| !allowed.contains(kind));
    for kind in types(PAIRS) {
        refuse(libc::SYS_socketpair, &[(1, MaskedEq(TYPE_MASK), kind)])?;
    }
    if net {
        // Unix sockets lead to other programs: of containers, of a desktop, of keys
        refuse(libc::SYS_socket, &[(0, Ne, 2), (0, Ne, 10)])?;
        for kind in types(SOCKETS) {
            refuse(libc::SYS_socket, &[(1, MaskedEq(TYPE_MASK), kind)])?;
        }
        refuse(libc::SYS_socket, &PROTOCOLS.map(|protocol| (2, Ne, protocol)))?;
    } else {
        rules.insert(libc::SYS_socket, Vec::new());
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPERM: Verdict = Verdict::Error(libc::EPERM.unsigned_abs());
    const ENOTSUP: Verdict = Verdict::Error(libc::ENOTSUP.unsigned_abs());
    const ENOSYS: Verdict = Verdict::Error(libc::ENOSYS.unsigned_abs());
    const ARCH: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Verdict {
        Allowed,
        Error(u32),
        Killed,
    }

    /// The verdict of one filter, as the kernel would find it.
    fn judged(program: &[sock_filter], arch: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let low = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap();
        let mut data = vec![call, arch, 0, 0];
        data.extend(arguments.iter().flat_map(|value| [low(*value), low(*value >> 32)]));
        let (mut at, mut held) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            at += 1;
            match code {
                0x20 => held = data[k as usize / 4],
                0x54 => held &= k,
                0x05 => at += k as usize,
                0x15 => at += jump(held == k),
                0x25 => at += jump(held > k),
                0x35 => at += jump(held >= k),
                0x06 => return k,
                other => panic!("an instruction {other:#x}"),
            }
        }
    }

    /// The verdict of all filters: the strictest counts.
    fn verdict(net: bool, arch: u32, call: c_long, arguments: &[u64]) -> Verdict {
        judged_by(&Calls::new(net, true).unwrap(), arch, call, arguments)
    }

    fn judged_by(Calls(programs): &Calls, arch: u32, call: c_long, arguments: &[u64]) -> Verdict {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let call = u32::try_from(call).unwrap();
        let verdicts = programs.iter().map(|program| match judged(program, arch, call, all) {
            0x7fff_0000 => Verdict::Allowed,
            0x8000_0000 => Verdict::Killed,
            error => Verdict::Error(error & 0xffff),
        });
        // of two errors the one of the filter that was added last counts
        verdicts.fold(Verdict::Allowed, |before, now| match (before, now) {
            (Verdict::Killed, _) | (_, Verdict::Killed) => Verdict::Killed,
            (before, Verdict::Allowed) => before,
            (_, now) => now,
        })
    }

    fn of(call: c_long, arguments: &[u64]) -> Verdict {
        let with_net = verdict(true, ARCH, call, arguments);
        assert_eq!(verdict(false, ARCH, call, arguments), with_net, "{call}: the network makes no difference");
        with_net
    }

    /// promise: Sandbox | Calls into the kernel that lead around the sandbox are refused, whatever their arguments
    #[test]
    fn each_call_of_the_lists_is_refused() {
        for call in REFUSED {
            assert_eq!((of(*call, &[]), of(*call, &[u64::MAX; 6])), (EPERM, EPERM), "{call}");
        }
        for call in ABSENT.iter().chain(ABSENT_AMONG_OTHERS) {
            assert_eq!(of(*call, &[]), ENOSYS, "{call}");
        }
        for call in ATTRIBUTES {
            assert_eq!(of(*call, &[]), ENOTSUP, "{call}");
        }
        for call in [libc::SYS_read, libc::SYS_openat, libc::SYS_execve, libc::SYS_futex, libc::SYS_exit_group] {
            assert_eq!(of(call, &[]), Verdict::Allowed, "{call}");
        }
    }

    /// promise: Sandbox | Calls that a later kernel brings, and those of other personalities, are refused
    #[test]
    fn a_call_that_nobody_knows_is_refused() {
        for call in [463, 470, 500, 0x4000_0000, 0x4000_0000 | libc::SYS_read] {
            assert_eq!(of(call, &[]), ENOSYS, "{call:#x}");
        }
        assert_eq!(verdict(false, 0x4000_0003, 5, &[]), Verdict::Killed, "32 bits");
    }

    /// promise: Sandbox | A command makes no namespace, writes into no terminal, and changes no other process
    #[test]
    fn arguments_decide_where_programs_need_the_call() {
        assert_eq!(of(libc::SYS_clone, &[0x0120_0011]), Verdict::Allowed, "a fork");
        assert_eq!(of(libc::SYS_clone, &[0x003d_0f00]), Verdict::Allowed, "a thread");
        for flag in NAMESPACES {
            let flag = u64::from(flag.unsigned_abs());
            assert_eq!((of(libc::SYS_clone, &[flag]), of(libc::SYS_clone, &[flag | 17])), (EPERM, EPERM), "{flag:#x}");
        }
        for request in [TIOCSTI, TIOCLINUX, TIOCSTI | 1 << 32] {
            assert_eq!(of(libc::SYS_ioctl, &[0, request]), EPERM, "{request:#x}: the kernel reads 32 bits");
        }
        assert_eq!(of(libc::SYS_ioctl, &[0, 0x5401]), Verdict::Allowed);
        assert_eq!((of(libc::SYS_prlimit64, &[0]), of(libc::SYS_prlimit64, &[7])), (Verdict::Allowed, EPERM));
        assert_eq!(of(libc::SYS_setpriority, &[0, 0, 5]), Verdict::Allowed);
        assert_eq!((of(libc::SYS_setpriority, &[0, 7]), of(libc::SYS_setpriority, &[2, 0])), (EPERM, EPERM));
        assert_eq!((of(libc::SYS_ioprio_set, &[1, 0]), of(libc::SYS_ioprio_set, &[1, 7])), (Verdict::Allowed, EPERM));
    }

    /// promise: Sandbox | A command watches no file by its path, and changes no attribute of one, unless it sees no other files than its own
    #[test]
    fn watches_and_attributes_are_there_in_namespaces_alone() {
        let within = Calls::new(false, false).unwrap();
        for call in ABSENT_AMONG_OTHERS.iter().chain(ATTRIBUTES) {
            assert_eq!(judged_by(&within, ARCH, *call, &[]), Verdict::Allowed, "{call}");
        }
        for request in ATTRIBUTE_REQUESTS {
            assert_eq!(of(libc::SYS_ioctl, &[3, request]), ENOTSUP, "{request:#x}");
            assert_eq!(judged_by(&within, ARCH, libc::SYS_ioctl, &[3, request]), Verdict::Allowed, "{request:#x}");
        }
        for request in [TIOCSTI, TIOCLINUX] {
            assert_eq!(judged_by(&within, ARCH, libc::SYS_ioctl, &[3, request]), EPERM, "{request:#x}");
        }
    }

    /// promise: Sandbox | No number that all processes share leads to another one: no queue, no semaphore, no shared memory
    #[test]
    fn what_all_processes_number_together_is_refused() {
        let systems = [
            libc::SYS_shmget,
            libc::SYS_shmat,
            libc::SYS_shmctl,
            libc::SYS_shmdt,
            libc::SYS_semget,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_semctl,
            libc::SYS_msgget,
            libc::SYS_msgsnd,
            libc::SYS_msgrcv,
            libc::SYS_msgctl,
        ];
        for call in systems {
            for number in 0..4 {
                assert_eq!(of(call, &[number]), EPERM, "{call}");
            }
        }
        assert_eq!(
            (of(libc::SYS_get_robust_list, &[0]), of(libc::SYS_get_robust_list, &[7])),
            (Verdict::Allowed, EPERM)
        );
        let lease = u64::from(libc::F_SETLEASE.unsigned_abs());
        assert_eq!((of(libc::SYS_fcntl, &[3, lease, 1]), of(libc::SYS_fcntl, &[3, 1])), (EPERM, Verdict::Allowed));
    }

    /// promise: Sandbox | Without `--allow-net` there is no socket at all, with it only those of TCP and UDP
    #[test]
    fn sockets_are_those_of_the_network_alone_if_any() {
        let socket = |net, arguments: &[u64]| verdict(net, ARCH, libc::SYS_socket, arguments);
        let pair = |arguments: &[u64]| of(libc::SYS_socketpair, arguments);
        let allowed = |holds: bool| if holds { Verdict::Allowed } else { EPERM };
        // close at the beginning of another program, do not wait
        let flags = [0, 0x8_0000, 0x800, 0x8_0800];
        for family in 0..64 {
            for kind in 0..16 {
                for (protocol, flags) in
                    [0, 1, 6, 17, 58, 115, 132, 136, 255, 256, 262].into_iter().zip(flags.iter().cycle())
                {
                    let arguments = [family, kind | flags, protocol];
                    assert_eq!(socket(false, &arguments), EPERM, "{arguments:?}");
                    let expected =
                        [2, 10].contains(&family) && [1, 2].contains(&kind) && [0, 6, 17].contains(&protocol);
                    assert_eq!(socket(true, &arguments), allowed(expected), "{arguments:?}");
                    let expected = family == 1 && [1, 5].contains(&kind) && protocol == 0;
                    assert_eq!(pair(&arguments), allowed(expected), "{arguments:?}");
                }
            }
        }
    }
}
