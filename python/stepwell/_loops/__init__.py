"""Loops: trio's and asyncio's, the loop of a body on asyncio, and the ways between them and to
other threads.

In here nobody knows steps, bodies or the engine.
"""
