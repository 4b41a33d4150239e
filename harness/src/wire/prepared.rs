//! Which SQL an `Execute` runs: the names of prepared statements and portals, followed.

use super::message::{Head, Kind};
use std::collections::HashMap;
use std::sync::Arc;

/// So much of a statement is remembered, in characters.
const SQL_MAX: usize = 2_000;
/// So many names are remembered, of each kind; of a client that prepares more, the rest has no text.
const NAMES_MAX: usize = 4_000;

/// A longer name is not remembered, in bytes: the server itself tells names apart by their first 63.
const NAME_MAX: usize = 256;

/// The statements and portals of one session.
#[derive(Debug, Default)]
pub struct Prepared {
    statements: HashMap<String, Arc<str>>,
    portals: HashMap<String, Arc<str>>,
}

impl Prepared {
    /// Takes a client's message; gives the SQL that it makes the server run, if it does.
    pub fn frontend(&mut self, head: &Head) -> Option<Arc<str>> {
        match head.kind() {
            Kind::Query => return Some(shorten(&head.sql()?)),
            Kind::Parse => remember(&mut self.statements, head.statement()?, shorten(&head.sql()?)),
            Kind::Bind => {
                let sql = self.statements.get(&head.statement()?)?.clone();
                remember(&mut self.portals, head.portal()?, sql);
            }
            Kind::Execute => return self.portals.get(&head.portal()?).cloned(),
            Kind::Close => {
                let (what, name) = head.target()?;
                let names = if what == b'S' { &mut self.statements } else { &mut self.portals };
                names.remove(&name);
            }
            _ => {}
        }
        None
    }
}

fn remember(names: &mut HashMap<String, Arc<str>>, name: String, sql: Arc<str>) {
    let is_known = names.contains_key(&name);
    if is_known || (names.len() < NAMES_MAX && name.len() <= NAME_MAX) {
        names.insert(name, sql);
    }
}

fn shorten(sql: &str) -> Arc<str> {
    match sql.char_indices().nth(SQL_MAX) {
        Some((end, _)) => format!("{}…", &sql[..end]).into(),
        None => sql.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Side;

    #[test]
    fn the_text_of_an_execute_is_that_of_its_statement() {
        let mut prepared = Prepared::default();
        let mut say = |byte, body: &[u8]| prepared.frontend(&Head::new(Side::Frontend, byte, body));
        assert_eq!(say(b'P', b"s\0select 1\0\0\0"), None);
        assert_eq!(say(b'B', b"p\0s\0\0\0\0\0\0\0"), None);
        assert_eq!(say(b'E', b"p\0\0\0\0\0").as_deref(), Some("select 1"));
        assert_eq!(say(b'C', b"Pp\0"), None);
        assert_eq!(say(b'E', b"p\0\0\0\0\0"), None);
        assert_eq!(say(b'Q', b"begin\0").as_deref(), Some("begin"));
    }
}
