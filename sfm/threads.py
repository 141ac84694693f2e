"""One pool of threads for the life of the program: NumPy and OpenCV leave the interpreter lock while they work."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@cache
def _pool() -> ThreadPoolExecutor:
    """Kept: starting threads anew for every step would cost as much as the step."""
    return ThreadPoolExecutor(os.cpu_count())


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Map over the items in all threads, results in order. The function must not call `in_threads` itself."""
    return list(_pool().map(function, items))
