//! The kernel's surface: what a sandbox can ask of it, and who it is to it.

use std::{fs, os::unix::fs::MetadataExt as _, thread, time::Duration};

use super::{Row, ensure, row};
use crate::{
    leftovers::processes_with,
    stage::{Ask, Stage, User, run},
    table::Cell,
};

pub(super) const ROWS: &[Row] = &[
    row("P46", "no new namespace by any call", no_new_namespaces),
    row("P47", "no mount can be made, moved or taken away", no_mounts),
    row("P48", "no io_uring", no_rings),
    row("P49", "no look into the kernel or other processes, and no odd sockets", no_other_processes),
    row("P50", "no keyrings", no_keyrings),
    row("P51", "no call that governs the machine", no_machine),
    row("P52", "no namespace can be entered, and none is the host's", no_entering),
    row("P53", "no other table of calls, and no unknown call", no_other_tables),
    row("P54", "filters of one's own add to ours and take nothing away", own_filters_only_add),
    row("P55", "no terminal", no_terminal),
    row("P60", "the running program cannot be changed for the next sandbox", programs_are_sealed),
    row("P63", "set-user-id programs gain nothing", set_user_id_gains_nothing),
    row("P64", "no capability in any set", no_capabilities),
    row("P65", "never host uid 0, and files come back as the person's", unprivileged_owner),
    row("P70", "the clock stays the host's", clock_is_the_hosts),
    row("P71", "programs may come from memory and from data", no_reliance_on_names),
];

fn no_new_namespaces(stage: &Stage) -> Result<Cell, String> {
    stage.outside(&["P46"]).expect_among(&[
        ("unshare(NEWUSER)", "ok"),
        ("unshare(NEWUSER|NEWNET)", "ok"),
        ("clone(NEWNS)", "ok"),
        ("clone3(NEWUSER)", "ok"),
        ("clone3 without flags", "ok"),
    ])?;
    stage.site("P46").probe(&["P46"]).expect(&[
        // ENOSYS, so that the C library takes `clone`: EPERM would break every thread.
        ("clone3*", "ENOSYS"),
        ("unshare(NEWUSER) with high bits set", "EPERM|EINVAL"),
        ("unshare(*", "EPERM"),
        ("clone(*", "EPERM"),
        ("max_user_namespaces", "0"),
    ])?;
    Ok(Cell::Holds)
}

fn no_mounts(stage: &Stage) -> Result<Cell, String> {
    stage.outside(&["P47", "apart"]).expect_among(&[
        ("mount tmpfs", "ok"),
        ("fsopen tmpfs", "ok"),
        ("mount_setattr", "ok"),
        ("umount2 /proc", "ok|EINVAL"),
    ])?;
    stage.site("P47").probe(&["P47"]).expect(&[("*", "EPERM")])?;
    Ok(Cell::Holds)
}

fn no_rings(stage: &Stage) -> Result<Cell, String> {
    stage.outside(&["P48"]).expect_among(&[("io_uring_setup", "ok|EPERM|ENOSYS")])?;
    stage.site("P48").probe(&["P48"]).expect(&[("*", "EPERM")])?;
    Ok(Cell::Holds)
}

fn no_other_processes(stage: &Stage) -> Result<Cell, String> {
    let process = stage.canaries.process().to_string();
    stage.outside(&["P49", &process]).expect_among(&[
        ("kcmp", "ok"),
        ("process_vm_readv of a child", "ok"),
        ("ptrace a host process", "ok|EPERM"),
        ("/proc/PID/mem of a host process", "ok|EACCES"),
        ("socket netlink kobject_uevent", "ok"),
    ])?;
    stage.site("P49").probe(&["P49", &process]).expect(&[
        ("ptrace a host process", "ESRCH"),
        ("/proc/PID/mem of a host process", "ENOENT"),
        ("socket raw IPv4", "EPERM"),
        ("*", "EPERM"),
    ])?;
    Ok(Cell::Holds)
}

fn no_keyrings(stage: &Stage) -> Result<Cell, String> {
    stage
        .outside(&["P50"])
        .expect_among(&[("add_key", "ok|ENOSYS"), ("keyctl session keyring", "ok|ENOKEY|ENOSYS")])?;
    stage.site("P50").probe(&["P50"]).expect(&[("*", "EPERM")])?;
    Ok(Cell::Holds)
}

fn no_machine(stage: &Stage) -> Result<Cell, String> {
    let control = stage.outside(&["P51"]);
    control.expect_among(&[("adjtimex", "ok"), ("clock_settime", "EFAULT")])?;
    if stage.user == User::Root {
        // Let in, and refused for their arguments.
        control.expect_among(&[
            ("reboot", "EINVAL"),
            ("swapon", "ENOENT"),
            ("acct", "ENOENT"),
            ("settimeofday", "ok"),
            ("sethostname", "ok"),
        ])?;
    }
    stage.site("P51").probe(&["P51"]).expect(&[("*", "EPERM|ENOSYS")])?;
    Ok(Cell::Holds)
}

fn no_entering(stage: &Stage) -> Result<Cell, String> {
    let report = stage.site("P52").probe(&["P52"]);
    report.expect(&[
        ("identity *", "*"),
        ("setns *", "EPERM|ENOENT|EACCES"),
        ("pidfd_getfd of the first process", "EPERM"),
        ("reopen the first process's pipe", "ENXIO|EACCES|ENOENT"),
        ("ptrace the first process", "EPERM"),
        ("memory of the first process", "EACCES|EPERM"),
        ("/proc/1/root is our root", "true|EACCES"),
        ("NS_GET_*", "EPERM"),
    ])?;
    for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let host = fs::read_link(format!("/proc/self/ns/{name}")).map_err(|error| error.to_string())?;
        let inside = report.result(&format!("identity {name}")).unwrap_or_default();
        ensure(inside.starts_with(name) && host.display().to_string() != inside, || {
            format!("{name} is the host's: {inside}")
        })?;
    }
    Ok(Cell::Holds)
}

fn no_other_tables(stage: &Stage) -> Result<Cell, String> {
    stage.outside(&["P53"]).expect_among(&[("personality(READ_IMPLIES_EXEC)", "ok")])?;
    let mut expected = vec![
        ("personality(READ_IMPLIES_EXEC)", "EPERM"),
        ("personality(0xffffffff)", "ok"),
        ("numbers beyond the table", "ENOSYS"),
    ];
    if cfg!(target_arch = "x86_64") {
        // A kernel without the 32-bit table answers the interrupt with SIGSEGV, a filter with SIGSYS.
        expected.extend([("x32 *", "ENOSYS|SIGSYS|EPERM"), ("int 0x80 getpid", "SIGSYS|SIGSEGV")]);
    }
    stage.site("P53").probe(&["P53"]).expect(&expected)?;
    Ok(Cell::Holds)
}

fn own_filters_only_add(stage: &Stage) -> Result<Cell, String> {
    stage.outside(&["P54"]).expect_among(&[("a filter that allows what ours refuses", "ok")])?;
    stage.site("P54").probe(&["P54"]).expect(&[
        ("a listener of one's own", "ok|EBUSY"),
        ("very many filters", "ENOMEM|E2BIG"),
        ("a filter that allows what ours refuses", "EPERM"),
    ])?;
    Ok(Cell::Holds)
}

fn no_terminal(stage: &Stage) -> Result<Cell, String> {
    stage.site("P55").probe(&["P55"]).expect(&[
        ("TIOC*", "ENOTTY|EPERM"),
        ("TCGETS on *", "ENOTTY"),
        ("/dev/*", "ENOENT|ENXIO"),
        ("stream 0", "/dev/null|pipe"),
        ("stream *", "pipe"),
    ])?;
    Ok(Cell::Holds)
}

fn programs_are_sealed(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P60");
    let report = site.probe(&["P60"]);
    // The next sandbox, of the same server and so of the same program in memory.
    let next = site
        .try_open(&Ask::execute())
        .and_then(|mut open| run(&mut open, "sh", &["-c", "echo on"], |_, _| {}).printed("on"));
    next.map_err(|error| format!("after the attempts no sandbox starts: {error}; {}", report.seen()))?;
    report.expect(&[
        ("chmod /proc/1/exe*", "EPERM|EACCES|EROFS"),
        ("execute a script of /proc/1/exe", "ended|EACCES|EPERM|ENOENT|ENOEXEC"),
        ("truncate an open /proc/1/exe", "EINVAL|EPERM|EACCES|ETXTBSY"),
        ("lift the seals of /proc/1/exe", "EPERM|not opened"),
        ("map /proc/1/exe for writing", "EACCES|EPERM|not opened"),
        ("*", "ETXTBSY|EPERM|EACCES|EROFS"),
    ])?;
    Ok(Cell::Holds)
}

fn set_user_id_gains_nothing(stage: &Stage) -> Result<Cell, String> {
    let control = stage.outside(&["P63"]);
    control.expect_among(&[("found", "su"), ("su's effective user id", "0")])?;
    stage.site("P63").probe(&["P63"]).expect(&[
        ("found", "su"),
        // Empty: it gave up before it could be looked at.
        ("su's effective user id", "1000|"),
        ("*", "fails|ENOENT|EACCES|EPERM"),
    ])?;
    Ok(Cell::Holds)
}

fn no_capabilities(stage: &Stage) -> Result<Cell, String> {
    if stage.user == User::Root {
        let control = stage.outside(&["P64"]);
        ensure(control.result("CapEff").is_some_and(|set| set != "0000000000000000"), || control.seen())?;
    }
    stage.site("P64").probe(&["P64"]).expect(&[
        ("Cap*", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("capset(all)", "EPERM"),
        ("raise an ambient capability", "EPERM"),
        ("clear the securebits", "EPERM"),
        ("clear no_new_privs", "EINVAL"),
    ])?;
    Ok(Cell::Holds)
}

fn unprivileged_owner(stage: &Stage) -> Result<Cell, String> {
    let site = stage.site("P65");
    let owner = fs::metadata(&site.workspace).map_err(|error| error.to_string())?;
    let (report, handed) = site.probe_and_hand_back(&Ask::execute().keeping_all(), &["P65"]);
    report.expect(&[
        ("uid_map", "1000 *"),
        ("gid_map", "1000 *"),
        ("write a file", "ok"),
        ("its owner inside", "1000:1000"),
        ("chown to 0", "EPERM|EINVAL"),
        ("setuid 0", "EPERM|EINVAL"),
        ("setgroups", "EPERM|EINVAL"),
    ])?;
    let file = fs::metadata(site.workspace.join("owned")).map_err(|error| format!("{error}; {handed:?}"))?;
    let same = (file.uid(), file.gid()) == (owner.uid(), owner.gid());
    ensure(same, || format!("the file came back as {}:{}", file.uid(), file.gid()))?;
    let marker = format!("marker-P65-{}", std::process::id());
    let cancel = cofferdam_sandboxes::Cancel::new();
    let mut open = site.open_with(&Ask::execute(), &cancel);
    let host_ids = thread::scope(|scope| {
        let looker = scope.spawn(|| {
            for _ in 0..100 {
                thread::sleep(Duration::from_millis(20));
                if let Some(pid) = processes_with(&marker).first() {
                    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                    let ids = status.lines().filter(|line| {
                        line.starts_with("Uid:") || line.starts_with("Gid:") || line.starts_with("Groups:")
                    });
                    let ids: Vec<String> =
                        ids.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
                    cancel.cancel(cofferdam_contract::Ended::Cancelled);
                    return ids;
                }
            }
            cancel.cancel(cofferdam_contract::Ended::Cancelled);
            Vec::new()
        });
        run(&mut open, "./probe", &["sleep", &marker], |_, _| {});
        looker.join().unwrap_or_default()
    });
    let [uid, gid, groups] = host_ids.as_slice() else {
        return Err(format!("the process was not found: {host_ids:?}"));
    };
    let numbers =
        |line: &str| -> Vec<u32> { line.split(' ').skip(1).filter_map(|number| number.parse().ok()).collect() };
    let own = rustix::process::geteuid().as_raw();
    let right = |ids: &[u32]| {
        ids.len() == 4
            && match stage.user {
                User::Root => ids.iter().all(|id| *id >= 2_000_000_000),
                User::Ordinary => ids.iter().all(|id| *id == ids[0] && *id != 0),
            }
    };
    ensure(right(&numbers(uid)) && right(&numbers(gid)), || format!("on the host it is {uid}, {gid}"))?;
    match stage.user {
        User::Root => ensure(numbers(groups).is_empty(), || format!("on the host it has {groups}"))?,
        User::Ordinary => ensure(numbers(uid)[0] == own, || format!("on the host it is {uid}, not {own}"))?,
    }
    Ok(Cell::Holds)
}

fn clock_is_the_hosts(stage: &Stage) -> Result<Cell, String> {
    stage.site("P70").probe(&["P70"]).expect(&[
        ("clock_settime to 1970", "EPERM"),
        ("a time namespace", "EPERM"),
        ("the clock runs", "true"),
    ])?;
    // A library that lies about the time is not the server's clock.
    let site = stage.site("P70-deadline");
    let mut open = site.open(&Ask::execute().with(|limits| limits.wall_seconds = 2));
    let report = run(&mut open, "sh", &["-c", "TZ=UTC-12 date >/dev/null; sleep 30"], |_, _| {});
    ensure(report.ended() == Some(cofferdam_contract::Ended::Deadline), || report.seen())?;
    ensure(report.took < Duration::from_secs(4), || report.seen())?;
    Ok(Cell::Holds)
}

fn no_reliance_on_names(stage: &Stage) -> Result<Cell, String> {
    stage.site("P71").probe(&["P71"]).expect(&[("*", "exit 0")])?;
    Ok(Cell::Holds)
}
