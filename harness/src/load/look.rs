//! Holds a statement against its budget.

use super::plan::PlanFigures;
use super::session::{Running, Session, WARM_UP};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Measurement, Severity, Subject};
use crate::statement::{Connect, Draw, Random, Source};

/// The check's id.
const ID: &str = "load.budget";

/// What comes and goes with the machine is off.
const STEADY: &str = "set jit = off; set max_parallel_workers_per_gather = 0";

/// Different values may have different plans, so that one draw says little.
const DRAWS: usize = 10;

/// So often is looked again at what is over its budget: a page that is full and splits costs some blocks, once.
const AGAIN: usize = 2;

/// What a statement costs, for a number of draws of its parameters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Look {
    /// The plan made for the values, per draw.
    pub custom: Vec<PlanFigures>,
    /// The plan made for any values, which a session may turn to after five executions, per draw.
    pub generic: Vec<PlanFigures>,
    /// What exceeds the budget.
    pub findings: Vec<Finding>,
}

impl Look {
    /// The worst of each figure, with the plan made for the values.
    pub fn measurements(&self, statement: &str) -> Vec<Measurement> {
        FIGURES
            .iter()
            .filter_map(|figure| {
                let value = self.custom.iter().map(figure.of).reduce(f64::max)?;
                let name = format!("load.{statement}.{}", figure.key);
                Some(Measurement { name, value, unit: figure.unit.into() })
            })
            .collect()
    }
}

/// A figure that a budget may limit.
struct Figure {
    key: &'static str,
    unit: &'static str,
    of: fn(&PlanFigures) -> f64,
    budget: fn(&Source) -> Option<f64>,
}

const FIGURES: &[Figure] = &[
    Figure {
        key: "blocks",
        unit: "blocks",
        of: |plan| plan.blocks as f64,
        budget: |source| source.statement().budget.blocks.map(|limit| limit as f64),
    },
    Figure {
        key: "temp_blocks",
        unit: "blocks",
        of: |plan| plan.temp_blocks as f64,
        budget: |source| source.statement().budget.temp_blocks.map(|limit| limit as f64),
    },
    Figure {
        key: "rows",
        unit: "rows",
        of: |plan| plan.rows as f64,
        budget: |source| source.statement().budget.rows.map(|limit| limit as f64),
    },
    Figure {
        key: "rows_scanned_per_row",
        unit: "rows",
        of: PlanFigures::rows_scanned_per_row,
        budget: |source| source.statement().budget.rows_scanned_per_row,
    },
];

/// Runs the statement under EXPLAIN as its role, for ten draws of its parameters, with the plan made for the
/// values and with the one made for any, and holds each figure's worst against the budget; a draw that is over it
/// counts by the cheapest of three. All is rolled back.
/// Parallel workers and JIT are off: they come and go with the machine.
///
/// # Errors
/// The role cannot connect, or the statement fails.
pub async fn look(source: &Source, connect: &dyn Connect, seed: u64) -> Result<Look> {
    let mut session = Session::open(source, connect).await?;
    session.run(STEADY).await.running(source)?;
    let mut random = Random::new(seed);
    let draws: Vec<Draw> = (0..DRAWS).map(|_| source.draw(&mut random)).collect();
    let superuser = connect.as_role(None).get_username().to_owned();
    let mut seen = Look { custom: Vec::new(), generic: Vec::new(), findings: Vec::new() };
    seen.custom = plans(&mut session, source, &draws, "force_custom_plan").await?;
    seen.generic = plans(&mut session, source, &draws, "force_generic_plan").await?;
    for figure in FIGURES {
        let Some(limit) = (figure.budget)(source) else { continue };
        let over = |plans: &[PlanFigures]| {
            let worst = (0..plans.len())
                .max_by(|a, b| (figure.of)(&plans[*a]).total_cmp(&(figure.of)(&plans[*b])))?;
            ((figure.of)(&plans[worst]) > limit).then_some(worst)
        };
        // The plan for the values is what a session starts with: over the budget is an error. The other one is
        // chosen only where the server thinks it no dearer.
        let (plans, worst, mode, severity) = match (over(&seen.custom), over(&seen.generic)) {
            (Some(worst), _) => (&seen.custom, worst, "force_custom_plan", Severity::Error),
            (None, Some(worst)) => (&seen.generic, worst, "force_generic_plan", Severity::Warning),
            (None, None) => continue,
        };
        let excess = Excess { figure, limit, plan: &plans[worst], draw: &draws[worst], mode, severity };
        let finding = excess.finding(source, &superuser);
        seen.findings.push(finding);
    }
    Ok(seen)
}

async fn plans(
    session: &mut Session,
    source: &Source,
    draws: &[Draw],
    mode: &str,
) -> Result<Vec<PlanFigures>> {
    session.run(&format!("set plan_cache_mode = {mode}")).await.running(source)?;
    let mut plans = Vec::new();
    for (index, draw) in draws.iter().enumerate() {
        let warm_up = if index == 0 { WARM_UP } else { 1 };
        for _ in 0..warm_up {
            session.begin("begin", source, draw).await.running(source)?;
            session.run(&source.execute_sql(draw)).await.running(source)?;
            session.run("rollback").await.running(source)?;
        }
        let mut plan = explain(session, source, draw).await?;
        for _ in 0..AGAIN {
            if !is_over(source, &plan) {
                break;
            }
            let again = explain(session, source, draw).await?;
            plan = if again.blocks < plan.blocks { again } else { plan };
        }
        plans.push(plan);
    }
    Ok(plans)
}

async fn explain(session: &mut Session, source: &Source, draw: &Draw) -> Result<PlanFigures> {
    session.begin("begin", source, draw).await.running(source)?;
    let json = session.explain(&source.execute_sql(draw)).await.running(source)?;
    session.run("rollback").await.running(source)?;
    PlanFigures::read(&json)
}

fn is_over(source: &Source, plan: &PlanFigures) -> bool {
    FIGURES.iter().any(|figure| (figure.budget)(source).is_some_and(|limit| (figure.of)(plan) > limit))
}

/// A figure over its budget.
struct Excess<'l> {
    figure: &'l Figure,
    limit: f64,
    plan: &'l PlanFigures,
    draw: &'l Draw,
    mode: &'l str,
    severity: Severity,
}

impl Excess<'_> {
    fn finding(&self, source: &Source, superuser: &str) -> Finding {
        let (statement, plan) = (source.statement(), self.plan);
        let which = if self.severity == Severity::Error { "" } else { " with its generic plan" };
        let result = format!(
            "blocks {}, temp_blocks {}, rows {}, rows_scanned {}\n{}",
            plan.blocks, plan.temp_blocks, plan.rows, plan.rows_scanned, plan.shape
        );
        let settings = format!("{STEADY}; set plan_cache_mode = {};", self.mode);
        let mut evidence = vec![Evidence::as_role(superuser, settings, "ok")];
        evidence.extend(source.transcript(
            superuser,
            self.draw,
            "explain (analyze, buffers, verbose) ",
            &result,
        ));
        Finding {
            check: ID.to_owned(),
            class: Class::Mistake,
            severity: self.severity,
            subject: Subject::new("query", &statement.name),
            message: format!(
                "`{}` ({}:{}) takes {} {}{which}, and its budget is {}",
                statement.name,
                statement.file.display(),
                statement.line,
                (self.figure.of)(plan),
                self.figure.key,
                self.limit
            ),
            help: "look at the plan's shape for a scan or a sort that an index would save; if the cost is right, \
                   raise the budget in the header"
                .to_owned(),
            evidence,
        }
    }
}
