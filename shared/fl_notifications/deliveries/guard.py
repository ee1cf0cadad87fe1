"""The endpoint guard: decides which endpoints may be called.

Endpoints are chosen by participants, so they are hostile input. Nothing here opens a socket or
looks up a name: the guard reads a URL strictly, and judges the addresses its name leads to.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network
type ForbiddenReason = Literal[
    "url too long",
    "invalid character in url",
    "url not http or https",
    "plain http not allowed",
    "userinfo in url",
    "fragment in url",
    "invalid host",
    "invalid port",
    "address not allowed",
    "metadata address",
    "own service",
]

MAX_URL_LENGTH: Final = 2048
MAX_HOST_LENGTH: Final = 253  # RFC 1035, without the root's dot

# What RFC 3986 allows in a URL, less the fragment's "#", which has a reason of its own. Non-ASCII
# is not in it: a resolver's IDNA turns full-width digits and dots into an address.
_URL_CHARACTERS: Final = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*")
_URL: Final = re.compile(r"(https?)://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_MAX_PORT: Final = 65535
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# A last label that is a number makes resolvers read the whole host as an address, in short,
# octal and hexadecimal forms too (the URL Standard's "ends in a number").
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# IANA IPv4 Special-Purpose Address Registry (2025-10-09), with its globally reachable anycast
# services (a participant is none of them), and multicast. Tests hold this against the registry.
_SPECIAL_IPV4: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
# IANA assigns global unicast addresses from 2000::/3 only (RFC 4291, IPv6 Address Space registry):
# all else is refused. Within it, the IPv6 Special-Purpose Address Registry (2025-10-09).
_UNICAST_IPV6: Final = IPv6Network("2000::/3")
_SPECIAL_IPV6: Final = (
    "2001::/23",  # Teredo, benchmarking, ORCHID and other protocol assignments
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
)
# Services that hand out credentials, or run the machine, to whoever can reach them. Closed even
# in a network that is opened.
_METADATA: Final = (
    "169.254.169.254/32",  # AWS, Azure, GCP, Oracle, OpenStack and most others
    "169.254.169.123/32",  # AWS time
    "169.254.169.253/32",  # AWS DNS
    "169.254.170.2/32",  # AWS ECS: credentials of a task
    "169.254.170.23/32",  # AWS EKS Pod Identity
    "fd00:ec2::/32",  # AWS over IPv6: metadata ::254, Pod Identity ::23, DNS ::253, time ::123
    "168.63.129.16/32",  # Azure's wire server, within global unicast
    "fd20:ce::254/128",  # GCP
    "100.100.100.200/32",  # Alibaba
    "fd00:100::100:200/128",  # Alibaba
    "192.0.0.192/32",  # Oracle Classic
    "fd00:c1::a9fe:a9fe/128",  # Oracle
    "169.254.0.23/32",  # Tencent
    "169.254.10.10/32",  # Tencent
    "169.254.42.42/32",  # Scaleway
    "fd00:42::42/128",  # Scaleway
    "100.96.0.96/32",  # Volcengine
    "fd00:a9fe:a9fe::1/128",  # Akamai (Linode)
    "fe80::a9fe:a9fe/128",  # OpenStack
)
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")

# IPv4 inside IPv6, by what is left of the embedded address.
_LOW_32: Final = 0xFFFF_FFFF
_MAPPED: Final = 0xFFFF  # ::ffff:0:0/96, RFC 4291
_TRANSLATED: Final = 0xFFFF_0000  # ::ffff:0:0:0/96, RFC 2765
_NAT64: Final = 0x0064_FF9B << 64  # 64:ff9b::/96, RFC 6052
_NAT64_LOCAL: Final = 0x0064_FF9B_0001  # 64:ff9b:1::/48, RFC 8215
_TEREDO: Final = 0x2001_0000  # 2001::/32, RFC 4380
_6TO4: Final = 0x2002  # 2002::/16, RFC 3056
_ISATAP: Final = 0x0000_5EFE  # interface id [02]00:5efe:a.b.c.d, RFC 5214
_ISATAP_MASK: Final = 0xFDFF_FFFF


class ForbiddenEndpointError(Exception):
    """An endpoint that must not be called.

    Args:
        reason: from our fixed vocabulary, never the peer's text.
    """

    def __init__(self, reason: ForbiddenReason) -> None:
        super().__init__(reason)
        self.reason: ForbiddenReason = reason


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL, read strictly.

    Attributes:
        tls: whether the scheme is https.
        host: lower case; an IPv6 address without brackets.
        port: from 1 to 65535, the scheme's own when the URL names none.
        target: path and query, as a request line wants them.
        authority: value of the Host header: with the port unless it is the scheme's own.
        address: the host, if it is an address and needs no look-up.
    """

    tls: bool
    host: str
    port: int
    target: str
    authority: str
    address: Address | None


class EndpointGuard:
    """Decides which endpoints may be called. Immutable, so safe to share between threads.

    Refused unless opened: whatever is not globally routable unicast as registered by IANA, and
    IPv4 inside IPv6 in all its forms. Refused always: cloud metadata addresses, and the services
    this function itself runs on.

    Args:
        allowed_private_networks: networks that are opened. An IPv6 address that carries an IPv4
            address is open only if both are allowed.
        allow_plain_http: whether http is allowed beside https.
        own_services: (host, port) pairs that stay closed: see `own_services`. One on loopback
            closes its port on all loopback and unspecified addresses.
    """

    def __init__(
        self,
        allowed_private_networks: Iterable[Network] = (),
        *,
        allow_plain_http: bool = False,
        own_services: Collection[tuple[str, int]] = (),
    ) -> None:
        self._opened = tuple(allowed_private_networks)
        self._allow_plain_http = allow_plain_http
        self._own_names = frozenset((host.lower(), port) for host, port in own_services)
        literals = [(_literal(host), port) for host, port in own_services]
        self._own_addresses = frozenset(literals)
        self._own_local_ports = frozenset(
            port for address, port in literals if address is not None and _is_local(address)
        )

    def read(self, url: str) -> Endpoint:
        """Read a URL.

        Nothing is repaired and nothing is guessed: what two programs could read differently
        (numbers that are addresses in other notations, trailing dots, zone ids, percent-encoded
        or non-ASCII hosts) is refused.

        Args:
            url: as the participant gave it.

        Returns:
            The endpoint; its address is not judged yet.

        Raises:
            ForbiddenEndpointError: it is not a plain http or https URL.
        """
        if len(url) > MAX_URL_LENGTH:
            raise ForbiddenEndpointError("url too long")
        if "#" in url:
            raise ForbiddenEndpointError("fragment in url")
        if not _URL_CHARACTERS.fullmatch(url):
            raise ForbiddenEndpointError("invalid character in url")
        parts = _URL.fullmatch(url)
        if parts is None:
            raise ForbiddenEndpointError("url not http or https")
        scheme = parts[1].lower()
        if scheme == "http" and not self._allow_plain_http:
            raise ForbiddenEndpointError("plain http not allowed")
        if "@" in parts[2]:
            raise ForbiddenEndpointError("userinfo in url")
        authority = _AUTHORITY.fullmatch(parts[2])
        if authority is None:
            raise ForbiddenEndpointError("invalid host")
        host, address = _read_host(authority[1].lower())
        default_port = _DEFAULT_PORTS[scheme]
        port = default_port if authority[2] is None else _read_port(authority[2])
        name = f"[{host}]" if isinstance(address, IPv6Address) else host
        return Endpoint(
            tls=scheme == "https",
            host=host,
            port=port,
            target=(parts[3] or "/") + (parts[4] or ""),
            authority=name if port == default_port else f"{name}:{port}",
            address=address,
        )

    def check(self, endpoint: Endpoint, addresses: Iterable[Address]) -> None:
        """Judge the addresses that an endpoint's host leads to.

        Args:
            endpoint: what `read` returned.
            addresses: all of them: one bad one among good ones condemns the endpoint.

        Raises:
            ForbiddenEndpointError: an address is not allowed.
        """
        if (endpoint.host, endpoint.port) in self._own_names:
            raise ForbiddenEndpointError("own service")
        for address in addresses:
            reason = self._refusal(address, endpoint.port)
            if reason is not None:
                raise ForbiddenEndpointError(reason)

    def _refusal(self, address: Address, port: int) -> ForbiddenReason | None:
        value = int(address)
        inner = _embedded(value) if isinstance(address, IPv6Address) else ()
        for each in (address, *map(IPv4Address, inner)):
            if self._is_own(each, port):
                return "own service"
            if _within(int(each), _METADATA_RANGES[each.version]):
                return "metadata address"
            if not self._is_open(each):
                return "address not allowed"
        # A local NAT64 prefix is made for IPv4 addresses that are not global: opening it is enough.
        if any(_within(each, _METADATA_RANGES[4]) for each in _local_nat64(value)):
            return "metadata address"
        return None

    def _is_own(self, address: Address, port: int) -> bool:
        return (address, port) in self._own_addresses or (
            port in self._own_local_ports and _is_local(address)
        )

    def _is_open(self, address: Address) -> bool:
        return _is_public(address) or any(address in network for network in self._opened)


def own_services(environment: Mapping[str, str]) -> frozenset[tuple[str, int]]:
    """List the services that a function runs on, and that no endpoint may reach.

    In Lambda these are its runtime API (which anyone on loopback may ask for the next event, or
    answer in the function's name) and the X-Ray daemon; with an AWS endpoint of one's own, that.

    Args:
        environment: the process's environment: `AWS_LAMBDA_RUNTIME_API`,
            `AWS_XRAY_DAEMON_ADDRESS` and `AWS_ENDPOINT_URL…` are looked at.

    Returns:
        (host, port) pairs, for `EndpointGuard`. What can't be read is left out.
    """
    found = set()
    for name, value in environment.items():
        if name in {"AWS_LAMBDA_RUNTIME_API", "AWS_XRAY_DAEMON_ADDRESS"}:
            # X-Ray's may be two: "tcp:127.0.0.1:2000 udp:127.0.0.2:2001".
            texts = [part.removeprefix("tcp:").removeprefix("udp:") for part in value.split()]
        elif name.startswith("AWS_ENDPOINT_URL"):
            texts = [value.partition("://")[2].partition("/")[0]]
        else:
            continue
        for text in texts:
            host, _, port = text.rpartition(":")
            if host and _PORT.fullmatch(port):
                found.add((host.strip("[]").lower(), int(port)))
    return frozenset(found)


def _read_host(text: str) -> tuple[str, Address | None]:
    if text.startswith("[") and "%" not in text:  # ipaddress would read a zone id
        try:
            address = IPv6Address(text[1:-1])
        except ValueError:
            raise ForbiddenEndpointError("invalid host") from None
        return str(address), address
    if len(text) > MAX_HOST_LENGTH or not _HOST.fullmatch(text):
        raise ForbiddenEndpointError("invalid host")
    if not _NUMERIC_LABEL.fullmatch(text.rpartition(".")[2]):
        return text, None
    try:
        return text, IPv4Address(text)
    except ValueError:
        raise ForbiddenEndpointError("invalid host") from None


def _read_port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > _MAX_PORT:
        raise ForbiddenEndpointError("invalid port")
    return int(text)


def _literal(host: str) -> Address | None:
    try:
        return ip_address("127.0.0.1" if host.lower() == "localhost" else host)
    except ValueError:
        return None


def _is_local(address: Address) -> bool:
    # The kernel takes an unspecified address as loopback, some all of 0.0.0.0/8.
    return address.is_loopback or address.is_unspecified or address in _THIS_NETWORK


def _ranges(networks: Iterable[str], version: int) -> tuple[tuple[int, int], ...]:
    parsed = [ip_network(network) for network in networks]
    return tuple(
        (int(network.network_address), int(network.broadcast_address))
        for network in parsed
        if network.version == version
    )


# As numbers: a check runs for every attempt, and IPv4Network.__contains__ costs five times this.
_SPECIAL_IPV4_RANGES: Final = _ranges(_SPECIAL_IPV4, 4)
_SPECIAL_IPV6_RANGES: Final = _ranges(_SPECIAL_IPV6, 6)
_METADATA_RANGES: Final = {4: _ranges(_METADATA, 4), 6: _ranges(_METADATA, 6)}


def _within(value: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= value <= last for first, last in ranges)


def _is_public(address: Address) -> bool:
    value = int(address)
    if isinstance(address, IPv4Address):
        return not _within(value, _SPECIAL_IPV4_RANGES)
    return (
        address in _UNICAST_IPV6
        and not _within(value, _SPECIAL_IPV6_RANGES)
        and not _embedded(value)
    )


def _embedded(value: int) -> tuple[int, ...]:
    """Give the IPv4 addresses that an IPv6 address carries for a translator or tunnel to use."""
    low = value & _LOW_32
    high_96 = value >> 32
    if high_96 in {_MAPPED, _TRANSLATED, _NAT64} or (high_96 == 0 and low > 1):
        return (low,)
    if value >> 112 == _6TO4:
        return ((value >> 80) & _LOW_32,)
    if value >> 96 == _TEREDO:
        return ((value >> 64) & _LOW_32, low ^ _LOW_32)  # the server, and the client inverted
    if (high_96 & _ISATAP_MASK) == _ISATAP:
        return (low,)
    return ()


def _local_nat64(value: int) -> tuple[int, ...]:
    """Give what a local NAT64 prefix may carry, at each place RFC 6052 knows for its lengths."""
    if value >> 80 != _NAT64_LOCAL:
        return ()
    # Bits 64 to 71 never carry anything.
    rest = ((value >> 64) << 56) | (value & 0xFF_FFFF_FFFF_FFFF)
    return (*((rest >> shift) & _LOW_32 for shift in (40, 32, 24)), value & _LOW_32)
