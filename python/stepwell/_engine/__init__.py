"""The engine: what opens a store, runs its instances and answers callers.

It stands on bodies and operations and knows what they are made of; nothing below knows it. What
callers hold (`tenant`, `instance`, `approvals`) knows a `desk`; behind that stand the `driver`, the
only caller of the core, and its parts, which see a `host`.
"""
