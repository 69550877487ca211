"""What a loop nest needs to know of the machine, whatever its instruction set."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.backends.target import Target


@dataclass(frozen=True, slots=True)
class Tile:
    """`lanes` float32 elements in a vector, `registers` vectors in a core, `cores` to share the work."""

    lanes: int = 16
    registers: int = 32
    cores: int = 2

    @classmethod
    def of(cls, target: Target) -> Tile:
        """The tile parameters of a processor."""
        return cls(target.lanes(32), target.vector_registers, target.cores)
