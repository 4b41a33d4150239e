//! Asking every relation as every role.

use super::attack::Attack;
use super::tables::Relation;
use crate::error::Result;

/// What each role saw.
pub(super) type ByRole<Seen> = Vec<(String, Seen)>;

/// What is asked of every relation as one role, in sessions that are opened once.
pub(super) trait Survey: Sized + Send {
    /// What one role saw of one relation.
    type Seen: Send;

    /// Whether the role that saw this, and may read the relation, sees its tenant's own rows, and no others.
    fn is_bound(seen: &Self::Seen) -> bool;

    /// How many statements a look takes.
    const PROBES: usize;

    /// Opens the sessions of `role`.
    fn open(attack: &Attack, role: &str) -> impl Future<Output = Result<Self>> + Send;

    /// Looks at one relation.
    fn look(
        &mut self,
        attack: &Attack,
        relation: &Relation,
        may_read: bool,
    ) -> impl Future<Output = Result<Self::Seen>> + Send;
}

/// What every role saw of every relation; counts the probes, and the controls among them.
///
/// # Errors
/// A role cannot log in, or the server is lost.
pub(super) async fn survey<S: Survey>(attack: &mut Attack) -> Result<Vec<(Relation, ByRole<S::Seen>)>> {
    let mut seen: Vec<(Relation, ByRole<S::Seen>)> = attack
        .relations
        .iter()
        .chain(&attack.tables_of_tenants)
        .map(|relation| (relation.clone(), Vec::new()))
        .collect();
    let mut controls = 0;
    for role in &attack.roles {
        let mut sessions = S::open(attack, role).await?;
        for (relation, seen) in &mut seen {
            let may_read = relation.readers.contains(role);
            let looked = sessions.look(attack, relation, may_read).await?;
            controls += usize::from(may_read && S::is_bound(&looked));
            seen.push((role.clone(), looked));
        }
    }
    attack.count_controls(controls);
    attack.count_probes(S::PROBES * attack.roles.len() * seen.len());
    Ok(seen)
}
