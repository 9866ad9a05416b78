"""A state machine over the public API: what anybody does to instances, in any order, with crashes
and ends of the engine in between, against a small model.

`bodies` is what the instances run, `model` what the rules say comes of it, `world` the engine, and
`test_machine` draws what is done, and compares after each thing that is.
"""
