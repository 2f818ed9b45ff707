"""HDR as an ordinary picture: without it, it looks dull and grey."""

from __future__ import annotations

import subprocess

from parsing_rcnn_client.video.programs import tool

# white is 203 nits there (ITU-R BT.2408); the curve leaves what is darker nearly as it is
_TONES = (
    "zscale=t=linear:npl=203,format=gbrpf32le,tonemap=mobius:desat=0,zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p"
)


def filters(*, hdr: bool) -> str:
    """ffmpeg's filters that bring HDR to the range of a screen, with a comma behind; none where it lacks them."""
    if not hdr:
        return ""
    done = subprocess.run([tool("ffmpeg"), "-hide_banner", "-filters"], capture_output=True, check=False)
    return f"{_TONES}," if b" zscale " in done.stdout and b" tonemap " in done.stdout else ""
