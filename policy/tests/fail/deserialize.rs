//! A permit read from a file or a message.

use cofferdam_policy::Permit;
use serde::Deserialize;

fn read(text: &str) -> Permit {
    Permit::deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap()
}

fn main() {}
