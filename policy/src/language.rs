//! The rule language, for those who write a policy. There is nothing to call here.
//!
//! A policy is a TOML file. Unknown keys, unknown tools, unknown arguments, examples that do not hold, rules that can
//! never decide and numbers out of bounds are errors that name file and line; there are no expressions, includes or
//! variables. This file uses every key once:
//!
//! ```
//! # use std::collections::BTreeSet;
//! # use cofferdam_policy::{BUILTIN, Layer, LayerName, Policy, ToolShape};
//! let operator = r#"
//! version = 1
//! require = ["memory"]            # must not be absent: memory, cpu, disk; kernel: fit, says `doctor`
//!
//! [limits]                        # what every call stays under
//! network      = "allowlist"      # off < registry < allowlist
//! registries   = ["crates"]       # ecosystems that "registry" reaches
//! allow_hosts  = ["mirror.example", "ci.example:8443"]   # exact hosts; 443 unless a port is written
//! isolation    = "namespace"      # at least: namespace < container < gvisor < microvm
//! mode         = "apply"          # how changes come back: apply > draft (all wait for a person) > read_only
//! write        = ["src/**", "docs/**", "*.md"]           # where changes may be handed back
//! wall_seconds = 1800
//! cpu_seconds  = 7200
//! memory_mb    = 8192
//! disk_mb      = 8192
//! pids         = 1024
//! output_kb    = 4096
//!
//! [protect]                       # held for a person, besides what is compiled in
//! paths = ["migrations/**", "*.pem"]
//!
//! [secrets]                       # files that hold credentials, besides what is compiled in
//! files = "masked"                # what a sandbox has in their place: masked copies, or "absent"
//! paths = ["deploy/*.cfg"]
//! allow = ["tests/fixtures/server.key"]   # exact paths that are seen as they are: in the operator's file only
//!
//! [env]                           # literal values, set inside every sandbox
//! RUST_BACKTRACE = "1"
//!
//! [git]
//! author = "person"               # whom commits are by: "person" (their git settings; the default) or "agent"
//!
//! [[task]]                        # the operator's file only: a command that becomes a tool
//! name        = "migrate"
//! description = "Moves the database to another version."
//! argv        = ["./scripts/migrate", "{direction}", "{dry}", "--file={file}", "{label}",   # a word goes with its parameter
//!                ["--steps", "{steps}"]]                                   # two words in a list of their own go together
//! directory   = "db"              # "." when not written
//! write       = ["docs/schema/**"]   # what comes back when it succeeds; nothing when not written
//! timeout_seconds = 60            # and memory_mb, disk_mb, pids, output_kb; run_tests' when not written
//! lane        = "sensitive"       # "routine" when not written; then there are no `approvers` and `expires`
//! approvers   = { min = 1, from = ["group:data"], not_requester = true }
//! parameters.direction = { type = "enum", values = ["up", "down"], description = "Which way." }
//! parameters.steps = { type = "integer", minimum = 1, maximum = 9, optional = true, description = "How many." }
//! parameters.dry   = { type = "flag", word = "--dry-run", description = "Whether nothing is done." }
//! parameters.file  = { type = "path", optional = true, description = "Another database." }
//! parameters.label = { type = "text", max_length = 20, optional = true, description = "A plain name." }
//!
//! [[rule]]
//! id        = "backend-tests"
//! tools     = ["run_tests"]
//! decision  = "allow"
//! when      = { runner = ["cargo", "pytest"], path = { prefix = "backend" } }
//! network   = "off"               # at most; "off" when not written
//! isolation = "container"         # at least; "namespace" when not written
//! why       = "Only the backend's tests run here."
//! match     = [{ tool = "run_tests", args = { runner = "cargo", path = "backend/api" } }]
//! not_match = [{ tool = "run_tests", args = { runner = "cargo", path = "backend2" } }]
//!
//! [[rule]]
//! id          = "ship"
//! tools       = ["deploy"]
//! decision    = "approve"
//! when        = { env = "staging" }
//! lane        = "sensitive"       # at most; "routine" when not written. Sensitive calls are never simply allowed
//! network     = "allowlist"
//! credentials = ["deploy-staging"]
//! approvers   = { min = 1, from = ["group:release"], not_requester = true }
//! expires     = "15m"             # how long a grant holds: 1m to 24h; this when not written
//! narrows     = false             # true: only asks about what other rules grant; always so in a layer that only narrows
//! why         = "Leaves the sandbox, so a person agrees to this very call."
//! match       = [{ tool = "deploy", args = { env = "staging" } }]
//! "#;
//! # let shapes: Vec<ToolShape> = [
//! #     ("run_tests", &["runner", "path"][..]), ("deploy", &["env"]), ("read_file", &["path"]), ("list_files", &[]),
//! #     ("search_files", &[]), ("write_file", &[]), ("edit_file", &[]), ("move_file", &[]), ("delete_file", &[]),
//! #     ("list_changes", &[]), ("get_run", &[]), ("cancel_run", &[]), ("keep_changes", &[]),
//! #     ("git_status", &[]), ("git_diff", &[]), ("git_log", &[]), ("git_show", &[]), ("git_commit", &[]),
//! #     ("lint", &[]), ("format", &[]), ("check_types", &[]), ("build", &[]),
//! # ].into_iter().map(|(name, arguments)| ToolShape {
//! #     name: name.to_owned(),
//! #     arguments: arguments.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
//! #     required: BTreeSet::new(),
//! # }).collect();
//! let layers = [
//!     Layer { name: LayerName::Builtin, file: "builtin", text: BUILTIN },
//!     Layer { name: LayerName::Operator, file: "policy.toml", text: operator },
//! ];
//! let policy = Policy::load(&layers, &shapes)?;
//! assert!(policy.effective().contains("backend-tests") && policy.effective().contains("task-migrate"));
//! # Ok::<(), cofferdam_policy::LoadError>(())
//! ```
//!
//! # Which rule decides
//!
//! `allow < approve < deny`: of the rules that match a call, the strictest decision wins. Rules of that decision hold
//! together: two `allow` rules that both match grant what both grant. The order of rules never matters. A call that no
//! rule matches is refused. Then the call must fit: what it needs of network, lane and credentials under the rules'
//! grant and under `[limits]`, what it would change inside `write`. Isolation is raised to the strongest of call, rules
//! and `[limits]`; budgets are cut to `[limits]`.
//!
//! A rule with `narrows = true` grants nothing by itself: it asks people about calls that other rules grant, and its terms
//! are the most that is left of theirs.
//!
//! # Layers
//!
//! The builtin policy, the operator's file, the repository's `.cofferdam.toml`, the command line. The last two write no
//! `allow` rule and no `[env]`, and ask for no more than what is granted before them: that is an error with both lines.
//!
//! # `when`
//!
//! Every line must hold; without `when` a rule matches each call of its tools. A line compares one argument:
//!
//! - with a text, a whole number, `true` or `false`: equal, types included (`1` is not `"1"`);
//! - with a list: one of its members;
//! - with `{ prefix = "src/api" }`: a path that is `src/api` or lies below it, by whole names (`src/apix` does not). In an
//!   `approve` or `deny` rule a folder above it as well (`src`, `.`): who deletes or moves `src` does so to `src/api`.
//!
//! An argument that the call leaves out satisfies no line. **A list argument is judged element by element**: the call's
//! verdict is the strictest of its elements' verdicts, and an empty list counts as left out. A text that is no path
//! below the workspace fails a prefix in an `allow` rule and satisfies it in an `approve` or `deny` rule: what cannot be
//! read counts against the call.
//!
//! A line speaks of the names in the call's arguments and not of what the call reaches: `search_files` without `path` also
//! reads below `src`, a link's other name reads the same file, and `path = "src/a"` does not speak of `src`. What may
//! *change* is bounded by `write` and `protect`, whatever the arguments are; what may be *read* is the workspace, so what
//! an agent must not read does not belong into it.
//!
//! # Globs
//!
//! In `write`, `protect` and `secrets`: relative to the workspace, `*` and `?` within a name, `**` for any number of names, and a
//! glob without `/` means that name in any folder. No classes, braces or negation, and no way to mean a name in the
//! workspace's own folder only. `write` compares the changed path itself; `protect` also protects all below what it
//! matches, in any case of letters.
//!
//! # Examples
//!
//! `match` shows calls that the rule matches (at least one), `not_match` calls that it does not. They are tried when the
//! file is loaded, so a rule that does not say what its author meant is found before it decides anything.
//!
//! # Dead rules
//!
//! A rule is refused when taking it away would change no answer: everything that it matches is decided as strictly by
//! others. This is exact, by trying every case that the conditions can tell apart: each mentioned value, each mentioned
//! folder, those above it where a rule restricts, any other value, and absence.
//!
//! # Variables
//!
//! `[env]` takes no name that loads code or redirects tools (`LD_*`, `GIT_*`, `PATH`, `NODE_OPTIONS`, …) and none that
//! looks like a credential (`*_TOKEN`, `*_KEY`, `AWS_*`, …), in any case of letters.
