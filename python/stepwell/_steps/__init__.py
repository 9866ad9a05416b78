"""What is known of a user's function, and of its attempts so far, without running it.

Names, options and types of workflows and steps, the rules of retries, what is kept of failed
attempts, and the threads that attempts borrow. Knows no instance.
"""
