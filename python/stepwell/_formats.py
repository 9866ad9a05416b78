"""Which rules an instance keeps for life, so that what it recorded replays.

Some rules changed what a history looks like. An instance that began under the old one goes on under
it, whatever version runs it: its row has a number, its format, which is the core's (`FORMAT`, in
rust/core/src/store/mod.rs) at its creation. Here each number has the name of what is so from then
on; one of before all of them has 0.
"""

from typing import Final, NewType

Format = NewType("Format", int)

CANCELLED_ATTEMPTS_END: Final = Format(1)
"""A step that the body gives up stays open until its attempt has ended, and that is recorded (ADR
0017). With the same number: ids of approvals are unambiguous, a cancelled scope begins nothing, an
event that did not fit is told again, branches of `gather` are named by its own name."""
REFUSALS_COUNT: Final = Format(2)
"""What is refused is an occurrence of its name."""
NOTHING_IS_JUDGED: Final = Format(3)
"""An event without a payload has to fit the type that its wait asks for."""
REFUSALS_ARE_RECORDED: Final = Format(4)
"""What a body is refused is an outcome (ADR 0018)."""
