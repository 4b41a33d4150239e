//! `cargo xtask mutants`: broken variants of a schema, made by operators at every site that there is, and what the
//! checks find of them.
//!
//! An operator says before anything runs which checks should find what it breaks. A change by hand is made in a copy of
//! the migrated database, and `drift.live` compares that with the migrations; other migrations are a folder of their
//! own, on which the checks are run as a user runs them. What the server refuses to make is no mutant. One is
//! equivalent only where the catalog is the same and no file was touched.

mod evidence;
mod folder;
mod ground;
mod mutant;
mod operator;
mod site;
mod sql;
mod tally;
mod trial;

use crate::random::Random;
use folder::Files;
use futures_util::stream::{self, StreamExt};
use ground::Ground;
use mutant::{Found, Mutant, Outcome};
use operator::Operator;
use pgharness::{Error, ErrorKind, Result};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use tally::Tally;
use trial::Stand;

/// Breaks the schema in every way that its operators know, and counts what the checks find.
#[derive(Debug, clap::Args)]
pub(crate) struct Mutants {
    /// The configuration of another project.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only these operators; `*` stands for any characters.
    #[arg(long = "operator", value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    operators: Vec<String>,
    /// At most so many sites of each operator, 0 for all. Without it as many as make a run of minutes, the fewer the
    /// slower the check: the table says how many of how many.
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Chooses the sites where not all are tried.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many mutants are tried at a time.
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Pastes the transcripts of so many findings into psql.
    #[arg(long, value_name = "N", default_value_t = 50)]
    evidence: usize,
    /// Of standard output; how far it is goes to standard error.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Mutants {
    pub(crate) fn run(self) -> ExitCode {
        let done = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Environment, "failed to start a runtime").with_source(error)
            })
            .and_then(|runtime| runtime.block_on(self.hunt()));
        let tally = match done {
            Ok(tally) => tally,
            Err(error) => return crate::exit_code(Err(error)),
        };
        let text = match self.format {
            Format::Text => tally.text(),
            Format::Json => tally.json(),
        };
        // Whoever closed it does not want to know.
        let _ = writeln!(io::stdout().lock(), "{text}");
        if tally.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn hunt(&self) -> Result<Tally> {
        let started = Instant::now();
        let operators = self.operators()?;
        let config = trial::load(self.config.as_deref())?;
        tell(&format!("{} operators; first the unbroken project", operators.len()));
        let mut stand = Stand::build(config).await?;
        let files = Files::read(stand.migrations()?)?;
        let ground = Ground::new(stand.context().project().clone(), stand.catalog().clone(), files);

        let mut tally = Tally::default();
        let mut mutants = Vec::new();
        for operator in operators {
            let sites = (operator.sites)(&ground);
            tally.expect(&operator, sites.len());
            let most = match self.sample {
                Some(0) => usize::MAX,
                Some(sample) => sample,
                None => operator.most,
            };
            let chosen = random_of(self.seed, operator.name).choose(sites, most);
            mutants.extend(chosen.into_iter().map(|site| Mutant { operator, site }));
        }
        let ids: BTreeSet<&str> =
            mutants.iter().flat_map(|mutant| mutant.operator.expected).copied().collect();
        stand.look_at_the_unbroken(&ids).await?;
        tally.false_alarms.clone_from(&stand.false_alarms);
        tell(&format!("{} mutants, after {:.0} s", mutants.len(), started.elapsed().as_secs_f64()));

        let total = mutants.len();
        let mut found: Vec<(Mutant, Found)> = Vec::new();
        let mut trials = stream::iter(mutants.into_iter().enumerate())
            .map(|(number, mutant)| {
                let stand = &stand;
                async move {
                    let outcome = stand.attempt(&mutant).await;
                    (number, mutant, outcome)
                }
            })
            .buffered(self.jobs.max(1));
        while let Some((number, mutant, outcome)) = trials.next().await {
            let outcome = outcome.unwrap_or_else(|error| Outcome::Missed {
                got: Vec::new(),
                reason: format!("it could not be tried: {}", error.report()),
            });
            match &outcome {
                Outcome::Missed { reason, .. } => tell(&format!("missed: {}: {reason}", mutant.id())),
                Outcome::Stillborn(reason) => tell(&format!("refused: {}: {reason}", mutant.id())),
                Outcome::Found(how) => found.push((mutant.clone(), how.clone())),
                Outcome::Equivalent => {}
            }
            if (number + 1) % 100 == 0 {
                tell(&format!("{} of {total} after {:.0} s", number + 1, started.elapsed().as_secs_f64()));
            }
            tally.count(&mutant, outcome);
        }
        drop(trials);
        if self.evidence > 0 {
            tally.evidence = Some(self.replay(&stand, found).await?);
        }
        tally.took = started.elapsed();
        Ok(tally)
    }

    /// Pastes the transcripts of some findings; how many, and those that show nothing.
    async fn replay(&self, stand: &Stand, found: Vec<(Mutant, Found)>) -> Result<(usize, Vec<String>)> {
        let can_be: Vec<_> = found.into_iter().filter(|(_, how)| evidence::is_of_the_database(how)).collect();
        let (mut pasted, mut failed) = (0, Vec::new());
        for (mutant, how) in Random::new(self.seed).choose(can_be, self.evidence) {
            let Some(shows) = evidence::replay(stand, &mutant, &how).await? else { continue };
            pasted += 1;
            if !shows {
                failed.push(format!("{} ({})", mutant.id(), how.check));
            }
        }
        Ok((pasted, failed))
    }

    fn operators(&self) -> Result<Vec<Operator>> {
        let all = operator::all();
        for pattern in &self.operators {
            if !all.iter().any(|operator| pgharness::check::matches(pattern, operator.name)) {
                let names: Vec<&str> = all.iter().map(|operator| operator.name).collect();
                return Err(Error::new(ErrorKind::Usage, format!("there is no operator `{pattern}`"))
                    .with_help(format!("there are {}", names.join(", "))));
            }
        }
        let is_wanted = |operator: &Operator| {
            self.operators.is_empty()
                || self.operators.iter().any(|pattern| pgharness::check::matches(pattern, operator.name))
        };
        Ok(all.into_iter().filter(is_wanted).collect())
    }
}

/// Choices of one operator, which do not depend on which others are tried.
fn random_of(seed: u64, name: &str) -> Random {
    Random::new(name.bytes().fold(seed, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(u64::from(byte))))
}

#[expect(clippy::print_stderr, reason = "this is a command")]
fn tell(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests;
