"""What is done to the pictures of a source before anything else, so that they look as on an ordinary screen."""

from __future__ import annotations

import subprocess

from parsing_rcnn_client.video.media import VideoInfo
from parsing_rcnn_client.video.programs import tool

_ORDINARY = "zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p"
# white is 203 nits in HDR (ITU-R BT.2408); the curve mobius hardly changes what is darker
_TONES = f"zscale=t=linear:npl=203,format=gbrpf32le,tonemap=mobius:desat=0,{_ORDINARY}"
WHOLE = "bwdif=mode=send_frame:deint=interlaced"
"""The filter that makes whole pictures of interlaced ones, and leaves others as they are."""


def whole(info: VideoInfo) -> str:
    """ffmpeg's filters that make whole pictures of interlaced ones, followed by a comma; "" if they are whole.

    The combs at the edges of what moves would be taken for edges of people, and be hard to encode.
    """
    return f"{WHOLE}," if info.interlaced else ""


def filters(info: VideoInfo) -> str:
    """ffmpeg's filters that map HDR to the range of a screen, and wide colours to those of BT.709, followed by a comma.
    Without them the pictures look dull and grey.

    Returns:
        "" if the source needs none, or this ffmpeg lacks them.
    """
    if not info.hdr and not info.wide:
        return ""
    done = subprocess.run([tool("ffmpeg"), "-hide_banner", "-filters"], capture_output=True, check=False)
    if b" zscale " not in done.stdout or (info.hdr and b" tonemap " not in done.stdout):
        return ""
    return f"{_TONES if info.hdr else _ORDINARY},"
