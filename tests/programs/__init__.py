"""Generated programs: whatever a body does, live runs and replays agree.

`nodes` is a small language for workflow bodies, as plain data; `strategy` draws programs of it, and
what happens to them; `interpret` runs one as a body and notes all that the body can observe;
`seam` is an engine that loses what it was told to lose, at one exact submission or note; `conductor`
lets time, events, steps and crashes happen, in an order drawn from a seed; `oracle` compares the lives
of an instance with each other, with its history, and with what a program without races must return.
"""
