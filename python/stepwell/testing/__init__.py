"""Tests of durable workflows, without waiting: a real engine on a virtual clock.

```python
async with open_test_engine(workflows=[audit]) as engine:
    instance = await engine.create(audit, "src")
    await engine.crash()                      # what was not acknowledged is lost; then it recovers
    assert await instance.result() == 3       # a year of sleeps takes milliseconds
```
"""

from ._clock import Clock
from ._engine import TestEngine, open_test_engine
from ._replaying import check_replay

__all__ = ["Clock", "TestEngine", "check_replay", "open_test_engine"]
