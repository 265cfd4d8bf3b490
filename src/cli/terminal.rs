//! What a person sees.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use crate::config::Environment;

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// The stream is a terminal that shows colours.
    On,
    /// It is a file, a pipe, or the person does not want colours.
    Off,
}

/// How a text is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Beside the point.
    Dim,
    /// A heading.
    Bold,
    /// Good.
    Good,
    /// Worth a look.
    Warn,
    /// Bad.
    Bad,
}

impl Colour {
    /// For `stream`, as NO_COLOR (no-color.org) and TERM say.
    #[must_use]
    pub fn of(stream: &impl IsTerminal, environment: &Environment) -> Self {
        let wanted = environment.variable("NO_COLOR").is_none()
            && environment.variable("TERM").is_none_or(|terminal| terminal != "dumb");
        if wanted && stream.is_terminal() { Self::On } else { Self::Off }
    }

    /// `text`, marked.
    #[must_use]
    pub fn paint(self, mark: Mark, text: impl Display) -> String {
        let code = match mark {
            Mark::Dim => 2,
            Mark::Bold => 1,
            Mark::Good => 32,
            Mark::Warn => 33,
            Mark::Bad => 31,
        };
        match self {
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Off => text.to_string(),
        }
    }
}

/// Prints `text` and a line end to standard output.
///
/// A reader that went away (`| head`) is no error: there is nobody left to tell.
pub fn print(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Prints `text` and a line end to standard error.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// An error and its causes on one line.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_only_for_terminals() {
        let (reader, _writer) = io::pipe().unwrap();
        let file = std::fs::File::from(std::os::fd::OwnedFd::from(reader));
        let environment =
            Environment { variables: Vec::new(), current_folder: "/".into(), program: "/bin/cofferdam".into() };
        assert_eq!(Colour::of(&file, &environment), Colour::Off);
        assert_eq!(Colour::Off.paint(Mark::Bad, "x"), "x");
        assert_eq!(Colour::On.paint(Mark::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
