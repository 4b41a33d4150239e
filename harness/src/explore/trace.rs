//! What happened in a schedule, step by step: what was asked, what was answered, who waited for whom.

use crate::digest::{Digest, Hasher};
use std::sync::Arc;

/// How a step ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The tags of what was done: `UPDATE 1`.
    pub(super) tags: Vec<String>,
    /// How many rows came, and a digest of them.
    pub(super) rows: u64,
    pub(super) rows_digest: Option<Digest>,
    /// The SQLSTATEs and messages of errors.
    pub(super) errors: Vec<(String, String)>,
    /// The session is over.
    pub(super) is_end: bool,
}

/// Something that happened to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The server was given these statements and answered.
    Answered(Vec<Arc<str>>, Answer),
    /// The server was given these statements, and the session waits for those clients; without any: for somebody who is
    /// no client.
    Waits(Vec<Arc<str>>, Vec<usize>),
    /// What it waited for came, and the answer with it.
    Resumed(Answer),
}

/// An event of the transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) client: usize,
    /// Which of the client's sessions, counted from 0.
    pub(super) session: usize,
    pub(super) what: What,
}

/// Everything that happened in one schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) events: Vec<Event>,
}

impl Trace {
    /// The digest of what a client can see: not of messages' texts, which may name processes and times.
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = Hasher::new("trace");
        for event in &self.events {
            hasher.add("who", format!("{} {}", event.client, event.session));
            let (kind, asked, answer) = match &event.what {
                What::Answered(sql, answer) => ("answered", Some(sql), Some(answer)),
                What::Waits(sql, _) => ("waits", Some(sql), None),
                What::Resumed(answer) => ("resumed", None, Some(answer)),
            };
            hasher.add("what", kind);
            for sql in asked.into_iter().flatten() {
                hasher.add("sql", sql.as_bytes());
            }
            if let What::Waits(_, whom) = &event.what {
                hasher.add("for", format!("{whom:?}"));
            }
            if let Some(answer) = answer {
                hasher.add("tags", answer.tags.join("\n"));
                hasher.add("rows", answer.rows.to_string());
                hasher.add("values", answer.rows_digest.map(|digest| digest.to_string()).unwrap_or_default());
                for (code, _) in &answer.errors {
                    hasher.add("error", code);
                }
                hasher.add("end", if answer.is_end { "end" } else { "" });
            }
        }
        hasher.finish()
    }

    /// The SQLSTATEs that the server sent to a client, in order.
    pub(super) fn sqlstates(&self, client: usize) -> Vec<String> {
        let of_client = self.events.iter().filter(|event| event.client == client);
        of_client
            .filter_map(|event| match &event.what {
                What::Answered(_, answer) | What::Resumed(answer) => Some(answer),
                What::Waits(..) => None,
            })
            .flat_map(|answer| answer.errors.iter().map(|(code, _)| code.clone()))
            .collect()
    }
}
