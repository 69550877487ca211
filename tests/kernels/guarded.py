"""Memory behind whose end nothing can be read or written: whoever tries ends the process."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from typing import Any

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

_LIBC = ctypes.CDLL(None)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_LINE = 64  # bytes, to which scratch memory is aligned


def before_a_forbidden_page(array: Array) -> Array:
    """A copy, behind whose end nothing can be read."""
    pages = -(-array.nbytes // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    view = np.frombuffer(memory, np.uint8)
    assert _LIBC.mprotect(view.ctypes.data + pages * mmap.PAGESIZE, mmap.PAGESIZE, 0) == 0
    start = pages * mmap.PAGESIZE - array.nbytes
    copy = view[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def guard_scratch(path: str) -> None:
    """Lets the kernels of a library that is loaded get their scratch memory before forbidden pages."""
    library = ctypes.CDLL(path)
    for name, function in (("__TVMBackendAllocWorkspace", _allocate), ("__TVMBackendFreeWorkspace", _free)):
        with contextlib.suppress(ValueError):  # of kernels that need none
            ctypes.c_void_p.in_dll(library, name).value = ctypes.cast(function, ctypes.c_void_p).value


_sizes: dict[int, int] = {}  # of what is allocated, in bytes, with the forbidden page, by where it begins


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int)
def _allocate(kind: int, device: int, size: int, code: int, bits: int) -> int:
    used = -(-size // _LINE) * _LINE
    total = (-(-used // mmap.PAGESIZE) + 1) * mmap.PAGESIZE
    start = _LIBC.mmap(None, total, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    end = start + total - mmap.PAGESIZE
    _LIBC.mprotect(end, mmap.PAGESIZE, 0)
    _sizes[start] = total
    ctypes.memset(end - used, 0xFF, used)  # NaN in float32 and bfloat16
    return int(end - used)


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
def _free(kind: int, device: int, place: int) -> int:
    start = max(start for start in list(_sizes) if start <= place)
    return int(_LIBC.munmap(start, _sizes.pop(start)))
