from __future__ import annotations

import pytest

from meshd.host import upnp
from meshd.host.upnp import Upnp, available
from meshd.node.errors import RemoteError
from tests.igd import HERE, OUTSIDE, Igd

CLIENT = "127.0.0.1"


def test_whether_the_library_is_there_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not available()


@pytest.mark.parametrize("service", upnp.SERVICES)
async def test_a_port_is_forwarded_and_taken_back(service: str) -> None:
    async with Igd(service) as igd:
        found = await Upnp.find(HERE, CLIENT)
        assert await found.address() == OUTSIDE
        await found.forward("UDP", 443, 8443, 3600)
        assert igd.taken == {("UDP", 8443): (443, CLIENT, 3600)}
        await found.take_back("UDP", 8443)
        assert igd.taken == {}


async def test_a_gateway_that_cannot_forget_is_asked_for_ever() -> None:
    async with Igd(only_permanent=True) as igd:
        await (await Upnp.find(HERE, CLIENT)).forward("TCP", 443, 443, 3600)
        assert igd.taken == {("TCP", 443): (443, CLIENT, 0)}


async def test_a_port_that_another_host_has_is_refused() -> None:
    async with Igd(busy={443}) as igd:
        found = await Upnp.find(HERE, CLIENT)
        with pytest.raises(RemoteError, match="error 718"):
            await found.forward("UDP", 443, 443, 3600)
        assert igd.taken == {}


@pytest.mark.parametrize("address", ["", "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.0.0.1", "x" * 9])
async def test_an_outer_address_that_nobody_can_reach_is_refused(address: str) -> None:
    async with Igd(address=address):
        with pytest.raises(RemoteError, match="no outer address"):
            await (await Upnp.find(HERE, CLIENT)).address()


def test_the_location_is_read_whatever_the_case_of_its_name() -> None:
    url = f"http://{HERE}:5000/rootDesc.xml"
    for name in ("LOCATION:", "Location: ", "location :"):
        answer = f"HTTP/1.1 200 OK\r\nEXT:\r\n{name}{url}\r\n\r\n".encode()
        assert upnp.read_location(answer, HERE) == url


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"NOTIFY * HTTP/1.1\r\nLOCATION: http://{here}/\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nLOCATION: http://{here}/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-LOCATION: http://{here}/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\xff\xfe\r\n",
    ],
)
def test_an_answer_without_a_location_is_refused(answer: bytes) -> None:
    with pytest.raises(RemoteError, match="no location"):
        upnp.read_location(answer.replace(b"{here}", HERE.encode()), HERE)


async def test_where_nobody_answers_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upnp, "SEARCH_TIME", 0.05)
    with pytest.raises(RemoteError, match="no answer"):
        await Upnp.find(HERE, CLIENT)


async def test_a_gateway_that_forwards_nothing_is_none() -> None:
    async with Igd("Layer3Forwarding:1"):
        with pytest.raises(RemoteError, match="forwards no ports"):
            await Upnp.find(HERE, CLIENT)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/device.xml",
        "http://localhost:{port}/device.xml",
        "https://{here}:{port}/device.xml",
        "ftp://{here}/device.xml",
        "http://{here}@127.0.0.1:{port}/device.xml",
        "http://[::1",
        "nonsense",
    ],
)
async def test_nobody_can_send_us_elsewhere(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upnp, "SEARCH_TIME", 0.1)
    async with Igd() as igd:
        igd.location = location.format(here=HERE, port=igd.port)
        with pytest.raises(RemoteError, match="no answer"):
            await Upnp.find(HERE, CLIENT)
        assert set(igd.asked) == {"search"}


async def test_a_redirection_is_not_followed() -> None:
    async with Igd() as igd:
        igd.redirect = f"http://{HERE}:{igd.port}/scpd.xml"
        with pytest.raises(RemoteError):
            await Upnp.find(HERE, CLIENT)
        assert [name for name in igd.asked if name != "search"] == ["device"]


async def test_a_service_elsewhere_is_not_asked() -> None:
    async with Igd(base="http://127.0.0.1:9") as igd:
        with pytest.raises(RemoteError, match="forwards no ports"):
            await Upnp.find(HERE, CLIENT)
        assert "control" not in igd.asked


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<root>",
        b"\xff\xfe nonsense",
        b'<root xmlns="urn:schemas-upnp-org:device-1-0"/>',
        b'<!DOCTYPE r [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><root>&c;</root>',
        b"<root " + b"x" * upnp.DOCUMENT_MAX,
        b'<root xmlns="urn:schemas-upnp-org:device-1-0">' + b"<device><deviceList>" * 5000,
        b'<root xmlns="urn:schemas-upnp-org:device-1-0">'
        + b"<device><deviceList>" * 3000
        + b"</deviceList></device>" * 3000
        + b"</root>",
    ],
)
async def test_a_description_that_makes_no_sense_is_refused(document: bytes) -> None:
    async with Igd(document=document):
        with pytest.raises(RemoteError, match="portmap-upnp"):
            await Upnp.find(HERE, CLIENT)


async def test_a_gateway_of_endless_services_is_left() -> None:
    one = (
        "<service><serviceType>urn:schemas-upnp-org:service:x:{0}</serviceType>"
        "<serviceId>{0}</serviceId><SCPDURL>/scpd.xml</SCPDURL><controlURL>/control</controlURL>"
        "<eventSubURL>/event</eventSubURL></service>"
    )
    services = "".join(one.format(number) for number in range(100))
    async with Igd() as igd:
        igd.document = (
            '<root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceType>x</deviceType>'
            f"<serviceList>{services}</serviceList></device></root>"
        ).encode()
        with pytest.raises(RemoteError, match="portmap-upnp"):
            await Upnp.find(HERE, CLIENT)
        assert len(igd.asked) <= upnp.DOCUMENTS_MAX + 8


async def test_errors_are_told_by_their_number() -> None:
    async with Igd() as igd:
        found = await Upnp.find(HERE, CLIENT)
        igd.refuse = 501
        for work in (found.address(), found.take_back("UDP", 1), found.forward("UDP", 1, 1, 1)):
            with pytest.raises(RemoteError, match="error 501"):
                await work
