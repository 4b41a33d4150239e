//! What a check works with.

use super::need::{Capability, Need};
use super::project::Project;
use std::collections::BTreeSet;

/// What a check works with: the project, and what the backend can do.
#[derive(Clone, Debug, Default)]
pub struct Context {
    project: Project,
    capabilities: BTreeSet<Capability>,
}

impl Context {
    /// A context in which nothing beyond the project's files is at hand.
    pub fn new(project: Project) -> Self {
        Context { project, capabilities: BTreeSet::new() }
    }

    /// Adds what the backend can do.
    #[must_use]
    pub fn with_capabilities(mut self, more: impl IntoIterator<Item = Capability>) -> Self {
        self.capabilities.extend(more);
        self
    }

    /// The project under check.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Why a check with these needs cannot run: "needs `[roles]` and a superuser"; nothing when it can.
    pub fn lacks(&self, needs: &[Need]) -> Option<String> {
        let unmet: Vec<String> = needs
            .iter()
            .filter(|need| !need.is_met(&self.project, &self.capabilities))
            .map(Need::to_string)
            .collect();
        (!unmet.is_empty()).then(|| format!("needs {}", unmet.join(" and ")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::project::Role;
    use super::*;

    #[test]
    fn what_lacks_is_named_and_what_is_there_is_not() {
        let mut project = Project::default();
        project.roles.insert("web_app".into(), Role::default());
        let context = Context::new(project).with_capabilities([Capability::Tcp]);
        let needs = [Need::Roles, Need::Matrix, Need::Can(Capability::Tcp), Need::Can(Capability::Superuser)];
        assert_eq!(context.lacks(&needs).as_deref(), Some("needs `[access.matrix]` and a superuser"));
        assert_eq!(context.lacks(&needs[..1]), None);
    }
}
