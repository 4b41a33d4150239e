//! Where extensions come from: which of our sources brings them, which package has them, and which image.

use crate::env;
use crate::postgres::Source;
use crate::postgres::place::{self, Family};

/// What every full build of Postgres has, as `contrib` of its source tree; languages that need another program are
/// not counted.
const CONTRIB: &[&str] = &[
    "amcheck",
    "autoinc",
    "bloom",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dblink",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "file_fdw",
    "fuzzystrmatch",
    "hstore",
    "insert_username",
    "intagg",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "moddatetime",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_surgery",
    "pg_trgm",
    "pg_visibility",
    "pg_walinspect",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "postgres_fdw",
    "refint",
    "seg",
    "sslinfo",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "xml2",
];

/// An extension that comes in a package of its own. `NN` stands for the server's major version.
struct Package {
    extension: &'static str,
    debian: &'static str,
    /// Of the project's own packages for Red Hat and its kin.
    red_hat: Option<&'static str>,
    brew: Option<&'static str>,
    image: Option<&'static str>,
}

const fn package(extension: &'static str, debian: &'static str) -> Package {
    Package { extension, debian, red_hat: None, brew: None, image: None }
}

const POSTGIS: Package = Package {
    red_hat: Some("postgis35_NN"),
    brew: Some("postgis"),
    image: Some("postgis/postgis:NN-3.5"),
    ..package("postgis", "postgresql-NN-postgis-3")
};

/// Those that projects use most, and those whose package has another name than the rest of its kind.
const PACKAGES: &[Package] = &[
    Package {
        red_hat: Some("pgvector_NN"),
        brew: Some("pgvector"),
        image: Some("pgvector/pgvector:pgNN"),
        ..package("vector", "postgresql-NN-pgvector")
    },
    POSTGIS,
    Package { extension: "postgis_topology", ..POSTGIS },
    Package { extension: "postgis_raster", ..POSTGIS },
    Package { extension: "postgis_tiger_geocoder", ..POSTGIS },
    Package {
        red_hat: Some("timescaledb_NN"),
        image: Some("timescale/timescaledb:latest-pgNN"),
        ..package("timescaledb", "timescaledb-2-postgresql-NN")
    },
    Package { image: Some("citusdata/citus:latest"), ..package("citus", "postgresql-NN-citus") },
    Package { image: Some("apache/age:latest"), ..package("age", "postgresql-NN-age") },
    Package { red_hat: Some("pg_cron_NN"), ..package("pg_cron", "postgresql-NN-cron") },
    Package { red_hat: Some("pg_partman_NN"), ..package("pg_partman", "postgresql-NN-partman") },
    Package { red_hat: Some("pg_repack_NN"), ..package("pg_repack", "postgresql-NN-repack") },
    package("plperl", "postgresql-plperl-NN"),
    package("plperlu", "postgresql-plperl-NN"),
    package("plpython3u", "postgresql-plpython3-NN"),
    package("pltcl", "postgresql-pltcl-NN"),
    package("pltclu", "postgresql-pltcl-NN"),
];

/// Whether an extension belongs to Postgres itself.
fn is_contrib(name: &str) -> bool {
    CONTRIB.contains(&name)
}

/// Where a server runs that lacks an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// On this machine, from an installation.
    Here,
    /// In a container, or on somebody else's machine.
    Elsewhere,
}

impl Source {
    /// Whether what it gives has the extension, as far as it is known before it is fetched.
    pub(in crate::postgres) fn brings(self, name: &str) -> bool {
        match self {
            Source::Archive | Source::Npm => is_contrib(name) || name == "plpgsql",
            Source::Wheel => ["vector", "plpgsql"].contains(&name),
        }
    }
}

/// How to get the extensions `names` for a server of this major version: a line for each way. Packages are
/// named, never installed.
pub(crate) fn remedies(names: &[&str], major: u32, site: Site) -> String {
    let mut lines = Vec::new();
    match site {
        Site::Here => {
            if let Some(command) = place::package_command(|family| packages(names, major, family)) {
                lines.push(format!("install what has {}: {command}", quoted(names)));
            }
            lines.extend(
                images(names, major)
                    .into_iter()
                    .map(|line| format!("{line}: {}=container and {}", env::BACKEND.name, env::IMAGE.name)),
            );
            lines.push(format!("an installation that has them can be named by {}", env::INSTALLATION.name));
        }
        Site::Elsewhere => {
            lines.extend(images(names, major).into_iter().map(|line| format!("{line}: {}", env::IMAGE.name)));
            let debian = packages(names, major, Family::Debian).join("`, `");
            lines.push(format!(
                "a server by URL needs it installed on its machine: of Debian's packages, `{debian}`"
            ));
        }
    }
    lines.join("\n")
}

/// The images that have some of the extensions, a line each. They are made from the official one, and so have what
/// belongs to Postgres itself.
fn images(names: &[&str], major: u32) -> Vec<String> {
    let (contrib, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| is_contrib(name));
    let mut images: Vec<(&str, Vec<&str>)> = Vec::new();
    for name in others {
        let Some(image) = known(name).and_then(|package| package.image) else { continue };
        match images.iter_mut().find(|(other, _)| *other == image) {
            Some((_, has)) => has.push(name),
            None => images.push((image, vec![name])),
        }
    }
    if images.is_empty() && !contrib.is_empty() {
        images.push(("postgres:NN", Vec::new()));
    }
    let line = |(image, has): (&str, Vec<&str>)| {
        let has: Vec<&str> = contrib.iter().copied().chain(has).collect();
        format!("an image that has {} is `{}`", quoted(&has), of_version(image, major))
    };
    images.into_iter().map(line).collect()
}

/// The packages that have these extensions, each once.
fn packages(names: &[&str], major: u32, family: Family) -> Vec<String> {
    let mut packages = Vec::new();
    for name in names {
        let pattern = match (family, known(name)) {
            (Family::Debian, Some(package)) => package.debian.to_owned(),
            (Family::Debian, None) if is_contrib(name) => "postgresql-NN".to_owned(),
            (Family::Debian, None) => format!("postgresql-NN-{}", name.replace('_', "-")),
            (Family::RedHat, None) if is_contrib(name) => "postgresqlNN-contrib".to_owned(),
            (Family::RedHat, package) => {
                package.and_then(|package| package.red_hat).map_or(format!("{name}_NN"), str::to_owned)
            }
            (Family::Brew, None) if is_contrib(name) => "postgresql@NN".to_owned(),
            (Family::Brew, package) => package.and_then(|package| package.brew).unwrap_or(name).to_owned(),
        };
        let package = of_version(&pattern, major);
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    packages
}

fn known(name: &str) -> Option<&'static Package> {
    PACKAGES.iter().find(|package| package.extension == name)
}

fn of_version(pattern: &str, major: u32) -> String {
    pattern.replace("NN", &major.to_string())
}

/// Names as messages list them.
pub(crate) fn quoted<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// "the extension `a`", "the extensions `a`, `b`".
pub(crate) fn the_extensions<S: AsRef<str>>(names: &[S]) -> String {
    let noun = if names.len() == 1 { "extension" } else { "extensions" };
    format!("the {noun} {}", quoted(names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Family::Debian, &["vector", "postgis", "postgis_topology"], &["postgresql-16-pgvector", "postgresql-16-postgis-3"])]
    #[case(Family::Debian, &["hstore", "citext", "pg_cron", "pg_hint_plan"], &["postgresql-16", "postgresql-16-cron", "postgresql-16-pg-hint-plan"])]
    #[case(Family::Debian, &["plpython3u", "timescaledb"], &["postgresql-plpython3-16", "timescaledb-2-postgresql-16"])]
    #[case(Family::RedHat, &["vector", "hstore", "hypopg"], &["pgvector_16", "postgresql16-contrib", "hypopg_16"])]
    #[case(Family::Brew, &["vector", "hstore", "postgis"], &["pgvector", "postgresql@16", "postgis"])]
    fn each_system_has_its_packages(#[case] family: Family, #[case] names: &[&str], #[case] expect: &[&str]) {
        assert_eq!(packages(names, 16, family), expect);
    }

    #[test]
    fn an_image_is_named_where_one_is_known() {
        let lines = |names: &[&str]| images(names, 18).join("\n");
        assert_eq!(lines(&["vector"]), "an image that has `vector` is `pgvector/pgvector:pg18`");
        assert_eq!(lines(&["pgcrypto"]), "an image that has `pgcrypto` is `postgres:18`");
        assert_eq!(lines(&["pg_partman"]), "");
        assert_eq!(
            lines(&["hstore", "postgis", "postgis_raster", "vector"]),
            "an image that has `hstore`, `postgis`, `postgis_raster` is `postgis/postgis:18-3.5`\n\
             an image that has `hstore`, `vector` is `pgvector/pgvector:pg18`"
        );
    }

    #[test]
    fn somebody_elses_server_is_not_to_be_installed_here() {
        let help = remedies(&["vector"], 16, Site::Elsewhere);
        assert!(help.contains("`pgvector/pgvector:pg16`: PGHARNESS_IMAGE"), "{help}");
        assert!(help.contains("`postgresql-16-pgvector`"), "{help}");
        assert!(!help.contains("install what") && !help.contains("PGHARNESS_INSTALLATION"), "{help}");
    }

    #[rstest]
    #[case("vector", &[Source::Wheel])]
    #[case("hstore", &[Source::Archive, Source::Npm])]
    #[case("plpgsql", &[Source::Archive, Source::Npm, Source::Wheel])]
    #[case("postgis", &[])]
    fn sources_bring_what_was_looked_up_in_them(#[case] name: &str, #[case] expect: &[Source]) {
        let sources = [Source::Archive, Source::Npm, Source::Wheel];
        let found: Vec<Source> = sources.into_iter().filter(|source| source.brings(name)).collect();
        assert_eq!(found, expect);
    }
}
