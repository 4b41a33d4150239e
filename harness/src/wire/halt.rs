//! A halt within a simple query of several statements: the query, changed so that the server stops between two of them.

use super::landing::Moment;
use super::message::{Head, Kind, Side};
use crate::script::split;

/// As much of a query is kept where its statements are told apart, in bytes.
pub(super) const SCRIPT_MAX: usize = 4 << 20;

/// What the server says when it stands there.
const MARK: &str = "pgharness wire: between two statements";

/// What the server is made to run there. Of all it might say, only this reaches the client at once, whatever a script
/// has set: the server collects other answers until a query ends. Then it waits for its end, and commits nothing if
/// that does not come.
const STOP: &str = "do $pgharness$ begin
    raise info 'pgharness wire: between two statements';
    perform pg_catalog.pg_sleep(300);
    raise exception 'pgharness wire: nobody ended this session';
end $pgharness$ language plpgsql";

/// A simple query on its way to a halt.
#[derive(Debug)]
pub(super) struct Halt {
    /// So many statements are to be done.
    wanted: u64,
    /// So many were answered.
    done: u64,
    /// The client does not hear the last one's answer.
    hides_last: bool,
}

/// What the server says on the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// What the client is to hear.
    Open,
    /// What the client is not to hear.
    Hidden,
    /// It stands there.
    Arrived,
}

impl Halt {
    /// What goes to the server in place of `query`, if that has several statements and one with this number. An error
    /// tells why that cannot be known.
    pub(super) fn about(
        query: &Head,
        statement: u64,
        moment: Moment,
    ) -> Result<Option<(Halt, Head)>, String> {
        if !query.is_whole() {
            return Err(format!(
                "the query is longer than {SCRIPT_MAX} bytes: its statements are not told apart"
            ));
        }
        let text = query.body().strip_suffix(b"\0").unwrap_or(query.body());
        let text = std::str::from_utf8(text).map_err(|_| "the query is no UTF-8".to_owned())?;
        let statements = split(text);
        if statements.len() < 2 || statement >= statements.len() as u64 {
            return Ok(None);
        }
        let wanted = statement + u64::from(moment != Moment::Before);
        let last = usize::try_from(wanted).ok().and_then(|wanted| statements.get(wanted.checked_sub(1)?));
        let sql = match last {
            None => format!("{STOP}\0"),
            // On a line of its own, behind a comment that may stand there.
            Some(last) => format!("{}\n;{STOP}\0", &text[..last.offset + last.text.len()]),
        };
        let halt = Halt { wanted, done: 0, hides_last: moment == Moment::Unheard };
        Ok(Some((halt, Head::new(Side::Frontend, b'Q', sql.as_bytes()))))
    }

    /// Takes what the server says of the query.
    pub(super) fn hear(&mut self, head: &Head) -> Heard {
        if head.kind() == Kind::Notice && head.field(b'M').as_deref() == Some(MARK) {
            return Heard::Arrived;
        }
        let is_last = self.done + 1 == self.wanted;
        self.done += u64::from(head.kind() == Kind::CommandComplete);
        // The client answers the first two. After an error the server does not get there, and the client hears why.
        let is_due = matches!(head.kind(), Kind::CopyIn | Kind::CopyBoth | Kind::Error);
        if is_last && self.hides_last && !is_due { Heard::Hidden } else { Heard::Open }
    }

    /// What is wrong if the server stands elsewhere than it was to: its own answers say so.
    pub(super) fn strayed(&self) -> Option<String> {
        let (done, wanted) = (self.done, self.wanted);
        (done != wanted).then(|| format!("the server had done {done} statements of what were to be {wanted}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::first("a; b; c", 0, Moment::Before, Some(""))]
    #[case::between("a; b ;c", 1, Moment::After, Some("a; b"))]
    #[case::before_the_end("a; b", 1, Moment::Unheard, Some("a; b"))]
    #[case::quoted("select ';' ; do $$ x; $$; c", 2, Moment::Before, Some("select ';' ; do $$ x; $$"))]
    #[case::commented("a -- ;\n; b", 1, Moment::Before, Some("a"))]
    #[case::beyond("a; b;", 2, Moment::Before, None)]
    #[case::single("vacuum;", 0, Moment::After, None)]
    fn halts(
        #[case] sql: &str,
        #[case] statement: u64,
        #[case] moment: Moment,
        #[case] expected: Option<&str>,
    ) {
        let query = Head::new(Side::Frontend, b'Q', format!("{sql}\0").as_bytes());
        let kept = Halt::about(&query, statement, moment).unwrap().map(|(_, head)| {
            let sql = head.sql().unwrap();
            sql.strip_suffix(STOP).unwrap().trim_end_matches(['\n', ';']).to_owned()
        });
        assert_eq!(kept.as_deref(), expected);
    }

    #[test]
    fn what_the_server_did_is_held_against_its_answers() {
        let query = Head::new(Side::Frontend, b'Q', b"a; b; c\0");
        let (mut halt, _) = Halt::about(&query, 1, Moment::Unheard).unwrap().unwrap();
        let answer = |byte, body: &[u8]| Head::new(Side::Backend, byte, body);
        assert_eq!(halt.hear(&answer(b'C', b"A\0")), Heard::Open);
        assert_eq!(halt.hear(&answer(b'D', b"")), Heard::Hidden);
        assert_eq!(halt.strayed().unwrap(), "the server had done 1 statements of what were to be 2");
        assert_eq!(halt.hear(&answer(b'C', b"B\0")), Heard::Hidden);
        assert_eq!(halt.hear(&answer(b'N', b"SINFO\0Mother\0\0")), Heard::Open);
        assert_eq!(halt.hear(&answer(b'N', format!("SINFO\0M{MARK}\0\0").as_bytes())), Heard::Arrived);
        assert_eq!(halt.strayed(), None);
        assert!(STOP.contains(MARK));
    }

    #[test]
    fn what_cannot_be_told_apart_is_told() {
        let about = |query: &Head| Halt::about(query, 0, Moment::Before).map(drop).unwrap_err();
        assert_eq!(about(&Head::new(Side::Frontend, b'Q', b"select '\xe4'; b\0")), "the query is no UTF-8");
        let mut long = Head::new(Side::Frontend, b'Q', b"a; b\0");
        long.length += 1;
        assert!(about(&long).starts_with("the query is longer than"));
    }
}
