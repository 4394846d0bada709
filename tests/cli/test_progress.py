"""Lines of progress where there is no terminal: seldom, true, and with the time that is left."""

import pytest

from emospec.cli.progress import RunLines


def lines_of(capsys: pytest.CaptureFixture[str], *updates: tuple[float, str, int, int, str]) -> list[str]:
    """The lines for updates of (seconds, name, done, total, word)."""
    times = iter(time for time, *_ in updates)
    lines = RunLines(lambda: next(times))
    for _, *update in updates:
        lines.update(*update)
    return capsys.readouterr().err.splitlines()


def test_lines_come_about_every_tenth_or_half_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    updates = [(3.0 * k, "a", 11 * k, 1000, f"dev UA {k}.0" if k > 5 else "") for k in range(91)]
    printed = lines_of(capsys, (0.0, "a", 4, 1000, "about 5 min for 996 steps at 0.3 s a step"), *updates[1:])
    assert printed[0] == "a: 4 of 1000, about 5 min for 996 steps at 0.3 s a step"
    assert printed[1] == "a: 110 of 1000, dev UA 10.0, about 4 min left"
    assert 8 <= len(printed) <= 12


def test_work_that_is_soon_done_has_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys, *((0.1 * k, "prepare", k, 50, "") for k in range(51))) == []


def test_the_end_of_a_run_that_had_a_line_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    updates = [
        (0.0, "a", 11, 22, "dev UA 50.0"),
        (1.0, "a", 22, 22, "dev UA 60.0"),
        (2.0, "a", 22, 22, "dev UA 60.0"),
    ]
    assert lines_of(capsys, *updates) == ["a: 11 of 22, dev UA 50.0", "a: 22 of 22, dev UA 60.0"]


def test_long_work_without_words_has_lines(capsys: pytest.CaptureFixture[str]) -> None:
    printed = lines_of(capsys, *((5.0 * k, "prepare", k, 10_000, "") for k in range(13)))
    assert printed == [
        "prepare: 6 of 10000, about 13 h 53 min left",
        "prepare: 12 of 10000, about 13 h 52 min left",
    ]
