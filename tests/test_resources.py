"""How many threads there are, what memory they may take, and what the options of both mean."""

import threading
import time
from itertools import count

import pytest

import wproj
from wproj import RequestError, Resources
from wproj.resources import MIN_MEMORY, working
from wproj_cli.options import parse_resources

SHARED = Resources(threads=3, memory=10**9)


# What is taken


@pytest.mark.parametrize("threads", [0, -1, -(2**70)])
def test_less_than_one_thread_is_refused(threads):
    """With what was given."""
    with pytest.raises(RequestError, match=f"at least one thread is needed, not {threads}"):
        Resources(threads=threads)


@pytest.mark.parametrize("memory", [MIN_MEMORY - 1, 0, -1])
def test_less_memory_than_the_minimum_is_refused(memory):
    """The hint names the minimum."""
    with pytest.raises(RequestError, match=f"{memory} bytes of memory are too few") as caught:
        Resources(memory=memory)
    assert caught.value.hint == "the minimum is 128MB"


@pytest.mark.parametrize("threads", [None, 1, 2, 1000, 2**70])
@pytest.mark.parametrize("memory", [MIN_MEMORY, 256_000_000, 1 << 30, 1 << 60])
def test_threads_and_what_they_leave_fit_into_the_memory(threads, memory):
    """One thread always works; the tiles of all, and four tensors besides, are within bounds."""
    found = Resources(threads, memory)

    assert 1 <= found.workers <= max(1, memory >> 23)
    assert found.workers <= (threads or 2**20)
    assert found.unpacked >= 0
    assert 5 * found.unpacked + (found.workers << 23) + (64 << 20) <= memory


def test_more_memory_never_means_fewer_threads():
    """Nor do more threads leave more for tensors."""
    memories = [Resources(1000, memory) for memory in range(MIN_MEMORY, 10**9, 10**7)]
    threads = [Resources(threads, 10**9) for threads in range(1, 60)]

    assert [r.workers for r in memories] == sorted(r.workers for r in memories)
    assert [r.unpacked for r in threads] == sorted((r.unpacked for r in threads), reverse=True)


def test_one_thread_for_each_processor_is_the_default(monkeypatch):
    """Of those that the process may use, where the system tells."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 2, 5}, raising=False)
    assert Resources(memory=1 << 40).workers == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert Resources(memory=1 << 40).workers == 7
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert Resources(memory=1 << 40).workers == 1


# How work is shared


def test_results_come_in_the_order_of_the_items():
    """However long each of them takes."""
    with working(SHARED) as each:
        found = each(lambda i: (time.sleep(0.002 * (i % 3)), i)[1], range(30))

        assert list(found) == list(range(30))


def test_the_work_is_shared():
    """Three threads wait for each other: fewer would wait in vain."""
    meeting = threading.Barrier(3, timeout=10)
    with working(SHARED) as each:
        assert len(set(each(lambda _i: meeting.wait() + 3 * threading.get_ident(), range(6)))) > 2


@pytest.mark.parametrize("threads", [1, 3])
def test_items_are_not_taken_long_before_their_results(threads):
    """Of an endless run of items, only some more than what was asked for are begun."""
    taken = []
    items = (taken.append(i) or i for i in count())
    with working(Resources(threads, 10**9)) as each:
        found = each(lambda i: i, items)
        results = [next(found) for _ in range(20)]
        found_until = len(taken)

    assert results == list(range(20))
    assert found_until <= 20 + 2 * 3 + 2


@pytest.mark.parametrize("items", [0, 1, 2, 9])
def test_a_failure_comes_through_and_ends_the_work(items):
    """As soon as its turn comes; what had not begun never begins."""
    begun = []

    def fail(i):
        begun.append(i)
        if i == 0:
            raise LookupError("stop")
        time.sleep(0.01)

    with working(SHARED) as each:
        found = each(fail, range(1000 if items == 9 else items))
        if not items:
            assert list(found) == []
            return
        with pytest.raises(LookupError, match="stop"):
            list(found)

    assert len(begun) <= 20


def test_the_threads_have_ended_when_the_work_has():
    """Nobody writes to a file that has its name already."""
    before = set(threading.enumerate())
    with working(SHARED) as each:
        found = each(lambda i: time.sleep(0.01) or i, range(100))
        next(found)

    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_iteration_that_is_given_up_does_not_hang(failure):
    """Ctrl-C in the middle of the work, for example."""
    before = time.monotonic()

    def stop():
        with working(SHARED) as each:
            for i in each(lambda i: time.sleep(0.005) or i, range(100_000)):
                if i == 10:
                    raise failure

    with pytest.raises(failure):
        stop()

    assert time.monotonic() - before < 5


# What the options mean


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("256MB", 256_000_000),
        ("256mb", 256_000_000),
        (" 256 MB ", 256_000_000),
        ("128MB", 128_000_000),
        ("1GiB", 1 << 30),
        ("1gib", 1 << 30),
        ("1G", 1 << 30),
        ("1g", 1 << 30),
        ("1GB", 10**9),
        ("0.5g", 1 << 29),
        ("0.5GiB", 1 << 29),
        ("1.25GB", 1_250_000_000),
        ("200M", 200 << 20),
        ("200MiB", 200 << 20),
        ("400000KB", 400_000_000),
        ("400000K", 400_000 << 10),
        ("400000KiB", 400_000 << 10),
        ("300000000", 300_000_000),
        ("300000000B", 300_000_000),
        ("999999999999999GiB", 999_999_999_999_999 << 30),
    ],
)
def test_a_size_may_have_any_usual_unit(text, memory):
    """`MB` is a million bytes, `MiB` and `M` are 2**20, whatever the case."""
    assert parse_resources(None, text).memory == pytest.approx(memory, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "much",
        "MB",
        "1XB",
        "-1GB",
        "+1GB",
        "1e9",
        "1,5GB",
        ".5GB",
        "1.GB",
        "1..5GB",
        "0x100MB",
        "1 G B",
        "1GBs",
        "1TB",
        "256MB 1",
        "nan",
        "inf",
        "9" * 400,
        "1GB\n2",
    ],
)
def test_what_is_no_size_is_refused(text):
    """With what was given, and what would do."""
    with pytest.raises(RequestError, match="--memory takes a size like 256MB or 1GiB, not"):
        parse_resources(None, text)


@pytest.mark.parametrize("text", ["0", "0MB", "1", "127MB", "127999999", "0.1GB", "122MiB", "1KB"])
def test_a_size_below_the_minimum_names_the_minimum(text):
    """Nobody has to guess what would be enough."""
    with pytest.raises(RequestError, match="are too few") as caught:
        parse_resources(None, text)
    assert "128MB" in caught.value.hint


def test_the_names_are_public():
    """A library that offers the option has to offer its value."""
    assert wproj.Resources() == Resources(None, 256_000_000)
    assert parse_resources(None, "256MB") == wproj.Resources()
