#[test]
fn outside_passes() {}

#[test]
fn aborts() {
    std::process::abort();
}
