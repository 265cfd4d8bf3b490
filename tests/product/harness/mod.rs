//! What the tests stand on: a place to work in, a running server, processes, a cache for other people's clients.

pub(crate) mod clients;
pub(crate) mod dice;
pub(crate) mod person;
pub(crate) mod place;
pub(crate) mod processes;
pub(crate) mod repository;
pub(crate) mod server;
pub(crate) mod tree;

pub(crate) use dice::Dice;
pub(crate) use person::Person;
pub(crate) use place::Place;
pub(crate) use processes::Process;
pub(crate) use server::{Called, Era, Server};
pub(crate) use tree::Tree;
