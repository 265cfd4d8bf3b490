//! A project with every kind of test result.

/// Adds.
///
/// ```
/// assert_eq!(sample::add(1, 2), 3);
/// ```
///
/// ```
/// assert_eq!(sample::add(1, 2), 4);
/// ```
///
/// ```compile_fail
/// let text: u8 = "";
/// ```
///
/// ```ignore
/// not run
/// ```
pub fn add(left: i32, right: i32) -> i32 {
    left + right
}

#[cfg(test)]
mod tests {
    #[test]
    fn adds() {
        assert_eq!(super::add(1, 1), 2);
    }

    #[test]
    fn prints_and_fails() {
        println!("about to fail");
        eprintln!("on standard error");
        assert_eq!(super::add(1, 1), 3, "one and one");
    }

    #[test]
    #[ignore = "slow"]
    fn ignored() {}

    #[test]
    #[should_panic(expected = "boom")]
    fn panics() {
        panic!("boom");
    }

    #[test]
    #[should_panic]
    fn does_not_panic() {}

    #[test]
    fn returns_an_error() -> Result<(), String> {
        Err("went wrong".into())
    }

    #[test]
    fn connects() {
        std::net::TcpStream::connect("127.0.0.1:9").unwrap();
    }

    #[test]
    fn a_child_writes() {
        std::process::Command::new("echo").arg("from a child").status().unwrap();
    }
}
