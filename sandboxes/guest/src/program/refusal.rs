//! From what the kernel said to what an agent is told.

use std::io;

use cofferdam_contract::{FileRefusal, RefusalKind, WorkspacePath};
use cofferdam_guest::wire::MAX_MESSAGE_BYTES;
use rustix::io::Errno;

/// Refuses with a sentence. It may quote what the agent wrote: control characters in it become U+FFFD, and it is cut at
/// [`MAX_MESSAGE_BYTES`].
pub(crate) fn refusal(kind: RefusalKind, message: impl Into<String>) -> FileRefusal {
    let mut message = shown(&message.into());
    message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
    FileRefusal { kind, message }
}

/// A text that can be shown as it is: what would break a line or move a cursor becomes U+FFFD.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// Turns the kernel's word about `path` into a refusal. `doing` fits "could not {doing}".
pub(crate) fn from_errno(error: Errno, doing: &str, path: &WorkspacePath) -> FileRefusal {
    match error {
        Errno::NOENT => refusal(RefusalKind::NotFound, format!("`{path}` does not exist")),
        Errno::EXIST | Errno::NOTEMPTY => refusal(RefusalKind::Exists, format!("`{path}` exists already")),
        Errno::ISDIR => refusal(RefusalKind::WrongKind, format!("`{path}` is a folder, not a file")),
        Errno::NOTDIR => refusal(RefusalKind::WrongKind, format!("a file stands where `{path}` needs a folder")),
        // What the resolving flags of openat2(2) answer for a link or `..` that climbs out.
        Errno::XDEV | Errno::LOOP => leads_out(path),
        Errno::ACCESS | Errno::PERM => {
            refusal(RefusalKind::Permission, format!("could not {doing} `{path}`: its permissions forbid it"))
        }
        // What is looked at is never larger than a number holds. The kernel says this of a file whose user or group has no
        // number here (`HAS_UNMAPPED_ID` in `may_delete` and `may_create` of `fs/namei.c`).
        Errno::OVERFLOW => other_owner(doing, path, "it, or something in it,"),
        Errno::ROFS => refusal(RefusalKind::Permission, format!("could not {doing} `{path}`: it is read-only here")),
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => {
            refusal(RefusalKind::NoSpace, format!("could not {doing} `{path}`: the disk limit was reached"))
        }
        // Said by the operations themselves at their greatest depth, and by the kernel where it allows less.
        Errno::MFILE => refusal(
            RefusalKind::TooLarge,
            format!("could not {doing} `{path}`: its folders lie too deep in each other"),
        ),
        Errno::NAMETOOLONG | Errno::INVAL => {
            refusal(RefusalKind::Invalid, format!("could not {doing} `{path}`: {}", in_words(error)))
        }
        // A foreign enumeration: whatever else the kernel says is passed on in its words.
        _ => refusal(RefusalKind::Failed, format!("could not {doing} `{path}`: {}", in_words(error))),
    }
}

/// What belongs to somebody else: a root server shows the workspace's owner to a sandbox, and nobody besides. `what`
/// begins "… belongs to another user".
pub(crate) fn other_owner(doing: &str, path: &WorkspacePath, what: &str) -> FileRefusal {
    let message =
        format!("could not {doing} `{path}`: {what} belongs to another user or group than the workspace folder");
    refusal(RefusalKind::OtherOwner, message)
}

/// A link that leads out of the workspace. One sentence for all, whether its target exists or not.
pub(crate) fn leads_out(path: &WorkspacePath) -> FileRefusal {
    refusal(RefusalKind::LeadsOut, format!("`{path}` leads out of the workspace through a link"))
}

/// The kernel's error in words, without Rust's "(os error 2)".
pub(crate) fn in_words(error: Errno) -> String {
    let text = io::Error::from(error).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_without_a_number_here_is_told_as_that() {
        let path = WorkspacePath::try_from("lib/a.txt".to_owned()).unwrap();
        let refused = from_errno(Errno::OVERFLOW, "delete", &path);
        assert_eq!(refused.kind, RefusalKind::OtherOwner);
        assert_eq!(
            refused.message,
            "could not delete `lib/a.txt`: it, or something in it, belongs to another user or group than the workspace \
             folder"
        );
    }
}
