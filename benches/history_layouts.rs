//! Three ways to lay out histories, under the load that tells them apart: many instances that step
//! in turn, so that neighbours in time are strangers in the table.
//!
//! Written bytes are the process's `write_bytes` in `/proc/self/io`: everything that reached the
//! block layer, WAL and checkpoints alike. Settings are those of the store: WAL, full sync, 4 KiB
//! pages, `auto_vacuum=INCREMENTAL`, a passive checkpoint every 1,536 pages of WAL. The figures
//! stand in docs/adr/0001-history-layout.md. Run it with
//! `cargo bench -p stepwell-benches --bench history_layouts`.

#![expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]

use std::path::Path;
use std::time::Instant;

use rusqlite::{params, Connection};

const INSTANCES: u64 = 50_000;
const ROWS: u64 = 500_000;
const PAYLOAD: [u8; 100] = [7; 100];
const WAL_PAGES: i64 = 1_536;
/// The chain's heads are persisted after so many rows.
const HEADS_EVERY: u64 = 200_000;

const COLUMNS: &str = "verdict INTEGER NOT NULL, attempt INTEGER NOT NULL, kind INTEGER NOT NULL, \
     count INTEGER NOT NULL, started_at INTEGER NOT NULL, at INTEGER NOT NULL, crc INTEGER NOT \
     NULL, \
     branch TEXT NOT NULL, name TEXT NOT NULL, payload BLOB";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    /// Key (instance, place), without rowid.
    Clustered,
    /// Appended by rowid, with an index on the instance.
    Indexed,
    /// Appended by rowid, each row naming the instance's previous one.
    Chain,
}

impl Layout {
    fn tables(self) -> String {
        let journal = match self {
            Self::Clustered => format!(
                "CREATE TABLE journal (no INTEGER, seq INTEGER, prev INTEGER, {COLUMNS}, \
                 PRIMARY KEY (no, seq)) WITHOUT ROWID;"
            ),
            Self::Indexed => format!(
                "CREATE TABLE journal (seq INTEGER PRIMARY KEY, no INTEGER, prev INTEGER, {COLUMNS});
                 CREATE INDEX journal_no ON journal (no);"
            ),
            Self::Chain => format!(
                "CREATE TABLE journal (seq INTEGER PRIMARY KEY, no INTEGER, prev INTEGER, {COLUMNS});"
            ),
        };
        // As wide as the store's table of instances.
        format!(
            "{journal} CREATE TABLE instance (no INTEGER PRIMARY KEY, head INTEGER, rest BLOB);"
        )
    }
}

/// In which order the instances step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    ByNumber,
    Shuffled,
}

impl Order {
    /// Returns whose turn it is; each instance has one turn in each round.
    fn instance(self, row: u64) -> u64 {
        match self {
            Self::ByNumber => row % INSTANCES,
            // A prime that does not divide the number of instances: a permutation, far apart.
            Self::Shuffled => row * 22_307 % INSTANCES,
        }
    }
}

/// One line of the table.
struct Cell {
    layout: Layout,
    order: Order,
    batch: u64,
    bytes_per_row: Option<f64>,
    rows_per_second: f64,
    file_bytes_per_row: f64,
}

fn main() -> rusqlite::Result<()> {
    // `cargo test` runs benches too, with this argument missing.
    if !std::env::args().any(|it| it == "--bench") {
        return Ok(());
    }
    println!("{INSTANCES} instances in turn, {ROWS} rows of 100 payload bytes\n");
    println!(
        "| order | layout | rows per commit | bytes written per row | rows/s | file bytes \
    per row |"
    );
    println!("|---|---|---|---|---|---|");
    let mut cells = Vec::new();
    for order in [Order::ByNumber, Order::Shuffled] {
        for layout in [Layout::Clustered, Layout::Indexed, Layout::Chain] {
            for batch in [100, 500, 2_000] {
                let cell = measure(layout, order, batch)?;
                println!(
                    "| {order:?} | {layout:?} | {batch} | {} | {:.0} | {:.0} |",
                    cell.bytes_per_row
                        .map_or("?".into(), |it| format!("{it:.0}")),
                    cell.rows_per_second,
                    cell.file_bytes_per_row
                );
                cells.push(json(&cell));
            }
        }
    }
    println!("\n[{}]", cells.join(","));
    Ok(())
}

fn json(cell: &Cell) -> String {
    format!(
        "{{\"order\":\"{:?}\",\"layout\":\"{:?}\",\"rows_per_commit\":{},\"bytes_written_per_row\":{},\"rows_per_second\":{:.0},\"file_bytes_per_row\":{:.0}}}",
        cell.order,
        cell.layout,
        cell.batch,
        cell.bytes_per_row.map_or("null".into(), |it| format!("{it:.0}")),
        cell.rows_per_second,
        cell.file_bytes_per_row
    )
}

fn measure(layout: Layout, order: Order, batch: u64) -> rusqlite::Result<Cell> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("layout.db");
    let conn = open(&path, layout)?;
    let mut heads = vec![0_u64; usize::try_from(INSTANCES).expect("small")];
    let before = written_bytes();
    let began = Instant::now();
    let mut at = 0;
    while at < ROWS {
        let end = ROWS.min(at + batch);
        append(&conn, order, &mut heads, at..end)?;
        if layout == Layout::Chain && at / HEADS_EVERY != end / HEADS_EVERY {
            persist(&conn, &heads)?;
        }
        fold(&conn, WAL_PAGES)?;
        at = end;
    }
    fold(&conn, 1)?;
    let seconds = began.elapsed().as_secs_f64();
    let after = written_bytes();
    conn.close().map_err(|(_, error)| error)?;
    let length = path.metadata().map_or(0, |it| it.len());
    Ok(Cell {
        layout,
        order,
        batch,
        bytes_per_row: before
            .zip(after)
            .map(|(before, after)| ratio(after - before)),
        rows_per_second: ROWS as f64 / seconds,
        file_bytes_per_row: ratio(length),
    })
}

fn ratio(bytes: u64) -> f64 {
    bytes as f64 / ROWS as f64
}

fn open(path: &Path, layout: Layout) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.execute_batch("PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;")?;
    conn.execute_batch(
        "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-32768;",
    )?;
    conn.execute_batch(&layout.tables())?;
    conn.execute_batch("BEGIN")?;
    for no in 0..INSTANCES {
        let mut insert = conn.prepare_cached("INSERT INTO instance VALUES (?, 0, ?)")?;
        insert.execute(params![no as i64, [1_u8; 80]])?;
    }
    conn.execute_batch("COMMIT")?;
    fold(&conn, 1)?;
    Ok(conn)
}

fn append(
    conn: &Connection,
    order: Order,
    heads: &mut [u64],
    rows: std::ops::Range<u64>,
) -> rusqlite::Result<()> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    {
        let mut insert = conn.prepare_cached(
            "INSERT INTO journal (no, seq, prev, verdict, attempt, kind, count, started_at, at, \
            crc, \
             branch, name, payload) VALUES (?, ?, ?, 0, 1, 0, 1, ?, ?, ?, '', 'charge card', ?)",
        )?;
        for row in rows {
            let (no, seq) = (order.instance(row), row + 1);
            let head = &mut heads[usize::try_from(no).expect("small")];
            let at = 1_790_000_000_000_000 + row as i64;
            insert.execute(params![
                no as i64,
                seq as i64,
                *head as i64,
                at,
                at,
                0x7fff_ffff,
                PAYLOAD
            ])?;
            *head = seq;
        }
    }
    conn.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

fn persist(conn: &Connection, heads: &[u64]) -> rusqlite::Result<()> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let mut update = conn.prepare_cached("UPDATE instance SET head = ? WHERE no = ?")?;
    for (no, head) in heads.iter().enumerate() {
        update.execute(params![*head as i64, no as i64])?;
    }
    conn.execute_batch("COMMIT")
}

fn fold(conn: &Connection, pages: i64) -> rusqlite::Result<()> {
    let count = |mode: &str| -> rusqlite::Result<i64> {
        conn.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?
            .query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
    };
    if count("NOOP")? >= pages {
        count("PASSIVE")?;
    }
    Ok(())
}

/// Returns what this process has caused to be written; `None` where the system does not tell.
fn written_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = text
        .lines()
        .find_map(|it| it.strip_prefix("write_bytes: "))?;
    line.parse().ok()
}
