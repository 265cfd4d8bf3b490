//! The compiled-in list: names of files that hold credentials, when a file of such a name counts, and how it is masked.
//!
//! A name that ordinary projects have for harmless files too is held to its contents. Copies that editors and people make
//! (`.env~`, `.npmrc.bak`) count as what they are copies of.

/// When a file of a listed name counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Always.
    Anything,
    /// When it holds a private key: a PEM block, an age identity, or DER's first bytes.
    PrivateKey,
    /// When a setting of it is a credential, by its name and value.
    Setting,
    /// When a setting of it is a credential, or any has a value that looks like a secret.
    Value,
    /// When it is JSON with a secret's usual key, or a setting that is a credential.
    JsonSecret,
}

/// How a copy without the values is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `NAME=value` lines: names stay.
    Names,
    /// Settings that are credentials lose their value, other lines stay.
    Lines,
    /// Texts of JSON that are credentials are replaced.
    Json,
    /// Nothing stays but a line that says so.
    Notice,
}

/// A glob in any folder, when a file of that name counts, and how it is masked.
pub(super) const LISTED: &[(&str, Holds, Shape)] = &[
    // Environment files.
    (".env", Holds::Anything, Shape::Names),
    (".env.*", Holds::Anything, Shape::Names),
    (".env-*", Holds::Anything, Shape::Names),
    (".env_*", Holds::Anything, Shape::Names),
    ("*.env", Holds::Anything, Shape::Names),
    (".envrc", Holds::Value, Shape::Names),
    (".envrc.*", Holds::Value, Shape::Names),
    (".flaskenv", Holds::Value, Shape::Names),
    (".dev.vars", Holds::Anything, Shape::Names),
    (".dev.vars.*", Holds::Anything, Shape::Names),
    ("*.tfvars", Holds::Anything, Shape::Names),
    ("*.tfvars.json", Holds::Anything, Shape::Notice),
    // Package managers.
    (".npmrc", Holds::Setting, Shape::Lines),
    (".yarnrc", Holds::Setting, Shape::Lines),
    (".yarnrc.yml", Holds::Setting, Shape::Lines),
    ("bunfig.toml", Holds::Setting, Shape::Lines),
    (".pypirc", Holds::Setting, Shape::Lines),
    ("pip.conf", Holds::Setting, Shape::Lines),
    ("pip.ini", Holds::Setting, Shape::Lines),
    ("uv.toml", Holds::Setting, Shape::Lines),
    (".condarc", Holds::Setting, Shape::Lines),
    ("nuget.config", Holds::Setting, Shape::Notice),
    (".cargo/credentials", Holds::Anything, Shape::Notice),
    (".cargo/credentials.toml", Holds::Anything, Shape::Notice),
    ("credentials.toml", Holds::Setting, Shape::Notice),
    (".gem/credentials", Holds::Anything, Shape::Notice),
    ("gem/credentials", Holds::Setting, Shape::Notice),
    (".bundle/config", Holds::Setting, Shape::Lines),
    ("auth.json", Holds::JsonSecret, Shape::Notice),
    ("auth.toml", Holds::Setting, Shape::Notice),
    ("gradle.properties", Holds::Setting, Shape::Lines),
    ("keystore.properties", Holds::Setting, Shape::Lines),
    ("key.properties", Holds::Setting, Shape::Lines),
    ("settings.xml", Holds::Setting, Shape::Notice),
    ("settings-security.xml", Holds::Setting, Shape::Notice),
    // Settings of applications.
    ("appsettings.json", Holds::Setting, Shape::Json),
    ("appsettings.*.json", Holds::Setting, Shape::Json),
    ("local.settings.json", Holds::Setting, Shape::Json),
    ("secrets.json", Holds::JsonSecret, Shape::Notice),
    ("secret.y*ml", Holds::Value, Shape::Notice),
    ("secrets.y*ml", Holds::Value, Shape::Notice),
    ("*-secret.y*ml", Holds::Value, Shape::Notice),
    ("*-secrets.y*ml", Holds::Value, Shape::Notice),
    ("*_secrets.y*ml", Holds::Value, Shape::Notice),
    ("*.secret.y*ml", Holds::Value, Shape::Notice),
    ("*.secrets.y*ml", Holds::Value, Shape::Notice),
    ("secrets.toml", Holds::Value, Shape::Notice),
    ("secrets.*.y*ml", Holds::Value, Shape::Notice),
    (".secrets", Holds::Value, Shape::Notice),
    (".secrets.toml", Holds::Value, Shape::Notice),
    (".secrets.y*ml", Holds::Value, Shape::Notice),
    (".secrets.json", Holds::JsonSecret, Shape::Notice),
    // Private keys.
    ("*.pem", Holds::PrivateKey, Shape::Notice),
    ("*.key", Holds::PrivateKey, Shape::Notice),
    ("*.der", Holds::PrivateKey, Shape::Notice),
    ("*.p8", Holds::PrivateKey, Shape::Notice),
    ("*.pk8", Holds::PrivateKey, Shape::Notice),
    ("*.asc", Holds::PrivateKey, Shape::Notice),
    ("*.agekey", Holds::PrivateKey, Shape::Notice),
    ("key.txt", Holds::PrivateKey, Shape::Notice),
    ("keys.txt", Holds::PrivateKey, Shape::Notice),
    ("*identity.txt", Holds::PrivateKey, Shape::Notice),
    ("*identities.txt", Holds::PrivateKey, Shape::Notice),
    ("*.ovpn", Holds::PrivateKey, Shape::Notice),
    ("id_*", Holds::PrivateKey, Shape::Notice),
    ("*_rsa", Holds::PrivateKey, Shape::Notice),
    ("*_ecdsa", Holds::PrivateKey, Shape::Notice),
    ("*_ed25519", Holds::PrivateKey, Shape::Notice),
    (".ssh/**", Holds::PrivateKey, Shape::Notice),
    (".age/**", Holds::PrivateKey, Shape::Notice),
    ("*.p12", Holds::Anything, Shape::Notice),
    ("*.pfx", Holds::Anything, Shape::Notice),
    ("*.jks", Holds::Anything, Shape::Notice),
    ("*.keystore", Holds::Anything, Shape::Notice),
    ("*.ppk", Holds::Anything, Shape::Notice),
    ("*.kdbx", Holds::Anything, Shape::Notice),
    ("master.key", Holds::Anything, Shape::Notice),
    ("credentials/*.key", Holds::Anything, Shape::Notice),
    // Logins.
    (".netrc", Holds::Anything, Shape::Notice),
    ("_netrc", Holds::Anything, Shape::Notice),
    (".git-credentials", Holds::Anything, Shape::Notice),
    (".pgpass", Holds::Anything, Shape::Notice),
    ("pgpass.conf", Holds::Anything, Shape::Notice),
    (".my.cnf", Holds::Anything, Shape::Notice),
    (".mylogin.cnf", Holds::Anything, Shape::Notice),
    (".htpasswd", Holds::Anything, Shape::Notice),
    (".vault-token", Holds::Anything, Shape::Notice),
    (".vault_pass*", Holds::Anything, Shape::Notice),
    (".vault-pass*", Holds::Anything, Shape::Notice),
    ("wg*.conf", Holds::Setting, Shape::Lines),
    (".sentryclirc", Holds::Setting, Shape::Lines),
    ("gh/hosts.yml", Holds::Setting, Shape::Notice),
    ("rclone.conf", Holds::Setting, Shape::Lines),
    // Clouds and clusters.
    (".aws/credentials", Holds::Anything, Shape::Notice),
    (".aws/config", Holds::Setting, Shape::Lines),
    (".azure/**", Holds::Anything, Shape::Notice),
    (".config/gcloud/**", Holds::Anything, Shape::Notice),
    (".gcloud/**", Holds::Anything, Shape::Notice),
    ("application_default_credentials.json", Holds::Anything, Shape::Notice),
    ("*service*account*.json", Holds::JsonSecret, Shape::Notice),
    ("*firebase-adminsdk*.json", Holds::JsonSecret, Shape::Notice),
    ("client_secret*.json", Holds::JsonSecret, Shape::Notice),
    ("gha-creds-*.json", Holds::JsonSecret, Shape::Notice),
    ("*credentials.json", Holds::JsonSecret, Shape::Notice),
    ("kaggle.json", Holds::JsonSecret, Shape::Notice),
    (".kube/config", Holds::Anything, Shape::Notice),
    ("kubeconfig", Holds::Anything, Shape::Notice),
    ("*.kubeconfig", Holds::Anything, Shape::Notice),
    ("kubeconfig.y*ml", Holds::Anything, Shape::Notice),
    ("*kubeconfig*", Holds::Setting, Shape::Notice),
    (".docker/config.json", Holds::Anything, Shape::Notice),
    (".dockercfg", Holds::Anything, Shape::Notice),
    ("*.dockerconfigjson", Holds::Anything, Shape::Notice),
    (".databrickscfg", Holds::Anything, Shape::Notice),
    (".terraformrc", Holds::Setting, Shape::Lines),
    ("terraform.rc", Holds::Setting, Shape::Lines),
    ("credentials.tfrc.json", Holds::Anything, Shape::Notice),
    ("*.tfstate", Holds::Anything, Shape::Notice),
    ("*.tfstate.*", Holds::Anything, Shape::Notice),
    (".s3cfg", Holds::Anything, Shape::Notice),
    (".boto", Holds::Anything, Shape::Notice),
    (".streamlit/secrets.toml", Holds::Anything, Shape::Notice),
];

/// Parts of a name that say that a file of a listed name is there to be read by everybody. It counts when it holds something of
/// a real credential's shape.
const TO_BE_READ: [&str; 8] = ["example", "sample", "template", "tmpl", "dist", "defaults", "schema", "pub"];

/// What the name of source code, or of a text about it, ends in. Such a file counts as those that are there to be read.
const SOURCES: [&str; 39] = [
    "rs", "go", "py", "pyi", "rb", "js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "cts", "vue", "svelte", "java", "kt",
    "kts", "scala", "groovy", "c", "h", "cc", "cpp", "hpp", "cs", "fs", "swift", "m", "php", "lua", "ex", "exs", "erl",
    "md", "mdx", "rst", "adoc", "html",
];

/// Folders of translations: their `credentials.json` says how the word is called elsewhere.
const TRANSLATIONS: [&str; 7] = ["locale", "locales", "i18n", "l10n", "lang", "langs", "translations"];

/// Whether a name, folded, is one of source code.
pub(super) fn is_source(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, extension)| SOURCES.contains(&extension))
}

/// Whether a path, folded, is below a folder of translations.
pub(super) fn is_translation(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(above, _)| above.split('/').any(|name| TRANSLATIONS.contains(&name)))
}

/// What editors and people put behind the name of a copy.
const COPY_ENDINGS: [&str; 18] = [
    ".bak", ".backup", ".orig", ".old", ".save", ".copy", ".tmp", ".prev", ".rej", ".swp", ".swo", ".swn", ".un~", "~",
    // Those of file managers.
    " - copy", " copy", " (copy)", " (1)",
];

/// Whether a name, folded, says that the file is there to be read by everybody.
pub(super) fn is_to_be_read(name: &str) -> bool {
    name.split(['.', '-', '_']).any(|part| TO_BE_READ.contains(&part))
}

/// What a file of this name, folded, is a copy of, if the name says that it is one: `.env` for `.env~`, `#.env#`, `.env.bak`,
/// `.env.save.1` and Vim's `.env.swp`; `x.key` for Vim's `.x.key.swp`, too.
pub(super) fn copied(name: &str) -> Vec<&str> {
    // A workspace has very many names, and hardly any ends so.
    if !name.starts_with(['#', '.']) && !name.ends_with(is_end_of_copy) {
        return Vec::new();
    }
    let lock = name.strip_prefix(".#").or_else(|| name.strip_prefix('#').and_then(|rest| rest.strip_suffix('#')));
    let unnumbered = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    // `.~1~` of GNU's numbered backups; `.bak2`, `.save.1`.
    let gnu = name.strip_suffix('~').map(|rest| rest.trim_end_matches(|letter: char| letter.is_ascii_digit()));
    let gnu = gnu.and_then(|rest| rest.strip_suffix(".~"));
    let numbered = [name, unnumbered, unnumbered.strip_suffix('.').unwrap_or(unnumbered)];
    let ending = gnu
        .or_else(|| COPY_ENDINGS.iter().find_map(|ending| numbered.iter().find_map(|name| name.strip_suffix(ending))));
    let of = lock.or(ending).filter(|of| !of.is_empty());
    let hidden = of.filter(|_| name.ends_with('~') || name.contains(".sw")).and_then(|of| of.strip_prefix('.'));
    of.into_iter().chain(hidden.filter(|of| !of.is_empty())).collect()
}

/// Whether the name of a copy may end so: with the last letter of one of [`COPY_ENDINGS`], or a number behind it.
fn is_end_of_copy(letter: char) -> bool {
    letter.is_ascii_digit() || COPY_ENDINGS.iter().any(|ending| ending.ends_with(letter))
}
