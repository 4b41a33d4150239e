//! How far an exploration goes.

use std::time::Duration;

/// What bounds an exploration.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) preemptions: usize,
    pub(super) schedules_max: usize,
    /// No schedule begins later than this, but the first.
    pub(super) time_max: Option<Duration>,
    pub(super) steps_max: usize,
    /// A client that could go on is set aside after so many steps in a row, if another can.
    pub(super) steps_in_a_row_max: usize,
    /// A client in this process that neither asks for anything nor ends is waited for so long.
    pub(super) task_idle: Duration,
    /// The same for a program, which has to start first.
    pub(super) program_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            preemptions: 2,
            schedules_max: 10_000,
            time_max: None,
            steps_max: 1_000,
            steps_in_a_row_max: 50,
            task_idle: Duration::from_millis(300),
            program_idle: Duration::from_secs(5),
        }
    }
}
