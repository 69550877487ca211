"""Asks the operating system for the registers of AMX, which it gives to a process only on request.

Without them an instruction of AMX ends the process. Imports nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import functools
import platform

_SYSTEM, _PROCESSOR = "Linux", "x86_64"
_ARCH_PRCTL = 158  # the number of the call on x86-64
_REQUEST, _GRANTED, _TILE_DATA = 0x1023, 0x1022, 18  # ARCH_REQ_XCOMP_PERM, ARCH_GET_XCOMP_PERM, the tiles' state


@functools.cache
def is_granted() -> bool:
    """Whether all threads of this process may use AMX from now on; the system is asked at the first call."""
    if (platform.system(), platform.machine()) != (_SYSTEM, _PROCESSOR):
        return False
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.argtypes, call.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p], ctypes.c_long
    if call(_ARCH_PRCTL, _REQUEST, ctypes.c_void_p(_TILE_DATA)) != 0:
        return False
    given = ctypes.c_uint64()
    known = call(_ARCH_PRCTL, _GRANTED, ctypes.addressof(given)) == 0
    return known and bool(given.value >> _TILE_DATA & 1)
