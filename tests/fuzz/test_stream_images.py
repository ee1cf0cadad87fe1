"""What is written to the trainings table harms only itself, and it is said what is wrong with it.

`FUZZ_CASES` says how many cases there are in all (5,000 unless set). A case is a stream record with
an image that is damaged in some way; ten of them come in one batch, between two good ones. A tenth
of the cases is thought out by Hypothesis, which makes small what fails; the others are made by
chance, from a seed, which costs a tenth of that.
"""

import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.aws.sqs import Message
from tests.simulation.lambdas import End, Invocation
from tests.simulation.world import World

CASES = int(os.environ.get("FUZZ_CASES", "5000"))
TOGETHER = 10
NAMESPACE = UUID("00000000-0000-0000-0000-0000000000f2")

pytestmark = pytest.mark.timeout(max(120, CASES // 20))

type Value = dict[str, Any]
type Item = dict[str, Value]


def made_up(name: object) -> str:
    return str(uuid5(NAMESPACE, str(name)))


# Attribute values, as Lambda shows those of a stream

texts = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(("", "x" * 3000, "\x00", "\uffff", "\U0001f600", "ONGOING", made_up("text"))),
)
numbers = st.one_of(
    st.integers(-(10**37), 10**37).map(str),
    st.sampled_from(("0", "-0", "1.5", "1E+125", "-1E-130", "9.9999999999999999999999999999E+125")),
)
scalars = st.one_of(
    st.builds(lambda text: {"S": text}, texts),
    st.builds(lambda number: {"N": number}, numbers),
    st.sampled_from(({"BOOL": True}, {"BOOL": False}, {"NULL": True}, {"B": "AP9/"}, {"B": ""})),
    st.builds(lambda values: {"SS": values}, st.lists(texts, min_size=1, max_size=3, unique=True)),
    st.builds(lambda values: {"NS": values}, st.lists(numbers, min_size=1, max_size=3)),
    st.just({"BS": ["AP9/"]}),
)
values: st.SearchStrategy[Value] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(lambda members: {"L": members}, st.lists(inner, max_size=3)),
        st.builds(lambda members: {"M": members}, st.dictionaries(texts, inner, max_size=3)),
    ),
    max_leaves=6,
)


# Items, and what is done to them


def training(training_uuid: str, state: str = "ONGOING", **more: Value) -> Item:
    return {
        "training_uuid": {"S": training_uuid},
        "entity": {"S": "TRAINING"},
        "state": {"S": state},
        "round": {"N": "3"},
        "model_uuid": {"S": made_up("model")},
        "actor": {
            "M": {
                "uuid": {"S": made_up("actor")},
                "message_endpoint": {"S": "https://actor.example/"},
            }
        },
        **more,
    }


def participant(training_uuid: str, name: object = "participant", **more: Value) -> Item:
    return {
        "training_uuid": {"S": training_uuid},
        "entity": {"S": f"PARTICIPANT#{made_up(name)}"},
        "message_endpoint": {"S": "https://participant.example/"},
        "joined_at": {"S": "2026-01-02T03:04:05+00:00"},
        **more,
    }


NEEDED = {
    "TRAINING": {"state": {"S"}, "round": {"N"}, "model_uuid": {"S"}},
    "PARTICIPANT": {"message_endpoint": {"S"}},
}


@dataclass(frozen=True)
class Damage:
    """What was done to an item.

    Attributes:
        of: TRAINING or PARTICIPANT.
        attribute: which attribute is another one now; None: none is.
        value: what it is now; None: it is missing.
        more: attributes of the FL server's own.
        event: what the record says has happened.
        old: whether the record's other image is damaged too.
    """

    of: str
    attribute: str | None = None
    value: Value | None = None
    more: tuple[tuple[str, Value], ...] = ()
    event: str = "INSERT"
    old: bool = False

    @property
    def unreadable(self) -> bool:
        """Whether it certainly breaks the contract: something needed is missing or no such type."""
        kinds = NEEDED[self.of].get(self.attribute or "")
        return kinds is not None and (self.value is None or not self.value.keys() & kinds)

    @property
    def readable(self) -> bool:
        return self.attribute is None

    def item(self, training_uuid: str) -> Item:
        good = training if self.of == "TRAINING" else participant
        item = good(training_uuid) | dict(self.more)
        if self.attribute is not None:
            item.pop(self.attribute, None)
            if self.value is not None:
                item[self.attribute] = self.value
        return item


ATTRIBUTES = {
    "TRAINING": (
        *(*NEEDED["TRAINING"], "actor", "options", "error", "last_update"),
        *("started_at", "selected", "settings"),
    ),
    "PARTICIPANT": ("message_endpoint", "joined_at", "model_uuid", "settings"),
}


EVENTS = {"TRAINING": ("INSERT", "MODIFY"), "PARTICIPANT": ("INSERT", "REMOVE")}


@st.composite
def options(draw: st.DrawFn) -> Value:
    """Failure policies: good ones, and such that are not."""
    members = {
        "failure_policy": draw(
            st.sampled_from(({"S": "strict"}, {"S": "quorum"}, {"S": "lenient"})) | values
        ),
        "min_participants": draw(st.builds(lambda number: {"N": number}, numbers) | values),
        "required_participants": draw(
            st.builds(
                lambda kind, some: {kind: some if kind == "SS" else [{"S": each} for each in some]},
                st.sampled_from(("SS", "L")),
                st.lists(st.sampled_from((made_up(1), "x", "")), min_size=1, max_size=2),
            )
            | values
        ),
    }
    chosen = draw(st.lists(st.sampled_from(list(members)), unique=True))
    return {"M": {name: members[name] for name in chosen}}


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    of = draw(st.sampled_from(("TRAINING", "PARTICIPANT")))
    own = st.text(st.characters(codec="ascii", categories=["L"]), min_size=20, max_size=30)
    attribute = draw(st.none() | st.sampled_from(ATTRIBUTES[of]))
    chosen = st.none() | values
    if attribute == "options":
        chosen = options()
    elif attribute == "actor":
        names = st.sampled_from(("uuid", "message_endpoint"))
        chosen = st.none() | st.builds(lambda some: {"M": some}, st.dictionaries(names, values))
    return Damage(
        of=of,
        attribute=attribute,
        value=draw(chosen),
        more=tuple(draw(st.dictionaries(own, values, max_size=2)).items()),
        event=draw(st.sampled_from(EVENTS[of])),
        old=draw(st.booleans()),
    )


# One batch


class Batch:
    """Damaged records between two good ones, in a world that has the same items in its table."""

    def __init__(self, damaged: list[Damage]) -> None:
        self.world = World(page_items=1000)
        self.damaged = damaged
        self.records: list[dict[str, Any]] = []
        self.first, self.last = made_up("first"), made_up("last")
        self._good(self.first)
        for number, damage in enumerate(damaged):
            self._damaged(self.training_of(number), damage)
        self._good(self.last)

    @staticmethod
    def training_of(number: int) -> str:
        return made_up(f"training {number}")

    def _good(self, training_uuid: str) -> None:
        self._keep(participant(training_uuid))
        self._keep(training(training_uuid))
        self._record("INSERT", new=training(training_uuid))

    def _damaged(self, training_uuid: str, damage: Damage) -> None:
        item = damage.item(training_uuid)
        self._keep(item)
        if damage.of == "TRAINING":
            self._keep(participant(training_uuid))
            before = item if damage.old else training(training_uuid, "INITIAL")
            old = before if damage.event == "MODIFY" else None
            # Else nothing would have changed.
            new = item | {"own": {"S": "changed"}} if old == item else item
            self._record(damage.event, new=new, old=old)
        elif damage.event == "REMOVE":
            self._keep(training(training_uuid))
            self._keep(participant(training_uuid, "neighbour"))
            self._record("INSERT", new=training(training_uuid))
            del self.world.trainings.items[training_uuid, item["entity"]["S"]]
            self.world.trainings.sort_keys[training_uuid].remove(item["entity"]["S"])
            self._record("REMOVE", old=item)
        else:
            self._keep(training(training_uuid))
            self._keep(participant(training_uuid, "neighbour"))
            self._record("INSERT", new=item)
            self._record("INSERT", new=training(training_uuid))

    def _keep(self, item: Item) -> None:
        key = (item["training_uuid"]["S"], item["entity"]["S"])
        table = self.world.trainings
        table.items[key] = item
        table.sort_keys[key[0]] = sorted({*table.sort_keys.get(key[0], []), key[1]})

    def _record(self, event: str, *, new: Item | None = None, old: Item | None = None) -> None:
        item = new or old or {}
        images = {"NewImage": new, "OldImage": old}
        self.records.append(
            {
                "eventID": str(len(self.records)),
                "eventName": event,
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": "eu-central-1",
                "dynamodb": {
                    "ApproximateCreationDateTime": 1_750_000_000.0,
                    "Keys": {name: item[name] for name in ("training_uuid", "entity")},
                    "SequenceNumber": str(1000 + len(self.records)),
                    "SizeBytes": 100,
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                    **{name: image for name, image in images.items() if image is not None},
                },
                "eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/t/stream/1",
            }
        )

    def run(self) -> Invocation:
        """Build the notifications of the batch, and deliver none."""
        ended: list[Invocation] = []
        self.world.deliveries.wake = lambda: None
        self.world.build.invoke({"Records": self.records}, ended.append)
        self.world.run()
        (invocation,) = ended
        return invocation

    def built(self, training_uuid: str) -> list[tuple[str, str]]:
        """What was built for a training: types and receivers."""
        bodies = [json.loads(message.body) for message in self.world.deliveries.accepted]
        return [
            (body["notification_type"], body["receiver"]["uuid"])
            for body in bodies
            if body["training_uuid"] == training_uuid
        ]

    def letters(self, training_uuid: str) -> list[tuple[Mapping[str, Any], Message]]:
        """The dead letters of a training."""
        letters = [(json.loads(each.body), each) for each in self.world.stream_dlq.accepted]
        return [(body, each) for body, each in letters if body["training_uuid"] == training_uuid]


def full_start(name: object = "participant") -> list[tuple[str, str]]:
    return [("TRAINING_START", made_up(name)), ("UPDATE_ROUND_START", made_up(name))]


LONG = {"S": "https://participant.example/" + "x" * 350_000}


def chance_value(chance: random.Random, depth: int = 2) -> Value:
    """What `values` makes, by chance."""
    some: list[Value] = [
        {"S": chance.choice(("", "x", "ONGOING", made_up("text"), "\x00", "\uffff", "\U0001f600"))},
        {"N": chance.choice(("0", "-0", "1", "1.5", "-3", "1E+125", "-1E-130", f"{10**37}"))},
        *({"BOOL": chance.random() < 0.5}, {"NULL": True}, {"B": "AP9/"}, {"BS": ["AP9/"]}),
        *({"SS": ["x", made_up("text")]}, {"NS": ["1", "1.5"]}, {"SS": [made_up("text")]}),
    ]
    if depth and chance.random() < 0.4:
        inner = [chance_value(chance, depth - 1) for _ in range(chance.randrange(3))]
        names = ("uuid", "message_endpoint", "reason", "failure_policy", "min_participants")
        return chance.choice(
            ({"L": inner}, {"M": {chance.choice(names): each for each in inner}}),
        )
    return chance.choice(some)


def chance_damage(chance: random.Random) -> Damage:
    """What `damages` makes, by chance."""
    of = chance.choice(("TRAINING", "PARTICIPANT"))
    return Damage(
        of=of,
        attribute=chance.choice((None, *ATTRIBUTES[of], *ATTRIBUTES[of])),
        value=None if chance.random() < 0.2 else chance_value(chance),
        more=(("own", chance_value(chance)),) if chance.random() < 0.3 else (),
        event=chance.choice(EVENTS[of]),
        old=chance.random() < 0.5,
    )


@settings(
    max_examples=max(1, CASES // 10 // TOGETHER),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(damages(), min_size=TOGETHER, max_size=TOGETHER))
@example([Damage("PARTICIPANT", "message_endpoint", LONG)] * 10)
@example([Damage("PARTICIPANT", "message_endpoint", {"S": "https://\uffff\x00/"})])
@example([Damage("TRAINING", "model_uuid", None)])
@example([Damage("TRAINING", "round", {"N": "1E+125"})])
@example([Damage("TRAINING", "error", {"M": {"reason": {"S": "\uffff"}}})])
def test_a_damaged_image_harms_only_itself(damaged: list[Damage]) -> None:
    harms_only_itself(damaged)


def test_many_damaged_images_harm_only_themselves() -> None:
    for seed in range(max(1, CASES * 9 // 10 // TOGETHER)):
        chance = random.Random(seed)  # noqa: S311 - a test
        damaged = [chance_damage(chance) for _ in range(TOGETHER)]
        try:
            harms_only_itself(damaged)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


def harms_only_itself(damaged: list[Damage]) -> None:
    batch = Batch(damaged)
    invocation = batch.run()

    assert invocation.end is End.ANSWERED, invocation.error
    assert invocation.answer == {"batchItemFailures": []}
    for neighbour in (batch.first, batch.last):
        assert batch.built(neighbour) == full_start()
        assert batch.letters(neighbour) == []
    for number, damage in enumerate(damaged):
        own = batch.training_of(number)
        built, letters = batch.built(own), batch.letters(own)
        if damage.unreadable:
            assert letters, damage
            for body, message in letters:
                assert body["field"].split(".")[0] == damage.attribute
                assert body["reason"]
                assert body["field"] in message.attributes["reason"]["StringValue"]
        if damage.readable:
            assert letters == []
        if damage.of == "PARTICIPANT" and damage.event == "INSERT":
            # Its neighbour is told of the training's start and round all the same.
            assert [each for each in built if each[1] == made_up("neighbour")] == full_start(
                "neighbour"
            )
        if damage.readable and damage.of == "TRAINING":
            moved = damage.event == "INSERT" or not damage.old
            assert built == (full_start() if moved else [])
        if damage.readable and damage.event == "REMOVE":
            assert built == [*full_start("neighbour"), ("CLIENT_REMOVED", made_up("participant"))]
