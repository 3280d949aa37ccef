"""Who may ask: the token, the names of the service, and no pages of other sites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edge_lorahub.errors import SettingsError

Make = Callable[..., Any]
TOKEN = "a-token-of-some-length"


def test_a_host_that_others_reach_needs_a_token() -> None:
    from edge_lorahub.serve.guard import Access

    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", ""):
        with pytest.raises(SettingsError, match="a token is needed"):
            Access(host)
        Access(host, TOKEN)
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        Access(host)
    for name in ("http://mine", "mine:80", "a/b", "", "a b@c"):
        with pytest.raises(SettingsError, match="no name of a machine"):
            Access("127.0.0.1", names=(name,))
    assert Access("127.0.0.1", names=("::2",)).is_called("[::2]:80")
    for short in ("short", "é" * 20, ""):
        with pytest.raises(SettingsError, match="16 or more"):
            Access("127.0.0.1", short)


def test_without_the_token_nothing_is_told(client: Make) -> None:
    from edge_lorahub.serve.guard import Access

    ask = client(Access("0.0.0.0", TOKEN), base_url="http://my-machine:8000")
    paths = ["/v1/models", "/v1/adapters", "/v1/adapt", "/metrics", "/openapi.json", "/v1/adapters/x"]
    for given in (None, "", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN, f"Bearer {TOKEN[:-1]}"):
        headers = {} if given is None else {"authorization": given}
        for path in paths:
            response = ask.get(path, headers=headers)
            assert response.status_code == 401, (path, given)
            assert response.headers["www-authenticate"] == "Bearer"
        assert ask.post("/v1/generate", json={"input": "a"}, headers=headers).status_code == 401
    for given in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
        assert ask.get("/v1/models", headers={"authorization": given}).status_code == 200
    # what has no secrets, and asks for the token itself
    assert ask.get("/").status_code == 200
    assert ask.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:8000", 200), ("127.0.0.1:1", 200), ("[::1]:8000", 200), ("LOCALHOST", 200),
        ("my.name", 200), ("my.name:99", 200), ("evil.example", 403), ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403), ("evil.example#localhost", 403), ("localhost@evil.example", 403),
        ("evil.example@localhost", 403), ("localhost:x", 403), ("", 403), ("[::1", 403), ("localhost/", 403),
    ],
)  # fmt: skip
def test_only_names_of_the_service_are_answered(client: Make, host: str, status: int) -> None:
    """Against DNS rebinding: a page's own name may lead to this machine."""
    from edge_lorahub.serve.guard import Access

    ask = client(Access("127.0.0.1", names=("my.name",)))
    for path in ("/healthz", "/", "/v1/models"):
        assert ask.get(path, headers={"host": host}).status_code == status, path


def test_an_address_of_all_interfaces_has_any_name_unless_some_are_given() -> None:
    from edge_lorahub.serve.guard import Access

    assert Access("0.0.0.0", TOKEN).is_called("anything:80")
    assert not Access("0.0.0.0", TOKEN, ("mine",)).is_called("anything:80")
    assert Access("0.0.0.0", TOKEN, ("mine",)).is_called("Mine:80")
    assert Access("10.0.0.7", TOKEN).is_called("10.0.0.7:8000")
    assert not Access("10.0.0.7", TOKEN).is_called("localhost")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost"}, 200),
        ({"origin": "http://localhost:1"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_may_not_ask(client: Make, headers: dict[str, str], status: int) -> None:
    ask = client()
    assert ask.post("/v1/generate", json={"input": "a"}, headers=headers).status_code == status
    assert ask.get("/v1/models", headers=headers).status_code == status
    assert "access-control-allow-origin" not in ask.get("/v1/models", headers=headers).headers
    assert ask.options("/v1/generate", headers=headers).status_code in (403, 405)


def test_a_link_to_the_page_works(client: Make) -> None:
    response = client().get("/", headers={"sec-fetch-site": "cross-site"})
    assert response.status_code == 200
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["x-content-type-options"] == "nosniff"
