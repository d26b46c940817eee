"""Networks without tokens: rows with kinds and sources, names that find them, the roofline by hand."""

import tomllib
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.accuracy.networks import find_network, sample_s
from takt.chips import load_accelerator
from takt.models.outlines import OUTLINES

TABLE = tomllib.loads(files("takt.accuracy").joinpath("networks.toml").read_text(encoding="utf-8"))
NETWORKS = [name for name in TABLE if name not in ("sources", "all")]
H100 = load_accelerator("h100-sxm")


@pytest.mark.parametrize("name", ["all", *NETWORKS])
def test_every_figure_has_a_kind_and_a_listed_source(name):
    for figure, row in TABLE[name].items():
        assert row["kind"] in ("published", "assumed"), figure
        assert row["source"] in TABLE["sources"], figure
        assert row["value"] > 0, figure
        assert (row["kind"] == "assumed") == (row["source"] == "takt"), figure


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_found_by_its_name_and_by_what_follows_it(name):
    for text in (name, name.upper(), f"{name}-99.9"):
        found = find_network(text)
        assert found is not None
        assert found.name == name
    assert found.ops == TABLE[name]["ops"]["value"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("resnet", "resnet50"),
        ("3d-unet-99", "3d-unet"),
        ("dlrm-v2-99.9", "dlrm"),
        ("stable-diffusion-xl", "stable-diffusion-xl"),
    ],
)
def test_names_as_measurement_files_write_them(text, name):
    found = find_network(text)
    assert found is not None
    assert found.name == name


def test_no_language_model_is_taken_for_a_network():
    assert [name for name in OUTLINES if find_network(name)] == []
    assert find_network("") is None
    assert find_network("gptj-99") is None


def test_a_basis_names_every_kind_that_a_figure_rests_on():
    resnet, unet = find_network("resnet50"), find_network("3d-unet")
    assert resnet.basis == "assumed/published: work of a sample of resnet50"
    assert unet.basis == "assumed: work of a sample of 3d-unet"


def test_a_pass_is_the_longer_of_arithmetic_and_memory_and_a_start():
    resnet = find_network("resnet50")
    compute_s = 64 * 8.2e9 / H100.peak.int8_ops_per_s
    memory_s = (25.6e6 + 64 * 20e6) / H100.memory.bytes_per_s
    assert sample_s(resnet, H100, 64.0) == pytest.approx(1e-4 + max(compute_s, memory_s))


@given(st.sampled_from(NETWORKS), st.floats(1, 4096), st.floats(1, 64))
def test_larger_batches_take_longer_and_are_cheaper_by_the_sample(name, batch, more):
    network = find_network(name)
    one, many = sample_s(network, H100, batch), sample_s(network, H100, batch * more)
    assert one <= many * (1 + 1e-9)
    assert many / (batch * more) <= one / batch * (1 + 1e-9)
