//! An explorer that is killed leaves nothing behind, though it had stopped a process of its server.

use crate::field::Field;
use pgharness::wait::{self, Look};
use pgharness_tests::{Participant, Stunt};
use std::fs;
use std::time::Duration;

/// The processes of the servers in a field, by their titles and states.
fn processes(field: &Field) -> Vec<(String, char)> {
    let root = field.root().display().to_string();
    let servers: Vec<String> = field.names("pgh-").into_iter().chain([root]).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
        let status = String::from_utf8_lossy(&read("stat")).into_owned();
        // Behind the name, which may hold anything.
        let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if let Some(state) = state
            && servers.iter().any(|server| line.contains(server.as_str()))
        {
            found.push((line.replace('\0', " "), state));
        }
    }
    found
}

#[test]
fn a_killed_explorer_leaves_no_stopped_process_and_no_server() {
    let field = Field::new(0);
    let explorer = Participant { stunt: Some(Stunt::Explore), ..Participant::once(&field.workspace("w")) };
    let started = field.start(&explorer);
    wait::until("a process of the server to be stopped", Duration::from_secs(60), || {
        let processes = processes(&field);
        Ok(match processes.iter().any(|(_, state)| *state == 'T') {
            true => Look::Ready(()),
            false => {
                Look::NotYet(format!("{processes:?}; {}", fs::read_to_string(started.output()).unwrap()))
            }
        })
    })
    .unwrap();
    // With SIGKILL.
    drop(started);
    wait::until("everything to end", Duration::from_secs(60), || {
        let (processes, bases) = (processes(&field), field.names("pgh-"));
        Ok(match processes.is_empty() && bases.is_empty() {
            true => Look::Ready(()),
            false => Look::NotYet(format!("{processes:?} {bases:?}")),
        })
    })
    .unwrap();
}
