"""The contract lint: what buf does not know about these texts, checked over their descriptors.

    python -m sales_crm_bridge.contract.lint            the contract this bridge was built with
    python -m sales_crm_bridge.contract.lint IMAGE      a descriptor set; comments too, if it has source information

Exit 0: nothing found. Exit 1: one line for each finding.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from sales_crm_bridge.contract.descriptors import ENVELOPES, FIRST_OF_OURS
from sales_crm_bridge.contract.frozen import NUMBERS, QUERIES, READS, TOPICS
from sales_crm_bridge.pb import sales_command_service_pb2, sales_query_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

ROOT = "ameide_core_proto"
CORE = f"{ROOT}.sales.core.v1"
META = f"{CORE}.SalesMessageMeta"
FIRST_VARIANT = 10
PARTICIPLES = {
    "Create": "Created",
    "Qualify": "Qualified",
    "Disqualify": "Disqualified",
    "Move": "Moved",
    "Adjust": "Adjusted",
    "Close": "Closed",
    "Submit": "Submitted",
    "Approve": "Approved",
    "Reject": "Rejected",
    "Send": "Sent",
    "Mark": "Marked",
}
WITHOUT_FACT = {"ReviseLeadRequested"}  # it corrects details; what came of it is an integration fact
ALWAYS_REQUIRED = {
    f"meta.{name}"
    for name in ("message_id", "correlation_id", "occurred_at", "producer", "schema_version", "tenant_id")
}


def released() -> FileDescriptorSet:
    """The contract this bridge was built with, without comments."""
    result = FileDescriptorSet()
    taken: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in taken:
            return
        taken.add(file.name)
        for needed in file.dependencies:
            add(needed)
        result.file.append(FileDescriptorProto.FromString(file.serialized_pb))

    services = (sales_command_service_pb2.DESCRIPTOR, sales_query_service_pb2.DESCRIPTOR)
    for file in (*(cast("FileDescriptor", one.message.DESCRIPTOR.file) for one in ENVELOPES), *services):
        add(file)
    return result


def lint(files: FileDescriptorSet) -> list[str]:
    """Every finding, in the order of the checks; empty if the contract is as it should be."""
    return _Lint(files).run()


class _Lint:
    def __init__(self, files: FileDescriptorSet) -> None:
        self.files = files
        self.pool = DescriptorPool()
        for file in files.file:
            self.pool.AddSerializedFile(file.SerializeToString())
        ours = [file.name for file in files.file if file.package.startswith(ROOT)]
        self.ours = [self.pool.FindFileByName(name) for name in ours]
        self.envelopes = [message for message in self._messages() if self._is_envelope(message)]
        self.found: list[str] = []

    def run(self) -> list[str]:
        self._topics()
        for envelope in self.envelopes:
            self._envelope(envelope)
            for variant in self._variants(envelope):
                self._variant(envelope, variant)
        self._event_types()
        self._symmetry()
        self._services()
        self._numbers()
        self._ranges()
        self._version()
        self._comments()
        return self.found

    def say(self, where: str, what: str) -> None:
        self.found.append(f"{where}: {what}")

    # --- reading ------------------------------------------------------------------------------------------------------

    def _messages(self) -> Iterator[Descriptor]:
        for file in self.ours:
            yield from cast("dict[str, Descriptor]", file.message_types_by_name).values()

    @staticmethod
    def _is_envelope(message: Descriptor) -> bool:
        meta = message.fields_by_name.get("meta")
        return meta is not None and meta.message_type is not None and meta.message_type.full_name == META

    @staticmethod
    def _variants(envelope: Descriptor) -> list[FieldDescriptor]:
        return [field for oneof in envelope.oneofs for field in cast("list[FieldDescriptor]", oneof.fields)]

    def _option(self, of: Descriptor | FileDescriptor, kind: str, name: str) -> Any:
        options = GetMessageClass(self.pool.FindMessageTypeByName(f"google.protobuf.{kind}Options"))
        extension: Any = self.pool.FindExtensionByName(f"{ROOT}.common.v1.{name}")
        return options.FromString(of.GetOptions().SerializeToString()).Extensions[extension]

    def _eventing(self, envelope: Descriptor) -> Any:
        return self._option(envelope, "Message", "eventing")

    def _event(self, field: FieldDescriptor) -> Any:
        return self._option(cast("Descriptor", field.message_type), "Message", "event")

    @staticmethod
    def _resolve(envelope: Descriptor, path: str) -> FieldDescriptor | None:
        at: Descriptor | None = envelope
        field: FieldDescriptor | None = None
        for name in path.split("."):
            field = at.fields_by_name.get(name) if at is not None else None
            at = field.message_type if field is not None else None
        return field

    # --- checks -------------------------------------------------------------------------------------------------------

    def _topics(self) -> None:
        said = {envelope.full_name: self._eventing(envelope).topic for envelope in self.envelopes}
        if said != TOPICS:
            for name in sorted(set(said) | set(TOPICS)):
                if said.get(name) != TOPICS.get(name):
                    self.say(name, f"topic {said.get(name) or 'missing'!r}, should be {TOPICS.get(name)!r}")

    def _envelope(self, envelope: Descriptor) -> None:
        name, options = envelope.full_name, self._eventing(envelope)
        subject = cast("Descriptor", envelope.fields_by_name["subject"].message_type)
        subject_id = "workflow_id" if "workflow_id" in subject.fields_by_name else "aggregate_id"
        major = envelope.file.package.rpartition(".")[2]
        if not re.fullmatch(rf"[a-z]+(\.[a-z]+)+\.{major}", options.topic):
            self.say(name, f"topic {options.topic!r} is not lower-case words with dots that end in {major}")
        if options.schema_subject != f"{options.topic}-value":
            self.say(name, f"schema_subject {options.schema_subject!r} is not <topic>-value")
        if options.idempotency_key_field != "meta.message_id":
            self.say(name, "idempotency_key_field is not meta.message_id")
        if list(options.partition_key_fields) != ["meta.tenant_id", f"subject.{subject_id}"]:
            self.say(name, f"partition_key_fields are not meta.tenant_id, subject.{subject_id}")
        if (envelope.fields_by_name["meta"].number, envelope.fields_by_name["subject"].number) != (1, 2):
            self.say(name, "meta is not field 1 or subject not field 2")
        if len(envelope.oneofs) != 1 or len(envelope.fields) != len(self._variants(envelope)) + 2:
            self.say(name, "an envelope is meta, subject and one oneof")
        self._required(envelope, f"subject.{subject_id}")

    def _required(self, envelope: Descriptor, subject_id: str) -> None:
        required = self._eventing(envelope).required_fields
        wanted = ALWAYS_REQUIRED | {subject_id}
        if not envelope.name.endswith("Intent"):  # an intent may be caused by nothing, a fact never is
            wanted = wanted | {"meta.causation_id"}
        for path in sorted(wanted.difference(required)):
            self.say(envelope.full_name, f"required_fields lacks {path}")
        for path in required:
            if self._resolve(envelope, path) is None:
                self.say(envelope.full_name, f"there is no field {path}")

    def _variant(self, envelope: Descriptor, field: FieldDescriptor) -> None:
        kind = cast("Descriptor", field.message_type)
        where, event = kind.full_name, self._event(field)
        role = "intent" if envelope.name.endswith("Intent") else "fact"
        major = kind.file.package.rpartition(".")[2]
        wanted = f"io.ameide.sales.{role}.{_snake(kind.name)}.{major}"
        if event.type != wanted:
            self.say(where, f"event type {event.type!r}, should be {wanted!r}")
        if field.name != _snake(kind.name):
            self.say(where, f"stands in its envelope as {field.name!r}")
        if role == "intent" and not kind.name.endswith("Requested"):
            self.say(where, "an intent's name ends in Requested")
        if bool(event.aggregate_type) == (envelope.name == "SalesProcessFact"):
            self.say(where, "aggregate_type is set for a process, or missing for an aggregate")
        if field.number < FIRST_VARIANT:
            self.say(where, f"variant number {field.number} is below {FIRST_VARIANT}")

    def _event_types(self) -> None:
        types = Counter(self._event(field).type for envelope in self.envelopes for field in self._variants(envelope))
        for name, times in sorted(types.items()):
            if times > 1:
                self.say(name, f"is the event type of {times} variants")

    def _named(self, name: str) -> list[str]:
        return [
            cast("Descriptor", field.message_type).name
            for envelope in self.envelopes
            if envelope.name == name
            for field in self._variants(envelope)
        ]

    def _symmetry(self) -> None:
        intents = [name for name in self._named("SalesDomainIntent") if name not in WITHOUT_FACT]
        facts = {frozenset(_words(name)): name for name in self._named("SalesDomainFact")}
        for intent in intents:
            verb, *rest = _words(intent.removesuffix("Requested"))
            if facts.pop(frozenset((PARTICIPLES.get(verb, verb), *rest)), None) is None:
                self.say(intent, "has no domain fact of its name in the past tense")
        for fact in facts.values():
            self.say(fact, "has no intent that it answers")

    def _services(self) -> None:
        commands = [
            name.removesuffix("Requested") for name in self._named("SalesDomainIntent") if name not in WITHOUT_FACT
        ]
        wanted = {"SalesCommandService": [*commands, *READS], "SalesQueryService": list(QUERIES)}
        there = {service.name: service for file in self.ours for service in file.services_by_name.values()}
        for name, methods in wanted.items():
            service = there.get(name)
            if service is None or sorted(method.name for method in service.methods) != sorted(methods):
                self.say(name, f"its methods are not {', '.join(methods)}")
        for service in there.values():
            for method in service.methods:
                context = method.input_type.fields_by_name.get("context")
                if context is None or context.number != 1:
                    self.say(method.full_name, "its request does not begin with context = 1")

    def _numbers(self) -> None:
        for message, fields in NUMBERS.items():
            try:
                descriptor = self.pool.FindMessageTypeByName(message)
            except KeyError:
                self.say(message, "is published and missing")
                continue
            for name, number in fields.items():
                field = descriptor.fields_by_name.get(name)
                if field is None or field.number != number:
                    self.say(f"{message}.{name}", f"is not field {number}, as published")

    def _ranges(self) -> None:
        """The bridge's own facts are told from everything else by their numbers alone (``publishing`` stands on it)."""
        ours: set[int] = set()
        others: set[int] = set()
        for envelope in self.envelopes:
            for field in self._variants(envelope):
                name = cast("Descriptor", field.message_type).name
                mine = envelope.name == "SalesIntegrationFact" and name.startswith("Crm")
                (ours if mine else others).add(field.number)
                if mine and field.number < FIRST_OF_OURS:
                    self.say(name, f"is a fact of the CRM bridge with a number below {FIRST_OF_OURS}")
                if envelope.name == "SalesIntegrationFact" and not mine and field.number >= FIRST_OF_OURS:
                    self.say(name, f"is another integration's fact with a number from {FIRST_OF_OURS} up")
        for number in sorted(ours & others):
            self.say("SalesIntegrationFact", f"variant number {number} is used by another envelope too")

    def _version(self) -> None:
        said = {file.name: text for file in self.ours if (text := self._option(file, "File", "contract_version"))}
        majors = {envelope.file.package.rpartition(".v")[2] for envelope in self.envelopes}
        if len(said) != 1:
            self.say("contract_version", f"is declared by {len(said)} files, not by one")
        for name, text in said.items():
            if not re.fullmatch(r"\d+\.\d+\.\d+", text) or {text.partition(".")[0]} != majors:
                self.say(name, f"contract_version {text!r} is not of the packages' major version")

    def _comments(self) -> None:
        for file in self.files.file:
            if not file.package.startswith(ROOT) or not file.source_code_info.location:
                continue
            places = {tuple(one.path): one.leading_comments.strip() for one in file.source_code_info.location}
            for path, name in _named_places(file):
                if not places.get(path):
                    self.say(f"{file.package}.{name}", "has no comment")


def _named_places(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Everything in a file that must be explained, with its place as ``SourceCodeInfo`` counts it."""
    for at, message in enumerate(file.message_type):
        yield (4, at), message.name
        yield from (((4, at, 2, n), f"{message.name}.{field.name}") for n, field in enumerate(message.field))
        real = len(message.oneof_decl) - sum(field.proto3_optional for field in message.field)
        yield from (((4, at, 8, n), f"{message.name}.{message.oneof_decl[n].name}") for n in range(real))
    for at, enum in enumerate(file.enum_type):
        yield (5, at), enum.name
        yield from (((5, at, 2, n), f"{enum.name}.{value.name}") for n, value in enumerate(enum.value))
    for at, service in enumerate(file.service):
        yield (6, at), service.name
        yield from (((6, at, 2, n), f"{service.name}.{method.name}") for n, method in enumerate(service.method))
    yield from (((7, at), field.name) for at, field in enumerate(file.extension))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Z][a-z]*", name)


def main(arguments: list[str]) -> int:
    """Lint the image named by the only argument, or the built-in contract. The exit code."""
    files = FileDescriptorSet.FromString(Path(arguments[0]).read_bytes()) if arguments else released()
    found = lint(files)
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
