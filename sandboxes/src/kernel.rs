//! Whether this machine's kernel is fit to be shared with hostile code: its release, and settings that make attacks on it
//! easier. A namespace sandbox is as strong as the kernel below it.
//!
//! What is wrong is a warning of `doctor`; a policy with `require = ["kernel"]` refuses calls on such a machine. Nothing is
//! changed here: settings of the whole machine are its administrator's.
//!
//! Only settings count that seccomp and the namespaces leave standing, or that would be left if a filter failed. Not here:
//! what the sandbox has no part of (`legacy_tiocsti`: there is no terminal; `protected_symlinks`: there is no shared
//! folder), and known vulnerabilities of processors, which other tenants of a core share anyway.

use std::{collections::BTreeMap, fs};

use cofferdam_contract::{Mechanism, Strength};
use serde::Serialize;

/// The oldest line that kernel.org still mends (2026-11). A distribution may mend an older one by itself; the release says
/// nothing of that, so it is a warning and not a condition.
const FLOOR: (u32, u32) = (6, 1);

/// A setting below `/proc/sys`, whether a value of it is fit, and what mends it.
struct Setting {
    name: &'static str,
    is_fit: fn(i64) -> bool,
    why: &'static str,
    mend: &'static str,
}

/// Settings that count. One that the kernel does not have is fit: then it lacks what the setting opens.
const SETTINGS: [Setting; 6] = [
    Setting {
        name: "kernel/unprivileged_bpf_disabled",
        is_fit: |value| value != 0,
        why: "any process may load programs into the kernel (bpf(2)), the source of many escapes",
        mend: "sysctl kernel.unprivileged_bpf_disabled=1",
    },
    Setting {
        name: "vm/unprivileged_userfaultfd",
        is_fit: |value| value == 0,
        why: "any process may stop the kernel in the middle of a copy (userfaultfd(2)), which wins races for attacks",
        mend: "sysctl vm.unprivileged_userfaultfd=0",
    },
    Setting {
        name: "kernel/perf_event_paranoid",
        is_fit: |value| value >= 2,
        why: "any process may measure the kernel (perf_event_open(2)), which tells addresses and widens what can be attacked",
        mend: "sysctl kernel.perf_event_paranoid=2",
    },
    Setting {
        name: "kernel/randomize_va_space",
        is_fit: |value| value == 2,
        why: "addresses of programs are not random",
        mend: "sysctl kernel.randomize_va_space=2",
    },
    Setting {
        name: "vm/mmap_min_addr",
        is_fit: |value| value >= 4096,
        why: "a process may map the first page, so that a null pointer in the kernel is one into its memory",
        mend: "sysctl vm.mmap_min_addr=65536",
    },
    Setting {
        name: "fs/suid_dumpable",
        is_fit: |value| value != 1,
        why: "programs with raised rights leave cores that anybody reads (proc(5))",
        mend: "sysctl fs.suid_dumpable=0",
    },
];

/// Words of the kernel's command line that take a defence away (`Documentation/admin-guide/kernel-parameters.txt`).
const DANGEROUS_WORDS: [&str; 5] = ["mitigations=off", "nokaslr", "nopti", "nosmep", "nosmap"];

/// What the kernel says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelSays {
    /// `uname -r`.
    pub release: String,
    /// Settings by their path below `/proc/sys`; one that is not there is left out.
    pub settings: BTreeMap<String, String>,
    /// `/proc/cmdline`.
    pub command_line: String,
}

/// Something that makes attacks on the kernel easier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelWarning {
    /// What is so.
    pub what: String,
    /// What mends it.
    pub mend: String,
}

/// What was found of the kernel, once in a server's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    release: String,
    warnings: Vec<KernelWarning>,
}

impl KernelSays {
    /// Asks this machine's kernel.
    #[must_use]
    pub fn now() -> Self {
        let setting = |setting: &Setting| {
            let text = match fs::read_to_string(format!("/proc/sys/{}", setting.name)) {
                Ok(text) => text,
                // This kernel does not have it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
                Err(_) => "unreadable".to_owned(),
            };
            Some((setting.name.to_owned(), text.trim().to_owned()))
        };
        Self {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            settings: SETTINGS.iter().filter_map(setting).collect(),
            command_line: fs::read_to_string("/proc/cmdline").unwrap_or_default(),
        }
    }
}

impl Kernel {
    /// Judges what a kernel says. What cannot be read as it should is not fit.
    #[must_use]
    pub fn judge(says: &KernelSays) -> Self {
        let mut warnings = Vec::new();
        let mut warn = |what: String, mend: &str| warnings.push(KernelWarning { what, mend: mend.to_owned() });
        let (major, minor) = FLOOR;
        let release = &says.release;
        match line_of(release) {
            Some(line) if line >= FLOOR => {}
            Some(_) => warn(
                format!(
                    "the kernel is {release}, and lines before {major}.{minor} are mended by distributions at most"
                ),
                "install a newer kernel, or make sure that your distribution mends this one",
            ),
            None => warn(
                format!("the kernel's release {release:?} is no version"),
                "make sure by hand that the kernel is one that is mended",
            ),
        }
        for setting in &SETTINGS {
            let Some(text) = says.settings.get(setting.name) else { continue };
            if !text.parse().is_ok_and(setting.is_fit) {
                let name = setting.name.replace('/', ".");
                warn(format!("{name} is {text}: {}", setting.why), setting.mend);
            }
        }
        for word in says.command_line.split_whitespace().filter(|word| DANGEROUS_WORDS.contains(word)) {
            let what = format!("the kernel was started with {word}, which takes a defence of its own away");
            warn(what, "take the word out of the boot loader's settings and restart the machine");
        }
        Self { release: release.clone(), warnings }
    }

    /// What makes attacks easier here; nothing where the kernel is fit.
    #[must_use]
    pub fn warnings(&self) -> &[KernelWarning] {
        &self.warnings
    }

    /// As a guarantee: it holds where nothing is to be warned of.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        let reasons: Vec<&str> = self.warnings.iter().map(|warning| warning.what.as_str()).collect();
        match reasons.is_empty() {
            true => Mechanism {
                strength: Strength::Enforced,
                by: format!("Linux {}, without a dangerous setting", self.release),
            },
            false => Mechanism { strength: Strength::Absent, by: reasons.join("; ") },
        }
    }
}

/// The first two numbers of a release: `6.1` of `6.1.0-28-amd64`.
fn line_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(release: &str, settings: &[(&str, &str)], command_line: &str) -> KernelSays {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KernelSays { release: release.to_owned(), settings, command_line: command_line.to_owned() }
    }

    fn warned(says: &KernelSays) -> Vec<String> {
        Kernel::judge(says).warnings().iter().map(|warning| warning.what.clone()).collect()
    }

    #[test]
    fn a_kernel_below_the_floor_is_warned_of() {
        for release in ["5.15.0-100-generic", "4.18.0", "6.0.19", "2.6"] {
            assert_eq!(warned(&says(release, &[], "")).len(), 1, "{release}");
        }
        for release in ["6.1.0-28-amd64", "6.18.44-fc", "7.0.0-rc1", "10.2"] {
            assert_eq!(warned(&says(release, &[], "")), Vec::<String>::new(), "{release}");
        }
        assert_eq!(warned(&says("unknown", &[], "")), ["the kernel's release \"unknown\" is no version"]);
    }

    #[test]
    fn each_dangerous_setting_is_warned_of_by_itself() {
        for (name, dangerous, fit) in [
            ("kernel/unprivileged_bpf_disabled", "0", "2"),
            ("vm/unprivileged_userfaultfd", "1", "0"),
            ("kernel/perf_event_paranoid", "-1", "3"),
            ("kernel/randomize_va_space", "1", "2"),
            ("vm/mmap_min_addr", "0", "65536"),
            ("fs/suid_dumpable", "1", "2"),
        ] {
            let warned_of = warned(&says("6.18", &[(name, dangerous)], ""));
            assert_eq!(warned_of.len(), 1, "{name}: {warned_of:?}");
            assert!(warned_of[0].starts_with(&format!("{} is {dangerous}", name.replace('/', "."))), "{warned_of:?}");
            assert_eq!(warned(&says("6.18", &[(name, fit)], "")), Vec::<String>::new(), "{name}");
            assert_eq!(warned(&says("6.18", &[(name, "?")], "")).len(), 1, "{name} unreadable");
        }
    }

    #[test]
    fn defences_that_the_command_line_takes_away_are_warned_of() {
        assert_eq!(warned(&says("6.18", &[], "quiet nokaslr mitigations=off")).len(), 2);
        assert_eq!(warned(&says("6.18", &[], "mitigations=auto quiet nokaslr=x")), Vec::<String>::new());
    }

    #[test]
    fn the_guarantee_is_absent_with_its_reasons_or_there() {
        let fit = Kernel::judge(&says("6.18.1", &[], "")).mechanism();
        assert_eq!((fit.strength, fit.by.as_str()), (Strength::Enforced, "Linux 6.18.1, without a dangerous setting"));
        let dirty = Kernel::judge(&says("5.4", &[("kernel/unprivileged_bpf_disabled", "0")], "")).mechanism();
        assert_eq!(dirty.strength, Strength::Absent);
        assert!(dirty.by.contains("5.4") && dirty.by.contains("unprivileged_bpf_disabled is 0"), "{}", dirty.by);
    }

    #[test]
    fn this_machines_kernel_says_its_release_and_settings() {
        let says = KernelSays::now();
        assert!(line_of(&says.release).is_some(), "{says:?}");
        assert!(says.settings.contains_key("vm/mmap_min_addr"), "{says:?}");
    }
}
