//! The version of Postgres that a project's own files name.

use std::fs;
use std::path::Path;

/// Where projects say which image they run.
const FILES: &[&str] = &[
    "compose.yml",
    "compose.yaml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-compose.dev.yml",
    "docker-compose.test.yml",
    ".github/workflows/ci.yml",
    ".github/workflows/ci.yaml",
    ".github/workflows/test.yml",
    ".github/workflows/tests.yml",
    ".gitlab-ci.yml",
];

/// An image of Postgres that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// The file that names it.
    pub(super) file: String,
    /// The image, as it stands there.
    pub(super) name: String,
    pub(super) major: u32,
    /// The exact version, where it says that.
    pub(super) exact: Option<String>,
}

/// The first image of Postgres that a file in `dir` names.
pub(super) fn image_in(dir: &Path) -> Option<Image> {
    FILES.iter().find_map(|file| {
        let text = fs::read_to_string(dir.join(file)).ok()?;
        let (name, major, exact) = text.lines().find_map(image)?;
        Some(Image { file: (*file).to_owned(), name, major, exact })
    })
}

/// What a line `image: postgres:16.4-alpine` names.
fn image(line: &str) -> Option<(String, u32, Option<String>)> {
    let name = line.trim().trim_start_matches("- ").strip_prefix("image:")?;
    let name = name.split(" #").next().unwrap_or(name).trim().trim_matches(['"', '\'']);
    let (repository, tag) = name.split('@').next()?.rsplit_once(':')?;
    let image = repository.rsplit('/').next()?;
    let tag = match image {
        "postgres" | "postgresql" | "postgis" => tag,
        // `pg16`, `latest-pg16`, `2.17.2-pg16`
        "pgvector" | "timescaledb" | "timescaledb-ha" => {
            tag.rsplit("pg").next().filter(|rest| *rest != tag)?
        }
        _ => return None,
    };
    let version: &str = tag.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let (major, minor) = match version.split_once('.') {
        Some((major, minor)) => (major, Some(minor)),
        None => (version, None),
    };
    let exact = minor.filter(|minor| minor.parse::<u32>().is_ok()).map(|minor| format!("{major}.{minor}"));
    Some((name.to_owned(), major.parse().ok()?, exact))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("    image: postgres:16", Some((16, None)))]
    #[case("image: \"postgres:16.4-alpine3.20\"", Some((16, Some("16.4"))))]
    #[case("  image: docker.io/library/postgres:17.2 # pinned", Some((17, Some("17.2"))))]
    #[case("  - image: postgis/postgis:15-3.4", Some((15, None)))]
    #[case("image: pgvector/pgvector:0.8.0-pg17", Some((17, None)))]
    #[case("image: postgres", None)]
    #[case("image: postgres:latest", None)]
    #[case("image: ${POSTGRES_IMAGE}", None)]
    #[case("image: redis:7", None)]
    #[case("name: postgres:16", None)]
    fn an_image_tells_its_version(#[case] line: &str, #[case] expect: Option<(u32, Option<&str>)>) {
        let seen = image(line).map(|(_, major, exact)| (major, exact));
        assert_eq!(seen, expect.map(|(major, exact)| (major, exact.map(str::to_owned))));
    }
}
