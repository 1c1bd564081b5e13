"""The contract lint: it finds nothing in our texts, and each of its rules can find something."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass

from sales_crm_bridge.contract import lint
from sales_crm_bridge.pb import POOL, eventing_pb2

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).with_name("buf")
Change = Callable[[FileDescriptorSet], None]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the image of the texts with their comments."""
    out = tmp_path_factory.mktemp("image") / "contract.binpb"
    subprocess.run([BUF, "build", "-o", out], cwd=ROOT / "protos", check=True)
    return out


def test_the_texts_pass(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is found in the texts, comments included, nor in what is built in; the exit code is 0."""
    assert lint.main([str(image)]) == 0
    assert lint.main([]) == 0
    assert capsys.readouterr().out == ""


def test_it_runs_as_a_program(image: Path, tmp_path: Path) -> None:
    """The exit code is 1 and each finding is a line, if there is something to find."""
    files = FileDescriptorSet.FromString(image.read_bytes())
    message(files, "SalesMessageMeta").field[0].number = 9
    spoilt = tmp_path / "spoilt.binpb"
    spoilt.write_bytes(files.SerializeToString())
    run = subprocess.run(
        [sys.executable, "-m", "sales_crm_bridge.contract.lint", str(spoilt)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stdout == "ameide_core_proto.sales.core.v1.SalesMessageMeta.message_id: is not field 1, as published\n"


def message(files: FileDescriptorSet, name: str) -> DescriptorProto:
    """Find a message by its name."""
    return next(one for file in files.file for one in file.message_type if one.name == name)


def file_of(files: FileDescriptorSet, name: str) -> FileDescriptorProto:
    """Find a file by the end of its name."""
    return next(file for file in files.file if file.name.endswith(name))


def options(kind: str, change: Callable[[Any], None]) -> Callable[[FileDescriptorSet, str], None]:
    """A change of a message's eventing or event options."""
    ours = GetMessageClass(POOL.FindMessageTypeByName("google.protobuf.MessageOptions"))

    def apply(files: FileDescriptorSet, name: str) -> None:
        target = message(files, name)
        opened: Any = ours.FromString(target.options.SerializeToString())
        change(opened.Extensions[getattr(eventing_pb2, kind)])
        target.options.ParseFromString(opened.SerializeToString())

    return apply


def set_option(kind: str, message_name: str, **values: str) -> Change:
    """Set texts of a message's option."""

    def change(option: Any) -> None:
        for name, value in values.items():
            setattr(option, name, value)

    return lambda files: options(kind, change)(files, message_name)


def drop_required(name: str, path: str) -> Change:
    """Take a field off an envelope's required ones."""
    return lambda files: options("eventing", lambda option: option.required_fields.remove(path))(files, name)


def add_required(name: str, path: str) -> Change:
    """Require a field."""
    return lambda files: options("eventing", lambda option: option.required_fields.append(path))(files, name)


def add_key(name: str, path: str) -> Change:
    """Add a field to an envelope's key."""
    return lambda files: options("eventing", lambda option: option.partition_key_fields.append(path))(files, name)


def renumber(name: str, field: str, number: int) -> Change:
    """Give a field another number."""

    def change(files: FileDescriptorSet) -> None:
        next(one for one in message(files, name).field if one.name == field).number = number

    return change


def rename(name: str, field: str, new: str) -> Change:
    """Give a field another name."""

    def change(files: FileDescriptorSet) -> None:
        next(one for one in message(files, name).field if one.name == field).name = new

    return change


def drop(name: str, field: str) -> Change:
    """Take a field out."""

    def change(files: FileDescriptorSet) -> None:
        fields = message(files, name).field
        fields.remove(next(one for one in fields if one.name == field))

    return change


def drop_method(file: str, name: str) -> Change:
    """Take a method out of a service."""

    def change(files: FileDescriptorSet) -> None:
        methods = file_of(files, file).service[0].method
        methods.remove(next(one for one in methods if one.name == name))

    return change


def drop_comment(file: str, path: tuple[int, ...]) -> Change:
    """Leave something unexplained."""

    def change(files: FileDescriptorSet) -> None:
        places = file_of(files, file).source_code_info.location
        next(one for one in places if tuple(one.path) == path).leading_comments = " \n"

    return change


def drop_version(files: FileDescriptorSet) -> None:
    """Leave the contract without a version."""
    file_of(files, "core/v1/sales.proto").options.Clear()


def loosen(files: FileDescriptorSet) -> None:
    """Put a field beside meta, subject and the variants."""
    message(files, "SalesDomainFact").field.add(name="aside", number=90, type=9, label=1)


INTENT, FACT = "SalesDomainIntent", "SalesDomainFact"
BREAKS: list[tuple[Change, str]] = [
    (set_option("eventing", INTENT, topic="sales.domain.intents.v2"), "in v1"),
    (set_option("eventing", INTENT, topic="sales.intents.v1"), "should be 'sales.domain.intents.v1'"),
    (set_option("eventing", FACT, schema_subject="facts"), "<topic>-value"),
    (set_option("eventing", FACT, idempotency_key_field="meta.correlation_id"), "idempotency_key_field"),
    (add_key(FACT, "meta.message_id"), "partition_key_fields"),
    (drop_required(FACT, "meta.producer"), "lacks meta.producer"),
    (drop_required(FACT, "meta.causation_id"), "lacks meta.causation_id"),
    (drop_required("SalesProcessFact", "subject.workflow_id"), "lacks subject.workflow_id"),
    (add_required(FACT, "meta.nothing"), "no field meta.nothing"),
    (renumber(FACT, "subject", 3), "not field 2"),
    (loosen, "one oneof"),
    (set_option("event", "LeadCreated", type="io.ameide.sales.fact.lead_made.v1"), "lead_created.v1"),
    (set_option("event", "LeadCreated", type="io.ameide.sales.fact.lead_qualified.v1"), "of 2 variants"),
    (set_option("event", "LeadCreated", aggregate_type=""), "missing for an aggregate"),
    (set_option("event", "ErpHandoffFailed", aggregate_type="Quote"), "set for a process"),
    (rename(FACT, "lead_created", "lead_made"), "stands in its envelope as 'lead_made'"),
    (renumber(FACT, "lead_created", 9), "is below 10"),
    (drop(FACT, "quote_rejected"), "RejectQuoteRequested: has no domain fact"),
    (drop(INTENT, "reject_quote_requested"), "QuoteRejected: has no intent"),
    (drop_method("command_service.proto", "GetQuote"), "SalesCommandService: its methods"),
    (drop_method("query_service.proto", "ListQuotes"), "SalesQueryService: its methods"),
    (renumber("GetLeadRequest", "context", 5), "SalesCommandService.GetLead: its request"),
    (renumber("Money", "nanos", 4), "Money.nanos: is not field 3"),
    (rename("ActorRef", "user_id", "id"), "ActorRef.user_id: is not field 1"),
    (renumber("SalesIntegrationFact", "crm_gap_opened", 99), "below 100"),
    (renumber("SalesIntegrationFact", "quote_email_sent", 200), "another integration's fact"),
    (renumber(INTENT, "revise_lead_requested", 110), "number 110 is used by another envelope"),
    (drop_version, "declared by 0 files"),
    (drop_comment("opportunity.proto", (4, 0, 2, 5)), "Lead.email: has no comment"),
    (drop_comment("sales.proto", (5, 0, 2, 1)), "LEAD_STATUS_NEW: has no comment"),
    (drop_comment("command_service.proto", (6, 0, 2, 0)), "CreateLead: has no comment"),
    (drop_comment("intents.proto", (4, 0, 8, 0)), "SalesDomainIntent.intent: has no comment"),
    (drop_comment("eventing.proto", (7, 0)), "eventing: has no comment"),
]


@pytest.mark.parametrize(("change", "said"), BREAKS, ids=[said for _, said in BREAKS])
def test_each_break_is_found(image: Path, change: Change, said: str) -> None:
    """A contract with one thing wrong gives a finding that names it."""
    files = FileDescriptorSet.FromString(image.read_bytes())
    change(files)
    found = lint.lint(files)
    assert any(said in line for line in found), found


def test_an_intent_must_be_called_requested(image: Path) -> None:
    """The suffix is what tells a wish from a fact."""
    files = FileDescriptorSet.FromString(image.read_bytes())
    message(files, "ApproveQuoteRequested").name = "ApproveQuoteWanted"
    for owner in ("SalesDomainIntent", "ApproveQuoteRequest"):
        for field in message(files, owner).field:
            field.type_name = field.type_name.replace("ApproveQuoteRequested", "ApproveQuoteWanted")
    assert any("ends in Requested" in line for line in lint.lint(files))
