"""The page in Chromium, as a user has it: by keyboard, on a phone, in the dark, with a token."""

import importlib.util
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from rerec_pipeline.assistant.server import create_app
from tests.assistant.test_assistant import ASK

_SPEC = importlib.util.spec_from_file_location(
    "browser", Path(__file__).parents[2] / "docs" / "browser.py"
)
browser = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(browser)

pytestmark = pytest.mark.skipif(browser.find_chromium() is None, reason="needs Chromium")

ANSWERED = "document.querySelectorAll('.card').length === {}"
TEXT = "document.querySelector('{}')?.innerText"


@contextmanager
def serving(assistant, **options):
    config = uvicorn.Config(create_app(assistant, **options), port=0, log_level="error")
    server = uvicorn.Server(config)
    with config.bind_socket() as bound:
        bound.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def address(assistant):
    with serving(assistant) as url:
        yield url


@pytest.fixture(scope="module")
def chromium():
    with browser.open_page() as page:
        yield page


@pytest.fixture
def page(chromium):
    chromium.errors.clear()
    return chromium


def ask(page, text=ASK, cards=1):
    page.write(text)
    page.press("Enter")
    page.wait(ANSWERED.format(cards))


def focused(page):
    return page.run("document.activeElement.innerText || document.activeElement.id")


def test_all_of_it_can_be_done_by_keyboard(page, address):
    page.show(address, 1280, 800)
    ask(page)
    first = page.run(TEXT.format(".card h2"))
    page.wait("document.activeElement.id === 'wish'")  # the next wish can be written at once
    walked = []
    for _ in range(4):
        page.press("Tab", shift=True)
        walked.append(focused(page))
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert walked == ["What I looked at (4)", "More like this", "Seen it", "Not this"]
    for _ in range(3):
        page.press("Tab")
    page.press("Enter")
    assert page.run("document.querySelector('details').open")
    for _ in range(3):
        page.press("Tab", shift=True)
    page.press("Enter")
    page.wait(ANSWERED.format(2))
    second = page.run("document.querySelectorAll('.card h2')[1].innerText")
    assert second != first and page.errors == []


def test_a_card_says_what_and_why_and_facts_have_a_sign(page, address, assistant):
    assistant.list_size = 1
    page.show(address, 1280, 800)
    ask(page, "A drama. Not Ember (1994).")
    assert page.run(TEXT.format(".card h2")) == "Harbor, The"
    assert page.run(TEXT.format(".card .kinds")) == "1990 · Drama"
    assert page.run(TEXT.format(".card .why")) == "Drama"
    marks = "[...document.querySelectorAll('.facts li')].map((row) => row.innerText)"
    assert page.run(marks) == [
        "✓ Ember: directed by Ana Torv", "✗ The Harbor: directed by Otto Beck",
    ]  # fmt: skip
    said = "[...document.querySelectorAll('.facts [role=img]')].map((mark) => mark.ariaLabel)"
    assert page.run(said) == ["confirmed", "contradicted"]


def test_it_is_written_as_it_comes(page, address, scripted, monkeypatch):
    begun, go_on, plain = threading.Event(), threading.Event(), scripted.reason

    def reason(prompts):
        prompts[0].on_text("First of all, ")
        begun.set()
        assert go_on.wait(90)
        return plain(prompts)

    monkeypatch.setattr(scripted, "reason", reason)
    page.show(address, 1280, 800)
    page.write(ASK)
    page.press("Enter")
    assert begun.wait(60)
    page.wait("document.querySelector('.thinking').innerText.startsWith('First of all')")
    assert page.run("document.querySelector('.card')") is None
    go_on.set()
    page.wait(ANSWERED.format(1))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window_or_hard_to_read(page, address, width, dark):
    page.show(address, width, 800, dark)
    ask(page, "A" * 300)
    page.run("document.querySelector('details').open = true")
    page.wait(f"document.documentElement.scrollWidth === {width}")  # once it is laid out
    page.wait(f"{CONTRAST} >= 4.5")  # WCAG 2, level AA


#: The lowest contrast of a text on the page with what is behind it.
CONTRAST = """(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map((n) => n / 255).map(
      (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const {backgroundColor} = getComputedStyle(node), up = node.parentElement;
    return backgroundColor === "rgba(0, 0, 0, 0)" && up ? behind(up) : backgroundColor;
  };
  const texts = [...document.querySelectorAll("main *")].filter((node) =>
    node.checkVisibility() && [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim()));
  return Math.min(...texts.map((node) => {
    const [a, b] = [getComputedStyle(node).color, behind(node)].map(light).sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  }));
})()"""


def test_what_looks_like_html_is_text(page, address, scripted):
    scripted.text = "<img src=x onerror='window.hit = 1'> Ember (1994): directed by Ana Torv."
    page.show(address, 1280, 800)
    ask(page, "<script>window.hit = 1</script><b>a drama</b>")
    assert page.run("document.querySelectorAll('#talk img, #talk b, #talk script').length") == 0
    assert page.run("window.hit") is None
    assert page.run(TEXT.format(".me")).startswith("<script>")


def test_a_server_with_a_token_is_asked_with_it(page, assistant):
    with serving(assistant, token="secret") as url:
        page.show(url, 390, 800)
        page.write(ASK)
        page.press("Enter")
        page.wait("document.getElementById('gate').open")
        page.write("wrong")
        page.press("Enter")
        page.wait(  # it was closed, the server has refused, and it is open again
            "document.getElementById('gate').open && sessionStorage.getItem('token') === 'wrong'"
        )
        page.write("secret")
        page.press("Enter")
        page.wait(ANSWERED.format(1))
        ask(page, "Something else.", cards=2)


def test_what_goes_wrong_is_told(page, assistant):
    with serving(assistant) as url:
        page.show(url, 390, 800)
    page.write(ASK)
    page.press("Enter")
    page.wait("document.querySelector('.thinking').innerText.startsWith('That did not work')")
    assert page.run("!document.forms[0].dataset.busy")
