//! Which variables `[env]` may set: literal values under names that neither load code nor carry a secret.
//!
//! A variable of a sandbox reaches every program in it. Names that make programs load code or redirect a tool are
//! refused in every layer, because a later layer comes from the repository. Secrets are refused because credentials
//! never enter a sandbox. The list follows the manuals of the programs that read them (ld.so(8), git(1), bash(1),
//! python(1), node(1), perlrun(1), rustc and cargo's environment chapters).

/// Longest value accepted, in bytes: a quarter of what Linux takes for one string (`MAX_ARG_STRLEN`, execve(2)).
const MAX_VALUE_BYTES: usize = 32 * 1024;

/// Families by prefix.
const CODE_PREFIXES: [&str; 12] = [
    "LD_",
    "DYLD_",
    "GIT_",
    "PERL5",
    "BASH_FUNC_",
    "CARGO_BUILD_RUSTC",
    "CARGO_ALIAS_",
    "CARGO_REGISTRIES_",
    "CARGO_SOURCE_",
    "DOTNET_STARTUP_HOOKS",
    "SSH_",
    "COFFERDAM_",
];

/// Exact names.
const CODE_NAMES: [&str; 44] = [
    "PATH",
    "HOME",
    "ENV",
    "BASH_ENV",
    "BASHOPTS",
    "SHELLOPTS",
    "PROMPT_COMMAND",
    "PS4",
    "IFS",
    "CDPATH",
    "SHELL",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "BROWSER",
    "GCONV_PATH",
    "LOCPATH",
    "GLIBC_TUNABLES",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONBREAKPOINT",
    "PYTHONWARNINGS",
    "PYTHONUSERBASE",
    "PYTHONPLATLIBDIR",
    "PYTHONEXECUTABLE",
    "PYTHONPYCACHEPREFIX",
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUBYOPT",
    "RUBYLIB",
    "PERLLIB",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "GOFLAGS",
];

/// Ends of names that redirect tools.
const CODE_SUFFIXES: [&str; 3] = ["_PROXY", "_LINKER", "_RUNNER"];

const SECRET_PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "VAULT_"];
const SECRET_SUFFIXES: [&str; 7] = ["TOKEN", "SECRET", "_KEY", "_APIKEY", "CREDENTIAL", "CREDENTIALS", "_PASS"];
const SECRET_PARTS: [&str; 4] = ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET_"];

/// Checks one variable and says what is wrong with it, as a clause that follows the name.
pub(crate) fn refuse(name: &str, value: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    let starts = |list: &[&str]| list.iter().any(|prefix| upper.starts_with(prefix));
    let ends = |list: &[&str]| list.iter().any(|suffix| upper.ends_with(suffix));
    let plain_start = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !plain_start || !name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') {
        Some("is not a variable's name; write letters, digits and `_`")
    } else if starts(&CODE_PREFIXES) || ends(&CODE_SUFFIXES) || CODE_NAMES.contains(&upper.as_str()) {
        Some("loads code into programs or redirects tools, so no policy may set it; remove it")
    } else if starts(&SECRET_PREFIXES) || ends(&SECRET_SUFFIXES) || SECRET_PARTS.iter().any(|part| upper.contains(part))
    {
        Some("looks like a credential, and credentials never enter a sandbox; remove it")
    } else if value.len() > MAX_VALUE_BYTES {
        Some("has a value longer than 32 KiB")
    } else if value.contains('\0') {
        Some("has a value with a NUL character, which no variable can hold")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_load_code_are_refused_in_any_case() {
        for name in [
            "LD_PRELOAD",
            "ld_library_path",
            "DYLD_INSERT_LIBRARIES",
            "GIT_SSH_COMMAND",
            "NODE_OPTIONS",
            "Node_Options",
            "PYTHONSTARTUP",
            "PYTHONPATH",
            "PYTHONHOME",
            "BASH_ENV",
            "ENV",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_HOME",
            "RUSTUP_HOME",
            "PATH",
            "HOME",
            "PERL5OPT",
            "RUBYOPT",
            "JAVA_TOOL_OPTIONS",
            "https_proxy",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
        ] {
            assert!(refuse(name, "x").is_some_and(|why| why.starts_with("loads code")), "{name}");
        }
    }

    #[test]
    fn names_that_look_like_credentials_are_refused() {
        for name in ["GH_TOKEN", "token", "CLIENT_SECRET", "api_key", "DB_PASSWORD", "PASSWORD_FILE", "AWS_REGION"] {
            assert!(refuse(name, "x").is_some_and(|why| why.starts_with("looks like")), "{name}");
        }
    }

    #[test]
    fn ordinary_variables_pass() {
        for name in
            ["RUST_BACKTRACE", "RUST_LOG", "DJANGO_SETTINGS_MODULE", "TZ", "NODE_ENV", "PYTHONHASHSEED", "KEYMAP"]
        {
            assert_eq!(refuse(name, "1"), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for name in ["", "1A", "A-B", "A=B", "É"] {
            assert!(refuse(name, "x").is_some_and(|why| why.starts_with("is not")), "{name}");
        }
        assert!(refuse("A", "x\0y").is_some());
        assert!(refuse("A", &"x".repeat(40_000)).is_some());
    }
}
