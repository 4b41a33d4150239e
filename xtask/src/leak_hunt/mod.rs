//! `cargo xtask leak-hunt`: participants and servers are killed at random moments; then another run attaches
//! and ends, and ten seconds later nothing may be left of any of them.

mod field;

use crate::random::Random;
use field::{Field, Left, Part, kill};
use pgharness::process::{Program, Running};
use pgharness::wait::{self, Look};
use pgharness_tests::{Participant, Story, Trouble};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// After so long nothing may be left.
const LEFT_AFTER: Duration = Duration::from_secs(10);
/// Short, so that rounds are; the moment of retirement is what counts, not when it comes.
const GRACE_MS: u64 = 300;

/// Kills participants and servers at random moments, and counts what is left of them.
#[derive(Debug, clap::Args)]
pub(crate) struct LeakHunt {
    /// How many rounds.
    #[arg(long, default_value_t = 36)]
    rounds: u64,
    /// Of standard output; what happens in each round goes to standard error.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Chooses the moments; the same seed gives the same choices, though not the same timing.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only rounds of these kinds.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What is killed in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Participants of a running server.
    Participants,
    /// Participants while the first of them starts a server.
    ColdStart,
    /// Participants while a data directory is prepared.
    Initdb,
    /// The half of the keeper that is the server's parent.
    Guard,
    /// The half of the keeper that waits for participants.
    Reader,
    /// Both halves.
    Keeper,
    /// The postmaster.
    Postmaster,
    /// One backend.
    Backend,
    /// Both halves of the keeper, the postmaster and the participants.
    Everyone,
    /// Nothing: participants come at the moment when the server retires.
    Newcomers,
    /// Participants with servers of their own.
    Private,
    /// A server of a participant's own.
    PrivateServer,
    /// A participant while it prepares the data for servers of one's own.
    Image,
}

const KINDS: &[Kind] = &[
    Kind::Participants,
    Kind::ColdStart,
    Kind::Initdb,
    Kind::Guard,
    Kind::Reader,
    Kind::Keeper,
    Kind::Postmaster,
    Kind::Backend,
    Kind::Everyone,
    Kind::Newcomers,
    Kind::Private,
    Kind::PrivateServer,
    Kind::Image,
];

/// The report, version 1.
#[derive(Debug, Default, Serialize)]
struct Report {
    version: u32,
    rounds: u64,
    left: LeftCounts,
    survivors_disturbed: u64,
}

#[derive(Debug, Default, Serialize)]
struct LeftCounts {
    processes: u64,
    directories: u64,
    databases: u64,
    segments: u64,
}

struct Hunt {
    field: Field,
    random: Random,
    started: u64,
    report: Report,
}

/// A participant at work.
struct Started {
    running: Running,
    output: PathBuf,
}

impl LeakHunt {
    pub(crate) fn run(self) -> ExitCode {
        let report = match self.hunt() {
            Ok(report) => report,
            Err(error) => {
                tell(&format!("the hunt failed: {error}"));
                return ExitCode::from(3);
            }
        };
        let left = &report.left;
        let text = match self.format {
            Format::Json => serde_json::to_string(&report).unwrap_or_default(),
            Format::Text => format!(
                "{} rounds; left: {} processes, {} directories, {} databases, {} segments; {} survivors disturbed",
                report.rounds,
                left.processes,
                left.directories,
                left.databases,
                left.segments,
                report.survivors_disturbed
            ),
        };
        let _ = writeln!(io::stdout(), "{text}");
        let sum = left.processes + left.directories + left.databases + left.segments;
        if sum + report.survivors_disturbed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }

    fn hunt(&self) -> io::Result<Report> {
        let kinds = if self.only.is_empty() { KINDS } else { &self.only };
        let mut hunt = Hunt {
            field: Field::lay_out()?,
            random: Random::new(self.seed),
            started: 0,
            report: Report { version: 1, ..Report::default() },
        };
        for round in 0..self.rounds {
            // All kinds in turn, so that a short hunt meets each.
            let kind = kinds[usize::try_from(round).unwrap_or_default() % kinds.len()];
            let since = Instant::now();
            let said = hunt.round(kind)?;
            hunt.report.rounds += 1;
            tell(&format!("round {round}: {kind:?}, {:.1?}{said}", since.elapsed()));
        }
        Ok(hunt.report)
    }
}

impl Hunt {
    /// One round; gives what is worth saying about it.
    fn round(&mut self, kind: Kind) -> io::Result<String> {
        let mut stories = Vec::new();
        let survivors = self.havoc(kind, &mut stories)?;
        for survivor in survivors {
            stories.push(self.end_of(survivor)?);
        }
        // The next run, which may meet what the killed ones left.
        let next = self.start(&Participant::once(&self.field.workspace()))?;
        let next = self.end_of(next)?;
        let mut said = String::new();
        if next.first_ms.is_none() {
            self.report.survivors_disturbed += 1;
            said.push_str(&format!("\n  the next run failed: {:?}", next.troubles));
        }
        let mut said_once = BTreeMap::new();
        for (trouble, text) in stories.iter().flat_map(|story| &story.troubles) {
            if !kind.excuses(*trouble) {
                self.report.survivors_disturbed += 1;
                *said_once.entry(format!("{trouble:?}: {text}")).or_insert(0_u64) += 1;
            }
        }
        for (text, times) in said_once.iter().take(5) {
            said.push_str(&format!("\n  {times} times {text}"));
        }
        let left = self.wait_until_nothing_is_left();
        if !left.is_empty() {
            self.report.left.processes += left.processes.len() as u64;
            self.report.left.directories += left.directories.len() as u64;
            self.report.left.segments += left.segments.len() as u64;
            said.push_str(&format!("\n  left: {}", left.describe()));
            self.field.clear(&left);
        }
        let databases = self.field.owned_databases()?;
        if !databases.is_empty() {
            self.report.left.databases += databases.len() as u64;
            said.push_str(&format!("\n  left: databases {databases:?}"));
            self.field.forget_parked();
        }
        let count: u64 = stories.iter().map(|story| story.databases).sum();
        Ok(format!(", {} stories, {count} databases counted{said}", stories.len()))
    }

    /// Kills; gives the participants that go on to their end.
    fn havoc(&mut self, kind: Kind, stories: &mut Vec<Story>) -> io::Result<Vec<Started>> {
        let churn = Participant {
            count: u64::MAX,
            hold: 3,
            vary: 4,
            for_ms: 1500,
            ..Participant::once(&self.field.workspace())
        };
        let own = Participant { cluster: true, vary: 0, hold: 2, ..churn.clone() };
        let many = 1 + self.random.below(3);
        let mut survivors = Vec::new();
        match kind {
            Kind::Participants => {
                let killed = self.start_some(&churn, many)?;
                self.pause_below(900);
                self.kill_all(killed, stories)?;
            }
            Kind::ColdStart => {
                self.field.forget_parked();
                let killed = self.start_some(&churn, many)?;
                self.pause_below(500);
                self.kill_all(killed, stories)?;
            }
            Kind::Initdb => {
                self.field.forget_parked();
                self.field.forget_shelf("initdb");
                let killed = self.start_some(&churn, many)?;
                self.pause_below(900);
                self.kill_all(killed, stories)?;
            }
            Kind::Private => {
                let killed = self.start_some(&own, 2)?;
                self.pause_below(1200);
                self.kill_all(killed, stories)?;
            }
            Kind::Image => {
                self.field.forget_shelf("clusters");
                let killed = self.start_some(&own, many)?;
                self.pause_below(1500);
                self.kill_all(killed, stories)?;
            }
            Kind::PrivateServer => {
                survivors = self.start_some(&own, 2)?;
                self.pause_below(1200);
                self.kill_parts(&[Part::Postmaster], 1);
            }
            Kind::Newcomers => {
                let first = self.start(&Participant { count: 3, ..churn.clone() })?;
                stories.push(self.end_of(first)?);
                pause(Duration::from_millis(GRACE_MS - 60));
                self.pause_below(250);
                survivors = self.start_some(&Participant::once(&self.field.workspace()), 4)?;
            }
            Kind::Everyone => {
                let killed = self.start_some(&churn, many)?;
                self.pause_below(900);
                self.kill_parts(&[Part::Guard, Part::Reader, Part::Postmaster], usize::MAX);
                self.kill_all(killed, stories)?;
            }
            Kind::Guard | Kind::Reader | Kind::Keeper | Kind::Postmaster | Kind::Backend => {
                survivors = self.start_some(&churn, 1 + many)?;
                self.pause_below(900);
                let parts: &[Part] = match kind {
                    Kind::Guard => &[Part::Guard],
                    Kind::Reader => &[Part::Reader],
                    Kind::Keeper => &[Part::Guard, Part::Reader],
                    Kind::Postmaster => &[Part::Postmaster],
                    _ => &[Part::Backend],
                };
                let most = if kind == Kind::Backend { 1 } else { usize::MAX };
                self.kill_parts(parts, most);
                if self.random.below(2) == 0 {
                    self.pause_below(300);
                    // Its successor too.
                    self.kill_parts(parts, most);
                }
                if self.random.below(2) == 0 {
                    let killed = survivors.split_off(1);
                    self.kill_all(killed, stories)?;
                }
            }
        }
        Ok(survivors)
    }

    fn start(&mut self, participant: &Participant) -> io::Result<Started> {
        self.started += 1;
        let (output, file) = self.field.output(self.started)?;
        let running = Program::new(std::env::current_exe()?)
            .arg("participant")
            .args(participant.arguments())
            .env("PGHARNESS_INSTALLATION", self.field.installation())
            .env("PGHARNESS_CACHE", self.field.cache())
            .env("PGHARNESS_DATA_ROOTS", self.field.root())
            .env("PGHARNESS_GRACE_MS", GRACE_MS.to_string())
            .env("PGHARNESS_KEEP", "never")
            .output(file)
            .start()
            .map_err(io::Error::other)?;
        Ok(Started { running, output })
    }

    fn start_some(&mut self, participant: &Participant, number: u64) -> io::Result<Vec<Started>> {
        (0..number).map(|_| self.start(participant)).collect()
    }

    fn end_of(&mut self, mut started: Started) -> io::Result<Story> {
        wait::until("a participant to end", Duration::from_secs(90), || {
            Ok(match started.running.try_status()? {
                Some(_) => Look::Ready(()),
                None => Look::NotYet(std::fs::read_to_string(&started.output).unwrap_or_default()),
            })
        })
        .map_err(io::Error::other)?;
        let story = Story::read(&std::fs::read_to_string(&started.output)?);
        std::fs::remove_file(&started.output)?;
        Ok(story)
    }

    fn kill_all(&mut self, participants: Vec<Started>, stories: &mut Vec<Story>) -> io::Result<()> {
        for started in participants {
            if self.random.below(2) == 0 {
                self.pause_below(50);
            }
            started.running.signal(pgharness::process::Signal::KILL);
            stories.push(self.end_of(started)?);
        }
        Ok(())
    }

    /// Kills processes of these parts, at most so many.
    fn kill_parts(&mut self, parts: &[Part], most: usize) {
        let mut targets: Vec<i32> = self
            .field
            .processes()
            .into_iter()
            .filter(|process| parts.contains(&process.part))
            .map(|process| process.pid)
            .collect();
        while targets.len() > most {
            let place = self.random.below(targets.len() as u64);
            targets.remove(usize::try_from(place).unwrap_or_default());
        }
        targets.into_iter().for_each(kill);
    }

    fn wait_until_nothing_is_left(&self) -> Left {
        let mut left = Left::default();
        // Whether it was in vain shows in what is left.
        let _ = wait::until("nothing to be left", LEFT_AFTER, || {
            left = self.field.left();
            Ok(if left.is_empty() { Look::Ready(()) } else { Look::NotYet(left.describe()) })
        });
        left
    }

    fn pause_below(&mut self, millis: u64) {
        pause(Duration::from_millis(self.random.below(millis)));
    }
}

impl Kind {
    /// Whether a killed server explains this trouble.
    fn excuses(self, trouble: Trouble) -> bool {
        match self {
            // A server of one's own is not replaced: whoever got it, or was about to, hears of its end.
            Kind::PrivateServer => trouble != Trouble::Dirty,
            Kind::Keeper | Kind::Postmaster | Kind::Backend | Kind::Everyone => trouble == Trouble::Use,
            _ => false,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a hunt kills at moments, not at states")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[expect(clippy::print_stderr, reason = "this is a command")]
fn tell(text: &str) {
    eprintln!("{text}");
}
