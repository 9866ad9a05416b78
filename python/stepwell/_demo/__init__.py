"""`stepwell demo`: a verified backup, as a workflow that may be killed at any moment.

One process draws (`command`, `supervisor`, `screen`), another one holds the engine and works
(`worker`), so that the one that is killed never owns the terminal. What is backed up and how is in
`job` (the workflows) and `files`, `blobs`, `manifest`, `report`, `page` (their steps). What can be
counted without asking the engine is in `steplog`; `audit` holds the engine's histories against it.

Everything here uses the public API only, as any user's program would.
"""
