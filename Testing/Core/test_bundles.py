# SPDX-License-Identifier: Apache-2.0
"""Bundles: what is written can be read, and nothing else can."""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, verify_net_in_out
from monai.bundle.properties import MetaProperties
from monai.networks.nets import UNet

from ReadingRoomLib import bundle_data, bundle_weights, bundles
from ReadingRoomLib.bundle_weights import SCALE, encode_weights, read_weights_header
from ReadingRoomLib.bundles import load_bundle, verify_bundle, write_bundle
from ReadingRoomLib.errors import ModelMissing, ModelUntrusted, OutputFailed

TARGET = "monai.networks.nets.UNet"
NETWORK = {
    "_target_": TARGET,
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "norm": "batch",
}
IMAGE = {
    "type": "image",
    "format": "hounsfield",
    "modality": "CT",
    "num_channels": 1,
    "spatial_shape": ["2*n", "2*n"],
    "dtype": "float32",
    "value_range": [-150, 350],
    "is_patch_data": False,
    "channel_def": {"0": "image"},
}
METADATA = {
    "name": "test model",
    "task": "segmentation of bones",
    "description": "A tiny network for tests.",
    "authors": "ReadingRoom contributors",
    "copyright": "Copyright (c) ReadingRoom contributors",
    "network_data_format": {
        "inputs": {"image": IMAGE},
        "outputs": {"pred": {**IMAGE, "num_channels": 3}},
    },
    "recipe": "modern",
    "labels": {"0": "background", "1": "pelvis", "2": "femur"},
    "spacing": [1.0, 1.0],
    "trained_on": "nothing",
    "simulated": True,
    "eval_metrics": {"mean_dice": 0.5},
}
CARD = "# Test model\n\nKnows nothing: Größe, 骨.\n"


def make_network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = UNet(**{key: value for key, value in NETWORK.items() if key != "_target_"})
    return network.eval()


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return make_network()


@pytest.fixture(scope="module")
def original(network, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "starter"
    write_bundle(folder, NETWORK, network.state_dict(), METADATA, CARD)
    return folder


@pytest.fixture
def folder(original, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(original, tmp_path / "starter"))


def seal(folder: Path) -> None:
    """Make the hashes agree again, as an attacker would who publishes a model of their own."""
    names = [name for name in bundles.HASHED_FILES if (folder / name).exists()]
    hashes = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
    text = json.dumps(hashes, indent=2, sort_keys=True) + "\n"
    (folder / bundle_data.HASHES).write_bytes(text.encode())


def seal_config(folder: Path, config: object) -> None:
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / bundle_data.INFERENCE).write_text(text, encoding="utf-8")
    seal(folder)


def assert_refused(folder: Path, reason: str | None = None, sha256: str | None = None) -> None:
    with pytest.raises(ModelUntrusted, match=reason) as caught:
        load_bundle(folder, {TARGET}, sha256)
    message = caught.value.message
    assert message.startswith('The model "') and message.endswith(".") and "\n" not in message


# ---------------------------------------------------------------------------------- what is written


def test_what_is_written_is_read(original, network):
    bundle = load_bundle(original, {TARGET})
    image = torch.linspace(0, 1, 64 * 64).reshape(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(bundle.network(image), network(image))
    assert not bundle.network.training
    assert bundle.metadata.items() >= METADATA.items()
    assert bundle.model_card == CARD
    assert bundle.folder == original


def test_the_network_is_built_as_described_and_not_only_similar(original):
    assert type(load_bundle(original, {TARGET}).network) is UNet


def test_half_precision_halves_the_file_and_computes_in_single(original, network, tmp_path):
    write_bundle(
        tmp_path / "half", NETWORK, network.state_dict(), METADATA, CARD, dtype=torch.float16
    )
    bundle = load_bundle(tmp_path / "half", {TARGET})
    sizes = [(f / bundle_data.WEIGHTS).stat().st_size for f in (tmp_path / "half", original)]
    assert sizes[0] < 0.75 * sizes[1]
    for name, tensor in bundle.network.state_dict().items():
        expected = network.state_dict()[name]
        assert tensor.dtype == expected.dtype
        torch.testing.assert_close(tensor, expected, rtol=1e-3, atol=1e-4)


def test_int8_is_a_quarter_of_the_file_and_near_the_weights(original, network, tmp_path):
    write_bundle(tmp_path / "int8", NETWORK, network.state_dict(), METADATA, CARD, dtype=torch.int8)
    bundle = load_bundle(tmp_path / "int8", {TARGET})
    header = read_weights_header((tmp_path / "int8" / bundle_data.WEIGHTS).read_bytes())
    expected = network.state_dict()
    for name, tensor in bundle.network.state_dict().items():
        assert tensor.dtype == expected[name].dtype
        if tensor.ndim < 2:
            assert torch.equal(tensor, expected[name])
            continue
        begin, end = header[name]["data_offsets"]
        assert end - begin == tensor.numel()
        step = expected[name].flatten(1).abs().amax(1) / 127
        error = (tensor - expected[name]).flatten(1).abs().amax(1)
        assert (error <= step * 0.501).all() and tensor.any()


def test_int8_of_weights_that_are_all_zero(network, tmp_path):
    weights = {n: torch.zeros_like(t) for n, t in network.state_dict().items()}
    write_bundle(tmp_path / "zero", NETWORK, weights, METADATA, CARD, dtype=torch.int8)
    loaded = load_bundle(tmp_path / "zero", {TARGET}).network.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.items())


def test_same_input_gives_same_bytes(original, network, tmp_path):
    reordered = dict(reversed(network.state_dict().items()))
    sha256 = write_bundle(tmp_path / "again", NETWORK, reordered, METADATA, CARD)
    for name in bundles.SIZE_LIMITS:
        assert (tmp_path / "again" / name).read_bytes() == (original / name).read_bytes()
    assert sha256 == load_bundle(original, {TARGET}).sha256 == verify_bundle(original).sha256


def test_every_input_changes_the_hash(original, network, tmp_path):
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    next(iter(weights.values())).view(-1)[0] += 1
    leaky = {**NETWORK, "act": ["leakyrelu", {"negative_slope": 0.1}]}
    state = {n: t for n, t in weights.items() if "adn.A" not in n}
    hashes = {
        verify_bundle(original).sha256,
        write_bundle(tmp_path / "network", leaky, state, METADATA, CARD),
        write_bundle(tmp_path / "weights", NETWORK, weights, METADATA, CARD),
        write_bundle(tmp_path / "data", NETWORK, weights, {**METADATA, "recipe": "seed"}, CARD),
        write_bundle(tmp_path / "card", NETWORK, weights, METADATA, CARD + "more"),
    }
    assert len(hashes) == 5


def test_a_bundle_does_not_disturb_the_callers_random_numbers(original):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    load_bundle(original, {TARGET})
    assert torch.equal(torch.rand(3), expected)


def test_monai_reads_the_bundle_too(original):
    files = {
        "meta_file": str(original / bundle_data.METADATA),
        "config_file": str(original / bundle_data.INFERENCE),
    }
    verify_net_in_out("network_def", **files, device="cpu", n=8)


def test_metadata_holds_what_monai_requires(original):
    parser = ConfigParser()
    parser.read_meta(str(original / bundle_data.METADATA))
    required = [p["id"] for p in MetaProperties.values() if p["required"]]
    assert required and all(name in parser for name in required)


def test_parameters_are_referred_to(network, tmp_path):
    config = {**NETWORK, "out_channels": "@parameters::classes", "strides": "@parameters::steps"}
    parameters = {"classes": 3, "steps": [2]}
    write_bundle(
        tmp_path / "x", config, network.state_dict(), METADATA, CARD, parameters=parameters
    )
    assert load_bundle(tmp_path / "x", {TARGET}).network.out_channels == 3
    written = json.loads((tmp_path / "x" / bundle_data.INFERENCE).read_text())
    theirs = ConfigParser(written, globals=False).get_parsed_content("network_def")
    assert str(theirs) == str(load_bundle(tmp_path / "x", {TARGET}).network)


def test_parts_are_built_within_parts_as_monai_does(network, tmp_path):
    config = {"_target_": "torch.nn.Sequential", "_desc_": "two layers"}
    parts = {"_target_": "collections.OrderedDict",
             "first": {"_target_": "torch.nn.Linear", "in_features": "@parameters::sizes::0",
                       "out_features": "@parameters::sizes::1"},
             "second": {"_target_": "torch.nn.ReLU"}}
    description = {"parameters": {"sizes": [3, 4], "parts": parts},
                   "network_def": {"_target_": "torch.nn.ModuleDict",
                                   "modules": "@parameters::parts"}}
    bundle_data.check_config(description)
    theirs = ConfigParser(deepcopy(description), globals=False).get_parsed_content("network_def")
    assert str(bundles._instantiate(description)) == str(theirs)
    assert isinstance(bundles._instantiate({"network_def": config}), torch.nn.Sequential)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"metadata": {**METADATA, "labels": None}}, "labels"),
        ({"metadata": {k: v for k, v in METADATA.items() if k != "recipe"}}, "lacks recipe"),
        ({"metadata": {**METADATA, "eval_metrics": {"dice": float("nan")}}}, "JSON"),
        ({"network_config": {**NETWORK, "out_channels": 4}}, "wrong shape"),
        ({"network_config": {**NETWORK, "norm": "instance"}}, "weights"),
        ({"network_config": {**NETWORK, "colour": "red"}}, "cannot be built"),
        ({"network_config": {"_target_": "no.such.Network"}}, "cannot be built"),
        ({"network_config": {}}, "does not name a network"),
        ({"state_dict": {}}, "damaged"),
        ({"model_card": " \n"}, "card is empty"),
        ({"dtype": torch.bfloat16}, "BF16"),
    ],
)
def test_what_could_not_be_read_is_not_written(network, tmp_path, change, reason):
    arguments = {
        "network_config": NETWORK,
        "state_dict": network.state_dict(),
        "metadata": METADATA,
        "model_card": CARD,
        **change,
    }
    with pytest.raises(ValueError, match=reason):
        write_bundle(tmp_path / "x", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_half_precision_are_not_written(network, tmp_path):
    weights = {n: t.double() * 1e6 if t.ndim == 4 else t for n, t in network.state_dict().items()}
    with pytest.raises(ValueError, match="not finite"):
        write_bundle(tmp_path / "x", NETWORK, weights, METADATA, CARD, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_only_a_bundle_is_overwritten_and_only_when_asked(original, network, tmp_path):
    arguments = (NETWORK, network.state_dict(), {**METADATA, "recipe": "seed"}, CARD)
    folder = tmp_path / "x"
    shutil.copytree(original, folder)
    with pytest.raises(OutputFailed, match="exists already"):
        write_bundle(folder, *arguments)
    write_bundle(folder, *arguments, overwrite=True)
    assert verify_bundle(folder).metadata["recipe"] == "seed"
    assert list(tmp_path.iterdir()) == [folder]

    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("irreplaceable")
    with pytest.raises(OutputFailed, match="not a model"):
        write_bundle(thesis, *arguments, overwrite=True)
    assert (thesis / "chapter.txt").read_text() == "irreplaceable"


def test_a_folder_in_which_nothing_can_be_made(network, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputFailed, match="could not be saved"):
        write_bundle(tmp_path / "file" / "x", NETWORK, network.state_dict(), METADATA, CARD)


# --------------------------------------------------------------------------------- files and hashes


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("name", sorted(bundles.SIZE_LIMITS))
def test_one_altered_byte_anywhere(folder, name, place):
    content = bytearray((folder / name).read_bytes())
    content[{"first": 0, "middle": len(content) // 2, "last": -1}[place]] ^= 1
    (folder / name).write_bytes(content)
    assert_refused(folder)
    with pytest.raises(ModelUntrusted):
        verify_bundle(folder)


@pytest.mark.parametrize("name", sorted(bundles.SIZE_LIMITS))
def test_one_byte_more_or_less(folder, name):
    content = (folder / name).read_bytes()
    for altered in (content + b" ", content[:-1], b""):
        (folder / name).write_bytes(altered)
        assert_refused(folder)


@pytest.mark.parametrize("name", sorted(bundles.SIZE_LIMITS))
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    assert_refused(folder, f"{name} is missing")


@pytest.mark.parametrize(
    "name",
    ["models/model.pt", "models/model.ts", "scripts/network.py", "__init__.py", "docs/.hidden"],
)
def test_an_extra_file(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert_refused(folder, "does not belong in it")


def test_an_extra_empty_folder(folder):
    (folder / "scripts").mkdir()
    assert_refused(folder, "scripts does not belong in it")


@pytest.mark.parametrize("name", sorted(bundles.SIZE_LIMITS))
def test_a_link_instead_of_a_file(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    assert_refused(folder, f"{name} is a link")


def test_a_link_instead_of_a_folder(folder, tmp_path):
    (folder / "models").rename(tmp_path / "elsewhere")
    (folder / "models").symlink_to(tmp_path / "elsewhere")
    assert_refused(folder, "models is a link")


def test_a_link_put_there_after_the_list_was_checked(folder, tmp_path, monkeypatch):
    (folder / bundle_data.CARD).rename(tmp_path / "elsewhere")
    (folder / bundle_data.CARD).symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(bundles, "_check_file_list", lambda _: None)
    assert_refused(folder, "cannot be read")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_instead_of_a_file_does_not_block(folder):
    (folder / bundle_data.CARD).unlink()
    os.mkfifo(folder / bundle_data.CARD)
    assert_refused(folder, "is not a file")


@pytest.mark.parametrize("name", sorted(bundles.SIZE_LIMITS))
def test_a_file_that_is_too_large(folder, name, monkeypatch):
    size = (folder / name).stat().st_size
    monkeypatch.setitem(bundles.SIZE_LIMITS, name, size - 1)
    assert_refused(folder, f"{name} is too large")


def test_a_sealed_bundle_passes_but_not_under_another_ones_name(folder, original):
    published = verify_bundle(original).sha256
    (folder / bundle_data.CARD).write_text("# Another card\n")
    seal(folder)
    assert load_bundle(folder, {TARGET}).sha256 != published
    assert_refused(folder, "not the model that was published", published)
    assert load_bundle(original, {TARGET}, published).sha256 == published


@pytest.mark.parametrize(
    "hashes", [{}, {"configs/metadata.json": "0" * 64}, {"../../secret": "0" * 64}]
)
def test_other_names_in_the_hashes(folder, hashes):
    listed = json.loads((folder / bundle_data.HASHES).read_text()) if len(hashes) else {}
    text = json.dumps({**listed, **hashes}, indent=2, sort_keys=True) + "\n"
    (folder / bundle_data.HASHES).write_text(text)
    assert_refused(folder, "altered")


def test_no_folder(tmp_path):
    with pytest.raises(ModelMissing, match="choose another model or install it again"):
        load_bundle(tmp_path / "nothing", {TARGET})


# ------------------------------------------------------------------------------------ configuration


def with_network(**changes: object) -> dict:
    return {"network_def": {**NETWORK, **changes}}


FOREIGN_TARGETS = [
    "os.system",
    "builtins.eval",
    "builtins.exec",
    "subprocess.run",
    "torch.load",
    "torch.hub.load",
    "monai.bundle.run",
    "monai.networks.nets.UNet.__init__.__globals__",
    "monai.networks.nets.unet.UNet",
    "MONAI.networks.nets.UNet",
]


@pytest.mark.parametrize("target", FOREIGN_TARGETS)
def test_a_foreign_target(folder, target):
    seal_config(folder, {"network_def": {"_target_": target, "command": "true"}})
    assert_refused(folder)
    seal_config(folder, with_network(act={"_target_": target, "command": "true"}))
    assert_refused(folder)
    seal_config(folder, with_network(channels=[4, [{"deep": {"_target_": target}}]]))
    assert_refused(folder)
    seal_config(folder, {**with_network(), "parameters": {"x": {"_target_": target}}})
    assert_refused(folder)


@pytest.mark.parametrize(
    "target", ["UNet", "", "monai..UNet", ".os.system", "@parameters::x", "$os.system", "a b.c",
               "os.system\n", 3, None, ["os", "system"], {"_target_": TARGET}],
)  # fmt: skip
def test_a_target_that_is_not_a_full_name(folder, target):
    seal_config(folder, {"network_def": {"_target_": target}, "parameters": {"x": "os.system"}})
    assert_refused(folder, "not allowed")


def test_nothing_runs_before_the_allow_list_is_asked(folder, tmp_path, monkeypatch):
    witness = tmp_path / "it_ran"
    (tmp_path / "foreign_network.py").write_text(f"open({str(witness)!r}, 'w')\nNetwork = dict\n")
    monkeypatch.syspath_prepend(tmp_path)
    seal_config(folder, {"network_def": {"_target_": "foreign_network.Network"}})
    assert_refused(folder, "which is not an allowed network")
    assert not witness.exists()


EXPRESSIONS = [
    "$import os",
    "$__import__('os').system('true')",
    "$@network_def",
    "%../../secret.json",
    "%/etc/passwd.json::x",
    "%network_def::channels",
    "@../../secret",
    "@/etc/passwd",
    "@::network_def",
    "@#channels",
    "@network_def#channels",
    "@nothing",
    "@network_def::nothing",
    "@network_def::channels::9",
    "@parameters::classes\n",
    "text with @network_def inside",
    "a::b",
    "a#b",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression(folder, text, monkeypatch):
    monkeypatch.setattr(builtins, "eval", lambda *_: pytest.fail("an expression was evaluated"))
    for config in (
        with_network(out_channels=text),
        with_network(channels=[4, text]),
        with_network(act=["prelu", {"init": text}]),
        {**with_network(), "parameters": {"classes": text}},
        with_network(_desc_=text),
    ):
        seal_config(folder, config)
        assert_refused(folder)


@pytest.mark.parametrize(
    "key",
    ["_mode_", "_requires_", "_disabled_", "_debug_", "__class__", "_meta_", "$import os",
     "@network_def", "%x", "a::b", "a#b", "+act", "", "a b"],
)  # fmt: skip
def test_an_instruction_to_the_parser(folder, key):
    for config in (with_network(**{key: "debug"}), with_network(act={key: "x"})):
        seal_config(folder, config)
        assert_refused(folder, "not allowed")


@pytest.mark.parametrize("key", ["imports", "device", "bundle_root", "_meta_", "x"])
def test_an_unknown_entry(folder, key):
    seal_config(folder, {**with_network(), key: "cpu"})
    assert_refused(folder, "unknown entry")


def test_a_plain_description_is_allowed(folder):
    seal_config(folder, with_network(_desc_="A small U-Net, made for tests."))
    load_bundle(folder, {TARGET})


def test_references_in_a_circle(folder):
    parameters = {"a": "@parameters::b", "b": "@parameters::a"}
    seal_config(folder, {**with_network(out_channels="@parameters::a"), "parameters": parameters})
    assert_refused(folder, "cannot be built")


@pytest.mark.parametrize("number", [65_537, -65_537, 10**400, 1e300])
def test_a_number_that_serves_only_to_exhaust_memory(folder, number):
    seal_config(folder, with_network(in_channels=number))
    assert_refused(folder, "no network needs")


def test_arguments_nested_too_deeply(folder):
    nested: object = 1
    for _ in range(bundle_data.DEEPEST_NESTING):
        nested = [nested]
    seal_config(folder, with_network(act=nested))
    assert_refused(folder, "nested too deeply")


def test_a_network_much_larger_than_its_weights_costs_nothing(folder):
    seal_config(folder, with_network(channels=[65_536, 65_536]))
    assert_refused(folder, "wrong shape")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", "not json", '{"network_def": {}, "network_def": {}}',
     '{"network_def": NaN}', '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "\ufeff{}",
     '{"network_def": ' + '{"a":' * 40 + "1" + "}" * 41],
)  # fmt: skip
def test_configuration_that_is_not_proper_json(folder, text):
    seal_config(folder, text)
    assert_refused(folder)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_know(folder, constant):
    text = (folder / bundle_data.METADATA).read_text(encoding="utf-8")
    (folder / bundle_data.METADATA).write_text(text.replace("0.5", constant), encoding="utf-8")
    seal(folder)
    assert_refused(folder, "not proper JSON")


def test_a_key_that_is_there_twice(folder):
    text = (folder / bundle_data.INFERENCE).read_text(encoding="utf-8")
    seal_config(folder, text.replace('"norm"', '"out_channels": 3, "norm"'))
    assert_refused(folder, "not proper JSON")


def test_text_that_is_not_utf8(folder):
    for name in (bundle_data.CARD, bundle_data.METADATA):
        original = (folder / name).read_bytes()
        (folder / name).write_bytes(b"\xff\xfe")
        seal(folder)
        assert_refused(folder, f"{name} is not text")
        (folder / name).write_bytes(original)


def test_an_allowed_class_that_is_not_a_network(folder):
    seal_config(folder, {"network_def": {"_target_": "collections.OrderedDict"}})
    with pytest.raises(ModelUntrusted, match="not a network"):
        load_bundle(folder, {"collections.OrderedDict"})


# ----------------------------------------------------------------------------------------- metadata


def metadata_change(path: str, value: object) -> dict:
    metadata = deepcopy(METADATA)
    *parents, key = path.split("/")
    place = metadata
    for parent in parents:
        place = place[parent]
    place[key] = value
    return metadata


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("simulated", "no"),
        ("simulated", 1),
        ("version", 1),
        ("spacing", [1, 0]),
        ("spacing", [1, "mm"]),
        ("spacing", [True]),
        ("labels/1", 5),
        ("network_data_format", {}),
        ("network_data_format/inputs", {}),
        ("network_data_format/inputs/image", "a picture"),
        ("network_data_format/inputs/image", 5),
        ("network_data_format/outputs/pred", {"type": "image"}),
        ("network_data_format/outputs/pred/num_channels", True),
        ("description", "$import os"),
        ("trained_on", "%/etc/passwd.json"),
        ("eval_metrics/dice", "@network_def"),
    ],
)
def test_metadata_that_says_too_little_or_too_much(folder, path, value):
    complete = json.loads((folder / bundle_data.METADATA).read_text(encoding="utf-8"))
    metadata = {**complete, **metadata_change(path, value)}
    (folder / bundle_data.METADATA).write_text(json.dumps(metadata))
    seal(folder)
    assert_refused(folder, bundle_data.METADATA)


@pytest.mark.parametrize("name", sorted(bundle_data.MONAI_FIELDS | bundle_data.OUR_FIELDS))
def test_metadata_lacks_a_field(folder, name):
    metadata = json.loads((folder / bundle_data.METADATA).read_text(encoding="utf-8"))
    del metadata[name]
    (folder / bundle_data.METADATA).write_text(json.dumps(metadata))
    seal(folder)
    assert_refused(folder, f"lacks {name}")


# ------------------------------------------------------------------------------------------ weights


class Exploit:
    def __reduce__(self):
        return os.system, ("touch it_ran",)


def pickles() -> dict[str, bytes]:
    made = {f"protocol {p}": pickle.dumps(Exploit(), p) for p in range(pickle.HIGHEST_PROTOCOL + 1)}
    return made | {"opcodes": b"cos\nsystem\n(S'touch it_ran'\ntR."}


@pytest.mark.parametrize("kind", sorted(pickles()))
def test_a_pickle_renamed_to_safetensors(folder, kind, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder / bundle_data.WEIGHTS).write_bytes(pickles()[kind])
    seal(folder)
    assert_refused(folder)
    assert not Path("it_ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_renamed_to_safetensors(folder, zipped):
    weights = folder / bundle_data.WEIGHTS
    torch.save({"x": torch.zeros(2)}, weights, _use_new_zipfile_serialization=zipped)
    seal(folder)
    assert_refused(folder, "is a pickle, which could run a program")


def seal_weights(
    folder: Path, header: object, data: bytes = b"", length: int | None = None
) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = struct.pack("<Q", len(text) if length is None else length)
    (folder / bundle_data.WEIGHTS).write_bytes(size + text + data)
    seal(folder)


def tensor(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_impossible_length(folder, length):
    seal_weights(folder, {"a": tensor()}, bytes(8), length)
    assert_refused(folder, "not a safetensors file")


def test_any_length_of_the_header_is_read(network, tmp_path):
    """Also one whose first byte is the one a pickle begins with."""
    lengths = set()
    for extra in range(256):
        name = "x" * (extra + 1)
        state = {**network.state_dict(), name: torch.zeros(1)}
        content = encode_weights(state, None)
        assert name in read_weights_header(content)
        lengths.add(content[0])
    assert 0x80 in lengths


def test_a_header_larger_than_any_network_needs(folder, monkeypatch):
    monkeypatch.setattr(bundle_weights, "WEIGHTS_HEADER_LIMIT", 100)
    assert_refused(folder, "not a safetensors file")


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"[]",
        b'{"a": 1}',
        b'{"a": {}, "a": {}}',
        {},
        {"__metadata__": {"format": "pt"}},
        {"../a": tensor()},
        {"a\n": tensor()},
        {"a": tensor("BOOL")},
        {"a": tensor(["F32"])},
        {"a": tensor(shape=[2, -1])},
        {"a": tensor(shape=[3])},
        {"a": tensor(shape=[2.0])},
        {"a": tensor(shape="2")},
        {"a": tensor(shape=[2**40, 2**40])},
        {"a": tensor(offsets=[0])},
        {"a": tensor(offsets=[8, 0])},
        {"a": tensor(offsets=[-8, 0])},
        {"a": tensor(offsets=[4, 12])},
        {"a": tensor(offsets=[0, 8, 8])},
        {"a": tensor(shape=[1], offsets=[0, 4])},
        {"a": tensor(), "b": tensor()},
        {"a": {**tensor(), "code": "x"}},
    ],
)
def test_a_header_that_does_not_describe_the_file(folder, header):
    seal_weights(folder, header, bytes(8))
    assert_refused(folder, bundle_data.WEIGHTS)
    with pytest.raises(ModelUntrusted):
        verify_bundle(folder)


@pytest.mark.parametrize("name", ["", "short", "F16"])
def test_a_truncated_weights_file(folder, name):
    (folder / bundle_data.WEIGHTS).write_bytes(name.encode())
    seal(folder)
    assert_refused(folder, "not a safetensors file")


def reseal_with(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    import safetensors.torch

    safetensors.torch.save_file(weights, folder / bundle_data.WEIGHTS)
    seal(folder)


@pytest.fixture
def weights(network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_remarks_in_the_header_that_the_library_does_not_take(folder):
    content = (folder / bundle_data.WEIGHTS).read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = {**json.loads(content[8:start]), "__metadata__": {"format": 1}}
    seal_weights(folder, header, content[start:])
    assert_refused(folder, "is damaged")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(folder, weights, value):
    name = next(iter(weights))
    weights[name].view(-1)[-1] = value
    reseal_with(folder, weights)
    assert_refused(folder, "not finite")


def test_weights_of_another_network(folder, weights):
    first, second = list(weights)[:2]
    complete = dict(weights)
    for change, reason in [
        ({first: None}, f'lack "{first}"'),
        ({"extra": torch.zeros(1)}, 'hold an unknown "extra"'),
        ({first: complete[first][..., :1].contiguous()}, "wrong shape"),
        ({first: complete[first].flatten()}, "wrong shape"),
        ({first: torch.zeros_like(complete[first], dtype=torch.int64)}, "wrong type"),
        ({second: complete[second].double()}, "F64"),
        ({second: complete[second].bfloat16()}, "BF16"),
    ]:
        changed = {**complete, **change}
        reseal_with(folder, {n: t for n, t in changed.items() if t is not None})
        assert_refused(folder, reason)


def test_int8_weights_need_their_scale_and_nothing_else(folder, weights):
    name = next(name for name, tensor in weights.items() if tensor.ndim >= 2)
    vector = next(name for name, tensor in weights.items() if tensor.ndim == 1)
    whole = weights[name].sign().to(torch.int8)
    scale = torch.ones(len(whole))
    key = name + SCALE
    reseal_with(folder, {**weights, name: whole, key: scale})
    loaded = load_bundle(folder, {TARGET}).network.state_dict()
    assert torch.equal(loaded[name], whole.float())
    for change, reason in [
        ({name: whole}, f'lack "{key}"'),
        ({key: scale}, f'hold an unknown "{key}"'),
        ({name: whole, key: scale[:-1].clone()}, "wrong scale"),
        ({name: whole, key: scale.half()}, "wrong scale"),
        ({name: whole, key: scale * torch.nan}, "not finite"),
        ({vector: torch.ones_like(weights[vector], dtype=torch.int8),
          vector + SCALE: torch.ones(len(weights[vector]))}, "wrong type"),
    ]:
        reseal_with(folder, {**weights, **change})
        assert_refused(folder, reason)


def test_counters_must_stay_counters(folder, weights):
    name = next(name for name in weights if name.endswith("num_batches_tracked"))
    weights[name] = weights[name].float()
    reseal_with(folder, weights)
    assert_refused(folder, "wrong type")


# ------------------------------------------------------------------------------------------ imports


def test_verifying_needs_neither_torch_nor_monai(original):
    imported = _imported_by(f"from ReadingRoomLib.bundles import verify_bundle; "
                            f"verify_bundle({str(original)!r})")
    assert not imported & {"torch", "monai", "numpy", "safetensors"}


def test_loading_imports_monai_only_for_networks_of_it(network, tmp_path):
    plain = {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 4}
    write_bundle(tmp_path / "x", plain, torch.nn.Linear(3, 4).state_dict(), METADATA, CARD)
    imported = _imported_by(f"from ReadingRoomLib.bundles import load_bundle; "
                            f"load_bundle({str(tmp_path / 'x')!r}, ['torch.nn.Linear'])")
    assert "torch" in imported and "monai" not in imported


def _imported_by(code: str) -> set[str]:
    """Names of the modules that a new process has after running this."""
    code = f"import sys; {code}; print(*sys.modules)"
    path = os.pathsep.join(p for p in sys.path if p)
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.split())
