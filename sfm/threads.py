"""One pool of threads for the life of the program: NumPy and OpenCV leave the interpreter lock while they work."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import cache
from itertools import chain, islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # items of each thread at work or waiting to be taken: enough that none of them stands still

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

    >>> in_threads(lambda n: sum(in_threads(lambda k: k * k, range(n))), [2, 3])
    [1, 5]
    """
    return list(each_in_threads(function, items))


def each_in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`in_threads`, one result after the other: no more than a few wait to be taken, however large they are."""
    source = iter(items)
    first = list(islice(source, 2))
    items = chain(first, source)
    # waiting for the pool from inside it could wait for ever, and to hand over one item costs more than most take
    if getattr(_here, "working", False) or len(first) < 2:
        yield from map(function, items)
        return
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(_pool().submit(function, item))
            if len(waiting) >= _AHEAD * (os.cpu_count() or 1):
                yield _oldest(waiting)
        while waiting:
            yield _oldest(waiting)
    finally:  # whoever is interrupted may take away what the others still work on
        wait([each for each in waiting if not each.cancel()])


def _oldest(waiting: deque[Future[R]]) -> R:
    """Its result; it stays among those that are waited for until it is there."""
    waiting[0].exception()
    return waiting.popleft().result()


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items; while one is looked at, another thread fetches the next.

    >>> list(one_ahead(range(3)))
    [0, 1, 2]
    """
    source, end = iter(items), object()
    waiting = _pool().submit(next, source, end)
    try:
        while (item := waiting.result()) is not end:
            waiting = _pool().submit(next, source, end)
            yield item  # pyright: ignore[reportReturnType]
    finally:
        wait([waiting])  # whoever stops early may close what the items come from


def one_blas_thread() -> AbstractContextManager:
    """NumPy's and SciPy's BLAS held to one thread, process-wide: for work that is small, or shared out already.

    Limit: solves and trackings that overlap in a caller's own threads may leave BLAS there.
    """
    return _blas().limit(limits=1, user_api="blas")


@cache
def _blas():
    """Found once: to look through all libraries of the process takes milliseconds, as long as a small solve's step."""
    import scipy.linalg  # noqa: F401  (its BLAS has to be there to be found)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
