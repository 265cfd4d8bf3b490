//! What a text that was not found most likely meant: the lines of the file that are most like it.

use similar::TextDiff;

/// Lines of the file that are compared at most; a nearest place in a larger file is not worth the time.
const COMPARED_LINES: usize = 20_000;

/// Lines of the piece that are compared at most.
const COMPARED_PIECE: usize = 500;

/// Lines that are shown of the nearest place.
const SHOWN_LINES: usize = 12;

/// Why `piece` is not in `text`, as sentences for the agent.
pub(crate) fn explain(text: &str, piece: &str) -> String {
    if has_line_numbers(piece) {
        return "old_string seems to hold the line numbers of read_file; leave out the number and the tab of each line"
            .to_owned();
    }
    let lines: Vec<&str> = text.lines().take(COMPARED_LINES).collect();
    let wanted: Vec<&str> = piece.lines().collect();
    let Some(start) = nearest(&lines, &wanted) else {
        return "no line of the file is like it; read the file again".to_owned();
    };
    let end = (start + wanted.len()).min(lines.len());
    let mut told = format!("the nearest place is line {}", start + 1);
    if end > start + 1 {
        told.push_str(&format!(" to {end}"));
    }
    let different = lines[start..end].iter().zip(&wanted).position(|(file, piece)| file != piece);
    match different {
        Some(at) => told.push_str(&format!(
            "; the first difference is in line {}:\n  old_string: {}\n  file:       {}",
            start + at + 1,
            shown(wanted[at]),
            shown(lines[start + at])
        )),
        None => told.push_str("; the file ends there, and old_string goes on"),
    }
    told.push_str("\nThe file there:\n");
    for (number, line) in lines.iter().enumerate().take(end).skip(start).take(SHOWN_LINES) {
        told.push_str(&format!("{:>6}\t{}\n", number + 1, shown(line)));
    }
    if end - start > SHOWN_LINES {
        told.push_str(&format!("[... {} more lines]\n", end - start - SHOWN_LINES));
    }
    told.trim_end().to_owned()
}

/// Whether every line begins as `read_file` shows lines.
fn has_line_numbers(piece: &str) -> bool {
    let numbered =
        |line: &str| line.trim_start().split_once('\t').is_some_and(|(number, _)| number.parse::<u64>().is_ok());
    piece.lines().next().is_some() && piece.lines().all(|line| line.is_empty() || numbered(line))
}

/// The first line of the window that shares most lines with `wanted`; else the line most like the first one wanted.
fn nearest(lines: &[&str], wanted: &[&str]) -> Option<usize> {
    let shared = |start: usize| {
        let window = lines[start..].iter().zip(wanted).take(COMPARED_PIECE);
        window.filter(|(file, piece)| !piece.trim().is_empty() && file.trim() == piece.trim()).count()
    };
    let best =
        (0..lines.len()).map(|start| (shared(start), start)).max_by_key(|(score, start)| (*score, usize::MAX - start));
    if let Some((1.., start)) = best {
        return Some(start);
    }
    let (offset, first) = wanted.iter().enumerate().find(|(_, line)| !line.trim().is_empty())?;
    let alike = |line: &str| {
        let (left, right) = (line.trim(), first.trim());
        // Lengths bound the ratio; most lines need no comparison.
        if left.is_empty() || left.len() > 2 * right.len() + 8 || right.len() > 2 * left.len() + 8 || left.len() > 500 {
            return 0.0;
        }
        TextDiff::from_chars(left, right).ratio()
    };
    let scored = lines.iter().enumerate().map(|(at, line)| (alike(line), at));
    let best = scored.fold((0.6, None), |best, (score, at)| if score > best.0 { (score, Some(at)) } else { best });
    best.1.map(|at| at.saturating_sub(offset))
}

fn shown(line: &str) -> String {
    let (plain, _) = crate::plain_text::content(line);
    let visible = plain.replace('\t', "\\t");
    let end = visible.trim_end().len();
    let spaces = visible.len() - end;
    let short: String = visible[..end].chars().take(200).collect();
    if spaces > 0 { format!("{short}[{spaces} spaces]") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_lines_and_the_first_difference_are_told() {
        let file = "fn a() {\n    one();\n    two();\n}\n\nfn b() {\n    three();\n}\n";
        assert_eq!(
            explain(file, "fn a() {\n    one();\n    tow();\n}"),
            "the nearest place is line 1 to 4; the first difference is in line 3:\n  old_string:     tow();\n  file:           \
             two();\nThe file there:\n     1\tfn a() {\n     2\t    one();\n     3\t    two();\n     4\t}"
        );
        assert!(explain(file, "    thre();").starts_with("the nearest place is line 7;"));
    }

    #[test]
    fn copied_line_numbers_are_recognised() {
        assert!(explain("a\n", "     1\ta\n     2\tb").starts_with("old_string seems to hold the line numbers"));
    }

    #[test]
    fn nothing_alike_is_said() {
        assert_eq!(explain("a\n", "zzzzzzzz"), "no line of the file is like it; read the file again");
        assert_eq!(explain("", "x"), "no line of the file is like it; read the file again");
    }
}
