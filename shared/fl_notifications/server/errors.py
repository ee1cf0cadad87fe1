"""What the write side refuses, and why: each error has one base, and the table is as it was."""


class TrainingRepositoryError(Exception):
    """A step that the training does not allow; the table is as it was."""


class TrainingExistsError(TrainingRepositoryError):
    """There is a training with this uuid already."""


class TrainingNotFoundError(TrainingRepositoryError):
    """There is no training with this uuid."""


class ParticipantNotFoundError(TrainingNotFoundError):
    """The training has no such participant."""


class ParticipantExistsError(TrainingRepositoryError):
    """The participant has joined the training already."""


class WrongStateError(TrainingRepositoryError):
    """The training is not in a state or round from which the step is possible."""


class TooFewParticipantsError(TrainingRepositoryError):
    """A start without participants, or without those that the options ask for."""


class ParticipantsNotWrittenError(TrainingRepositoryError):
    """DynamoDB did not take all participants, after several tries.

    Adding all of them again is safe before the start. While the training runs it lets those that
    were written join anew, so that they are told `TRAINING_START` once more.
    """


class NotDeletedError(TrainingRepositoryError):
    """DynamoDB did not delete all items of a training, after several tries; delete it again."""


class EndpointError(TrainingRepositoryError, ValueError):
    """An endpoint that the delivery would refuse; says whose, and what is wrong with it."""


class OptionError(TrainingRepositoryError, ValueError):
    """An option that nobody knows, or a value that it cannot have; names the option."""


class SettingsValueError(TrainingRepositoryError, ValueError):
    """Settings that no notification can carry; names the key."""
