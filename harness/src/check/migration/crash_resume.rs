//! `migration.crash-resume`: a migrator that is cut off is run again, and all is as if it had not been.

use super::budget::Budget;
use super::interruption::{Aftermath, Fault, Place, Scene};
use super::landmarks::Landmark;
use super::transcript::transcript;
use crate::check::first_run::State;
use crate::check::migrator::Migrator;
use crate::check::{Check, Context, Example, Explanation, Need, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::migration::Migration;
use crate::server::Capability;
use futures_util::TryStreamExt;
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeMap;

/// How many runs are cut off at a time.
const AT_ONCE: usize = 4;

/// How often a command is cut off at most, where the project does not say: it applies all of its migrations each time.
const CUTS_OF_COMMAND_MAX: usize = 24;

/// A migrator that is cut off anywhere can be run again.
pub(in crate::check) struct CrashResume;

impl Check for CrashResume {
    fn id(&self) -> &'static str {
        "migration.crash-resume"
    }

    fn summary(&self) -> &'static str {
        "a migrator that is cut off between any two statements can be run again"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "The project's own migrator is run through a proxy that understands the protocol, and is cut off: \
                     before a message reaches the server, and after the server has done it but before the migrator \
                     knows. Then it is run again. That must succeed, and leave the schema, the numbers of rows and the \
                     history of a run that nobody disturbed: no INVALID index, no backfill done twice, nothing to be \
                     repaired by hand. Between many messages nothing is written: places that leave the server in one \
                     state, which its transaction ids tell, are alike, and of each state one is tried, and more where \
                     `migrations.cuts` asks for more. Of a history of hundreds of files not each is cut off that runs in \
                     one transaction. How many states there are and how many were tried stands in the report. \
                     A command is cut off at places spread over its whole run. What happens \
                     when the server's machine fails is the server's own promise, and not tried.",
            matters: "Deployments are killed: by a time-out, by the scheduler, by a lost connection. A migration that \
                      was done and not recorded is done again the next time, and fails with \"already exists\" or \
                      writes its rows twice; and then somebody repairs production by hand.",
            remedy: "Let the migration run in one transaction with its row in the history. Where it cannot (`create index \
                     concurrently`), let the file hold that one statement, bear a repetition (`if not exists`), and \
                     drop an INVALID index first.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations, Need::Can(Capability::PrivateCluster)]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.crash-resume":
            "bad_command.sql", "bad_concurrently.sql", "bad_rows.sql", "good.sql", "good_command.sql", "good_concurrently.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(judge(context))
    }
}

async fn judge(context: &Context) -> Result<Verdict> {
    let first = context.first_run().await?;
    let last = first.state()?;
    let wanted = context.project().migrations.cuts;
    let mut tally = Tally::new(wanted.is_some());
    let base = context.vacant().await?;
    match context.walk().await? {
        Some(walk) => {
            let mut budget = Budget::new(wanted, walk.migrator.migrations().len());
            let mut name = base.name().to_owned();
            for step in walk.steps() {
                if !budget.has_for(step.migration, step.number) {
                    tally.left_out += 1;
                    continue;
                }
                let (before, migrator) =
                    (walk.migrator.first(step.number), walk.migrator.first(step.number + 1));
                // Those that were left out, all at once.
                before.apply_by(&before.options(&base).database(&name), &base).await?;
                let needs_server = step.before.cluster != step.after.cluster;
                let scene = Scene::of(context, &base, name, before, migrator, needs_server).await?;
                let (landmarks, whole) = scene.landmarks().await?;
                let places = Places::of(&landmarks);
                let count = budget.of(step.number, places.0.len());
                let chosen = tally.choose(places, count, step.number);
                budget.spend(step.number, chosen.len());
                tally.add(Some(step.migration), cut_off(context, &scene, chosen, step.after).await?);
                name = scene.into_next(whole).await?;
            }
        }
        None => {
            let migrator = Migrator::of(context.project())?;
            let needs_server = State::read(&base, &migrator).await?.cluster != last.cluster;
            let name = base.name().to_owned();
            let scene = Scene::of(context, &base, name, migrator.first(0), migrator, needs_server).await?;
            let (landmarks, whole) = scene.landmarks().await?;
            let chosen = tally.choose(Places::of(&landmarks), wanted.unwrap_or(CUTS_OF_COMMAND_MAX), 0);
            tally.add(None, cut_off(context, &scene, chosen, last).await?);
            drop(whole);
        }
    }
    let role = first.migrator.role(&first.db);
    let findings = tally.faults.iter().map(|fault| fault.finding(context, &first.migrator, role)).collect();
    let verdict = Verdict::of(findings).with_measurements(tally.measurements());
    Ok(match tally.left_out {
        0 => verdict,
        count => verdict.with_remark(format!(
            "{count} of {} migrations, of those that are sent in one transaction, were not cut off: `migrations.cuts` asks for more",
            first.migrator.migrations().len()
        )),
    })
}

/// Cuts a run off at each place; where it landed, in the order of places.
async fn cut_off(
    context: &Context,
    scene: &Scene<'_>,
    mut places: Vec<Place>,
    expected: &State,
) -> Result<Vec<Aftermath>> {
    places.sort_unstable();
    let landed: Vec<Option<Aftermath>> = stream::iter(places)
        .map(|place| scene.interrupt(place, expected))
        .buffered(context.at_once(AT_ONCE))
        .try_collect()
        .await?;
    Ok(landed.into_iter().flatten().collect())
}

/// The places of a run, by what it has done to the server when it gets there.
#[derive(Debug, PartialEq, Eq)]
struct Places(Vec<Vec<Place>>);

impl Places {
    /// The places of a run with these landmarks: before each step, and behind it when the migrator does not know.
    fn of(landmarks: &[Landmark]) -> Places {
        let mut alike: Vec<Vec<Place>> = Vec::new();
        let mut last = None;
        for (step, pair) in (0..).zip(landmarks.windows(2)) {
            for (landmark, is_done) in pair.iter().zip([false, true]) {
                let place = Place { step, is_done };
                match alike.last_mut() {
                    Some(places) if last == Some(landmark) => places.push(place),
                    _ => alike.push(vec![place]),
                }
                last = Some(landmark);
            }
        }
        Places(alike)
    }

    /// `count` of them: of all states one, then another one of each, and so on; where there are not as many, those at
    /// even distances, beginning elsewhere with another `turn`. Unless `repeats`, one of each will do.
    fn choose(&self, count: usize, repeats: bool, turn: usize) -> Vec<Place> {
        let mut chosen = Vec::new();
        let rounds = if repeats { self.0.iter().map(Vec::len).max().unwrap_or_default() } else { 1 };
        for round in 0..rounds {
            // The first of a state is where the migrator does not know yet that it is there, the last where it has
            // done all else.
            let of_round = |places: &Vec<Place>| match round {
                0 => places.first().copied(),
                1 => places.get(1..)?.last().copied(),
                more => places.get(1..places.len() - 1)?.get(more - 2).copied(),
            };
            let next: Vec<Place> = self.0.iter().filter_map(of_round).collect();
            let left = count - chosen.len();
            chosen.extend(spread(&next, left, turn));
        }
        chosen
    }
}

/// `count` of `places`, at even distances.
fn spread(places: &[Place], count: usize, turn: usize) -> Vec<Place> {
    let count = count.min(places.len());
    let at = |number: usize| (number * places.len() / count + turn) % places.len();
    (0..count).filter_map(|number| places.get(at(number)).copied()).collect()
}

/// What was seen so far.
#[derive(Debug)]
struct Tally<'a> {
    /// Whether a state may be tried more than once.
    repeats: bool,
    /// How many places there are.
    places: usize,
    /// How many states they leave behind.
    states: usize,
    /// How many of those were tried.
    states_tried: usize,
    /// How often a run was cut off.
    cuts: usize,
    /// How many migrations were not cut off.
    left_out: usize,
    faults: Vec<Seen<'a>>,
}

/// One way in which a migration, or a command, does not bear it.
#[derive(Debug)]
struct Seen<'a> {
    migration: Option<&'a Migration>,
    /// Where it was seen first.
    aftermath: Aftermath,
    fault: &'static str,
    answer: String,
    /// At how many places.
    count: usize,
}

impl<'a> Tally<'a> {
    fn new(repeats: bool) -> Self {
        Tally { repeats, places: 0, states: 0, states_tried: 0, cuts: 0, left_out: 0, faults: Vec::new() }
    }

    /// Chooses `count` of the places of a run.
    fn choose(&mut self, places: Places, count: usize, turn: usize) -> Vec<Place> {
        let chosen = places.choose(count, self.repeats, turn);
        self.places += places.0.iter().map(Vec::len).sum::<usize>();
        self.states += places.0.len();
        let is_tried = |state: &&Vec<Place>| state.iter().any(|place| chosen.contains(place));
        self.states_tried += places.0.iter().filter(is_tried).count();
        chosen
    }

    fn add(&mut self, migration: Option<&'a Migration>, landed: Vec<Aftermath>) {
        self.cuts += landed.len();
        let mut by_fault: BTreeMap<&'static str, Seen<'a>> = BTreeMap::new();
        for aftermath in landed {
            let Some(fault) = &aftermath.fault else { continue };
            let (fault, answer) = told(fault);
            by_fault.entry(fault).and_modify(|seen| seen.count += 1).or_insert(Seen {
                migration,
                aftermath,
                fault,
                answer,
                count: 1,
            });
        }
        self.faults.extend(by_fault.into_values());
    }

    fn measurements(&self) -> [Measurement; 4] {
        let figure = |name: &str, count: usize| Measurement::count(CrashResume.id(), name, count);
        [
            figure("places", self.places),
            figure("states", self.states),
            figure("states tried", self.states_tried),
            figure("cuts", self.cuts),
        ]
    }
}

/// What is wrong, and what shows it.
fn told(fault: &Fault) -> (&'static str, String) {
    match fault {
        Fault::Fails(error) => ("the second run fails", error.report_without_help()),
        Fault::Schema(changes) => ("the second run leaves another schema", changes.clone()),
        Fault::Rows(rows) => ("the second run leaves other rows", rows.clone()),
        Fault::History(history) => ("the second run leaves another history", history.clone()),
    }
}

impl Seen<'_> {
    fn finding(&self, context: &Context, migrator: &Migrator, role: &str) -> Finding {
        let landing = &self.aftermath.landing;
        let shown = migrator.shown(context.project());
        let (subject, name, again) = match self.migration {
            Some(migration) => (
                Subject::new("migration", migration.name()),
                migration.name().to_owned(),
                Evidence::as_role(role, transcript(context.project(), migration), self.answer.clone()),
            ),
            None => (
                Subject::new("command", shown.clone()),
                shown.clone(),
                Evidence::step(format!("{shown}, a second time"), self.answer.clone()),
            ),
        };
        let severity = match self.migration {
            Some(_) => Severity::Error,
            // Few tools promise it.
            None => Severity::Warning,
        };
        let sql = if landing.sql.is_empty() { "(a prepared statement)" } else { &landing.sql };
        let places = if self.count == 1 { "one place".into() } else { format!("{} places", self.count) };
        Finding {
            check: CrashResume.id().into(),
            class: Class::Mistake,
            severity,
            subject,
            message: format!("`{name}` does not bear to be cut off at {places}: {}", self.fault),
            help: "let the file be one transaction, or one statement that bears a repetition; `pgharness explain \
                   migration.crash-resume` says how"
                .into(),
            evidence: vec![
                Evidence::as_role(role, sql, format!("cut off, {}", landing.moment)),
                again,
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_different_states_first() {
        let shown = |places: &[Place]| -> Vec<String> {
            places
                .iter()
                .map(|place| format!("{}{}", place.step, if place.is_done { "+" } else { "-" }))
                .collect()
        };
        let landmarks = ["a", "a", "a", "b", "c", "c"].map(str::to_owned);
        let places = Places::of(&landmarks);
        let alike: Vec<_> = places.0.iter().map(|places| shown(places)).collect();
        assert_eq!(alike, [vec!["0-", "0+", "1-", "1+", "2-"], vec!["2+", "3-"], vec!["3+", "4-", "4+"]]);
        assert_eq!(shown(&places.choose(3, true, 0)), ["0-", "2+", "3+"]);
        assert_eq!(shown(&places.choose(5, true, 0)), ["0-", "2+", "3+", "2-", "3-"]);
        assert_eq!(shown(&places.choose(2, true, 0)), ["0-", "2+"]);
        assert_eq!(shown(&places.choose(100, false, 0)), ["0-", "2+", "3+"]);
        let mut all = places.choose(100, true, 0);
        all.sort_unstable();
        assert_eq!(shown(&all), ["0-", "0+", "1-", "1+", "2-", "2+", "3-", "3+", "4-", "4+"]);
    }
}
