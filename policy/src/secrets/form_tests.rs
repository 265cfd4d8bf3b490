//! The same settings in other encodings, over more lines and under other names.

use std::path::Path;

use super::*;

/// A value of real shape, put together so that no scanner of repositories finds one here.
fn secret() -> String {
    ["q7Zr2", "Lm9Xw4", "Tk8Vb3"].concat()
}

fn mask(path: &str, content: &[u8]) -> Option<Mask> {
    let (secrets, path) = (Secrets::default(), Path::new(path));
    secrets.candidate(path).unwrap_or_else(|| panic!("{} is listed", path.display())).mask(path, content)
}

/// What is seen; the content itself where the file counts for nothing.
fn seen(path: &str, content: &str) -> String {
    let shown = mask(path, content.as_bytes()).map(|mask| String::from_utf8(mask.shown).unwrap());
    shown.unwrap_or_else(|| content.to_owned())
}

fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(order).collect()
}

#[test]
fn a_text_in_utf_16_is_masked_as_in_utf_8() {
    let s = secret();
    for (path, content) in [
        ("appsettings.json", format!("{{\"Password\": \"{s}\", \"Url\": \"x\"}}")),
        ("nuget.config", format!("<c>\n<add key=\"ClearTextPassword\" value=\"{s}\" />\n</c>")),
        (".npmrc", format!("_authToken={s}\n")),
        (".env", format!("API_KEY={s}\nB=1\n")),
        ("secrets.yml", format!("key: {s}\n")),
    ] {
        let expected = mask(path, content.as_bytes()).unwrap();
        assert!(expected.values.contains(&s), "{path}: {:?}", expected.values);
        for order in [u16::to_le_bytes, u16::to_be_bytes] {
            for mark in ["", "\u{feff}"] {
                let content = utf16(&format!("{mark}{content}"), order);
                let found = mask(path, &content).unwrap();
                assert_eq!((&found.shown, &found.values), (&expected.shown, &expected.values), "{path}");
                assert_eq!(found.lines, [0; 0], "{path}");
            }
        }
        let marked = mask(path, format!("\u{feff}{content}").as_bytes()).unwrap();
        assert_eq!((marked.shown, marked.values), (expected.shown, expected.values), "{path}");
    }
    // Half a letter, and half of a pair.
    for content in [&[0xff, 0xfe, b'A'][..], &[0xff, 0xfe, 0, 0xd8], &[0xfe, 0xff], &[0xff, 0xfe]] {
        assert!(mask(".env", content).is_some());
    }
}

#[test]
fn values_beside_a_letter_of_another_encoding_are_known() {
    let s = secret();
    for path in [".env", ".npmrc"] {
        let content = [b"# f\xfcr\n_authToken=".as_slice(), s.as_bytes(), b"\n"].concat();
        let mask = mask(path, &content).unwrap();
        assert!(mask.values.contains(&s), "{path}: {:?}", mask.values);
        assert!(!String::from_utf8_lossy(&mask.shown).contains(&s), "{path}");
    }
}

#[test]
fn a_value_that_goes_on_over_lines_is_masked_to_its_end() {
    let s = secret();
    for (path, content) in [
        ("bunfig.toml", format!("[install]\npassword = \"\"\"\n{s}\n\"\"\"\n")),
        ("uv.toml", format!("token = 'abcd1234'\npassword = '''\n{s}\n'''\n")),
        (".yarnrc.yml", format!("npmAuthToken: abcd1234\n  {s}\n\n  {s}\nnodeLinker: pnp\n")),
        ("pip.conf", format!("[global]\npassword = abcd1234\n  {s}\n")),
        (".envrc", format!("export A=abcd1234{s}\\\n{s}=x\n")),
        (".env", format!("A=abcd1234\\\n{s}\\\n{s}=x\n")),
        ("secrets.yml", format!("keys:\n- {s}\n")),
        ("secrets.yml", format!("a:\n  b: |\n    {s}\n")),
    ] {
        let seen = seen(path, &content);
        assert!(!seen.contains(&s), "{path}: {seen}");
        let values = mask(path, content.as_bytes()).unwrap().values;
        assert!(values.iter().any(|value| value.contains(&s) && !value.ends_with('\\')), "{path}: {values:?}");
    }
    assert_eq!(seen("pip.conf", "password = abcd1234\n  efgh\n\n[x]\na = b\n"), "password = masked\n\n[x]\na = b\n");
}

#[test]
fn a_short_password_is_masked_under_each_name_that_says_so() {
    for (path, content) in [
        ("rclone.conf", "[x]\npassword = abcd1234\npassword2 = hunter2\n"),
        ("appsettings.json", "{\"ConnectionStrings\": {\"D\": \"Server=db;Uid=root;Pwd=hunter2;\"}}"),
        ("appsettings.json", "{\"D\": \"Server=db;Uid=root;Pwd=hunter2;\"}"),
        ("appsettings.json", "{\"Smtp\": {\"User\": \"a\", \"Pass\": \"hunter2\"}}"),
        ("appsettings.json", "{\"Passwords\": [\"hunter2\"]}"),
        ("appsettings.json", "{\"Users\": [{\"Name\": \"DbPassword\", \"Value\": \"hunter2\"}]}"),
        (".envrc", "export DB_PASS=hunter2\n"),
        ("gradle.properties", "upload.pw=hunter2\n"),
        (".bundle/config", "BUNDLE_GEMS__EXAMPLE__COM: \"me:hunter2\"\n"),
        ("app-secret.yaml", "apiVersion: v1\nkind: Secret\nstringData:\n  p: hunter2\n"),
        (".vault_pass", "hunter2\n"),
        (".vault-pass.txt", "hunter2\n"),
        (".env-prod", "A=hunter2\n"),
        (".env_local", "A=hunter2\n"),
        (".env (copy)", "A=hunter2\n"),
        (".env copy", "A=hunter2\n"),
        (".env - Copy", "A=hunter2\n"),
        (".env (1)", "A=hunter2\n"),
        (".flaskenv", "SECRET_KEY=hunter2\n"),
        (".secrets.toml", "password = 'hunter2'\n"),
        (".secrets", "DB_PASSWORD=hunter2\n"),
        ("wg0.conf", "[Interface]\nPrivateKey = hunter2\nAddress = 10.0.0.2\n"),
    ] {
        let seen = seen(path, content);
        assert!(!seen.contains("hunter2"), "{path}: {seen}");
    }
}

#[test]
fn ordinary_values_are_looked_for_nowhere_and_ordinary_files_are_seen() {
    let mask = mask(
        ".env.test",
        b"PORT=3000\nNODE_ENV=test\nURL=http://localhost:3000/api\nREGION=eu-west-1a-prod-cluster-01\nTZ=Europe/Berlin\n\
          DATABASE_URL=postgres://postgres:postgres@localhost:5432/app_test\nOPT=--inspect=0.0.0.0:9229\n\
          STORE=DefaultEndpointsProtocol=https;AccountName=devstore\nIMAGE=node:18.17.1-bullseye-slim\n",
    );
    let values = mask.unwrap().values;
    let text = "DefaultEndpointsProtocol=https, eu-west-1a-prod-cluster-01, node:18.17.1-bullseye-slim, localhost:5432";
    let secrets = values.into_iter().map(|value| Secret { value: value.into(), file: ".env.test".into() });
    assert_eq!(Redactor::new(secrets.collect()).redact(text).text, text);
    for (path, content) in [
        (".bundle/config", "---\nBUNDLE_BUILD__NOKOGIRI: \"--use-system-libraries\"\nBUNDLE_PATH: \"vendor\"\n"),
        ("app-secret.yaml", "kind: Secret\nmetadata:\n  name: app\ndata:\n  key: ${APP_KEY}\n"),
        ("appsettings.json", "{\"Items\": [{\"Name\": \"Timeout\", \"Value\": \"hunter2\"}], \"MaxTokens\": 4096}"),
        (".secrets.toml", "[default]\nname = \"app\"\n"),
        ("client.ovpn", "client\nremote vpn.example 1194\n"),
        ("copy", "x"),
    ] {
        let found = Secrets::default();
        let path = Path::new(path);
        let mask = found.candidate(path).and_then(|found| found.mask(path, content.as_bytes()));
        assert_eq!(mask, None, "{}", path.display());
    }
    assert!(Secrets::default().candidate(Path::new(".secrets.baseline")).is_none());
}

#[test]
fn each_line_of_a_mask_stands_for_one_of_the_file_or_none_does() {
    let lines = |path: &str, content: &str| {
        let mask = mask(path, content.as_bytes()).unwrap();
        let count = std::str::from_utf8(&mask.shown).unwrap().lines().count();
        assert!(mask.lines.is_empty() || mask.lines.len() == count, "{path}: {content}");
        mask.lines
    };
    assert_eq!(lines(".env", "# a comment\nA=1\n\n# B=2\nexport C='x'\n"), [1, 2, 4]);
    assert_eq!(lines(".npmrc", "; a\nregistry=x\n_authToken=abcd\n\nb=c"), [0, 1, 2, 3, 4]);
    assert_eq!(lines("pip.conf", "[a]\npassword = abcd\n\n[b]\nindex = https://me:abcd@r.example\n"), [0, 1, 2, 3, 4]);
    for (path, content) in [
        (".env", "A=\"x\ny\"\nB=1\n"),
        (".env", "A=x\\\ny\nB=1\n"),
        (".env", "A=1\nwords\n"),
        (".env", "A=1\nsome words=x\n"),
        (".env", "A=-----BEGIN KEY\nx\n-----END KEY\n"),
        (".env", "A=1\r\nB=2\r\n"),
        (".env", "# -----BEGIN KEY\nB=2\n"),
        ("pip.conf", "[a]\npassword = abcd\n  efgh\n"),
        (".yarnrc.yml", "npmAuthToken:\n  abcd\n"),
        ("appsettings.json", "{\"Password\": \"abcd\"}\n"),
        (".netrc", "machine x\n"),
    ] {
        assert_eq!(lines(path, content), [0; 0], "{path}: {content}");
    }
}
