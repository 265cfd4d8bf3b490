//! What must not compile: each program in `tests/fail` tries one way round the judgement.

#[test]
fn a_permit_cannot_be_made_copied_read_or_used_twice() {
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}
