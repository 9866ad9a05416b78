"""What a body can ask for: a file for each verb, and `step`, the facade over them.

Whether anything may begin is asked of `_body`; how it goes live, what it submits and what the body
gets of its outcome is here.
"""
