//! What is found where, and what the error says when nothing is.

use super::sandbox::{Sandbox, script};
use pgharness::postgres::{Installation, Source};
use pgharness::process::{Program, User};
use pgharness::{ErrorKind, notice};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;
use std::{fs, thread};

#[test]
fn the_path_goes_first_and_the_newest_of_a_place() {
    let sandbox = Sandbox::new();
    let old = sandbox.install("lib/15", "15.3");
    let new = sandbox.install("lib/17", "17.2");
    let request = sandbox.request();
    assert_eq!(Installation::find(&request).unwrap().bin(), new);
    let found = Installation::find(&request.clone().with_version("15")).unwrap();
    assert_eq!((found.bin(), found.version().to_string().as_str()), (old.as_path(), "15.3"));
    let own = sandbox.install("own", "16.1");
    let request = request.with_search_path(&own);
    assert_eq!(Installation::find(&request).unwrap().bin(), own);
    // The one on the path is of no use here.
    assert_eq!(Installation::find(&request.with_version("17.2")).unwrap().bin(), new);
}

#[test]
fn a_link_on_the_path_leads_to_the_programs_beside_its_target() {
    let sandbox = Sandbox::new();
    let bin = sandbox.install("elsewhere", "16.1");
    fs::create_dir(sandbox.path("path")).unwrap();
    for name in ["postgres", "initdb"] {
        std::os::unix::fs::symlink(bin.join(name), sandbox.path("path").join(name)).unwrap();
    }
    assert_eq!(Installation::find(&sandbox.request()).unwrap().bin(), bin);
}

#[test]
fn pg_config_tells_of_an_unusual_place() {
    let sandbox = Sandbox::new();
    let bin = sandbox.install("unusual", "16.1");
    script(&sandbox.path("path/pg_config"), &format!("test $1 = --bindir && echo '{}'", bin.display()));
    assert_eq!(Installation::find(&sandbox.request()).unwrap().bin(), bin);
}

#[test]
fn the_named_installation_is_taken_by_its_root_or_its_programs() {
    let sandbox = Sandbox::new();
    sandbox.install("lib/18", "18.1");
    let bin = sandbox.install("mine", "16.4");
    let by_root = Installation::find(&sandbox.request().with_explicit(sandbox.path("mine"))).unwrap();
    let by_bin = Installation::find(&sandbox.request().with_explicit(&bin)).unwrap();
    assert_eq!((by_root.bin(), by_root.identity()), (bin.as_path(), by_bin.identity()));
    // Another one of the same version is not the same.
    sandbox.install("other", "16.4");
    let other = Installation::find(&sandbox.request().with_explicit(sandbox.path("other"))).unwrap();
    assert_ne!(by_root.identity(), other.identity());
}

#[test]
fn a_wrong_name_is_an_error_even_if_another_would_do() {
    let sandbox = Sandbox::new();
    sandbox.install("lib/16", "16.4");
    sandbox.install("old", "14.20");
    fs::create_dir(sandbox.path("empty")).unwrap();
    let help = "\n  help: PGHARNESS_INSTALLATION takes the directory that holds `bin/postgres`, or its `bin`; \
                unset, one is searched for";
    let check = |name: &str, expect: &str| {
        let request = sandbox.request().with_explicit(sandbox.path(name));
        assert_eq!(sandbox.failure(&request), format!("{expect}{help}"));
    };
    check("nowhere", "`<dir>/nowhere` is no Postgres installation: no such directory");
    check(
        "empty",
        "`<dir>/empty` is no Postgres installation: neither `bin/postgres` nor `postgres` is in it",
    );
    check(
        "old",
        "the named installation `<dir>/old/bin` will not do\n  \
         caused by: is 14.20, and the oldest supported version is 15",
    );
}

#[test]
fn one_that_lacks_an_extension_is_passed_over() {
    let sandbox = Sandbox::new();
    let both = sandbox.install_with("lib/15", "15.3", &["vector", "hstore"]);
    let vector = sandbox.install_with("lib/16", "16.3", &["vector"]);
    let newest = sandbox.install_with("lib/17", "17.2", &["hstore"]);
    let check = |names: &[&str], expect: &Path| {
        let request = sandbox.request().with_extensions(names.to_vec());
        assert_eq!(Installation::find(&request).unwrap().bin(), expect, "{names:?}");
    };
    check(&[], &newest);
    check(&["hstore"], &newest);
    check(&["vector"], &vector);
    check(&["hstore", "vector"], &both);
}

#[test]
fn who_has_which_extension_is_told_where_nobody_has_all() {
    let sandbox = Sandbox::new();
    sandbox.install_with("lib/16", "16.3", &["vector"]);
    let named = sandbox.install_with("lib/17", "17.2", &["hstore"]);
    let request = sandbox.request().with_extensions(["hstore", "vector"]);
    let images = "an image that has `hstore`, `vector` is `pgvector/pgvector:pg17`: PGHARNESS_BACKEND=container and \
                  PGHARNESS_IMAGE\n        \
                  an installation that has them can be named by PGHARNESS_INSTALLATION";
    assert_eq!(
        sandbox.failure(&request.clone().with_sources([Source::Npm, Source::Wheel])),
        format!(
            "found no Postgres 15 or newer with the extensions `hstore`, `vector`\n  \
             caused by: PATH: no `postgres`\n    \
             usual places: `<dir>/lib/17/bin`: is 17.2, has `hstore`, but lacks the extension `vector`\n    \
             usual places: `<dir>/lib/16/bin`: is 16.3, has `vector`, but lacks the extension `hstore`\n    \
             pg_config: not on the PATH\n    \
             cache: nothing fetched yet in `<dir>/cache`\n    \
             npm: brings no `vector`\n    \
             wheel: brings no `hstore`\n  \
             help: one server must have all of them: parts of two builds do not go together\n        {images}"
        )
    );
    // A wish is a wish: nothing else is taken instead.
    let other = request.clone().with_extensions(["vector"]).with_version("17");
    let text = sandbox.failure(&other);
    assert!(text.starts_with("found no Postgres 17 with the extension `vector`\n"), "{text}");
    assert!(text.ends_with("or ask for another version with PGHARNESS_VERSION"), "{text}");
    assert_eq!(
        sandbox.failure(&other.with_explicit(named)),
        "the named installation `<dir>/lib/17/bin` will not do\n  \
         caused by: is 17.2, lacks the extension `vector`\n        \
         an image that has `vector` is `pgvector/pgvector:pg17`: PGHARNESS_BACKEND=container and PGHARNESS_IMAGE\n        \
         an installation that has them can be named by PGHARNESS_INSTALLATION"
    );
}

#[test]
fn a_version_that_is_none_is_the_askers_mistake() {
    let sandbox = Sandbox::new();
    sandbox.install("lib/16", "16.4");
    for version in ["sixteen", "14", "16.4.1"] {
        let error = Installation::find(&sandbox.request().with_version(version)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
    }
    assert_eq!(
        sandbox.failure(&sandbox.request().with_version("sixteen")),
        "`sixteen` is not a Postgres version\n  \
         help: give a major version such as `16`, or an exact one such as `16.4`"
    );
}

#[test]
fn nothing_anywhere_gives_one_error_with_all_that_was_tried() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.failure(&sandbox.request().with_offline(true)),
        "found no Postgres 15 or newer\n  \
         caused by: PATH: no `postgres`\n    \
         usual places: no `postgres`\n    \
         pg_config: not on the PATH\n    \
         cache: nothing fetched yet in `<dir>/cache`\n    \
         download: forbidden by PGHARNESS_OFFLINE\n        \
         or set PGHARNESS_INSTALLATION to the directory of an installation"
    );
}

#[test]
fn sources_without_their_clients_say_so() {
    let sandbox = Sandbox::new();
    let request = sandbox.request().with_version("16").with_sources([Source::Npm, Source::Wheel]);
    let text = sandbox.failure(&request);
    assert!(text.starts_with("found no Postgres 16\n"), "{text}");
    assert!(text.contains("\n    npm: no `npm` on the `PATH`\n"), "{text}");
    assert!(text.contains("\n    wheel: no `python3` or `python` on the `PATH`\n"), "{text}");
    assert!(text.ends_with("or ask for another version with PGHARNESS_VERSION"), "{text}");
}

#[test]
fn what_will_not_do_is_skipped_with_its_reason() {
    let sandbox = Sandbox::new();
    sandbox.install("lib/14", "14.20");
    let lacking = sandbox.install("lib/15", "15.1");
    fs::remove_file(lacking.join("initdb")).unwrap();
    let unreadable = sandbox.install("lib/16", "16.1");
    fs::set_permissions(unreadable.join("postgres"), fs::Permissions::from_mode(0o000)).unwrap();
    let broken = sandbox.install("lib/17", "17.1");
    script(
        &broken.join("postgres"),
        "echo 'postgres: error while loading shared libraries: libicu.so: no such file' >&2; exit 127",
    );
    let other = sandbox.install("lib/18", "18.1");
    script(&other.join("postgres"), "echo 'a wrapper that asks: which one?'");
    let expect = "usual places: `<dir>/lib/18/bin`: `postgres --version` gives no version, but \
                  `a wrapper that asks: which one?`\n    \
                  usual places: `<dir>/lib/17/bin`: failed to run `postgres --version`: exited with status 127: \
                  postgres: error while loading shared libraries: libicu.so: no such file\n    \
                  usual places: `<dir>/lib/16/bin`: failed to start `<dir>/lib/16/bin/postgres`: \
                  Permission denied (os error 13)\n    \
                  usual places: `<dir>/lib/15/bin`: has no `initdb` beside `postgres`\n    \
                  usual places: `<dir>/lib/14/bin`: is 14, and the oldest supported version is 15\n";
    let text = sandbox.failure(&sandbox.request());
    assert!(text.contains(expect), "{text}");
    // One that will do is found behind them.
    let good = sandbox.install("lib/good", "15.9");
    assert_eq!(Installation::find(&sandbox.request()).unwrap().bin(), good);
}

#[test]
fn what_the_servers_user_cannot_reach_is_copied_once() {
    let Some(user) = User::for_server() else {
        notice::skipped("root", "only root's server runs as another user");
        return;
    };
    let sandbox = Sandbox::new();
    let bin = sandbox.install("closed/pg", "16.4");
    fs::create_dir(sandbox.path("closed/pg/share")).unwrap();
    std::os::unix::fs::symlink(sandbox.path("closed/pg/share"), sandbox.path("closed/pg/absolute")).unwrap();
    fs::set_permissions(sandbox.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let request = sandbox.request().with_explicit(&bin);
    let barrier = Barrier::new(8);
    let bins: Vec<_> = thread::scope(|scope| {
        let find = || {
            barrier.wait();
            Installation::find(&request).unwrap().bin().to_owned()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(find)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let copy = bins[0].parent().unwrap();
    assert!(bins.iter().all(|bin| bin.parent() == Some(copy)), "{bins:?}");
    assert!(copy.starts_with(sandbox.path("cache")), "{}", copy.display());
    assert_eq!(copy.join("absolute").read_link().unwrap(), copy.join("share"));
    let ran = Program::new(copy.join("bin/postgres")).current_dir("/").as_user(Some(user)).run().unwrap();
    assert!(ran.status.success());
    // A copy serves its original, and is not found as if it had been fetched.
    Installation::find(&sandbox.request().with_version("16")).unwrap_err();
}

#[test]
fn what_cannot_be_reached_nor_copied_says_why() {
    if User::for_server().is_none() {
        notice::skipped("root", "only root's server runs as another user");
        return;
    }
    let sandbox = Sandbox::new();
    let bin = sandbox.install("closed", "16.4");
    fs::set_permissions(sandbox.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let text = sandbox.failure(&sandbox.request().with_explicit(bin));
    assert!(
        text.contains("whom the server runs as, and `<dir>/closed` is not a directory of Postgres alone"),
        "{text}"
    );
}
