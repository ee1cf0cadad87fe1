"""What is wrong with a training's options: a reason to say so, and to hold up nothing."""

from collections.abc import Iterator

from fl_notifications.trainings.items import Item, UnreadableItemError, item_name, listed
from fl_notifications.trainings.model import Training, TrainingOptions


def wrong_options(image: Item | None) -> Iterator[UnreadableItemError]:
    """Options that nobody knows, and those that cannot be read.

    Args:
        image: of a training's item; None if there is none.
    """
    if image is None:
        return
    try:
        _, unreadable = Training.read(image)
        options = listed(image, item_name(image), ("options",)).get("options")
        named = set(options) if isinstance(options, dict) else set()
    except UnreadableItemError:
        return  # the record becomes a dead letter
    if "options" in unreadable:
        yield unreadable["options"]
    for name in sorted(named - set(TrainingOptions.model_fields)):
        yield UnreadableItemError(item_name(image), f"options.{name}", "is no option")
