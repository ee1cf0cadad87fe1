"""Answers a participant's request: checks what it is and who signed it, then serves it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from fl_notifications.aws.batches import NotReadError
from fl_notifications.clock import Clock
from fl_notifications.deliveries.signing import MasterSecrets, receiver_secret
from fl_notifications.telemetry.journal import Journal
from fl_notifications.webhooks import SignatureError, check_signature
from functions.mailbox.exchange import Exchange
from functions.mailbox.request import Refused, Response, Signed, response

RETRY_AFTER_SECONDS: Final = 5


@dataclass(frozen=True)
class Mailbox:
    """The mailboxes of all receivers."""

    exchange: Exchange
    secrets: MasterSecrets
    clock: Clock
    journal: Journal

    def answer(self, event: Mapping[str, Any]) -> Response:
        """Answer a request; never raises.

        Lambda would hand what is raised to the caller, who may be anybody.

        Args:
            event: as Lambda gets it from a function URL.
        """
        try:
            return self._answer(event)
        except Refused as refused:
            return refused.response
        except (ClientError, BotoCoreError, NotReadError) as error:
            return self._trouble(503, "a mailbox could not be served", error)
        except Exception as error:  # noqa: BLE001 - see above
            return self._trouble(500, "a request ended unexpectedly", error)
        finally:
            self.journal.flush()

    def _answer(self, event: Mapping[str, Any]) -> Response:
        signed = Signed.from_event(event)
        receiver = str(signed.request.receiver)
        secrets = [receiver_secret(each, receiver) for each in self.secrets.get()]
        now = self.clock.now()
        try:
            check_signature(signed.headers, signed.body, secrets, now=now)
        except SignatureError:
            more = {"server_time": int(now.timestamp())}
            raise Refused(401, "not signed as it should be", more) from None
        return response(200, self.exchange.exchange(signed.request, secrets))

    def _trouble(self, status: int, what: str, error: Exception) -> Response:
        self.journal.trouble(what, error)
        return response(
            status, {"error": "ours; ask again"}, {"Retry-After": str(RETRY_AFTER_SECONDS)}
        )
