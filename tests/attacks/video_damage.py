"""Videos that are broken on purpose: bytes, packets, headers, clocks, and files that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from .video_variants import ANY, ERROR, OK, SOUND, Clip, Kind, Make, encode

__all__ = ["DAMAGED", "KINDS"]

Rng = np.random.Generator
Bytes = Callable[[bytearray, Rng], bytearray]


def _base(clip: Clip, stem: Path, suffix: str = ".mp4") -> Path:
    """A sound short clip with a keyframe every four frames, its index in front."""
    muxer = {"movflags": "faststart"} if suffix == ".mp4" else {}
    path = stem.with_suffix(suffix)
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4", ".gif": "gif"}.get(suffix, "libx264")
    pix_fmt = "rgb8" if suffix == ".gif" else "yuv420p"
    rate = 25 if suffix == ".ts" else 10
    return encode(
        path, clip.pictures, codec, pix_fmt, rate=rate, options={"g": "4", "bf": "0"}, muxer=muxer
    )


def bytewise(change: Bytes, suffix: str = ".mp4") -> Make:
    """A recipe that changes the bytes of a sound file."""

    def make(clip: Clip, stem: Path, rng: Rng) -> Path:
        path = _base(clip, stem, suffix)
        path.write_bytes(change(bytearray(path.read_bytes()), rng))
        return path

    return make


def original(change: Bytes) -> Make:
    """A recipe that changes the bytes of the clip's own file."""

    def make(clip: Clip, stem: Path, rng: Rng) -> Path:
        path = stem.with_suffix(clip.path.suffix)
        path.write_bytes(change(bytearray(clip.path.read_bytes()), rng))
        return path

    return make


def flip(count: int, start: float = 0.0, end: float = 1.0) -> Bytes:
    """Random bytes at ``count`` random places between two shares of the file."""

    def change(data: bytearray, rng: Rng) -> bytearray:
        low, high = int(start * len(data)), max(int(start * len(data)) + 1, int(end * len(data)))
        for at in rng.integers(low, high, count):
            data[at] = int(rng.integers(256))
        return data

    return change


def cut(share: float) -> Bytes:
    """Only the first part of the file."""
    return lambda data, rng: data[: int(share * len(data))]


def behead(count: int) -> Bytes:
    """All but the first bytes."""
    return lambda data, rng: data[count:]


def blank(start: float, length: float, value: int = 0) -> Bytes:
    """A stretch of the file overwritten with one value."""

    def change(data: bytearray, rng: Rng) -> bytearray:
        low, many = int(start * len(data)), max(1, int(length * len(data)))
        data[low : low + many] = bytes([value]) * len(data[low : low + many])
        return data

    return change


def _drop_middle(data: bytearray, rng: Rng) -> bytearray:
    at = int(rng.integers(len(data) // 3, len(data) // 2))
    return data[:at] + data[at + len(data) // 8 :]


def _repeat_middle(data: bytearray, rng: Rng) -> bytearray:
    at = int(rng.integers(len(data) // 3, len(data) // 2))
    return data[:at] + data[at - len(data) // 8 : at] + data[at:]


def _shuffle(data: bytearray, rng: Rng) -> bytearray:
    size = max(1, len(data) // 16)
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    return bytearray().join(
        blocks[:2] + [blocks[int(k) + 2] for k in rng.permutation(len(blocks) - 2)]
    )


def in_box(name: bytes, offset: int, values: bytes) -> Bytes:
    """Bytes overwritten inside an MP4 box: ``offset`` from the end of its name."""

    def change(data: bytearray, rng: Rng) -> bytearray:
        at = data.find(name)
        if at < 0:
            raise ValueError(f"no box {name!r}")
        data[at + 4 + offset : at + 4 + offset + len(values)] = values
        return data

    return change


def _fuzz_index(data: bytearray, rng: Rng) -> bytearray:
    """Thirty random bytes in the index only."""
    start, end = data.find(b"moov"), data.find(b"mdat")
    for at in rng.integers(start + 4, max(end, start + 5), 30):
        data[at] = int(rng.integers(256))
    return data


def repacked(
    choose: Callable[[list[Any], Rng], list[Any]],
    suffix: str = ".mkv",
    clock: Callable[[int, int], int] | None = None,
) -> Make:
    """A recipe over packets: which are kept, in which order, with which times.

    ``clock(number, pts)`` gives a new presentation time in the stream's ticks.
    """

    def make(clip: Clip, stem: Path, rng: Rng) -> Path:
        sound = _base(clip, stem.with_name(stem.name + "-sound"), ".mp4")
        path = stem.with_suffix(suffix)
        exact = {"fflags": "+bitexact"}
        with av.open(str(sound)) as given, av.open(str(path), "w", options=exact) as container:
            stream = container.add_stream_from_template(given.streams.video[0])
            packets = choose([p for p in given.demux(video=0) if p.size], rng)
            decoded = sorted(p.dts for p in packets)
            for number, packet in enumerate(packets):
                packet.stream = stream
                packet.pts = packet.dts = decoded[number]
                if clock is not None:
                    packet.pts = clock(number, packet.pts)
                    packet.dts = min(decoded[number], packet.pts)
                container.mux(packet)
        sound.unlink()
        return path

    return make


def written(suffix: str, content: Callable[[Clip, Rng], bytes]) -> Make:
    """A recipe that writes bytes which are no video."""

    def make(clip: Clip, stem: Path, rng: Rng) -> Path:
        path = stem.with_suffix(suffix)
        path.write_bytes(content(clip, rng))
        return path

    return make


def _sound_only(suffix: str, codec: str) -> Make:
    def make(clip: Clip, stem: Path, rng: Rng) -> Path:
        path = stem.with_suffix(suffix)
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=8000)
            stream.layout = "mono"
            form = "fltp" if codec == "aac" else "s16"
            silence = np.zeros((1, 1024), np.float32 if form == "fltp" else np.int16)
            frame = av.AudioFrame.from_ndarray(silence, format=form, layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make


def _copy(packet: Any) -> Any:
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
    copy.is_keyframe = packet.is_keyframe
    return copy


def _latin_title(clip: Clip, stem: Path, rng: Rng) -> Path:
    """Sound, but its title is no UTF-8."""
    path = encode(stem.with_suffix(".mkv"), clip.pictures, title="caf?-caf?")
    data = path.read_bytes()
    assert b"caf?-caf?" in data
    path.write_bytes(data.replace(b"caf?-caf?", b"caf\xe9-caf\xe9"))
    return path


def _no_frames(clip: Clip, stem: Path, rng: Rng) -> Path:
    """A header, an index, and nothing in it."""
    path = _base(clip, stem)
    data = path.read_bytes()
    path.write_bytes(data[: data.find(b"mdat") + 4])
    return path


def _own_link(clip: Clip, stem: Path, rng: Rng) -> Path:
    path = stem.with_suffix(".mp4")
    path.unlink(missing_ok=True)
    path.symlink_to(path)
    return path


def _giant(clip: Clip, stem: Path, rng: Rng) -> Path:
    """A GIF of a few bytes that claims 65535 x 65535 pixels."""
    path = stem.with_suffix(".gif")
    path.write_bytes(b"GIF89a\xff\xff\xff\xff\xf0\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0"
                     b"\x02\x02D\x01\0;")  # fmt: skip
    return path


_HUGE = (2**31 - 1).to_bytes(4, "big")
_DAMAGE: dict[str, Make] = {
    "1-byte": bytewise(flip(1)),
    "10-bytes": bytewise(flip(10)),
    "100-bytes": bytewise(flip(100)),
    "1000-bytes": bytewise(flip(1000)),
    "100-bytes-behind-index": bytewise(flip(100, 0.3)),
    "10-bytes-in-front": bytewise(flip(10, 0.0, 0.05)),
    "100-bytes-mkv": bytewise(flip(100), ".mkv"),
    "100-bytes-ts": bytewise(flip(100), ".ts"),
    "100-bytes-webm": bytewise(flip(100), ".webm"),
    "100-bytes-avi": bytewise(flip(100), ".avi"),
    "100-bytes-gif": bytewise(flip(100), ".gif"),
    "100-bytes-h264": bytewise(flip(100), ".h264"),
    "zeroed-front": bytewise(blank(0.0, 0.01)),
    "zeroed-half": bytewise(blank(0.5, 0.5)),
    "zeroed-gap": bytewise(blank(0.6, 0.1)),
    "ones-gap": bytewise(blank(0.6, 0.1, 255)),
    "zeroed-front-mkv": bytewise(blank(0.0, 0.02), ".mkv"),
    "cut-10%": bytewise(cut(0.1)),
    "cut-50%": bytewise(cut(0.5)),
    "cut-99%": bytewise(cut(0.99)),
    "cut-50%-mkv": bytewise(cut(0.5), ".mkv"),
    "cut-50%-ts": bytewise(cut(0.5), ".ts"),
    "cut-50%-webm": bytewise(cut(0.5), ".webm"),
    "cut-50%-gif": bytewise(cut(0.5), ".gif"),
    "beheaded-1": bytewise(behead(1)),
    "beheaded-4096": bytewise(behead(4096)),
    "beheaded-ts": bytewise(behead(1000), ".ts"),
    "middle-gone": bytewise(_drop_middle),
    "middle-twice": bytewise(_repeat_middle),
    "shuffled": bytewise(_shuffle),
    "shuffled-ts": bytewise(_shuffle, ".ts"),
    "own-file-100-bytes": original(flip(100)),
    "own-file-5000-bytes": original(flip(5000)),
    "own-file-cut": original(cut(0.4)),
    "own-file-front": original(flip(40, 0.0, 0.01)),
}
_INDEX: dict[str, Make] = {
    "index-fuzzed": bytewise(_fuzz_index),
    "steps-zero": bytewise(in_box(b"stts", 12, bytes(4))),
    "steps-huge": bytewise(in_box(b"stts", 12, _HUGE)),
    "steps-negative": bytewise(in_box(b"stts", 12, b"\xff\xff\xff\xfe")),
    "ticks-zero": bytewise(in_box(b"mdhd", 12, bytes(4))),
    "ticks-one": bytewise(in_box(b"mdhd", 12, b"\0\0\0\x01")),
    "duration-huge": bytewise(in_box(b"mdhd", 16, _HUGE)),
    "sizes-huge": bytewise(in_box(b"stsz", 8, _HUGE)),
    "offsets-wrong": bytewise(in_box(b"stco", 8, _HUGE)),
    "decoder-record-zero": bytewise(in_box(b"avcC", 0, bytes(24))),
    "parameter-set-wrong": bytewise(in_box(b"avcC", 9, b"\xff" * 6)),
    "edit-list-late": bytewise(in_box(b"elst", 12, b"\0\0\x30\0")),
    "edit-list-empty": bytewise(in_box(b"elst", 8, bytes(4))),
    "matrix-mirrored": bytewise(in_box(b"tkhd", 40, (0xFFFF0000).to_bytes(4, "big"))),
    "matrix-zero": bytewise(in_box(b"tkhd", 40, bytes(36))),
    "box-endless": bytewise(in_box(b"mdat", -8, b"\xff\xff\xff\xff")),
    "no-frames": _no_frames,
}
_PACKETS: dict[str, Make] = {
    "first-keyframe-gone": repacked(lambda p, rng: p[1:]),
    "keyframes-gone": repacked(lambda p, rng: [x for x in p if not x.is_keyframe]),
    "every-third-gone": repacked(lambda p, rng: [x for n, x in enumerate(p) if n % 3 != 2]),
    "packets-shuffled": repacked(lambda p, rng: [p[int(k)] for k in rng.permutation(len(p))]),
    "packets-twice": repacked(lambda p, rng: [y for x in p for y in (_copy(x), x)]),
    "times-equal": repacked(lambda p, rng: p, clock=lambda n, pts: 0),
    "times-backwards": repacked(lambda p, rng: p, ".nut", clock=lambda n, pts: 10**6 - 5120 * n),
    "times-jump-back": repacked(
        lambda p, rng: p, ".nut", clock=lambda n, pts: pts + (10**7 if n < 3 else 0)
    ),
    "times-huge": repacked(lambda p, rng: p, ".nut", clock=lambda n, pts: pts + 2**40),
    "one-time-huge": repacked(
        lambda p, rng: p, ".nut", clock=lambda n, pts: 2**45 if n == 2 else pts
    ),
}
_FOREIGN: dict[str, Make] = {
    "empty": written(".mp4", lambda clip, rng: b""),
    "garbage": written(".mp4", lambda clip, rng: rng.bytes(50_000)),
    "garbage-behind-ftyp": written(
        ".mp4", lambda clip, rng: b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + rng.bytes(50_000)
    ),
    "garbage-behind-ebml": written(
        ".mkv", lambda clip, rng: b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f" + rng.bytes(50_000)
    ),
    "garbage-as-ts": written(
        ".ts", lambda clip, rng: b"".join(b"G" + rng.bytes(187) for _ in range(300))
    ),
    "zeros": written(".mp4", lambda clip, rng: bytes(100_000)),
    "text": written(".mp4", lambda clip, rng: b"not a video\n" * 500),
    "html": written(".mp4", lambda clip, rng: b"<!doctype html><title>404</title>" * 50),
    "subtitles": written(
        ".srt", lambda clip, rng: b"1\n00:00:00,000 --> 00:00:02,000\nhello\n\n" * 20
    ),
    "playlist": written(
        ".m3u8", lambda clip, rng: b"#EXTM3U\n#EXTINF:1,\n" + str(clip.path).encode() + b"\n"
    ),
    "concat-list": written(
        ".ffconcat",
        lambda clip, rng: b"ffconcat version 1.0\nfile '" + str(clip.path).encode() + b"'\n",
    ),
    "picture-cut": written(
        ".png", lambda clip, rng: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + rng.bytes(40)
    ),
    "jpeg-garbage": written(".jpg", lambda clip, rng: b"\xff\xd8\xff\xe0" + rng.bytes(5000)),
    "giant-gif": _giant,
    "sound-only-m4a": _sound_only(".m4a", "aac"),
    "sound-only-wav": _sound_only(".wav", "pcm_s16le"),
    "link-to-itself": _own_link,
}


def _kinds(group: str, makers: dict[str, Make], may: frozenset[str]) -> list[Kind]:
    return [Kind(name, group, make, may) for name, make in makers.items()]


DAMAGED: tuple[Kind, ...] = (
    Kind("title-in-latin-1", "index", _latin_title, OK, True),
    *_kinds("bytes", _DAMAGE, ANY),
    *_kinds("index", _INDEX, ANY),
    *_kinds("packets and clocks", _PACKETS, ANY),
    *_kinds("no video", _FOREIGN, ERROR),
)
KINDS: tuple[Kind, ...] = (*SOUND, *DAMAGED)
"""Every kind there is; names are unique."""
