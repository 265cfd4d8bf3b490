//! A project whose dependency is not there.
