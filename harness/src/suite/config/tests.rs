//! The whole file, and every way in which it can be wrong.

use super::*;
use crate::check::{Check, Context, Every, Example, Explanation, Privilege, Running, TenancyModel, Verdict};
use crate::migration::Format;
use rstest::rstest;
use std::time::Duration;

struct Named(&'static str);

impl Check for Named {
    fn id(&self) -> &'static str {
        self.0
    }

    fn summary(&self) -> &'static str {
        ""
    }

    fn explain(&self) -> Explanation {
        Explanation { proves: "", matters: "", remedy: "" }
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn run<'a>(&'a self, _: &'a Context) -> Running<'a> {
        Box::pin(async { Ok(Verdict::of(vec![])) })
    }
}

fn parse(text: &str) -> Result<Config> {
    let ids = ["migration.expand-only", "structure.conventions", "tenancy.cross-read", "tenancy.sequence"];
    let registry = Registry::of(ids.into_iter().map(|id| Box::new(Named(id)) as Box<dyn Check>).collect());
    Config::parse(Path::new("/srv/app/pgharness.toml"), text, &registry)
}

/// Every key that there is.
const WHOLE: &str = include_str!("whole.toml");

#[test]
fn every_key_is_kept() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.dir(), Path::new("/srv/app"));
    assert_eq!(config.file(), Some(Path::new("/srv/app/pgharness.toml")));

    let postgres = &config.postgres;
    assert_eq!(postgres.backend, Some(Backend::Embedded));
    assert_eq!(postgres.version.as_deref(), Some("16"));
    assert_eq!(postgres.extensions, ["pgcrypto"]);
    assert_eq!(postgres.bootstrap, [Path::new("/srv/app/db/bootstrap.sql")]);
    assert_eq!(postgres.connections_max, 150);
    assert_eq!(postgres.deployed.as_deref(), Some("16.4"));
    assert_eq!(postgres.image.as_deref(), Some("postgres:16"));
    assert_eq!(postgres.url, Some(Setting::Variable("DATABASE_URL".into())));

    let migrations = &config.migrations;
    assert_eq!(migrations.dir, Path::new("/srv/app/migrations"));
    assert_eq!(migrations.format, Some(Format::Plain));
    assert_eq!(migrations.command, None);
    assert_eq!(migrations.history.as_deref(), Some("ops.history"));
    assert_eq!(migrations.contract_tag, "-- caracal:phase contract");
    assert_eq!(migrations.migrator_role.as_deref(), Some("app_migrator"));

    assert_eq!(config.fixtures.files, [Path::new("/srv/app/fixtures/base/*.sql")]);
    assert_eq!(config.snapshot.file.as_deref(), Some(Path::new("/srv/app/schema.snapshot")));
    assert_eq!(config.snapshot.model.as_deref(), Some("alembic check"));

    assert_eq!(config.checks.opt_in, ["migration.expand-only", "structure.conventions"]);
    let old = config.checks.old_release.as_ref().unwrap();
    assert_eq!(old.git, "v1.4");
    assert_eq!((old.queries.as_deref(), old.sqlx.as_deref()), (Some("queries"), Some(".sqlx")));

    let tenancy = config.tenancy.as_ref().unwrap();
    assert_eq!(tenancy.model, TenancyModel::Rls);
    assert_eq!(tenancy.column, "org_id");
    assert_eq!(tenancy.setting.as_deref(), Some("app.tenant_id"));
    assert_eq!(tenancy.roles, ["web_app", "web_jobs"]);
    assert_eq!(tenancy.exempt, ["public.ref_*"]);
    assert_eq!(tenancy.schemas.as_deref(), Some("tenant_*"));
    assert_eq!(tenancy.onboard.as_deref(), Some("select tenants.onboard($1)"));

    let role = &config.roles["web_app"];
    assert_eq!(role.password, Some(Setting::Variable("WEB_APP_PASSWORD".into())));
    assert_eq!((role.pool_max, role.statement_timeout), (Some(20), Some(Duration::from_secs(5))));
    assert_eq!(role.idle_in_transaction_session_timeout, Some(Duration::from_secs(60)));
    assert_eq!(role.lock_timeout, Some(Duration::from_secs(2)));

    let access = &config.access;
    assert_eq!(access.append_only, ["audit.audit_events"]);
    assert_eq!(access.immutable, ["policy.policy_versions"]);
    let expected = [Privilege::Select, Privilege::Insert, Privilege::Update];
    assert_eq!(access.matrix["web_app"]["identity.*"], expected);

    let structure = &config.structure;
    assert_eq!(structure.expected_tables, ["identity.tenants"]);
    assert_eq!(structure.prefixes, ["research_", "agents_"]);
    let partitions = &structure.partitions["audit.audit_events"];
    assert_eq!((partitions.every, partitions.ahead, partitions.behind), (Every::Month, 3, 12));
    assert_eq!(partitions.procedure.as_deref(), Some("call audit.roll_partitions()"));
    let retention = &structure.retention["workflow.job_history"];
    assert_eq!(retention.keep, "90 days");
    assert_eq!(retention.procedure.as_deref(), Some("call workflow.purge_history()"));
    assert_eq!(
        (retention.role.as_deref(), retention.column.as_deref()),
        (Some("daemon"), Some("finished_at"))
    );

    assert_eq!(
        config.allow,
        [Allowance {
            check: "tenancy.sequence".into(),
            subject: "audit.audit_events_id_seq".into(),
            reason: "ids are not secret: they are shown in the UI".into(),
            place: "`/srv/app/pgharness.toml` line 61".into(),
        }]
    );
}

#[test]
fn without_a_file_the_defaults_hold() {
    let config = Config::default_for(Path::new("/srv/app"));
    assert_eq!(config.file(), None);
    assert_eq!(config.postgres.backend, None);
    assert_eq!(config.postgres.connections_max, 200);
    assert_eq!(config.migrations.dir, Path::new("/srv/app/migrations"));
    assert_eq!(config.migrations.history, None);
    assert_eq!(config.migrations.contract_tag, "-- pgharness:phase contract");
    assert_eq!(config.project().unwrap().dir, Path::new("/srv/app"));
    let empty = parse("").unwrap();
    assert_eq!(empty.migrations, config.migrations);
    assert_eq!(empty.postgres, config.postgres);
}

#[test]
fn a_command_alone_is_the_format() {
    let config = parse("[migrations]\ncommand = \"alembic upgrade head\"").unwrap();
    assert_eq!(config.migrations.format, None);
}

#[rstest]
#[case::syntax("[postgres]\nversion = \"16", "line 2: invalid basic string, expected `\"`", "")]
#[case::section(
    "[postgrs]\n",
    "line 1: unknown key `postgrs`",
    "did you mean `postgres`? known keys: `postgres`, `migrations`, `fixtures`, `snapshot`, `checks`, `tenancy`, `roles`, `access`, `structure`, `allow`"
)]
#[case::key(
    "\n[postgres]\nbakend = \"embedded\"",
    "line 3: unknown key `postgres.bakend`",
    "did you mean `backend`? known keys of `postgres`: `backend`, `version`, `extensions`, `bootstrap`, `max_connections`, `deployed`, `image`, `url`"
)]
#[case::nested_key(
    "[roles]\nweb_app = { pasword = \"env:X\" }",
    "line 2: unknown key `roles.web_app.pasword`",
    "did you mean `password`? known keys of `roles.web_app`: `password`, `pool_max`, `statement_timeout`, `idle_in_transaction_session_timeout`, `lock_timeout`"
)]
#[case::quoted_key(
    "[structure.partitions.\"audit.events\"]\nevery = \"month\"\nahed = 3",
    "line 3: unknown key `structure.partitions.\"audit.events\".ahed`",
    "did you mean `ahead`? known keys of `structure.partitions.\"audit.events\"`: `every`, `ahead`, `behind`, `procedure`"
)]
#[case::value(
    "[postgres]\nbackend = \"docker\"",
    "line 2, `postgres.backend`: unknown value `docker`",
    "known values: `embedded`, `container`, `external`"
)]
#[case::kind(
    "[postgres]\nmax_connections = \"many\"",
    "line 2, `postgres.max_connections`: invalid type: string \"many\", expected a whole number of 0 or more",
    ""
)]
#[case::negative(
    "[structure.partitions.a]\nevery = \"day\"\nahead = -1",
    "line 3, `structure.partitions.a.ahead`: invalid value: integer `-1`, expected a whole number of 0 or more",
    ""
)]
#[case::item(
    "[access.matrix]\nweb_app = { \"identity.*\" = [\"select\", \"insret\"] }",
    "line 2, `access.matrix.web_app.\"identity.*\"[2]`: unknown value `insret`",
    "known values: `select`, `insert`, `update`, `delete`, `truncate`, `references`, `trigger`, `maintain`, `usage`, `execute`, `create`"
)]
#[case::twice("[postgres]\nimage = \"a\"\nimage = \"b\"", "line 3: duplicate key `image`", "")]
#[case::version(
    "[postgres]\nversion = \"latest\"",
    "line 2, `postgres.version`: `latest` is no version of Postgres",
    "write `\"16\"` or `\"16.4\"`"
)]
#[case::duration(
    "[roles]\na = { statement_timeout = \"5 parsecs\" }",
    "line 2, `roles.a.statement_timeout`: `5 parsecs` is no duration: write a whole number and `ms`, `s`, `min`, `h` or `d`",
    ""
)]
#[case::password(
    "[roles]\na = { password = 1234 }",
    "line 2, `roles.a.password`: must be text in quotes",
    ""
)]
#[case::variable(
    "[roles]\na = { password = \"env:1-2\" }",
    "line 2, `roles.a.password`: `1-2` is no name of an environment variable",
    ""
)]
#[case::no_command(
    "[migrations]\nformat = \"command\"",
    "line 2, `migrations.format`: needs `migrations.command`, which is missing",
    "write the command that applies them; it gets `DATABASE_URL`"
)]
#[case::both(
    "[migrations]\nformat = \"sqlx\"\ncommand = \"x\"",
    "line 3, `migrations.command`: only `migrations.format = \"command\"` runs a command",
    "remove one of the two"
)]
#[case::no_setting(
    "[tenancy]\nmodel = \"rls\"",
    "line 1, `tenancy`: missing key `setting`",
    "name the setting by which policies know the tenant: `setting = \"app.tenant_id\"`"
)]
#[case::no_roles(
    "[tenancy]\nmodel = \"rls\"\nsetting = \"a.b\"",
    "line 1, `tenancy`: missing key `roles`",
    "name the roles that services connect as: they are attacked"
)]
#[case::no_model("[tenancy]\ncolumn = \"x\"", "line 1, `tenancy`: missing key `model`", "")]
#[case::opt_in(
    "[checks]\nopt_in = [\n  \"structure.conventions\",\n  \"migration.expand\",\n]",
    "line 4, `checks.opt_in[2]`: there is no check `migration.expand`",
    "did you mean `migration.expand-only`?"
)]
#[case::no_git(
    "[checks]\nold_release = { queries = \"q\" }",
    "line 2, `checks.old_release`: missing key `git`",
    ""
)]
#[case::allow_unknown(
    "[[allow]]\ncheck = \"tenancy.cross-reed\"\nsubject = \"x\"\nreason = \"y\"",
    "line 2, `allow[1].check`: there is no check `tenancy.cross-reed`",
    "did you mean `tenancy.cross-read`?"
)]
#[case::allow_far(
    "[[allow]]\ncheck = \"weather.sunny\"\nsubject = \"x\"\nreason = \"y\"",
    "line 2, `allow[1].check`: there is no check `weather.sunny`",
    "the families of checks are `migration.*`, `structure.*`, `tenancy.*`"
)]
#[case::allow_no_reason(
    "[[allow]]\ncheck = \"tenancy.sequence\"\nsubject = \"x\"",
    "line 1, `allow[1]`: missing key `reason`",
    "say why this finding is accepted"
)]
#[case::allow_blank(
    "[[allow]]\ncheck = \"tenancy.sequence\"\nsubject = \"x\"\nreason = \"a\"\n\n[[allow]]\ncheck = \"tenancy.sequence\"\nsubject = \"x\"\nreason = \" \"",
    "line 9, `allow[2].reason`: is blank",
    "say why this finding is accepted"
)]
#[case::allow_key(
    "[[allow]]\ncheck = \"tenancy.sequence\"\nsubject = \"x\"\nreason = \"y\"\nuntil = \"May\"",
    "line 5: unknown key `allow[1].until`",
    "known keys of `allow[1]`: `check`, `subject`, `reason`"
)]
fn what_cannot_be_is_refused_with_line_and_key(
    #[case] text: &str,
    #[case] message: &str,
    #[case] help: &str,
) {
    let error = parse(text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let place = "`/srv/app/pgharness.toml` ";
    assert_eq!(
        (error.to_string().strip_prefix(place), error.help().unwrap_or_default()),
        (Some(message), help)
    );
}

#[test]
fn a_variable_that_is_not_set_is_named_where_it_is_used() {
    let text = "[postgres]\nurl = \"env:PGHARNESS_TEST_UNSET\"\n\n[roles]\nweb_app = { password = \"env:PGHARNESS_TEST_UNSET\" }\n";
    let config = parse(text).unwrap();
    let error = config.url().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`/srv/app/pgharness.toml` line 2, `postgres.url`: the environment variable `PGHARNESS_TEST_UNSET` is not set, or is empty"
    );
    assert_eq!(error.help(), Some("set `PGHARNESS_TEST_UNSET` where pgharness runs"));
    assert_eq!(
        config.project().unwrap_err().to_string(),
        "`/srv/app/pgharness.toml` line 5, `roles.web_app.password`: the environment variable `PGHARNESS_TEST_UNSET` is not set, or is empty"
    );
}

#[test]
fn a_variable_that_is_set_is_read() {
    // Cargo sets this one for every test.
    let config =
        parse("[roles]\na = { password = \"env:CARGO_PKG_NAME\" }\nb = { password = \"literal\" }").unwrap();
    let roles = config.project().unwrap().roles;
    assert_eq!(roles["a"].password.as_ref().unwrap().expose(), "pgharness");
    assert_eq!(roles["b"].password.as_ref().unwrap().expose(), "literal");
    assert!(!format!("{config:?} {roles:?}").contains("Literal(\"literal"));
}

#[test]
fn a_pattern_that_finds_nothing_names_its_key() {
    let config = parse("[fixtures]\nfiles = [\"nowhere/x.sql\"]").unwrap();
    assert_eq!(
        config.project().unwrap_err().to_string(),
        "`/srv/app/pgharness.toml` line 2, `fixtures.files`: no file is named `/srv/app/nowhere/x.sql`"
    );
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error = Config::load(Path::new("/nonexistent/pgharness.toml")).unwrap_err();
    assert_eq!(error.to_string(), "failed to read the configuration `/nonexistent/pgharness.toml`");
}
