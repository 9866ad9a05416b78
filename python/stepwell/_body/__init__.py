"""One instance in memory: its body, its place in its history, its turns and its end.

`life` says what there is of an instance; everything else here is a function of that. Knows
operations only as `life.Operation`, and attempts only as `running.Running`.
"""
