//! The paths that are never handed back without a person: what runs later, on the host or in CI, without being asked.
//!
//! A sandbox may write anything into its view; what counts is what reaches the workspace. A hook, a workflow or an
//! editor's task file that reaches it runs outside every sandbox. So the gate asks here about each change. The list is
//! compiled in: a policy adds globs (`[protect] paths`) and never removes one.
//!
//! Names are compared the way the most forgiving file system would compare them: any case, with the invisible
//! characters that HFS+ skips and the closing dots and spaces that NTFS drops (CVE-2014-9390 and CVE-2019-1352 both
//! reached `.git` by such spellings). What follows a `:` is a stream of the same file on NTFS and is cut off
//! (CVE-2019-1352, `.git::$INDEX_ALLOCATION`). A short name (`GITHUB~1`) stands for a long one that cannot be known from
//! it, so every name of that shape is protected. A false match costs a look; a missed one runs code.
//!
//! Not here: nested bare repositories, which no name gives away (the gate looks at contents), and ordinary code that
//! people run on purpose (`build.rs`, `package.json`), which would hold every change of every project.

use std::path::Path;

use crate::glob::{Glob, GlobError, Standing, names};

/// The compiled-in list. An entry protects the path and all below it, in any folder of the workspace.
const AUTO_EXECUTING: &[&str] = &[
    // git: the repository itself (a folder, a worktree's file, or its short name on NTFS), submodules, hooks.
    ".git",
    "git~1",
    ".gitmodules",
    ".lfsconfig",
    ".husky",
    ".githooks",
    ".pre-commit-config.y*ml",
    ".pre-commit-hooks.y*ml",
    ".huskyrc*",
    "lefthook*.y*ml",
    "lefthook*.toml",
    "lefthook*.json",
    ".lefthook*.y*ml",
    ".lefthook*.toml",
    ".lefthook*.json",
    ".lefthook",
    ".overcommit.yml",
    ".lintstagedrc*",
    "lint-staged.config.*",
    ".simple-git-hooks.*",
    "simple-git-hooks.*",
    "prek.toml",
    "hk.pkl",
    "captainhook.json",
    "grumphp.y*ml*",
    ".rusty-hook.toml",
    ".git-hooks",
    "githooks",
    ".hooks",
    ".cargo-husky",
    ".gitconfig",
    // Other version control, whose settings name programs that it runs.
    ".hg",
    ".jj",
    ".sl",
    ".bzr",
    // Continuous integration.
    ".github/workflows",
    ".github/actions",
    ".github/hooks",
    ".github/agents",
    ".github/copilot",
    ".gitea/actions",
    ".forgejo/actions",
    ".gitea/workflows",
    ".forgejo/workflows",
    ".gitlab-ci.y*ml",
    ".gitlab/ci",
    ".gitlab/duo",
    ".gitlab/agents",
    "bitrise.y*ml",
    "wercker.y*ml",
    "screwdriver.y*ml",
    "Jenkinsfile*",
    ".circleci",
    "azure-pipelines*.y*ml",
    ".azure-pipelines",
    ".travis.y*ml",
    "bitbucket-pipelines.y*ml",
    ".drone.y*ml",
    ".drone.star",
    ".drone.jsonnet",
    ".woodpecker*",
    ".buildkite",
    ".cirrus.y*ml",
    ".cirrus.star",
    ".semaphore",
    ".teamcity",
    ".tekton",
    "appveyor.y*ml",
    ".appveyor.y*ml",
    ".build.y*ml",
    ".builds",
    "buildspec.y*ml",
    "cloudbuild.y*ml",
    "codefresh.y*ml",
    ".zuul.y*ml",
    ".zuul.d",
    ".azuredevops",
    ".pipelines",
    ".harness",
    ".taskcluster.y*ml",
    ".bazelci",
    ".dagger",
    "dagger.json",
    ".ci-operator.y*ml",
    ".prow.y*ml",
    ".readthedocs.y*ml",
    "netlify.toml",
    "vercel.json",
    "amplify.y*ml",
    "render.y*ml",
    // Editors and development containers.
    ".vscode",
    ".idea",
    ".fleet",
    ".zed",
    ".helix",
    ".theia",
    ".vs",
    ".nova",
    ".lapce",
    ".run",
    ".kateproject*",
    ".project",
    ".externalToolBuilders",
    ".ycm_extra_conf.py",
    "*.code-workspace",
    "*.sublime-project",
    ".devcontainer",
    ".devcontainer.json",
    ".gitpod.y*ml",
    ".gitpod",
    ".devfile.y*ml",
    "devfile.y*ml",
    ".replit",
    "replit.nix",
    ".stackblitzrc",
    ".idx",
    ".codesandbox",
    ".exrc",
    ".vimrc",
    ".nvimrc",
    ".nvim.lua",
    ".lvimrc",
    ".lazy.lua",
    ".dir-locals.el",
    ".dir-locals-2.el",
    // Agents and what they start.
    ".cursor",
    ".claude",
    ".codex",
    ".gemini",
    ".windsurf",
    ".continue",
    ".roo",
    ".kiro",
    ".junie",
    ".qwen",
    ".opencode",
    "opencode.json*",
    ".amazonq",
    ".agents",
    ".agent",
    ".augment",
    ".trae",
    ".factory",
    ".amp",
    ".goose",
    ".cline",
    ".kilocode",
    ".openhands",
    ".copilot",
    ".rovodev",
    ".vibe",
    ".warp",
    ".claude.json",
    ".claude-plugin",
    "gemini-extension.json",
    "crush.json",
    ".crush.json",
    ".aider.conf.y*ml",
    ".mcp.json",
    "mcp.json",
    // Read by an interpreter or a debugger that starts in the folder.
    ".Rprofile",
    ".Renviron",
    ".RData",
    ".pdbrc",
    ".gdbinit",
    ".lldbinit",
    ".bsp",
    ".irbrc",
    ".pryrc",
    ".byebugrc",
    ".rdbgrc",
    ".ghci",
    ".ocamlinit",
    ".iex.exs",
    ".octaverc",
    // Shell environments entered with the folder.
    "flake.nix",
    "devenv.nix",
    "devbox.json",
    ".envrc",
    ".autoenv*",
    ".direnv",
    ".mise.toml",
    ".mise.*.toml",
    "mise.toml",
    "mise.*.toml",
    ".mise",
    ".config/mise*",
    ".tool-versions",
    ".miserc.toml",
    // Package managers: registries, scripts, plugins, compilers to call.
    ".npmrc",
    ".yarnrc",
    ".yarnrc.y*ml",
    ".yarn/releases",
    ".yarn/plugins",
    ".pnp.cjs",
    ".pnp.js",
    ".pnp.loader.mjs",
    ".pnpmfile.*",
    "pnpmfile.js",
    "pnpm-workspace.y*ml",
    "bunfig.toml",
    ".bowerrc",
    ".yarn/sdks",
    ".yarn/unplugged",
    ".yarn/cache",
    ".pnp.data.json",
    ".pypirc",
    "pip.conf",
    "pip.ini",
    "uv.toml",
    ".jvmopts",
    ".sbtopts",
    "poetry.toml",
    "pdm.toml",
    ".pdm.toml",
    ".pdm-python",
    ".pixi/config.toml",
    ".condarc",
    ".gemrc",
    ".bundle/config",
    "nuget.config",
    ".cargo/config",
    ".cargo/config.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
    // Installed packages: run by the next `python`, `node` or activated shell, and in no `git status`.
    ".venv",
    "venv",
    ".tox",
    ".nox",
    "site-packages",
    "*.pth",
    ".eggs",
    "__pypackages__",
    "node_modules",
    "vendor/bundle",
    ".terraform",
    // Wrappers that people and tools run by habit.
    "gradlew*",
    "gradle/wrapper",
    "mvnw*",
    ".mvn",
    ".bazelrc",
    ".bazeliskrc",
    ".bazelversion",
    "tools/bazel",
    ".buckconfig*",
    // This product's own.
    ".cofferdam.toml",
    ".cofferdam",
    // Compiled sources, which Python runs in place of the sources beside them (PEP 552: an unchecked hash). Last, so that a
    // path that another entry protects too is known by that.
    COMPILED,
];

/// Folders of compiled sources. One that is gone runs nothing.
const COMPILED: &str = "__pycache__";

/// How the rule about short names is shown: as people know them, since no glob says "at most 8 characters".
const SHORT_NAME: &str = "NAME~1";

/// The protected paths: the compiled-in list and what policy added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protect {
    patterns: Vec<Pattern>,
    added: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// As people read it.
    text: String,
    /// Folded, as it is compared.
    glob: Glob,
}

impl Protect {
    /// The compiled-in list and the globs in `extra`, in the language of `[protect] paths`: relative to the workspace,
    /// a glob without `/` in any folder. A glob protects what it matches and all below.
    ///
    /// # Errors
    /// [`GlobError`] for the first glob that is not one.
    pub fn new(extra: impl Iterator<Item = String>) -> Result<Self, GlobError> {
        let mut patterns = Vec::new();
        for text in AUTO_EXECUTING {
            let anywhere = if text.contains('/') { format!("**/{text}") } else { (*text).to_owned() };
            patterns.push(Pattern { text: (*text).to_owned(), glob: Glob::parse(&fold_path(&anywhere))? });
        }
        let mut added: Vec<String> = extra.collect();
        added.sort();
        added.dedup();
        for text in &added {
            Glob::parse(text)?;
            patterns.push(Pattern { text: text.clone(), glob: Glob::parse(&fold_path(text))? });
        }
        Ok(Self { patterns, added })
    }

    /// The pattern that protects `path` (relative to the workspace), if one does.
    ///
    /// That is so when the path or a folder above it matches, and also when the path is a folder that a pattern spells
    /// out on its way (`.cargo` for `.cargo/config.toml`): a link of that name would bring protected paths with it.
    /// For a folder that is merely made, whose contents are asked about one by one, [`Protect::contains`] is enough;
    /// for a link, a deletion or a folder that hides another, ask [`Protect::matches_replaced`].
    #[must_use]
    pub fn matches(&self, path: &Path) -> Option<&str> {
        self.find(path, |standing| match standing {
            Standing::Matches | Standing::NamedAncestor => true,
            Standing::Ancestor | Standing::Apart => false,
        })
    }

    /// The pattern that `path` or a folder above it matches, if there is one.
    #[must_use]
    pub fn contains(&self, path: &Path) -> Option<&str> {
        self.find(path, |standing| match standing {
            Standing::Matches => true,
            Standing::NamedAncestor | Standing::Ancestor | Standing::Apart => false,
        })
    }

    /// As [`Protect::contains`], for what is to be deleted: compiled sources may go, and are made again.
    #[must_use]
    pub fn contains_deleted(&self, path: &Path) -> Option<&str> {
        let found = self.contains(path);
        if found != Some(COMPILED) {
            return found;
        }
        self.find_among(path, |pattern| pattern.text != COMPILED, |standing| standing == Standing::Matches)
    }

    /// The pattern that could be touched when whatever is at `path` is replaced as a whole: by a link, by nothing, or
    /// by a folder that hides the old one. As [`Protect::matches`], and also below wildcards (`apps/x` for
    /// `apps/*/prod.env`).
    #[must_use]
    pub fn matches_replaced(&self, path: &Path) -> Option<&str> {
        self.find(path, |standing| match standing {
            Standing::Matches | Standing::NamedAncestor | Standing::Ancestor => true,
            Standing::Apart => false,
        })
    }

    /// The compiled-in patterns, in reading order, and `NAME~1` for every short name of NTFS and FAT.
    pub fn compiled_in() -> impl Iterator<Item = &'static str> {
        AUTO_EXECUTING.iter().copied().chain(std::iter::once(SHORT_NAME))
    }

    /// Whether a pattern is compiled in. Others come from `[protect]` of a policy file.
    #[must_use]
    pub fn is_compiled_in(pattern: &str) -> bool {
        Self::compiled_in().any(|compiled_in| compiled_in == pattern)
    }

    /// The globs that policy added, sorted.
    #[must_use]
    pub fn added(&self) -> &[String] {
        &self.added
    }

    fn find(&self, path: &Path, counts: impl Fn(Standing) -> bool) -> Option<&str> {
        self.find_among(path, |_| true, counts)
    }

    fn find_among(
        &self,
        path: &Path,
        is_asked: impl Fn(&Pattern) -> bool,
        counts: impl Fn(Standing) -> bool,
    ) -> Option<&str> {
        // An undecodable byte becomes U+FFFD: no listed name holds one, and a wildcard still matches it.
        let path = path.to_string_lossy();
        let (whole, cut) = (fold_path(&path), fold_path(&without_streams(&path)));
        // As Linux reads the path, and as NTFS does where that is something else.
        let mut readings = vec![names(&whole)];
        if cut != whole {
            readings.push(names(&cut));
        }
        let pattern = self.patterns.iter().filter(|pattern| is_asked(pattern)).find(|pattern| {
            readings.iter().any(|names| !names.is_empty() && counts(pattern.glob.standing_with_below(names)))
        });
        match pattern {
            Some(pattern) => Some(&pattern.text),
            None => readings.iter().flatten().any(|name| is_short(name)).then_some(SHORT_NAME),
        }
    }
}

/// Folds every name of a path or glob.
pub(crate) fn fold_path(path: &str) -> String {
    let folded: Vec<String> = path.split('/').map(fold_name).collect();
    folded.join("/")
}

/// Folds a name as the most forgiving file system would: no invisible characters, one case, no closing dots or spaces.
/// Two names that fold to the same text may be one file on another machine.
#[must_use]
pub fn fold_name(name: &str) -> String {
    let folded: String = name
        .chars()
        .filter(|character| !is_skipped_by_hfs(*character))
        // Up and then down brings together what only one direction would not: `ſ` and `s`, the Kelvin sign and `k`.
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect();
    folded.trim_end_matches(['.', ' ']).to_owned()
}

/// Cuts every name at its first `:`. A name that begins with one stays: NTFS has none of that kind.
fn without_streams(path: &str) -> String {
    let cut = |name| match str::split_once(name, ':') {
        Some((file, _)) if !file.is_empty() => file,
        Some(_) | None => name,
    };
    path.split('/').map(cut).collect::<Vec<_>>().join("/")
}

/// Whether a folded name has the shape of an 8.3 short name: at most eight characters that end with `~` and digits, and
/// at most three after a dot ("Naming Files, Paths, and Namespaces", Microsoft).
fn is_short(name: &str) -> bool {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let numbered = base
        .rsplit_once('~')
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    numbered && base.chars().count() <= 8 && extension.chars().count() <= 3 && !extension.contains('.')
}

/// The characters that HFS+ leaves out of comparisons (Apple TN1150, and git's `utf8.c`).
fn is_skipped_by_hfs(character: char) -> bool {
    matches!(
        character,
        '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn protect(extra: &[&str]) -> Protect {
        Protect::new(extra.iter().map(|text| (*text).to_owned())).unwrap()
    }

    fn matches<'a>(protect: &'a Protect, path: &str) -> Option<&'a str> {
        protect.matches(Path::new(path))
    }

    #[test]
    fn every_listed_path_is_protected_at_any_depth_with_all_below_it() {
        let protect = protect(&[]);
        for text in AUTO_EXECUTING {
            let path = text.replace("y*ml", "yml").replace('*', "x");
            for path in [path.clone(), format!("{path}/below/it"), format!("a/b/{path}"), path.to_uppercase()] {
                assert!(matches(&protect, &path).is_some(), "{path}");
                assert!(protect.contains(Path::new(&path)).is_some(), "{path}");
            }
        }
    }

    #[test]
    fn what_the_reference_lists_is_protected() {
        let protect = protect(&[]);
        for path in [
            ".git",
            ".git/hooks/pre-commit",
            "vendor/lib/.git",
            "vendor/lib/.git/config",
            ".gitmodules",
            ".github/workflows/ci.yml",
            ".github/actions/x/action.yml",
            "sub/.vscode/tasks.json",
            "my.code-workspace",
            ".devcontainer/devcontainer.json",
            ".claude/settings.json",
            ".pre-commit-config.yaml",
            "packages/a/.npmrc",
            "backend/.venv/lib/python3.11/site-packages/a.pth",
            "node_modules/a/index.js",
            ".yarnrc.yml",
            ".pnp.cjs",
            ".pnpmfile.cjs",
            ".pypirc",
            "pip.conf",
            ".cargo/config",
            ".cargo/config.toml",
            "rust-toolchain",
            "gradlew",
            "gradlew.bat",
            "mvnw.cmd",
            ".mvn/extensions.xml",
            "gradle/wrapper/gradle-wrapper.properties",
            ".gitlab-ci.yml",
            "Jenkinsfile",
            ".woodpecker.yml",
            ".woodpecker/build.yaml",
            ".envrc",
            ".mcp.json",
            "mcp.json",
            ".cofferdam.toml",
            ".dir-locals-2.el",
            "lefthook.toml",
            "lefthook-local.json",
            ".lefthook.toml",
            ".lefthook-local.json",
            ".huskyrc",
            ".huskyrc.json",
            ".helix/languages.toml",
            ".Rprofile",
            ".RData",
            ".pdbrc",
            "sub/.irbrc",
            ".ghci",
            "crush.json",
            ".sbtopts",
            "bitrise.yml",
            ".lazy.lua",
            ".lvimrc",
            ".bazelversion",
            "pnpm-workspace.yaml",
            ".idx/dev.nix",
            ".codesandbox/tasks.json",
            ".github/hooks/x.json",
            "flake.nix",
            "devenv.nix",
            ".github/agents/fix.md",
            ".gitlab/duo/flow.yml",
            ".azuredevops/build.yml",
            ".readthedocs.yaml",
            "netlify.toml",
            ".vs/tasks.vs.json",
            ".run/all.run.xml",
            ".externalToolBuilders/x.launch",
            ".replit",
            "devfile.yaml",
            ".agents/skills/a/run.sh",
            ".claude-plugin/plugin.json",
            ".openhands/setup.sh",
            ".kilocode/mcp.json",
            "devbox.json",
            ".tool-versions",
            ".lfsconfig",
            ".pdm-python",
            ".yarn/sdks/typescript/bin/tsc",
            ".yarn/unplugged/a/index.js",
            ".yarn/cache/a.zip",
            ".pnp.data.json",
            "src/__pycache__/mod.cpython-311.pyc",
            ".eggs/a/b.py",
            "__pypackages__/3.11/lib/a.py",
            "vendor/bundle/ruby/a.rb",
            ".terraform/providers/x",
            ".autoenv.zsh",
        ] {
            assert!(matches(&protect, path).is_some(), "{path}");
        }
    }

    #[test]
    fn ordinary_paths_are_not_protected() {
        let protect = protect(&[]);
        for path in [
            "",
            "src/lib.rs",
            ".gitignore",
            ".gitattributes",
            ".github/CODEOWNERS",
            ".github/workflows.md",
            "git",
            "Cargo.toml",
            "package.json",
            "gradle/libs.versions.toml",
            ".cargo/readme",
            "docs/mcp.json.md",
            "vscode/tasks.json",
            "tools/build",
            "project/build.sbt",
            "agents/fix.md",
            "AGENTS.md",
            "src/vercel.rs",
            ".yarn/versions/x.yml",
            "src/bundle/x.rb",
            "main.tf",
            "src/mod.pyc.md",
            ".env",
            ".editorconfig",
        ] {
            assert_eq!(matches(&protect, path), None, "{path}");
        }
    }

    #[test]
    fn a_folder_on_the_way_is_protected_when_it_could_be_a_link_but_not_when_it_is_merely_made() {
        let protect = protect(&["apps/*/prod.env"]);
        for path in [".cargo", "a/.github", "gradle", "apps"] {
            assert!(matches(&protect, path).is_some(), "{path}");
            assert_eq!(protect.contains(Path::new(path)), None, "{path}");
        }
        assert_eq!(matches(&protect, "apps/x"), None);
        assert_eq!(protect.matches_replaced(Path::new("apps/x")), Some("apps/*/prod.env"));
        assert_eq!(protect.matches_replaced(Path::new("other")), None);
    }

    #[test]
    fn compiled_sources_may_go_where_no_other_pattern_says_otherwise() {
        let of = |extra: &[&str], path: &str| protect(extra).contains_deleted(Path::new(path)).map(str::to_owned);
        assert_eq!(of(&[], "src/__pycache__/a.pyc"), None);
        assert_eq!(of(&[], "src/__pycache__"), None);
        assert_eq!(of(&[], ".venv/__pycache__/a.pyc").as_deref(), Some(".venv"));
        assert_eq!(of(&[], "__pycache__/.git").as_deref(), Some(".git"));
        assert_eq!(of(&["src/**"], "src/__pycache__/a.pyc").as_deref(), Some("src/**"));
    }

    #[test]
    fn spellings_that_another_file_system_takes_for_git_are_protected() {
        let protect = protect(&[]);
        for path in [".GIT/config", ".g\u{200c}it/config", ".git./config", ".git /config", "GIT~1/config", ".vſcode/x"]
        {
            assert!(matches(&protect, path).is_some(), "{path:?}");
        }
    }

    #[test]
    fn short_names_that_could_mean_a_protected_one_are_protected() {
        let protect = protect(&[]);
        for path in [
            "GITHUB~1/WORKFL~1/x.yml",
            "vscode~1",
            "a/HUSKY~1/pre-commit",
            "CLAUDE~1",
            "GI7EBA~1",
            "NPMRC~12",
            "A~1.JSO",
        ] {
            assert!(matches(&protect, path).is_some(), "{path}");
            assert!(protect.contains(Path::new(path)).is_some(), "{path}");
        }
        assert_eq!(matches(&protect, "GITHUB~1"), Some("NAME~1"));
        for path in ["notes~", "a~b", "version~1.2.3", "averylongname~1", "x~1.html", "~", "a.b~1"] {
            assert_eq!(matches(&protect, path), None, "{path}");
        }
    }

    #[test]
    fn a_stream_of_a_protected_file_is_protected() {
        let protect = protect(&["a:b"]);
        for path in [".git:x", ".git::$INDEX_ALLOCATION/config", "sub/.vscode:x/tasks.json", ".envrc :x", "GITHUB~1:x"]
        {
            assert!(matches(&protect, path).is_some(), "{path}");
        }
        assert_eq!(matches(&protect, "a:b"), Some("a:b"), "a policy's own glob still sees the whole name");
        for path in ["src/a::b", ":", ":git", "a"] {
            assert_eq!(matches(&protect, path), None, "{path}");
        }
    }

    #[test]
    fn a_policy_adds_globs_and_removes_none() {
        let protect = protect(&["Migrations/**", "*.pem"]);
        assert_eq!(matches(&protect, "migrations/001.sql"), Some("Migrations/**"));
        assert_eq!(matches(&protect, "migrations"), Some("Migrations/**"));
        assert_eq!(matches(&protect, "sub/migrations/001.sql"), None);
        assert_eq!(matches(&protect, "a/b/KEY.PEM"), Some("*.pem"));
        assert_eq!(matches(&protect, ".git/config"), Some(".git"));
        assert_eq!(protect.added(), ["*.pem", "Migrations/**"]);
        assert!(Protect::new(std::iter::once("!.git".to_owned())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf_8_are_compared_too() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let protect = protect(&[]);
        assert!(protect.matches(Path::new(OsStr::from_bytes(b"\xff.code-workspace"))).is_some());
        assert!(protect.matches(Path::new(OsStr::from_bytes(b"\xff/.git/config"))).is_some());
        assert_eq!(protect.matches(Path::new(OsStr::from_bytes(b"\xff"))), None);
    }

    proptest! {
        #[test]
        fn below_a_protected_path_everything_is_protected(above in "([a-z.]{1,6}/){0,3}", below in "(/[ -~]{1,8}){0,3}") {
            let protect = protect(&[]);
            let path = format!("{above}.git{below}");
            prop_assert!(matches(&protect, &path).is_some(), "{}", path);
        }

        #[test]
        fn case_never_matters(path in "([a-z.]{1,8}/){0,2}\\.(git|cargo/config|vscode)") {
            let protect = protect(&[]);
            prop_assert_eq!(matches(&protect, &path), matches(&protect, &path.to_uppercase()));
        }
    }
}
