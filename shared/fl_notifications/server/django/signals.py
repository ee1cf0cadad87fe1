"""Listens to what the server saves and deletes.

`QuerySet.update`, `bulk_create` and SQL send no signals: the command sees what they have changed.
"""

from typing import Any

from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete

from fl_notifications.server.django import conf, mapping, rows

_UID = "fl_notifications"


def connect() -> None:
    """Connect the models that the setting names."""
    current = mapping.current()
    training = current.training_model
    field = current.participants_field
    user = field.related_model
    post_save.connect(_training_saved, sender=training, dispatch_uid=_UID)
    post_delete.connect(_training_deleted, sender=training, dispatch_uid=_UID)
    m2m_changed.connect(_participants_changed, sender=field.remote_field.through, dispatch_uid=_UID)
    post_save.connect(_user_saved, sender=user, dispatch_uid=_UID)
    pre_delete.connect(_user_deleted, sender=user, dispatch_uid=_UID)
    post_delete.connect(_user_was_deleted, sender=user, dispatch_uid=_UID)
    owner = _owner_of_round()
    if owner is not None and conf.current().rounds == "fields":
        post_save.connect(_round_saved, sender=owner, dispatch_uid=_UID)


def _owner_of_round() -> Any | None:
    """The model with the round, if it is not the training itself."""
    path = conf.current().round.split(".")[:-1]
    model = mapping.current().training_model
    for name in path:
        model = model._meta.get_field(name).related_model
    return model if path else None


def _training_saved(instance: Any, *, raw: bool = False, **_: Any) -> None:
    if not raw:
        rows.changed(str(instance.pk))


def _training_deleted(instance: Any, **_: Any) -> None:
    rows.changed(str(instance.pk))


def _participants_changed(
    instance: Any, action: str, *, reverse: bool, pk_set: Any = None, **_: Any
) -> None:
    if action == "pre_clear" and reverse:
        instance._fl_notifications_cleared = _trainings_of(instance)
    if not action.startswith("post_"):
        return
    if not reverse:
        rows.changed(str(instance.pk))
        return
    cleared = instance.__dict__.pop("_fl_notifications_cleared", ())
    for uuid in pk_set or cleared:
        rows.changed(str(uuid))


def _round_saved(instance: Any, *, raw: bool = False, **_: Any) -> None:
    if raw:
        return
    path = "__".join(conf.current().round.split(".")[:-1])
    found = mapping.current().training_model._base_manager.using(rows.database())
    for uuid in found.filter(**{path: instance.pk}).values_list("pk", flat=True):
        rows.changed(str(uuid))


def _user_saved(
    instance: Any, *, created: bool = False, raw: bool = False, update_fields: Any = None, **_: Any
) -> None:
    """A new endpoint takes effect in all trainings at once."""
    if created or raw or (update_fields and conf.current().endpoint not in update_fields):
        return
    for uuid in _trainings_of(instance):
        rows.changed(uuid)


def _user_deleted(instance: Any, **_: Any) -> None:
    instance._fl_notifications_trainings = _trainings_of(instance)


def _user_was_deleted(instance: Any, **_: Any) -> None:
    for uuid in instance.__dict__.pop("_fl_notifications_trainings", ()):
        rows.changed(uuid)


def _trainings_of(user: Any) -> list[str]:
    """The trainings in which somebody takes part, or that it has ordered."""
    current, names = mapping.current(), conf.current()
    trainings = current.training_model._base_manager.using(rows.database())
    found: list[str] = []
    for name in (names.participants, names.actor):
        found += map(str, trainings.filter(**{name: user.pk}).values_list("pk", flat=True))
    return list(dict.fromkeys(found))
