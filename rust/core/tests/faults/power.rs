//! What a power loss may leave of a watched folder.
//!
//! Durable is what was synced. Of what a file was told since its last sync any part may be there:
//! nothing, all, a beginning, only the end, any of the writes, any of their 512-byte sectors; a
//! sector may be half old and half new (from either side), or garbage. The file may have grown
//! without the bytes that made it grow: zeroes or garbage are there then. Truncations come or
//! do not. Files created or deleted since the folder's last sync may be there or not.
//!
//! Two limits, which are those of what `SQLite` promises. Only bytes that were being written can
//! be spoiled, not their neighbours in the sector (its `POWERSAFE_OVERWRITE`, the default of the
//! unix VFS; `SQLite` then does not pad its WAL to whole sectors). And the database's first sector
//! is half old and half new at worst, not garbage: the store reads its header before `SQLite` may
//! look into the WAL.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::disk::{Entry, FileNo, Files};

const SECTOR: usize = 512;

/// The folder after a power loss before entry `cut` of the log.
pub fn image(base: &Files, log: &[Entry], cut: usize, dice: &mut Dice) -> Files {
    let mut power = Power::new(base);
    for entry in &log[..cut] {
        power.apply(entry, dice);
    }
    power.lose(dice)
}

struct Power<'l> {
    inodes: Vec<Inode<'l>>,
    /// The folder as it is on the disk.
    names: BTreeMap<&'l str, FileNo>,
    /// What it was told since its last sync.
    told: Vec<(&'l str, Option<FileNo>)>,
}

#[derive(Default)]
struct Inode<'l> {
    durable: Vec<u8>,
    pending: Vec<Pending<'l>>,
    is_database: bool,
}

enum Pending<'l> {
    Write(usize, &'l [u8]),
    Truncate(usize),
}

impl<'l> Power<'l> {
    fn new(base: &'l Files) -> Self {
        let inode = |(name, bytes): (&String, &Vec<u8>)| Inode {
            durable: bytes.clone(),
            is_database: !name.contains('-'),
            ..Inode::default()
        };
        let names = base.keys().map(String::as_str);
        Self {
            inodes: base.iter().map(inode).collect(),
            names: names.enumerate().map(|(no, name)| (name, no)).collect(),
            told: Vec::new(),
        }
    }

    fn apply(&mut self, entry: &'l Entry, dice: &mut Dice) {
        match entry {
            Entry::Create { name, file } => {
                assert_eq!(*file, self.inodes.len());
                self.inodes.push(Inode::default());
                self.told.push((name, Some(*file)));
            }
            Entry::Write { file, at, bytes } => {
                let pending = &mut self.inodes[*file].pending;
                pending.push(Pending::Write(*at, bytes));
            }
            Entry::Truncate { file, len } => {
                self.inodes[*file].pending.push(Pending::Truncate(*len));
            }
            Entry::Sync { file, folder } => {
                self.inodes[*file].settle(&mut Mood::All, dice);
                if *folder {
                    self.settle_folder(&mut Mood::All, dice);
                }
            }
            Entry::SyncFailed { file } => {
                let inode = &mut self.inodes[*file];
                inode.settle(&mut Mood::roll(inode.pending.len(), dice), dice);
            }
            Entry::Delete { name, folder } => {
                self.told.push((name, None));
                if *folder {
                    self.settle_folder(&mut Mood::All, dice);
                }
            }
            Entry::Mark(_) => {}
        }
    }

    fn settle_folder(&mut self, mood: &mut Mood, dice: &mut Dice) {
        for (place, (name, file)) in self.told.drain(..).enumerate() {
            mood.begin(place, dice);
            if !mood.keeps(dice) {
                continue;
            }
            match file {
                Some(file) => self.names.insert(name, file),
                None => self.names.remove(name),
            };
        }
    }

    fn lose(mut self, dice: &mut Dice) -> Files {
        self.settle_folder(&mut Mood::roll(self.told.len(), dice), dice);
        let mut files = Files::new();
        for (name, file) in &self.names {
            let inode = &mut self.inodes[*file];
            inode.settle(&mut Mood::roll(inode.pending.len(), dice), dice);
            files.insert((*name).to_owned(), inode.durable.clone());
        }
        files
    }
}

/// How the disk treats what is pending of one file.
enum Mood {
    All,
    Nothing,
    /// Those before this one, and a part of it.
    Beginning(usize, Part),
    /// This one and those after it.
    End(usize, bool),
    /// Each write as a whole, with these chances in a hundred.
    Writes(usize, bool),
    /// Each sector.
    Sectors(Part),
}

struct Part {
    percent: usize,
    garbage: bool,
    /// Whether the write at hand is in pieces.
    torn: Option<bool>,
}

/// What becomes of a sector's bytes that were to be written.
enum Fate {
    New,
    Old,
    /// (true) The bytes before this one are new, or (false) this one and those after it.
    Half(bool, usize),
    Garbage,
}

impl Mood {
    fn roll(pending: usize, dice: &mut Dice) -> Self {
        let place = dice.below(pending + 1);
        let percent = *dice.pick(&[10, 50, 90, 99]);
        let part = Part {
            percent,
            garbage: dice.percent(40),
            torn: None,
        };
        match dice.below(10) {
            0 => Self::Nothing,
            1 => Self::All,
            2..=4 => Self::Beginning(place, part),
            5 => Self::End(place, false),
            6 => Self::Writes(percent, false),
            _ => Self::Sectors(part),
        }
    }

    /// The pending thing at this place comes next.
    fn begin(&mut self, place: usize, dice: &mut Dice) {
        match self {
            Self::All | Self::Nothing | Self::Sectors(_) => {}
            Self::Beginning(end, part) => {
                part.torn = match place.cmp(end) {
                    std::cmp::Ordering::Less => Some(false),
                    std::cmp::Ordering::Equal => None,
                    std::cmp::Ordering::Greater => Some(true),
                };
            }
            Self::End(from, keeps) => *keeps = place >= *from,
            Self::Writes(percent, keeps) => *keeps = dice.percent(*percent),
        }
    }

    fn keeps(&self, dice: &mut Dice) -> bool {
        matches!(self.fate(1, dice), Fate::New)
    }

    fn fate(&self, len: usize, dice: &mut Dice) -> Fate {
        match self {
            Self::All => Fate::New,
            Self::Nothing => Fate::Old,
            Self::End(_, keeps) | Self::Writes(_, keeps) => {
                if *keeps {
                    Fate::New
                } else {
                    Fate::Old
                }
            }
            Self::Beginning(_, part) | Self::Sectors(part) => part.fate(len, dice),
        }
    }
}

impl Part {
    fn fate(&self, len: usize, dice: &mut Dice) -> Fate {
        match self.torn {
            Some(false) => return Fate::New,
            Some(true) => return Fate::Old,
            None => {}
        }
        if dice.percent(self.percent) {
            Fate::New
        } else if dice.percent(20) {
            Fate::Half(dice.percent(50), dice.below(len))
        } else if self.garbage && dice.percent(30) {
            Fate::Garbage
        } else {
            Fate::Old
        }
    }
}

impl Inode<'_> {
    /// Ends the uncertainty: what is pending becomes durable, as far as the mood lets it.
    fn settle(&mut self, mood: &mut Mood, dice: &mut Dice) {
        let whole = matches!(mood, Mood::All | Mood::Nothing);
        let garbage_between = !whole && dice.percent(30);
        let mut end = 0;
        for (place, one) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            mood.begin(place, dice);
            match one {
                Pending::Truncate(len) => {
                    if mood.keeps(dice) {
                        self.durable.truncate(len);
                    }
                    end = 0;
                }
                Pending::Write(at, bytes) => {
                    end = end.max(at + bytes.len());
                    self.write(at, bytes, mood, garbage_between, dice);
                }
            }
        }
        if !whole && dice.percent(25) {
            self.grow(end, garbage_between, dice);
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8], mood: &Mood, garbage: bool, dice: &mut Dice) {
        let mut from = 0;
        while from < bytes.len() {
            let len = (SECTOR - (at + from) % SECTOR).min(bytes.len() - from);
            let (at, piece) = (at + from, &bytes[from..from + len]);
            from += len;
            match mood.fate(len, dice) {
                Fate::New => self.put(at, piece, garbage, dice),
                Fate::Old => {}
                Fate::Half(true, some) => self.put(at, &piece[..some], garbage, dice),
                Fate::Half(false, some) => self.put(at + some, &piece[some..], garbage, dice),
                Fate::Garbage if self.is_database && at < SECTOR => {}
                Fate::Garbage => {
                    let spoiled = dice.bytes(len);
                    self.put(at, &spoiled, garbage, dice);
                }
            }
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8], garbage: bool, dice: &mut Dice) {
        self.grow(at + bytes.len(), garbage, dice);
        self.durable[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn grow(&mut self, len: usize, garbage: bool, dice: &mut Dice) {
        let missing = len.saturating_sub(self.durable.len());
        if garbage {
            let filling = dice.bytes(missing);
            self.durable.extend_from_slice(&filling);
        } else {
            self.durable.resize(self.durable.len() + missing, 0);
        }
    }
}
