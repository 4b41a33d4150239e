//! Arbitrary bytes against the wire. `cargo xtask fuzz` runs it for a time, a test for a number of executions.

mod carry;
mod conversation;
mod understand;

use carry::Carrier;
use conversation::Conversation;
use pgharness::statement::Random;
use pgharness::wire::Side;
use pgharness::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Fuzzed {
    /// Streams that were understood or refused.
    pub understood: u64,
    /// Sessions that were carried.
    pub carried: u64,
    /// What is wrong: a sentence, with what shows it.
    pub findings: Vec<String>,
}

/// How long.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// So many inventions.
    Count(u64),
    /// This time has passed.
    Time(Duration),
}

/// Panics within the wire, wherever they were caught.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Tests beside this one may panic as they please.
            if info.location().is_some_and(|place| place.file().contains("src/wire/")) {
                PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(info.to_string());
            }
            before(info);
        }));
    });
}

/// Invents conversations from those in `tests/corpus/wire`; the same seed invents the same. With `only`, one side says
/// what stands there, and the other anything.
///
/// # Errors
/// The corpus cannot be read, or no socket can be made.
pub fn fuzz(seed: u64, only: Option<Side>, until: Until) -> Result<Fuzzed> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Environment, format!("failed to prepare the fuzzer: {error}"))
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/wire");
    let corpus = Conversation::read_dir(&dir).map_err(failed)?;
    watch_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let carrier = Arc::new(Carrier::start().await?);
        let mut random = Random::new(seed);
        let mut fuzzed = Fuzzed::default();
        let started = Instant::now();
        for number in 0_u64.. {
            let is_over = match until {
                Until::Count(count) => number >= count,
                Until::Time(time) => started.elapsed() >= time,
            };
            // More of the same says nothing new.
            if is_over || fuzzed.findings.len() >= 10 {
                break;
            }
            // First what is there, as it is.
            let conversation = match usize::try_from(number).ok().and_then(|number| corpus.get(number)) {
                Some(conversation) => conversation.clone(),
                None => Conversation::invent(&corpus, only, &mut random),
            };
            let found = run(&carrier, &conversation, &mut random, &mut fuzzed).await;
            let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
            for what in found.into_iter().chain(panics) {
                fuzzed
                    .findings
                    .push(format!("invention {number} of seed {seed}: {what}\n{}", shown(&conversation)));
            }
        }
        Ok(fuzzed)
    })
}

async fn run(
    carrier: &Carrier,
    conversation: &Conversation,
    random: &mut Random,
    fuzzed: &mut Fuzzed,
) -> Vec<String> {
    let mut found = Vec::new();
    for (side, bytes) in [(Side::Frontend, &conversation.client), (Side::Backend, &conversation.server)] {
        fuzzed.understood += 1;
        found.extend(understand::understand(side, bytes, random));
    }
    fuzzed.carried += 1;
    found.extend(carrier.carry(conversation, random).await);
    found
}

fn shown(conversation: &Conversation) -> String {
    let show = |bytes: &[u8]| bytes[..bytes.len().min(4_000)].escape_ascii().to_string();
    format!("  client: {}\n  server: {}", show(&conversation.client), show(&conversation.server))
}
