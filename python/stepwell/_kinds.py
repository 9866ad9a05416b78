"""Types of the numbers that the core gives to sorts of operation and to verdicts.

At run time both are plain ints, compared and hashed as such on the way of every step; for type
checkers one is not the other, and neither is a count. The core lists them (`_core.KINDS`,
`_core.VERDICTS`), and nobody else.
"""

from typing import NewType

Kind = NewType("Kind", int)
Verdict = NewType("Verdict", int)
