//! psycopg under the proxy, in the clear and within TLS, with a libpq of its own.

use crate::checks::projects;
use crate::real_tools::python;
use crate::support::empty_database;
use pgharness::process::Program;
use pgharness::script::database_url;
use pgharness::wire::{Address, Authority, Proxy, Record};
use std::path::Path;
use std::time::Duration;

#[tokio::test]
async fn psycopg_works_under_the_proxy() {
    let root = projects();
    let venv = root.path().join("venv");
    if !python(&venv, &["psycopg[binary]>=3.2,<4"], &[]) {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/wire/psycopg_client.py");
    let direct = empty_database().await;
    let authority = Authority::new().unwrap();
    let (record, secure) = (Record::default(), Record::default());
    let proxies = [
        (Proxy::start(Address::of(&direct), record.taps()).await.unwrap(), Path::new("")),
        (
            Proxy::start_tls(Address::of(&direct), &authority, secure.taps()).await.unwrap(),
            authority.certificate(),
        ),
    ];
    for ((proxy, certificate), record) in proxies.iter().zip([record, secure]) {
        let program = Program::new(venv.join("bin/python"))
            .arg(&script)
            .arg(database_url(&proxy.options(&direct)))
            .arg(certificate)
            .deadline(Duration::from_secs(200));
        let finished = tokio::task::spawn_blocking(move || program.run().unwrap()).await.unwrap();
        assert!(finished.status.success(), "{}", finished.complaint());
        println!("{}", finished.text());
        let transcript = record.transcript().to_string();
        for expected in [
            "insert into t values ($1, $2)\n   INSERT 0 1\n",
            "insert into t values ($1)\n   error 23505\n",
            "insert into t values ($1)\n   skipped\n",
            "copy t from stdin\n   COPY 1000\n",
            "select pg_sleep(?)\n   error 57014\n",
        ] {
            assert!(transcript.contains(expected), "{expected}: {transcript}");
        }
        assert!(!transcript.contains("hidden"), "{transcript}");
    }
}
