"""The page in a real browser: it shows the answers of `emospec predict` and `timeline` for what it sent."""

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

import emospec
from emospec.audio.reader import read_audio
from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.corpora.demo import utterance
from emospec.inference.recognizer import Recognizer

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
BASE = Path(emospec.__file__).parent / "models" / "base"
SHARED = Path(__file__).parents[3] / "shared" / "corpora" / "emodb" / "audio"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
SIZES = [(360, 640), (390, 844), (768, 1024), (1280, 900)]
MOST_BYTES = 200_000  # of the whole page, as it comes over the network
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]

KEEP_WHAT_IS_SENT = """
  window.sent = [];
  const plain = XMLHttpRequest.prototype.send;
  XMLHttpRequest.prototype.send = function (body) {
    if (body instanceof FormData) sent.push([...body.values()][0]);
    return plain.call(this, body);
  };
"""
LAST_SENT = """async () => {
  const bytes = new Uint8Array(await sent.at(-1).arrayBuffer());
  return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
}"""


@contextmanager
def running(model: Path, **environment: str) -> Iterator[str]:
    """Run `emospec serve` in a process of its own; yield its address."""
    command = [sys.executable, "-m", "emospec", "serve", "--model", str(model), "--port", "0"]
    environ, silent = os.environ | environment, subprocess.DEVNULL
    with subprocess.Popen(command, env=environ, stderr=silent, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().removeprefix("emospec: ").strip() + "/"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(BASE) as place:
        yield place


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return twelve seconds: of real recordings, if the shared corpora are beside the project."""
    real = sorted(SHARED.glob("*.flac"))[::25][:8]
    waves = [read_audio(file) for file in real] or [utterance(1, "angry", k) for k in range(1, 10)]
    file = tmp_path_factory.mktemp("speech") / "speech.wav"
    soundfile.write(file, np.concatenate(waves)[: 12 * SAMPLE_RATE], SAMPLE_RATE, "PCM_16")
    return file


@pytest.fixture(scope="module")
def browser(speech: Path) -> Iterator[Any]:
    """Start Chromium, whose microphone records `speech` again and again."""
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    flags.append(f"--use-file-for-fake-audio-capture={speech}")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the page and waits until it can be used; at the end, check that nothing failed."""
    contexts, failures = [], []

    def opened(address: str, ready: str = "#record:enabled", **options: Any) -> Any:
        contexts.append(browser.new_context(permissions=["microphone"], **{"viewport": DESK} | options))
        page = contexts[-1].new_page()
        page.add_init_script(KEEP_WHAT_IS_SENT)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on(
            "console", lambda line: failures.append(line.text) if "Security Policy" in line.text else None
        )
        page.goto(address)
        page.wait_for_selector(ready)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not failures


def choose(page: Any, file: Path) -> None:
    page.set_input_files("#file", file)
    wait_for_answer(page, file.name)


def wait_for_answer(page: Any, name: str = "") -> None:
    page.wait_for_function(
        "name => document.getElementById('time-title').textContent.includes(name)", arg=name
    )
    page.wait_for_selector("#emotion data")
    page.wait_for_selector("#segments:visible")
    page.wait_for_selector("#progress", state="hidden")


def shown(page: Any) -> tuple[str, float, dict[str, float]]:
    """Return emotion, confidence and probabilities, exact."""
    rows = page.locator("#bars tr").all()
    values = {
        row.locator("th").inner_text(): float(row.locator("data").get_attribute("value")) for row in rows
    }
    return page.inner_text("#emotion strong"), float(page.get_attribute("#emotion data", "value")), values


def output_of(verb: str, file: Path, model: Path, *options: str) -> str:
    command = [sys.executable, "-m", "emospec", verb, str(file), "--model", str(model), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_uploaded_recording_gets_the_answer_of_predict_and_timeline(
    open_page: Callable[..., Any], address: str, speech: Path
) -> None:
    page = open_page(address)
    choose(page, speech)
    expected = json.loads(output_of("predict", speech, BASE, "--json"))[0]
    assert shown(page) == (expected["emotion"], expected["confidence"], expected["probabilities"])
    assert page.locator("#warnings li").count() == len(expected["warnings"])
    assert base64.b64decode(page.evaluate(LAST_SENT)) == speech.read_bytes()

    timeline = json.loads(output_of("timeline", speech, BASE, "--format", "json"))
    assert page.inner_text("#segments summary") == f"Segments ({len(timeline['segments'])})"
    count = page.evaluate("sent.length")
    for form in ("csv", "json", "textgrid", "audacity", "elan", "srt"):
        with page.expect_download() as download:
            page.click(f"[data-format={form}]")
        assert Path(download.value.path()).read_text() == output_of(
            "timeline", speech, BASE, "--format", form
        )
        assert download.value.suggested_filename.startswith("speech.")
    assert page.evaluate("sent.length") == count == 2  # the recording was not sent again


def test_a_recorded_voice_gets_the_answer_of_predict(
    open_page: Callable[..., Any], address: str, speech: Path
) -> None:
    page = open_page(address)
    page.keyboard.press("r")
    page.wait_for_selector("#recording:visible")
    page.wait_for_selector("#bars data")  # live, of the first window
    assert "while it is recorded" in page.inner_text("#words")
    page.wait_for_function("() => parseFloat(document.getElementById('recorded').textContent.slice(2)) > 5")
    page.keyboard.press("r")
    wait_for_answer(page, "recording-")

    sent = base64.b64decode(page.evaluate(LAST_SENT))
    expected = Recognizer(BASE).predict(sent)
    assert page.inner_text("#emotion strong") == expected.emotion
    assert shown(page)[1:] == (
        pytest.approx(expected.confidence, abs=1e-5),
        pytest.approx(expected.probabilities, abs=1e-5),
    )
    with page.expect_download() as download:
        page.click("#wav")
    assert Path(download.value.path()).read_bytes() == sent

    recorded, played = read_audio(sent), read_audio(speech)
    assert soundfile.info(download.value.path()).samplerate == SAMPLE_RATE
    assert len(recorded) > 5 * SAMPLE_RATE
    parts = recorded[SAMPLE_RATE : 5 * SAMPLE_RATE].reshape(-1, SAMPLE_RATE // 5)
    alike = [likeness(part, np.tile(played, 2)) for part in parts if np.mean(part**2) > 1e-4]
    assert len(alike) > 4
    assert np.median(alike) > 0.95, alike


def test_a_recording_is_kept_if_the_server_fails_and_ends_within_its_limits(
    open_page: Callable[..., Any], address: str
) -> None:
    page = open_page("about:blank", ready="html")

    def lower_limit(route: Any) -> None:
        answer = route.fetch().json()
        route.fulfill(json=answer | {"limits": answer["limits"] | {"bytes": 150_000}})

    page.route("**/v1/models", lower_limit)
    page.route("**/v1/timeline*", lambda route: route.abort())
    page.goto(address)
    page.wait_for_selector("#record:enabled")
    page.keyboard.press("r")
    page.wait_for_selector("#recording:visible")
    page.wait_for_selector("#recording", state="hidden", timeout=20_000)  # it stops by itself
    page.wait_for_selector("#trouble:visible")
    with page.expect_download() as download:
        page.click("#wav")
    content = Path(download.value.path()).read_bytes()
    assert 100_000 < len(content) < 150_000
    assert read_audio(content).size > 3 * SAMPLE_RATE


def likeness(part: np.ndarray, whole: np.ndarray) -> float:
    """Return the highest correlation of a part with an equally long part of the whole.

    Parts are short, because on a busy machine the browser's fake microphone loses some of its buffers.
    """
    size = 1 << (len(part) + len(whole)).bit_length()
    spectra = np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size))
    products = np.fft.irfft(spectra, size)[: len(whole) - len(part)]
    energies = np.convolve(whole**2, np.ones(len(part)), "valid")[:-1]
    return float(np.max(products / np.sqrt(np.sum(part**2) * np.maximum(energies, 1e-3))))


def test_examples_play_and_lie_on_the_map(open_page: Callable[..., Any], address: str) -> None:
    page = open_page(address)
    page.click("#examples button")
    wait_for_answer(page)
    page.wait_for_selector("#star-word:visible")
    classes = Recognizer(BASE).model.names
    assert page.locator("#plane g").count() == page.locator("#plane .middle").count() == len(classes)
    assert page.locator("#plane text").all_text_contents() == list(classes)
    assert page.locator("#plane .star").count() == 1
    assert page.inner_text("#emotion strong") == page.inner_text("#examples button >> nth=0")
    assert f"nearest to the middle of {page.inner_text('#emotion strong')}" in page.get_attribute(
        "#plane", "aria-label"
    )
    page.focus("#track")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.getElementById('track').getAttribute('aria-valuenow') > 0.2")
    page.keyboard.press("Home")
    assert float(page.get_attribute("#track", "aria-valuenow")) < 0.2
    colors = page.evaluate(
        "() => new Set(document.getElementById('pictures').getContext('2d').getImageData(100, 60, 200, 150).data).size"
    )
    assert colors > 50  # a spectrogram, no empty canvas


def test_the_page_sends_requests_to_its_server_alone(
    browser: Any, open_page: Callable[..., Any], address: str
) -> None:
    page = open_page(address)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.reload()
    page.wait_for_selector("#record:enabled")
    page.wait_for_selector("#plane circle")
    assert len(requests) > 5
    assert {url for url in requests if not url.startswith(address)} == set()
    assert page.request.get(f"{address}page/page.js").headers["cache-control"] == "no-cache"


def test_an_unreadable_file_is_an_error_with_what_to_do(
    open_page: Callable[..., Any], address: str, tmp_path: Path
) -> None:
    page = open_page(address)
    (tmp_path / "letter.wav").write_text("no sound at all")
    page.set_input_files("#file", tmp_path / "letter.wav")
    page.wait_for_selector("#trouble:visible")
    assert page.inner_text("#trouble-message").startswith("letter.wav: cannot be decoded")
    assert page.inner_text("#trouble-fix")
    assert page.inner_text("#words") == "No answer."

    soundfile.write(tmp_path / "voice.aiff", utterance(1, "sad", 1), SAMPLE_RATE)
    choose(page, tmp_path / "voice.aiff")  # browsers do not decode AIFF
    assert page.is_hidden("#trouble")
    assert page.is_visible("#no-pictures")
    assert page.is_disabled("#play")


def test_a_busy_server_is_tried_again_after_its_time(
    open_page: Callable[..., Any], address: str, speech: Path
) -> None:
    page = open_page(address)
    page.wait_for_selector("#plane circle")  # and nothing else to do
    busy = {"error": {"code": "busy", "message": "the server is busy", "fix": "try again in 9 s"}}
    page.route(
        "**/v1/predict*",
        lambda route: route.fulfill(status=429, headers={"Retry-After": "9"}, json=busy),
        times=1,
    )
    page.set_input_files("#file", speech)
    page.wait_for_selector("#retry:disabled:visible")
    page.click("#retry")  # waits until it may be
    wait_for_answer(page, speech.name)
    assert page.is_hidden("#trouble")


def test_a_recording_that_cannot_begin_closes_the_microphone(
    open_page: Callable[..., Any], address: str
) -> None:
    page = open_page(address)
    page.evaluate("""() => {
      const lend = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (asked) => (window.lent = await lend(asked));
      window.WebSocket = class { constructor() { throw new SyntaxError("no such protocol"); } };
    }""")
    page.click("#record")
    page.wait_for_selector("#trouble:visible")
    page.wait_for_function("lent.getTracks().every((track) => track.readyState === 'ended')")
    assert page.is_enabled("#record")
    assert page.is_hidden("#recording")


def test_a_token_is_asked_for(open_page: Callable[..., Any], speech: Path) -> None:
    with running(BASE, EMOSPEC_TOKEN="open-sesame") as address:
        page = open_page(address, "#token-form:visible")
        assert "wants a token" in page.inner_text("#trouble-message")
        for wrong in ("open-says-me", "öffne dich"):
            page.fill("#token", wrong)
            page.keyboard.press("Enter")
            page.wait_for_selector("#trouble-message:text('token is wrong')")
            page.click("#dismiss")
            page.evaluate("document.getElementById('trouble').hidden = false")
        page.fill("#token", " open-sesame ")  # as it is pasted
        page.keyboard.press("Enter")
        page.wait_for_selector("#record:enabled")
        assert page.is_hidden("#trouble")
        choose(page, speech)
        page.keyboard.press("r")
        page.wait_for_selector("#bars data")  # live too
        page.keyboard.press("r")
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_a_card_cannot_run_anything(open_page: Callable[..., Any], address: str) -> None:
    page = open_page(address)
    page.click("#card-open")
    assert page.locator("#card h2").count() > 2
    assert page.locator("#card td").count() > 1
    page.keyboard.press("Escape")
    assert page.is_hidden("#card")
    hostile = "# <img src=x onerror=alert(1)>\n\n<script>alert(1)</script> [a](javascript:alert(1))\n\n| <b>x</b> |\n|---|\n| `<i>` |"
    kinds = page.evaluate(
        """async (text) => {
          const { cardOf } = await import("/page/card.js");
          document.querySelector("#card article").replaceChildren(...cardOf(text));
          return [...document.querySelectorAll("#card article *")].map((one) => one.tagName);
        }""",
        hostile,
    )
    assert set(kinds) == {"H1", "P", "TABLE", "TR", "TH", "TD", "CODE"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_it_fits_and_can_be_read(
    open_page: Callable[..., Any], address: str, speech: Path, size: dict[str, int], scheme: str
) -> None:
    page = open_page(address, viewport=size, color_scheme=scheme)
    choose(page, speech)
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert page.locator("footer").bounding_box()["y"] + 20 < size["height"]  # in sight at any place
    names = ("page", "panel", "ink", "faint", "accent", "on-accent", "red", "warn", "wave")
    color = {
        name: page.evaluate(
            "(name) => getComputedStyle(document.documentElement).getPropertyValue(name)", f"--{name}"
        )
        for name in names
    }
    texts = [
        "ink panel",
        "ink page",
        "ink warn",
        "faint panel",
        "faint page",
        "accent panel",
        "on-accent accent",
        "red panel",
    ]
    for text in texts:
        assert contrast(*(color[name] for name in text.split())) >= 4.5, text
    assert contrast(color["wave"], color["panel"]) >= 3


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours `#rrggbb`, 1 to 21 (WCAG 2.2)."""
    lights = []
    for color in (first, second):
        parts = np.array([int(part, 16) / 255 for part in re.findall("[0-9a-f]{2}", color.lower())])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        lights.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(lights) / min(lights)


def test_every_control_is_reached_by_tab_and_seen(
    open_page: Callable[..., Any], address: str, speech: Path
) -> None:
    page = open_page(address)
    choose(page, speech)
    page.evaluate("document.activeElement.blur()")
    order = []
    for _ in range(40):
        page.keyboard.press("Tab")
        here = page.evaluate(
            """() => {
              const one = document.activeElement, seen = one.id === "file" ? document.getElementById("drop") : one;
              return [one === document.body ? "" : one.id || one.textContent, getComputedStyle(seen).outlineStyle];
            }"""
        )
        if not here[0]:
            break
        assert here[1] == "solid", here
        order.append(here[0])
    wanted = ["card-open", "record", "file", "neutral", "play", "speech", "track", "CSV"]
    places = [order.index(name) for name in wanted]
    assert all(before < after for before, after in pairwise(places))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder: silence, noise and music of five seconds, and half a minute of voices with a long pause."""
    folder = tmp_path_factory.mktemp("sounds")
    seconds = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    beat = np.exp(-3 * (seconds % 1))
    music = sum(np.sin(2 * np.pi * hz * (1 + seconds // 1 / 4) * seconds) for hz in (262, 330, 392)) * beat
    noise = np.random.default_rng(0).normal(0, 0.1, len(seconds))
    voices = [utterance(1 + k % 4, ("sad", "angry")[k % 2], k) for k in range(12)]
    pause = np.zeros(9 * SAMPLE_RATE)
    waves = {
        "silence": 0 * seconds,
        "noise": noise,
        "music": 0.1 * music,
        "long": np.concatenate([*voices[:6], pause, *voices[6:]]),
    }
    for name, wave in waves.items():
        soundfile.write(folder / f"{name}.wav", wave, SAMPLE_RATE)
    return folder


@pytest.mark.parametrize("kind", ["silence", "noise", "music"])
def test_no_speech_is_found_where_nobody_speaks(
    open_page: Callable[..., Any], address: str, sounds: Path, kind: str
) -> None:
    page = open_page(address)
    page.set_input_files("#file", sounds / f"{kind}.wav")
    page.wait_for_selector("#emotion strong:text-is('No speech found')")
    page.wait_for_selector("#segments:visible")
    assert page.is_hidden("#bars")
    assert page.is_hidden("#star-word")
    assert page.locator("#plane .star").count() == 0
    assert "no speech" in page.inner_text("#readout")
    page.click("#odds summary")  # whoever wants to can see them
    assert page.locator("#bars data:visible").count() == 4
    if kind == "silence":
        light = page.evaluate(
            """() => {
              const canvas = document.getElementById("pictures"), ratio = canvas.width / canvas.clientWidth;
              const { data } = canvas.getContext("2d").getImageData(100 * ratio, 140 * ratio, 300, 80);
              return Math.max(...data.filter((_, i) => i % 4 < 3));
            }"""
        )
        assert light < 40  # the whole spectrogram


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_long_recording_is_headlined_by_shares_of_its_speech_in_sight(
    open_page: Callable[..., Any], address: str, sounds: Path, size: tuple[int, int]
) -> None:
    page = open_page(address, viewport=dict(zip(("width", "height"), size, strict=True)))
    choose(page, sounds / "long.wav")
    timeline = json.loads(output_of("timeline", sounds / "long.wav", BASE, "--speech", "--format", "json"))
    times = dict.fromkeys(timeline["classes"], 0.0)
    for segment in timeline["segments"]:
        if segment["emotion"]:
            times[segment["emotion"]] += segment["end_seconds"] - segment["start_seconds"]
    spoken = sum(times.values())
    assert 14 < spoken < timeline["duration_seconds"] - 5
    emotion, most, shares = shown(page)
    assert shares == pytest.approx({name: time / spoken for name, time in times.items()}, abs=0.01)
    assert (shares[emotion], max(shares.values())) == (most, most)
    assert "of the speech" in page.inner_text("#emotion")
    assert "Pauses are left out" in page.inner_text("#words")
    assert page.is_checked("#speech")
    footer = page.locator("footer").bounding_box()["y"]
    assert page.evaluate("scrollY") == 0
    for part in ("#emotion", "#words", "#bars"):
        box = page.locator(part).bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] < footer, part
    if size[0] >= 768:
        assert page.locator("#track").bounding_box()["y"] + 62 < footer  # the emotions' band
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]


def test_a_long_wait_shows_progress_and_can_be_cancelled(
    open_page: Callable[..., Any], address: str, sounds: Path
) -> None:
    page = open_page(address)
    page.wait_for_selector("#examples button")
    waiting = []
    page.route("**/v1/timeline*", lambda route: waiting.append(route))
    page.set_input_files("#file", sounds / "long.wav")
    page.wait_for_selector("#progress-words:text-matches('Analysing 0:[23][0-9] of sound … [1-9]')")
    assert page.is_visible("#progress-bar")
    page.click("#cancel")
    page.wait_for_selector("#words:text-is('Cancelled.')")
    assert page.is_hidden("#progress")
    assert page.is_hidden("#time")
    assert page.is_hidden("#trouble")
    assert waiting[0].request.failure  # the server is not waited for
    with suppress(playwright.Error):
        waiting[0].abort()
    page.unroute("**/v1/timeline*")
    choose(page, sounds / "long.wav")


def test_a_thousand_segments_are_merged_to_what_can_be_seen(
    open_page: Callable[..., Any], address: str
) -> None:
    page = open_page(address)
    merged = """async (least) => {
      const { merged } = await import("/page/shares.js");
      const emotions = ["sad", "sad", "angry", null];
      const segments = Array.from({ length: 1484 }, (_, k) => ({
        start_seconds: 2 * k, end_seconds: 2 * k + 2, emotion: emotions[k % 4], confidence: k % 4 < 3 ? 0.5 : null,
      }));
      return merged(segments, least);
    }"""
    few = page.evaluate(merged, 9.0)
    assert len(few) <= 2 * 1484 / 9 + 1
    assert {segment["emotion"] for segment in few} <= {"sad", "angry"}
    assert few[0] == {"start_seconds": 0, "end_seconds": 10, "emotion": "sad", "confidence": 0.5}
    assert len(page.evaluate(merged, 1.0)) == 1484


def test_forced_colors_keep_bars_and_playhead(
    open_page: Callable[..., Any], address: str, speech: Path
) -> None:
    for scheme in ("light", "dark"):
        page = open_page(address, forced_colors="active", color_scheme=scheme)
        choose(page, speech)
        canvas = page.evaluate("getComputedStyle(document.body).backgroundColor")
        for shape in ("#bars .first span", "#playhead"):
            color = page.evaluate("(s) => getComputedStyle(document.querySelector(s)).backgroundColor", shape)
            assert color not in (canvas, "rgba(0, 0, 0, 0)"), shape
        strip = page.evaluate(
            """() => {
              const canvas = document.getElementById("pictures");
              return [...new Set(canvas.getContext("2d").getImageData(100, 90, 300, 20).data)].length;
            }"""
        )
        assert strip > 2  # a waveform, not ink on ink


def test_the_page_is_complete_in_less_than_200_kilobytes(open_page: Callable[..., Any], address: str) -> None:
    page = open_page("about:blank", ready="html")
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    sizes: list[float] = []
    network.on("Network.loadingFinished", lambda done: sizes.append(done["encodedDataLength"]))
    page.goto(address)
    page.wait_for_selector("#examples button")
    page.wait_for_selector("#plane circle")
    page.wait_for_load_state("networkidle")
    assert len(sizes) > 8
    assert sum(sizes) < MOST_BYTES


@contextmanager
def proxied(address: str, prefix: str) -> Iterator[str]:
    """Run a reverse proxy in a thread, which takes a prefix off and knows no other address; yield its own."""
    server = urlsplit(address)

    class Proxy(BaseHTTPRequestHandler):
        def forward(self) -> None:
            if not self.path.startswith(prefix):
                return self.send_error(404)
            connection = http.client.HTTPConnection(server.hostname, server.port)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection.request(self.command, self.path.removeprefix(prefix), body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return None

        do_GET = do_POST = forward  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}{prefix}/"
        proxy.shutdown()


def test_it_works_behind_a_prefix(open_page: Callable[..., Any], address: str, speech: Path) -> None:
    with proxied(address, "/voices") as place:
        page = open_page(place)
        missing: list[str] = []
        page.on("response", lambda answer: missing.append(answer.url) if answer.status == 404 else None)
        page.reload()
        page.wait_for_selector("#examples button")
        choose(page, speech)
        page.click("#examples button")
        wait_for_answer(page, ".wav")
        with page.expect_download():
            page.click("[data-format=csv]")
        assert missing == []
        page.context.close()
