"""Patch: the lost position."""
import shutil
F='drafts/lost-position/files/'
def sub(p, *pairs):
    s=open(p).read()
    for a,b in pairs:
        assert a in s, (p,a[:70])
        s=s.replace(a,b,1)
    open(p,'w').write(s)
shutil.copy(F+'catchup.py','sales_crm_bridge/catchup.py')
shutil.copy(F+'deltas.py','adapters/sales_crm_adapters/rest/deltas.py')
shutil.copy(F+'tidal.py','sales_crm_bridge/sandbox/dialects/tidal.py')
shutil.copy(F+'tidal.yaml','tests/contract/declared/tidal.yaml')
sub('sales_crm_bridge/model.py',('''    """One page of a feed. ``next`` is the position after it; ``done``: the walk or window has ended with this page."""

    raws: list[Raw]
    next: Position
    done: bool
''','''    """One page of a feed. ``next`` is the position after it; ``done``: the walk or window has ended with this page.

    ``lost``: the CRM no longer knows the position (an expired token, say), so nothing could be read.
    """

    raws: list[Raw]
    next: Position
    done: bool
    lost: bool = False
'''))
sub('sales_crm_bridge/ports.py',('''        An empty page with ``done`` False is legal.''','''        A position of a stream that the CRM knows no more gives a page that is ``lost``: the core opens a gap and catches up.
        An empty page with ``done`` False is legal.'''))
sub('sales_crm_bridge/policy/walks.py',('''    ``differs``: the present one has shown a record that the ones before had not, or left out one that is there.
    """
''','''    ``differs``: the present one has shown a record that the ones before had not, or left out one that is there. ``proven_us``: our
    clock when a run was last read to its end, so that everything until then was met; ``every_us``: how often that is to be.
    """
'''),('''    passes: int = 0
    differs: bool = False


_encode''','''    passes: int = 0
    differs: bool = False
    proven_us: int = 0
    every_us: int = 0


_encode'''),('''    resume = standing.position.token if isinstance(standing.position, Stream) else ""
    return Standing(run=standing.run, begun_us=begun_us, due_us=now_us + walk.every_us, resume=resume)
''','''    resume = ""
    if isinstance(standing.position, Stream):
        resume, begun_us = standing.position.token, now_us
    return Standing(
        run=standing.run,
        begun_us=begun_us,
        due_us=now_us + walk.every_us,
        resume=resume,
        proven_us=now_us,
        every_us=walk.every_us,
    )


def restarted(standing: Standing) -> Standing:
    """Where a stream stands whose place the CRM has lost: between runs, and the next one, due now, begins at a new place."""
    return Standing(run=standing.run, begun_us=standing.begun_us, proven_us=standing.proven_us, every_us=standing.every_us)


def lost(run: Run, code: str, now_us: int) -> Run:
    """The run that has met a lost place: it has ended without its end."""
    return msgspec.structs.replace(run, state="failed", code=code, finished_us=now_us)
'''),('''if TYPE_CHECKING:
    from collections.abc import Sequence

PASSES''','''if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.state import Run

PASSES'''))
sub('sales_crm_bridge/pull.py',('''        page = await desk.speaker.converse(talk, purpose=self._purpose(walk), causes=(self._span,))
        after''','''        page = await desk.speaker.converse(talk, purpose=self._purpose(walk), causes=(self._span,))
        if page.lost:
            self._standings[walk.name] = await self._catch_up.lost(walk, standing, self._runs.get(walk.name))
            return
        after'''),('''        self._warden = Warden(desk, self._reader)
''','''        self._warden = Warden(desk, self._reader)
        self._catch_up = CatchUp(desk)
'''),('''        await self._warden.open()
''','''        await self._catch_up.open()
        await self._warden.open()
'''),('''        if self._warden.unread_us:
''','''        if self._warden.unread_us or self._catch_up.due:
'''),('''        if finished and walk.turn is walks.Pass.SWEEP:
            await self._warden.swept(run.started_us)
            self._read_again()
''','''        if finished:
            await self._catch_up.ended(walk, run.started_us)
            if walk.turn is walks.Pass.SWEEP:
                await self._warden.swept(run.started_us)
            self._read_again()
'''),('''from sales_crm_bridge import gaps
''','''from sales_crm_bridge import gaps
from sales_crm_bridge.catchup import CatchUp
'''))
s=open('pyproject.toml').read()
s=s.replace(': (clerk) : (deadletters)',': (catchup) : (clerk) : (deadletters)').replace('''  "sales_crm_bridge.answering",
  "sales_crm_bridge.deadletters",''','''  "sales_crm_bridge.answering",
  "sales_crm_bridge.catchup",
  "sales_crm_bridge.deadletters",''')
open('pyproject.toml','w').write(s)
# rest
sub('adapters/sales_crm_adapters/rest/about_records.py',('''class Lists(Part, frozen=True, kw_only=True):
''','''class DeltaList(Listing, frozen=True, kw_only=True):
    """Records that were written since a `{token}` that the CRM gave; an answer that means `expired` opens a gap and catches up."""

    token: Annotated[Steps | Aside, Meta(description="Where the new token stands on the last page.")]
    first: Annotated[
        str, Meta(max_length=200, description="What the first request says for `{token}`: from now on. Without it the variable has no value.")
    ] = ""


class Lists(Part, frozen=True, kw_only=True):
'''),('''    removed: Annotated[RemovedList | None, Meta(description="The bin, or the list of deleted records.")] = None''','''    delta: Annotated[
        DeltaList | None, Meta(description="Changes since a token that the CRM gives, in place of `changes`.")
    ] = None
    removed: Annotated[RemovedList | None, Meta(description="The bin, or the list of deleted records.")] = None'''))
sub('adapters/sales_crm_adapters/rest/pages.py',('''        page = listing.page
        paths''','''        page = listing.page
        token = listing.token if isinstance(listing, DeltaList) else None
        paths'''),('''("total", page.total), ("pages", page.pages)):
            self._place''','''("total", page.total), ("pages", page.pages), ("token", token)):
            self._place'''),('''from sales_crm_adapters.rest.links import next_link
''','''from sales_crm_adapters.rest.about_records import DeltaList
from sales_crm_adapters.rest.links import next_link
'''))
sub('adapters/sales_crm_adapters/rest/lists.py',('''        self._walks = {
            name: Walk(name, kind, listing, options, records, answers) for name, kind, listing in named if listing
        }
        self.feeds''','''        self._walks: dict[str, Walk | Delta] = {
            name: Walk(name, kind, listing, options, records, answers) for name, kind, listing in named if listing
        }
        if lists.delta is not None:
            self._walks["delta"] = Delta("delta", lists.delta, options, records, answers)
        self.feeds'''),('''from sales_crm_adapters.rest.links import below
''','''from sales_crm_adapters.rest.deltas import Delta
from sales_crm_adapters.rest.links import below
'''))
sub('adapters/sales_crm_adapters/rest/lint.py',('''    about_records.RemovedList: (*_PAGING, "since", "until"),
''','''    about_records.RemovedList: (*_PAGING, "since", "until"),
    about_records.DeltaList: ("limit", "cursor", "names", "token"),
'''))
sub('adapters/sales_crm_adapters/rest/contradictions.py',('''    listings = [lists.all, lists.changes, lists.removed] if lists is not None else []
''','''    listings = [lists.all, lists.changes, lists.removed] if lists is not None and lists.delta is None else []
'''))
sub('adapters/sales_crm_adapters/rest/list_faults.py',('''    if lists.changes is None:
        return
''','''    if lists.delta is not None:
        yield from _delta(lists)
    if lists.changes is None:
        return
'''),('''_NEEDS = {''','''def _delta(lists: Lists) -> Iterator[Mistake]:
    """What cannot be meant of a list since a token."""
    route: Route = ("lists", "delta")
    assert lists.delta is not None
    yield from _listing(lists.delta, route)
    if "token" not in named_in_request(lists.delta):
        yield contradiction(route, "changes since a token that do not name {token}", "name {token} in the request")
    if lists.delta.page.by not in ("cursor", "none"):
        yield contradiction((*route, "page", "by"), "changes since a token are paged by cursor or not at all", "use cursor or none")
    if lists.changes is not None:
        yield contradiction(("lists", "changes"), "`changes` beside `delta`", "declare one of the two")


_NEEDS = {'''))
sub('adapters/sales_crm_adapters/rest/reference.py',('''| `{token}` | what the sign-in yielded |''','''| `{token}` | what the sign-in yielded; in `delta` the token of the last answer, before the first one what `first` says |'''))
sub('sales_crm_bridge/sandbox/dialects/__init__.py',('''from sales_crm_bridge.sandbox.dialects.seeding import fill
''','''from sales_crm_bridge.sandbox.dialects.seeding import fill
from sales_crm_bridge.sandbox.dialects.tidal import Tidal
'''),('''"Rpc", "fill"]''','''"Rpc", "Tidal", "fill"]'''))
sub('tests/contract/world.py',('''            case _:
                return Cursor()

    def pages''','''            case Paging.STREAM:
                return Stream()
            case _:
                return Cursor()

    def pages'''))
shutil.copy(F+'test_lost_position.py','tests/flow/test_lost_position.py')
sub('tests/contract/declared_worlds.py',('''class CloudWorld(DeclaredWorld):''','''class TidalWorld(PlainWorld):
    """Changes since a token that the CRM gives."""

    declaration = "tidal"
    feeds = (FeedKind.SWEEP, FeedKind.STREAM, FeedKind.REMOVED)

    def found(self, **build: object) -> Tidal:
        self.plain = self.tidal = Tidal(clock=self.clock, rng=self.dice)
        return self.tidal


class CloudWorld(DeclaredWorld):'''),('''    "declared-rpc": RpcWorld,
''','''    "declared-rpc": RpcWorld,
    "declared-tidal": TidalWorld,
'''),('''import Cloud, Miserly, Plain, Rpc
''','''import Cloud, Miserly, Plain, Rpc, Tidal
'''))
s=open('tests/contract/test_promises.py').read()
i=s.index('    "declared-plain": Capabilities('); j=s.index('    "declared-rpc": Capabilities(')
blk=s[i:j].replace('declared-plain','declared-tidal')
k=s.index('    "memory": Capabilities(')
s=s[:k]+blk+s[k:]
open('tests/contract/test_promises.py','w').write(s)
sub('tests/contract/world.py',('''    Window,
''','''    Stream,
    Window,
'''))
sub('tests/flow/test_declared.py',('''    RpcWorld,
)''','''    RpcWorld,
    TidalWorld,
)'''),('DIALECTS = (CloudWorld, MiserlyWorld, PlainWorld, RpcWorld)','DIALECTS = (CloudWorld, MiserlyWorld, PlainWorld, RpcWorld, TidalWorld)'))
sub('sales_crm_bridge/web/families.py',('''    failures = [(feed, float(standing.failures)) for feed, standing in found]
''','''    unproven = [(feed, age_s(standing.proven_us, now_us)) for feed, standing in found]
    text = "How long ago the feed was last read to its end; 0 before the first time."
    yield _gauge("feed_unproven_seconds", text, _FEED, unproven)
    every = [(feed, standing.every_us / 1e6) for feed, standing in found]
    yield _gauge("feed_every_seconds", "How often the feed is to be read to its end.", _FEED, every)
    failures = [(feed, float(standing.failures)) for feed, standing in found]
'''))
sub('deploy/prometheus/rules.yaml',('''      - alert: SalesCrmBridgeLag
''','''      - alert: SalesCrmBridgeFeedBlind
        expr: >-
          max by (tenant, connection, feed) (sales_crm_bridge_feed_unproven_seconds) > 3600 + 10 * max by (tenant,
          connection, feed) (sales_crm_bridge_feed_every_seconds) unless on (tenant, connection, feed) sum by (tenant,
          connection, feed) (increase(sales_crm_bridge_records_total[1h])) > 0
        for: 10m
        labels:
          severity: critical
        annotations:
          summary: "Nobody knows what changed in feed {{ $labels.feed }} of {{ $labels.tenant }}/{{ $labels.connection }}"
          runbook_url: docs/operations.md#salescrmbridgefeedblind
      - alert: SalesCrmBridgeLag
'''))
sub('deploy/prometheus/rules.test.yaml',('''  # A property of the CRM was put away.
''','''  # A feed that is never read to its end is blind; a quiet one proves itself with every look, a large one reads on.
  - interval: 1m
    input_series:
      - series: sales_crm_bridge_feed_unproven_seconds{tenant="acme", connection="main", feed="search"}
        values: "0+60x180"
      - series: sales_crm_bridge_feed_every_seconds{tenant="acme", connection="main", feed="search"}
        values: "30x180"
      - series: sales_crm_bridge_feed_unproven_seconds{tenant="acme", connection="main", feed="all"}
        values: "0+60x180"
      - series: sales_crm_bridge_feed_every_seconds{tenant="acme", connection="main", feed="all"}
        values: "30x180"
      - series: sales_crm_bridge_records_total{tenant="acme", connection="main", feed="all", result="unchanged"}
        values: "0+100x180"
      - series: sales_crm_bridge_feed_unproven_seconds{tenant="quiet", connection="main", feed="search"}
        values: "25x180"
      - series: sales_crm_bridge_feed_every_seconds{tenant="quiet", connection="main", feed="search"}
        values: "30x180"
    alert_rule_test:
      - eval_time: 60m
        alertname: SalesCrmBridgeFeedBlind
        exp_alerts: []
      - eval_time: 120m
        alertname: SalesCrmBridgeFeedBlind
        exp_alerts:
          - exp_labels: {severity: critical, tenant: acme, connection: main, feed: search}
            exp_annotations:
              summary: "Nobody knows what changed in feed search of acme/main"
              runbook_url: docs/operations.md#salescrmbridgefeedblind
  # A property of the CRM was put away.
'''))
sub('docs/operations.md',('''### SalesCrmBridgeLag
''','''### SalesCrmBridgeFeedBlind

The feed has not been read to its end for an hour and ten times its pause, and reads nothing: nobody knows what changed. A quiet feed is not
blind, since every look that finds nothing proves that nothing is there.

*Do:* As for FeedStuck; `pull.interrupted` in the log has the CRM's own code.

### SalesCrmBridgeLag
'''),('''| `feed_failures`, `feed_running` |''','''| `feed_unproven_seconds`, `feed_every_seconds` | `tenant`, `connection`, `feed` | L: how long ago it was last read to its end (0 before the first time), and how often that is to be |
| `feed_failures`, `feed_running` |'''),('''- **A gap is open.** The broker no longer had intents that were not read (`CrmGapOpened` says from where). Ask the domain to utter the
  intents of that time again''','''- **A gap is open.** In a CRM's feed (`position-lost`): the CRM no longer knew the place where reading stood. Nothing is to be done: the feed
  goes on from a new place, a sweep that begins after that reads everything, and the gap is closed. In `intents`: the broker no longer
  had intents that were not read (`CrmGapOpened` says from where). Ask the domain to utter the intents of that time again'''),('''| `pull.interrupted` | warning |''','''| `pull.gap-opened` | error | the CRM no longer knows the place of a feed; everything is read again | see "A gap is open" above |
| `pull.interrupted` | warning |'''))
s=open('docs/operations.md').read()
open('docs/operations.md','w').write(s)
sub('docs/guarantees.md',('''| A webhook only hints''','''| A place that a CRM has forgotten loses nothing | a gap is opened; the feed goes on from a new place first, and the gap is closed by a sweep that began after that | `tests/flow/test_lost_position.py` |
| A webhook only hints'''))
sub('docs/changelog.md',('''- A field that the CRM no longer has as''','''- A declared CRM can tell what changed since a token that it gives (`lists.delta`). A token that it has forgotten opens a gap, everything is read
  again, and the gap is closed, with `CrmGapOpened` and `CrmGapClosed`. Metrics `feed_unproven_seconds` and `feed_every_seconds`, alert
  FeedBlind: a feed that is never read to its end, however often it is tried, while a quiet one proves itself with every look.
- A field that the CRM no longer has as'''))
sub('docs/architecture.md',('''A page is fingerprinted first;''','''Where a feed's place is a token of the CRM's and the CRM has forgotten it, `catchup.py` opens a gap, lets the feed begin at a new place, and closes
the gap when a sweep that began after that has read everything.

A page is fingerprinted first;'''))
sub('docs/sandbox.md',('''| `cloud` |''','''| `tidal` | as `plain`, but changes are asked for by a token that the CRM gives, and forgets after a while | [tidal.py](../sales_crm_bridge/sandbox/dialects/tidal.py) |
| `cloud` |'''))

sub('sales_crm_bridge/sandbox/__main__.py',('''    "plain": (Plain,''','''    "tidal": (Tidal, "curl -H 'X-Api-Key: plain-key' 'URL/api/v1/people/delta?token=latest'"),
    "plain": (Plain,'''))

sub('sales_crm_bridge/sandbox/__main__.py',('Harbour, Miserly, Plain, Rpc, fill,','Harbour, Miserly, Plain, Rpc, Tidal, fill,'))
