"""The stand-in of SQS FIFO queues against the documentation."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.kernel import Kernel, NotModelledError
from tests.aws.sqs import (
    Message,
    Queue,
    Redrive,
    Sqs,
)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def dead_letters(kernel: Kernel) -> Queue:
    return Queue(kernel, "dead.fifo")


@pytest.fixture
def queue(kernel: Kernel, dead_letters: Queue) -> Queue:
    return Queue(kernel, "queue.fifo", visibility_timeout=30, redrive=Redrive(dead_letters, 3))


@pytest.fixture
def sqs(queue: Queue, dead_letters: Queue) -> Sqs:
    service = Sqs()
    service.add(queue)
    service.add(dead_letters)
    return service


def send(queue: Queue, body: str, group: str = "g", identifier: str | None = None) -> str:
    answer = queue.send(
        {
            "MessageBody": body,
            "MessageGroupId": group,
            "MessageDeduplicationId": identifier or body,
        }
    )
    return str(answer["MessageId"])


def bodies(messages: list[Message]) -> list[str]:
    return [message.body for message in messages]


def entry(identifier: str, body: str, group: str = "g") -> dict[str, Any]:
    return {
        "Id": identifier,
        "MessageBody": body,
        "MessageGroupId": group,
        "MessageDeduplicationId": body,
    }


def test_a_group_comes_in_order(queue: Queue) -> None:
    for body in "abc":
        send(queue, body)
    assert bodies(queue.receive(10)) == ["a", "b", "c"]


def test_a_group_with_a_message_in_flight_gives_no_other(queue: Queue) -> None:
    send(queue, "a")
    send(queue, "x", group="other")
    assert bodies(queue.receive(1)) == ["a"]
    send(queue, "b")

    assert bodies(queue.receive(10)) == ["x"]
    assert queue.receive(10) == []


def test_a_group_goes_on_when_its_messages_are_deleted(queue: Queue) -> None:
    for body in "abc":
        send(queue, body)
    first, second = queue.receive(2)

    assert queue.delete(first.receipt)
    assert queue.receive(10) == []
    assert queue.delete(second.receipt)
    assert bodies(queue.receive(10)) == ["c"]


def test_a_group_goes_on_when_its_messages_become_visible(kernel: Kernel, queue: Queue) -> None:
    for body in "ab":
        send(queue, body)
    queue.receive(1)
    kernel.now += 29
    assert queue.receive(10) == []
    kernel.now += 1
    assert bodies(queue.receive(10)) == ["a", "b"]


def test_a_message_given_back_waits_behind_one_that_is_in_flight(
    kernel: Kernel, queue: Queue
) -> None:
    for body in "ab":
        send(queue, body)
    first, second = queue.receive(2)
    queue.change_visibility(first.receipt, 5)
    queue.change_visibility(second.receipt, 0)

    assert queue.receive(10) == []
    kernel.now += 5
    assert bodies(queue.receive(10)) == ["a", "b"]


def test_a_duplicate_is_accepted_and_not_delivered(queue: Queue) -> None:
    first = send(queue, "a", identifier="i")
    again = send(queue, "b", identifier="i")

    assert first == again
    assert bodies(queue.receive(10)) == ["a"]


def test_a_duplicate_of_a_deleted_message_is_not_delivered(queue: Queue) -> None:
    send(queue, "a", identifier="i")
    queue.delete(queue.receive(1)[0].receipt)
    send(queue, "b", identifier="i")

    assert queue.receive(10) == []


def test_after_five_minutes_it_is_no_duplicate(kernel: Kernel, queue: Queue) -> None:
    send(queue, "a", identifier="i")
    kernel.now += 299
    send(queue, "b", identifier="i")
    kernel.now += 1
    send(queue, "c", identifier="i")

    assert bodies(queue.receive(10)) == ["a", "c"]


def test_the_scope_of_deduplication_is_the_group(queue: Queue) -> None:
    send(queue, "a", group="g", identifier="i")
    send(queue, "b", group="h", identifier="i")

    assert sorted(bodies(queue.receive(10))) == ["a", "b"]


def test_a_receipt_handle_is_no_good_once_its_message_is_visible_again(
    kernel: Kernel, queue: Queue
) -> None:
    send(queue, "a")
    (old,) = [message.receipt for message in queue.receive(1)]
    kernel.now += 30

    assert not queue.delete(old)
    (new,) = [message.receipt for message in queue.receive(1)]
    assert not queue.delete(old)
    assert queue.delete(new)


def test_receiving_is_counted_and_too_many_end_in_the_dead_letter_queue(
    kernel: Kernel, queue: Queue, dead_letters: Queue
) -> None:
    send(queue, "a")
    send(queue, "b")
    counts = []
    for _ in range(3):
        counts.append(queue.receive(1)[0].receive_count)
        kernel.now += 30

    assert counts == [1, 2, 3]
    assert bodies(queue.receive(1)) == ["b"]
    assert bodies(dead_letters.messages) == ["a"]


def test_a_message_expires_after_the_retention_period(kernel: Kernel, queue: Queue) -> None:
    queue.retention = 100
    send(queue, "a")
    kernel.now += 101

    assert queue.receive(1) == []
    assert bodies(queue.expired) == ["a"]


def test_receiving_can_begin_with_another_group(queue: Queue) -> None:
    for group in "gh":
        send(queue, group, group=group)
    assert bodies(queue.receive(1, first=1)) == ["h"]


def test_a_queue_wakes_its_poller(kernel: Kernel, queue: Queue) -> None:
    moments: list[float] = []
    queue.wake = lambda: moments.append(kernel.now - kernel.start)
    send(queue, "a")
    kernel.run(kernel.start)
    (message,) = queue.receive(1)
    queue.change_visibility(message.receipt, 7)
    kernel.run()

    assert moments == [0, 7, 30]


def test_a_batch_of_messages_fails_in_part(sqs: Sqs, queue: Queue) -> None:
    sqs.left_undone = lambda index: index == 0
    answer = sqs.send_message_batch(QueueUrl=queue.url, Entries=[entry("0", "a"), entry("1", "b")])

    assert [failed["Id"] for failed in answer["Failed"]] == ["0"]
    assert [done["Id"] for done in answer["Successful"]] == ["1"]
    assert bodies(queue.messages) == ["b"]


def test_a_failure_may_have_taken_effect(sqs: Sqs, queue: Queue) -> None:
    sqs.left_undone = lambda _: True
    sqs.doubtful = True
    answer = sqs.send_message_batch(QueueUrl=queue.url, Entries=[entry("0", "a")])

    assert "Successful" not in answer
    assert bodies(queue.messages) == ["a"]


@pytest.mark.parametrize("ids", [[], ["0"] * 2, [str(number) for number in range(11)]])
def test_a_batch_has_one_to_ten_distinct_entries(sqs: Sqs, queue: Queue, ids: list[str]) -> None:
    with pytest.raises(ClientError):
        sqs.send_message_batch(QueueUrl=queue.url, Entries=[entry(each, each) for each in ids])


def test_a_batch_of_visibility_changes_fails_in_part(sqs: Sqs, queue: Queue) -> None:
    send(queue, "a")
    (message,) = queue.receive(1)
    answer = sqs.change_message_visibility_batch(
        QueueUrl=queue.url,
        Entries=[
            {"Id": "good", "ReceiptHandle": message.receipt, "VisibilityTimeout": 0},
            {"Id": "stale", "ReceiptHandle": "unknown", "VisibilityTimeout": 0},
        ],
    )

    assert [failed["Id"] for failed in answer["Failed"]] == ["stale"]
    assert bodies(queue.receive(1)) == ["a"]


@pytest.mark.parametrize("missing", ["MessageGroupId", "MessageDeduplicationId", "MessageBody"])
def test_a_fifo_queue_needs_group_and_deduplication_id(
    sqs: Sqs, queue: Queue, missing: str
) -> None:
    request = {**entry("0", "a"), missing: ""}
    del request["Id"]
    with pytest.raises(ClientError):
        sqs.send_message(QueueUrl=queue.url, **request)


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\uffff"])
def test_a_message_has_no_characters_that_xml_cannot_hold(
    sqs: Sqs, queue: Queue, character: str
) -> None:
    answer = sqs.send_message_batch(
        QueueUrl=queue.url,
        Entries=[
            {**entry("0", "a"), "MessageBody": character},
            {**entry("1", "b"), "MessageBody": "é\n"},
        ],
    )
    assert [failed["Code"] for failed in answer["Failed"]] == ["InvalidMessageContents"]


def test_a_plain_queue_has_no_groups(kernel: Kernel) -> None:
    plain = Queue(kernel, "plain")
    for body in "ab":
        plain.send({"MessageBody": body})
    plain.receive(1)

    assert bodies(plain.receive(10)) == ["b"]


def test_what_is_not_modelled_is_said(sqs: Sqs, queue: Queue) -> None:
    with pytest.raises(NotModelledError):
        sqs.send_message(QueueUrl=queue.url, MessageBody="a", DelaySeconds=1)
    with pytest.raises(NotModelledError):
        sqs.send_message(QueueUrl="another", MessageBody="a")


# Who receives by itself


def test_a_function_may_receive_and_delete_by_itself(sqs: Sqs, queue: Queue) -> None:
    for body in "abc":
        send(queue, body, group=body)
    assert sqs.receive_message(QueueUrl=queue.url)["Messages"][0]["Body"] == "a"
    messages = sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10)["Messages"]
    assert [message["Body"] for message in messages] == ["b", "c"]
    assert messages[0]["Attributes"]["MessageGroupId"] == "b"
    assert messages[0]["Attributes"]["ApproximateReceiveCount"] == "1"
    answer = sqs.delete_message_batch(
        QueueUrl=queue.url,
        Entries=[{"Id": "0", "ReceiptHandle": messages[0]["ReceiptHandle"]}],
    )

    assert answer == {"Successful": [{"Id": "0"}]}
    assert sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10) == {}
    assert [message.body for message in queue.messages] == ["a", "c"]


def test_a_fifo_queue_says_when_a_message_is_no_longer_held(
    kernel: Kernel, sqs: Sqs, queue: Queue
) -> None:
    send(queue, "a")
    (message,) = sqs.receive_message(QueueUrl=queue.url)["Messages"]
    kernel.now += 31
    answer = sqs.delete_message_batch(
        QueueUrl=queue.url, Entries=[{"Id": "0", "ReceiptHandle": message["ReceiptHandle"]}]
    )
    assert answer["Failed"][0]["Code"] == "InvalidParameterValue"


def test_a_receive_that_is_tried_again_gets_the_same_messages(
    kernel: Kernel, sqs: Sqs, queue: Queue
) -> None:
    send(queue, "a")
    send(queue, "b", group="other")
    request = {"QueueUrl": queue.url, "ReceiveRequestAttemptId": "one"}
    first = sqs.receive_message(**request)
    kernel.now += 20
    again = sqs.receive_message(**request)
    kernel.now += 20

    assert first == again
    assert sqs.receive_message(QueueUrl=queue.url)["Messages"][0]["Body"] == "b", (
        "its visibility timeout has begun anew"
    )
    kernel.now += 11
    assert (
        sqs.receive_message(**request)["Messages"][0]["Attributes"]["ApproximateReceiveCount"]
        == "2"
    ), "it was visible again meanwhile"


def test_what_of_receiving_is_not_modelled_is_said(sqs: Sqs, queue: Queue) -> None:
    with pytest.raises(NotModelledError):
        sqs.receive_message(QueueUrl=queue.url, WaitTimeSeconds=20)
    with pytest.raises(ClientError):
        sqs.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=11)


def test_a_plain_queue_holds_nothing_back_behind_another(kernel: Kernel) -> None:
    plain = Queue(kernel, "plain", visibility_timeout=30)
    for body in "abc":
        plain.send({"MessageBody": body})
        plain.send({"MessageBody": body})
    assert len(plain.receive(2)) == 2
    assert len(plain.receive(10)) == 4
    kernel.now += 31
    assert len(plain.receive(10)) == 6
