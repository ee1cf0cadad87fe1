from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "tests.django_server.core"
    label = "core"
