"""Work shared out: in order, and nobody at work any more when the one who asked has gone."""

import os
import threading
from time import sleep

import pytest

from sfm.threads import each_in_threads, in_threads

ITEMS = range(20 * (os.cpu_count() or 1))


def test_results_come_in_order():
    assert in_threads(lambda k: (sleep(0.01 * (k % 3)), k)[1], range(20)) == list(range(20))


@pytest.mark.parametrize("stop", ["raises", "leaves"])
def test_whoever_stops_waits_for_what_is_at_work(stop):
    begun, done = [], []
    wrong = threading.Event()

    def work(k):
        if k == 0 and stop == "raises":
            wrong.wait(1)
            raise ValueError
        begun.append(k)
        wrong.set()
        sleep(0.05)
        done.append(k)

    if stop == "raises" and os.cpu_count() == 1:
        pytest.skip("one thread is at nothing else while it raises")
    if stop == "raises":
        with pytest.raises(ValueError):
            in_threads(work, ITEMS)
    else:
        results = each_in_threads(work, ITEMS)
        next(results)
        results.close()
    at_end = len(begun)
    assert 0 < at_end < len(ITEMS) and sorted(begun) == sorted(done)
    sleep(0.15)
    assert len(begun) == at_end
