"""A server's models, of the shape that fl-demonstrator's documents show."""

from uuid import uuid4

from django.db import models


class User(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid4)
    message_endpoint = models.CharField(max_length=200)


class GlobalModel(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid4)
    round = models.IntegerField(default=0)


class Training(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid4)
    model = models.OneToOneField(GlobalModel, on_delete=models.CASCADE)
    actor = models.ForeignKey(User, on_delete=models.CASCADE, related_name="ordered")
    participants = models.ManyToManyField(User, related_name="trainings")
    state = models.CharField(max_length=1, default="I")
    rounds = models.IntegerField(default=2)
    swag = models.BooleanField(default=False)
    daisy_chain = models.BooleanField(default=False)
    locked = models.BooleanField(default=False)


class Upload(models.Model):
    """What a participant has sent: a local model of a round, or the result of a test."""

    training = models.ForeignKey(Training, on_delete=models.CASCADE)
    owner = models.ForeignKey(User, on_delete=models.CASCADE)
    kind = models.CharField(max_length=20)
    round = models.IntegerField()
    model_uuid = models.UUIDField(default=uuid4)
