//! The relational model in SQLite's words, and the way from one version of it to the next.
//!
//! Rows that are scanned or changed often carry no payloads; those have tables of their own. The
//! journal is appended to by rowid and has no index: each record names the instance's previous
//! one (`prev`), the last one is `instance.head` (see `heads`, and docs/adr/0001). Names of
//! workflows and versions are stored once and stand in rows as small numbers.

use rusqlite::Connection;

use crate::attributes::pairs;

/// "Stpw": how SQLite and file(1) know a file of ours.
pub(super) const APPLICATION_ID: u32 = 0x5374_7077;
/// Version of the schema that this code reads and writes.
pub(super) const VERSION: u32 = 9;

/// What leads from schema version N to N + 1, for N = 1, 2, 3, …
pub(super) const MIGRATIONS: &[fn(&Connection) -> rusqlite::Result<()>] =
    &[to_2, to_3, to_4, to_5, to_6, to_7, to_8, to_9];

/// Steps of blocked instances, what has ended in numbers, attributes that can be found.
fn to_2(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "ALTER TABLE instance ADD COLUMN step TEXT;
         CREATE TABLE tally (
           workflow INTEGER PRIMARY KEY,
           complete INTEGER NOT NULL, errored INTEGER NOT NULL, terminated INTEGER NOT NULL
         );
         INSERT INTO tally
           SELECT workflow, sum(status = 6), sum(status = 7), sum(status = 8)
           FROM instance WHERE status >= 6 GROUP BY workflow;
         CREATE TABLE attribute (
           key TEXT NOT NULL, value BLOB NOT NULL, no INTEGER NOT NULL, PRIMARY KEY (key, value, no)
         ) WITHOUT ROWID;",
    )?;
    let mut maps = conn.prepare("SELECT no, payload FROM attributes ORDER BY no")?;
    let mut index = conn.prepare("INSERT OR IGNORE INTO attribute VALUES (?, ?, ?)")?;
    let mut found = maps.query([])?;
    while let Some(row) = found.next()? {
        let (no, map): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        // One that is damaged is reported when it is read, and is not found until then.
        for (key, value) in pairs(&map).unwrap_or_default() {
            index.execute((key, value, no))?;
        }
    }
    Ok(())
}

/// What the rules of format 1 need (ADR 0011). No row is rewritten: what was there reads as format
/// 0.
fn to_3(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "ALTER TABLE instance ADD COLUMN format INTEGER NOT NULL DEFAULT 0;
         ALTER TABLE instance ADD COLUMN seed INTEGER;
         ALTER TABLE journal ADD COLUMN begun INTEGER;
         ALTER TABLE journal ADD COLUMN erases INTEGER;
         CREATE TABLE sweep (no INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
         CREATE TABLE bucket (
           namespace TEXT PRIMARY KEY, millionths INTEGER NOT NULL, at INTEGER NOT NULL
         ) WITHOUT ROWID;",
    )
}

/// What is done to instances from outside (ADR 0020). No row is rewritten.
fn to_4(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("ALTER TABLE instance ADD COLUMN paused_at INTEGER;")
}

/// Letters to instances of other owners.
fn to_5(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "CREATE TABLE letter (
           id INTEGER PRIMARY KEY, range INTEGER, engine INTEGER, crc INTEGER NOT NULL,
           body BLOB NOT NULL
         );",
    )
}

/// What restarting, deleting and keeping for a time need, and who did what. No row is rewritten.
fn to_6(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "ALTER TABLE approval ADD COLUMN incarnation INTEGER;
         ALTER TABLE wait ADD COLUMN begun INTEGER;
         CREATE TABLE grave (head INTEGER PRIMARY KEY, no INTEGER NOT NULL);
         CREATE INDEX approval_no ON approval (no);
         CREATE TABLE audit (
           number INTEGER PRIMARY KEY, at INTEGER NOT NULL, crc INTEGER NOT NULL, actor TEXT,
           note TEXT, operation TEXT NOT NULL, namespace TEXT NOT NULL, workflow TEXT, id TEXT,
           filter TEXT, result TEXT NOT NULL
         );
         CREATE INDEX audit_instance ON audit (namespace, workflow, id);
         CREATE TABLE ended (
           version INTEGER PRIMARY KEY,
           complete INTEGER NOT NULL, errored INTEGER NOT NULL, terminated INTEGER NOT NULL
         );
         INSERT INTO ended
           SELECT version, sum(status = 6), sum(status = 7), sum(status = 8)
           FROM instance WHERE status >= 6 GROUP BY version;
         CREATE TABLE failure (
           hour INTEGER NOT NULL, version INTEGER NOT NULL, step TEXT NOT NULL, error TEXT NOT NULL,
           count INTEGER NOT NULL, since INTEGER NOT NULL, example INTEGER NOT NULL,
           PRIMARY KEY (hour, version, step, error)
         ) WITHOUT ROWID;
         CREATE TABLE bulk (
           number INTEGER PRIMARY KEY, ended_at INTEGER, crc INTEGER NOT NULL, body BLOB NOT NULL,
           what_crc INTEGER NOT NULL, what BLOB NOT NULL
         );
         ALTER TABLE instance ADD COLUMN bulk INTEGER;
         ALTER TABLE instance ADD COLUMN keep_success INTEGER;
         ALTER TABLE instance ADD COLUMN keep_error INTEGER;
         CREATE INDEX instance_ended ON instance (workflow, status, ended_at)
           WHERE ended_at IS NOT NULL AND keep_success IS NULL;
         CREATE INDEX instance_keep ON instance (
           workflow,
           ended_at + nullif(CASE status WHEN 6 THEN keep_success ELSE keep_error END, -1)
         ) WHERE ended_at IS NOT NULL AND keep_success IS NOT NULL;",
    )
}

/// What undos need to go on (L8); schedules, their firings, and which instances are theirs; answers
/// to events that want one (E6); what calls were answered.
fn to_7(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "ALTER TABLE instance ADD COLUMN undo INTEGER;
         ALTER TABLE instance ADD COLUMN schedule TEXT;
         CREATE INDEX instance_schedule ON instance (schedule) WHERE schedule IS NOT NULL;
         CREATE TABLE schedule (
           number INTEGER PRIMARY KEY, namespace TEXT NOT NULL, id TEXT NOT NULL,
           revision INTEGER NOT NULL, next INTEGER, crc INTEGER NOT NULL, state BLOB NOT NULL,
           what_crc INTEGER NOT NULL, what BLOB NOT NULL
         );
         CREATE TABLE firing (
           schedule INTEGER NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, until INTEGER,
           decided_at INTEGER NOT NULL, crc INTEGER NOT NULL, outcome TEXT NOT NULL, why TEXT,
           id TEXT, PRIMARY KEY (schedule, number)
         ) WITHOUT ROWID;
         ALTER TABLE seen ADD COLUMN event INTEGER;
         CREATE TABLE answer (
           no INTEGER NOT NULL, event INTEGER NOT NULL, crc INTEGER, payload BLOB,
           PRIMARY KEY (no, event)
         ) WITHOUT ROWID;
         CREATE TABLE call (
           id BLOB PRIMARY KEY, at INTEGER NOT NULL, crc INTEGER NOT NULL, answer BLOB NOT NULL
         ) WITHOUT ROWID;
         CREATE INDEX call_at ON call (at);",
    )
}

/// Under which name of its workflow an instance was created, if that has another one today; which
/// values lie in a payload store, and which payloads name one. No row is rewritten.
fn to_8(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "ALTER TABLE instance ADD COLUMN born TEXT;
         CREATE INDEX instance_born ON instance (born) WHERE born IS NOT NULL;
         CREATE TABLE large (key BLOB PRIMARY KEY) WITHOUT ROWID;
         CREATE INDEX journal_large ON journal (substr(payload, 3, 16))
           WHERE payload >= x'FF06' AND payload < x'FF07';
         CREATE INDEX params_large ON params (substr(payload, 3, 16))
           WHERE payload >= x'FF06' AND payload < x'FF07';
         CREATE INDEX result_large ON result (substr(payload, 3, 16))
           WHERE payload >= x'FF06' AND payload < x'FF07';
         CREATE INDEX event_large ON event (substr(payload, 3, 16))
           WHERE payload >= x'FF06' AND payload < x'FF07';
         CREATE INDEX answer_large ON answer (substr(payload, 3, 16))
           WHERE payload >= x'FF06' AND payload < x'FF07';",
    )
}

/// Streams, and which of their rows are to be freed when.
fn to_9(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "CREATE TABLE chunk (
           id INTEGER PRIMARY KEY, no INTEGER NOT NULL, incarnation INTEGER NOT NULL,
           stream TEXT NOT NULL, place INTEGER NOT NULL, count INTEGER NOT NULL,
           chunks INTEGER NOT NULL, bytes INTEGER NOT NULL, part INTEGER NOT NULL,
           attempt INTEGER NOT NULL, mark INTEGER NOT NULL, at INTEGER NOT NULL,
           crc INTEGER NOT NULL, payload BLOB NOT NULL
         );
         CREATE UNIQUE INDEX chunk_place ON chunk (no, incarnation, stream, place);
         CREATE INDEX chunk_end ON chunk (no, incarnation, stream, place) WHERE mark > 1;
         CREATE TABLE litter (
           id INTEGER PRIMARY KEY, due INTEGER NOT NULL, no INTEGER NOT NULL,
           incarnation INTEGER NOT NULL, stream TEXT NOT NULL, upto INTEGER NOT NULL,
           since INTEGER NOT NULL, crc INTEGER NOT NULL
         );
         CREATE UNIQUE INDEX litter_due ON litter (due, no, incarnation, stream, upto);",
    )
}

/// The present schema.
pub(super) const CREATE: &str = "
CREATE TABLE store (                -- one row
  one INTEGER PRIMARY KEY CHECK (one = 1),
  boot INTEGER NOT NULL,            -- counts opens
  clean INTEGER NOT NULL,           -- whether the last owner closed the file
  watermark INTEGER NOT NULL,       -- heads of records up to this one are in instance.head
  last_seq INTEGER NOT NULL         -- no record above the watermark is older than this
);
INSERT INTO store VALUES (1, 0, 1, 0, 0);

CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE workflow (
  id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (namespace, name)
);
CREATE TABLE version (
  id INTEGER PRIMARY KEY, workflow INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (workflow, name)
);

CREATE TABLE instance (
  no INTEGER PRIMARY KEY,
  workflow INTEGER NOT NULL,
  version INTEGER NOT NULL,
  id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  status INTEGER NOT NULL,
  marked INTEGER NOT NULL,
  recoveries INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  head INTEGER NOT NULL,            -- seq of the last record, 0 if none; may lag behind
  created_at INTEGER NOT NULL,      -- times are microseconds since 1970, UTC
  updated_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  start_at INTEGER,
  parent INTEGER,
  called INTEGER NOT NULL,
  reason TEXT,                      -- why it is blocked, and at which step
  step TEXT,
  format INTEGER NOT NULL DEFAULT 0, -- which rules it keeps for life
  seed INTEGER,                     -- from which all that looks random in it derives; if none, its incarnation
  paused_at INTEGER,                -- since when it is paused, or is to be
  bulk INTEGER,                     -- what was done to many last, and to it among them
  keep_success INTEGER,             -- how long it is kept after its end, -1 for ever; if none, as
  keep_error INTEGER,               -- its workflow says
  undo INTEGER,                     -- how far the undoing of its steps is (L8); if none, nothing is undone
  schedule TEXT,                    -- id of the schedule that created it
  born TEXT                         -- name that its workflow had when it was created; if none, as now
);
CREATE UNIQUE INDEX instance_id ON instance (workflow, id);
CREATE INDEX instance_status ON instance (workflow, status);
CREATE INDEX instance_parent ON instance (parent) WHERE parent IS NOT NULL;
CREATE INDEX instance_schedule ON instance (schedule) WHERE schedule IS NOT NULL;
CREATE INDEX instance_born ON instance (born) WHERE born IS NOT NULL;
CREATE INDEX instance_ended ON instance (workflow, status, ended_at)
  WHERE ended_at IS NOT NULL AND keep_success IS NULL;
CREATE INDEX instance_keep ON instance (
  workflow,
  ended_at + nullif(CASE status WHEN 6 THEN keep_success ELSE keep_error END, -1)
) WHERE ended_at IS NOT NULL AND keep_success IS NOT NULL;

CREATE TABLE params (no INTEGER PRIMARY KEY, crc INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE result (no INTEGER PRIMARY KEY, crc INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE progress (no INTEGER PRIMARY KEY, crc INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE attributes (no INTEGER PRIMARY KEY, crc INTEGER NOT NULL, payload BLOB NOT NULL);

CREATE TABLE attribute (            -- the same once more, to find instances by
  key TEXT NOT NULL, value BLOB NOT NULL, no INTEGER NOT NULL, PRIMARY KEY (key, value, no)
) WITHOUT ROWID;

CREATE TABLE tally (                -- how many instances of a workflow have ended, and how
  workflow INTEGER PRIMARY KEY,
  complete INTEGER NOT NULL, errored INTEGER NOT NULL, terminated INTEGER NOT NULL
);

CREATE TABLE ended (                -- the same by version
  version INTEGER PRIMARY KEY,
  complete INTEGER NOT NULL, errored INTEGER NOT NULL, terminated INTEGER NOT NULL
);

CREATE TABLE failure (              -- how many errored in an hour, by why: of the last day
  hour INTEGER NOT NULL,            -- since 1970
  version INTEGER NOT NULL,
  step TEXT NOT NULL,               -- '' if there is none
  error TEXT NOT NULL,              -- its class, '' if nobody knows
  count INTEGER NOT NULL,
  since INTEGER NOT NULL,
  example INTEGER NOT NULL,
  PRIMARY KEY (hour, version, step, error)
) WITHOUT ROWID;

CREATE TABLE bucket (               -- what the creation rate of a namespace had left, and when
  namespace TEXT PRIMARY KEY, millionths INTEGER NOT NULL, at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE journal (
  seq INTEGER PRIMARY KEY,
  no INTEGER NOT NULL,
  prev INTEGER NOT NULL,            -- seq of the instance's previous record, 0 if none
  verdict INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  count INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  at INTEGER NOT NULL,
  retry_at INTEGER,
  event INTEGER,
  event_type TEXT,
  crc INTEGER NOT NULL,
  branch TEXT NOT NULL,
  name TEXT NOT NULL,
  key TEXT,
  payload BLOB,
  begun INTEGER,                    -- place of the last outcome that had been delivered when the operation began
  erases INTEGER                    -- first attempt that no longer counts, of a record that says so
);

CREATE TABLE sweep (                -- whose histories have rows that no longer count, as said by which record
  no INTEGER PRIMARY KEY, seq INTEGER NOT NULL
);

CREATE TABLE grave (                -- histories of deleted instances, by the last record not freed yet
  head INTEGER PRIMARY KEY, no INTEGER NOT NULL
);

CREATE TABLE wait (
  no INTEGER NOT NULL,
  id INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  count INTEGER NOT NULL,
  source INTEGER NOT NULL,          -- 0 timer, 1 retry, 2 event, 3 approval, 4 child, 5 a fixed time
  opened_at INTEGER NOT NULL,
  until INTEGER,
  subject,                          -- event types, approval id, or child's number
  branch TEXT NOT NULL,
  name TEXT NOT NULL,
  key TEXT,
  begun INTEGER,                    -- place of the last outcome that had been delivered when it was opened
  PRIMARY KEY (no, id)
) WITHOUT ROWID;

CREATE TABLE event (
  no INTEGER NOT NULL,
  id INTEGER NOT NULL,
  at INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  type TEXT NOT NULL,
  payload BLOB,
  PRIMARY KEY (no, id)
) WITHOUT ROWID;

CREATE TABLE seen (                 -- which events came, by their dedup_id
  no INTEGER NOT NULL,
  dedup TEXT NOT NULL,
  event INTEGER,                    -- of one that wants an answer
  PRIMARY KEY (no, dedup)
) WITHOUT ROWID;

CREATE TABLE answer (               -- to each event that wants one; without a sum there is none yet
  no INTEGER NOT NULL,
  event INTEGER NOT NULL,
  crc INTEGER,
  payload BLOB,
  PRIMARY KEY (no, event)
) WITHOUT ROWID;

CREATE TABLE chunk (                -- what instances send out while they run; some chunks together
  id INTEGER PRIMARY KEY,
  no INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  stream TEXT NOT NULL,
  place INTEGER NOT NULL,           -- in the stream, of the first of them: 1, 2, 3 …
  count INTEGER NOT NULL,           -- how many places they take
  chunks INTEGER NOT NULL,          -- how many chunks and bytes the stream holds with these
  bytes INTEGER NOT NULL,
  part INTEGER NOT NULL,            -- seq of the record of the body's block, or of what the passage came to
  attempt INTEGER NOT NULL,         -- that sent them; of a body always 1
  mark INTEGER NOT NULL,            -- 0 goes on, 1 opens, 2 ends, 3 ends, and what it came to is recorded
  at INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  payload BLOB NOT NULL
);
CREATE UNIQUE INDEX chunk_place ON chunk (no, incarnation, stream, place);
CREATE INDEX chunk_end ON chunk (no, incarnation, stream, place) WHERE mark > 1;

CREATE TABLE litter (               -- rows of streams that nobody is told any more
  id INTEGER PRIMARY KEY,
  due INTEGER NOT NULL,             -- when they go
  no INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,     -- -1: any
  stream TEXT NOT NULL,             -- '': all
  upto INTEGER NOT NULL,            -- those at places between these
  since INTEGER NOT NULL,
  crc INTEGER NOT NULL
);
CREATE UNIQUE INDEX litter_due ON litter (due, no, incarnation, stream, upto);

CREATE TABLE approval (
  number INTEGER PRIMARY KEY,       -- order of first writing
  id TEXT NOT NULL UNIQUE,
  no INTEGER NOT NULL,
  name TEXT NOT NULL,
  status INTEGER NOT NULL,
  asked_at INTEGER,
  until INTEGER,
  decided_at INTEGER,
  crc INTEGER NOT NULL,
  detail BLOB,
  decision BLOB,
  incarnation INTEGER               -- the life that asked, or for which it was decided; none: the first
);
CREATE INDEX approval_status ON approval (status);
CREATE INDEX approval_no ON approval (no);

CREATE TABLE letter (               -- what is to happen to an instance whose owner is another
  id INTEGER PRIMARY KEY,           -- order of commit
  range INTEGER,                    -- whose owner takes it in, or the engine that waits for an answer
  engine INTEGER,
  crc INTEGER NOT NULL,
  body BLOB NOT NULL
);

CREATE TABLE audit (                -- who did what
  number INTEGER PRIMARY KEY,       -- in order of decision
  at INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  actor TEXT,
  note TEXT,
  operation TEXT NOT NULL,
  namespace TEXT NOT NULL,
  workflow TEXT,
  id TEXT,
  filter TEXT,                      -- of what was done to many
  result TEXT NOT NULL
);
CREATE INDEX audit_instance ON audit (namespace, workflow, id);

CREATE TABLE bulk (                 -- what is done to many
  number INTEGER PRIMARY KEY,       -- as of its row in the audit
  ended_at INTEGER,
  crc INTEGER NOT NULL,
  body BLOB NOT NULL,               -- how far it is
  what_crc INTEGER NOT NULL,
  what BLOB NOT NULL                -- which instances
);

CREATE TABLE schedule (             -- what is begun again and again
  number INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  id TEXT NOT NULL,
  revision INTEGER NOT NULL,        -- how often it was changed
  next INTEGER,                     -- when it is to be looked at next
  crc INTEGER NOT NULL,
  state BLOB NOT NULL,              -- how far it is
  what_crc INTEGER NOT NULL,
  what BLOB NOT NULL                -- when what is created
);

CREATE TABLE firing (               -- what came of a time of a schedule
  schedule INTEGER NOT NULL,
  number INTEGER NOT NULL,          -- in order of decision
  at INTEGER NOT NULL,              -- the time, or the first of several in a row
  until INTEGER,                    -- the last of those
  decided_at INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  why TEXT,
  id TEXT,                          -- of the instance that was created for it
  PRIMARY KEY (schedule, number)
) WITHOUT ROWID;

CREATE TABLE call (                 -- what calls from outside were answered, of the last while
  id BLOB PRIMARY KEY,              -- that the call came with
  at INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  answer BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX call_at ON call (at);

CREATE TABLE large (                -- keys of values that lie in a payload store, or may
  key BLOB PRIMARY KEY
) WITHOUT ROWID;
-- Payloads that name one, by that. An index has those rows alone, so any other costs a comparison.
CREATE INDEX journal_large ON journal (substr(payload, 3, 16))
  WHERE payload >= x'FF06' AND payload < x'FF07';
CREATE INDEX params_large ON params (substr(payload, 3, 16))
  WHERE payload >= x'FF06' AND payload < x'FF07';
CREATE INDEX result_large ON result (substr(payload, 3, 16))
  WHERE payload >= x'FF06' AND payload < x'FF07';
CREATE INDEX event_large ON event (substr(payload, 3, 16))
  WHERE payload >= x'FF06' AND payload < x'FF07';
CREATE INDEX answer_large ON answer (substr(payload, 3, 16))
  WHERE payload >= x'FF06' AND payload < x'FF07';
";

/// Brings an older schema up to [`VERSION`], in one transaction.
pub(super) fn migrate(
    conn: &mut Connection,
    from: u32,
    steps: &[impl Fn(&Connection) -> rusqlite::Result<()>],
) -> rusqlite::Result<()> {
    let to = from + u32::try_from(steps.len()).expect("a list in this file");
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
    for step in steps {
        step(&tx)?;
    }
    tx.pragma_update(None, "user_version", to)?;
    tx.commit()
}
