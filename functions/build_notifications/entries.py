"""The entries of runs that a batch of records needs: each is read once, and written if it grows."""

from dataclasses import dataclass, field, replace

from fl_notifications.clock import Clock
from fl_notifications.outcomes.runs import Run, Runs, later_than


class EntryChangedError(Exception):
    """Another invocation wrote a training's entry meanwhile: a conflict, to be retried."""


@dataclass(frozen=True)
class Entries:
    """Kept for one invocation."""

    runs: Runs
    clock: Clock
    _large: set[str] = field(default_factory=set)
    _read: dict[str, Run | None] = field(default_factory=dict)

    def of(self, training_uuid: str) -> Run | None:
        """The entry of a training, read consistently the first time it is asked for.

        Raises:
            ClientError: if the ledger cannot be read.
        """
        if training_uuid not in self._read:
            self._read[training_uuid] = self.runs.read(training_uuid)
        return self._read[training_uuid]

    def write(self, training_uuid: str, run: Run) -> None:
        """Write the entry of a training.

        Raises:
            EntryChangedError: if it is not as it was read; the record has to be judged anew.
            ClientError: if the ledger refuses it for another reason.
        """
        if training_uuid in self._large:
            run = replace(run, large=True)
        if self.runs.write(run, self.of(training_uuid)):
            self._read[training_uuid] = run
            return
        del self._read[training_uuid]
        now = self.of(training_uuid)
        if now is None or later_than(run.told, now.told):
            raise EntryChangedError(training_uuid)

    def is_large(self, training_uuid: str) -> bool:
        """Whether a training is known to have more than one page of participants."""
        run = self.of(training_uuid)
        return training_uuid in self._large or (run is not None and run.large)

    def mark_large(self, training_uuid: str) -> None:
        """Note that it has: before anything of it takes the way of large trainings.

        Raises:
            EntryChangedError: if the entry is not as it was read; the record has to be judged anew.
            ClientError: if the ledger refuses it for another reason.
        """
        run = self.of(training_uuid)
        if run is None:
            self.runs.mark_large(training_uuid, self.clock.now())
        else:
            self.write(training_uuid, replace(run, large=True))
        self._large.add(training_uuid)
