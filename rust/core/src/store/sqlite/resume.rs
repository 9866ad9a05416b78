//! Going on after a full disk, in place (docs/adr/0005).
//!
//! A connection on which a commit has failed is never used again. What it tried to commit is either
//! in the file or not, and only "not" lets the same batch be committed anew. The WAL says which:
//! its length counts committed frames only, every commit makes it longer, and it begins anew, with
//! another salt, only when all of it is folded back. So [`Mark`] is taken before a batch, and the
//! batch is not there if a fresh connection finds the WAL as it was, or empty. Anything else (also
//! a commit of another program) cannot be told apart from a batch that is there, and is an error.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rusqlite::Connection;

use super::fold::{checkpoint, Length};
use super::heads::Heads;
use super::names::Names;
use super::{begin, finish, rows};

/// Which commit was the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    frames: i64,
    /// Drawn when the WAL begins; none if it is empty.
    salt: Option<[u8; 8]>,
}

impl Mark {
    /// Looks at the WAL between two transactions.
    pub(super) fn now(conn: &Connection, wal: &File) -> rusqlite::Result<Self> {
        Ok(Self::at(checkpoint(conn, "NOOP")?, wal))
    }

    /// As [`Mark::now`], when the length is known already.
    pub(super) fn at(length: Length, wal: &File) -> Self {
        let mut salt = [0; 8];
        let read = wal.read_exact_at(&mut salt, 16);
        Self {
            frames: length.whole,
            salt: read.is_ok().then_some(salt),
        }
    }

    /// Whether nothing was committed between `before` and this.
    pub(super) fn is_still(self, before: Self) -> bool {
        self.frames == 0 || self == before
    }
}

/// Reads anew what memory holds of the file. Commits, so that its success means that there is
/// some room.
pub(super) fn catch_up(
    conn: &Connection,
    heads: &mut Heads,
    names: &mut Names,
) -> rows::Result<()> {
    *names = Names::default();
    names.refresh(conn)?;
    let published = heads.published.clone();
    begin(conn, 1)?;
    *heads = finish(conn, heads, names, |conn, _, _| Heads::recover(conn))?;
    heads.published = published;
    // They are in the rows now: see `heads`.
    heads.published.lock().clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Mark;

    #[test]
    fn a_wal_that_grew_or_began_anew_with_something_in_it_is_not_as_it_was() {
        let mark = |frames, salt| Mark {
            frames,
            salt: Some([salt; 8]),
        };
        assert!(mark(7, 1).is_still(mark(7, 1)));
        assert!(mark(0, 2).is_still(mark(7, 1)));
        assert!(!mark(8, 1).is_still(mark(7, 1)));
        assert!(!mark(7, 2).is_still(mark(7, 1)));
        assert!(!mark(1, 2).is_still(mark(7, 1)));
    }
}
