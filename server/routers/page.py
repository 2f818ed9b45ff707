"""The page at `/` and the documentation at `/docs`, without any file from other hosts."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

_PAGE = Path(__file__).resolve().parent.parent / "page"


@router.get("/")
async def index() -> FileResponse:
    """The page that takes a photo and shows the people."""
    return FileResponse(_PAGE / "index.html", headers={"Cache-Control": "no-cache"})


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Swagger UI from the package fastapi-offline."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Parsing R-CNN Serving: API",
        swagger_js_url="/docs-assets/swagger-ui-bundle.js",
        swagger_css_url="/docs-assets/swagger-ui.css",
        swagger_favicon_url="/assets/icon.svg",
    )


class _Own(StaticFiles):
    """The page's own files. A browser must ask each time whether they have changed (by ETag, mostly answered by 304),
    or after an upgrade it would combine the new page with old scripts."""

    def file_response(self, *args: Any, **named: Any) -> Response:
        response = super().file_response(*args, **named)
        response.headers["Cache-Control"] = "no-cache"
        return response


def mount_assets(app: FastAPI) -> None:
    """Serve the page's own files and those of Swagger UI."""
    app.mount("/assets", _Own(directory=_PAGE), name="assets")
    app.mount("/docs-assets", StaticFiles(directory=str(files("fastapi_offline") / "static")), name="docs-assets")
