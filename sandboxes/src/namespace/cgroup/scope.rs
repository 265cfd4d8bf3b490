//! A transient scope of systemd's for this server alone, with a delegated cgroup v2.
//!
//! The request is one call on the bus of the service manager that is in charge of this user (`org.freedesktop.systemd1(5)`,
//! StartTransientUnit). It is made by `busctl`, which is part of systemd and so is there wherever there is somebody to
//! answer: a bus library would bring dozens of crates for one message in a server's life. It is bounded by [`PATIENCE`].
//!
//! The scope ends with its last process, so nothing is left of a server that was killed. What it must never do: take this
//! server out of limits or out of a service that somebody put it in, or move a process other than this one.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::version2::{Place, name, others};

/// How long a server waits for a scope. A manager answers within some hundredths of a
/// second; a machine that has just started may need to start the bus first.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often to look whether it is there.
const LOOK: Duration = Duration::from_millis(2);

/// Where `busctl` lies; never looked for in PATH, which a client may have filled with anything.
const BUSCTL: [&str; 3] = ["/usr/bin/busctl", "/bin/busctl", "/run/current-system/sw/bin/busctl"];

/// Where the system's bus listens (D-Bus specification, "Well-known Message Bus Instances").
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// Limits of a cgroup that leaving it would lift, and how they read where there are none.
const LIMITS: [(&str, &[&str]); 6] = [
    ("memory.max", &["max"]),
    ("memory.high", &["max"]),
    ("memory.swap.max", &["max"]),
    ("cpu.max", &["max 100000"]),
    ("cpu.weight", &["100"]),
    ("cpuset.cpus", &[""]),
];

/// The service manager that is in charge of this user.
#[derive(Debug, PartialEq, Eq)]
enum Manager {
    /// The machine's, for root.
    System,
    /// The user's own.
    User {
        uid: u32,
        /// The bus's address, and the folder of the user's sockets.
        environment: BTreeMap<&'static str, OsString>,
    },
}

/// Moves this process into a scope of its own, and returns when it is there.
///
/// # Errors
/// Why not, in words; then this process is where it was.
pub(super) fn enter(place: &Place, owner: &str, environment: &BTreeMap<OsString, OsString>) -> Result<(), String> {
    let manager = Manager::in_charge(rustix::process::geteuid().as_raw(), environment)?;
    manager.counts_as_we_do(place)?;
    if let Some(limit) = limit(place) {
        return Err(format!("a scope of its own would lift its limit {limit}: delegate where it is (Delegate=yes)"));
    }
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
    let members = fs::read_to_string(place.folder().join("cgroup.procs")).unwrap_or_default();
    let has_parent = others(&members, parent) < members.lines().count();
    let slice = manager.slice(place, if has_parent { Company::Parent } else { Company::Strangers })?;
    let scope = format!("cofferdam-{owner}.scope");
    let deadline = Instant::now() + PATIENCE;
    let request = manager.request(&scope, slice.as_deref(), std::process::id());
    manager.ask(request, deadline).map_err(|why| format!("the service manager made no scope: {why}"))?;
    // The answer names a job; the manager moves us when it gets to that.
    loop {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        if own.lines().any(|line| line.starts_with("0::") && line.ends_with(&format!("/{scope}"))) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(format!("the service manager did not make {scope} within {PATIENCE:?}"));
        }
        thread::sleep(LOOK);
    }
}

/// Whether `unit` is this user's to use below its cgroup, where systemd left no mark that we can read.
pub(super) fn is_delegated(place: &Place, unit: &Path, environment: &BTreeMap<OsString, OsString>) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    let Ok(manager) = Manager::in_charge(uid, environment) else {
        return is_given(place, unit, uid);
    };
    match &manager {
        // Root reads every mark.
        Manager::System => false,
        Manager::User { uid, .. } if place.own.starts_with(users_manager(*uid)) => {
            let answered = manager.ask(manager.question(unit), Instant::now() + PATIENCE);
            answered.is_ok_and(|answer| answer.trim() == "b true")
        }
        Manager::User { uid, .. } => is_given(place, unit, *uid),
    }
}

/// Whether the machine's manager gave an ordinary user the unit's cgroup, which it does for delegated ones alone. Below a
/// user's manager all belongs to the user, and says nothing.
fn is_given(place: &Place, unit: &Path, uid: u32) -> bool {
    uid != 0
        && !place.own.starts_with(users_manager(uid))
        && fs::metadata(place.mount.join(unit)).is_ok_and(|folder| folder.uid() == uid)
}

/// What a user's manager is in charge of, in systemd's fixed layout.
fn users_manager(uid: u32) -> PathBuf {
    format!("user.slice/user-{uid}.slice/user@{uid}.service").into()
}

/// Whether whoever started us is in our cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    Parent,
    Strangers,
}

impl Manager {
    fn in_charge(uid: u32, environment: &BTreeMap<OsString, OsString>) -> Result<Self, String> {
        if uid == 0 {
            return match Path::new(SYSTEM_BUS).exists() {
                true => Ok(Self::System),
                false => Err("there is no system bus to ask for a scope".into()),
            };
        }
        let set = |name: &str| environment.get(OsStr::new(name)).filter(|value| !value.is_empty()).cloned();
        let folder = set("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from(format!("/run/user/{uid}")), PathBuf::from);
        let socket = folder.join("bus");
        let address = match set("DBUS_SESSION_BUS_ADDRESS") {
            Some(address) => address,
            None if socket.exists() => {
                let mut address = OsString::from("unix:path=");
                address.push(socket);
                address
            }
            None => return Err("there is no user bus to ask for a scope".into()),
        };
        let environment =
            BTreeMap::from([("DBUS_SESSION_BUS_ADDRESS", address), ("XDG_RUNTIME_DIR", folder.into_os_string())]);
        Ok(Self::User { uid, environment })
    }

    /// The manager's own cgroup below the mount.
    fn own_cgroup(&self) -> PathBuf {
        match self {
            Self::System => "init.scope".into(),
            Self::User { uid, .. } => users_manager(*uid).join("init.scope"),
        }
    }

    /// Whether our process id means us to the manager. A container may share the bus and not the pid namespace; there the
    /// kernel lists the manager as 0, and a request would move a stranger.
    fn counts_as_we_do(&self, place: &Place) -> Result<(), String> {
        let members = place.mount.join(self.own_cgroup()).join("cgroup.procs");
        let members = fs::read_to_string(members).unwrap_or_default();
        match members.lines().any(|pid| pid != "0") {
            true => Ok(()),
            false => Err("no service manager is in sight to ask for a scope".into()),
        }
    }

    /// The slice that the scope goes to: the one that we are in, so that its limits hold on. `None` where it is another
    /// manager's, and the user's own manager lies in it with all that it starts.
    fn slice(&self, place: &Place, company: Company) -> Result<Option<String>, String> {
        let unit = place.unit().map(name).unwrap_or_default();
        // Who made a service of us stops and limits us by it.
        if unit.ends_with(".service") && company == Company::Strangers {
            return Err(format!("{unit} is a service for this server: add Delegate=yes to it"));
        }
        let below = match self {
            Self::System => place.own.as_path(),
            Self::User { uid, .. } => {
                let user = PathBuf::from(format!("user.slice/user-{uid}.slice"));
                if !place.own.starts_with(&user) {
                    return Err(format!("{unit} is not this user's to leave: add Delegate=yes to it"));
                }
                match place.own.strip_prefix(users_manager(*uid)) {
                    Ok(below) => below,
                    Err(_) => return Ok(None),
                }
            }
        };
        Ok(below.ancestors().find(|path| path.extension().is_some_and(|kind| kind == "slice")).map(name))
    }

    /// Asks the manager by `busctl`, and returns what it answered.
    fn ask(&self, arguments: Vec<String>, deadline: Instant) -> Result<String, String> {
        let busctl =
            BUSCTL.into_iter().find(|path| Path::new(path).exists()).ok_or("there is no busctl to ask with")?;
        let asked = Command::new(busctl)
            .env_clear()
            .envs(self.environment())
            .args([self.bus(), "--timeout=3"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("busctl does not start: {error}"))?;
        answer(asked, deadline)
    }

    fn bus(&self) -> &'static str {
        match self {
            Self::System => "--system",
            Self::User { .. } => "--user",
        }
    }

    fn environment(&self) -> BTreeMap<&'static str, OsString> {
        match self {
            Self::System => BTreeMap::new(),
            Self::User { environment, .. } => environment.clone(),
        }
    }

    /// The arguments of `busctl(1)` for whether a unit is delegated.
    fn question(&self, unit: &Path) -> Vec<String> {
        let unit = name(unit);
        let interface = if unit.ends_with(".scope") { "Scope" } else { "Service" };
        let [path, interface] = [
            format!("/org/freedesktop/systemd1/unit/{}", escaped(&unit)),
            format!("org.freedesktop.systemd1.{interface}"),
        ];
        ["get-property".into(), "org.freedesktop.systemd1".into(), path, interface, "Delegate".into()].into()
    }

    /// The arguments of `busctl(1)` for a scope. Delegate= includes all controllers that the manager has itself; with CollectMode= a
    /// scope in which something was killed for want of memory does not stay behind as failed (`systemd.unit(5)`).
    fn request(&self, scope: &str, slice: Option<&str>, pid: u32) -> Vec<String> {
        let pid = pid.to_string();
        let mut properties = vec![
            vec!["Description", "s", "Cofferdam and its sandboxes"],
            vec!["PIDs", "au", "1", &pid],
            vec!["Delegate", "b", "true"],
            vec!["CollectMode", "s", "inactive-or-failed"],
        ];
        properties.extend(slice.map(|slice| vec!["Slice", "s", slice]));
        let number = properties.len().to_string();
        let call = [
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager",
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
            scope,
            "fail",
            &number,
        ];
        call.into_iter().chain(properties.into_iter().flatten()).chain(["0"]).map(str::to_owned).collect()
    }
}

/// A unit's name as a part of an object's path (`sd_bus_path_encode(3)`).
fn escaped(unit: &str) -> String {
    let encode = |(place, byte): (usize, u8)| match byte {
        b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        b'0'..=b'9' if place > 0 => char::from(byte).to_string(),
        byte => format!("_{byte:02x}"),
    };
    unit.bytes().enumerate().map(encode).collect()
}

/// Waits for `busctl`, and kills it if it takes too long. Returns what it printed.
fn answer(mut asked: Child, deadline: Instant) -> Result<String, String> {
    let status = loop {
        match asked.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
            Ok(None) | Err(_) => {
                let _ = asked.kill();
                let _ = asked.wait();
                return Err(format!("no answer within {PATIENCE:?}"));
            }
        }
    };
    // Pipes of a program that has ended, and that says a line.
    let (mut printed, mut complained) = (String::new(), String::new());
    let _ = asked.stdout.take().map(|pipe| pipe.take(4096).read_to_string(&mut printed));
    let _ = asked.stderr.take().map(|pipe| pipe.take(4096).read_to_string(&mut complained));
    match status.success() {
        true => Ok(printed),
        false => Err(complained.lines().next_back().unwrap_or_default().trim().to_owned()),
    }
}

/// The first limit that we would leave: of our own cgroup, up to its unit. Slices stay above us.
fn limit(place: &Place) -> Option<String> {
    let unit = place.unit()?;
    let inside = place.own.ancestors().take_while(|path| path.starts_with(unit));
    inside
        .flat_map(|path| LIMITS.map(|(file, none)| (path, file, none)))
        .find(|(path, file, none)| {
            let value = fs::read_to_string(place.mount.join(path).join(file));
            value.is_ok_and(|value| !none.contains(&value.trim()))
        })
        .map(|(path, file, _)| format!("{file} of {}", name(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(own: &str) -> Place {
        Place { mount: "/sys/fs/cgroup".into(), own: own.into() }
    }

    fn user() -> Manager {
        Manager::User { uid: 7, environment: BTreeMap::new() }
    }

    #[test]
    fn a_scope_stays_in_the_slice_that_limits_it() {
        for (manager, own, slice) in [
            (user(), "user.slice/user-7.slice/session-1.scope", None),
            (user(), "user.slice/user-7.slice/user@7.service/app.slice/app-x.scope", Some("app.slice")),
            (user(), "user.slice/user-7.slice/user@7.service/app.slice/app-y.slice/z.service", Some("app-y.slice")),
            (Manager::System, "user.slice/user-0.slice/session-1.scope", Some("user-0.slice")),
            (Manager::System, "system.slice/cron.service", Some("system.slice")),
        ] {
            assert_eq!(manager.slice(&place(own), Company::Parent).unwrap().as_deref(), slice, "{own}");
        }
    }

    #[test]
    fn nothing_is_taken_out_of_a_service_that_was_made_for_it() {
        for (manager, own) in [
            (user(), "user.slice/user-7.slice/user@7.service/app.slice/cofferdam.service"),
            (Manager::System, "system.slice/cofferdam.service"),
        ] {
            let why = manager.slice(&place(own), Company::Strangers).unwrap_err();
            assert!(why.contains("Delegate=yes"), "{why}");
        }
    }

    #[test]
    fn an_ordinary_user_leaves_no_unit_of_the_machines_or_of_another_users() {
        for own in ["system.slice/runner.service", "user.slice/user-70.slice/session-1.scope", ""] {
            user().slice(&place(own), Company::Parent).unwrap_err();
        }
    }

    #[test]
    fn a_limit_on_the_way_to_the_unit_is_not_left() {
        let mount = tempfile::tempdir().unwrap();
        let place = Place { mount: mount.path().into(), own: "a.slice/b.scope/c".into() };
        fs::create_dir_all(place.folder()).unwrap();
        let set = |path: &str, value: &str| fs::write(mount.path().join(path), value).unwrap();
        set("a.slice/memory.max", "1\n");
        set("a.slice/b.scope/memory.max", "max\n");
        set("a.slice/b.scope/cpu.max", "max 100000\n");
        assert_eq!(limit(&place), None);
        set("a.slice/b.scope/memory.high", "1048576\n");
        assert_eq!(limit(&place), Some("memory.high of b.scope".into()));
        set("a.slice/b.scope/c/cpu.max", "50000 100000\n");
        assert_eq!(limit(&place), Some("cpu.max of c".into()));
    }

    #[test]
    fn a_manager_that_is_not_in_sight_is_not_asked() {
        let mount = tempfile::tempdir().unwrap();
        let place = Place { mount: mount.path().into(), own: "x".into() };
        let folder = mount.path().join(user().own_cgroup());
        user().counts_as_we_do(&place).unwrap_err();
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cgroup.procs"), "0\n0\n").unwrap();
        user().counts_as_we_do(&place).unwrap_err();
        fs::write(folder.join("cgroup.procs"), "0\n812\n").unwrap();
        user().counts_as_we_do(&place).unwrap();
    }

    #[test]
    fn a_user_without_a_bus_asks_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let environment = BTreeMap::from([(OsString::from("XDG_RUNTIME_DIR"), folder.path().as_os_str().to_owned())]);
        let why = Manager::in_charge(7, &environment).unwrap_err();
        assert!(why.contains("no user bus"), "{why}");
        fs::write(folder.path().join("bus"), "").unwrap();
        let Manager::User { environment, .. } = Manager::in_charge(7, &environment).unwrap() else { panic!() };
        let address = environment["DBUS_SESSION_BUS_ADDRESS"].to_string_lossy().into_owned();
        assert_eq!(address, format!("unix:path={}/bus", folder.path().display()));
    }

    #[test]
    fn a_unit_is_asked_about_by_its_object() {
        let words = user().question(Path::new("a.slice/run-r1.scope")).join(" ");
        let path = "/org/freedesktop/systemd1/unit/run_2dr1_2escope";
        assert!(words.ends_with(&format!("{path} org.freedesktop.systemd1.Scope Delegate")), "{words}");
        assert!(user().question(Path::new("x@1.service")).join(" ").contains("/x_401_2eservice "));
    }

    #[test]
    fn what_the_machine_gave_a_user_is_the_users_and_what_lies_below_a_users_manager_says_nothing() {
        let mount = tempfile::tempdir().unwrap();
        let uid = fs::metadata(mount.path()).unwrap().uid();
        let given = |uid: u32, unit: &str| {
            let place = Place { mount: mount.path().into(), own: unit.into() };
            fs::create_dir_all(place.folder()).unwrap();
            is_given(&place, Path::new(unit), uid)
        };
        assert_eq!(given(uid, "system.slice/runner.service"), uid != 0);
        assert!(!given(uid + 1, "system.slice/runner.service"));
        assert!(!given(uid + 1, &format!("{}/a.scope", users_manager(uid + 1).display())));
    }

    #[test]
    fn the_request_counts_its_properties() {
        let words = user().request("cofferdam-1-2-0.scope", Some("app.slice"), 12).join(" ");
        assert!(words.starts_with("call org.freedesktop.systemd1 "), "{words}");
        assert!(words.contains(" cofferdam-1-2-0.scope fail 5 "), "{words}");
        assert!(words.contains(" PIDs au 1 12 Delegate b true "), "{words}");
        assert!(words.ends_with(" Slice s app.slice 0"), "{words}");
        assert!(Manager::System.request("x.scope", None, 12).join(" ").contains(" fail 4 "));
    }

    #[test]
    fn a_manager_that_does_not_answer_is_not_waited_for() {
        let start = |line: &str| {
            Command::new("/bin/sh").args(["-c", line]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let before = Instant::now();
        let why = answer(start("exec sleep 60"), Instant::now() + Duration::from_millis(50)).unwrap_err();
        assert!(why.contains("no answer"), "{why}");
        assert!(before.elapsed() < Duration::from_secs(30));
        let why = answer(start("echo Call failed: no >&2; exit 1"), Instant::now() + PATIENCE * 30).unwrap_err();
        assert!(why.ends_with("Call failed: no"), "{why}");
        assert_eq!(answer(start("echo b true"), Instant::now() + PATIENCE * 30).unwrap(), "b true\n");
    }
}
