//! What stands in the way of a release, by the server's own catalogs.

use crate::finding::Severity;

/// A question whose every row is a finding: the object's name, and what was seen of it.
pub(super) struct Gate {
    pub(super) kind: &'static str,
    pub(super) severity: Severity,
    /// Only of a live database, whose data are its own.
    pub(super) is_for_live: bool,
    pub(super) sql: &'static str,
    /// With `{name}` and `{seen}`.
    pub(super) message: &'static str,
    /// With `{name}`.
    pub(super) help: &'static str,
}

/// The gates, in order.
pub(super) const GATES: &[Gate] = &[
    Gate {
        kind: "server",
        severity: Severity::Error,
        is_for_live: true,
        sql: "select 'recovery', 'pg_is_in_recovery() is true' where pg_is_in_recovery()",
        message: "the server is a standby: nothing can be written to it",
        help: "name the primary in the URL",
    },
    Gate {
        kind: "database",
        severity: Severity::Warning,
        is_for_live: true,
        sql: "select datname::text, age(datfrozenxid)::text from pg_database \
              where datname = current_database() and age(datfrozenxid) > 1500000000",
        message: "`{name}` is {seen} transactions from its last freeze: at two thousand million the server stops",
        help: "`vacuum (freeze)` it now, and look for what keeps autovacuum from it",
    },
    Gate {
        kind: "index",
        severity: Severity::Error,
        is_for_live: false,
        sql: "select i.indexrelid::regclass::text, \
                  case when not i.indisready then 'not ready' else 'not valid' end \
              from pg_index i join pg_class c on c.oid = i.indexrelid \
              join pg_namespace n on n.oid = c.relnamespace \
              where not (i.indisvalid and i.indisready) and n.nspname !~ '^pg_' order by 1",
        message: "index `{name}` is {seen}: writes may maintain it, and no query uses it",
        help: "`reindex index concurrently {name}`; of a partitioned table, attach the index of each partition",
    },
    Gate {
        kind: "constraint",
        severity: Severity::Warning,
        is_for_live: false,
        sql: "select t.conrelid::regclass::text || '.' || quote_ident(t.conname), 'not validated' from pg_constraint t \
              join pg_namespace n on n.oid = t.connamespace \
              where not t.convalidated and t.conrelid <> 0 and n.nspname !~ '^pg_' order by 1",
        message: "constraint `{name}` is {seen}: old rows may not keep it",
        help: "`alter table … validate constraint …` in a migration of its own",
    },
    Gate {
        kind: "trigger",
        severity: Severity::Warning,
        is_for_live: false,
        sql: "select t.tgrelid::regclass::text || '.' || quote_ident(t.tgname), 'disabled' from pg_trigger t \
              join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace \
              where t.tgenabled = 'D' and not t.tgisinternal and n.nspname !~ '^pg_' order by 1",
        message: "trigger `{name}` is {seen}: what it keeps is not kept",
        help: "`alter table … enable trigger …`, or drop it",
    },
    Gate {
        kind: "sequence",
        severity: Severity::Warning,
        is_for_live: false,
        sql: "select s.seqrelid::regclass::text, pg_sequence_last_value(s.seqrelid) || ' of ' || most \
              from pg_sequence s join pg_class c on c.oid = s.seqrelid \
              join pg_namespace n on n.oid = c.relnamespace \
              left join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = s.seqrelid \
                  and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0 and d.deptype in ('a', 'i') \
              left join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid \
              cross join lateral (select least(s.seqmax, case a.atttypid when 'int2'::regtype then 32767 \
                  when 'int4'::regtype then 2147483647 else s.seqmax end) as most) bound \
              where s.seqincrement > 0 and not s.seqcycle and n.nspname !~ '^pg_' \
                  and has_sequence_privilege(s.seqrelid, 'select, usage') \
                  and pg_sequence_last_value(s.seqrelid) > most * 0.9 order by 1",
        message: "sequence `{name}` has used {seen}: then inserts fail",
        help: "make the column `bigint`, in steps that the release before this one survives",
    },
];
