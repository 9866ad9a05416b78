"""Generated programs: whatever a body does, live runs and replays agree.

`nodes` is a small language for workflow bodies, as plain data; `strategy` draws programs of it, and
what happens to them; `interpret` runs one as a body and notes all that the body can observe;
`world` has the steps, which outlive engines; `seam` is an engine that loses what it was told to
lose, or is left, at one exact submission, note or observation; `conductor` lets time, events,
steps, crashes and orderly ends happen, in an order drawn from a seed; `told` compares what the
engine tells with what it has told; `oracle` the lives of an instance with each other, with its
history, and with what a program without races must return.
"""
