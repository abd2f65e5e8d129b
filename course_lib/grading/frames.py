"""The one form in which bytes pass between grader and worker: a JSON header and raw blobs, all lengths said first."""

import json
import struct
from collections.abc import Sequence
from typing import Any

LENGTH = struct.Struct("<Q")


def frame(header: dict[str, Any], blobs: Sequence[bytes]) -> bytes:
    """Header and blobs as bytes: the header's length, the header as JSON, the blobs one after the other."""
    text = json.dumps({**header, "sizes": [len(blob) for blob in blobs]}).encode()
    return b"".join([LENGTH.pack(len(text)), text, *blobs])


def unframe(content: bytes, largest_header: int) -> tuple[dict[str, Any], list[bytes]]:
    """The inverse of `frame`, for bytes from anybody. Raises ValueError for all that `frame` would not have written."""
    if len(content) < LENGTH.size:
        raise ValueError(f"content: got {len(content)} bytes, expected a frame")
    start = LENGTH.size + LENGTH.unpack_from(content)[0]
    if start > min(len(content), LENGTH.size + largest_header):
        raise ValueError(f"content: a header of {start - LENGTH.size} bytes in {len(content)}, expected at most {largest_header}")
    try:
        header = json.loads(content[LENGTH.size:start])
        sizes = header["sizes"]
        if any(type(size) is not int or size < 0 for size in sizes) or sum(sizes) != len(content) - start:
            raise ValueError("sizes")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"content: not written by frame ({type(error).__name__})") from None
    blobs = []
    for size in sizes:
        blobs.append(content[start:start + size])
        start += size
    return header, blobs
