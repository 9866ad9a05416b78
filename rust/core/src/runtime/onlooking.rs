//! A store that is asked without an engine: the questions that an engine's loader answers, and the
//! figures that an engine has in memory, counted anew.
//!
//! Each question opens the store and closes it again, so nothing is held between two. What changed
//! while it was read is read anew: see `store::sqlite::onlooker`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::questions::{answer, Parent, Question};
use crate::clock::Clock;
use crate::codes;
use crate::engine::standing_of;
use crate::error::{Error, Kind};
use crate::failures::{first_hour, Alike, Lately};
use crate::lifecycle::Status;
use crate::note::Data;
use crate::store::sqlite::{Files, Left, Onlooker, OpenedBy};
use crate::store::{self, Filter};
use crate::tally::{Asked, Figures, States, Tally, Wanted};

/// How often what changed meanwhile is read anew.
const AGAIN: u32 = 5;

/// Where an answer came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Who owns the store, and could have been asked.
    pub owner: Option<OpenedBy>,
    /// What the store says of itself.
    pub left: Left,
}

/// An answer, and where it came from; `None` if there is no store.
pub type Seen<T> = Result<Option<(T, Sight)>, Error>;

/// Workflow, version, and how many instances are in each state.
pub type OfVersion = (Arc<str>, Arc<str>, States);

/// A store, whoever owns it.
#[derive(Debug)]
pub struct StoreFile {
    path: PathBuf,
    clock: Clock,
}

impl StoreFile {
    /// Takes the path of a store. Nothing is opened.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            clock: Clock::new(None),
        }
    }

    /// Answers a question; `None` if there is no store.
    ///
    /// # Errors
    /// If the store cannot be read, or is of another version.
    pub fn ask(&self, question: &Question) -> Seen<Data> {
        self.read(|it| {
            if matches!(question, Question::History(_) | Question::Rewind(..)) {
                it.find_heads()?;
            }
            answer(it.reader(), question)
        })
    }

    /// Answers with a page of instances, as the engine's `list`.
    ///
    /// # Errors
    /// As [`StoreFile::ask`].
    pub fn list(
        &self,
        filter: &Filter,
        parent: Option<&Parent>,
        wanted: Option<&Wanted>,
    ) -> Seen<Data> {
        self.read(|it| {
            let among = match wanted {
                Some(wanted) => {
                    let asked = Asked {
                        namespace: filter.namespace.as_deref(),
                        workflow: filter.workflow.as_deref(),
                        version: filter.version.as_deref(),
                        statuses: &filter.statuses,
                        beyond: filter.beyond,
                        newest_first: filter.newest_first,
                        most: filter.limit as usize,
                        now: self.clock.now(),
                    };
                    Some(self.tally(it)?.among(wanted, &asked, nothing_starts))
                }
                None => None,
            };
            let question = Question::List(
                Box::new(filter.clone()),
                parent.cloned().map(Box::new),
                among.map(Box::new),
            );
            answer(it.reader(), &question)
        })
    }

    /// Answers why instances are where they are.
    ///
    /// # Errors
    /// As [`StoreFile::ask`].
    pub fn reasons(&self, namespace: Option<&str>, workflow: Option<&str>) -> Seen<Data> {
        self.read(|it| {
            let tally = self.tally(it)?;
            let now = self.clock.now();
            let told = tally.reasons((namespace, workflow), now, nothing_starts);
            answer(it.reader(), &Question::Reasons(told, now))
        })
    }

    /// Returns how many instances are in each state that any is in.
    ///
    /// # Errors
    /// As [`StoreFile::ask`].
    pub fn counts(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> Seen<Vec<(Status, u64)>> {
        self.read(|it| it.counts(namespace, workflow))
    }

    /// Returns how many instances of each version are in each state.
    ///
    /// # Errors
    /// As [`StoreFile::ask`].
    pub fn versions(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> Seen<Vec<OfVersion>> {
        self.read(|it| Ok(self.tally(it)?.versions(namespace, workflow)))
    }

    /// Returns namespace, workflow and version of whatever was created.
    ///
    /// # Errors
    /// As [`StoreFile::ask`].
    pub fn names(&self) -> Seen<Vec<[Box<str>; 3]>> {
        self.read(Onlooker::versions)
    }

    /// Reads until nothing has changed meanwhile.
    fn read<T>(&self, mut read: impl FnMut(&mut Onlooker) -> Result<T, store::Error>) -> Seen<T> {
        let mut left = AGAIN;
        loop {
            let Some(files) = Files::look(&self.path)? else {
                return Ok(None);
            };
            let found = files.open().and_then(|mut it| {
                let found = read(&mut it)?;
                Ok((found, it.left()?))
            });
            let may_have_moved = match &found {
                // What an owner sweeps may lead to where nothing is any more.
                Err(store::Error::Row(_)) => files.owner().is_some(),
                _ => false,
            };
            if files.are_still() && !may_have_moved {
                let (found, left) = found?;
                let owner = files.owner().cloned();
                return Ok(Some((found, Sight { owner, left })));
            }
            if left == 0 {
                found?;
                let message = "the store changed again and again while it was read";
                return Err(Error::new(Kind::Failed, message));
            }
            left -= 1;
        }
    }

    /// Counts what an engine would have in memory.
    fn tally(&self, it: &mut Onlooker) -> Result<Tally, store::Error> {
        let now = self.clock.now();
        let mut census = Census::default();
        for [namespace, workflow, version] in it.versions()? {
            census.of([&namespace, &workflow, &version]);
        }
        let (ended, failures) = it.ended(first_hour(now))?;
        for it in ended {
            let of = [&*it.namespace, &*it.workflow];
            for (version, counts) in &it.versions {
                let of = census.of([of[0], of[1], version]);
                census.count_ended(of, *counts);
            }
        }
        let mut alike = Vec::new();
        for it in failures {
            let (workflow, version) = census.of([&it.namespace, &it.workflow, &it.version]);
            let of = Alike {
                hour: it.hour,
                workflow,
                version,
                step: it.step.map(Into::into),
                error: it.error.map(Into::into),
            };
            let lately = Lately {
                count: it.count,
                since: it.since,
                example: it.example,
            };
            alike.push((of, lately));
        }
        let mut placed = Vec::new();
        it.each_live(&mut |row, waits, error| {
            let of = census.of([&row.namespace, &row.workflow, &row.version]);
            let is_later = row.start_at.is_some_and(|at| at > now);
            census.count(of, row.status, is_later);
            if let Some(standing) = standing_of(row, of, waits, error) {
                placed.push((row.no, Some(standing)));
            }
        })?;
        let tally = Tally::default();
        let rows = census.workflows.iter().enumerate();
        let rows = rows.map(|(number, it)| {
            let versions = it.versions.iter();
            let versions = versions.map(|(name, states, later)| (name, (*states, *later)));
            (number as u32, it.figures, versions)
        });
        let name = |number: u32| {
            let it = &census.workflows[number as usize];
            (it.namespace.clone(), it.name.clone())
        };
        tally.show(0, rows, name, placed, alike, &[]);
        Ok(tally)
    }
}

/// Nothing starts without an engine, and no limit is why.
fn nothing_starts(_: [u64; 3], _: &str, _: &str) -> &'static str {
    codes::STARTING
}

/// Who is counted, by number.
#[derive(Default)]
struct Census {
    workflows: Vec<Counted>,
    numbers: FxHashMap<[Box<str>; 3], (u32, u32)>,
}

struct Counted {
    namespace: Box<str>,
    name: Box<str>,
    figures: Figures,
    versions: Vec<(Arc<str>, States, u64)>,
}

impl Census {
    /// Returns the numbers of a workflow and its version, which they get now if they are new.
    fn of(&mut self, names: [&str; 3]) -> (u32, u32) {
        let key = names.map(Box::from);
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        let [namespace, name, version] = names;
        let is_same = |it: &Counted| *it.namespace == *namespace && *it.name == *name;
        let workflow = self.workflows.iter().position(is_same).unwrap_or_else(|| {
            self.workflows.push(Counted {
                namespace: namespace.into(),
                name: name.into(),
                figures: Figures::default(),
                versions: Vec::new(),
            });
            self.workflows.len() - 1
        });
        let versions = &mut self.workflows[workflow].versions;
        versions.push((version.into(), States::default(), 0));
        let of = (workflow as u32, versions.len() as u32 - 1);
        self.numbers.insert(key, of);
        of
    }

    fn add(&mut self, (workflow, version): (u32, u32), status: Status, count: u64) {
        let it = &mut self.workflows[workflow as usize];
        it.figures.states[status as usize] += count;
        it.versions[version as usize].1[status as usize] += count;
    }

    fn count(&mut self, of: (u32, u32), status: Status, is_later: bool) {
        self.add(of, status, 1);
        if status == Status::Queued && is_later {
            self.workflows[of.0 as usize].versions[of.1 as usize].2 += 1;
        }
    }

    fn count_ended(&mut self, of: (u32, u32), counts: [u64; 3]) {
        let ends = [Status::Complete, Status::Errored, Status::Terminated];
        for (status, count) in ends.into_iter().zip(counts) {
            self.add(of, status, count);
        }
    }
}
