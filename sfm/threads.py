"""One pool of threads for the life of the program: NumPy and OpenCV leave the interpreter lock while they work."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_here = threading.local()  # .working is set in threads of the pool


@cache
def _pool() -> ThreadPoolExecutor:
    """Kept: starting threads anew for every step would cost as much as the step."""
    return ThreadPoolExecutor(os.cpu_count(), initializer=lambda: setattr(_here, "working", True))


def _forget_threads() -> None:
    """A forked child has none of its parent's threads, and would wait for them for ever."""
    _pool.cache_clear()
    _here.working = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Map over the items in all threads, results in order. Called from one of these threads it works by itself.

    Limit: solves held to one BLAS thread that overlap in a caller's own threads may leave BLAS there.

    >>> in_threads(lambda n: sum(in_threads(lambda k: k * k, range(n))), [2, 3])
    [1, 5]
    """
    if getattr(_here, "working", False):  # waiting for the pool from inside it could wait for ever
        return [function(item) for item in items]
    return list(_pool().map(function, items))
