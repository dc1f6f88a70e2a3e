"""Names of artifacts in a store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_ml_bridge.artifacts.errors import ConfigError
from onnx_ml_bridge.artifacts.store.spec import Spec, is_version, precedence, require_tag

PIN = "ab" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("minilm", Spec("minilm", None, "latest")),
        ("store:minilm", Spec("minilm", None, "latest")),
        ("minilm@stable", Spec("minilm", None, "stable")),
        ("minilm@1.2.0", Spec("minilm", "1.2.0", None)),
        ("minilm@1.2.0-rc.1", Spec("minilm", "1.2.0-rc.1", None)),
        (f"minilm@1.2.0#sha256:{PIN}", Spec("minilm", "1.2.0", None, PIN)),
        (f"store:minilm#sha256:{PIN}", Spec("minilm", None, "latest", PIN)),
    ],
)
def test_names(text, expected):
    assert Spec.parse(text) == expected
    assert Spec.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "store:",
        "Minilm",
        "minilm@",
        "minilm@1.2.0+build",
        "minilm@1.2.0-RC.1",
        "minilm@Stable",
        "../x",
        "a/b",
        "minilm@../x",
        "minilm#",
        f"minilm#{PIN}",
        f"minilm#sha256:{PIN[1:]}",
        f"minilm#sha256:{PIN.upper()}",
        "minilm@1@2",
        "minilm\n",
        ".hidden",
        "minilm@1.2.0#sha256:",
    ],
)
def test_other_forms_are_refused(text):
    with pytest.raises(ConfigError, match="expected"):
        Spec.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_refused(text):
    try:
        spec = Spec.parse(text)
    except ConfigError:
        return
    assert Spec.parse(str(spec)) == spec
    assert (spec.version is None) != (spec.tag is None)
    assert "/" not in str(spec).partition("#")[0]


@pytest.mark.parametrize("text", ["1.0", "v1.0.0", "01.0.0", "1.0.0+x", "1.0.0-", "1.0.0-RC", "1.0.0\n", "1" * 65])
def test_what_is_no_version(text):
    assert not is_version(text)


def test_tags_are_no_versions():
    assert require_tag("stable-2") == "stable-2"
    for text in ("1.0.0", "", "-a", "Stable", "a" * 65, "a/b"):
        with pytest.raises(ConfigError):
            require_tag(text)


def test_precedence():
    versions = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.1", "1.0.0", "1.9.0", "1.10.0", "2.0.0"]
    assert sorted(reversed(versions), key=precedence) == versions
