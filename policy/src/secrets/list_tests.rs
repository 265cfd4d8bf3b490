//! Names of files with what ordinary projects have in them, and with what must not be seen.

use std::path::Path;

use proptest::{collection, prelude::*};

use super::*;

/// A value of real shape, put together so that no scanner of repositories finds one here.
fn secret() -> String {
    ["q7Zr2", "Lm9Xw4", "Tk8Vb3"].concat()
}

/// What is seen at a path instead of a content; `None` when the file counts for nothing.
fn seen(path: &str, content: impl AsRef<[u8]>) -> Option<String> {
    let secrets = Secrets::default();
    let mask = secrets.candidate(Path::new(path))?.mask(Path::new(path), content.as_ref())?;
    Some(String::from_utf8(mask.shown).unwrap())
}

#[test]
fn real_contents_are_masked_and_no_value_stays() {
    let s = secret();
    let age = format!("AGE-SECRET-KEY-1{}", "Q".repeat(58));
    for (paths, content) in [
        (&[".envrc"][..], format!("use flake\nexport X=\"${{X:-{s}}}\"\n")),
        (&[".envrc"], format!("export SIGNING_KEY={s}\n")),
        (&[".envrc"], format!("export DEPLOY_KEY='{s}'\n")),
        (&[".envrc"], format!("export GITHUB_PAT={s}\n")),
        (&[".envrc"], format!("export SENTRY_DSN=https://{s}@sentry.example/1\n")),
        (&[".envrc"], format!("export DB_CONN_STR='Server=db;User Id=a;Password={s}'\n")),
        (&[".envrc", ".envrc.local"], format!("export PASSPHRASE=$(echo {s})\n")),
        (&[".npmrc", ".npmrc.bak", ".npmrc~", "#.npmrc#"], format!("//r.example/:_authToken={s}\n")),
        (&[".npmrc"], "_auth=dXNlcjpwYXNz\n".replace("dXNlcjpwYXNz", &s)),
        (&[".yarnrc"], format!("\"//r.example/:_authToken\" {s}\n")),
        (&[".yarnrc.yml"], format!("npmAuthToken: |\n  {s}\nnodeLinker: pnp\n")),
        (&[".yarnrc.yml"], format!("npmAuthToken: >-\n    {s}\n")),
        (&[".yarnrc.yml"], format!("npmAuthToken:\n  {s}\n")),
        (&[".yarnrc.yml"], format!("npmScopes: {{ mine: {{ npmAuthToken: \"{s}\" }} }}\n")),
        (&[".yarnrc.yml"], format!("npmScopes: {{\n  mine: {{\n    npmAuthToken: {s} }} }}\n")),
        (&[".yarnrc.yml"], format!("npmAuthToken: \"abc\\\n  {s}\"\n")),
        (&[".yarnrc.yml"], format!("npmAuthToken: !!str {s}\n")),
        (&["pip.conf", "pip.ini"], format!("[global]\nindex-url = https://{s}@r.example/simple\n")),
        (&["pip.conf"], format!("[global]\nextra-index-url =\n    https://{s}@r.example/simple\n")),
        (&[".condarc"], format!("channels:\n  - https://c.example/t/{s}/channel\n")),
        (&["uv.toml"], format!("[[index]]\nurl = \"https://me:{s}@r.example/simple\"\n")),
        (&[".pypirc"], format!("[pypi]\nusername = __token__\npassword = {s}\n")),
        (
            &["nuget.config", "NuGet.Config"],
            format!("<configuration>\n<add key=\"ClearTextPassword\" value=\"{s}\" />\n"),
        ),
        (&["credentials.toml", ".cargo/credentials.toml"], format!("[registry]\ntoken = \"{s}\"\n")),
        (&[".gem/credentials", "share/gem/credentials"], format!("---\n:rubygems_api_key: {s}\n")),
        (&[".bundle/config"], format!("BUNDLE_GEMS__EXAMPLE__COM: \"me:{s}\"\n")),
        (&["auth.json"], format!("{{\"github-oauth\": {{\"github.com\": \"{s}\"}}}}")),
        (
            &["auth.json"],
            format!("{{\"http-basic\": {{\"r.example\": {{\"username\": \"a\", \"password\": \"{s}\"}}}}}}"),
        ),
        (&["gradle.properties"], format!("org.gradle.caching=true\nsigning.password={s}\n")),
        (&["settings.xml", ".m2/settings.xml"], format!("<settings>\n<password>{s}</password>\n</settings>\n")),
        (
            &["local.settings.json"],
            format!("{{\"Values\": {{\"AzureWebJobsStorage\": \"AccountName=a;AccountKey={s}==\"}}}}"),
        ),
        (
            &["appsettings.json", "appsettings.Production.json"],
            format!("{{\"ConnectionStrings\": {{\"Default\": \"Server=db;Password={s}\"}}, \"Logging\": {{}}}}"),
        ),
        (&["appsettings.json"], format!("{{\n  // with a comment\n  \"ApiKey\": \"{s}\",\n}}\n")),
        (&["appsettings.json"], format!("{{\n  // with a comment\n  \"Keys\": {{ \"ApiKey\": \"{s}\" }},\n}}\n")),
        (&["secrets.json"], format!("{{\"smtp\": {{\"password\": \"{s}\"}}}}")),
        (
            &["secrets.yml", "config/secrets.yaml", "db-secret.yaml", "prod.secrets.yml"],
            format!("kind: Secret\ndata:\n  DATABASE_URL: {s}\n"),
        ),
        (&["key.txt", "keys.txt", "a.agekey", ".age/x", "age-identity.txt"], format!("# created: 2026\n{age}\n")),
        (&["id_old", "server.key", "x.pem", "x.key.bak", ".x.key.swp"], "-----BEGIN PRIVATE KEY-----\nq7Zr2\n".into()),
        (&["config/master.key", "config/credentials/production.key", "credentials/x.key"], s.clone()),
        (
            &[
                ".env",
                ".env~",
                ".env.bak",
                ".env.swp",
                "#.env#",
                ".env.save",
                ".env.orig",
                "prod.env.bak2",
                "a.env.save.1",
            ],
            format!("A={s}\n"),
        ),
        (&[".env.defaults", ".env.example", "example.env", ".env.sample~"], format!("API_KEY={s}\n")),
        (&[".env.defaults", ".env.dist"], format!("DATABASE_URL=postgres://app:{s}@db/x\n")),
        (&[".env.example"], format!("X={}\n", ["ghp", &"a1B2".repeat(9)].join("_"))),
        (&["terraform.tfvars", "a.auto.tfvars", "a.auto.tfvars.json"], format!("password = \"{s}\"\n")),
        (&[".terraformrc", "terraform.rc"], format!("credentials \"app.example\" {{\n  token = \"{s}\"\n}}\n")),
        (
            &["terraform.tfstate", "terraform.tfstate.backup", "terraform.tfstate.17.backup"],
            format!("{{\"a\": \"{s}\"}}"),
        ),
        (
            &[".docker/config.json", ".dockerconfigjson", "pull.dockerconfigjson", ".dockercfg"],
            format!("{{\"auths\": {{\"r.example\": {{\"auth\": \"{s}\"}}}}}}"),
        ),
        (
            &["kubeconfig", ".kube/config", "kubeconfig-prod", "prod-kubeconfig.yaml"],
            format!("users:\n- user:\n    token: {s}\n"),
        ),
        (
            &[
                "service-account.json",
                "my_service_account_dev.json",
                "application_default_credentials.json",
                "app-credentials.json",
            ],
            format!("{{\"private_key\": \"{s}\"}}"),
        ),
        (&[".boto", ".s3cfg", ".pgpass", ".my.cnf", ".netrc", "_netrc", ".git-credentials", ".vault-token"], s.clone()),
        (&["a.p12", "a.pfx", "a.jks", "a.keystore"], s.clone()),
        (
            &["kubeconfig_writer.go", "id_utils.rs", "src/.env.ts"],
            format!("const KEY = `-----BEGIN PRIVATE KEY-----\n{}\n`\n", s.repeat(4)),
        ),
        (&["kubeconfig_writer.go", "src/.env.ts"], format!("token = \"{s}\"\n")),
        (&["lang/.env", "i18n/.env.local"], "PASSWORD=q7Zr2\n".to_owned()),
        (&["locales/secrets.json"], format!("{{\"password\": \"{s}\"}}")),
        (&["locales/secrets.json"], format!("{{\n\"password\": \"{s}\"\n}}")),
        (&[".ssh/x.md", ".azure/x.py", ".age/x.rs"], "-----BEGIN PRIVATE KEY-----\nq7Zr2\n".to_owned()),
        (&["x-secret.yaml"], format!("kind: SealedSecret\n---\nkind: Secret\ndata:\n  password: {s}\n")),
        (&["x-secret.yaml"], format!("kind: ExternalSecret\nspec:\n  password: {s}\n")),
        (
            &["appsettings.json"],
            format!("{{\"ConnectionStrings\": {{\"D\": \"Trusted_Connection=False;Password={s}\"}}}}"),
        ),
        (&["rclone.conf"], format!("[r]\ntype = s3\nsecret_access_key = {s}\n")),
    ] {
        for path in paths {
            let shown = seen(path, &content).unwrap_or_else(|| panic!("{path} is seen as it is: {content}"));
            for piece in [s.as_str(), "q7Zr2", age.as_str()] {
                assert!(!shown.contains(piece), "{path}: {shown}");
            }
        }
    }
}

#[test]
fn ordinary_contents_are_seen_as_they_are() {
    for (path, content) in [
        (
            ".envrc",
            "use flake\nlayout python\nPATH_add bin\nexport EDITOR=vim\nexport API_TOKEN=\"$(op read op://v/i)\"\n",
        ),
        (".envrc", "export MAX_TOKENS=4096\nexport TOKEN_URL=https://id.example/token\nexport PASSWORD_FILE=/run/x\n"),
        (".envrc", "export X=\"${X:-}\"\nexport SECRET=\"${SECRET:?set it}\"\n".split_once("export SECRET").unwrap().0),
        (".npmrc", "registry=https://r.example/\nsave-exact=true\nalways-auth=true\ninit-author-name=Ann\n"),
        (".npmrc", "//r.example/:_authToken=${NPM_TOKEN}\n"),
        (
            ".yarnrc.yml",
            "nodeLinker: node-modules\nyarnPath: .yarn/releases/yarn-4.5.0.cjs\nnpmAuthToken: \"${T:-}\"\n",
        ),
        (".yarnrc.yml", "npmScopes:\n  mine:\n    npmRegistryServer: \"https://r.example\"\n    npmAlwaysAuth: true\n"),
        ("pip.conf", "[global]\nindex-url = https://r.example/simple\ntimeout = 60\n"),
        (".condarc", "channels:\n  - conda-forge\nchannel_alias: https://conda.example/\n"),
        (
            "nuget.config",
            "<configuration><packageSources><add key=\"nuget\" value=\"https://n.example/v3/index.json\" />",
        ),
        ("auth.json", "{\"title\": \"Sign in\", \"button\": \"Log in\"}"),
        (
            "gradle.properties",
            "org.gradle.jvmargs=-Xmx2g -Dfile.encoding=UTF-8\nandroid.useAndroidX=true\nsigning.keyId=\n",
        ),
        ("settings.xml", "<settings><server><password>${env.MAVEN_PASSWORD}</password></server></settings>"),
        ("local.settings.json", "{\"Values\": {\"AzureWebJobsStorage\": \"UseDevelopmentStorage=true\"}}"),
        (
            "appsettings.json",
            "{\"Logging\": {\"LogLevel\": {\"Default\": \"Information\"}}, \"AllowedHosts\": \"*\", \"ConnectionStrings\": \
             {\"Default\": \"Server=(localdb)\\\\mssqllocaldb;Database=app;Trusted_Connection=True\"}, \"ApiKey\": \"\"}",
        ),
        ("secrets.yml", "production:\n  secret_key_base: <%= ENV[\"SECRET_KEY_BASE\"] %>\n"),
        (
            ".github/workflows/secrets.yml",
            "steps:\n  - uses: a/b@8f4b7f84864484a7bf31766abe9204da3cbe65b3\n    with: ${{ secrets.T }}\n",
        ),
        ("sealed-secret.yaml", "kind: SealedSecret\nspec:\n  encryptedData:\n    password: AgBy3i4OJSWK1PiTySYZ\n"),
        ("secrets.yaml", "password: ENC[AES256_GCM,data:q7Zr2Lm9Xw4,type:str]\n"),
        ("keys.txt", "arrow up: move\nescape: leave\n"),
        ("server.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n"),
        ("server.der", "0\u{1}"),
        ("release.asc", "-----BEGIN PGP SIGNATURE-----\nabc\n"),
        ("kubeconfig_test.go", "package kube\n\nfunc TestLoad(t *testing.T) { Load(\"x\") }\n"),
        (
            ".env.example",
            "API_KEY=your-api-key-here\nDATABASE_URL=postgres://user:password@localhost:5432/app\nDEBUG=1\n",
        ),
        (".env.example", "SECRET_KEY=change-me-0123456789abcdef\nJWT_SECRET=changeme123\nTOKEN=\n"),
        (".env.defaults", "PORT=3000\nLOG_LEVEL=info\nSESSION_SECRET=\n"),
        (".env.dist", "APP_ENV=dev\nAPP_SECRET=\n"),
        ("client_secrets.json", "{\"web\": {}}"),
        ("kubeconfig_writer.go", "func write() {\n\ttoken := readTokenFile()\n\tpassword := cfg.Password\n}\n"),
        ("id_utils.rs", "if text.contains(\"BEGIN PRIVATE KEY\") {\n    return Some(text);\n}\n"),
        ("id_keys.md", "Begins with `-----BEGIN RSA PRIVATE KEY-----`.\n\nSee there.\n"),
        ("keys.txt", "Never send your PRIVATE KEY\n"),
        ("KEYS.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n"),
        ("src/.env.ts", "export const env = readEnv(process.env.API_TOKEN);\n"),
        ("src/locale/credentials.json", "{\"password\": \"Passwort\", \"token\": \"Zeichen\"}"),
        ("app/locales/de/secrets.yml", "de:\n  password: Passwort\n"),
        (
            "k8s/app-secrets.yaml",
            "kind: ExternalSecret\nspec:\n  data:\n  - secretKey: password\n    remoteRef:\n      key: prod/db\n",
        ),
        (
            "charts/x/secrets.yaml",
            "repository: \"r.example/app@sha256:a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4\"\n",
        ),
        (
            "appsettings.json",
            "{\"ConnectionStrings\": {\"Default\": \"Server=(localdb)\\\\mssqllocaldb;Database=aspnet-App-53bc9b9d-9d6a-45d4-8429;\
             Trusted_Connection=True;MultipleActiveResultSets=true\"}, \"TokenLifetime\": \"00:15:00\", \
             \"Auth\": {\"ClientId\": \"53bc9b9d-9d6a-45d4-8429-2a2761773502\"}}",
        ),
        ("gradle.properties", "trustStorePassword=changeit\n"),
        (".aws/config", "[profile dev]\nregion = eu-west-1\nrole_arn = arn:aws:iam::123456789012:role/dev\n"),
        ("app-credentials.json", "{\"title\": \"Credentials\", \"body\": \"Where to find them\"}"),
    ] {
        assert_eq!(seen(path, content), None, "{path}: {content}");
    }
}

#[test]
fn what_is_no_credential_stays_beside_one() {
    let s = secret();
    for (path, content, expected) in [
        (
            ".yarnrc.yml",
            format!("nodeLinker: pnp\nnpmAuthToken: |\n  {s}\n  {s}\nyarnPath: y.cjs\n"),
            "nodeLinker: pnp\nnpmAuthToken: masked\nyarnPath: y.cjs\n",
        ),
        (".npmrc", format!("a=b\n_authToken=\"{s}\"\n"), "a=b\n_authToken=\"masked\"\n"),
        ("gradle.properties", format!("a=1\nx.password={s}\n"), "a=1\nx.password=masked\n"),
        (
            "appsettings.json",
            format!("{{\"Url\": \"https://a.example\", \"Jwt\": {{\"SecretKey\": \"{s}\"}}}}"),
            "{\n  \"Jwt\": {\n    \"SecretKey\": \"masked\"\n  },\n  \"Url\": \"https://a.example\"\n}\n",
        ),
        (
            "settings.xml",
            format!("<?xml?>\n<settings>\n<password>{s}</password>"),
            "<!-- masked by cofferdam: this file holds credentials -->\n<settings />\n",
        ),
        (".envrc", format!("use flake\nexport API_KEY={s}\n"), "export API_KEY=masked\n"),
    ] {
        assert_eq!(seen(path, &content).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn the_value_behind_a_reference_is_known_to_the_redactor() {
    let s = secret();
    for (path, content) in [
        (".envrc", format!("export X=\"${{X:-{s}}}\"\n")),
        (".env", format!("X=${{Y:-{s}}}\n")),
        (".yarnrc.yml", format!("npmScopes: {{ a: {{ npmAuthToken: {s} }} }}\n")),
        ("appsettings.json", format!("{{\"C\": \"Server=x;Password={s};\"}}")),
    ] {
        let secrets = Secrets::default();
        let mask = secrets.candidate(Path::new(path)).unwrap().mask(Path::new(path), content.as_bytes()).unwrap();
        assert!(mask.values.contains(&s), "{path}: {:?}", mask.values);
    }
}

#[test]
fn source_code_under_a_listed_name_hides_nothing_of_itself_elsewhere() {
    let secrets = Secrets::default();
    for source in
        [include_str!("list.rs"), include_str!("stated.rs"), include_str!("../secrets.rs"), include_str!("../glob.rs")]
    {
        for path in ["x.env", ".env", ".env.local", "x.tfvars", ".netrc", "kubeconfig", ".npmrc"] {
            let path = Path::new(path);
            let mask = secrets.candidate(path).unwrap().mask(path, source.as_bytes());
            let values = mask.map(|mask| mask.values).unwrap_or_default();
            let secret = |value: &String| Secret { value: value.as_str().into(), file: "x".into() };
            let redacted = Redactor::new(values.iter().map(secret).collect()).redact(source);
            assert_eq!(redacted.count, 0, "{}: {values:?}", path.display());
        }
    }
}

#[test]
fn a_pass_phrase_of_words_behind_a_name_is_known() {
    for (path, content) in [
        (".env", "PASSPHRASE=\"correct horse battery staple\"\n"),
        (".env", "API_SECRET = MyVeryLongSecretPassword\n"),
        ("a.tfvars", "db_password = \"correct&horse&battery&staple\"\n"),
        (".npmrc", "_authToken=MyVeryLongSecretPassword\n"),
    ] {
        let mask = Secrets::default().candidate(Path::new(path)).unwrap().mask(Path::new(path), content.as_bytes());
        let value = content.split_once('=').unwrap().1.trim().trim_matches('"').to_owned();
        assert!(mask.unwrap().values.contains(&value), "{path}: {content}");
    }
}

#[test]
fn keys_in_der_are_told_from_certificates_in_every_form_of_length() {
    let sequence = |inner: &[u8]| match u8::try_from(inner.len()) {
        Ok(short @ 0..0x80) => [&[0x30, short], inner].concat(),
        Ok(long) => [&[0x30, 0x81, long], inner].concat(),
        Err(_) => [&[0x30, 0x82, (inner.len() >> 8) as u8, (inner.len() & 0xff) as u8], inner].concat(),
    };
    let version = |number: u8| vec![0x02, 0x01, number];
    let rest = |length: usize| vec![0x5a_u8; length];
    // A number of an RSA key, an EC key's octets, an algorithm, contents of PKCS#12.
    for (number, next) in [(0, 0x02), (1, 0x04), (0, 0x30), (1, 0x30), (3, 0x30)] {
        for length in [40, 180, 1200] {
            let key = sequence(&[version(number), vec![next, 0x20], rest(length)].concat());
            for path in ["a.der", "a.key", "a.pk8", "a.pem"] {
                assert!(seen(path, &key).is_some(), "{path} {number} {next} {length}");
            }
        }
    }
    let encryption = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
    assert!(seen("a.der", sequence(&[sequence(&encryption), rest(200)].concat())).is_some(), "encrypted PKCS#8");
    assert!(seen("a.der", [&[0x30, 0x80][..], &version(3), &[0x30, 0x80]].concat()).is_some(), "PKCS#12 in BER");
    let rsa = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    for length in [40, 180, 1200] {
        let certificate = sequence(&[sequence(&[vec![0xa0, 0x03], version(2)].concat()), rest(length)].concat());
        let public = sequence(&[sequence(&rsa), vec![0x03], rest(length)].concat());
        let public_rsa = sequence(&[vec![0x02, 0x81, 0x81], rest(length)].concat());
        for other in [certificate, public, public_rsa] {
            assert_eq!(seen("a.der", &other), None, "{length}");
        }
    }
}

#[test]
fn copies_count_as_what_they_are_copies_of() {
    for (name, expected) in [
        (".env~", &[".env", "env"][..]),
        (".env.bak", &[".env"]),
        (".env.bak2", &[".env"]),
        (".env.save.1", &[".env"]),
        ("#.env#", &[".env"]),
        (".#.env", &[".env"]),
        (".x.key.swp", &[".x.key", "x.key"]),
        ("x.key.orig", &["x.key"]),
        ("x.key.~2~", &["x.key"]),
        ("main.rs", &[]),
        ("~", &[]),
        ("##", &[]),
        (".#", &[]),
        ("1", &[]),
    ] {
        assert_eq!(list::copied(name), expected, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever stands around it, what is known of a file's values is not in what is shown of it.
    #[test]
    fn what_is_shown_of_a_file_holds_none_of_its_values(
        lines in collection::vec(
            "[ ]{0,3}(- |export |\\{ |\"|# )?(token|a|npmAuthToken|KEY|x.password)?(=|: |: \"|: \\||:|\": \"| |>)             (\\$\\{X:-|\\{ b: |https://|é|\\[)?(q7Zr2Lm9Xw4Tk8Vb3|word|)(\"|@r.example/|\\}|</a>|,|\\\\)?",
            0..8,
        ),
        path in "(\\.envrc|\\.npmrc|\\.yarnrc\\.yml|appsettings\\.json|settings\\.xml|\\.env|secrets\\.yml)",
    ) {
        let text = lines.join("\n");
        let secrets = Secrets::default();
        let mask = secrets.candidate(Path::new(&path)).unwrap().mask(Path::new(&path), text.as_bytes());
        if let Some(mask) = mask {
            let shown = String::from_utf8(mask.shown).unwrap();
            prop_assert!(!mask.values.iter().any(|value| shown.contains(value)), "{}\n{}", text, shown);
        }
    }
}

#[test]
fn no_content_takes_more_than_one_way_through_it() {
    let many = |unit: &str| unit.repeat((1 << 18) / unit.len());
    // With a pass for each line, sign or quote these take minutes and hours.
    for (path, content) in [
        (".npmrc", many("://:c@\n")),
        (".npmrc", many(":")),
        (".npmrc", many("\":")),
        (".npmrc", many("eyJ-")),
        (".npmrc", many("eyJ.")),
        (".npmrc", many(&format!("://:{}}}@\n", "${".repeat(250)))),
        (".env", format!("A=\"\n{}", many("x\n"))),
        ("appsettings.json", many("{\"key\":")),
    ] {
        let secrets = Secrets::default();
        let mask = secrets.candidate(Path::new(path)).unwrap().mask(Path::new(path), content.as_bytes());
        let lines = mask.map_or(0, |mask| String::from_utf8(mask.shown).unwrap().lines().count());
        assert!(lines <= content.lines().count(), "{path}");
    }
}

#[test]
fn what_is_below_a_setting_counts_once_and_what_follows_is_masked_too() {
    let s = secret();
    let text = format!("npmAuthToken:\n  password: {s}\n  token: {s}\nother: 1\npassword: {s}\n");
    assert_eq!(seen(".yarnrc.yml", text).unwrap(), "npmAuthToken: masked\nother: 1\npassword: masked\n");
}

#[test]
fn a_file_of_very_many_values_is_not_shown_in_part() {
    let s = secret();
    let text: String = (0..1020).map(|at| format!("password={s}-{at}-{}\n", s.repeat(10))).collect();
    assert_eq!(seen(".npmrc", text).unwrap().lines().count(), 1);
    let text: String = (0..100).map(|at| format!("password={s}-{at}\n")).collect();
    assert_eq!(seen(".npmrc", text).unwrap(), "password=masked\n".repeat(100));
}
