//! Copies of the store that are being made: a thread each, for one may take minutes.
//!
//! None outlives the engine: its reader must be gone when the store closes. An engine that ends
//! does not wait for a copy to be complete, it stops it.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::loader::refusal;
use super::{guarded, Shared};
use crate::codes;
use crate::error::{Error, Kind};
use crate::note::{Data, Note};
use crate::store::Copier;

/// See the module.
#[derive(Debug)]
pub(super) struct Copies {
    /// None if the store has no file, and when the engine has ended: it has the store's files open.
    copier: Mutex<Option<Arc<dyn Copier>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Copies {
    pub(super) fn new(copier: Option<Arc<dyn Copier>>) -> Self {
        Self {
            copier: Mutex::new(copier),
            threads: Mutex::default(),
        }
    }

    /// Begins a copy; the answer goes to `ticket`.
    pub(super) fn begin(&self, shared: &Arc<Shared>, to: &Path, ticket: u64) -> Result<(), Error> {
        // Held until the thread is known, so that `join` misses none.
        let mut threads = self.threads.lock();
        if shared.tasks.has_ended() {
            return Err(Error::new(Kind::Closed, "the engine is closed"));
        }
        let Some(copier) = self.copier.lock().clone() else {
            let text = "a store in memory has no file to copy; open the engine on a path";
            return Err(Error::new(Kind::Invalid, text));
        };
        threads.retain(|it| !it.is_finished());
        let to = to.to_path_buf();
        let all = Arc::clone(shared);
        shared.inbox.job_begun();
        let thread = std::thread::Builder::new()
            .name("stepwell-copy".into())
            .spawn(move || {
                guarded(&all, || {
                    let go_on = || !all.tasks.has_ended();
                    let note = match copier.copy(&to, &go_on) {
                        Ok(()) => Note::reply(ticket, Data::Nothing),
                        Err(_) if !go_on() => Note::refuse(ticket, codes::CLOSED, Data::Nothing),
                        Err(error) => refusal(ticket, &error),
                    };
                    all.outbox.put(vec![note], None);
                });
                all.inbox.job_done(|| all.say_idle());
            });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                shared.inbox.job_done(|| shared.say_idle());
                return Err(Error::new(Kind::Failed, format!("no thread: {error}")));
            }
        }
        Ok(())
    }

    /// Waits for all of them, the last there are: the engine has ended, so they stop soon.
    pub(super) fn join(&self) {
        self.copier.lock().take();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A panic was caught inside and told as a note.
            let _ = thread.join();
        }
    }
}
