"""The engine of another process, asked over its socket.

Knows what goes over the socket (`_engine.wire`, `_engine.frames`) and where it is; knows neither
the core nor how an engine does what it is asked. What callers hold, instances and approvals, is the
same as in the engine's own process: it is given another desk.
"""
