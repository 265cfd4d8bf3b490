//! Contents that an agent could make to keep the server from answering: each is read in a time that grows with its length.
//!
//! There is no limit of time here: a pass over the rest for each line, sign or quote takes many minutes of 64 KiB, and days of the 1 MiB that is read.

use std::path::Path;

use proptest::{collection, prelude::*};

use super::*;

/// One for each way to read a file.
const PATHS: [&str; 4] = [".env", "appsettings.json", ".yarnrc.yml", "secrets.yml"];

/// Bytes of a content.
const SIZE: usize = 64 << 10;

/// Masks a content under a name, and redacts it, with what was found in it too.
fn read(path: &str, content: &str) {
    let path = Path::new(path);
    let mask = Secrets::default().candidate(path).unwrap().mask(path, content.as_bytes());
    let values = mask.map(|mask| mask.values).unwrap_or_default();
    let secret = |value: String| Secret { value: value.into(), file: "x".into() };
    let redacted = Redactor::new(values.into_iter().map(secret).collect()).redact(content);
    assert!(redacted.count <= content.len() as u64);
}

/// A text again and again, under each name.
fn read_many(unit: &str) {
    for path in PATHS {
        read(path, &unit.repeat(SIZE / unit.len()));
    }
}

macro_rules! hostile {
    ($($name:ident: $unit:expr,)*) => {
        $(
            #[test]
            fn $name() {
                read_many($unit);
            }
        )*
    };
}

hostile! {
    colons_in_a_line: ":",
    quoted_colons: "\":",
    settings_in_a_line: "key=\"",
    attributes_in_a_line: " key=\"",
    flows_in_a_line: "key={",
    tags_in_a_line: "<key>",
    names_in_a_line: "password-",
    web_tokens_in_a_line: "-eyJ",
    web_tokens_with_dots: "eyJ.",
    prefixes_in_a_line: "-sk-xxxxxx",
    logins_in_a_line: "://:c@",
    references_in_a_line: "key=${",
    lines_of_settings: "token:\n",
    lines_of_flows: "key: {\n",
    lines_of_logins: "://a:${b}@\n",
    blank_lines: "\n",
    spaces: " ",
    first_lines_of_keys: "-----BEGIN PRIVATE KEY-----\n",
    first_and_last_lines_of_keys: "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----",
    first_lines_of_keys_in_a_line: "-----BEGIN PRIVATE KEY-----",
    first_lines_of_keys_and_words: "-----BEGIN PRIVATE KEY-----\nnil\nend\n",
    the_same_value: "K=q7Zr2Lm9Xw4Tk8Vb3\n",
    lines_that_are_joined: "K=\\\n",
    values_that_go_on: "token: a\n b\n",
    long_quotes: "token=\"\"\"\n",
    secrets_of_a_cluster: "kind: Secret\ndata:\n a: ${b}\n",
    documents: "\n---\nkind: Secret\n",
    names_with_values: "{\"name\":\"token\",\"value\":\"x\"},",
    letters_of_utf_16: "A\0=\0",
    a_mark_and_half_a_letter: "\u{feff}K=\u{fffd}",
}

#[test]
fn quotes_that_are_not_closed() {
    for quote in ["\"", "'", "`"] {
        let body = "x\\\n".repeat(SIZE / 3);
        for path in PATHS {
            read(path, &format!("A={quote}{body}"));
            read(path, &format!("A={quote}{}", "\n".repeat(SIZE)));
        }
    }
}

#[test]
fn settings_that_lie_below_each_other() {
    let above: String = (0..100).map(|depth| format!("{}token:\n", " ".repeat(depth))).collect();
    let behind = " ".repeat(SIZE);
    for path in PATHS {
        read(path, &format!("{above}{behind}"));
        read(path, &format!("{above}{}", "\n".repeat(SIZE)));
    }
}

#[test]
fn as_many_values_as_are_kept_and_the_last_again_and_again() {
    let many: String = (0..1023).map(|at| format!("K=q7Zr{at:04}Xw4Tk8V\n")).collect();
    for path in PATHS {
        read(path, &format!("{many}{}", "K=q7Zr1022Xw4Tk8V\n".repeat(SIZE / 18)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 0, ..ProptestConfig::default() })]

    /// Whatever the signs are put together to, 64 KiB of them are read.
    #[test]
    fn any_text_of_the_signs_that_settings_have(
        tokens in collection::vec(
            prop::sample::select(vec![
                ":", "=", "\"", "'", "{", "}", "[", "$", "${", "<", ">", "eyJ", "-", ".", "\n", " ", "\\", "://", "@", "|", "key",
                "password", "q7Zr2Lm9Xw4Tk8Vb3", "-----BEGIN PRIVATE KEY-----", "-----END", "sk-", "nil",
            ]),
            300..3000,
        ),
        path in prop::sample::select(PATHS.to_vec()),
    ) {
        let unit = tokens.concat();
        read(path, &unit.repeat(SIZE / unit.len() + 1));
    }
}
