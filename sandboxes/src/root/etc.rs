//! The new root's `/etc`: ours, and a fixed list of the host's.
//!
//! The host's are those without which ordinary programs do not work: without `alternatives` there is no `cc`, without
//! the loader's cache no library outside of the default folders, without `services` no `getservbyname`. Certificates
//! are public; private keys lie beside them (`ssl/private`, `pki/tls/private`), so only the named folders are shown.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{GROUP_ID, HOME, HOST_NAME, Kind, USER, USER_ID, Written, places::Places, read};

/// Names below the host's `/etc` that are shown when they are there.
const SHOWN: [&str; 24] = [
    "alternatives",
    "ca-certificates",
    "debian_version",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "os-release",
    "pki/ca-trust/extracted",
    "pki/java",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    // OpenSSL's own defaults (protocols, security level): without it the same test has another outcome than outside.
    "pki/tls/openssl.cnf",
    "protocols",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "static",
    "terminfo",
    "timezone",
    "zoneinfo",
];

/// One entry of the new root's `/etc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtcEntry {
    /// The host's file or folder, read-only under the same path. The path has no links.
    Shown {
        /// Its path, on the host and inside.
        path: PathBuf,
        /// What it is.
        kind: Kind,
    },
    /// A link as the host has it, to a place that is shown.
    Linked {
        /// Where it is.
        path: PathBuf,
        /// What it points to.
        target: PathBuf,
    },
    /// A file of ours.
    Written(Written),
}

impl EtcEntry {
    /// Where it is inside.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Shown { path, .. } | Self::Linked { path, .. } => path,
            Self::Written(written) => &written.path,
        }
    }
}

/// Everything in the new root's `/etc`, by path. `folder` is the host's.
pub(super) fn entries(folder: &Path, places: &Places) -> Vec<EtcEntry> {
    let mut entries: Vec<EtcEntry> = written().into_iter().map(EtcEntry::Written).collect();
    let named = SHOWN.iter().map(ToString::to_string);
    let languages = read::names(folder).into_iter().filter(|name| is_language(name));
    let names: Vec<String> = named.chain(languages).collect();
    entries.extend(names.iter().filter_map(|name| entry(folder, name, &names, places)));
    entries.sort_by(|left, right| left.path().cmp(right.path()));
    entries
}

/// The name of the zone that `/etc/localtime` links to, or that `/etc/timezone` holds.
pub(super) fn local_time_zone() -> Option<String> {
    let target = Path::new("/etc/localtime").canonicalize().ok();
    let linked = target.and_then(|target| Some(target.to_str()?.split_once("/zoneinfo/")?.1.to_owned()));
    linked.or_else(|| read::text(Path::new("/etc/timezone")).map(|text| text.trim().to_owned()))
}

/// The settings of the system's Java and Python: `java-17-openjdk`, `python3.11`.
fn is_language(name: &str) -> bool {
    let numbers = |rest: &str| rest.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    name == "java" || name.starts_with("java-") || name.strip_prefix("python3").is_some_and(numbers)
}

fn entry(folder: &Path, name: &str, names: &[String], places: &Places) -> Option<EtcEntry> {
    let path = folder.join(name);
    let inside = Path::new("/etc").join(name);
    let metadata = path.symlink_metadata().ok()?;
    // A link above it (`/etc/ssl` → `/etc/pki/tls`) is rare, and then it is not this folder's entry.
    if path.parent()?.canonicalize().ok()? != path.parent()? {
        return None;
    }
    if metadata.is_dir() {
        // NixOS makes `static` a link to its store, and all else of its `/etc` leads through it.
        return (name != "static").then_some(EtcEntry::Shown { path: inside, kind: Kind::Folder });
    }
    if metadata.is_file() {
        // What not everyone may read is not what this list means.
        let public = metadata.permissions().mode() & 0o004 != 0;
        return public.then_some(EtcEntry::Shown { path: inside, kind: Kind::File });
    }
    let real = path.canonicalize().ok()?;
    let listed = |name: &String| real.starts_with(folder.join(name)) && *path != folder.join(name);
    if !places.is_shown(&real) && !names.iter().any(listed) {
        return None;
    }
    // The host's own words where they lead there in one step, else the end of the chain.
    let target = std::fs::read_link(&path).ok()?;
    let step = path.parent()?.join(&target);
    let direct = step.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink());
    let parent = step.parent().and_then(|parent| parent.canonicalize().ok());
    let visible = parent.is_some_and(|parent| {
        places.is_shown(&parent) || names.iter().any(|name| parent.starts_with(folder.join(name)))
    });
    Some(EtcEntry::Linked { path: inside, target: if direct && visible { target } else { real } })
}

/// The files that are ours.
fn written() -> Vec<Written> {
    let nobody = 65534;
    let passwd = format!(
        "root:x:0:0:root:/root:/usr/sbin/nologin\n\
         {USER}:x:{USER_ID}:{GROUP_ID}:{USER}:{HOME}:/bin/sh\n\
         nobody:x:{nobody}:{nobody}:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    let group = format!("root:x:0:\ntty:x:5:\n{USER}:x:{GROUP_ID}:\nnogroup:x:{nobody}:\n");
    let hosts = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {HOST_NAME}\n");
    let file = |name: &str, contents: String| Written { path: Path::new("/etc").join(name), contents };
    vec![
        file("group", group),
        file("hostname", format!("{HOST_NAME}\n")),
        file("hosts", hosts),
        // A valid random-form identity (machine-id(5)), the same everywhere: it says nothing of the host.
        file("machine-id", "c0ffe7da3000400080000000c0ffe7da\n".to_owned()),
        // Without `dns` an unknown name would be a lasting "no such host"; with it, and no server on loopback, it is
        // the "try again" of any machine without a network, at once.
        file("nsswitch.conf", NSSWITCH.to_owned()),
        file("passwd", passwd),
        file(
            "resolv.conf",
            "# No name server: the sandbox has a loopback only.\noptions timeout:1 attempts:1\n".to_owned(),
        ),
    ]
}

const NSSWITCH: &str = "\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
";
