"""Files and folders that appear whole or not at all: written under a temporary name beside the target, then renamed."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sfm.errors import InputError

SAMPLE = 64 * 1024  # bytes at either end of a file that tell it from others


@contextmanager
def replacing(target: str | Path) -> Iterator[Path]:
    """Yield the temporary path to write a file or folder to; it takes the target's place when the block ends well.

    What stood at the target stays untouched until the new one is complete, and for good when the block raises.
    Missing parent folders are made. Raises `InputError` when the place cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, replacing(f"{folder}/greeting.txt") as path:
    ...     _ = path.write_text("hello")
    """
    target = Path(target)
    # of its own name: two runs may write the same place, and the last one counts
    own = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.with_name(f"{target.name}.{own}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _swap(temporary, target)
    except OSError as error:
        with suppress(OSError):
            _remove(temporary)
        reason = error.strerror or error
        raise InputError(f"{target}: cannot be written ({reason}); choose another output place") from error
    except BaseException:
        with suppress(OSError):
            _remove(temporary)
        raise


def fingerprint(path: str | Path) -> str:
    """What tells a file from others of its name without reading all of it: its size, first and last 64 KiB, as SHA-256.

    Raises `InputError` when it cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            digest = hashlib.sha256(f"{size}:".encode() + stream.read(SAMPLE))
            stream.seek(max(size - SAMPLE, 0))
            digest.update(stream.read(SAMPLE))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def _swap(temporary: Path, target: Path) -> None:
    """Rename over a file; a folder that holds files cannot be renamed over, so it steps aside first."""
    if not target.is_dir():
        temporary.replace(target)
        return
    aside = target.with_name(f"{temporary.name}.old")
    target.rename(aside)
    try:
        temporary.rename(target)
    except OSError:
        aside.rename(target)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    """Delete a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
