"""Tone mapping of HDR video to the range of an ordinary screen; without it the pictures look dull and grey."""

from __future__ import annotations

import subprocess

from parsing_rcnn_client.video.programs import tool

# white is 203 nits in HDR (ITU-R BT.2408); the curve mobius hardly changes what is darker
_TONES = (
    "zscale=t=linear:npl=203,format=gbrpf32le,tonemap=mobius:desat=0,zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p"
)


def filters(*, hdr: bool) -> str:
    """ffmpeg's filters that map HDR to the range of a screen, followed by a comma.

    Args:
        hdr: whether the source is HDR.

    Returns:
        "" if the source is not HDR, or this ffmpeg lacks the filters.
    """
    if not hdr:
        return ""
    done = subprocess.run([tool("ffmpeg"), "-hide_banner", "-filters"], capture_output=True, check=False)
    return f"{_TONES}," if b" zscale " in done.stdout and b" tonemap " in done.stdout else ""
