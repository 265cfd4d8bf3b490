//! Names of versions: what a version file may say, and which installed version it means.
//!
//! A [`VersionName`] is one plain folder name by construction, so no text from a workspace can climb out of the folder
//! that the versions lie in. And a wish is only ever answered with a name that was *listed* there.

/// The name of a version, fit to be one folder name: letters, digits and `. _ - + @`, first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct VersionName(String);

impl VersionName {
    /// Longest name, in bytes: twice the longest known (a date-stamped toolchain with its platform).
    const MAX_BYTES: usize = 128;

    pub(super) fn parse(text: &str) -> Option<Self> {
        let starts_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-' | '+' | '@');
        (starts_well && text.len() <= Self::MAX_BYTES && text.chars().all(plain)).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The numbers of `3`, `v18.20` or `3.11.7`; `None` for names with anything else.
    fn numbers(&self) -> Option<Vec<u32>> {
        let digits = self.0.strip_prefix('v').unwrap_or(&self.0);
        digits.split('.').map(|number| number.parse().ok()).collect()
    }
}

/// Which of the installed versions a wish means: the one of that name, with or without a `v`; else the newest whose
/// numbers begin with the wished ones (`3.11` means `3.11.7`).
pub(super) fn installed(wish: &VersionName, names: &[String]) -> Option<String> {
    let bare = |name: &str| name.strip_prefix('v').unwrap_or(name).to_owned();
    let same = |name: &&String| name.as_str() == wish.as_str() || bare(name) == bare(wish.as_str());
    if let Some(name) = names.iter().find(same) {
        return VersionName::parse(name).map(|name| name.0);
    }
    let wished = wish.numbers()?;
    newest_of(names, |numbers| numbers.starts_with(&wished))
}

/// Whether two versions are the same as far as both say it: `3.12` agrees with `3.12.4`.
pub(super) fn agree(one: &VersionName, other: &VersionName) -> bool {
    match (one.numbers(), other.numbers()) {
        (Some(one), Some(other)) => one.iter().zip(&other).all(|(one, other)| one == other),
        (None, _) | (_, None) => one == other,
    }
}

/// The newest of the installed versions that have plain numbers for a name.
pub(super) fn newest(names: &[String]) -> Option<String> {
    newest_of(names, |_| true)
}

fn newest_of(names: &[String], fits: impl Fn(&[u32]) -> bool) -> Option<String> {
    let versions = names.iter().filter_map(|name| VersionName::parse(name));
    let numbered = versions.filter_map(|version| Some((version.numbers()?, version.0)));
    numbered.filter(|(numbers, _)| fits(numbers)).max().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn wish(text: &str) -> VersionName {
        VersionName::parse(text).unwrap()
    }

    #[test]
    fn names_that_are_not_one_plain_folder_name_are_refused() {
        for text in ["", ".", "..", "../3.11", "/etc", "a/b", "-x", "~", "3\n", "3 11", "\u{661}", &"1".repeat(129)] {
            assert_eq!(VersionName::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_short_wish_means_the_newest_that_begins_so() {
        let names = names(&["3.1.9", "3.11.7", "3.11.10", "3.11.9-dev", "3.12.1"]);
        assert_eq!(installed(&wish("3.11"), &names).as_deref(), Some("3.11.10"));
        assert_eq!(installed(&wish("3.11.7"), &names).as_deref(), Some("3.11.7"));
        assert_eq!(installed(&wish("3.11.9-dev"), &names).as_deref(), Some("3.11.9-dev"));
        assert_eq!(installed(&wish("3.9"), &names), None);
        assert_eq!(newest(&names).as_deref(), Some("3.12.1"));
    }

    #[test]
    fn versions_agree_as_far_as_both_say() {
        assert!(agree(&wish("3.12"), &wish("3.12.4")) && agree(&wish("v20.1.0"), &wish("20")));
        assert!(!agree(&wish("3.12"), &wish("3.11")) && !agree(&wish("pypy3"), &wish("3")));
    }

    #[test]
    fn a_leading_v_makes_no_difference() {
        let names = names(&["v18.20.0", "v20.1.0"]);
        assert_eq!(installed(&wish("18"), &names).as_deref(), Some("v18.20.0"));
        assert_eq!(installed(&wish("20.1.0"), &names).as_deref(), Some("v20.1.0"));
    }
}
