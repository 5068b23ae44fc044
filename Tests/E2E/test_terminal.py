"""`skerry run` as a person meets it: on a real terminal, with a real engine behind it."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import stat
import struct
import subprocess
import termios
import time

import pytest
from box import MODEL

UP, LEFT, HOME, DELETE = "\x1b[A", "\x1b[D", "\x01", "\x1b[3~"


class Person:
    """Somebody at a terminal of 100 columns who starts a program, types and reads."""

    def __init__(self, argv, home, **environment):
        self.seen, self.at = "", 0
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SKERRY_HISTORY", "XDG_"))}
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], [str(a) for a in argv],
                      {**clean, "HOME": str(home), "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment})
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))

    def read(self, seconds):
        if not select.select([self.terminal], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self.terminal, 65536)
        except OSError:
            return None
        self.seen += piece.decode(errors="replace")
        return bool(piece) or None

    def sees(self, words, seconds=60):
        """Waits until the words appear after what was waited for before; returns what came until then."""
        deadline = time.monotonic() + seconds
        while (found := self.seen.find(words, self.at)) < 0:
            assert time.monotonic() < deadline, f"{words!r} did not come: {self.seen[self.at:]!r}"
            if self.read(0.2) is None and self.seen.find(words, self.at) < 0:
                raise AssertionError(f"it ended before {words!r}: {self.seen[self.at:]!r}")
        came, self.at = self.seen[self.at:found], found + len(words)
        return came

    def types(self, text):
        os.write(self.terminal, text.encode())

    def says(self, line):
        """Types a line and waits until it is answered and the next may be typed."""
        self.types(line + "\r")
        return self.prompt()

    def prompt(self, seconds=60):
        """What came until the next prompt, without what commands the terminal."""
        # The editor draws a line anew with the same words; only a new one begins with this mark.
        came = self.sees("\x1b[?2004h>>> ", seconds)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", came)

    def ends(self, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = None
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"it did not end: {self.seen[-500:]!r}")

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture
def sit(programs, box, tmp_path):
    people = []

    def sit(*options, **environment):
        argv = [programs.skerry, "--socket", box.socket, "run", MODEL, "--max-tokens", "6", "--temperature", "0"]
        people.append(Person([*argv, *options], tmp_path, **environment))
        return people[-1]
    yield sit
    for person in people:
        person.close()


def test_a_chat_is_edited_remembered_and_left(sit, tmp_path):
    person = sit()
    person.prompt()
    assert person.says("Say helo" + LEFT + "l").strip()
    # The line before comes back with the arrow key, and can be changed: Ctrl-A goes to its start.
    person.types(UP + HOME + DELETE + "s\r")
    assert "\r\n" in person.prompt()
    assert "temperature 0" in person.says("/show") and "model smollm2" in person.seen
    assert "there is no /nonsense" in person.says("/nonsense")
    assert "/clear" in person.says("/help") and "forgotten" in person.says("/clear")
    person.types("/bye\r")
    assert person.ends() == 0
    history = tmp_path / ".local/state/skerry/history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600 and history.read_text().startswith("Say hello\nsay hello\n/show")
    # The next one begins where this one ended.
    again = sit()
    again.prompt()
    assert "temperature 0" in again.says(UP * 5)
    again.types("\x04")
    assert again.ends() == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(sit, box):
    person = sit("--max-tokens", "2000")
    person.prompt()
    person.says("/set seed 3")
    person.says("/set temperature 1.5")
    person.types("Write a very long story about a lighthouse, in many chapters.\r")
    person.sees("chapters.")
    before = len(person.seen)
    while len(person.seen) < before + 40:
        assert person.read(30)
    person.types("\x03")
    person.sees("stopped", 10)
    person.prompt()
    deadline = time.monotonic() + 10
    while any(e["requests"] for e in box.json("ps")["engines"]):
        assert time.monotonic() < deadline, "the engine still works"
    # At the prompt it gives up the line; the chat goes on.
    person.types("half a lin\x03")
    person.sees("/bye leaves")
    person.prompt()
    person.says("/set num_predict 3")
    assert person.says("Say hello.").strip()
    person.types("\x04")
    assert person.ends() == 0


def test_several_lines_are_one_prompt(sit, tmp_path):
    person = sit()
    person.prompt()
    person.types('"""one\r')
    person.sees("... ")
    person.types('two"""\r')
    person.prompt()
    person.types("three\\\r")
    person.sees("... ")
    person.types("four\r")
    person.prompt()
    # What is pasted is one prompt, however many lines it has.
    person.types("\x1b[200~five\rsix ü\r\x1b[201~\r")
    person.prompt()
    person.types("\x04")
    assert person.ends() == 0
    history = (tmp_path / ".local/state/skerry/history").read_text()
    assert history == "one\\ntwo\nthree\\nfour\nfive\\nsix ü\n"


def test_the_history_can_be_switched_off_and_put_elsewhere(sit, tmp_path):
    for options, environment in ((["--no-history"], {}), ([], {"SKERRY_HISTORY": "off"})):
        person = sit(*options, **environment)
        person.prompt()
        person.says("/show")
        person.types(UP)
        person.types("\x04\x03\x04")
        assert person.ends() == 0
    assert not (tmp_path / ".local").exists()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    person = sit(SKERRY_HISTORY=str(link))
    person.prompt()
    assert "history can't be kept" in person.says("/show")
    person.types("\x04")
    assert person.ends() == 0 and not (tmp_path / "target").exists()


def test_a_signal_leaves_the_terminal_as_it_was(sit):
    person = sit()
    person.prompt()
    raw = termios.tcgetattr(person.terminal)[3]
    assert not raw & termios.ICANON
    os.kill(person.pid, signal.SIGTERM)
    assert person.ends() == 128 + signal.SIGTERM


def test_an_unknown_model_is_an_error(programs, box, tmp_path):
    person = Person([programs.skerry, "--socket", box.socket, "run", "no-such"], tmp_path)
    try:
        person.prompt()
        person.types("hello\r")
        person.sees("no-such")
        assert person.ends() == 66
    finally:
        person.close()


def test_pipes_and_json_need_no_terminal(programs, box):
    def run(*arguments, **options):
        return subprocess.run([programs.skerry, "--socket", box.socket, "run", MODEL, "--max-tokens", "4", *arguments],
                              capture_output=True, text=True, timeout=60, **options)
    piped = run(input="Say hello.\nTwice.\n")
    assert piped.returncode == 0 and piped.stdout.strip() and "\x1b" not in piped.stdout
    said = json.loads(run("Say hello.", "--json", stdin=subprocess.DEVNULL).stdout)
    assert said["answer"] and said["usage"]["completion_tokens"] <= 4
    empty = run(input="")
    assert empty.returncode == 64 and "empty" in empty.stderr
