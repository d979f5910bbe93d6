from __future__ import annotations

import pytest

from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.reasoner.models.base import LanguageModel
from edgetwin.reasoner.models.ort_genai import OrtGenAiModel

from .conformance import Conformance

pytestmark = pytest.mark.skipif(
    not (EMBEDDED / "manifest.json").exists(), reason="no embedded weights"
)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return OrtGenAiModel("embedded")


class TestOrtGenAi(Conformance):
    pass
