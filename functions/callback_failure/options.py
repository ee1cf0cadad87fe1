"""A training's options, as the policies take them."""

from dataclasses import dataclass

from fl_notifications.telemetry.journal import Journal
from fl_notifications.trainings.items import UnreadableItemError
from fl_notifications.trainings.model import TrainingOptions
from functions.callback_failure.situation import CurrentTraining


@dataclass(frozen=True)
class OptionsReader:
    """Reads options; those that cannot be read count as the defaults, and are logged."""

    journal: Journal

    def of(self, training: CurrentTraining) -> TrainingOptions:
        """The options of a training."""
        try:
            return TrainingOptions.from_item(training.item)
        except UnreadableItemError as error:
            self.journal.unreadable(error)
            return TrainingOptions()
