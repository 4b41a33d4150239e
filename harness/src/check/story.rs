//! What can happen where a check finds fault, in five lines.

/// What can happen where a check finds fault, told of its first bad example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    /// Who connects, and for whom.
    pub connects: &'static str,
    /// What they run.
    pub runs: &'static str,
    /// What they get.
    pub gets: &'static str,
    /// Why.
    pub because: &'static str,
    /// The SQL that mends it, run as superuser: with it as one migration more, the check finds nothing.
    pub fix: &'static str,
}

impl Story {
    /// The lines, each with its heading.
    pub fn lines(&self) -> [(&'static str, &'static str); 5] {
        [
            ("connects", self.connects),
            ("runs", self.runs),
            ("gets", self.gets),
            ("because", self.because),
            ("fix", self.fix),
        ]
    }
}
