//! Times as a table: percentiles, ratios, shares.

use std::{collections::BTreeMap, time::Duration};

/// One line of the table.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) times: Vec<Duration>,
}

impl Row {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), times: Vec::new() }
    }

    /// The time that `share` of the calls stay below, by the nearest rank.
    fn percentile(&self, share: f64) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        let rank = (share * times.len() as f64).ceil() as usize;
        times.get(rank.clamp(1, times.len().max(1)) - 1).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }
}

/// Prints everything, in milliseconds. Each table has the row that its ratios are to.
#[expect(clippy::print_stdout, reason = "the table is this chore's result")]
pub(super) fn print(tables: &[(&str, &[Row], usize)], steps: &[(String, Vec<Row>)]) {
    for (title, of, base) in tables {
        println!("{}", rows(title, of, *base));
    }
    for (title, rows) in steps {
        println!("{}", shares(title, rows));
    }
}

/// Prints tables whose second row is to be compared with the first: by how much it is longer.
#[expect(clippy::print_stdout, reason = "the table is this chore's result")]
pub(super) fn print_differences(tables: &[(String, Vec<Row>)]) {
    for (title, table) in tables {
        print!("{}", rows(title, table, 0));
        if let [base, compared, ..] = table.as_slice() {
            let beyond = compared.percentile(0.5) - base.percentile(0.5);
            println!("beyond {}: {beyond:.0} ms (p50)\n", base.name);
        }
    }
}

/// A table whose ratios are to the row at `base`.
fn rows(title: &str, rows: &[Row], base: usize) -> String {
    let mut text = format!(
        "{title}, ms\n{:<28} {:>6} {:>8} {:>8} {:>8} {:>10} {:>10}\n",
        "", "calls", "p50", "p95", "p99", "p50 ratio", "p99 ratio"
    );
    for row in rows {
        let ratio = |share| row.percentile(share) / rows[base].percentile(share);
        text += &format!(
            "{:<28} {:>6} {:>8.2} {:>8.2} {:>8.2} {:>10.2} {:>10.2}\n",
            row.name,
            row.times.len(),
            row.percentile(0.5),
            row.percentile(0.95),
            row.percentile(0.99),
            ratio(0.5),
            ratio(0.99),
        );
    }
    text + &format!("ratios are to: {}\n", rows[base].name)
}

fn shares(title: &str, rows: &[Row]) -> String {
    let sum: f64 = rows.iter().map(|row| row.percentile(0.5)).sum();
    let mut text = format!("Steps of {title} (p50, ms; while the server logs them)\n");
    for row in rows {
        let time = row.percentile(0.5);
        text += &format!("{:<28} {time:>8.2} {:>6.1} %\n", row.name, 100.0 * time / sum);
    }
    text
}

/// The steps of the calls in a server's log: from each step's line to the next of the same call.
pub(super) fn steps(log: &str) -> Vec<Row> {
    const ORDER: [&str; 7] = ["plan", "announce", "open", "run", "close", "hand back", "record"];
    let mut found: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut last: Option<(&str, f64)> = None;
    for line in log.lines() {
        let Some((head, step)) = line.split_once("cofferdam::step: ") else { continue };
        if step.starts_with("prepare") {
            continue;
        }
        let Some(now) = head.split_whitespace().next().and_then(seconds_of_day) else { continue };
        if let Some((name, then)) = last {
            // Midnight makes one call worthless.
            if name != "reply" && now >= then {
                found.entry(name).or_default().push(Duration::from_secs_f64(now - then));
            }
        }
        last = Some((step, now));
    }
    let named = |step: &str| match step {
        "announce" => "announce (audit)".to_owned(),
        "record" => "record (audit)".to_owned(),
        other => other.to_owned(),
    };
    ORDER.into_iter().filter_map(|step| found.remove(step).map(|times| Row { name: named(step), times })).collect()
}

/// `2026-11-23T20:53:41.747723Z` as seconds since midnight.
fn seconds_of_day(stamp: &str) -> Option<f64> {
    let clock = stamp.split_once('T')?.1.strip_suffix('Z')?;
    let mut parts = clock.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(hours * 3600.0 + minutes * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let row = Row { name: String::new(), times: (1..=100).map(Duration::from_millis).collect() };
        assert_eq!((row.percentile(0.5), row.percentile(0.99), row.percentile(1.0)), (50.0, 99.0, 100.0));
    }

    #[test]
    fn steps_are_read_from_the_log_and_preparing_is_none_of_them() {
        let log = "2026-11-23T20:53:41.000000Z DEBUG cofferdam::step: open\n\
                   2026-11-23T20:53:41.010000Z DEBUG cofferdam::step: prepare\n\
                   2026-11-23T20:53:41.020000Z DEBUG cofferdam::step: run\n\
                   2026-11-23T20:53:41.025000Z DEBUG cofferdam::step: record\n\
                   2026-11-23T20:53:41.030000Z DEBUG cofferdam::step: reply\n\
                   2026-11-23T20:53:42.000000Z DEBUG cofferdam::step: open\n";
        let found: Vec<(String, usize)> = steps(log).iter().map(|row| (row.name.clone(), row.times.len())).collect();
        assert_eq!(found, [("open".to_owned(), 1), ("run".to_owned(), 1), ("record (audit)".to_owned(), 1)]);
    }
}
