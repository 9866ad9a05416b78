"""The same-process intruder: Python's own `sqlite3` looks at the engine's file, in the engine's
process.

POSIX takes all of a process's locks on a file away when any descriptor of that file is closed in
the process, and `sqlite3` is a second copy of SQLite that does not know ours. Without a guard it
believes itself the file's last user when it closes, folds the WAL back and deletes it under the
engine; what is acknowledged after that is lost with the next kill. So: real processes under load
with intruders at work on a thread of their own and on the main thread, SIGKILL, start again,
compare with the witness. Load, kills, witness and checks are those of `tests.kill`.

| file | what it is |
|---|---|
| `intrusions` | the ways to look at a file |
| `beside` | when, how often and from which thread |

`python -m tests.intruder --runs 10000 --seed 7`
"""
