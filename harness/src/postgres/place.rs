//! The places where an installation usually lies.

use super::version::{NEWEST_FETCHED, OLDEST_SUPPORTED};
use crate::env;
use crate::process::home_dir;
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};

/// Directories that hold `postgres` on the systems we know, as patterns. Those of one system do no harm on
/// another.
const USUAL: &[&str] = &[
    "/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
    "/usr/pgsql-*/bin",                   // the project's own packages for Red Hat and its kin
    "/usr/lib/postgresql*/bin",           // openSUSE
    "/usr/libexec/postgresql*",           // Alpine
    "/usr/lib64/postgresql-*/bin",        // Gentoo
    "/usr/local/pgsql/bin",               // built from source
    "/usr/bin",                           // Fedora, Arch
    "/usr/local/bin",                     // FreeBSD's ports, hand-made links
    "/opt/homebrew/opt/postgresql@*/bin", // Homebrew on Apple Silicon
    "/opt/homebrew/opt/postgresql/bin",
    "/usr/local/opt/postgresql@*/bin", // Homebrew on Intel
    "/usr/local/opt/postgresql/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin", // Homebrew on Linux
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/Library/PostgreSQL/*/bin",      // the graphical installer
    "/opt/local/lib/postgresql*/bin", // MacPorts
    "/nix/var/nix/profiles/default/bin",
    "/run/current-system/sw/bin", // NixOS
];

/// The usual places, those in the user's home included.
pub(super) fn usual() -> Vec<PathBuf> {
    let home = env::HOME.path().or_else(home_dir).map(|home| home.join(".nix-profile/bin"));
    USUAL.iter().map(PathBuf::from).chain(home).collect()
}

/// The existing directories that match `patterns` and hold a `postgres`, the newest version first as far as
/// the names tell, each once.
pub(super) fn candidates(patterns: &[PathBuf]) -> Vec<PathBuf> {
    holding(patterns, "postgres")
}

/// The newest major version that the names of these places tell.
pub(super) fn newest_major(patterns: &[PathBuf]) -> Option<u32> {
    candidates(patterns).iter().find_map(|bin| major_by_name(bin))
}

/// As [`candidates`], for another program.
pub(super) fn holding(patterns: &[PathBuf], program: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut seen = Vec::new();
    for dir in patterns.iter().flat_map(|pattern| expand(pattern)) {
        let program = dir.join(program);
        let real = program.canonicalize().unwrap_or_else(|_| program.clone());
        if program.symlink_metadata().is_ok() && !seen.contains(&real) {
            seen.push(real);
            found.push(dir);
        }
    }
    // Stable: places without a version in their name keep their order, behind those with a newer one.
    found.sort_by_key(|dir| std::cmp::Reverse(major_by_name(dir)));
    found
}

/// The paths that a pattern stands for, sorted; a `*` stands for any part of one name.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        let Some((start, end)) = name.split_once('*') else {
            paths.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        paths = paths.iter().flat_map(|dir| matching(dir, start, end)).collect();
    }
    paths.retain(|path| path.is_dir());
    paths
}

/// The entries of `dir` whose names start and end like that.
fn matching(dir: &Path, start: &str, end: &str) -> Vec<PathBuf> {
    let Ok(entries) = dir.read_dir() else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        })
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// The major version that a path tells by a part such as `16`, `pgsql-16` or `postgresql@16`. A hint for the
/// order and for what need not be run: the program itself has the last word.
pub(super) fn major_by_name(path: &Path) -> Option<u32> {
    path.components().rev().find_map(|part| {
        let name = part.as_os_str().to_str()?;
        let digits = ["pgsql-", "postgresql@", "postgresql-", "postgresql", ""]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix).filter(|rest| !rest.is_empty()))?;
        let number = digits.split('.').next()?;
        // Two digits: what has one or three is something else.
        (number.len() == 2).then(|| number.parse().ok())?
    })
}

/// Whether there is a file that we may run.
pub(super) fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// The command that installs a Postgres of this major version on this system, if it is one that we know. It
/// is shown, never run.
pub(super) fn install_command(major: Option<u32>) -> Option<String> {
    let families = families_here();
    Some(with_rights(&families, &install_command_for(&families, major)?))
}

/// A kind of system whose packages of extensions we know by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Debian,
    RedHat,
    Brew,
}

impl Family {
    fn of(families: &str) -> Option<Family> {
        families.split_whitespace().find_map(|family| match family {
            "debian" | "ubuntu" => Some(Family::Debian),
            "fedora" | "rhel" | "centos" => Some(Family::RedHat),
            "macos" => Some(Family::Brew),
            _ => None,
        })
    }
}

/// The command that installs these packages on this system, if it is one that we know. It is shown, never run.
pub(super) fn package_command(packages: impl FnOnce(Family) -> Vec<String>) -> Option<String> {
    let families = families_here();
    let family = Family::of(&families)?;
    let program = match family {
        Family::Debian => "apt-get",
        Family::RedHat => "dnf",
        Family::Brew => "brew",
    };
    Some(with_rights(&families, &format!("{program} install {}", packages(family).join(" "))))
}

/// The names of this system and of those it is like.
fn families_here() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if cfg!(target_os = "macos") { "macos".into() } else { families(&release) }
}

/// The command as it is typed: packages of most systems are root's to install.
fn with_rights(families: &str, command: &str) -> String {
    let needs_root = !families.contains("macos") && !families.contains("nixos");
    let sudo = if needs_root && crate::process::effective_uid() != 0 { "sudo " } else { "" };
    format!("{sudo}{command}")
}

/// The names that an `os-release` file gives to its system and to those it is like.
fn families(release: &str) -> String {
    release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .map(|value| value.trim_matches(['"', '\'']))
        .collect::<Vec<_>>()
        .join(" ")
}

fn install_command_for(families: &str, major: Option<u32>) -> Option<String> {
    let is = |names: &[&str]| families.split_whitespace().any(|family| names.contains(&family));
    let middle = (OLDEST_SUPPORTED + NEWEST_FETCHED) / 2;
    let versioned = major.unwrap_or(middle);
    Some(match major {
        _ if is(&["macos"]) => format!("brew install postgresql@{versioned}"),
        Some(major) if is(&["debian", "ubuntu"]) => format!("apt-get install postgresql-{major}"),
        None if is(&["debian", "ubuntu"]) => "apt-get install postgresql".into(),
        Some(major) if is(&["fedora", "rhel", "centos"]) => format!("dnf install postgresql{major}-server"),
        None if is(&["fedora", "rhel", "centos"]) => "dnf install postgresql-server".into(),
        _ if is(&["alpine"]) => format!("apk add postgresql{versioned} postgresql{versioned}-contrib"),
        _ if is(&["arch"]) => "pacman -S postgresql".into(),
        Some(major) if is(&["suse", "opensuse"]) => format!("zypper install postgresql{major}-server"),
        None if is(&["suse", "opensuse"]) => "zypper install postgresql-server".into(),
        _ if is(&["nixos"]) => format!("nix profile install nixpkgs#postgresql_{versioned}"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/usr/lib/postgresql/15/bin", Some(15))]
    #[case("/usr/pgsql-16/bin", Some(16))]
    #[case("/opt/homebrew/opt/postgresql@17/bin", Some(17))]
    #[case("/usr/libexec/postgresql18", Some(18))]
    #[case("/opt/pg/16.4/bin", Some(16))]
    #[case("/usr/local/pgsql/bin", None)]
    #[case("/Applications/Postgres.app/Contents/Versions/latest/bin", None)]
    #[case("/srv/9/bin", None)]
    fn names_tell_the_major_version(#[case] path: &str, #[case] expect: Option<u32>) {
        assert_eq!(major_by_name(Path::new(path)), expect);
    }

    #[test]
    fn candidates_come_newest_first_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for place in ["lib/15/bin", "lib/17/bin", "other"] {
            std::fs::create_dir_all(root.join(place)).unwrap();
            std::fs::write(root.join(place).join("postgres"), "").unwrap();
        }
        std::fs::create_dir_all(root.join("lib/16/bin")).unwrap();
        std::os::unix::fs::symlink(root.join("lib/17"), root.join("lib/latest")).unwrap();
        let found = candidates(&[root.join("other"), root.join("lib/*/bin"), root.join("nowhere/*")]);
        let expect: Vec<_> = ["lib/17/bin", "lib/15/bin", "other"].map(|place| root.join(place)).into();
        assert_eq!(found, expect);
    }

    #[rstest]
    #[case("ID=debian\n", Some(16), Some("apt-get install postgresql-16"))]
    #[case("NAME=Mint\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", None, Some("apt-get install postgresql"))]
    #[case(
        "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
        Some(16),
        Some("dnf install postgresql16-server")
    )]
    #[case("ID=alpine\n", Some(17), Some("apk add postgresql17 postgresql17-contrib"))]
    #[case("ID=arch\n", Some(17), Some("pacman -S postgresql"))]
    #[case(
        "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n",
        None,
        Some("zypper install postgresql-server")
    )]
    #[case("ID=nixos\n", Some(17), Some("nix profile install nixpkgs#postgresql_17"))]
    #[case("ID=plan9\n", None, None)]
    #[case("", None, None)]
    fn each_system_has_its_command(
        #[case] release: &str,
        #[case] major: Option<u32>,
        #[case] expect: Option<&str>,
    ) {
        assert_eq!(install_command_for(&families(release), major).as_deref(), expect);
    }
}
