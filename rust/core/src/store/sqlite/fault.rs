//! Why something could not be read or written, and how that is put to the user.

use crate::store::Error;

/// Why something could not be read or written, before it is put into words for the user.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite said no.
    Sql(rusqlite::Error),
    /// What was read makes no sense.
    Corrupt(String),
    /// The system gives no thread.
    Thread(String),
}

/// Whether a failure means that the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fullness {
    Yes,
    /// Only a look at the disk can tell.
    Perhaps,
    No,
}

pub(super) type Result<T> = std::result::Result<T, Fault>;

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Fault {
    /// Whether the disk was full, or may have been: a quota, and a wal-index that cannot grow, are
    /// reported as failed writes.
    pub(super) fn fullness(&self) -> Fullness {
        use rusqlite::ffi::{SQLITE_FULL, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_WRITE};
        let Self::Sql(rusqlite::Error::SqliteFailure(error, _)) = self else {
            return Fullness::No;
        };
        match error.extended_code {
            SQLITE_FULL => Fullness::Yes,
            SQLITE_IOERR_SHMSIZE | SQLITE_IOERR_WRITE => Fullness::Perhaps,
            _ => Fullness::No,
        }
    }

    /// Whether another program's lock was in the way.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Sql(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy))
    }

    /// Puts it into words. `file` is the name of the database, `doing` what was tried.
    pub(super) fn explain(self, file: &str, doing: &str) -> Error {
        use rusqlite::ErrorCode as Code;
        let error = match self {
            Self::Corrupt(what) => {
                return Error::Row(format!(
                    "{file} is damaged: {what}. Nothing was changed. Keep a copy, and restore the \
                    file from a backup."
                ))
            }
            Self::Thread(error) => {
                return Error::Failed(format!("{file}: cannot {doing}: no thread: {error}."))
            }
            Self::Sql(error) => error,
        };
        if is_nonsense(&error) {
            return Error::Corrupt(format!(
                "{file} is damaged: {error}. Nothing was deleted. Keep a copy, and restore the \
                file from a backup."
            ));
        }
        match error.sqlite_error_code() {
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => Error::Corrupt(format!(
                "{file} is damaged: {error}. Nothing was deleted. Keep a copy, and restore the \
                file from a backup."
            )),
            Some(Code::DiskFull) => Error::Full(format!(
                "{file}: the disk is full; cannot {doing}. Make room on it."
            )),
            Some(Code::OperationInterrupted) => Error::Failed(format!(
                "{file}: took too long to {doing}; ask for less at once."
            )),
            Some(Code::DatabaseBusy) => Error::Busy(format!(
                "{file}: cannot {doing}: another program keeps it locked. Close that program, or \
                end its transaction."
            )),
            _ => Error::Failed(format!("{file}: cannot {doing}: {error}.")),
        }
    }
}

/// Whether an error says that the file holds what this code never writes: another type in a column,
/// no row where there is always one, or a schema that our statements do not fit any more.
fn is_nonsense(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as Sql;
    if let Sql::SqliteFailure(code, Some(text)) = error {
        let lacks = text.starts_with("no such ") || text.contains(" has no column ");
        if code.extended_code == rusqlite::ffi::SQLITE_ERROR && lacks {
            return true;
        }
    }
    matches!(
        error,
        Sql::InvalidColumnType(..)
            | Sql::FromSqlConversionFailure(..)
            | Sql::IntegralValueOutOfRange(..)
            | Sql::Utf8Error(..)
            | Sql::QueryReturnedNoRows
            | Sql::SqlInputError { .. }
    )
}

/// What was read makes no sense, and this is why.
pub(super) fn corrupt<T>(what: impl Into<String>) -> Result<T> {
    Err(Fault::Corrupt(what.into()))
}
