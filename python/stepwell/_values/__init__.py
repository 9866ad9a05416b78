"""Values: how what a user hands over is checked, stored and brought back.

Names and durations, the codec with its declared types, failures. In here nobody knows workflows,
bodies or the engine.
"""
