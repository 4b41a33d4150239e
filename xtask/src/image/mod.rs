//! A Postgres image from distribution packages, for machines that reach no image registry.

use pgharness::process::{Finished, Program};
use pgharness::{Error, ErrorKind, Result};
use std::path::Path;
use std::time::Duration;

const ENTRYPOINT: &str = include_str!("entrypoint.sh");
/// What tests and CI call it.
pub(crate) const NAME: &str = "pgharness-postgres:15";
const RELEASE: &str = "bookworm";
const PACKAGES: &str = "postgresql-15,util-linux";

/// Builds the image unless the engine has it.
pub(crate) fn build() -> Result<()> {
    if run(Program::new("docker").args(["image", "inspect", NAME]), "failed to look for the image").is_ok() {
        return Ok(());
    }
    let dir = tempfile::tempdir().map_err(|error| {
        Error::new(ErrorKind::Environment, "failed to create a folder").with_source(error)
    })?;
    let root = dir.path().join("root");
    run(
        Program::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), RELEASE])
            .arg(&root)
            .deadline(Duration::from_secs(900)),
        "failed to put the packages together with debootstrap",
    )?;
    write(&root.join("usr/local/bin/docker-entrypoint.sh"), ENTRYPOINT)?;
    let archive = dir.path().join("root.tar");
    run(
        Program::new("sh")
            .args(["-c", "cd \"$0\" && chmod 755 usr/local/bin/docker-entrypoint.sh && rm -rf var/cache/apt/* var/lib/apt/lists/* && tar cf \"$1\" ."])
            .args([&root, &archive])
            .deadline(Duration::from_secs(300)),
        "failed to archive the image",
    )?;
    run(
        Program::new("docker")
            .args([
                "import",
                "--change",
                "ENTRYPOINT [\"docker-entrypoint.sh\"]",
                "--change",
                "CMD [\"postgres\"]",
            ])
            .args([
                "--change",
                "EXPOSE 5432",
                "--change",
                "ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            ])
            .arg(&archive)
            .arg(NAME)
            .deadline(Duration::from_secs(300)),
        "failed to import the image",
    )?;
    Ok(())
}

fn run(program: Program, what: &str) -> Result<Finished> {
    program.run()?.check(ErrorKind::Environment, || what.to_owned())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| {
        Error::new(ErrorKind::Environment, format!("failed to write `{}`", path.display())).with_source(error)
    })
}
