//! One server for all processes, without a daemon: the keeper.
//!
//! Every participant holds the write end of a FIFO, the *door*. The keeper, a small shell script that is the
//! server's parent, reads its other end: the kernel tells it when the last participant is gone, SIGKILL
//! included. The order of steps is what makes it safe:
//!
//! 1. *Enter*, without a lock: open the door without blocking, write a line, and only then look whether `open`
//!    is still there. No reader: there is no keeper. No `open`: it retires.
//! 2. *Elect*: take the lock file, try to enter again, else start a server. The lock is held until a real
//!    connection succeeded; the base is then published in the state file by rename.
//! 3. *Retire*: the keeper removes `open` first and drains the door after. A newcomer either sees `open` gone
//!    or is served to its end. Nothing is ever taken back; newcomers start the next generation meanwhile.
//! 4. *Replace*: a published server that refuses connections is unpublished under the lock.
//! 5. *Reclaim*, under the lock: what a keeper that was killed left behind.

mod base;
mod elect;
mod launch;
mod origin;
mod ready;
mod reclaim;
mod roots;

pub(super) use base::{Door, Home, generation, request_restart};
pub(super) use elect::{attach, has_generation, reenter, replace, tidy};
pub(super) use launch::{Attached, Launch, Park, Source, ask_to_park, log_tail};
pub(super) use origin::Origin;
pub(super) use reclaim::has_keeper_of;
#[cfg(feature = "cli")]
pub(crate) use roots::Root;
pub(super) use roots::{choose as choose_root, free_mib, is_memory, memory_available_mib};
