"""The kind of a file, by its first bytes and its suffix: a supported recording, an unsupported one, or none.

Opens nothing, decodes nothing.
"""

from dataclasses import dataclass
from pathlib import PurePath

# fmt: off
SUFFIXES = (".wav", ".flac", ".aif", ".aiff", ".aifc", ".mp3", ".ogg", ".oga", ".opus", ".wave", ".bwf", ".rf64")
"""Suffixes by which a folder's recordings are found; a file that is named goes by its content."""
OTHER_SUFFIXES = (
    ".m4a", ".m4b", ".m4r", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".webm", ".weba", ".mka", ".mkv",
    ".wma", ".wmv", ".asf", ".aac", ".adts", ".amr", ".awb", ".caf", ".au", ".snd", ".w64", ".ac3", ".eac3",
    ".dts", ".mp2", ".mpga", ".mpg", ".mpeg", ".avi", ".flv", ".f4a", ".f4v", ".mts", ".m2ts", ".ogv", ".ogx",
    ".spx", ".ra", ".rm", ".ape", ".wv", ".tta", ".mpc", ".voc", ".sph", ".nist", ".gsm", ".dsf", ".dff", ".alac",
)
# fmt: on
"""Suffixes of recordings that only ffmpeg reads."""

HEAD_BYTES = 4096
"""First bytes that `unsupported_kind` needs."""


@dataclass(frozen=True)
class UnsupportedKind:
    """A kind of file that is not read without ffmpeg.

    Attributes:
        name: in words that follow "is".
        has_sound: whether ffmpeg may find sound in it.
        advice: what to do, where it is neither to convert nor to mend.
    """

    name: str
    has_sound: bool = True
    advice: str = ""


LFS_POINTER = UnsupportedKind(
    "a Git LFS pointer of some bytes, not the recording",
    has_sound=False,
    advice="Install git-lfs and call `git lfs pull` in its folder",
)
# First bytes, and the kind of file that begins with them.
# fmt: off
_SOUND_MARKS = {
    b"0&\xb2u\x8ef\xcf\x11": "a Windows Media (wma, wmv) file", b"#!AMR": "an AMR recording",
    b"caff": "a Core Audio (caf) recording", b".snd": "a Sun AU recording", b"dns.": "a Sun AU recording",
    b"riff.\x91\xcf\x11": "a Sony Wave64 (w64) recording", b"\x0bw": "an AC-3 recording",
    b"\x7f\xfe\x80\x01": "a DTS recording", b"ADIF": "an AAC (ADIF) recording",
    b"wvpk": "a WavPack recording", b"MAC ": "a Monkey's Audio (ape) recording",
    b"TTA1": "a True Audio (tta) recording", b"MPCK": "a Musepack recording", b"MP+": "a Musepack recording",
    b"ajkg": "a Shorten recording", b"DSD ": "a DSD (dsf) recording", b"FRM8": "a DSD (dff) recording",
    b"NIST_1A": "a NIST SPHERE recording", b"Creative Voice File": "a Creative Voice (voc) recording",
    b"FLV\x01": "a Flash Video (flv) file", b"\x00\x00\x01\xba": "an MPEG program stream (mpg)",
    b".RMF": "a RealMedia file", b".ra\xfd": "a RealAudio recording", b"#!SILK": "a SILK recording",
    b"\x02#!SILK": "a SILK recording",
}
_ARCHIVE_MARKS = {
    b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive", b"7z\xbc\xaf'\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
}
_OTHER_MARKS = {
    b"MThd": "a MIDI file: notes, not sound", b"%PDF": "a PDF document", b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture",
}
_WAV_CODECS = {
    0x0045: "G.726", 0x0050: "MPEG layer I or II", 0x00FF: "AAC", 0x0160: "Windows Media", 0x0161: "Windows Media",
    0x0162: "Windows Media", 0x028F: "G.722", 0x1600: "AAC", 0x1610: "AAC", 0x2000: "AC-3", 0x2001: "DTS", 0x566F: "Vorbis",
    0x674F: "Vorbis", 0x6750: "Vorbis", 0x6751: "Vorbis", 0x676F: "Vorbis", 0x6770: "Vorbis", 0x6771: "Vorbis",
    0x704F: "Opus", 0xA109: "Speex", 0xF1AC: "FLAC", 0x0022: "TrueSpeech", 0x0042: "G.723.1", 0x0083: "G.729",
    0x0020: "Yamaha ADPCM", 0x0200: "Creative ADPCM", 0x0064: "G.726", 0x0270: "ATRAC3",
}
# Format tags that libsndfile reads, or names in its error.
_WAV_TAGS = frozenset((0, 1, 2, 3, 6, 7, 0x11, 0x31, 0x38, 0x40, 0x55, 0xFFFE))
_OGG_CODECS = ((b"Speex   ", "Speex"), (b"\x80theora", "Theora (video)"), (b"\x7fFLAC", "FLAC"), (b"BBCD", "Dirac (video)"))
# fmt: on
_MARKS = (
    {b"version https://git-lfs.github.com/spec/": LFS_POINTER}
    | {mark: UnsupportedKind(name) for mark, name in _SOUND_MARKS.items()}
    | {mark: UnsupportedKind(name, False, "Unpack it") for mark, name in _ARCHIVE_MARKS.items()}
    | {mark: UnsupportedKind(name, has_sound=False) for mark, name in _OTHER_MARKS.items()}
)
_RIFF = (b"RIFF", b"RIFX", b"RF64")
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"pnot", b"skip")


def unsupported_kind(head: bytes) -> UnsupportedKind | None:
    r"""Return the kind of a file by its first 4096 bytes or fewer; None where it is supported or unknown.

    Example:
        >>> unsupported_kind(b"#!AMR\n").name
        'an AMR recording'
        >>> unsupported_kind(b"RIFF....WAVEfmt ") is None
        True
    """
    if size := id3_bytes(head):
        return unsupported_kind(head[size:]) if size < len(head) else None
    for mark, kind in _MARKS.items():
        if head.startswith(mark):
            return kind
    if head[4:8] == b"ftyp" or head[4:8] in _QUICKTIME_ATOMS:
        brand = head[8:12] if head[4:8] == b"ftyp" else b"qt  "
        if brand == b"qt  ":
            return UnsupportedKind("a QuickTime (mov) file")
        is_3gp = brand.startswith((b"3g", b"3G"))
        return UnsupportedKind("a 3GPP (3gp) file" if is_3gp else "an MPEG-4 (m4a, mp4) file")
    if head[:4] == b"\x1aE\xdf\xa3":
        return UnsupportedKind("a WebM file" if b"webm" in head[:64] else "a Matroska (mka, mkv) file")
    if head[:4] in _RIFF:
        return _riff(head)
    if head[:4] == b"OggS":
        codec = next((name for mark, name in _OGG_CODECS if mark in head[:200]), "")
        return UnsupportedKind(f"an Ogg of {codec}") if codec else None
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF0 == 0xF0 and head[1] & 0x06 != 0x02:
        is_aac = head[1] & 0x06 == 0
        return UnsupportedKind(
            "an AAC (ADTS) recording" if is_aac else "an MPEG layer I or II (mp2) recording"
        )
    if len(head) > 188 and head[0] == head[188] == 0x47:
        return UnsupportedKind("an MPEG transport stream (ts)")
    return _text(head)


def is_supported(head: bytes) -> bool:
    """Whether a file, by its first 4096 bytes or fewer, is of a kind that is read without ffmpeg."""
    if unsupported_kind(head) is not None:
        return False
    is_mpeg = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2
    return is_mpeg or head[:4] in (*_RIFF, b"FORM", b"fLaC", b"OggS") or head[:3] == b"ID3"


def id3_bytes(head: bytes) -> int:
    """Return the length of the ID3v2 tag that begins with these bytes, ten or more; 0 where none does."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def without_suffix(name: str | PurePath) -> str:
    """Return a name without the suffix of a recording; any other suffix belongs to it.

    Example:
        >>> without_suffix("calls/call.001"), without_suffix("calls/call.001.WAV")
        ('calls/call.001', 'calls/call.001')
    """
    path = PurePath(name)
    is_recording = path.suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES)
    return (path.with_suffix("") if is_recording else path).as_posix()


def stem_of(name: str | PurePath) -> str:
    """Return the last part of a name without the suffix of a recording."""
    return PurePath(without_suffix(name)).name


def _riff(head: bytes) -> UnsupportedKind | None:
    """Return the kind of a RIFF that is no WAV, or a WAV of a format that libsndfile does not read."""
    form = head[8:12]
    if form == b"AVI ":
        return UnsupportedKind("an AVI file")
    if form == b"RMID":
        return UnsupportedKind("a MIDI file: notes, not sound", has_sound=False)
    at = head.find(b"fmt ")
    if form != b"WAVE" or at < 0:
        return None
    tag = int.from_bytes(head[at + 8 : at + 10], "big" if head[:4] == b"RIFX" else "little")
    if tag in _WAV_TAGS or len(head) < at + 10:
        return None
    return UnsupportedKind(f"a WAV of {_WAV_CODECS.get(tag, f'a format of number 0x{tag:04x}')}")


def _text(head: bytes) -> UnsupportedKind | None:
    """Return the kind of a file whose first bytes are printable text; None where they are not."""
    start = head[:256]
    if start.lstrip()[:5].lower() in (b"<html", b"<!doc"):
        return UnsupportedKind("a web page (HTML)", has_sound=False)
    if len(start) < 8 or not all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        return None
    return UnsupportedKind("a text file", has_sound=False)
