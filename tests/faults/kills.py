"""A program: kills wproj at random times, over all formats, and looks at what is left.

Besides, two runs at once write one target, and disks are full at every size. Most runs are forks
of this process, where everything is imported already; each tenth is a process of its own.
Exit code 1 if anything was lost or left.
"""

import argparse
import contextlib
import os
import random
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from models import CASES, FORMATS, Case, leftovers

import wproj
from wproj_cli.main import main

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDS = {0, 128 + signal.SIGINT, 128 + signal.SIGTERM, *(-number for number in SIGNALS)}
_HELD = {signal.SIGTERM, signal.SIGINT}
PATIENCE = 60  # Seconds until a run counts as hanging.


class Child:
    """A run of `wproj WORDS` in a folder: a fork of this process, or a process of its own."""

    def __init__(self, place, words, *, alone=False, room=None):
        self._errors, errors = os.pipe()
        self._begun = time.monotonic()
        self._process = None
        if alone:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(room), *words],
                cwd=place,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            self._pid = self._process.pid
        else:
            # A signal within fork() would send the child on with the parent's work.
            signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
            self._pid = os.fork()
            if not self._pid:
                self._run(place, words, errors, room)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        os.close(errors)

    def _run(self, place, words, errors, room):
        """What the fork does, and all that it does."""
        code = 70
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
            os.chdir(place)
            os.dup2(errors, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            # What they were before may have been files, in which Python would seek.
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 # until the fork ends
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 # until the fork ends
            limit(room)
            code = main(words)
        except SystemExit as stop:
            code = stop.code
        except KeyboardInterrupt:  # Before the program began, or after it ended.
            code = 128 + signal.SIGINT
        except BaseException:  # noqa: BLE001 # no fork goes on with the parent's work
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def kill(self, number):
        """Sends a signal."""
        os.kill(self._pid, number)

    def end(self):
        """The exit code, what was said, and the seconds that it took; None if it hangs."""
        deadline = time.monotonic() + PATIENCE
        code = None
        while code is None and time.monotonic() < deadline:
            code = self._poll()
            time.sleep(0.001)
        took = time.monotonic() - self._begun
        if code is None:
            self.kill(signal.SIGKILL)
            self._wait()
        with os.fdopen(self._errors, "rb") as errors:
            return code, errors.read().decode(), took

    def _poll(self):
        if self._process is not None:
            return self._process.poll()
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def _wait(self):
        if self._process is not None:
            self._process.wait()
        else:
            os.waitpid(self._pid, 0)


def limit(room):
    """Lets no file grow beyond a size, as a full disk would."""
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))


_PROGRAM = """
import resource, signal, sys
room = sys.argv.pop(1)
if room != "None":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), int(room)))
signal.signal(signal.SIGINT, signal.default_int_handler)
from wproj_cli.main import main
sys.exit(main())
"""


class Campaign:
    """Cases to do harm to, and what was found: problems by kind, and each of them in words."""

    def __init__(self, place, rng):
        self._rng = rng
        self.counts = Counter()
        self.problems = Counter()
        self.cases = {}
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        for number, (form, way) in enumerate(CASES):
            here = place / f"{number}"
            # Within this process, which has everything imported then.
            with contextlib.chdir(place):
                case = Case(here, form, way, lambda words, at=here: self._call(at, words), 1500)
            case.reset()
            self.cases[form, way] = case, Child(case.place, case.words).end()[2]

        for number in SIGNALS[1:]:
            signal.signal(number, handlers[number])

    def _call(self, place, words):
        with contextlib.chdir(place):
            return main(words)

    def report(self, kind, case, what):
        """A problem."""
        self.problems[kind] += 1
        print(f"{kind}: {case.form}, {case.way}: {what}", flush=True)

    def examine(self, case, what, *, tidy):
        """Looks at what a run has left, for drafts only if it had to tidy up."""
        for problem in case.problems():
            self.report(problem, case, what)
        left = leftovers(case.place)
        if tidy and left and case.way != "resume":
            self.report("leftover", case, f"{what}: {left}")

    def finish(self, case, what):
        """Runs once more, undisturbed: it has to come to its end, and to tidy up."""
        if case.way in ("new", "resume") and case.is_done():
            case.reset_target()
        code, said, _ = Child(case.place, case.words).end()
        if code != 0 or not case.is_done():
            self.report("not completed", case, f"{what}, then {code}: {said}")
        if left := leftovers(case.place):
            self.report("leftover", case, f"{what}, then {left}")

    def kill(self, form, way, number, *, alone):
        """One run that gets a signal at a random moment."""
        case, seconds = self.cases[form, way]
        case.reset()
        delay = self._rng.uniform(0, seconds * 1.1 + (0.4 if alone else 0))
        child = Child(case.place, case.words, alone=alone)
        time.sleep(delay)
        with contextlib.suppress(ProcessLookupError):
            child.kill(number)
        code, said, _ = child.end()
        what = f"{signal.Signals(number).name} after {1000 * delay:.0f} ms, exit code {code}"
        early = alone and code != 0 and "error: " not in said  # Python itself was still starting.
        if code not in ENDS and not early:
            self.report("odd end", case, f"{what}: {said}")
        if ("Traceback" in said or "internal fault" in said) and not early:
            self.report("odd end", case, f"{what}: {said}")
        self.counts[form, "killed" if code else "came first"] += 1
        self.examine(case, what, tidy=number != signal.SIGKILL and code != -number)
        self.finish(case, what)

    def race(self, form, way):
        """Two runs for one target at once."""
        case, seconds = self.cases[form, way]
        case.reset()
        first = Child(case.place, case.words)
        time.sleep(self._rng.uniform(0, seconds / 2))
        second = Child(case.place, case.words)
        ends = [first.end(), second.end()]
        codes = sorted(code for code, _, _ in ends)
        if codes[0] != 0 or codes[1] not in (0, 2, 3) or not case.is_done():
            self.report("odd end", case, f"two at once: {ends}")
        self.counts[form, "pairs"] += 1
        self.examine(case, f"two at once: {codes}", tidy=True)

    def fill(self, form, way, room, *, alone):
        """A run on a disk that has room for files of a size only."""
        case, _ = self.cases[form, way]
        case.reset()
        code, said, _ = Child(case.place, case.words, alone=alone, room=room).end()
        what = f"room for {room} bytes, exit code {code}"
        if code not in (0, 3) or (code and not said.startswith("error: ")):
            self.report("odd end", case, f"{what}: {said}")
        self.counts[form, "full disks"] += 1
        self.examine(case, what, tidy=True)


def largest(path):
    """The size of the largest file."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return max(each.stat().st_size for each in files)


def run(campaign, kills, rng):
    """Everything, format by format, in cases as even as their number allows."""
    steps = max(2, kills // 100)  # Of full disks, for each case.
    for form in FORMATS:
        ways = [way for each, way in CASES if each == form]
        share = kills * len(ways) // len(CASES) + (form == "folder") * kills % len(CASES)
        for number in range(share):
            way = ways[number % len(ways)]
            signum = SIGNALS[number // len(ways) % len(SIGNALS)]
            campaign.kill(form, way, signum, alone=number % 10 == 9)
        for way in ways:
            campaign.race(form, way)
            size = largest(campaign.cases[form, way][0].source)
            for step in range(steps):
                room = int(size * 1.3 * (step + rng.random()) / steps)
                campaign.fill(form, way, room, alone=step % 2 == 0)
        told = {what: count for (each, what), count in campaign.counts.items() if each == form}
        listed = ", ".join(f"{count} {what}" for what, count in told.items())
        print(f"{form}: {listed}", flush=True)


def parse():
    """The number of kills, and the seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    print(f"wproj {wproj.__version__}, seed {options.seed}", flush=True)
    rng = random.Random(options.seed)  # noqa: S311 # the same moments for the same seed
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), rng)
        run(campaign, options.kills, rng)
    found = campaign.problems
    done = sum(n for (_, what), n in campaign.counts.items() if what in ("killed", "came first"))
    print(
        f"faults: {done} kills, {found['original changed']} originals changed, "
        f"{found['broken target']} broken targets, {found['leftover']} leftovers"
        + "".join(f", {found[kind]} {kind}" for kind in ("not completed", "odd end") if found[kind])
    )
    sys.exit(bool(found))
