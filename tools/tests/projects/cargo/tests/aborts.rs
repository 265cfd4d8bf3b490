#[test]
fn first() {}

#[test]
fn last() {
    std::thread::sleep(std::time::Duration::from_millis(200));
    std::process::abort();
}
