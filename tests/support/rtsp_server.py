"""A camera that speaks RTSP, by GStreamer's server: run by the system's Python, which has it.

    /usr/bin/python3 tests/support/rtsp_server.py PORT ENCODER [USER PASSWORD]

It needs Debian's `gir1.2-gst-rtsp-server-1.0`, `python3-gi`, `gstreamer1.0-plugins-good` and
`-ugly`. It prints the port on which it listens at /live on the loopback address, and ends with its
standard input. A line "freeze" there stops the pictures while the connection stays, "go on" lets
them go on.
"""

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

ENCODERS = {
    "h264": "x264enc tune=zerolatency key-int-max=15 ! rtph264pay name=pay0 config-interval=1",
    "mjpeg": "jpegenc ! rtpjpegpay name=pay0",
}
SOURCE = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1 "
    "! valve name=valve ! videoconvert ! video/x-raw,format=I420 ! "
)


def main(port: str, encoder: str, user: str = "", password: str = "") -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {SOURCE}{ENCODERS[encoder]} )")
    factory.set_shared(True)
    valves = []
    factory.connect(
        "media-configure",
        lambda _, media: valves.append(media.get_element().get_by_name_recurse_up("valve")),
    )
    if user:
        auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
        token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        rights = GstRtspServer.RTSPPermissions()
        rights.add_permission_for_role("viewer", "media.factory.access", True)
        rights.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(rights)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    loop = GLib.MainLoop()

    def obey() -> None:
        for line in sys.stdin:
            for valve in valves:
                valve.set_property("drop", line.strip() == "freeze")
        loop.quit()

    threading.Thread(target=obey, daemon=True).start()
    print(server.get_bound_port(), flush=True)
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
