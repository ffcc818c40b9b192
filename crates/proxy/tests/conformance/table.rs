//! The form of the tables.
//!
//! ```text
//! == what it is about · where it is ruled
//! POST / HTTP/1.1
//! Content-Length: 5
//!
//! hello\
//! -- what is to happen
//! ```
//!
//! An empty line goes before each row. Of what is sent, a line ends in CRLF; one that ends in a backslash does not. `\r \n \t \0 \xff \\` are the bytes
//! they usually are, and `\(3*ab)` is `ababab`. Lines that begin with `#` are comments.

/// What is written under one heading: `== name` or `-- step`.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) heading: String,
    pub(crate) bytes: Vec<u8>,
}

/// One row: its name, what is sent, and the steps that follow.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) steps: Vec<Block>,
}

/// The rows of the file at this path beside this one.
pub(crate) fn file(path: &str) -> Vec<Row> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");
    rows(&std::fs::read_to_string(format!("{folder}/{path}")).unwrap())
}

/// The rows of a table.
pub(crate) fn rows(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut lines = text.lines().filter(|line| !line.starts_with('#')).peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() && lines.peek().is_some_and(|next| next.starts_with("== ")) {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            assert!(name.contains(" · "), "it is not said where this is ruled: {name}");
            assert!(rows.iter().all(|row| row.name != name), "twice: {name}");
            rows.push(Row { name: name.to_owned(), bytes: Vec::new(), steps: Vec::new() });
            continue;
        }
        let Some(row) = rows.last_mut() else {
            assert_eq!(line, "", "before the first row");
            continue;
        };
        if let Some(heading) = line.strip_prefix("-- ") {
            row.steps.push(Block { heading: heading.to_owned(), bytes: Vec::new() });
            continue;
        }
        let bytes = row.steps.last_mut().map_or(&mut row.bytes, |step| &mut step.bytes);
        unescape(line, bytes);
    }
    for row in &rows {
        assert!(!row.steps.is_empty(), "nothing is expected of {}", row.name);
    }
    assert!(!rows.is_empty());
    rows
}

fn unescape(line: &str, out: &mut Vec<u8>) {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend(before.bytes());
        rest = match after.chars().next() {
            None => return,
            Some('(') => {
                let (count, text) = after[1..].split_once('*').unwrap();
                let (text, rest) = text.split_once(')').unwrap();
                let mut once = Vec::new();
                unescape(&format!("{text}\\"), &mut once);
                out.extend(once.repeat(count.parse().unwrap()));
                rest
            }
            Some('x') => {
                out.push(u8::from_str_radix(&after[1..3], 16).unwrap());
                &after[3..]
            }
            Some(letter) => {
                let known = [('r', b'\r'), ('n', b'\n'), ('t', b'\t'), ('0', 0), ('\\', b'\\')];
                let byte = known.iter().find(|(name, _)| *name == letter);
                out.push(byte.unwrap_or_else(|| panic!("an unknown escape in {line}")).1);
                &after[1..]
            }
        };
    }
    out.extend(rest.bytes());
    out.extend(b"\r\n");
}

/// No file of a folder is left out.
pub(crate) fn every_file_is_named(folder: &str, themes: &[&str]) {
    let path = format!("{}/tests/conformance/{folder}", env!("CARGO_MANIFEST_DIR"));
    for file in std::fs::read_dir(path).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let theme = name.strip_suffix(".txt").unwrap_or(&name);
        assert!(themes.contains(&theme), "{folder}/{name} is not run");
    }
}
