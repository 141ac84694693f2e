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


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Map over the items in all threads, results in order. Called from one of these threads it works by itself.

    >>> in_threads(lambda n: sum(in_threads(lambda k: k * k, range(n))), [2, 3])
    [1, 5]
    """
    if getattr(_here, "working", False):  # waiting for the pool from inside it could wait for ever
        return [function(item) for item in items]
    return list(_pool().map(function, items))
