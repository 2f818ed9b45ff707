"""Forms, whole ones: a reader that takes the parts it got for all of them would lose the last without a word."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from server.responses.problems import MalformedRequest

_FIELDS = 32  # of a form that are looked at: enough to name whatever was meant as an option
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


async def read_form(request: Request, files: int) -> FormData:
    """The parts of a form, which the caller closes.

    Args:
        request: of the type multipart/form-data.
        files: that it may have.

    Raises:
        MalformedRequest: it is no form, has more parts, names in another charset than UTF-8, or does not end.
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
    """Refuse names in anything but UTF-8: the form's reader hands them to whatever codec of Python's is named, and some
    cannot decode at all, or make text that no answer could repeat."""
    _, parameters = parse_options_header(request.headers.get("content-type"))
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in _CHARSETS:
        raise MalformedRequest(f"the form's charset is {charset[:40]!r}: send names in UTF-8, and leave charset out")


class _WholeForm(MultiPartParser):
    """A form that must have its last boundary: Starlette's reader leaves out a part that does not end."""

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
