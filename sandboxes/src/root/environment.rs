//! The environment inside that every sandbox has. A fixed list; each line says why it is there.
//!
//! Nothing of the server's environment goes in but the time zone, and nothing here names code to load. PATH and the
//! tool homes come from the steps that find the tools.
//!
//! Left out on purpose: `PYTHONDONTWRITEBYTECODE`, because projects skip tests when it is set and a run inside must
//! count like a run outside (bytecode goes to the view and away with it); `GOFLAGS`, because it changes what a build
//! means; `LC_ALL`, because it would override what a test sets.

use std::collections::BTreeMap;

use super::{HOME, Host, USER, etc};

const FIXED: [(&str, &str); 20] = [
    // Who and where.
    ("HOME", HOME),
    ("USER", USER),
    ("LOGNAME", USER),
    ("TMPDIR", "/tmp"),
    // The one locale that every glibc has without generated files, with UTF-8 names and messages in English.
    ("LANG", "C.UTF-8"),
    // No terminal: no colours, no cursor movements, no pagers.
    ("TERM", "dumb"),
    // Test runners and package managers neither watch nor ask.
    ("CI", "1"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    // git asks a terminal for passwords unless told not to, and there is none.
    ("GIT_TERMINAL_PROMPT", "0"),
    // There is no network: cargo resolves from what is in the store instead of waiting for an index.
    ("CARGO_NET_OFFLINE", "true"),
    // Nor may go fetch modules, or another toolchain than the one shown.
    ("GOPROXY", "off"),
    ("GOTOOLCHAIN", "local"),
    ("GOTELEMETRY", "off"),
    // npm takes packages from its cache, and neither reports, begs nor looks for a newer self.
    ("npm_config_offline", "true"),
    ("npm_config_audit", "false"),
    ("npm_config_fund", "false"),
    ("npm_config_update_notifier", "false"),
    // pip neither looks for a newer self nor asks.
    ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    ("PIP_NO_INPUT", "1"),
    // uv takes what is in its cache, for the same reason as cargo.
    ("UV_OFFLINE", "1"),
];

/// The fixed variables and the host's time zone.
pub(super) fn fixed(host: &Host) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> =
        FIXED.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let named = host.variable("TZ").and_then(|zone| zone.to_str()).and_then(time_zone);
    if let Some(zone) = named.or_else(|| etc::local_time_zone().as_deref().and_then(time_zone)) {
        environment.insert("TZ".to_owned(), zone);
    }
    environment
}

/// A zone's name or a POSIX rule, as `tzset(3)` reads them, but never a path: `TZ` can name any file.
fn time_zone(text: &str) -> Option<String> {
    let zone = text.strip_prefix(':').unwrap_or(text);
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/_+-:,.<>".contains(letter);
    let usable = !zone.is_empty() && zone.len() <= 64 && !zone.starts_with('/') && !zone.contains("..");
    (usable && zone.chars().all(plain)).then(|| zone.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_zone_is_a_name_or_a_rule_and_never_a_path() {
        for zone in ["Europe/Vienna", "UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "<+0330>-3:30"] {
            assert_eq!(time_zone(zone).as_deref(), Some(zone));
        }
        assert_eq!(time_zone(":Asia/Tokyo").as_deref(), Some("Asia/Tokyo"));
        for zone in ["", "/etc/shadow", "../../etc/shadow", ":/etc/x", "a b", &"A".repeat(65)] {
            assert_eq!(time_zone(zone), None, "{zone:?}");
        }
    }
}
