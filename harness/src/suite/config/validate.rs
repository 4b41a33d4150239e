//! What is well-formed and still cannot be.

use super::Config;
use super::source::Step;
use crate::check::{Registry, TenancyModel};
use crate::error::{Error, Result};
use crate::migration::Format;

impl Config {
    pub(super) fn validate(&mut self, registry: &Registry) -> Result<()> {
        self.check_version()?;
        self.check_migrations()?;
        self.check_tenancy()?;
        self.check_ids(registry)
    }

    fn check_version(&self) -> Result<()> {
        let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        let is_version = |version: &str, parts: std::ops::RangeInclusive<usize>| {
            parts.contains(&version.split('.').count()) && version.split('.').all(is_number)
        };
        let no_version = |key: &str, version: &str, help: &str| {
            let message = format!("`{version}` is no version of Postgres");
            self.error_at(&["postgres", key], &message).with_help(help)
        };
        if let Some(version) = self.postgres.version.as_ref().filter(|text| !is_version(text, 1..=2)) {
            return Err(no_version("version", version, "write `\"16\"` or `\"16.4\"`"));
        }
        if let Some(version) = self.postgres.deployed.as_ref().filter(|text| !is_version(text, 2..=2)) {
            return Err(no_version("deployed", version, "write the exact version: `\"16.4\"`"));
        }
        Ok(())
    }

    fn check_migrations(&mut self) -> Result<()> {
        match (self.migrations.format, &self.migrations.command) {
            (Some(Format::Auto), Some(_)) => self.migrations.format = None,
            (None, None) => {
                let message = "needs `migrations.command`, which is missing";
                return Err(self
                    .error_at(&["migrations", "format"], message)
                    .with_help("write the command that applies them; it gets `DATABASE_URL`"));
            }
            (None, Some(_)) | (Some(_), None) => {}
            (Some(_), Some(_)) => {
                let message = "only `migrations.format = \"command\"` runs a command";
                return Err(self
                    .error_at(&["migrations", "command"], message)
                    .with_help("remove one of the two"));
            }
        }
        Ok(())
    }

    fn check_tenancy(&self) -> Result<()> {
        let Some(tenancy) = &self.tenancy else { return Ok(()) };
        if tenancy.model != TenancyModel::Rls {
            return Ok(());
        }
        let lacks = |key: &str| self.error_at(&["tenancy"], &format!("missing key `{key}`"));
        if tenancy.setting.is_none() {
            return Err(lacks("setting").with_help(
                "name the setting by which policies know the tenant: `setting = \"app.tenant_id\"`",
            ));
        }
        if tenancy.roles.is_empty() {
            return Err(
                lacks("roles").with_help("name the roles that services connect as: they are attacked")
            );
        }
        Ok(())
    }

    fn check_ids(&self, registry: &Registry) -> Result<()> {
        let is_known = |id: &str| registry.ids().any(|known| known == id);
        let unknown = |path: &[Step], id: &str| -> Error {
            self.source.error_at(path, &format!("there is no check `{id}`")).with_help(registry.advice(id))
        };
        for (number, id) in self.checks.opt_in.iter().enumerate() {
            if !is_known(id) {
                let path = [Step::key("checks"), Step::key("opt_in"), Step::Item(number)];
                return Err(unknown(&path, id));
            }
        }
        for (number, allowance) in self.allow.iter().enumerate() {
            let path = |key| [Step::key("allow"), Step::Item(number), Step::key(key)];
            if !is_known(&allowance.check) {
                return Err(unknown(&path("check"), &allowance.check));
            }
            for (key, value) in [("subject", &allowance.subject), ("reason", &allowance.reason)] {
                if value.trim().is_empty() {
                    let error = self.source.error_at(&path(key), "is blank");
                    return Err(match key {
                        "reason" => error.with_help("say why this finding is accepted"),
                        _ => error
                            .with_help("name the object as the finding does; `*` stands for any characters"),
                    });
                }
            }
        }
        Ok(())
    }
}
