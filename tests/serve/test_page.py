"""The page: of one file, with a policy that lets nothing else in; and in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import until

if TYPE_CHECKING:
    from browser import Browser

Make = Callable[..., Any]
NASTY = '<img src=x onerror="document.title=1"><script>document.title=2</script>&amp;'


def test_the_page_is_of_one_file(client: Make) -> None:
    from edge_lorahub.serve.web_page import page

    response = client().get("/")
    assert response.text == page()
    text = re.sub(r'"http://www\.w3\.org/2000/svg"', "", page())  # a name, not an address
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")|\bsrc=", text)
    # user's texts become text, never markup; and the policy has no room for attributes with script or style
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|\bFunction\(", text)
    assert not re.search(r"<[^>]*\s(on\w+|style)=", text.split("<script>")[0])


def test_the_policy_lets_nothing_else_in(client: Make) -> None:
    policy = client().get("/").headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["connect-src"] == "'self'"
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", rules[kind])
    assert "unsafe" not in policy


def test_every_field_of_the_page_has_a_label() -> None:
    from edge_lorahub.serve.web_page import page

    text = page()
    fields = re.findall(r'<(?:input|textarea|select)\b[^>]*\bid="([\w-]+)"', text)
    labels = re.findall(r'<label for="([\w-]+)"', text)
    assert sorted(fields) == sorted(labels)
    assert '<html lang="en">' in text
    ids = re.findall(r'\bid="([\w-]+)"', text)
    assert len(ids) == len(set(ids))
    for names in re.findall(r'aria-(?:labelledby|describedby)="([\w -]+)"', text):
        assert set(names.split()) <= set(ids)
    assert set(re.findall(r'\$\("([\w-]+)"\)', text)) <= set(ids)


@pytest.fixture(name="browser")
def opened_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    from browser import browser

    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def text_of(browser: Browser, name: str) -> str:
    return str(browser.evaluate(f"document.getElementById({name!r}).textContent"))


def fill(browser: Browser, name: str, text: str) -> None:
    browser.evaluate(f"document.getElementById({name!r}).value = {json.dumps(text)}")


def click(browser: Browser, name: str) -> None:
    browser.evaluate(f"document.getElementById({name!r}).click()")


def test_a_person_learns_compares_and_saves(
    service: Make,
    shots: list[dict[str, str]],
    browser: Browser,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from served import served

    pictures = tmp_path_factory.mktemp("pictures")
    with served(service()) as port:
        browser.look(1100, 900, "light")
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait("!document.getElementById('ask').disabled")
        assert text_of(browser, "model") == "tiny"
        # what is wrong is said, and nothing is lost
        fill(browser, "examples", "one line without a tab")
        click(browser, "start")
        browser.wait("document.getElementById('learn-error').textContent !== ''")
        assert "Line 1" in text_of(browser, "learn-error")
        lines = [f"{one['input']}\t{one['output']}" for one in shots[:3]]
        lines += [json.dumps(one) for one in shots[3:]] + [json.dumps({"input": NASTY, "output": "a"})]
        fill(browser, "examples", "\n".join(lines))
        fill(browser, "budget", "30")
        click(browser, "start")
        browser.wait("document.getElementById('progress').textContent.startsWith('Learned as adapted-1')", 60)
        assert text_of(browser, "learn-error") == ""
        said = re.search(r"(\d+) candidates in", text_of(browser, "progress"))
        assert said
        assert browser.evaluate("document.querySelectorAll('#chart circle').length") == int(said[1]) > 20
        assert f"{said[1]} candidates;" in text_of(browser, "chart-text")
        assert NASTY in text_of(browser, "losses")
        assert browser.evaluate("document.querySelectorAll('#losses tr').length") == 6
        fill(browser, "input", NASTY)
        click(browser, "ask")
        browser.wait("document.getElementById('ask').disabled === false")
        assert text_of(browser, "plain")
        assert text_of(browser, "adapted")
        assert text_of(browser, "try-error") == ""
        fill(browser, "saved-as", "my.task")
        click(browser, "save-button")
        browser.wait("document.getElementById('save-said').textContent !== ''")
        assert (tmp_path / "my.task" / "adapter_model.safetensors").is_file()
        browser.wait("document.getElementById('adapters').textContent.includes('my.task')")
        for width, scheme in ((1100, "light"), (1100, "dark"), (360, "light")):
            browser.look(width, 900, scheme)
            assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
            picture = pictures / f"{width}-{scheme}.png"
            browser.screenshot(picture)
            assert picture.stat().st_size > 10_000
        assert browser.evaluate("document.title") == "edge-lorahub"
        assert not browser.complaints


def test_an_adaptation_is_cancelled_from_the_page(
    service: Make, shots: list[dict[str, str]], browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    from served import served

    one = service()
    with served(one) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait("!document.getElementById('ask').disabled")
        fill(browser, "examples", json.dumps(shots))
        fill(browser, "budget", "1000")
        fill(browser, "optimizer", "reference")
        click(browser, "start")
        browser.wait("document.querySelectorAll('#chart circle').length > 3", 60)
        click(browser, "cancel")
        browser.wait("document.getElementById('progress').textContent === 'Cancelled.'")
        browser.wait("!document.getElementById('start').disabled")
        until(lambda: one.adaptations.ended["cancelled"] == 1)  # once its candidate is done
        assert not browser.complaints


def test_the_page_asks_for_the_token(service: Make, browser: Browser) -> None:
    from served import served

    with served(service(), "a-token-of-some-length") as port:
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait("!document.getElementById('token-section').hidden")
        assert browser.evaluate("document.activeElement.id") == "token"
        fill(browser, "token", "a-token-of-some-length")
        browser.evaluate("document.getElementById('token-form').requestSubmit()")
        browser.wait("!document.getElementById('ask').disabled")
        assert browser.evaluate("document.getElementById('token-section').hidden")
        assert text_of(browser, "learn-error") == ""


def test_the_keyboard_reaches_everything_in_its_order(service: Make, browser: Browser) -> None:
    from served import served

    with served(service()) as port:
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait("!document.getElementById('ask').disabled")
        seen = []
        for _ in range(12):
            for kind in ("keyDown", "keyUp"):
                browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
            seen.append(browser.evaluate("document.activeElement.id || document.activeElement.className"))
        assert seen[:8] == ["skip", "examples", "budget", "seed", "optimizer", "start", "input", "adapter"]
        assert "saved-as" in seen
