//! What a backend can do: whoever needs more says so and is skipped, never passed.

use std::fmt;

/// One thing that a check or a contract may need of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// A server of one's own can be started beside the shared one.
    PrivateCluster,
    /// Its processes can be frozen and killed.
    Signals,
    /// The role that looks after it may create roles.
    CreateRole,
    /// The role that looks after it is a superuser.
    Superuser,
    /// It listens on TCP.
    Tcp,
    /// Clones can be made by copying files.
    FileCopy,
    /// Its data outlives it, for the next run.
    ParkedData,
}

/// The capabilities of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a capability of its own; any combination can occur"
)]
pub struct Capabilities {
    pub(crate) private_cluster: bool,
    pub(crate) signals: bool,
    pub(crate) create_role: bool,
    pub(crate) superuser: bool,
    pub(crate) tcp: bool,
    pub(crate) file_copy: bool,
    pub(crate) parked_data: bool,
}

impl Capabilities {
    /// Whether the server can do it.
    pub fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::PrivateCluster => self.private_cluster,
            Capability::Signals => self.signals,
            Capability::CreateRole => self.create_role,
            Capability::Superuser => self.superuser,
            Capability::Tcp => self.tcp,
            Capability::FileCopy => self.file_copy,
            Capability::ParkedData => self.parked_data,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Capability::PrivateCluster => "a server of its own",
            Capability::Signals => "a server whose processes can be killed",
            Capability::CreateRole => "a role that may create roles",
            Capability::Superuser => "a superuser",
            Capability::Tcp => "TCP",
            Capability::FileCopy => "clones by file copy",
            Capability::ParkedData => "data that outlives the server",
        })
    }
}
