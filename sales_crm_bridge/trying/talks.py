"""Talks that are listened to: sign-ins that are heard, and writes that are shown instead of made."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sales_crm_bridge.model import Credentials, Effect, NoReply

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_crm_bridge.crm_http import Redactor
    from sales_crm_bridge.model import Call, Reply, Secrets, SignInRefused
    from sales_crm_bridge.ports import CrmAdapter, Talk

T = TypeVar("T")


def rehearsed(talk: Talk[T], withheld: Callable[[Call], None]) -> Talk[T]:
    """The same talk; its writing calls are handed to ``withheld`` and not made, and it hears that they were not sent."""
    try:
        calls = next(talk)
        while True:
            reading = tuple(call for call in calls if call.effect is not Effect.WRITE)
            replies = iter((yield reading) if reading else ())
            told: list[Reply] = []
            for call in calls:
                if call.effect is Effect.WRITE:
                    withheld(call)
                    told.append(NoReply(sent=False, reason="not made", retry_at_us=0))
                else:
                    told.append(next(replies))
            calls = talk.send(tuple(told))
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        talk.close()


def overheard(adapter: CrmAdapter, heard: Callable[[Call, Reply], None], redactor: Redactor) -> CrmAdapter:
    """The same adapter, whose sign-ins are heard, and what they bring is masked from then on."""

    class Overheard:
        def __getattr__(self, name: str) -> object:
            return getattr(adapter, name)

        def authenticate(
            self, secrets: Secrets, keep: dict[str, str], now_us: int
        ) -> Talk[Credentials | SignInRefused]:
            talk = adapter.authenticate(secrets, keep, now_us)
            redactor.learn(keep.values())
            try:
                calls = next(talk)
                while True:
                    replies = yield calls
                    for call, reply in zip(calls, replies, strict=True):
                        heard(call, reply)
                    calls = talk.send(replies)
            except StopIteration as end:
                signed: Credentials | SignInRefused = end.value
                if isinstance(signed, Credentials):
                    redactor.learn([*(value for _, value in signed.headers), *signed.keep.values()])
                return signed
            finally:
                talk.close()

    return Overheard()  # type: ignore[return-value]  # whatever it lacks it takes from the adapter
