//! What all checks of tenancy attack: a database in which two tenants have rows everywhere.
//!
//! It is set once for a run; each check gets a copy of it, which takes milliseconds.

use super::detect::detect;
use super::probe::{Counts, Session};
use super::roles::{self, Roles};
use super::setting::Setting;
use super::tables::{self, Relation};
use super::tenants::{self, Seeds, Tenants};
use crate::check::{Context, Tenancy};
use crate::database::TestDb;
use crate::error::Result;
use crate::fixture::rows::Rows;
use crate::ident::QualifiedName;
use crate::secret::Secret;
use sqlx::{Connection, PgConnection};
use std::collections::BTreeMap;

/// A database in which two tenants have rows everywhere, and what there is in it. Nobody is in the database.
#[derive(Debug)]
pub(in crate::check) struct Scene {
    pub(super) tenancy: Tenancy,
    pub(super) setting: Setting,
    pub(super) db: TestDb,
    pub(super) relations: Vec<Relation>,
    pub(super) roles: Roles,
    /// Those that the project tells, by role.
    pub(super) passwords: BTreeMap<String, Secret>,
    pub(super) tenants: Tenants,
    pub(super) seeds: Seeds,
    /// What there is to see, in the first tenant's context.
    pub(super) truth: BTreeMap<QualifiedName, Counts>,
    /// What the project does not say of its tenants, and was found out.
    pub(super) assumed: Option<String>,
}

impl Scene {
    /// Sets it, or says why there is none.
    ///
    /// # Errors
    /// There is no database, or the server was lost.
    pub(in crate::check) async fn set(context: &Context) -> Result<Result<Scene, String>> {
        let db = context.database().await?;
        let mut control = db.connection().await?;
        let scene = Scene::fill(context, db, &mut control).await;
        // Nobody may be in what is copied.
        let _ = control.close().await;
        scene
    }

    async fn fill(
        context: &Context,
        db: TestDb,
        control: &mut PgConnection,
    ) -> Result<Result<Scene, String>> {
        let declared = context.project().tenancy.clone();
        let (tenancy, assumed) = match declared {
            Some(tenancy) if tenancy.setting.is_some() => (tenancy, None),
            declared => match detect(control, declared.as_ref()).await? {
                Ok((tenancy, note)) => (tenancy, Some(note)),
                Err(reason) => return Ok(Err(reason)),
            },
        };
        let setting = Setting::parse(tenancy.setting.as_deref().unwrap_or_default());
        let mut relations = tables::read(control, &tenancy).await?;
        if !relations.iter().any(|relation| !relation.is_of_tenants) {
            return Ok(Err(format!("there is no table with a column `{}`", tenancy.column)));
        }
        let roles = roles::read(control, &tenancy, &relations).await?;
        if roles.attackers.is_empty() && !roles.are_any_told_of() {
            return Ok(Err("there is no role to attack as: name some in `tenancy.roles`".into()));
        }
        tables::read_privileges(control, &roles.attackers, &mut relations).await?;
        let Some(tenants) = tenants::choose(control, &tenancy, &relations).await? else {
            return Ok(Err("no table keeps rows of tenants".into()));
        };
        let apart = Rows::read(control).await?.bare_without(control, &tenancy.column).await?;
        let seeds = tenants::seed(control, &tenancy, &setting, &tenants, &relations, apart).await?;
        let truth =
            truth(&db, &(setting.name.clone(), setting.value(&tenants.own)), &tenants, &relations).await?;
        let passwords = context.project().roles.iter();
        let passwords = passwords.filter_map(|(name, role)| Some((name.clone(), role.password.clone()?)));
        Ok(Ok(Scene {
            passwords: passwords.collect(),
            tenancy,
            setting,
            db,
            relations,
            roles,
            tenants,
            seeds,
            truth,
            assumed,
        }))
    }
}

/// Counts what there is in a context, as who sees everything.
pub(super) async fn truth(
    db: &TestDb,
    context: &(String, String),
    tenants: &Tenants,
    relations: &[Relation],
) -> Result<BTreeMap<QualifiedName, Counts>> {
    let mut session = Session {
        role: db.server().endpoint().role().to_owned(),
        connection: db.connection().await?,
        context: Some(context.clone()),
    };
    let mut truth = BTreeMap::new();
    for relation in relations {
        if relation.readers.is_empty() && relation.writers.is_empty() {
            continue;
        }
        let counts = session.count(relation, tenants).await?.outcome.unwrap_or_default();
        truth.insert(relation.name.clone(), counts);
    }
    let _ = session.connection.close().await;
    Ok(truth)
}
