"""GStreamer's RTSP server over a folder of PNG pictures, for ``/usr/bin/python3`` (Debian's gi).

``rtsp_gst_server.py FOLDER PORT FPS WIDTH HEIGHT`` prints ``port N`` when it serves
``rtsp://127.0.0.1:N/live``; a line ``size WIDTH HEIGHT`` on stdin changes the pictures' size
in-band, the end of stdin ends it.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    folder, port, fps, width, height = sys.argv[1], *map(int, sys.argv[2:6])
    Gst.init(None)
    caps = "video/x-raw,width={},height={}"
    medias: list[Any] = []
    size = [caps.format(width, height)]
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_shared(True)
    factory.set_launch(
        f"( multifilesrc location={folder}/%04d.png loop=true caps=image/png,framerate={fps}/1 "
        "! pngdec ! videoconvert ! videoscale ! capsfilter name=size "
        f"! identity sync=true ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} "
        "threads=1 ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
    )

    def made(_: Any, media: Any) -> None:
        bin_ = media.get_element()
        bin_.get_by_name("size").set_property("caps", Gst.Caps.from_string(size[0]))
        medias[:] = [media]

    factory.connect("media-configure", made)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    server.get_mount_points().add_factory("/live", factory)
    loop = GLib.MainLoop()

    def resize(wanted: str) -> bool:
        size[0] = wanted
        for media in medias:
            filter_ = media.get_element().get_by_name("size")
            filter_.set_property("caps", Gst.Caps.from_string(wanted))
        return False

    def listen() -> None:
        for line in sys.stdin:
            words = line.split()
            if len(words) == 3 and words[0] == "size":
                GLib.idle_add(resize, caps.format(int(words[1]), int(words[2])))
        GLib.idle_add(loop.quit)

    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print(f"port {server.get_bound_port()}", flush=True)
    threading.Thread(target=listen, daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()
