//! Who a sandbox believes to be. The same in every sandbox, whoever runs the server.

/// The user's name inside.
pub const USER: &str = "agent";

/// The user's id inside: the first ordinary user's on most distributions, so that tools which treat lower ids as
/// system accounts behave.
pub const USER_ID: u32 = 1000;

/// The group's id inside.
pub const GROUP_ID: u32 = 1000;

/// The home folder inside: empty, private, gone after the call.
pub const HOME: &str = "/home/agent";

/// The host name inside.
pub const HOST_NAME: &str = "cofferdam";
