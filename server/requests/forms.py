"""Reads multipart forms, and refuses those that end early, of which the last part would be lost silently."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from server.errors import MalformedRequest

_FIELDS = 32  # fields of a form that are read: enough to name in an error those that were meant as options
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


async def read_form(request: Request, files: int) -> FormData:
    """Read the parts of a form; the caller closes it.

    Args:
        request: of the type multipart/form-data.
        files: how many files it may have.

    Raises:
        MalformedRequest: it is not a form, has too many parts, is in another charset than UTF-8, or does not end.
    """
    _refuse_charset(request)
    try:
        return await _WholeForm(request, files).parse()
    except MultiPartException as error:
        raise MalformedRequest(
            f"the form cannot be read: {error.message}; it may have {files} part(s) `file` with `filename=` "
            "and one `options`"
        ) from None


def _refuse_charset(request: Request) -> None:
    """Refuse charsets other than UTF-8: the form reader would use any Python codec of that name, and some cannot decode
    names at all, or yield text that cannot be put into an answer."""
    _, parameters = parse_options_header(request.headers.get("content-type"))
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in _CHARSETS:
        raise MalformedRequest(f"the form's charset is {charset[:40]!r}: send names in UTF-8, and leave charset out")


class _WholeForm(MultiPartParser):
    """A form reader that requires the last boundary. Starlette's reader drops a part that does not end."""

    spool_max_size = 0  # files stay in memory, where they are counted: the disk may be full, and holds no photo

    def __init__(self, request: Request, files: int) -> None:
        super().__init__(request.headers, self._pieces(request), max_files=files, max_fields=_FIELDS)
        self._ended = False

    async def _pieces(self, request: Request) -> AsyncGenerator[bytes, None]:
        async for piece in request.stream():
            yield piece
        if not self._ended:  # here and not after `parse`, which closes the files when the body raises
            raise MalformedRequest("the form ends before its last boundary, `--BOUNDARY--`: send it whole")

    def on_end(self) -> None:
        self._ended = True
