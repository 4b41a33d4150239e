//! Figures that are measured together, in one process.

use clap::ValueEnum;

/// Figures that are measured together; the name of each begins with the group's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Group {
    Start,
    Get,
    Suite100,
    Nextest200,
    Migrations300,
    Template1g,
    Build,
    Caps,
    Battery,
    Explore,
    Wire,
}

/// What is measured for one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Checks,
    Databases,
    Explore,
}

impl Group {
    /// The command that measures it.
    pub(super) fn subject(self) -> Subject {
        match self {
            Group::Battery => Subject::Checks,
            Group::Explore | Group::Wire => Subject::Explore,
            _ => Subject::Databases,
        }
    }

    /// The groups that a command measures.
    pub(super) fn of(subject: Subject) -> impl Iterator<Item = Group> {
        Group::value_variants().iter().copied().filter(move |group| group.subject() == subject)
    }

    /// What the names of its figures begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Group::Start => "start.",
            Group::Get => "get.",
            Group::Suite100 => "suite100.",
            Group::Nextest200 => "nextest200.",
            Group::Migrations300 => "migrations300.",
            Group::Template1g => "template1g.",
            Group::Build => "build.",
            Group::Caps => "caps.",
            Group::Battery => "battery.",
            Group::Explore => "explore.",
            Group::Wire => "wire.",
        }
    }

    /// Whether the medium that its data lie on is part of what it measures.
    pub(super) fn has_data(self) -> bool {
        !matches!(self, Group::Build | Group::Explore | Group::Wire)
    }

    /// Whether it starts cargo, whose folders are those of whoever started the bench. All else runs as an
    /// ordinary user, since some peers fail as root.
    pub(super) fn needs_cargo(self) -> bool {
        matches!(self, Group::Build | Group::Nextest200)
    }
}
