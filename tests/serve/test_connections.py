"""Clients as they are: many, slow, gone, with too much to say. `EDGE_LORAHUB_REQUESTS=1000` for the whole load."""

from __future__ import annotations

import gc
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from waiting import until

from edge_lorahub.serve.counts import resident_bytes

Make = Callable[..., Any]
REQUESTS = int(os.environ.get("EDGE_LORAHUB_REQUESTS", "120"))
CLIENTS = 8
LOOPBACK = "127.0.0.1"
# an adaptation that does not end by itself for long
LONG = {"budget": 1000, "stream": True, "optimizer": "reference"}
WORDS = ["red", "blue", "crab", "moon", "wheel", "tomato", "vest", "hat"]


def ask(port: int, method: str, path: str, body: Any = None, seconds: float = 60.0) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=seconds)
    try:
        headers = {} if body is None else {"content-type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def head(path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()


def begin(port: int, path: str, body: Any) -> socket.socket:
    """A request, and the connection on which the answer comes."""
    data = json.dumps(body).encode()
    connection = socket.create_connection((LOOPBACK, port), timeout=30)
    connection.sendall(head(path) + b"Content-Length: %d\r\n\r\n" % len(data) + data)
    return connection


def read_all(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(1 << 20):
        found += piece
    return found


@pytest.fixture
def slow_answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Answers whose pieces come 20 ms apart, and do not end for long; gives how many pieces were made."""
    from edge_lorahub.serve import answerer

    count = 0

    class Slow(answerer.GrowingAnswer):
        def __iter__(self) -> Iterator[str]:
            nonlocal count
            for _ in range(1000):
                count += 1
                time.sleep(0.02)
                yield "word "
            yield from super().__iter__()

    monkeypatch.setattr(answerer, "GrowingAnswer", Slow)
    return lambda: count


def test_many_clients_are_answered_and_memory_stays(service: Make, shots: list[dict[str, str]]) -> None:
    from served import served

    one = service()
    with served(one) as port:
        job = json.loads(ask(port, "POST", "/v1/adapt", {"examples": shots, "budget": 20, "name": "mine"})[1])["id"]
        until(lambda: b'"done"' in ask(port, "GET", f"/v1/adapt/{job}")[1])

        def request(number: int) -> int:
            text = " ".join(WORDS[(number + place) % len(WORDS)] for place in range(2 + number % 7))
            model = ("tiny", "mine")[number % 2]
            stream = number % 3 == 0
            path, body = (
                ("/v1/generate", {"model": model, "input": text}),
                ("/v1/completions", {"model": model, "prompt": text, "max_tokens": 24}),
                ("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}]}),
            )[number % 3 if number % 5 else 2]
            status, answer = ask(port, "POST", path, {**body, "stream": stream})
            assert answer
            assert b'"error"' not in answer
            return status

        def load(count: int) -> list[int]:
            with ThreadPoolExecutor(CLIENTS) as pool:
                return list(pool.map(request, range(count)))

        assert set(load(max(40, REQUESTS // 4))) == {200}  # memory that is taken once
        gc.collect()
        before, began = resident_bytes(), time.monotonic()
        statuses = load(REQUESTS)
        seconds = time.monotonic() - began
        gc.collect()
        after = resident_bytes()
        assert set(statuses) == {200}
        assert one.turns.running == one.turns.waiting == 0
        print(f"{REQUESTS} requests of {CLIENTS} clients in {seconds:.1f} s; {before} bytes before, {after} after")
        if before is not None and after is not None:
            assert after - before < 10_000_000


def test_more_than_can_wait_are_told_to_come_again(service: Make, slow_answers: Callable[[], int]) -> None:
    from served import served

    one = service(answers=1, waiting=2, wait_seconds=2.0)
    with served(one) as port:
        streams = [begin(port, "/v1/generate", {"input": "a", "stream": True}) for _ in range(3)]
        until(lambda: one.turns.running + one.turns.waiting == 3)
        status, text = ask(port, "POST", "/v1/generate", {"input": "a"})
        assert status == 429
        assert json.loads(text)["error"]["code"] == "busy"
        # those that wait are told when it takes too long
        assert any(b"503" in stream.recv(1000) for stream in streams[1:])
        for stream in streams:
            stream.close()
        until(lambda: one.turns.running + one.turns.waiting == 0)


def test_an_answer_ends_when_its_client_goes_away(service: Make, slow_answers: Callable[[], int]) -> None:
    from served import served

    one = service(answers=1)
    with served(one) as port:
        for body in ({"input": "a", "stream": True}, {"input": "a"}):
            connection = begin(port, "/v1/generate", body)
            until(lambda: one.turns.running == 1)
            if "stream" in body:
                assert b"event: text" in connection.recv(1000) + connection.recv(1000)
            connection.close()
            until(lambda: one.turns.running == 0)
            made = slow_answers()
            time.sleep(0.1)
            assert slow_answers() == made < 500
        assert one.counts.given_up == 2
        assert ask(port, "GET", "/healthz")[0] == 200


def test_an_answer_that_takes_too_long_ends(service: Make, slow_answers: Callable[[], int]) -> None:
    from served import served

    with served(service(answer_seconds=0.3)) as port:
        status, text = ask(port, "POST", "/v1/generate", {"input": "a"})
        assert (status, json.loads(text)["error"]["code"]) == (503, "time_over")
        status, text = ask(port, "POST", "/v1/generate", {"input": "a", "stream": True})
        assert status == 200
        assert b"event: error" in text
        assert b"time_over" in text


def test_an_adaptation_ends_when_its_client_goes_away(service: Make, shots: list[dict[str, str]]) -> None:
    from served import served

    one = service()
    with served(one) as port:
        connection = begin(port, "/v1/adapt", {"examples": shots, **LONG})
        seen = b""
        while b"event: candidate" not in seen:
            piece = connection.recv(10_000)
            assert piece, seen  # else nothing more comes
            seen += piece
        connection.close()
        until(lambda: one.adaptations.turns.running == 0)
        assert one.adaptations.ended == {"done": 0, "failed": 0, "cancelled": 1}
        assert ask(port, "POST", "/v1/generate", {"input": "a"})[0] == 200


def test_a_huge_body_is_refused_without_being_kept(service: Make) -> None:
    from served import served

    piece, pieces = b" " * 1_000_000, 100
    with served(service()) as port:
        before = resident_bytes() or 0
        for length in (b"Content-Length: 100000000", b"Transfer-Encoding: chunked"):
            with socket.create_connection((LOOPBACK, port), timeout=30) as connection:
                connection.sendall(head("/v1/generate") + length + b"\r\n\r\n")
                for _ in range(pieces):
                    chunk = b"%x\r\n" % len(piece) + piece + b"\r\n"
                    connection.sendall(chunk if b"chunked" in length else piece)
                assert connection.recv(12) == b"HTTP/1.1 413"
        assert (resident_bytes() or 0) - before < 10_000_000
        assert ask(port, "GET", "/healthz")[0] == 200


def test_slow_clients_are_given_up(service: Make) -> None:
    from served import served

    one = service(client_seconds=0.8, connections=6)
    with served(one) as port:
        body = head("/v1/generate") + b"Content-Length: 50\r\n\r\n{"
        begun = [b"", b"POST /v1/gen", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", body]
        slow = []
        for data in begun:
            connection = socket.create_connection((LOOPBACK, port), timeout=10)
            connection.sendall(data)
            slow.append(connection)
        # meanwhile others are answered
        assert ask(port, "GET", "/healthz")[0] == 200

        ends = []
        for connection in slow:
            try:
                ends.append(read_all(connection))
            except ConnectionResetError:
                ends.append(b"")
        assert ends[:3] == [b"", b"", b""]
        assert b" 408 " in ends[3]
        for connection in slow:
            connection.close()
        assert ask(port, "GET", "/healthz")[0] == 200


def test_a_client_that_does_not_read_is_given_up(service: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from served import served

    from edge_lorahub.serve import answerer

    made = threading.Event()

    class Long(answerer.GrowingAnswer):
        def __iter__(self) -> Iterator[str]:
            for _ in range(5000):
                yield "word " * 2000
            self.ending = "length"
            made.set()

    monkeypatch.setattr(answerer, "GrowingAnswer", Long)
    one = service(client_seconds=0.8)
    with served(one) as port:
        connection = begin(port, "/v1/generate", {"input": "a", "stream": True})
        assert made.wait(60)
        time.sleep(2)
        # what the system has in its buffers, and no more
        assert len(read_all(connection)) < 25_000_000
        connection.close()
        assert ask(port, "GET", "/healthz")[0] == 200


def test_a_connection_is_used_again(service: Make) -> None:
    """Its patience begins anew with every answer."""
    from served import served

    with served(service(client_seconds=2.0)) as port:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
        for _ in range(25):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b'{"status":"ok"}'
            time.sleep(0.1)
        connection.close()


def test_what_is_no_http_is_refused(service: Make) -> None:
    from served import served

    with served(service()) as port:
        for data in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"a" * 100_000, b"\r\n\r\n\r\n"):
            with socket.create_connection((LOOPBACK, port), timeout=30) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                found = connection.recv(1000)
                assert found[9:12] in (b"", b"400", b"403")
        # two names of the service, and none
        for hosts in (b"Host: localhost\r\nHost: evil.example\r\n", b""):
            with socket.create_connection((LOOPBACK, port), timeout=30) as connection:
                connection.sendall(b"GET /v1/models HTTP/1.1\r\n" + hosts + b"\r\n")
                assert connection.recv(12)[-3:] in (b"403", b"400")
        assert ask(port, "GET", "/healthz")[0] == 200


def test_it_ends_in_the_middle_of_work(
    service: Make, shots: list[dict[str, str]], slow_answers: Callable[[], int]
) -> None:
    from served import served

    one = service()
    with served(one) as port:
        open_ones = [
            begin(port, "/v1/adapt", {"examples": shots, **LONG}),
            begin(port, "/v1/generate", {"input": "a", "stream": True}),
        ]
        until(lambda: one.turns.running == one.adaptations.turns.running == 1)
    for connection in open_ones:
        connection.close()
    assert one.turns.running == one.adaptations.turns.running == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("answers", "adaptations"))]
