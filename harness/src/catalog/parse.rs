//! Reading a snapshot file back.

use super::kind::Kind;
use super::object::{Catalog, Facts, Object, Unmodelled};
use super::render::HEADER;
use crate::error::{Error, Result};

/// What stands wrong on a line: a lower-case fragment.
type Complaint = &'static str;

pub(super) fn parse(text: &str) -> Result<Catalog> {
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).zip(1..).peekable();
    match lines.next() {
        Some((HEADER, _)) => {}
        Some((other, _)) if other.starts_with("# pgharness schema snapshot") => {
            return Err(Error::usage(format!("the snapshot's format is not known: `{other}`"))
                .with_help("it was written by another version of pgharness; write it again"));
        }
        _ => {
            return Err(Error::usage("the file is no schema snapshot")
                .with_help(format!("its first line should be `{HEADER}`")));
        }
    }
    let (mut catalog, mut unmodelled) = (Catalog::default(), Vec::new());
    while let Some((line, number)) = lines.next() {
        let wrong = |what: Complaint| Error::usage(format!("line {number} of the snapshot {what}: `{line}`"));
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            return Err(wrong("is a fact of no object"));
        }
        if let Some(rest) = line.strip_prefix("unmodelled ") {
            unmodelled.push(unmodelled_object(rest).map_err(wrong)?);
            continue;
        }
        let (kind, name) = header(line).map_err(wrong)?;
        let mut facts = Facts::new();
        while let Some((line, number)) = lines.next_if(|(line, _)| line.starts_with("  ")) {
            let wrong =
                |what: Complaint| Error::usage(format!("line {number} of the snapshot {what}: `{line}`"));
            let (fact, value) = fact(&line[2..]).map_err(wrong)?;
            let value = value.unwrap_or_else(|| {
                let mut value: Vec<&str> = Vec::new();
                while let Some((line, _)) = lines.next_if(|(line, _)| line.starts_with("    |")) {
                    let line = &line["    |".len()..];
                    value.push(line.strip_prefix(' ').unwrap_or(line));
                }
                value.join("\n")
            });
            if facts.insert(fact, value).is_some() {
                return Err(wrong("repeats a fact"));
            }
        }
        catalog.insert(Object { kind, name, facts }).map_err(|_| wrong("repeats an object"))?;
    }
    Ok(catalog.with_unmodelled(unmodelled))
}

/// The kind and the name on the first line of a block.
pub(super) fn header(line: &str) -> Result<(Kind, String), Complaint> {
    let (kind, name) = Kind::split(line).ok_or("names no known kind of object")?;
    match name.strip_prefix("= ") {
        Some(escaped) => unescaped(escaped).map(|name| (kind, name)),
        None => Ok((kind, name.to_owned())),
    }
}

/// A fact and its value; `None` where the value stands on the lines below.
fn fact(line: &str) -> Result<(String, Option<String>), Complaint> {
    let (fact, rest) = if line.starts_with('"') {
        let mut names = serde_json::Deserializer::from_str(line).into_iter::<String>();
        let fact = names.next().and_then(Result::ok).ok_or("has a broken escape")?;
        (fact, &line[names.byte_offset()..])
    } else {
        let end = line.find([':', '=']).ok_or("is no fact")?;
        let fact = line[..end].trim_end();
        (fact.to_owned(), &line[fact.len()..])
    };
    if let Some(escaped) = rest.strip_prefix(" = ") {
        return Ok((fact, Some(unescaped(escaped)?)));
    }
    match rest.strip_prefix(':').ok_or("is no fact")? {
        "" => Ok((fact, None)),
        value => Ok((fact, Some(value.strip_prefix(' ').ok_or("is no fact")?.to_owned()))),
    }
}

fn unmodelled_object(rest: &str) -> Result<Unmodelled, Complaint> {
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    let kind = values.next().and_then(Result::ok).ok_or("has a broken escape")?;
    let name = rest[values.byte_offset()..].strip_prefix(" = ").ok_or("names no object")?;
    Ok(Unmodelled { kind, name: unescaped(name)? })
}

fn unescaped(text: &str) -> Result<String, Complaint> {
    serde_json::from_str(text).map_err(|_| "has a broken escape")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", "the file is no schema snapshot")]
    #[case("create table t();", "the file is no schema snapshot")]
    #[case(
        "# pgharness schema snapshot, format 9\n",
        "the snapshot's format is not known: `# pgharness schema snapshot, format 9`"
    )]
    #[case("\n  type: text\n", "line 3 of the snapshot is a fact of no object: `  type: text`")]
    #[case("\ntabel a.b\n", "line 3 of the snapshot names no known kind of object: `tabel a.b`")]
    #[case("\ntable a.b\n  owner\n", "line 4 of the snapshot is no fact: `  owner`")]
    #[case("\ntable a.b\n  x: 1\n  x: 2\n", "line 5 of the snapshot repeats a fact: `  x: 2`")]
    #[case("\ntable a.b\n\ntable a.b\n", "line 5 of the snapshot repeats an object: `table a.b`")]
    #[case("\ntable = \"a\n", "line 3 of the snapshot has a broken escape: `table = \"a`")]
    fn what_is_wrong_is_named_with_its_line(#[case] text: &str, #[case] expect: &str) {
        let is_body = text.starts_with('\n');
        let whole = if is_body { format!("{HEADER}\n{text}") } else { text.to_owned() };
        assert_eq!(parse(&whole).unwrap_err().to_string(), expect);
    }

    #[test]
    fn windows_line_ends_are_read_as_others() {
        let text = format!("{HEADER}\r\n\r\ntable a.b\r\n  owner: app\r\n");
        assert_eq!(parse(&text).unwrap(), parse(&text.replace('\r', "")).unwrap());
    }
}
