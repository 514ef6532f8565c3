"""The authors' checkpoint as a bundle: same outputs to 1e-4, no code run, one line for everything that is wrong.

Their weights are not at hand here, so their network is stated anew below, as plain functions of a state dict with their
names, their xyz coordinates and their one-hot classes; random state dicts of that form stand for their file.
"""

import math
import os
import pickle
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import frazil.model.authors as workflow
from frazil.core.errors import BundleError, OutputError, SettingsError
from frazil.core.files import file_digest
from frazil.core.records import Condition
from frazil.model.authors import import_weights
from frazil.model.bundle import load_bundle

LABELS = (
    "apo-ferritin", "beta-amylase", "beta-galactosidase", "ribosome", "thyroglobulin", "virus-like-particle"
)  # fmt: skip


def their_shapes(channels=32, width=128, classes=6):
    """Return the names and shapes of their state dict."""
    shapes = {}

    def layer(name, *weight, bias=None):
        shapes[f"{name}.weight"] = weight
        shapes[f"{name}.bias"] = (weight[0] if bias is None else bias,)

    layer("cond_emb.time_mlp.1", width, width)
    layer("cond_emb.time_mlp.3", width, width)
    layer("cond_emb.class_mlp", width, classes)
    layer("cond_emb.coord_mlp.0", width, 3)
    layer("cond_emb.coord_mlp.2", width, width)
    c = channels
    blocks = {
        "enc1": (1, c), "enc2": (c, 2 * c), "enc3": (2 * c, 4 * c), "bot": (4 * c, 4 * c),
        "dec1": (8 * c, 2 * c), "dec2": (4 * c, c), "dec3": (2 * c, c),
    }  # fmt: skip
    for name, (before, after) in blocks.items():
        layer(f"{name}.norm1", before)
        layer(f"{name}.conv1", after, before, 3, 3, 3)
        layer(f"{name}.norm2", after)
        layer(f"{name}.conv2", after, after, 3, 3, 3)
        layer(f"{name}.cond_proj", after, width)
        if before != after:
            layer(f"{name}.skip", after, before, 1, 1, 1)
    for number, size in enumerate((c, 2 * c, 4 * c), start=1):
        layer(f"down{number}.conv", size, size, 3, 3, 3)
    for number, size in enumerate((4 * c, 2 * c, c), start=1):
        layer(f"up{number}.deconv", size, size, 2, 2, 2)
    layer("out_conv", 1, c, 3, 3, 3)
    return shapes


def their_block(state, name, v, condition, groups):
    """Evaluate one of their residual blocks: both norms have the same number of groups."""

    def weights(layer):
        return state[f"{name}.{layer}.weight"], state[f"{name}.{layer}.bias"]

    h = F.conv3d(F.silu(F.group_norm(v, groups, *weights("norm1"))), *weights("conv1"), padding=1)
    h = h + F.linear(condition, *weights("cond_proj"))[..., None, None, None]
    h = F.conv3d(F.silu(F.group_norm(h, groups, *weights("norm2"))), *weights("conv2"), padding=1)
    return h + (F.conv3d(v, *weights("skip")) if f"{name}.skip.weight" in state else v)


def their_forward(state, x, t, one_hot, xyz):
    """Evaluate their network."""

    def linear(name, v):
        return v @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def conv(name, v, **options):
        return F.conv3d(v, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    half = state["cond_emb.time_mlp.1.weight"].shape[1] // 2
    angles = t[:, None].double() * torch.tensor([math.exp(-math.log(10000) * i / (half - 1)) for i in range(half)])
    waves = torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1).float()
    condition = (
        linear("cond_emb.time_mlp.3", F.silu(linear("cond_emb.time_mlp.1", waves)))
        + linear("cond_emb.class_mlp", one_hot)
        + linear("cond_emb.coord_mlp.2", F.silu(linear("cond_emb.coord_mlp.0", xyz)))
    )

    def block(name, v, groups=8):
        return their_block(state, name, v, condition, groups)

    def up(name, v):
        return F.conv_transpose3d(v, state[f"{name}.deconv.weight"], state[f"{name}.deconv.bias"], stride=2)

    h1 = block("enc1", x, groups=1)  # of in_channels, which is 1
    h2 = block("enc2", conv("down1.conv", h1, stride=2, padding=1))
    h3 = block("enc3", conv("down2.conv", h2, stride=2, padding=1))
    h = block("bot", conv("down3.conv", h3, stride=2, padding=1))
    h = block("dec1", torch.cat([up("up1", h), h3], dim=1))
    h = block("dec2", torch.cat([up("up2", h), h2], dim=1))
    h = block("dec3", torch.cat([up("up3", h), h1], dim=1))
    return conv("out_conv", h, padding=1)


def their_state(seed=0, **sizes):
    """Return random weights of their form, of the size that training gives them."""
    random = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in their_shapes(**sizes).items():
        values = torch.randn(shape, generator=random)
        if len(shape) > 1:
            state[name] = values / math.sqrt(math.prod(shape[1:]))
        else:  # biases, and the scales of the norms
            state[name] = 0.1 * values + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return state


def their_checkpoint(state=None, **changes):
    state = their_state(channels=8, width=16) if state is None else state
    content = {
        "model_state": state,
        "optimizer_state": {
            "state": {0: {"step": torch.tensor(5.0)}},
            "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}],
        },
        "epoch": 100,
        "num_classes": 6,
        "idx_to_class": dict(enumerate(LABELS)),
        "patch_size": 64,
        "T": 1000,
        "beta_start": 1e-4,
        "beta_end": 2e-2,
        "schedule": "linear",
        **changes,
    }
    return {key: value for key, value in content.items() if value is not ...}


@pytest.fixture
def save(tmp_path):
    """Return a function that saves a checkpoint of theirs and names the file."""

    def save(content):
        path = tmp_path / "model_epoch100.pt"
        torch.save(content, path)
        return path

    return save


def test_their_full_network_has_3_420_067_parameters():
    assert sum(math.prod(shape) for shape in their_shapes().values()) == 3_420_067


@pytest.mark.parametrize("sizes", [{}, {"channels": 16, "width": 32}])
def test_outputs_agree_with_their_network_to_1e_4(save, tmp_path, sizes):
    state = their_state(**sizes)
    network = import_weights(save(their_checkpoint(state)), tmp_path / "bundle").network
    network_again = load_bundle(tmp_path / "bundle").network
    random = torch.Generator().manual_seed(1)
    x = torch.randn(3, 1, 16, 8, 24, generator=random)
    t, label = torch.tensor([0, 371, 999]), torch.tensor([3, 0, 5])
    xyz = torch.rand(3, 3, generator=random)
    with torch.no_grad():
        theirs = their_forward(state, x, t, F.one_hot(label, 6).float(), xyz)
        ours = network(x, t, Condition(label, xyz.flip(1)))
        assert torch.equal(network_again(x, t, Condition(label, xyz.flip(1))), ours)
        unflipped = network(x, t, Condition(label, xyz))
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() < 1e-4
    assert (unflipped - theirs).abs().max() > 1e-2  # the test would see coordinates in the wrong order


def test_the_first_block_has_one_group_in_both_norms_as_theirs(save, tmp_path):
    state = their_state()
    network = import_weights(save(their_checkpoint(state)), tmp_path / "bundle").network
    random = torch.Generator().manual_seed(2)
    condition = torch.randn(2, 128, generator=random)
    for name, channels, groups, wrong in (("enc1", 1, 1, None), ("enc2", 32, 8, 1), ("dec3", 64, 8, 1)):
        x = torch.randn(2, channels, 8, 8, 16, generator=random)
        with torch.no_grad():
            ours = network.get_submodule(name)(x, condition)
        assert (ours - their_block(state, name, x, condition, groups)).abs().max() < 1e-4
        if wrong:
            assert (ours - their_block(state, name, x, condition, wrong)).abs().max() > 1e-2
    assert (network.enc1.norm1.num_groups, network.enc1.norm2.num_groups) == (1, 1)


def test_the_card_says_where_the_weights_come_from(save, tmp_path):
    path = save(their_checkpoint(T=500, beta_end=3e-2, patch_size=32))
    card = import_weights(path, tmp_path / "bundle", voxel_size_angstrom=10.012444).card
    assert card.labels == LABELS
    assert (card.box_size_voxel, card.voxel_size_angstrom) == (32, 10.012444)
    assert card.normalisation == "padded"  # eq. 1 with the zero padding, as in their data set
    assert card.preset.model.conditioning == "sum"
    assert (card.preset.diffusion.timesteps, card.preset.diffusion.beta_end) == (500, 3e-2)
    assert (card.preset.sampling.sampler, card.preset.sampling.steps) == ("ddpm", None)
    assert card.losses == {"epochs": 100}
    assert path.name in card.provenance
    assert file_digest(path) in card.provenance
    assert (card.training_data_digest, card.tilt_range_degrees, card.moments) == (None, None, None)


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_never_run(save, tmp_path, refuses):
    trap = tmp_path / "trap"
    for content in (their_checkpoint(extra=Malice(trap)), Malice(trap)):
        with refuses(BundleError, "model_epoch100.pt", "holds code", "mkdir", "nothing was run"):
            import_weights(save(content), tmp_path / "bundle")
    legacy = tmp_path / "legacy.pt"
    legacy.write_bytes(pickle.dumps(Malice(trap)))
    with refuses(BundleError, "legacy.pt", "nothing was run"):
        import_weights(legacy, tmp_path / "bundle")
    assert not trap.exists()
    assert not (tmp_path / "bundle").exists()
    torch.load(save(Malice(trap)), weights_only=False)  # the trap would have worked
    assert trap.exists()


def renamed(state, old, new):
    return {name.replace(old, new): tensor for name, tensor in state.items()}


SMALL = their_state(channels=8, width=16)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (their_checkpoint(schedule="cosine"), ("schedule 'cosine'", "schedule linear")),
        (their_checkpoint(num_classes=..., T=...), ("lacks num_classes, T",)),
        (their_checkpoint(model_state=...), ("lacks model_state",)),
        (SMALL, ("lacks model_state, num_classes",)),
        ([1, 2], ("holds list",)),
        (their_checkpoint(model_state=[1]), ("model_state is not a dictionary of tensors",)),
        (their_checkpoint(patch_size=64.5), ("patch_size 64.5",)),
        (their_checkpoint(patch_size=100), ("curate.box_size_voxel = 100", "multiple of 8")),
        (their_checkpoint(num_classes=0), ("num_classes 0",)),
        (their_checkpoint(num_classes=7), ("idx_to_class", "7 classes")),
        (their_checkpoint(idx_to_class=dict.fromkeys(range(6), "ribosome")), ("idx_to_class", "6 classes")),
        (their_checkpoint(T=1), ("diffusion.timesteps = 1",)),
        (their_checkpoint(beta_end=2.0), ("diffusion.beta_end = 2.0",)),
        (their_checkpoint(renamed(SMALL, "out_conv", "output")), ("2 tensors are missing, first out_conv.bias",)),
        (
            their_checkpoint(renamed(SMALL, "cond_emb.coord_mlp", "mlp")),
            ("4 tensors are missing", "cond_emb.coord_mlp"),
        ),
        (their_checkpoint({**SMALL, "attention.weight": torch.ones(1)}), ("not known, first attention.weight",)),
        (
            their_checkpoint({**SMALL, "dec1.conv1.weight": torch.ones(8, 3)}),
            ("dec1.conv1.weight has shape [8, 3] where [16, 64, 3, 3, 3] is expected",),
        ),
        (
            their_checkpoint({**SMALL, "bot.norm1.bias": torch.full((32,), float("inf"))}),
            ("bot.norm1.bias", "not finite"),
        ),
    ],
)
def test_what_is_no_checkpoint_of_theirs_is_refused(save, tmp_path, content, parts, refuses):
    with refuses(BundleError, "model_epoch100.pt", *parts):
        import_weights(save(content), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_pipe_is_refused_and_not_waited_for(tmp_path, refuses):
    os.mkfifo(tmp_path / "theirs.pt")
    with refuses(BundleError, "theirs.pt", "a pipe or a device"):
        import_weights(tmp_path / "theirs.pt", tmp_path / "bundle")


def test_damaged_files_are_refused(save, tmp_path, refuses):
    path = save(their_checkpoint())
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04", b"no checkpoint at all\n" * 10, whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(content)
        with refuses(BundleError, "model_epoch100.pt", "damaged", "again"):
            import_weights(path, tmp_path / "bundle")
    for place, said in ((tmp_path / "nowhere.pt", "no such file"), (tmp_path, "a folder, not a file")):
        with refuses(BundleError, str(place), said, "check the path"):
            import_weights(place, tmp_path / "bundle")


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_voxel_sizes_are_refused(save, tmp_path, size, refuses):
    with refuses(SettingsError, f"voxel size {size}", "positive"):
        import_weights(save(their_checkpoint()), tmp_path / "bundle", voxel_size_angstrom=size)


def test_a_finished_import_is_left_alone_and_another_is_not_overwritten(save, tmp_path, monkeypatch, capsys, refuses):
    out = tmp_path / "bundle"
    path = save(their_checkpoint())
    digest = import_weights(path, out).digest
    with monkeypatch.context() as patch:
        patch.setattr(workflow, "save_bundle", lambda *_: pytest.fail("a finished import was written again"))
        assert import_weights(path, out).digest == digest
        assert "nothing to do" in capsys.readouterr().out
        for other, size in ((path, 10.0), (save(their_checkpoint(epoch=99)), None)):
            with refuses(OutputError, str(out), "another bundle", "--force"):
                import_weights(other, out, voxel_size_angstrom=size)
    assert load_bundle(out).digest == digest
    assert import_weights(path, out, voxel_size_angstrom=10.0, force=True).card.voxel_size_angstrom == 10.0
    (out / "model.safetensors").write_bytes(b"broken")
    with refuses(OutputError, "damaged bundle", "--force"):
        import_weights(path, out, voxel_size_angstrom=10.0)
    import_weights(path, out, force=True)
    assert load_bundle(out).card.labels == LABELS


def test_an_import_that_was_killed_is_finished_and_one_that_is_replaced_stays_until_then(save, tmp_path, monkeypatch):
    out, path = tmp_path / "bundle", save(their_checkpoint())
    replace = Path.replace

    def killed_before_the_card(self, target):
        if target.name == "bundle.json":
            raise KeyboardInterrupt
        return replace(self, target)

    for force in (False, True):
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(Path, "replace", killed_before_the_card)
            import_weights(path, out, voxel_size_angstrom=9.0 if force else None, force=force)
        if force:
            assert load_bundle(out).card.voxel_size_angstrom is None
        else:
            assert not (out / "bundle.json").exists()
            import_weights(path, out)
    assert import_weights(path, out, voxel_size_angstrom=9.0, force=True).card.voxel_size_angstrom == 9.0
    assert {file.name for file in out.iterdir()} == {
        ".lock",
        ".written",
        "bundle.json",
        "frazil.log",
        "model.safetensors",
    }


def test_force_never_removes_what_is_no_bundle(save, tmp_path, refuses):
    out = tmp_path / "home"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with refuses(OutputError, "thesis.tex", "choose another folder"):
        import_weights(save(their_checkpoint()), out, force=True)
    assert (out / "thesis.tex").exists()


def test_the_command_says_what_it_wrote(save, tmp_path, run):
    path, out = save(their_checkpoint()), tmp_path / "bundle"
    code, said, _ = run("import-weights", path, "--out", out)
    assert code == 0
    for part in ("ribosome", "64^3", "import with the voxel size"):  # it is not known yet
        assert part in said
    _, said, _ = run("import-weights", path, "--out", out, "--voxel-size", 10.012444, "--force")
    assert "10.012444 A" in said
    path.write_bytes(b"nonsense")
    code, _, complaint = run("import-weights", path, "--out", tmp_path / "other")
    assert code == 2
    assert complaint.startswith(f"frazil: {path}")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_prefixes_of_compiled_and_shared_networks_are_taken_off(save, tmp_path, prefix):
    state = their_state(channels=16, width=32)
    plain = import_weights(save(their_checkpoint(state)), tmp_path / "plain")
    wrapped = import_weights(
        save(their_checkpoint({f"{prefix}{name}": tensor for name, tensor in state.items()})), tmp_path / "wrapped"
    )
    assert wrapped.card.weights_digest == plain.card.weights_digest


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_weights_with_a_flipped_bit_are_refused(save, tmp_path, value, refuses):
    content = their_checkpoint()
    name = sorted(content["model_state"])[0]
    content["model_state"][name].view(-1)[0] = value
    with refuses(BundleError, name):
        import_weights(save(content), tmp_path / "bundle")
