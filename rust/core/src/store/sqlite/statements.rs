//! The SQL of a batch, prepared at most once per batch and looked up by number, not by text.

use rusqlite::{CachedStatement, Connection};

macro_rules! statements {
    ($($name:ident = $sql:expr;)+) => {
        /// One statement of the writer.
        #[derive(Debug, Clone, Copy)]
        pub(super) enum Sql { $($name),+ }

        const TEXTS: &[&str] = &[$($sql),+];
        const COUNT: usize = TEXTS.len();
    };
}

statements! {
    Create = "INSERT INTO instance (no, workflow, version, id, incarnation, status, marked, \
        recoveries, priority, head, created_at, updated_at, started_at, start_at, parent, called, \
        format, seed, keep_success, keep_error, schedule) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, 0, ?9, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) \
        ON CONFLICT (workflow, id) DO NOTHING";
    FindNo = "SELECT no, status FROM instance WHERE workflow = ? AND id = ?";
    Look = "SELECT incarnation, status, head FROM instance WHERE no = ?";
    Params = "INSERT INTO params VALUES (?, ?, ?)";
    VersionOf = "SELECT version FROM instance WHERE no = ?";
    Version = "UPDATE instance SET version = ? WHERE no = ?";
    Place = "UPDATE instance SET priority = ?, start_at = ? WHERE no = ?";
    Attributes = "INSERT OR REPLACE INTO attributes VALUES (?, ?, ?)";
    HadAttributes = "SELECT payload FROM attributes WHERE no = ?";
    NoAttribute = "DELETE FROM attribute WHERE key = ? AND value = ? AND no = ?";
    Attribute = "INSERT OR IGNORE INTO attribute VALUES (?, ?, ?)";
    Progress = "INSERT OR REPLACE INTO progress VALUES (?, ?, ?)";
    Result = "INSERT OR REPLACE INTO result VALUES (?, ?, ?)";
    ClearResult = "DELETE FROM result WHERE no = ?";
    Append = "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    Sweep = "INSERT OR REPLACE INTO sweep VALUES (?, ?)";
    Open = "INSERT OR REPLACE INTO wait VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    Close = "DELETE FROM wait WHERE no = ? AND id = ?";
    Postpone = "UPDATE wait SET until = ?3 WHERE no = ?1 AND id = ?2";
    CloseAll = "DELETE FROM wait WHERE no = ?";
    Buffer = "INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?)";
    Take = "DELETE FROM event WHERE no = ? AND id = ?";
    TakeAll = "DELETE FROM event WHERE no = ?";
    Seen = "INSERT INTO seen (no, dedup) VALUES (?, ?) ON CONFLICT DO NOTHING";
    Ask = "INSERT INTO answer (no, event) SELECT no, id FROM event WHERE no = ? AND id = ? \
        ON CONFLICT DO NOTHING";
    AskedBy = "UPDATE seen SET event = ?2 WHERE no = ?1 AND dedup = ?3";
    TakenAt = "SELECT event FROM journal WHERE seq = ?2 AND no = ?1 AND kind = ?3";
    Answer = "UPDATE answer SET crc = ?3, payload = ?4 WHERE no = ?1 AND event = ?2 AND crc IS NULL";
    Status = "UPDATE instance SET status = ?1, marked = ?2, recoveries = ?3, reason = ?4, \
        updated_at = ?5, started_at = coalesce(started_at, ?6), ended_at = ?7, \
        head = max(head, ?8), step = ?11, \
        paused_at = CASE WHEN ?12 THEN coalesce(paused_at, ?5) END, \
        undo = ?13 WHERE no = ?9 AND incarnation = ?10";
    Restart = "UPDATE instance SET incarnation = ?1, seed = ?2, status = 0, marked = 0, recoveries = 0, \
        reason = NULL, step = NULL, started_at = NULL, ended_at = NULL, start_at = NULL, \
        paused_at = NULL, undo = NULL, updated_at = ?3 WHERE no = ?4 AND incarnation = ?5";
    LastChunk = "SELECT place + count, chunks, bytes FROM chunk \
        WHERE no = ? AND incarnation = ? AND stream = ? ORDER BY place DESC LIMIT 1";
    LastEnd = "SELECT place, chunks, bytes FROM chunk \
        WHERE no = ? AND incarnation = ? AND stream = ? AND mark > 1 ORDER BY place DESC LIMIT 1";
    Chunks = "INSERT OR IGNORE INTO chunk (no, incarnation, stream, place, count, chunks, bytes, part, attempt, \
        mark, at, crc, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    Litter = "INSERT OR IGNORE INTO litter (due, no, incarnation, stream, upto, since, crc) \
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    LitterAll = "INSERT OR IGNORE INTO litter (due, no, incarnation, stream, upto, since, crc) \
        SELECT 0, ?1, ?2, '', 0, 0, ?3 \
        WHERE EXISTS (SELECT 1 FROM chunk WHERE no = ?1 AND (?2 = -1 OR incarnation = ?2))";
    OldestLitter = "SELECT id, due, no, incarnation, stream, upto, since, crc FROM litter \
        WHERE due < ? ORDER BY due, no, incarnation, stream, upto LIMIT 1";
    Unlitter = "DELETE FROM litter WHERE id = ?";
    FreeChunks = "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE no = ?1 \
        AND incarnation = ?2 AND stream = ?3 AND place > ?4 AND place < ?5 AND part = 0 LIMIT ?6)";
    FreeStreams = "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE no = ?1 \
        AND (?2 = -1 OR incarnation = ?2) LIMIT ?3)";
    NewParams = "INSERT OR REPLACE INTO params VALUES (?, ?, ?)";
    ClearProgress = "DELETE FROM progress WHERE no = ?";
    Bury = "INSERT OR REPLACE INTO grave VALUES (?, ?)";
    Unsweep = "DELETE FROM sweep WHERE no = ?";
    ClearAttributes = "DELETE FROM attributes WHERE no = ?";
    ClearParams = "DELETE FROM params WHERE no = ?";
    Unsee = "DELETE FROM seen WHERE no = ?";
    Unanswer = "DELETE FROM answer WHERE no = ?";
    ClearApprovals = "DELETE FROM approval WHERE no = ?";
    Delete = "DELETE FROM instance WHERE no = ?";
    Approval = "INSERT INTO approval (id, no, name, status, asked_at, until, decided_at, crc, \
    detail, decision, incarnation) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id) DO UPDATE SET \
        no = ?2, name = ?3, status = ?4, asked_at = ?5, until = ?6, decided_at = ?7, crc = ?8, \
        detail = ?9, decision = ?10, incarnation = ?11";
    Leave = "INSERT INTO letter (range, engine, crc, body) VALUES (?, ?, ?, ?)";
    TakeIn = "DELETE FROM letter WHERE id = ?";
    Audit = "INSERT OR REPLACE INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    ForgetAudit = "DELETE FROM audit WHERE number IN \
        (SELECT number FROM audit ORDER BY number LIMIT ?1) AND at < ?2";
    Called = "INSERT OR REPLACE INTO call VALUES (?, ?, ?, ?)";
    ForgetCalls = "DELETE FROM call WHERE id IN \
        (SELECT id FROM call WHERE at < ?2 ORDER BY at LIMIT ?1)";
    Bulk = "INSERT OR REPLACE INTO bulk VALUES (?, ?, ?, ?, ?, ?)";
    Advance = "UPDATE bulk SET ended_at = ?2, crc = ?3, body = ?4 WHERE number = ?1";
    Touched = "UPDATE instance SET bulk = ?2 WHERE no = ?1";
    ForgetBulks = "DELETE FROM bulk WHERE number IN \
        (SELECT number FROM bulk WHERE ended_at < ?2 ORDER BY number LIMIT ?1)";
    Schedule = "INSERT OR REPLACE INTO schedule VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    GoOn = "UPDATE schedule SET namespace = ?2, id = ?3, revision = ?4, next = ?5, crc = ?6, \
        state = ?7 WHERE number = ?1";
    Firing = "INSERT OR REPLACE INTO firing VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    ForgetFirings = "DELETE FROM firing WHERE schedule = ?1 AND number IN \
        (SELECT number FROM firing WHERE schedule = ?1 ORDER BY number DESC LIMIT -1 OFFSET ?2)";
    Unschedule = "DELETE FROM schedule WHERE number = ?";
    Unfire = "DELETE FROM firing WHERE schedule = ?";
    Meta = "INSERT OR REPLACE INTO meta VALUES (?, ?)";
    Bucket = "INSERT OR REPLACE INTO bucket VALUES (?, ?, ?)";
    Large = "INSERT OR IGNORE INTO large VALUES (?)";
    ForgetLarge = "DELETE FROM large WHERE key = ?";
    Ended = "INSERT OR REPLACE INTO tally \
        SELECT id, ?3, ?4, ?5 FROM workflow WHERE namespace = ?1 AND name = ?2";
    Failed = "INSERT OR REPLACE INTO failure SELECT ?4, v.id, ?5, ?6, ?7, ?8, ?9 FROM workflow w \
        JOIN version v ON v.workflow = w.id AND v.name = ?3 WHERE w.namespace = ?1 AND w.name = ?2";
    ForgetFailed = "DELETE FROM failure WHERE hour < ?";
    EndedVersion = "INSERT OR REPLACE INTO ended SELECT v.id, ?4, ?5, ?6 FROM workflow w \
        JOIN version v ON v.workflow = w.id AND v.name = ?3 WHERE w.namespace = ?1 AND w.name = ?2";
}

/// How many statements of the writer there are, for SQLite's cache.
pub(super) const CACHE: usize = COUNT + 24;

/// The statements a batch has used so far.
pub(super) struct Statements<'c> {
    conn: &'c Connection,
    ready: [Option<CachedStatement<'c>>; COUNT],
}

impl<'c> Statements<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self {
            conn,
            ready: [const { None }; COUNT],
        }
    }

    /// Returns a statement, ready to be executed.
    pub(super) fn get(&mut self, sql: Sql) -> rusqlite::Result<&mut CachedStatement<'c>> {
        let slot = &mut self.ready[sql as usize];
        match slot {
            Some(statement) => Ok(statement),
            None => Ok(slot.insert(self.conn.prepare_cached(TEXTS[sql as usize])?)),
        }
    }
}
