//! `migration.filename`: names by which two tools, or two machines, read a folder differently.

use crate::check::databases::absolute;
use crate::check::migrator::shown_path;
use crate::check::{Check, Context, Example, Explanation, Need, Project, Running, Verdict};
use crate::error::Result;
use crate::finding::{Class, Evidence, Finding, Severity, Subject};
use crate::migration::{self, NameProblem, ProblemKind};

/// Every file of the migrations folder is read in one way by everybody.
pub(in crate::check) struct Filename;

impl Check for Filename {
    fn id(&self) -> &'static str {
        "migration.filename"
    }

    fn summary(&self) -> &'static str {
        "names of migration files that everybody reads alike"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            proves: "No migration file is passed over without a word, no two have one version, none sorts otherwise \
                     by name than by number, none has a character in its name that a shell or another file system \
                     reads differently, and no directive is hidden from its tool by a byte order mark or a comment \
                     before it. It looks at names and first lines, not at what the files do.",
            matters: "A file called `0007-index.sql` among `0006_users.sql` and `0008_jobs.sql` is never applied, and \
                      no tool says so. Two files with one version are applied in the order in which a directory \
                      happens to be listed. `10_b` comes before `2_a` for whoever sorts by name. A byte order mark \
                      before `-- no-transaction` puts `CREATE INDEX CONCURRENTLY` into a transaction, in \
                      production only.",
            remedy: "Rename the file, unless it has been applied somewhere: then its name is in the history, and a \
                     new file is the way. Save files without a byte order mark, with directives on the first line.",
        }
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::Migrations]
    }

    fn examples(&self) -> &'static [Example] {
        crate::examples!("migration.filename":
            "bad_bom.sql", "bad_duplicate.sql", "bad_ignored.sql", "bad_order.sql", "good.sql")
    }

    fn run<'a>(&'a self, context: &'a Context) -> Running<'a> {
        Box::pin(async move { look(context.project()) })
    }
}

fn look(project: &Project) -> Result<Verdict> {
    let migrations = &project.migrations;
    if migrations.command.is_some() {
        return Ok(Verdict::skipped("the files are known to `migrations.command` only"));
    }
    let dir = absolute(&migrations.dir)?;
    let problems = migration::problems(&dir, migrations.format.unwrap_or_default())?;
    Ok(Verdict::of(problems.into_iter().map(|problem| finding(project, problem)).collect()))
}

fn finding(project: &Project, problem: NameProblem) -> Finding {
    let dir = absolute(&project.migrations.dir).unwrap_or_else(|_| project.migrations.dir.clone());
    let path = shown_path(project, &dir.join(&problem.file));
    Finding {
        check: Filename.id().into(),
        class: Class::Mistake,
        severity: if problem.fatal { Severity::Error } else { Severity::Warning },
        subject: Subject::new("migration", problem.file.clone()),
        message: problem.to_string(),
        help: help(problem.kind).into(),
        evidence: vec![Evidence::step(path, problem.explanation)],
    }
}

fn help(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Duplicate => "give one of the two another version",
        ProblemKind::Unsafe => "keep to letters, digits, `_`, `-` and `.`",
        ProblemKind::Ignored => "name it like the others, or move it out of the folder",
        ProblemKind::NoVersion => "begin the name with a version, as the others do",
        ProblemKind::Order => "pad the numbers to one width; what was applied already keeps its name",
        ProblemKind::NoUp => "add the file that it undoes, or remove it",
        ProblemKind::NoDown => "add the file that undoes it, or remove the others that undo",
        ProblemKind::Directive => {
            "make the directive the first thing in the file, and save it without a byte order mark"
        }
    }
}
