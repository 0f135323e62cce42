"""ELAN's annotations (.eaf). https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from asr.data.importers.segments import TimedText
from asr.errors import UserError


def read_elan(path: Path, tier: str | None = None) -> Iterator[TimedText]:
    """The annotations with times, tier by tier.

    tier: the name of the tier to read; None: all tiers that do not refer to another one, as
    translations and glosses do. The speaker is the participant of the tier or, if there are several
    tiers, its name. Raises `UserError` if the file is damaged or the tier is missing.
    """
    root = _parse(path)
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    tiers = [t for t in root.iter("TIER") if t.find("ANNOTATION/ALIGNABLE_ANNOTATION") is not None]
    if tier is not None:
        found = [t for t in tiers if t.get("TIER_ID") == tier]
        if not found:
            names = ", ".join(str(t.get("TIER_ID")) for t in tiers)
            raise UserError(f"{path}: no tier {tier!r} on the time line; there are {names}")
    else:
        found = [t for t in tiers if t.get("PARENT_REF") is None]
    for each in found:
        speaker = each.get("PARTICIPANT") or (each.get("TIER_ID") if len(found) > 1 else None)
        for annotation in each.iter("ALIGNABLE_ANNOTATION"):
            times = [slots.get(annotation.get(f"TIME_SLOT_REF{i}")) for i in (1, 2)]
            text = annotation.findtext("ANNOTATION_VALUE") or ""
            try:
                start_s, end_s = (int(time) / 1000 for time in times)
            except (TypeError, ValueError):  # the slot has no time; ELAN would interpolate it
                start_s = end_s = 0.0
            yield TimedText(start_s, end_s, text, speaker)


def media(path: Path) -> list[str]:
    """The names of the recordings of an .eaf, relative paths first."""
    found = []
    for descriptor in _parse(path).iter("MEDIA_DESCRIPTOR"):
        found += [descriptor.get("RELATIVE_MEDIA_URL"), descriptor.get("MEDIA_URL")]
    return [url.removeprefix("file://") for url in found if url]


def _parse(path: Path) -> ElementTree.Element:
    try:
        data = path.read_bytes()
        if b"<!DOCTYPE" in data[:4096] or b"<!ENTITY" in data:
            raise UserError(f"{path}: declares a document type; save it again with ELAN")
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: not an ELAN file: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
