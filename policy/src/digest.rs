//! The digest of a plan: what a person signs, and what ties a record to the call that it speaks of.

use cofferdam_contract::Plan;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a plan's canonical JSON: no white space, keys in byte order, each text escaped one way.
///
/// Two plans have one digest exactly when they are equal: every field of a plan is part of its JSON, and the JSON
/// reads back as that plan.
#[must_use]
pub fn digest(plan: &Plan) -> [u8; 32] {
    #[expect(
        clippy::expect_used,
        reason = "a plan is texts, whole numbers and maps with text keys, all of which JSON has"
    )]
    let mut value = serde_json::to_value(plan).expect("a plan is JSON");
    // Maps are sorted anyway, unless some crate of the build turns serde_json's `preserve_order` on.
    value.sort_all_objects();
    sha256(Value::to_string(&value).as_bytes())
}

/// The SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::plan;
    use cofferdam_contract::{Argument, HandBack, Lane, Network, SessionRequest, Work};

    #[test]
    fn the_digest_is_that_of_the_documented_json() {
        let mut plan = plan("run_tests");
        plan.arguments.insert("runner".into(), Argument::Text("cargo".into()));
        let json = concat!(
            r#"{"arguments":{"runner":"cargo"},"credentials":[],"hand_back":"nothing","isolation":"namespace","#,
            r#""lane":"routine","limits":{"cpu_seconds":40,"disk_mb":512,"memory_mb":1024,"output_kb":1024,"pids":32,"#,
            r#""wall_seconds":40},"network":"off","reads":[],"tool":"run_tests","work":"execute"}"#
        );
        assert_eq!(digest(&plan), sha256(json.as_bytes()));
    }

    #[test]
    fn every_field_counts() {
        let base = plan("run_tests");
        let mut others = vec![base.clone(); 9];
        others[0].tool = "other".into();
        others[1].arguments.insert("a".into(), true.into());
        others[2].work = Work::Session(SessionRequest::ListChanges);
        others[3].reads.push(cofferdam_contract::WorkspacePath::workspace());
        others[4].hand_back = HandBack::Tree;
        others[5].network = Network::Registry;
        others[6].lane = Lane::Sensitive;
        others[7].limits.pids += 1;
        others[8].credentials.insert("c".into());
        let digests: std::collections::BTreeSet<[u8; 32]> = others.iter().chain([&base]).map(digest).collect();
        assert_eq!(digests.len(), 10);
    }
}
