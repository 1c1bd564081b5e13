"""What a caller is told when a call is refused: a gRPC status with details (google.rpc.Status), our code in it.

Details: https://google.aip.dev/193, the messages of ``google/rpc/error_details.proto`` (2026). ``ErrorInfo.reason`` is a code of
docs/operations.md as it stands there, and not in capitals, so that one word is found everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message

    from sales_crm_bridge.contract import Violation

DOMAIN = "sales-crm-bridge"
"""Whose codes they are."""


class Refused(Exception):
    """A call is refused.

    ``reason``: a code; ``message``: for people, without a value of the request; ``facts``: more, as names and texts;
    ``violations``: every way in which the request breaks the contract; ``retry_s``: when to try again (None: do not).
    """

    def __init__(
        self,
        status: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        facts: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.facts = dict(facts or {})
        self.violations = violations
        self.retry_s = retry_s


def refused_for(violations: Sequence[Violation]) -> Refused:
    """All violations at once; there is at least one."""
    return Refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        violations[0].code,
        "; ".join(f"{one.path}: {one.message}" for one in violations),
        violations=violations,
    )


def status_of(refused: Refused) -> status_pb2.Status:
    """The google.rpc.Status of a refusal."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=refused.reason, domain=DOMAIN, metadata=refused.facts),
    ]
    if refused.violations:
        bad = error_details_pb2.BadRequest()
        for one in refused.violations:
            bad.field_violations.add(field=one.path, reason=one.code, description=f"{one.message}; {one.remedy}")
        details.append(bad)
    if refused.retry_s is not None:
        wait = duration_pb2.Duration()
        wait.FromNanoseconds(round(refused.retry_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=wait))
    status = status_pb2.Status(code=refused.status.value[0], message=refused.message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


async def abort(context: grpc.aio.ServicerContext[bytes, Message], refused: Refused) -> NoReturn:
    """End the call with this status."""
    status = rpc_status.to_status(status_of(refused))
    await context.abort(status.code, status.details, status.trailing_metadata)
