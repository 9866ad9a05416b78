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
  reason TEXT
);
CREATE UNIQUE INDEX instance_id ON instance (workflow, id);
CREATE INDEX instance_status ON instance (workflow, status);
CREATE INDEX instance_parent ON instance (parent) WHERE parent IS NOT NULL;

CREATE TABLE params (no INTEGER PRIMARY KEY, crc INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE result (no INTEGER PRIMARY KEY, crc INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE progress (no INTEGER PRIMARY KEY, crc INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE attributes (no INTEGER PRIMARY KEY, crc INTEGER NOT NULL, payload BLOB NOT NULL);

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
  payload BLOB
);

CREATE TABLE wait (
  no INTEGER NOT NULL,
  id INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  count INTEGER NOT NULL,
  source INTEGER NOT NULL,          -- 0 timer, 1 retry, 2 event, 3 approval, 4 child
  opened_at INTEGER NOT NULL,
  until INTEGER,
  subject,                          -- event types, approval id, or child's number
  branch TEXT NOT NULL,
  name TEXT NOT NULL,
  key TEXT,
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

CREATE TABLE seen (no INTEGER NOT NULL, dedup TEXT NOT NULL, PRIMARY KEY (no, dedup)) WITHOUT ROWID;

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
  decision BLOB
);
CREATE INDEX approval_status ON approval (status);
