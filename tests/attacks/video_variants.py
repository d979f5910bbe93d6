"""Odd and damaged videos, made from real ones: every kind by name, the same bytes for a seed.

A *kind* says what is done to a clip and how a run over the result may end: a sound file must be
``ok``, a damaged one may be anything but a crash. :func:`make_variants` walks the kinds round
robin over the clips. Kinds whose encoder this FFmpeg lacks are left out and named.

Not covered: network streams, encrypted files, sizes beyond what a test machine encodes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["ANY", "ERROR", "OK", "Clip", "Kind", "Variant", "encode", "load_clip", "make_variants"]

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints a page for every file otherwise
Image = NDArray[np.uint8]
OK, ERROR = frozenset({"ok"}), frozenset({"error"})
ANY = frozenset({"ok", "partial", "error"})


@dataclass(frozen=True)
class Clip:
    """The first pictures of a clip, small, and the whole file as it is."""

    path: Path
    pictures: tuple[Image, ...]

    def sized(self, width: int, height: int) -> list[Image]:
        """The pictures at another size."""
        how = cv2.INTER_AREA
        return [np.asarray(cv2.resize(p, (width, height), interpolation=how), np.uint8)
                for p in self.pictures]  # fmt: skip


Make = Callable[[Clip, Path, np.random.Generator], Path]


@dataclass(frozen=True)
class Kind:
    """One way to make a clip odd.

    ``make(clip, stem, rng)`` writes a file whose name begins with ``stem`` and returns its
    path. ``may`` holds the statuses that a run over it may end with, ``whole`` whether every
    picture of the clip must come out.
    """

    name: str
    group: str
    make: Make
    may: frozenset[str] = ANY
    whole: bool = False


@dataclass(frozen=True)
class Variant:
    """A file made by a kind from a clip."""

    kind: Kind
    path: Path
    frames: int | None  # how many must come out, where that is known


def load_clip(path: Path, frames: int, long_side: int = 320) -> Clip:
    """Read the first frames, scaled to even sides of at most ``long_side``."""
    pictures: list[Image] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            scale = min(1.0, long_side / max(frame.width, frame.height))
            size = tuple(max(2, 2 * round(s * scale / 2)) for s in (frame.width, frame.height))
            image = frame.to_ndarray(format="rgb24")
            pictures.append(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)))
            if len(pictures) == frames:
                break
    return Clip(path, tuple(pictures))


def make_variants(
    folder: Path,
    clips: Sequence[Clip],
    kinds: Sequence[Kind],
    count: int | None = None,
    seed: int = 0,
    left_out: list[str] | None = None,
) -> Iterator[Variant]:
    """Write ``count`` variants (None: one per kind), kind after kind, clip after clip."""
    folder.mkdir(parents=True, exist_ok=True)
    missing: set[str] = set()
    for number in range(10 * (count or len(kinds))):
        turn, place = divmod(number, len(kinds))
        kind, clip = kinds[place], clips[(turn + place) % len(clips)]
        if (count is None and turn) or count == 0:
            return
        if kind.name in missing:
            continue
        stem = folder / f"{number:03d}-{kind.name}-{clip.path.stem}"
        try:
            path = kind.make(clip, stem, np.random.default_rng([seed, number]))
        except (av.error.FFmpegError, ValueError) as error:
            missing.add(kind.name)
            if left_out is not None:
                left_out.append(f"{kind.name}: {error}")
            continue
        count = None if count is None else count - 1
        yield Variant(kind, path, len(clip.pictures) if kind.whole else None)


def encode(
    path: Path,
    pictures: Sequence[Image],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    *,
    rate: Fraction | int = 10,
    times_s: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    form: str | None = None,
    rotation: int | None = None,
    aspect: Fraction | None = None,
    title: str | None = None,
) -> Path:
    """Encode pictures with one thread, so that equal input gives equal bytes."""
    exact = {"fflags": "+bitexact", **(muxer or {})}  # no random ids in the file
    with av.open(str(path), "w", format=form, options=exact) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        if options:
            stream.options = options
        if title is not None:
            container.metadata["title"] = title
        if times_s is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for place, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            if times_s is not None:
                frame.pts, frame.time_base = round(times_s[place] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def plain(
    suffix: str,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] | None = None,
    *,
    repeat: int = 1,
    **how: Any,
) -> Make:
    """A recipe that only encodes: another container, codec, pixel format or size."""

    def make(clip: Clip, stem: Path, rng: np.random.Generator) -> Path:
        pictures = clip.sized(*size) if size else list(clip.pictures)
        return encode(stem.with_suffix(suffix), pictures * repeat, codec, pix_fmt, **how)

    return make


def timed(suffix: str, times: Callable[[int], float], codec: str = "libx264") -> Make:
    """A recipe with times of its own, in seconds by frame number."""

    def make(clip: Clip, stem: Path, rng: np.random.Generator) -> Path:
        times_s = [times(n) for n in range(len(clip.pictures))]
        how = {"bf": "0"} if codec == "libx264" else {}
        path = stem.with_suffix(suffix)
        return encode(path, clip.pictures, codec, times_s=times_s, options=how)

    return make


def _large(clip: Clip, stem: Path, rng: np.random.Generator) -> Path:
    pictures = clip.sized(3840, 2160)[:2]
    return encode(stem.with_suffix(".mp4"), pictures, options={"preset": "ultrafast"})


def _one_frame(clip: Clip, stem: Path, rng: np.random.Generator) -> Path:
    return encode(stem.with_suffix(".mp4"), clip.pictures[:1])


def _size_changes(codec: str, suffix: str, form: str) -> Make:
    """Two elementary streams of different sizes, one behind the other."""

    def make(clip: Clip, stem: Path, rng: np.random.Generator) -> Path:
        path = stem.with_suffix(suffix)
        half = max(1, len(clip.pictures) // 2)
        parts = [clip.pictures[:half], clip.sized(96, 160)[half:]]
        data = b""
        for part in parts:
            data += encode(path, part, codec, form=form, **(
                {"pix_fmt": "yuvj420p"} if codec == "mjpeg" else {})).read_bytes()  # fmt: skip
        path.write_bytes(data)
        return path

    return make


def _codec_changes(clip: Clip, stem: Path, rng: np.random.Generator) -> Path:
    path = stem.with_suffix(".ts")
    data = encode(path, clip.pictures, "mpeg2video", rate=25, form="mpegts").read_bytes()
    data += encode(path, clip.pictures, "libx264", rate=25, form="mpegts").read_bytes()
    path.write_bytes(data)
    return path


def _two_streams(clip: Clip, stem: Path, rng: np.random.Generator) -> Path:
    """A small picture stream first, then the real one, then sound."""
    path = stem.with_suffix(".mkv")
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for pictures in (clip.sized(32, 32), list(clip.pictures)):
            stream: Any = container.add_stream("libx264", rate=10)
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            streams.append((stream, pictures))
        for n in range(len(clip.pictures)):
            for stream, pictures in streams:
                frame = av.VideoFrame.from_ndarray(pictures[n], format="rgb24")
                container.mux(stream.encode(frame))
        for stream, _ in streams:
            container.mux(stream.encode())
    return path


def _still(extension: str, deep: bool = False, alpha: bool = False) -> Make:
    def make(clip: Clip, stem: Path, rng: np.random.Generator) -> Path:
        picture: NDArray[Any] = clip.pictures[0][:, :, ::-1]
        if deep:
            picture = picture.astype(np.uint16) * 257
        if alpha:
            picture = np.dstack([picture, np.full(picture.shape[:2], 90, picture.dtype)])
        path = stem.with_suffix(extension)
        if not cv2.imwrite(str(path), picture):
            raise ValueError(f"no encoder for {extension}")
        return path

    return make


def _renamed(suffix: str) -> Make:
    """A sound MP4 under another name."""

    def make(clip: Clip, stem: Path, rng: np.random.Generator) -> Path:
        made = encode(stem.with_suffix(".mp4"), clip.pictures)
        return made.rename(stem.with_name(stem.name + suffix))

    return make


def _kinds(group: str, makers: dict[str, Make], may: frozenset[str], whole: bool) -> list[Kind]:
    return [Kind(name, group, make, may, whole) for name, make in makers.items()]


_INTERLACED = {"x264-params": "tff=1:interlaced=1", "flags": "+ildct+ilme"}

SIZES: dict[str, Make] = {
    "1x1": plain(".mkv", "ffv1", "bgr0", (1, 1)),
    "2x2": plain(".mp4", size=(2, 2)),
    "3x5": plain(".mkv", "ffv1", "yuv444p", (3, 5)),
    "odd-h264": plain(".mp4", pix_fmt="yuv444p", size=(161, 91)),
    "odd-vp9": plain(".webm", "libvpx-vp9", size=(133, 77), options={"cpu-used": "8"}),
    "wide": plain(".mp4", size=(2048, 16)),
    "tall": plain(".mp4", size=(16, 2048)),
    "line": plain(".mkv", "ffv1", "yuv444p", (512, 1)),
    "square-pixels-not": plain(".mp4", aspect=Fraction(4, 3)),
    "pixels-1:50": plain(".mp4", aspect=Fraction(1, 50)),
}
FORMATS: dict[str, Make] = {
    "10-bit-h264": plain(".mp4", pix_fmt="yuv420p10le"),
    "10-bit-hevc": plain(".mp4", "libx265", "yuv420p10le", options={"x265-params": "log-level=0"}),
    "12-bit-hevc": plain(".mp4", "libx265", "yuv422p12le", options={"x265-params": "log-level=0"}),
    "4:2:2": plain(".mp4", pix_fmt="yuv422p"),
    "4:4:4": plain(".mp4", pix_fmt="yuv444p"),
    "4:2:2-10-bit": plain(".mp4", pix_fmt="yuv422p10le"),
    "grey": plain(".mp4", pix_fmt="gray"),
    "grey-16-bit": plain(".mkv", "ffv1", "gray16le"),
    "rgb-planar": plain(".mkv", "ffv1", "gbrp10le"),
    "full-range": plain(".mp4", pix_fmt="yuvj420p"),
    "alpha-vp9": plain(".webm", "libvpx-vp9", "yuva420p", options={"cpu-used": "8"}),
    "alpha-qtrle": plain(".mov", "qtrle", "argb"),
    "alpha-png": plain(".mov", "png", "rgba"),
    "alpha-prores": plain(".mov", "prores_ks", "yuva444p10le"),
    "png-48-bit": plain(".mov", "png", "rgb48be"),
    "interlaced-h264": plain(".mp4", options=_INTERLACED),
    "interlaced-mpeg2": plain(".mpg", "mpeg2video", rate=25, options={"flags": "+ildct+ilme"}),
}
CODECS: dict[str, Make] = {
    "mjpeg-avi": plain(".avi", "mjpeg", "yuvj420p"),
    "vp8": plain(".webm", "libvpx"),
    "vp9": plain(".webm", "libvpx-vp9", options={"cpu-used": "8"}),
    "av1": plain(".mp4", "libsvtav1", options={"preset": "12"}),
    "mpeg4-avi": plain(".avi", "mpeg4"),
    "mpeg4-bframes": plain(".mp4", "mpeg4", options={"bf": "2"}),
    "mpeg2-ts": plain(".ts", "mpeg2video", rate=25),
    "mpeg1": plain(".mpg", "mpeg1video", rate=25),
    "h264-ts": plain(".ts", rate=25),
    "h264-flv": plain(".flv"),
    "sorenson-flv": plain(".flv", "flv"),
    "h263-3gp": plain(".3gp", "h263", size=(176, 144), rate=Fraction(30000, 1001)),
    "wmv": plain(".wmv", "wmv2"),
    "msmpeg4": plain(".avi", "msmpeg4v2"),
    "prores": plain(".mov", "prores_ks", "yuv422p10le"),
    "dv": plain(".avi", "dvvideo", "yuv420p", (720, 576), rate=25),
    "ffv1": plain(".mkv", "ffv1"),
    "huffyuv": plain(".avi", "huffyuv", "yuv422p"),
    "utvideo": plain(".avi", "utvideo"),
    "cinepak": plain(".avi", "cinepak", "rgb24"),
    "jpeg2000": plain(".mov", "jpeg2000"),
    "raw-avi": plain(".avi", "rawvideo", "bgr24"),
    "raw-nut": plain(".nut", "rawvideo", "yuv420p"),
    "y4m": plain(".y4m", "wrapped_avframe", form="yuv4mpegpipe"),
    "hevc": plain(".mkv", "libx265", options={"x265-params": "log-level=0"}),
    "gif": plain(".gif", "gif", "rgb8"),
    "apng": plain(".apng", "apng", "rgb24"),
    "fragments": plain(".mp4", muxer={"movflags": "frag_keyframe+empty_moov"}),
    "faststart": plain(".mp4", muxer={"movflags": "faststart"}),
    "b-pyramid": plain(".mp4", options={"bf": "8", "x264-params": "b-pyramid=strict"}),
    "intra-only": plain(".mp4", options={"g": "1"}),
    "two-streams": _two_streams,
    "wrong-extension": _renamed(".avi"),
    "named-as-picture": _renamed(".png"),
    "no-extension": _renamed(""),
    "name-with-colon": _renamed(" 12:30 %03d #?.mp4"),
}
RAW: dict[str, Make] = {
    "bare-h264": plain(".h264", form="h264"),
    "bare-hevc": plain(".hevc", "libx265", form="hevc", options={"x265-params": "log-level=0"}),
    "bare-mjpeg": plain(".mjpeg", "mjpeg", "yuvj420p", form="mjpeg"),
    "size-change-h264": _size_changes("libx264", ".h264", "h264"),
    "size-change-mjpeg": _size_changes("mjpeg", ".mjpeg", "mjpeg"),
    "codec-change-ts": _codec_changes,
}
TIMES: dict[str, Make] = {
    "variable-rate": timed(".mp4", lambda n: n * 0.1 + (n % 3) * 0.031),
    "variable-rate-mkv": timed(".mkv", lambda n: 0.04 * n * n),
    "starts-late": timed(".mkv", lambda n: 40_000 + n / 10),
    "starts-late-mp4": timed(".mp4", lambda n: 300 + n / 10),
    "starts-negative": timed(".mkv", lambda n: n / 10 - 0.35),
    "gap-of-days": timed(".mkv", lambda n: n / 10 + (200_000 if n > 2 else 0)),
    "long-gap-mp4": timed(".mp4", lambda n: n / 10 + (7_200 if n > 2 else 0)),
    "1000-fps": timed(".mkv", lambda n: n / 1000),
    "time-lapse": timed(".mp4", lambda n: 600.0 * n),
    "rate-120": plain(".mp4", rate=120),
    "rate-ntsc": plain(".mp4", rate=Fraction(30000, 1001)),
    "rate-tiny": plain(".mp4", rate=Fraction(1, 50)),
}
TURNED: dict[str, Make] = {
    f"rotated-{angle}": plain(".mp4", rotation=angle) for angle in (90, 180, 270, -90, 45)
}
STILLS: dict[str, Make] = {
    "jpeg": _still(".jpg"),
    "png-16-bit": _still(".png", deep=True),
    "png-alpha": _still(".png", alpha=True),
    "tiff": _still(".tiff"),
    "bmp": _still(".bmp"),
    "webp": _still(".webp"),
}

SOUND: tuple[Kind, ...] = (
    *_kinds("size", SIZES, OK, True),
    *_kinds("pixel format", FORMATS, OK, True),
    *_kinds("codec and container", CODECS, OK, True),
    *_kinds("elementary stream", RAW, ANY, False),
    *_kinds("time", TIMES, OK, True),
    *_kinds("rotation", TURNED, OK, True),
    *_kinds("still picture", STILLS, OK, False),
    Kind("uhd", "size", _large, OK),
    Kind("one-frame", "length", _one_frame, OK),
)
"""Files that are odd and in order: whatever reads them has no excuse."""
