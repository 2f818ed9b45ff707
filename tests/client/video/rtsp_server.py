"""An RTSP camera for the tests, for the system's Python, which has GStreamer: `rtsp_server.py PORT VIDEO.mkv`.

VIDEO holds H.264; it is at rtsp://127.0.0.1:PORT/video and plays from its beginning when the first one comes.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - after require_version


def main(port: str, video: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    pipeline = f'filesrc location="{video}" ! matroskademux ! h264parse ! rtph264pay config-interval=-1 name=pay0'
    factory.set_launch(f"( {pipeline} )")
    factory.set_shared(True)
    server.get_mount_points().add_factory("/video", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {port} is taken")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
