//! A cut lands where it says: held against the server's own log, and against the state of the database.

use super::psql;
use crate::support::empty_cluster;
use pgharness::migration::{Format, Migrations, Runner};
use pgharness::statement::Random;
use pgharness::wait::{Look, until_async};
use pgharness::wire::{
    Address, Batches, Connection, Cut, Event, Head, Landing, Moment, Proxy, Record, Side, Tap, Verdict,
};
use rstest::rstest;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const MIGRATIONS: usize = 50;

/// Who is cut.
#[derive(Clone, Copy, Debug)]
enum Client {
    Runner,
    Psql,
}

/// What a run leaves in the database: tables, and rows in them.
type State = (i64, i64);

/// A private server that writes down every statement.
pub(super) struct Ground {
    pub(super) direct: PgConnectOptions,
    pub(super) control: PgConnection,
    dir: TempDir,
    /// How much of the log was read.
    log_read: u64,
}

impl Ground {
    pub(super) async fn lay() -> Ground {
        let direct = empty_cluster().await;
        let mut control = direct.connect().await.unwrap();
        for setting in ["log_statement = 'all'", "log_line_prefix = '%p '", "log_min_messages = 'warning'"] {
            control.execute(AssertSqlSafe(format!("alter system set {setting}"))).await.unwrap();
        }
        control.execute("select pg_reload_conf()").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut script = String::new();
        for number in 1..=MIGRATIONS {
            let sql = format!(
                "create table step_{number} (n int, text text);\ninsert into step_{number} values ({number}, 'secret');\n"
            );
            // One that asks for something comes alone.
            std::fs::write(dir.path().join(format!("{number:04}_step.sql")), format!("{sql}select 1;\n"))
                .unwrap();
            script.push_str(&sql);
        }
        std::fs::write(dir.path().join("all.psql"), script).unwrap();
        Ground { direct, control, dir, log_read: 0 }
    }

    /// A new database on it.
    pub(super) async fn database(&mut self, name: &str) -> PgConnectOptions {
        self.control.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
        self.direct.clone().database(name)
    }

    pub(super) async fn drop(&mut self, name: &str) {
        self.control.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await.unwrap();
    }

    /// The lines that the backend `pid` wrote into the server's log since the last look, each without its prefix.
    pub(super) async fn lines(&mut self, pid: i32) -> Vec<String> {
        let file: String = sqlx::query_scalar("select pg_read_file('postmaster.pid')")
            .fetch_one(&mut self.control)
            .await
            .unwrap();
        let postmaster: u32 = file.lines().next().unwrap().trim().parse().unwrap();
        // From where the last look ended: a session is over when it is looked for.
        let mut file = std::fs::File::open(format!("/proc/{postmaster}/fd/2")).unwrap();
        file.seek(SeekFrom::Start(self.log_read)).unwrap();
        let mut log = Vec::new();
        self.log_read += u64::try_from(file.read_to_end(&mut log).unwrap()).unwrap();
        let prefix = format!("{pid} LOG:  ");
        String::from_utf8_lossy(&log)
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
            .collect()
    }

    /// The statements that the backend `pid` was given, as the server's log has them: the first line of each.
    async fn logged(&mut self, pid: i32) -> Vec<String> {
        let lines = self.lines(pid).await;
        lines
            .iter()
            .filter_map(|line| match line.split_once(": ")? {
                ("statement", sql) => Some(sql.to_owned()),
                (how, sql) if how.starts_with("execute ") => Some(sql.to_owned()),
                _ => None,
            })
            .collect()
    }

    pub(super) async fn wait_until_gone(&mut self, pid: i32) {
        let control = &mut self.control;
        until_async("the backend to end", Duration::from_secs(20), async || {
            let is_there: bool =
                sqlx::query_scalar("select exists (select from pg_stat_activity where pid = $1)")
                    .bind(pid)
                    .fetch_one(&mut *control)
                    .await?;
            Ok(if is_there { Look::NotYet("it is there".into()) } else { Look::Ready(()) })
        })
        .await
        .unwrap();
    }
}

async fn state(options: &PgConnectOptions) -> State {
    let mut connection = options.connect().await.unwrap();
    let tables: Vec<String> =
        sqlx::query_scalar("select relname::text from pg_class where relname ~ '^step_' and relkind = 'r'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let selects: Vec<String> = tables.iter().map(|table| format!("select n from {table}")).collect();
    let rows = match selects.is_empty() {
        true => 0,
        false => sqlx::query_scalar(AssertSqlSafe(format!(
            "select count(*) from ({}) t",
            selects.join(" union all ")
        )))
        .fetch_one(&mut connection)
        .await
        .unwrap(),
    };
    (i64::try_from(tables.len()).unwrap(), rows)
}

/// Whether it went well.
async fn run(client: Client, through: &PgConnectOptions, dir: &Path) -> bool {
    match client {
        Client::Runner => {
            let migrations = Migrations::load(dir, Format::Plain).unwrap();
            Runner::new(&migrations).apply(through).await.is_ok()
        }
        Client::Psql => {
            let mut psql = psql(through);
            psql.arg("-f").arg(dir.join("all.psql"));
            tokio::task::spawn_blocking(move || psql.output().unwrap().status.success()).await.unwrap()
        }
    }
}

/// Looks at the database before each step.
#[derive(Clone)]
struct Observer {
    direct: PgConnectOptions,
    batches: Arc<Mutex<Batches>>,
    seen: Arc<Mutex<Vec<State>>>,
}

impl Tap for Observer {
    fn arrived(&self, from: Side, head: &Head) {
        if from == Side::Backend {
            self.batches.lock().unwrap().backend(head);
        }
    }

    async fn pass(&self, from: Side, event: Event<'_>) -> Verdict {
        if let (Side::Frontend, Event::Message(head)) = (from, event) {
            let begins = self.batches.lock().unwrap().begins(head);
            if begins {
                let state = state(&self.direct).await;
                self.seen.lock().unwrap().push(state);
            }
            self.batches.lock().unwrap().frontend(head);
        }
        Verdict::Pass
    }
}

/// The statements of a whole run, and the states before each and at the end.
async fn reference(ground: &mut Ground, client: Client) -> (Vec<String>, Vec<State>) {
    let direct = ground.database("reference").await;
    let (record, seen) = (Record::default(), Arc::new(Mutex::new(Vec::new())));
    let observer = Observer { direct: direct.clone(), batches: Arc::default(), seen: seen.clone() };
    let taps = record.taps();
    let proxy = Proxy::start(Address::of(&direct), move |connection: &Connection| {
        (observer.clone(), taps(connection))
    })
    .await
    .unwrap();
    assert!(run(client, &proxy.options(&direct), ground.dir.path()).await);
    let last = state(&direct).await;
    seen.lock().unwrap().push(last);
    let statements: Vec<String> =
        record.transcript().entries.iter().map(|entry| entry.sql.to_string()).collect();
    let states = seen.lock().unwrap().clone();
    assert_eq!(states.len(), statements.len() + 1, "{}", record.transcript());
    assert_eq!(states.last(), Some(&(50, 50)));
    assert!(!statements.iter().any(|sql| sql.contains("secret")), "{statements:?}");
    drop(proxy);
    ground.drop("reference").await;
    (statements, states)
}

/// Cuts a run at `step`, and holds what came of it against the server's log and the state of the database.
async fn check(
    ground: &mut Ground,
    client: Client,
    step: usize,
    moment: Moment,
    of_backend: bool,
    reference: &(Vec<String>, Vec<State>),
) -> Option<Landing> {
    let name = "cut";
    let direct = ground.database(name).await;
    let number = u64::try_from(step).unwrap();
    let cut = if of_backend {
        Cut::backend_at(number, moment, ground.direct.clone())
    } else {
        Cut::at(number, moment)
    };
    let proxy = Proxy::start(Address::of(&direct), cut.taps()).await.unwrap();
    let went_well = run(client, &proxy.options(&direct), ground.dir.path()).await;
    let landing = cut.landing().unwrap();
    if let Some(landing) = &landing {
        let what = format!("{client:?}, backend {of_backend}: {landing}");
        let pid = landing.pid.unwrap();
        ground.wait_until_gone(pid).await;
        let (statements, states) = reference;
        // After the last step there is nobody left to notice.
        let is_last = moment == Moment::After && step + 1 == statements.len();
        assert!(!went_well || is_last, "{what}");
        assert_eq!(landing.sql, statements[step], "{what}");
        let done = step + usize::from(moment != Moment::Before);
        let logged = ground.logged(pid).await;
        assert_eq!(logged.len(), done, "{what}: {logged:#?}");
        for (logged, expected) in logged.iter().zip(statements) {
            let word = |sql: &str| sql.split_whitespace().next().unwrap_or_default().to_lowercase();
            assert_eq!(word(logged), word(expected), "{what}");
        }
        // What was not committed is gone with the session.
        let last = states[..=done].iter().zip(0..).max_by_key(|(state, at)| (**state, *at)).unwrap().0;
        assert_eq!(state(&direct).await, *last, "{what}");
    } else {
        assert!(went_well);
    }
    drop(proxy);
    ground.drop(name).await;
    landing
}

/// All positions of a run of so many steps, with both victims.
fn positions(steps: usize) -> Vec<(usize, Moment, bool)> {
    (0..steps)
        .flat_map(|step| Moment::ALL.map(|moment| (step, moment)))
        .flat_map(|(step, moment)| [(step, moment, false), (step, moment, true)])
        .collect()
}

/// Cuts at those positions that `choose` chooses of all of them.
async fn cut_at<I>(client: Client, choose: impl FnOnce(Vec<(usize, Moment, bool)>) -> I) -> usize
where
    I: IntoIterator<Item = (usize, Moment, bool)>,
{
    let mut ground = Ground::lay().await;
    let reference = reference(&mut ground, client).await;
    let steps = reference.0.len();
    // At least one for each migration.
    assert!(steps >= MIGRATIONS);
    let mut landed = 0;
    for (step, moment, of_backend) in choose(positions(steps)) {
        let landing = check(&mut ground, client, step, moment, of_backend, &reference).await;
        assert!(landing.is_some(), "{client:?}: {moment} {step} is out of reach");
        landed += 1;
    }
    let beyond = check(&mut ground, client, steps, Moment::Before, false, &reference).await;
    assert_eq!(beyond, None);
    landed
}

/// A sample of all positions: the same with every run.
#[rstest]
#[case::runner(Client::Runner, 24)]
#[case::psql(Client::Psql, 12)]
#[tokio::test]
async fn cuts_land_where_they_say(#[case] client: Client, #[case] count: usize) {
    let landed = cut_at(client, |mut positions| {
        let mut random = Random::new(50);
        (0..count).map(move |_| positions.swap_remove(random.below(positions.len())))
    });
    assert_eq!(landed.await, count);
}

#[rstest]
#[tokio::test]
#[ignore = "minutes: every position of both clients, with both victims"]
async fn every_cut_lands_where_it_says(
    #[values(Client::Runner, Client::Psql)] client: Client,
    #[values(0, 1, 2, 3)] part: usize,
) {
    let landed = cut_at(client, |positions| positions.into_iter().skip(part).step_by(4)).await;
    println!("{client:?}: {landed} positions");
}

#[tokio::test]
async fn a_copy_that_the_server_did_is_not_heard_of() {
    let mut ground = Ground::lay().await;
    let direct = ground.database("cut").await;
    direct.connect().await.unwrap().execute("create table step_1 (n int)").await.unwrap();
    let cut = Cut::at(0, Moment::Unheard);
    let proxy = Proxy::start(Address::of(&direct), cut.taps()).await.unwrap();
    let mut client = proxy.options(&direct).connect().await.unwrap();
    let mut copy = client.copy_in_raw("copy step_1 from stdin").await.unwrap();
    copy.send(&b"1\n2\n"[..]).await.unwrap();
    let error = copy.finish().await.unwrap_err();
    assert!(matches!(error, sqlx::Error::Io(_)), "{error:?}");
    assert_eq!(cut.landing().unwrap().unwrap().sql, "copy step_1 from stdin");
    assert_eq!(state(&direct).await, (1, 2));
}

#[tokio::test]
async fn the_client_of_a_backend_that_was_ended_hears_so() {
    let mut ground = Ground::lay().await;
    let direct = ground.database("cut").await;
    for moment in Moment::ALL {
        let cut = Cut::backend_at(1, moment, ground.direct.clone());
        let proxy = Proxy::start(Address::of(&direct), cut.taps()).await.unwrap();
        let mut client = proxy.options(&direct).connect().await.unwrap();
        client.execute("select 1").await.unwrap();
        if moment == Moment::After {
            client.execute("select 2").await.unwrap();
        }
        let error = client.execute("select 3").await.unwrap_err();
        let code = error.as_database_error().and_then(|error| error.code().map(String::from));
        // After an answer that was complete a client may find the connection closed before it reads why.
        assert!(
            code.as_deref() == Some("57P01") || (moment == Moment::After && code.is_none()),
            "{moment}: {error:?}"
        );
        let again = proxy.options(&direct).connect().await.unwrap().execute("select 4").await;
        assert!(again.is_ok(), "{again:?}");
    }
}
