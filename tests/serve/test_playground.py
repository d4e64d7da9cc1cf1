"""The playground in a real browser, against the real server: headless Chromium by playwright.

(Above 500 lines: a page of six tabs, each used as a person would.)
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from causal_models import write
from firth import CausalLM, KnowledgeBase, SentenceTransformer
from firth.encoders.pictures import show_attention
from firth.generators.sampling import Sampler, Sampling
from firth.serve import create_app
from serving import running

STATIC = Path(__file__).resolve().parents[2] / "python" / "firth" / "serve" / "static"
TABS = ["chat", "tokenizer", "next", "embeddings", "attention", "documents"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def needs(module: str) -> Any:
    """A package or a skip; a failure in CI."""
    if "FIRTH_REQUIRE_BROWSER" in os.environ:
        return __import__(module, fromlist=["*"])
    return pytest.importorskip(module)


sync_playwright = needs("playwright.sync_api").sync_playwright
if CHROMIUM is None:
    reason = "needs Chromium: apt-get install chromium"
    if "FIRTH_REQUIRE_BROWSER" in os.environ:
        raise RuntimeError(reason)
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as play:
        found = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield found
        found.close()


def until(page: Any, expression: str) -> None:
    """Waits for something of the page. Its policy forbids what playwright waits with: eval."""
    end = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


class Tab:
    """A page of the browser that notes what it must not do."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(
            permissions=["clipboard-read", "clipboard-write"], **options
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.faults: list[str] = []
        self.sent: list[tuple[str, Any]] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(self.url + "/"):
            self.faults.append(f"a request to {request.url}")
        if request.method == "POST":
            body = json.loads(request.post_data)
            self.sent.append((request.url.removeprefix(self.url), body))

    def open(self, fragment: str = "") -> Any:
        self.page.goto("about:blank")
        with self.page.expect_response("**/v1/models"):
            self.page.goto(f"{self.url}/{fragment}")
        until(self.page, "document.querySelector('#chat-model').options.length > 0")
        return self.page

    def bodies(self, path: str) -> list[Any]:
        return [body for sent, body in self.sent if sent == path]

    def ask(self, text: str) -> str:
        """Write a message; the answer when it has come."""
        self.page.fill("#draft", text)
        self.page.press("#draft", "Enter")
        self.page.wait_for_selector("#send:has-text('Send')")
        return str(self.page.text_content(".message:last-child .body"))

    def set_range(self, selector: str, value: str) -> None:
        self.page.fill(selector, value)


@pytest.fixture
def tab(browser: Any, url: str) -> Iterator[Tab]:
    found = Tab(browser, url, viewport={"width": 1280, "height": 860})
    yield found
    faults = list(found.faults)
    found.context.close()
    assert faults == []


def set_parameters(page: Any, **others: str) -> None:
    values = {"temperature": "0.8", "top-p": "0.9", "max-tokens": "24", "seed": "7", **others}
    for name, value in values.items():
        page.fill(f"#{name}", value)


@pytest.mark.parametrize("stream", [True, False])
def test_the_answer_is_that_of_the_request(tab: Tab, url: str, stream: bool) -> None:
    """What was chosen is what is sent, and what is shown is what the server says to that."""
    page = tab.open()
    page.fill("#system", "Be brief.")
    set_parameters(page, stop="\\n")
    page.set_checked("#stream", stream)
    shown = tab.ask("Say something.")
    (body,) = tab.bodies("/v1/chat/completions")
    wanted = {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say something."},
        ],
        "temperature": 0.8, "max_completion_tokens": 24, "top_p": 0.9, "seed": 7, "stop": "\n",
    }  # fmt: skip
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    assert body == (wanted | streamed if stream else wanted)
    direct = httpx.post(f"{url}/v1/chat/completions", json=wanted, timeout=60).json()
    assert shown == direct["choices"][0]["message"]["content"]
    assert len(shown) > 5
    facts = page.text_content(".message:last-child .facts")
    count = direct["usage"]["completion_tokens"]
    assert facts.startswith(f"{count} tokens · ")
    assert re.search(r"\d tokens/s", facts)
    assert ("first token after" in facts) == stream


def test_history_is_sent_edited_and_deleted(tab: Tab) -> None:
    page = tab.open()
    set_parameters(page)
    first = tab.ask("One.")
    tab.ask("Two.")
    told = [(m["role"], m["content"]) for m in tab.bodies("/v1/chat/completions")[1]["messages"]]
    assert told == [("user", "One."), ("assistant", first), ("user", "Two.")]
    page.click("[aria-label='Edit: Assistant, message 2']")
    page.fill("[aria-label='Edit message']", "Changed.")
    page.click("text=Save")
    page.click("[aria-label='Delete: Assistant, message 4']")
    page.click("[aria-label='Send again: You, message 3']")
    page.wait_for_selector("#send:has-text('Send')")
    told = [m["content"] for m in tab.bodies("/v1/chat/completions")[2]["messages"]]
    assert told == ["One.", "Changed.", "Two."]
    page.click("#clear")
    assert page.locator(".message").count() == 0
    assert page.locator("#chat-empty").is_visible()


def test_switches(tab: Tab) -> None:
    page = tab.open()
    set_parameters(page)
    page.check("#json")
    shown = tab.ask("An object.")
    assert tab.bodies("/v1/chat/completions")[0]["response_format"] == {"type": "json_object"}
    assert shown.lstrip().startswith("{")


def test_moderation_comes_before_and_after(tab: Tab) -> None:
    """The verdicts are given here: what the page does with them is what is tested."""
    page = tab.open()
    seen: list[str] = []

    def verdict(route: Any) -> None:
        seen.append(json.loads(route.request.post_data)["input"])
        bad = "bad" in seen[-1] or len(seen) == 3
        result = {"flagged": bad, "categories": {"violence": bad, "hate": False}}
        route.fulfill(json={"results": [result]})

    page.route("**/v1/moderations", verdict)
    set_parameters(page)
    page.check("#moderation")
    tab.ask("Something bad.")
    assert page.text_content(".message:last-child .facts") == "Flagged as violence. Not sent."
    assert tab.bodies("/v1/chat/completions") == []
    page.click("#clear")
    answer = tab.ask("Good.")
    assert seen == ["Something bad.", "Good.", answer]
    assert page.text_content(".message:last-child .facts").endswith("flagged as violence")


@contextlib.contextmanager
def slow(app: Any) -> Iterator[Any]:
    """An engine with 30 ms more a step, which must have nothing left to do at the end."""
    engine = app.state.models.chat.models["small"]
    step = engine._batch.step

    def slower() -> Any:
        time.sleep(0.03)
        return step()

    engine._batch.step = slower
    try:
        yield engine
        end = time.monotonic() + 5
        while engine.going and time.monotonic() < end:
            time.sleep(0.02)
        assert not engine.going, "the server goes on with a text that nobody reads"
    finally:
        del engine._batch.step


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop(tab: Tab, app: Any, how: str) -> None:
    page = tab.open()
    set_parameters(page, **{"max-tokens": "600"})
    with slow(app):
        page.fill("#draft", "Go on and on.")
        page.press("#draft", "Enter")
        until(page, "document.querySelector('.message.running .body')?.textContent.length > 3")
        assert page.text_content("#send") == "Stop"
        page.click("#send") if how == "button" else page.keyboard.press("Escape")
        page.wait_for_selector("#send:has-text('Send')")
        kept = page.text_content(".message:last-child .body")
        assert 3 < len(kept) < 500
        assert page.text_content(".message:last-child .facts").endswith("stopped")
    assert page.text_content(".message:last-child .body") == kept


def test_errors_are_told(tab: Tab) -> None:
    page = tab.open()
    page.fill("#draft", "word " * 2000)
    page.press("#draft", "Enter")
    page.wait_for_selector(".facts.bad")
    told = page.text_content(".facts.bad")
    assert re.search(r"the prompt has [\d,]+ tokens and the context 700", told)
    assert told in page.text_content("#status")  # screen readers hear it
    assert page.locator(".message").count() == 1
    tab.faults = [one for one in tab.faults if "400" not in one]  # the console's line about it


def test_what_a_model_writes_is_text(tab: Tab) -> None:
    html = "<img src=x onerror=alert(1)><b>bold</b> **not bold**"
    page = tab.open()
    answer = {"choices": [{"message": {"content": html}, "finish_reason": "stop"}]}
    page.route("**/v1/chat/completions", lambda route: route.fulfill(json=answer))
    page.uncheck("#stream")
    assert tab.ask("Hi.") == html
    assert page.locator("main img, main b").count() == 0
    message = page.evaluate("try { document.body.innerHTML = '<p>'; '' } catch (e) { e.name }")
    tab.faults = [one for one in tab.faults if "TrustedHTML" not in one]
    assert message == "TypeError"  # trusted types: nothing here could write HTML


def run(command: list[str], **variables: str) -> str:
    env = {**os.environ, "PYTHONIOENCODING": "utf-8", **variables}
    done = subprocess.run(command, capture_output=True, timeout=120, env=env, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("client", ["openai", "groq", "curl"])
def test_copied_code_runs(tab: Tab, client: str, stream: bool) -> None:
    """The copied code, run as it is, gives the answer of the page."""
    if client != "curl":
        needs(client)
    page = tab.open()
    set_parameters(page)
    page.set_checked("#stream", stream)
    question = 'It\'s "quoted" \\ and $HOME `x`\tüñ 🙂\nnext line'
    shown = tab.ask(question)
    page.click("#view-code" if stream else "[aria-label='Code: Assistant, message 2']")
    page.check(f"[name=client][value={client}]")
    page.click("#code-copy")
    code = page.evaluate("navigator.clipboard.readText()")
    assert code == page.text_content("#code-text")
    if client != "curl":
        assert run([sys.executable, "-c", code]) == shown + "\n"
        return
    out = run(["bash", "-c", code.replace("curl ", "curl -sS ", 1)])
    if not stream:
        assert json.loads(out)["choices"][0]["message"]["content"] == shown
        return
    lines = [line[6:] for line in out.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines[:-1]]
    parts = [one["choices"][0]["delta"].get("content", "") for one in chunks if one["choices"]]
    assert "".join(parts) == shown


def test_code_of_what_would_be_sent(tab: Tab) -> None:
    page = tab.open()
    page.fill("#draft", "Not sent yet.")
    page.click("#view-code")
    assert "Not sent yet." in page.text_content("#code-text")
    page.keyboard.press("Escape")
    assert not page.locator("#code").is_visible()
    assert tab.sent == []


def test_a_link_brings_back_what_was_shared(tab: Tab, browser: Any, url: str) -> None:
    page = tab.open()
    page.fill("#system", "Sei höflich 🙂")
    set_parameters(page, stop="END")
    page.check("#json")
    page.uncheck("#json")
    page.uncheck("#stream")
    page.select_option("#chat-model", "owner/other")
    answer = tab.ask("Frage?")
    page.click("#share")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{url}/#chat=")
    other = Tab(browser, url)
    opened = other.open(link.removeprefix(url + "/"))
    read = "e => [...e].map(x => [x.name, x.type === 'checkbox' ? x.checked : x.value])"
    assert opened.eval_on_selector_all("#chat [name]", read) == page.eval_on_selector_all(
        "#chat [name]", read
    )
    assert opened.input_value("#chat-model") == "owner/other"
    assert opened.locator(".message .body").all_text_contents() == ["Frage?", answer]
    assert other.faults == []
    assert other.sent == []  # a link sends nothing by itself
    other.context.close()


@pytest.mark.parametrize(
    "state",
    ["%%%", "W10", "bnVsbA", "eyJtZXNzYWdlcyI6W251bGwsMSx7InJvbGUiOiJzeXN0ZW0ifV0sIm1vZGVsIjp7fX0"],
)
def test_a_broken_link_opens_the_page(tab: Tab, state: str) -> None:
    page = tab.open(f"#chat={state}")
    assert page.locator("#chat-empty").is_visible()
    assert page.input_value("#chat-model") == "small"


def test_tokenizer(tab: Tab, chat_model: CausalLM) -> None:
    page = tab.open("#tokenizer")
    text = "Zwei Wörter 🙂\n"
    page.fill("#tokenizer-text", text)
    ids = chat_model.tokenizer.encode(text)
    until(page, f"document.querySelectorAll('.piece').length === {len(ids)}")
    assert [int(one) for one in page.locator(".piece small").all_text_contents()] == ids
    counts = page.locator("#tokenizer-counts dd").all_text_contents()
    assert counts[:3] == [str(len(ids)), str(len(text)), str(len(text.encode()))]
    page.check("#tokenizer-chat")
    wrapped = chat_model.tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=True
    )
    until(page, f"document.querySelectorAll('.piece').length === {len(wrapped)}")
    assert [int(one) for one in page.locator(".piece small").all_text_contents()] == wrapped


def test_next_token(tab: Tab, chat_model: CausalLM) -> None:
    page = tab.open("#next")
    page.fill("#next-text", "The capital")
    page.fill("#next-temperature", "0.5")
    page.fill("#next-top-p", "0.6")
    until(page, "document.querySelector('#next-mass').textContent.includes('tokens')")
    ids = chat_model.tokenizer.encode("The capital")
    chances = Sampler(Sampling(0.5, 0.6)).chances(chat_model.logits(ids)[-1])
    kept = int(np.count_nonzero(chances))
    page.wait_for_selector(f"#next-mass:has-text('{kept} of 259 tokens can be drawn')")
    after = page.eval_on_selector_all(
        "#next-bars .bar", "e => e.map(x => Number(x.style.getPropertyValue('--after')))"
    )
    np.testing.assert_allclose(after, np.sort(chances)[::-1][:20], rtol=1e-6)
    assert page.locator("#next-bars .out").count() == max(0, 20 - kept)
    best = chat_model.tokenizer.decode([int(chances.argmax())])
    page.locator("#next-bars button").first.click()
    assert page.input_value("#next-text") == "The capital" + best


def test_embeddings(tab: Tab, embed_model: SentenceTransformer) -> None:
    lines = ["a small cat", "the small dog", "a house", "the house and the dog"]
    page = tab.open("#embeddings")
    page.fill("#lines", "\n".join(lines))
    until(page, "document.querySelectorAll('#heat tbody tr').length === 4")
    vectors = embed_model.encode(lines).astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shown = page.locator("#heat tbody td").all_text_contents()
    found = [float(one.replace("−", "-")) for one in shown]
    # rounded to two digits
    np.testing.assert_allclose(np.reshape(found, (4, 4)), unit @ unit.T, atol=0.00501)
    assert page.locator("#map circle").count() == 4
    places = page.eval_on_selector_all(
        "#map circle", "e => e.map(x => [x.cx.baseVal.value, -x.cy.baseVal.value])"
    )
    centred = vectors - vectors.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    wanted = u[:, :2] * s[:2]
    wanted *= np.where(wanted[abs(wanted).argmax(0), [0, 1]] < 0, -1, 1)
    drawn = np.array(places) - np.mean(places, axis=0)
    scale = np.linalg.norm(drawn) / np.linalg.norm(wanted)
    np.testing.assert_allclose(drawn, wanted * scale, atol=0.01 * np.abs(drawn).max())


def test_principal_components(tab: Tab) -> None:
    """More lines than directions, equal ones, two of them."""
    page = tab.open()
    rng = np.random.default_rng(3)
    for vectors in (rng.standard_normal((20, 7)), np.ones((3, 4)), rng.standard_normal((2, 5))):
        found = page.evaluate(
            "async v => (await import('/static/vectors.js')).principal(v)", vectors.tolist()
        )
        centred = vectors - vectors.mean(0)
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
        wanted = np.abs(u[:, :2] * s[:2])
        np.testing.assert_allclose(np.abs(found["points"]), wanted, atol=1e-7)
        total = max((s**2).sum(), 1e-30)
        np.testing.assert_allclose(found["shares"], s[:2] ** 2 / total, atol=1e-7)


@pytest.mark.parametrize("name", ["embed", "small"])
def test_attention(
    tab: Tab, chat_model: CausalLM, embed_model: SentenceTransformer, name: str
) -> None:
    text = "a small cat"
    if name == "small":
        weights = chat_model.attentions(chat_model.tokenizer.encode(text))
    else:
        weights = show_attention(embed_model.auto_model, embed_model.tokenizer, text).weights
    layers, _, size, _ = weights.shape
    page = tab.open("#attention")
    page.select_option("#attention-model", name)
    page.fill("#attention-text", text)
    page.wait_for_selector(f"#attention-heads-label:has-text('layer 1 of {layers}')")
    page.fill("#attention-layer", str(layers))
    page.wait_for_selector(f"#attention-heads-label:has-text('layer {layers} of {layers}')")
    words = "document.querySelectorAll('#attention-words button').length"
    until(page, f"{words} === {size}")
    page.hover("#attention-words button:nth-child(4)")
    shown = page.eval_on_selector_all(
        "#attention-heads p",
        "e => e.map(p => [...p.children].map(x => x.style.getPropertyValue('--weight') ** 2))",
    )
    np.testing.assert_allclose(shown, weights[-1, :, 3], atol=2e-3)  # of roots in three digits
    page.focus("#attention-words [aria-checked=true]")
    page.keyboard.press("ArrowLeft")
    place = "e => [...e.parentNode.children].indexOf(e)"
    assert page.locator("#attention-words [aria-checked=true]").evaluate(place) == 2


def test_no_knowledge_base(tab: Tab) -> None:
    page = tab.open("#documents")
    page.wait_for_selector("#documents-empty")
    assert "firth serve --kb kb" in page.text_content("#documents-empty")
    assert not page.locator("#documents-form").is_visible()


class Quoter:
    """A chat model that cites the first two passages and one that there is not."""

    def __init__(self, model: CausalLM) -> None:
        self.context, self.tokenizer = 10_000, model.tokenizer

    def chat(self, messages: Any, **options: Any) -> str:
        return "It burns oil [1]. Nobody lives there [2], they say [9]."


def test_documents(
    browser: Any, folder: Path, chat_model: CausalLM, embed_model: Any, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(
            KnowledgeBase(tmp_path / "kb", embed=embed_model, chat=Quoter(chat_model))
        )
        base.add({"house.txt": "a small house and the dog", "cat.txt": "the small cat in a house"})
        app = create_app(chat=folder / "chat.gguf", kb=base)
        url = stack.enter_context(running(app))
        tab = Tab(browser, url)
        stack.callback(tab.context.close)
        page = tab.open("#documents")
        page.wait_for_selector("#documents-lead:has-text('2 documents in 2 passages')")
        page.fill("#question", "the small cat")
        page.press("#question", "Enter")
        page.wait_for_selector("#documents-answer")
        assert page.text_content("#answer-text").startswith("It burns oil [1].")
        assert page.locator(".cite").all_text_contents() == ["[1]", "[2]"]
        found = base.search("the small cat", 5)
        assert page.locator(".passage .body").all_text_contents() == [one.text for one in found]
        until(page, "document.querySelectorAll('.passage.cited').length === 2")
        (body,) = tab.bodies("/v1/kb/ask")
        assert body["stream"]
        page.click(".cite >> nth=1")
        assert page.evaluate("document.activeElement.id") == "passage-2"
        page.select_option("#documents-mode", "keyword")
        page.click("#documents-search")
        until(page, "document.querySelectorAll('.passage.cited').length === 0")
        keyword = base.search("the small cat", 5, "keyword")
        scores = [float(one) for one in page.locator(".passage .score").all_text_contents()]
        np.testing.assert_allclose(scores, [one.score for one in keyword], atol=5.1e-4)
        assert tab.faults == []


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop_of_an_answer_from_documents(
    browser: Any, embed_model: SentenceTransformer, tmp_path: Path, how: str
) -> None:
    path = write(tmp_path / "chat.gguf", more={"llama.context_length": 3000})
    model = CausalLM.from_pretrained(path)
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(KnowledgeBase(tmp_path / "kb", embed=embed_model, chat=model))
        base.add({"cat.txt": "the small cat in a house"})
        app = create_app(chat={"small": model}, kb=base)
        tab = Tab(browser, stack.enter_context(running(app)))
        stack.callback(tab.context.close)
        page = tab.open("#documents")
        page.wait_for_selector("#documents-ask:has-text('Ask')")
        page.fill("#question", "the small cat in a house")
        with slow(app):
            page.press("#question", "Enter")
            until(page, "document.querySelector('#answer-text').textContent.length > 3")
            assert page.text_content("#documents-ask") == "Stop"
            assert page.is_disabled("#documents-search")
            page.press("#question", "Enter")  # stops nothing
            page.click("#documents-ask") if how == "button" else page.keyboard.press("Escape")
            page.wait_for_selector("#documents-ask:has-text('Ask')")
            kept = page.text_content("#answer-text")
            assert page.text_content("#documents-note") == "Stopped."
        assert page.text_content("#answer-text") == kept
        assert page.is_enabled("#documents-search")
        assert len(tab.bodies("/v1/kb/ask")) == 1
        page.click("#documents-search")
        until(page, "document.querySelector('#documents-note').textContent === ''")
        assert page.locator(".passage").count() == 1
        assert tab.faults == []


def test_keyboard_alone(tab: Tab) -> None:
    """Every control is reached by Tab, in the order of the page, and can be seen to be."""
    page = tab.open()
    order = []
    for _ in range(40):
        page.keyboard.press("Tab")
        tag, name, outline = page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e);"
            "return [e.tagName, e.id, s.outlineStyle + ' ' + s.outlineWidth] }"
        )
        if tag == "BODY":  # behind the last control
            break
        order.append(name)
        assert outline == "solid 2px", (tag, name)
    wanted = [
        "tab-chat", "share", "theme", "system", "draft", "view-code", "send", "chat-model",
        "temperature", "top-p", "max-tokens", "seed", "stop", "stream", "json", "moderation",
    ]  # fmt: skip
    assert [name for name in order if name in wanted] == wanted
    page.keyboard.press("Home")
    page.focus("#tab-chat")
    for name in [*TABS[1:], TABS[0]]:
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == f"tab-{name}"
        assert page.locator(f"#{name}").is_visible()
        assert page.locator("[role=tabpanel]:visible").count() == 1
    page.focus("#max-tokens")
    page.keyboard.press("Control+A")
    page.keyboard.type("9")
    page.focus("#draft")
    page.keyboard.type("Hello")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("there")
    page.keyboard.press("Enter")
    page.wait_for_selector("#send:has-text('Send')")
    (body,) = tab.bodies("/v1/chat/completions")
    assert body["messages"] == [{"role": "user", "content": "Hello\nthere"}]
    assert body["max_completion_tokens"] == 9
    assert page.evaluate("document.activeElement.id") == "draft"


def test_a_key_is_asked_for_and_kept_secret(browser: Any, folder: Path) -> None:
    app = create_app(chat=folder / "chat.gguf", api_key="s3cret")
    with running(app) as url:
        tab = Tab(browser, url)
        page = tab.page
        page.goto(url)
        page.wait_for_selector("#key")
        page.fill("#key-value", "s3cret")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#chat-model').options.length > 0")
        set_parameters(page)
        shown = tab.ask("Hello.")
        page.click("#view-code")
        code = page.text_content("#code-text")
        assert "s3cret" not in code
        needs("openai")
        assert run([sys.executable, "-c", code], FIRTH_API_KEY="s3cret") == shown + "\n"
        page.keyboard.press("Escape")
        page.click("#share")
        assert "s3cret" not in page.url
        page.reload()
        page.wait_for_selector("#key")  # it was in memory alone
        tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_and_fitting(browser: Any, url: str, scheme: str, width: int) -> None:
    """No violation of what axe-core checks, in any tab, and nothing wider than the page."""
    axe = needs("axe_playwright_python.sync_playwright").Axe()
    tab = Tab(browser, url, viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = tab.open()
    found = {}

    def check(name: str) -> None:
        page.wait_for_timeout(300)
        for one in axe.run(page).response["violations"]:
            found[name, one["id"]] = [node["html"] for node in one["nodes"]]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name

    check("empty")
    if width < 860:
        page.click("#chat summary")
    set_parameters(page)
    tab.ask("Hello.")
    check("chat")
    page.click("[aria-label='Edit: Assistant, message 2']")
    check("edit")
    page.click("text=Cancel")
    page.click("#view-code")
    check("code")
    page.keyboard.press("Escape")
    for name in TABS[1:]:
        page.click(f"#tab-{name}")
        page.wait_for_load_state("networkidle")
        check(name)
    tab.context.close()
    assert found == {}


def test_themes(tab: Tab) -> None:
    page = tab.open()
    paper = "getComputedStyle(document.body).backgroundColor"
    seen = []
    for name in ("light", "dark", "auto"):
        page.click("#theme")
        assert page.text_content("#theme") == f"Theme: {name}"
        seen.append(page.evaluate(paper))
    assert seen[0] == seen[2] != seen[1]  # the system's is light
    page.click("#theme")
    page.click("#theme")
    page.reload()
    assert page.evaluate(paper) == seen[1]


def test_motion_can_be_reduced(browser: Any, url: str) -> None:
    tab = Tab(browser, url, reduced_motion="reduce")
    page = tab.open()
    moving = page.evaluate(
        "[...document.querySelectorAll('*')].filter(e => "
        "parseFloat(getComputedStyle(e).transitionDuration) > 0).length"
    )
    assert moving == 0
    tab.context.close()


def test_policy(url: str) -> None:
    """Nothing but this server's own files runs, and each file of the page is one of them."""
    for path in ("/", "/static/app.js"):
        answer = httpx.get(url + path)
        assert answer.status_code == 200
        rules = dict(
            rule.strip().partition(" ")[::2]
            for rule in answer.headers["content-security-policy"].split(";")
        )
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["require-trusted-types-for"] == "'script'"
        assert answer.headers["x-content-type-options"] == "nosniff"
    page = httpx.get(url + "/").text
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|https?:", page)
    for file in STATIC.iterdir():
        served = httpx.get(f"{url}/static/{file.name}")
        assert served.content == file.read_bytes()
        if file.suffix == ".js":
            assert "innerHTML" not in served.text
            assert len(served.text.splitlines()) < 300
    assert httpx.get(f"{url}/static/%2e%2e/app.py").status_code == 404
