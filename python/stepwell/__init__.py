"""Stepwell: durable execution inside a Python process.

A workflow is a plain async function made of named steps. Every step's outcome is durable; after a
crash the function is run again from the top and finished steps answer from the store.

    @workflow               makes one of `async def f(step, params)`; all that its body awaits
                            is `step.…`: see `Step`
    Engine(store, …)        runs workflows: `async with Engine(…) as engine`, in a trio program
    engine.create, .call    begin an instance; `Instance` says how it stands and what came of it
    Client(store)           the engine of another process: the same methods
    run(engine, main)       an engine as a whole program
    aio, sync               modules with the same API for asyncio and for blocking programs
    testing                 an engine on virtual time that crashes on demand, for tests
    doctor                  what is wrong with a store, and what can be saved of it
    crypto, otel, prometheus
                            what is stored encrypted; what happens told: extras, with packages
    agents                  loops of models, tools and people: an extra, too

    Retry, step_options     how often a step is tried, how long it may take
    Undo                    what takes back what a step did
    current_step()          in the function of a step: its attempt, its idempotency key, report,
                            heartbeat, save
    Limits, NewInstance     what is given; Status, InstanceStatus, StepRecord, Event, Approval …
                            what comes back
    StepwellError           every error of the API is one; StepFailed, StepTimeout … are what a
                            body may catch

Names that begin with an underscore are nobody's business, and may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._homes import HOMES
from ._version import __version__ as __version__

if TYPE_CHECKING:  # `_homes` has the same for when it runs: a name is loaded once it is used
    from ._attempts.context import StepContext
    from ._client.client import Client, ClientNamespace
    from ._engine.approvals import Approvals
    from ._engine.bulks import Bulks
    from ._engine.creating import BatchResult
    from ._engine.engine import Engine, current_step
    from ._engine.instance import Instance
    from ._engine.run import run
    from ._engine.schedules import Schedule
    from ._engine.tenant import Namespace
    from ._errors import (
        ApprovalTimeout,
        EngineClosed,
        ErrorInfo,
        EventTimeout,
        InstanceErrored,
        InstanceExists,
        InstanceNotFound,
        InstanceTerminated,
        InstanceTimeout,
        InternalError,
        Interrupted,
        InvalidConfig,
        InvalidName,
        InvalidPayload,
        InvalidState,
        LimitReached,
        NoEngine,
        Nondeterminism,
        NonRetryableError,
        NotSerializable,
        Overloaded,
        Rejected,
        RequestTimeout,
        StepFailed,
        StepTimeout,
        StepwellError,
        StoreCorrupt,
        StoreFailed,
        StoreLocked,
        StoreVersion,
        TooLarge,
    )
    from ._operations.child import Child
    from ._operations.nursery import Started, StepNursery
    from ._operations.step import Step
    from ._steps.retention import Retention
    from ._steps.retry import Retry
    from ._steps.undo import Undo, UndoContext
    from ._steps.workflow import Workflow, step_options, workflow
    from ._types import (
        Approval,
        ApprovalRequest,
        AuditRow,
        BatchError,
        Bulk,
        BulkError,
        BulkPreview,
        BulkResult,
        Change,
        Chunk,
        EngineStatistics,
        Event,
        Explanation,
        ExplanationCode,
        Firing,
        InstanceInfo,
        InstanceStatus,
        InstanceSummary,
        Large,
        Limits,
        NewInstance,
        Page,
        QueueExplanation,
        ReasonCount,
        Redacted,
        RestartPreview,
        SlotHolder,
        Source,
        Status,
        StepRecord,
        StepRef,
        UndoStatus,
        Update,
        VersionCount,
        WorkflowStatistics,
    )
    from ._values.sealing import Codec

__all__ = [
    "Approval",
    "ApprovalRequest",
    "ApprovalTimeout",
    "Approvals",
    "AuditRow",
    "BatchError",
    "BatchResult",
    "Bulk",
    "BulkError",
    "BulkPreview",
    "BulkResult",
    "Bulks",
    "Change",
    "Child",
    "Chunk",
    "Client",
    "ClientNamespace",
    "Codec",
    "Engine",
    "EngineClosed",
    "EngineStatistics",
    "ErrorInfo",
    "Event",
    "EventTimeout",
    "Explanation",
    "ExplanationCode",
    "Firing",
    "Instance",
    "InstanceErrored",
    "InstanceExists",
    "InstanceInfo",
    "InstanceNotFound",
    "InstanceStatus",
    "InstanceSummary",
    "InstanceTerminated",
    "InstanceTimeout",
    "InternalError",
    "Interrupted",
    "InvalidConfig",
    "InvalidName",
    "InvalidPayload",
    "InvalidState",
    "Large",
    "LimitReached",
    "Limits",
    "Namespace",
    "NewInstance",
    "NoEngine",
    "NonRetryableError",
    "Nondeterminism",
    "NotSerializable",
    "Overloaded",
    "Page",
    "QueueExplanation",
    "ReasonCount",
    "Redacted",
    "Rejected",
    "RequestTimeout",
    "RestartPreview",
    "Retention",
    "Retry",
    "Schedule",
    "SlotHolder",
    "Source",
    "Started",
    "Status",
    "Step",
    "StepContext",
    "StepFailed",
    "StepNursery",
    "StepRecord",
    "StepRef",
    "StepTimeout",
    "StepwellError",
    "StoreCorrupt",
    "StoreFailed",
    "StoreLocked",
    "StoreVersion",
    "TooLarge",
    "Undo",
    "UndoContext",
    "UndoStatus",
    "Update",
    "VersionCount",
    "Workflow",
    "WorkflowStatistics",
    "current_step",
    "run",
    "step_options",
    "workflow",
]

if not TYPE_CHECKING:  # so that checkers tell a name that does not exist

    def __getattr__(name: str) -> Any:
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        found = globals()[name] = getattr(import_module(HOMES[name], __name__), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
