"""Chunked containers (WAV, RF64, AIFF, CAF) whose sample data may be shorter than their header says.

libsndfile reads such files without a word, up to where they end, so the check is made here.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .problems import reading, truncated

STREAMED = frozenset({0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, -1})
"""Data sizes that writers leave when they could not seek back to fill in the true one (pipes, live recorders)."""


@dataclass(frozen=True)
class _Layout:
    """How chunks are laid out: bytes before the first one, the format of (id, size), and the chunk with the samples."""

    first: int
    head: str
    data: bytes
    even: bool = True


_LAYOUTS = {
    b"RIFF": _Layout(12, "<4sI", b"data"),
    b"RF64": _Layout(12, "<4sI", b"data"),
    b"RIFX": _Layout(12, ">4sI", b"data"),
    b"FORM": _Layout(12, ">4sI", b"SSND"),
    b"caff": _Layout(8, ">4sq", b"data", even=False),
}


@dataclass(frozen=True)
class DataChunk:
    """Where the samples lie: bytes declared by the header and bytes present until the end of the file."""

    declared_bytes: int
    present_bytes: int

    @property
    def streamed(self) -> bool:
        """True if the header gives no usable size, so that the samples run to the end of the file."""
        return self.declared_bytes in STREAMED and self.present_bytes > 0


def data_chunk(path: Path) -> DataChunk | None:
    """Return the chunk with the samples, or None for other formats and for headers without one.

    Raises `AudioError` if the file is missing, unreadable or shorter than its header says.
    """
    with reading(path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        layout = _LAYOUTS.get(file.read(4))
        chunk = _find(file, layout, size) if layout else None
    if chunk and chunk.declared_bytes not in STREAMED and chunk.declared_bytes > chunk.present_bytes + 1:
        raise truncated(path, f"{chunk.declared_bytes} bytes of samples", f"{chunk.present_bytes}")
    return chunk


def _find(file: BinaryIO, layout: _Layout, size: int) -> DataChunk | None:
    head_bytes = struct.calcsize(layout.head)
    position, long_size = layout.first, None
    while position + head_bytes <= size:
        file.seek(position)
        head = file.read(head_bytes)
        if len(head) < head_bytes:  # the file became shorter meanwhile
            return None
        name, declared = struct.unpack(layout.head, head)
        position += head_bytes
        if name == b"ds64":  # EBU Tech 3306: RIFF size, then data size, 64 bits each
            sizes = file.read(16)
            if len(sizes) < 16:
                return None
            long_size = struct.unpack("<Q", sizes[8:])[0]
        if name == layout.data:
            return DataChunk(long_size if long_size and declared in STREAMED else declared, size - position)
        position += declared + (declared % 2 if layout.even else 0)
        if declared < 0:
            return None
    return None
