"""Stepwell: durable execution inside a Python process.

A workflow is a plain async function made of named steps. Every step's outcome is durable; after a
crash the function is run again from the top and finished steps answer from the store.
"""

from ._approvals import Approvals
from ._attempt import StepContext, current_step
from ._child import Child
from ._engine import Engine, run
from ._errors import (
    ApprovalTimeout,
    EngineClosed,
    ErrorInfo,
    EventTimeout,
    InstanceErrored,
    InstanceExists,
    InstanceNotFound,
    InstanceTerminated,
    InternalError,
    Interrupted,
    InvalidConfig,
    InvalidName,
    InvalidPayload,
    InvalidState,
    LimitReached,
    Nondeterminism,
    NonRetryableError,
    NotSerializable,
    Overloaded,
    Rejected,
    StepFailed,
    StepTimeout,
    StepwellError,
    StoreCorrupt,
    StoreFailed,
    StoreLocked,
    StoreVersion,
    TooLarge,
)
from ._instance import Instance
from ._nursery import Started, StepNursery
from ._retry import Retry
from ._step import Step
from ._tenant import BatchResult, Namespace
from ._types import (
    Approval,
    ApprovalRequest,
    BatchError,
    EngineStatistics,
    Event,
    Explanation,
    InstanceInfo,
    InstanceStatus,
    InstanceSummary,
    Limits,
    NewInstance,
    Page,
    Status,
    StepRecord,
    StepRef,
)
from ._workflow import Workflow, step_options, workflow

__version__ = "0.1.0"

__all__ = [
    "Approval",
    "ApprovalRequest",
    "ApprovalTimeout",
    "Approvals",
    "BatchError",
    "BatchResult",
    "Child",
    "Engine",
    "EngineClosed",
    "EngineStatistics",
    "ErrorInfo",
    "Event",
    "EventTimeout",
    "Explanation",
    "Instance",
    "InstanceErrored",
    "InstanceExists",
    "InstanceInfo",
    "InstanceNotFound",
    "InstanceStatus",
    "InstanceSummary",
    "InstanceTerminated",
    "InternalError",
    "Interrupted",
    "InvalidConfig",
    "InvalidName",
    "InvalidPayload",
    "InvalidState",
    "LimitReached",
    "Limits",
    "Namespace",
    "NewInstance",
    "NonRetryableError",
    "Nondeterminism",
    "NotSerializable",
    "Overloaded",
    "Page",
    "Rejected",
    "Retry",
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
    "Workflow",
    "current_step",
    "run",
    "step_options",
    "workflow",
]
