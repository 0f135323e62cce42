"""What the routes and listeners of a server share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asr.recognition.classifier import Classifier
from asr.server.auth import Tokens
from asr.server.engine import Engine
from asr.server.limits import Admission
from asr.server.metrics import Metrics
from asr.server.page.corrections import CorrectionFolder


@dataclass
class Service:
    """The models and the state of one server."""

    engine: Engine
    admission: Admission
    metrics: Metrics
    tokens: Tokens = field(default_factory=Tokens)
    spool: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))  # takes uploads
    corrections: CorrectionFolder | None = None  # takes what users of the page correct
    classifiers: Mapping[str, Classifier] = field(default_factory=dict)  # the models of /detect
    ready: bool = False  # whether the models have computed something
