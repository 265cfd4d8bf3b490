//! The conformance table: what no sandbox may allow, and what every sandbox must, tried from inside by the probe.
//!
//! Rows are those of `security.md` that are about the sandbox itself, and ordinary things that must work (`W`). They are
//! played as root and as an ordinary user, each by a copy of this program, one after the other. The printed table is
//! compared with `expected.txt`; a row that fails says what it saw. After each row the host's canaries must be as they
//! were, and after all rows nothing may be left.
//!
//! `COFFERDAM_CONFORMANCE_ROWS=P46,W01` plays only those rows; `COFFERDAM_RACE_SECONDS=60` makes the races longer.

mod canaries;
mod leftovers;
mod players;
mod report;
mod rows;
mod stage;
mod table;

use std::io::Write as _;

use players::{Account, Ground, ONLY, Player};
use rows::Row;
use stage::User;
use table::{Cell, Column};

#[test]
fn the_committed_table_holds() {
    let rows = chosen();
    if let Some((user, base)) = players::order() {
        return players::play(user, &base, &rows);
    }
    let _turn = players::turn();
    let ground = Ground::prepare();
    let mut users = vec![(User::Ordinary, Account::own())];
    if rustix::process::geteuid().is_root() {
        users = vec![(User::Root, Account::own()), (User::Ordinary, Account::make())];
    }
    let mut servers = Vec::new();
    let (mut root, mut ordinary) = (Column::new(), Column::new());
    for (user, account) in &users {
        let ids: Vec<&str> = rows.iter().map(|row| row.id).collect();
        let mut play = |ids: &[&str]| {
            let player = Player::start(*user, &ground, account, ids);
            servers.push(player.server());
            player.finish()
        };
        let (mut column, mut times) = play(&ids);
        // A machine that stood still for seconds fails a row that is about seconds: each gets one more try by itself,
        // and what failed at first is told. What touched the host gets none.
        let again: Vec<String> =
            column.iter().filter(|(_, cell)| matches!(cell, Cell::Fails(_))).map(|(id, _)| id.clone()).collect();
        for id in &again {
            say(&format!("{id} as {user:?} is played again: {:?}\n", column.get(id)));
            column.extend(play(&[id]).0);
        }
        times.sort_by(|one, other| other.1.total_cmp(&one.1));
        let slowest: Vec<String> = times.iter().take(6).map(|(id, took)| format!("{id} {took:.1} s")).collect();
        say(&format!("slowest as {user:?}: {}\n", slowest.join(", ")));
        match user {
            User::Root => root = column,
            User::Ordinary => ordinary = column,
        }
    }
    let base = ground.base.clone();
    let made = users.iter().find_map(|(_, account)| account.name()).unwrap_or("nobody's name").to_owned();
    drop((ground, users));

    let table = table::print(&rows, &root, &ordinary);
    say(&table);
    let mut problems = table::differences(&rows, &root, &ordinary);
    for row in &rows {
        for (user, column) in [("root", &root), ("ordinary", &ordinary)] {
            if !column.is_empty() && !column.contains_key(row.id) {
                problems.push(format!("{} was not played as {user}", row.id));
            }
        }
    }
    problems.extend(leftovers::of_run(&base, &servers, &made).into_iter().map(|left| format!("left behind: {left}")));
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_committed_row_exists_and_every_row_has_its_own_name() {
    let rows = rows::all();
    assert_eq!(table::forgotten(&rows), Vec::<&str>::new());
    for (number, row) in rows.iter().enumerate() {
        assert!(rows.iter().skip(number + 1).all(|other| other.id != row.id), "{} is there twice", row.id);
    }
}

/// All rows, or those that the environment names.
fn chosen() -> Vec<Row> {
    let rows = rows::all();
    match std::env::var(ONLY) {
        Ok(only) => rows.into_iter().filter(|row| only.split(',').any(|id| id == row.id)).collect(),
        Err(_) => rows,
    }
}

/// Prints past the test harness, which shows captured output of failed tests only.
fn say(text: &str) {
    // Nobody listens any more if this fails.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
