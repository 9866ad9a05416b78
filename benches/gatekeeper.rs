//! Grants per second of the gatekeeper, under demands made to be hard for it (W8), and what a cycle
//! of leases costs. Every sample is checked, outside the time: C1 to C4 hold in it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use stepwell_core::gatekeeper::lease::holder::{Holder, Want};
use stepwell_core::gatekeeper::lease::lessor::Lessor;
use stepwell_core::gatekeeper::lease::Terms;
use stepwell_core::gatekeeper::{Demand, Gatekeeper, Grant};

const SHARDS: u32 = 4_096;
const SLOTS: u32 = 50_000;

/// A world of demands: how many namespaces, workflows in each, shards that want slots.
#[derive(Debug, Clone, Copy)]
struct Shape {
    name: &'static str,
    namespaces: u32,
    workflows: u32,
    shards: u32,
    /// Slots that are free in each cycle.
    free: u32,
    wanted: fn(u32) -> u32,
    head: fn(u64) -> u64,
}

/// In no order.
fn shuffled(shard: u64) -> u64 {
    shard * 2_654_435_761 % 1_000_003
}

const SHAPES: [Shape; 7] = [
    Shape {
        name: "1 workflow, all slots",
        namespaces: 1,
        workflows: 1,
        shards: SHARDS,
        free: SLOTS,
        wanted: |_| 1_000,
        head: shuffled,
    },
    Shape {
        name: "8 workflows in 4 namespaces, all slots",
        namespaces: 4,
        workflows: 2,
        shards: SHARDS,
        free: SLOTS,
        wanted: |_| 1_000,
        head: shuffled,
    },
    Shape {
        name: "1,000 workflows in one namespace, all slots",
        namespaces: 1,
        workflows: 1_000,
        shards: 4,
        free: SLOTS,
        wanted: |_| 1_000,
        head: shuffled,
    },
    // Shares that differ from shard to shard: many rounds until they are level.
    Shape {
        name: "1 workflow, uneven shards, all slots",
        namespaces: 1,
        workflows: 1,
        shards: SHARDS,
        free: SLOTS,
        wanted: |shard| 1 << (shard % 21),
        head: shuffled,
    },
    // A full engine: what an ordinary batch gives back is all there is for 4,096 shards.
    Shape {
        name: "1 workflow, 512 slots",
        namespaces: 1,
        workflows: 1,
        shards: SHARDS,
        free: 512,
        wanted: |_| 1_000,
        head: shuffled,
    },
    Shape {
        name: "8 workflows in 4 namespaces, 512 slots",
        namespaces: 4,
        workflows: 2,
        shards: SHARDS,
        free: 512,
        wanted: |_| 1_000,
        head: shuffled,
    },
    // Each head is better than all before it.
    Shape {
        name: "8 workflows in 4 namespaces, 512 slots, least urgent first",
        namespaces: 4,
        workflows: 2,
        shards: SHARDS,
        free: 512,
        wanted: |_| 1_000,
        head: |shard| 5_000 - shard,
    },
];

impl Shape {
    fn gate(&self) -> Gatekeeper {
        let mut gate = Gatekeeper::new(SLOTS);
        for _ in 0..self.namespaces {
            gate.add_namespace(SLOTS);
        }
        for workflow in 0..self.namespaces * self.workflows {
            gate.add_workflow(workflow % self.namespaces, None);
        }
        gate
    }

    /// Shard by shard.
    fn demands(&self) -> Vec<Demand<u64>> {
        let mut demands = Vec::new();
        for workflow in 0..self.namespaces * self.workflows {
            for shard in 0..self.shards {
                demands.push(Demand {
                    shard,
                    workflow,
                    wanted: (self.wanted)(shard),
                    head: (self.head)(shard.into()),
                });
            }
        }
        demands
    }
}

/// C1: no more than the limit. C2: none left over. C3: no workflow has two more than another.
/// C4: of the shards of one workflow, those with the best heads, or all of them.
fn check(gate: &Gatekeeper, demands: &[Demand<u64>], grants: &[Grant], free: u32) {
    assert!(gate.leased() <= gate.slots(), "C1");
    let granted: u32 = grants.iter().map(|it| it.slots).sum();
    assert_eq!(granted, free, "C2");
    let mut heads: BTreeMap<u32, Vec<(u64, u32)>> = BTreeMap::new();
    for it in demands {
        let of = heads.entry(it.workflow).or_default();
        of.push((it.head, it.shard));
    }
    let leased = heads.keys().map(|it| gate.leased_to(*it));
    let most = leased.clone().max().expect("somebody asked");
    assert!(most - leased.min().expect("somebody asked") <= 1, "C3");
    for (workflow, mut heads) in heads {
        heads.sort_unstable();
        let served = grants.iter().filter(|it| it.workflow == workflow);
        let served: Vec<_> = served.map(|it| it.shard).collect();
        let best: Vec<_> = heads.iter().map(|it| it.1).take(served.len()).collect();
        assert_eq!(served, best, "C4");
    }
}

fn grants(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gatekeeper, 4,096 shards, 50,000 slots");
    for shape in SHAPES {
        group.throughput(Throughput::Elements(shape.free.into()));
        let demands = shape.demands();
        group.bench_function(BenchmarkId::from_parameter(shape.name), |bencher| {
            let mut gate = shape.gate();
            // The rest runs, evenly spread.
            let all = shape.namespaces * shape.workflows;
            for at in 0..SLOTS - shape.free {
                assert!(gate.take(at % all));
            }
            bencher.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    let began = Instant::now();
                    let grants = gate.grant(&demands, SLOTS);
                    took += began.elapsed();
                    check(&gate, &demands, &grants, shape.free);
                    for it in grants {
                        (0..it.slots).for_each(|_| gate.give_back(it.workflow));
                    }
                }
                took
            });
        });
    }
    group.finish();
}

/// The gatekeeper's part of one cycle in which every shard has returned its slots and wants others.
fn leases(criterion: &mut Criterion) {
    const TERMS: Terms = Terms {
        lease: 10_000_000,
        margin: 1_000_000,
        cycle: 1_000_000,
    };
    let mut gate = Gatekeeper::new(SLOTS);
    for workflow in 0..8 {
        if workflow < 4 {
            gate.add_namespace(SLOTS);
        }
        gate.add_workflow(workflow % 4, None);
    }
    let mut group = criterion.benchmark_group("leases");
    group.throughput(Throughput::Elements(SLOTS.into()));
    group.bench_function("a cycle of 4,096 shards, 8 workflows", |bencher| {
        let mut lessor: Lessor<u64> = Lessor::new(gate.clone(), TERMS);
        let mut holders: Vec<_> = (0..SHARDS).map(|it| Holder::new(it, 1, TERMS)).collect();
        let mut now = 0;
        bencher.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                now += TERMS.cycle;
                let asked = holders.iter_mut().zip(0u64..).map(|(holder, shard)| {
                    let want = |workflow| Want {
                        workflow,
                        wanted: 1_000,
                        head: shard * 7_919 % 4_099 + u64::from(workflow),
                    };
                    let wants: Vec<_> = (0..8).map(want).collect();
                    holder.request(&wants, now).expect("a cycle has passed")
                });
                let requests: Vec<_> = asked.collect();
                let began = Instant::now();
                let replies = lessor.cycle(requests, now);
                took += began.elapsed();
                assert_eq!(lessor.gate().leased(), SLOTS, "C1, C2");
                // They hear of it, have nothing to start, and return it all with their next
                // request.
                for reply in &replies {
                    holders[reply.shard as usize].hear(reply, now);
                }
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, grants, leases);
criterion_main!(benches);
