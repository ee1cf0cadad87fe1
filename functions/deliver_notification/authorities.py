"""Authorities that are trusted beside the public ones: of participants in private networks."""

import ssl

import boto3

from fl_notifications.aws.clients import CLIENT_CONFIG


def tls_context(arn: str) -> ssl.SSLContext | None:
    """The context for connections to participants; None for the usual one.

    Args:
        arn: of the SSM parameter or the secret that holds the authorities' certificates (PEM);
            empty if there are none.

    Raises:
        ClientError: if it cannot be read.
        ssl.SSLError: if it holds no certificate.
    """
    if not arn:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=_certificates(arn))
    return context


def _certificates(arn: str) -> str:
    if arn.split(":")[2] == "ssm":
        ssm = boto3.client("ssm", config=CLIENT_CONFIG)
        return str(ssm.get_parameter(Name=arn, WithDecryption=True)["Parameter"]["Value"])
    secrets = boto3.client("secretsmanager", config=CLIENT_CONFIG)
    return secrets.get_secret_value(SecretId=arn)["SecretString"]
