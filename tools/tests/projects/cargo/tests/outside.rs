#[test]
fn integration() {
    assert_eq!(sample::add(2, 2), 4);
}

#[test]
fn another() {}
