//! Where a cut landed: about which step, and when about it.

use std::fmt;

/// When, about a step, its session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The server has run nothing of it; what was only parsed or bound for it may have reached the server.
    Before,
    /// The server has done it, and the client has heard nothing of that.
    Unheard,
    /// The client has heard all of the answer.
    After,
}

impl Moment {
    /// All of them, in the order of time.
    pub const ALL: [Moment; 3] = [Moment::Before, Moment::Unheard, Moment::After];
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Moment::Before => "before",
            Moment::Unheard => "done but unheard",
            Moment::After => "after",
        })
    }
}

/// Where a cut landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// The session, counted from 0 in the order in which they came to the proxy.
    pub session: u64,
    /// The step, counted from 0 over all sessions of the proxy.
    pub step: u64,
    /// The statement within that step, counted from 0; nothing if the cut is about all of the step.
    pub statement: Option<u64>,
    /// When, about that step or that statement.
    pub moment: Moment,
    /// What the step runs, without its values; empty if the client prepared it before the proxy could see it.
    pub sql: String,
    /// The server's process.
    pub pid: Option<i32>,
}

impl fmt::Display for Landing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}, {} ", self.session, self.moment)?;
        if let Some(statement) = self.statement {
            write!(f, "statement {statement} of ")?;
        }
        write!(f, "step {}: {}", self.step, self.sql)
    }
}
