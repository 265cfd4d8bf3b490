#[cfg(test)]
mod tests {
    #[test]
    fn passes() {}

    #[test]
    fn fails() {
        println!("about to fail");
        assert_eq!(1 + 1, 3, "one and one");
    }

    #[test]
    #[ignore = "slow"]
    fn is_ignored() {}
}
