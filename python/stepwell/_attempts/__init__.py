"""One attempt of one step: how its function is called, timed and cancelled, on each runtime.

Knows neither histories nor retries: an attempt comes to a value or an exception.
"""
