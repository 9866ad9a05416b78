//! A start after `kill -9` at headline scale, and what it takes to get there (W3, W6).
//!
//! `cargo bench --package stepwell-benches --bench recovery -- [waiting] [queued]`: a process of
//! its own brings that many instances to wait for an event and queues that many others in batches
//! of 10,000; then single creations from 100 callers; it is killed, and another process opens its
//! store. Prints one line per figure. The store lies in the folder `STEPWELL_BENCH`, or in a
//! temporary one.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::{Duration, Instant};

use stepwell_core::engine::Config;
use stepwell_core::history::{Kind, Operation};
use stepwell_core::note::{Note, Start};
use stepwell_core::runtime::Engine;
use stepwell_core::settings::{Layer, Limit};
use stepwell_core::submission::{Body, Code, Command, IfExists, NewItem, Speech, Submission};
use stepwell_core::wait::{Source, Wait};

const BATCH: usize = 10_000;
const SINGLES: usize = 100_000;
const CALLERS: usize = 100;
/// Far beyond the end of a measurement.
const LATER: i64 = 4_000_000_000_000_000;

fn main() {
    let mut words = std::env::args().skip(1).filter(|it| !it.starts_with("--"));
    let first = words.next().unwrap_or_default();
    let path = words.next().map(PathBuf::from).unwrap_or_default();
    match first.as_str() {
        "fill" => {
            let mut number = || {
                words
                    .next()
                    .and_then(|it| it.parse().ok())
                    .expect("a number")
            };
            fill(&path, number(), number());
        }
        "start" => start(&path),
        _ => both(
            first.parse().unwrap_or(50_000),
            path.to_str()
                .and_then(|it| it.parse().ok())
                .unwrap_or(2_000_000),
        ),
    }
}

/// Fills, kills, starts: each in a process of its own.
fn both(waiting: usize, queued: usize) {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder =
        std::env::var_os("STEPWELL_BENCH").map_or(temporary.path().to_owned(), PathBuf::from);
    let path = folder.join("scale.db");
    let this = std::env::current_exe().expect("this program");
    if !path.exists() {
        let mut child = process::Command::new(&this)
            .arg("fill")
            .arg(&path)
            .args([waiting.to_string(), queued.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        for line in lines.map_while(Result::ok) {
            println!("{line}");
            if line == "full" {
                break;
            }
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
    }
    let status = process::Command::new(&this)
        .arg("start")
        .arg(&path)
        .status();
    assert!(status.expect("a process").success());
}

fn config(slots: u32) -> Config {
    Config {
        workflows: vec![("waits".into(), "1".into()), ("queues".into(), "1".into())],
        shards: None,
        slots,
        namespace: "default".into(),
        limits: Layer::default()
            .with(Limit::Concurrency, slots)
            .with(Limit::QueueEntries, 4_000_000),
        workflow_limits: vec![],
        retentions: Vec::new(),
        formerly: Vec::new(),
    }
}

fn open(path: &Path, slots: u32) -> Engine {
    Engine::open(path.to_str().expect("a path"), "bench", config(slots), None).expect("it opens")
}

fn code(workflow: &str) -> Code {
    Code {
        namespace: "default".into(),
        workflow: workflow.into(),
        version: "1".into(),
    }
}

fn item() -> NewItem {
    NewItem {
        params: Some(b"\xa1\x61n\x19\x04\xd2".as_slice().into()),
        ..NewItem::default()
    }
}

fn create_batch(engine: &Engine, workflow: &str, count: usize) -> u64 {
    let ticket = engine.draw_ticket();
    let items = (0..count).map(|_| item()).collect();
    let what = Box::new((code(workflow), items));
    let submission = Submission::Outside(Command::CreateBatch(ticket, what, IfExists::Raise, true));
    engine.submit(submission).expect("there is room");
    ticket
}

fn wait_of(engine: &Engine) -> Wait {
    Wait {
        begun: None,
        id: engine.draw_wait(),
        operation: Operation {
            kind: Kind::Event,
            branch: "".into(),
            name: "paid".into(),
            key: None,
            count: 1,
        },
        source: Source::Event(vec!["paid".into()]),
        opened_at: 0,
        until: Some(LATER),
    }
}

/// Hands over notes until `enough` says so.
fn until(engine: &Engine, mut enough: impl FnMut(Note) -> bool) {
    loop {
        let notes = engine.poll();
        if notes.is_empty() {
            std::thread::sleep(Duration::from_micros(50));
        }
        let mut done = false;
        for note in notes {
            done |= enough(note);
        }
        if done {
            return;
        }
    }
}

fn fill(path: &Path, waiting: usize, queued: usize) {
    let engine = open(path, u32::try_from(waiting + 1).expect("a small number"));
    let began = Instant::now();
    for _ in 0..waiting.div_ceil(BATCH) {
        let _ = create_batch(&engine, "waits", BATCH.min(waiting));
    }
    let mut left = waiting;
    if left > 0 {
        until(&engine, |note| {
            if let Note::Start(start) = note {
                rest(&engine, &start);
                left -= 1;
            }
            left == 0
        });
    }
    println!(
        "{waiting} wait after {:.2} s",
        began.elapsed().as_secs_f64()
    );
    engine.close().expect("closed");
    drop(engine);

    // One slot, taken by the first of them.
    let engine = open(path, 1);
    let before = size(path);
    let (_, memory) = memory();
    let (began, began_cpu) = (Instant::now(), cpu());
    let mut slowest = 0.0_f64;
    for done in 0..queued.div_ceil(BATCH) {
        let lap = Instant::now();
        let ticket = create_batch(&engine, "queues", BATCH);
        until(
            &engine,
            |note| matches!(note, Note::Reply { ticket: it, code: "", .. } if it == ticket),
        );
        slowest = slowest.max(lap.elapsed().as_secs_f64());
        if (done + 1) % 50 == 0 {
            let rate = (done + 1) as f64 * BATCH as f64 / began.elapsed().as_secs_f64();
            println!("  {} queued, {rate:.0}/s so far", (done + 1) * BATCH);
        }
    }
    if queued > 0 {
        let took = began.elapsed().as_secs_f64();
        let (_, now) = self::memory();
        println!(
            "create_batch of {BATCH}: {:.0}/s, {:.1} us of processor each, slowest batch {:.0} ms",
            queued as f64 / took,
            (cpu() - began_cpu) * 1e6 / queued as f64,
            slowest * 1e3
        );
        println!(
            "disk per entry: {:.0} bytes",
            (size(path) - before) as f64 / queued as f64
        );
        println!(
            "memory per entry: {:.0} bytes",
            (now - memory) as f64 * 1024.0 / queued as f64
        );
    }
    singles(&engine);
    println!("full");
    std::thread::sleep(Duration::from_secs(600));
}

fn rest(engine: &Engine, start: &Start) {
    let by = Body {
        no: start.no,
        incarnation: start.incarnation,
    };
    let wait = Box::new(wait_of(engine));
    for said in [
        by.says(Speech::Open(wait)),
        by.says(Speech::Quiet(0, u64::MAX)),
    ] {
        while let Err(stepwell_core::runtime::Refused::Full(_)) = engine.submit(said.clone()) {
            engine.wait_for_room();
        }
    }
}

/// One creation at a time from each of 100 callers.
fn singles(engine: &Engine) {
    let began = Instant::now();
    let mut open: HashMap<u64, Instant> = HashMap::new();
    let mut latencies = Vec::with_capacity(SINGLES);
    let mut left = SINGLES;
    let create = |open: &mut HashMap<u64, Instant>| {
        let ticket = engine.draw_ticket();
        let what = Box::new((code("queues"), item()));
        open.insert(ticket, Instant::now());
        let submission = Submission::Outside(Command::Create(ticket, what, IfExists::Raise));
        engine.gather(submission).expect("there is room");
    };
    for _ in 0..CALLERS {
        create(&mut open);
    }
    engine.flush();
    while left > 0 {
        let notes = engine.poll();
        if notes.is_empty() {
            std::thread::sleep(Duration::from_micros(20));
        }
        for note in notes {
            if let Note::Reply { ticket, .. } = note {
                latencies.extend(open.remove(&ticket).map(|it| it.elapsed()));
                left -= 1;
                if left >= CALLERS {
                    create(&mut open);
                }
                if left == 0 {
                    break;
                }
            }
        }
        engine.flush();
    }
    latencies.sort_unstable();
    let rate = SINGLES as f64 / began.elapsed().as_secs_f64();
    println!(
        "single creations by {CALLERS}: {rate:.0}/s, p50 {:?}, p99 {:?}",
        latencies[SINGLES / 2],
        latencies[SINGLES * 99 / 100]
    );
}

fn start(path: &Path) {
    let began = Instant::now();
    let engine = open(path, 1_000);
    let (opened, opened_cpu) = (began.elapsed(), cpu());
    let ticket = engine.draw_ticket();
    let what = Box::new((code("queues"), item()));
    engine
        .submit(Submission::Outside(Command::Create(
            ticket,
            what,
            IfExists::Raise,
        )))
        .expect("there is room");
    let (peak, now) = memory();
    until(
        &engine,
        |note| matches!(note, Note::Reply { ticket: it, .. } if it == ticket),
    );
    println!(
        "open: {:.2} s ({opened_cpu:.2} s of processor); first create answered after {:.2} s",
        opened.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    println!(
        "memory: {:.0} MiB, peak {:.0} MiB",
        now as f64 / 1024.0,
        peak as f64 / 1024.0
    );
    for (name, value) in engine.statistics() {
        if ["queued", "waiting", "live", "leased"].contains(&name) {
            println!("  {name} {value}");
        }
    }
    // Killed too: the next one starts from the same.
    std::process::exit(0);
}

/// Processor time of this process so far, in seconds: what counts where others use the machine too.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(") ").next().unwrap_or_default();
    let words = after.split_whitespace().skip(11).take(2);
    words.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Peak and present resident memory in KiB.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|it| it.starts_with(name));
        line.and_then(|it| it.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    };
    (of("VmHWM:"), of("VmRSS:"))
}

fn size(path: &Path) -> u64 {
    ["", "-wal"]
        .iter()
        .map(|suffix| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            std::fs::metadata(name).map_or(0, |it| it.len())
        })
        .sum()
}
