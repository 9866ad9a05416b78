"""Real processes, really killed: what Stepwell acknowledged is there, what is finished never runs
again.

A *round* is one store, some dozens of kills and a last life that nobody disturbs. In every life a
worker process runs an engine under load and notes, in a file of its own, what it was told and what
its step functions did. The file is the witness: the checks compare it with what the engine says at
the end, and never ask the engine what it had promised.

| file | what it is |
|---|---|
| `journal` | the witness: one line a fact, written so that SIGKILL keeps it |
| `programs` | the workflows under load, and their step functions |
| `plans` | which of the programs' parts an instance is made of, drawn from a seed |
| `ways` | what the driver runs on: trio, asyncio, blocking calls |
| `driver` | creates instances, sends events, decides approvals, awaits results |
| `fates` | which verbs come over a moved instance, and what it is made of |
| `moved` | the workflows of moved instances |
| `mover` | does to them what their fates say |
| `worker` | one life of the process |
| `killer` | one round: lives and kills, at moments drawn from a seed |
| `campaign` | rounds, until there are so many kills |
| `witness` | the journal, read and put in order |
| `checks`, `checks_of_moves` | what must hold at the end of a round |

`python -m tests.kill --kills 1000 --seed 7`
"""
