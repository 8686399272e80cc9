"""Huginn's checkpoint layout: a small random one, against formulas that share no code with us."""

import json
from pathlib import Path

import pytest
import torch
from huginn_reference import Reference
from safetensors.torch import save_file

from lit_implicit.errors import CheckpointError
from lit_implicit_text.batch import TextInput
from lit_implicit_text.generation import generate
from lit_implicit_text.huginn import HuginnTransformer
from lit_implicit_text.huginn_config import HuginnConfig
from lit_implicit_text.shards import Shards

CONFIG = {"n_embd": 48, "n_heads": 4, "intermediate_size": 40, "n_layers_in_prelude": 2,
          "n_layers_in_recurrent_block": 4, "n_layers_in_coda": 2, "padded_vocab_size": 60,
          "vocab_size": 60, "block_size": 24, "rope_base": 50000, "norm_eps": 1e-6,
          "mean_recurrence": 32, "tie_embeddings": True, "qk_bias": True, "bias": False,
          "injection_type": "linear", "torch_dtype": "bfloat16"}  # fmt: skip


def tensors(config=CONFIG, seed=0):
    """Random tensors by their public names, matrices as large as training begins with."""
    width, heads, mlp = config["n_embd"], config["n_heads"], config["intermediate_size"]
    inner = (0.4 / width) ** 0.5
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape, size):
        return size * torch.randn(*shape, generator=generator)

    found = {
        "transformer.wte.weight": randn(config["vocab_size"], width, size=inner),
        "transformer.adapter.weight": randn(width, 2 * width, size=inner),
        "transformer.ln_f.weight": 1 + randn(width, size=0.2),
    }
    for part, count in (("prelude", 2), ("core_block", 4), ("coda", 2)):
        for layer in range(count):
            at = f"transformer.{part}.{layer}"
            for number in (1, 2, 3, 4):
                found[f"{at}.norm_{number}.weight"] = 1 + randn(width, size=0.2)
            found[f"{at}.attn.Wqkv.weight"] = randn(3 * width, width, size=inner)
            found[f"{at}.attn.qk_bias"] = randn(2, 1, heads, width // heads, size=0.5)
            found[f"{at}.attn.proj.weight"] = randn(width, width, size=inner)
            found[f"{at}.mlp.fc.weight"] = randn(2 * mlp, width, size=inner)
            found[f"{at}.mlp.proj.weight"] = randn(width, mlp, size=inner)
    return found


def freqs_cis(config=CONFIG):
    dim = config["n_embd"] // config["n_heads"]
    table = torch.zeros(1, config["block_size"], 1, dim // 2, 2, dtype=torch.float64)
    for position in range(config["block_size"]):
        for pair in range(dim // 2):
            angle = torch.tensor(position * config["rope_base"] ** (-2 * pair / dim)).double()
            table[0, position, 0, pair] = torch.stack((angle.cos(), angle.sin()))
    return table.float()


def write(folder, weights, config=CONFIG, shards=3, index=True):
    """Write a checkpoint in several files, names dealt out in turn."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(weights)
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name].contiguous() for name in names[number::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    if index:
        total = sum(t.numel() * t.element_size() for t in weights.values())
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map})
        (folder / "model.safetensors.index.json").write_text(text)
    return folder


def renamed(config, **new):
    """A config with fields under other names, or without them where the new name is None."""
    found = dict(config)
    for old, name in new.items():
        value = found.pop(old)
        if name is not None:
            found[name] = value
    return found


@torch.no_grad()
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("heads_key", ["n_heads", "num_attention_heads"])
def test_states_and_logits_are_those_of_an_independent_evaluation(tmp_path, shards, heads_key):
    weights = tensors()
    config = renamed(CONFIG, n_heads=heads_key)
    folder = write(tmp_path / "model", weights | {"freqs_cis": freqs_cis()}, config, shards)
    operator = HuginnTransformer(str(folder), dtype="float32").eval()
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([20, 7, 13])
    tokens = torch.randint(60, (3, 20), generator=generator)
    s0 = 0.6 * torch.randn(3, 20, 48, generator=generator)
    c = operator.encode(TextInput(tokens, lengths))
    reference = Reference(weights, heads=4, rope_base=50000.0, norm_eps=1e-6)
    z, checked = s0, 0
    runs = [(s0[row, :n], reference.embedding(tokens[row, :n])) for row, n in enumerate(lengths)]
    for t in range(1, 9):
        z = operator(z, c)
        logits = operator.decode(z, c)
        assert logits.dtype == torch.float32
        runs = [(reference.step(s, e), e) for s, e in runs]
        if t not in (1, 2, 4, 8):
            continue
        for row, (s, _) in enumerate(runs):
            n = len(s)
            # Rounding of float32 (6e-8) grows along the iteration, which is no contraction here.
            torch.testing.assert_close(z[row, :n], s, atol=1e-5, rtol=0)
            torch.testing.assert_close(logits[row, :n], reference.logits(s), atol=1e-5, rtol=0)
            checked += 1
    assert checked == 12


def test_every_parameter_comes_from_the_checkpoint(tmp_path):
    weights = tensors()
    operator = HuginnTransformer(str(write(tmp_path / "model", weights)), dtype="float32")
    assert sum(p.numel() for p in operator.parameters()) == sum(t.numel() for t in weights.values())
    for tensor in (*operator.parameters(), *operator.buffers()):
        assert tensor.device.type == "cpu"
    assert not any(p.requires_grad for p in operator.parameters())
    trained = HuginnTransformer(str(tmp_path / "model"), dtype="float32", trainable=True)
    assert all(p.requires_grad for p in trained.parameters())
    doubled = {name: 2 * tensor for name, tensor in weights.items()}
    other = HuginnTransformer(str(write(tmp_path / "other", doubled)), dtype="float32")
    for (name, one), two in zip(operator.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(2 * one, two), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", None])
def test_dtype_is_the_one_asked_for_or_that_of_the_config(tmp_path, dtype):
    half = {name: tensor.bfloat16() for name, tensor in tensors().items()}
    config = renamed(CONFIG, torch_dtype="dtype")
    operator = HuginnTransformer(str(write(tmp_path / "model", half, config)), dtype=dtype).eval()
    wanted = torch.float32 if dtype == "float32" else torch.bfloat16
    assert {p.dtype for p in operator.parameters()} == {wanted}
    x = TextInput(torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2]))
    c = operator.encode(x)
    z = operator(operator.init_state(c), c)
    assert z.dtype == wanted
    assert operator.decode(z, c).dtype == torch.float32
    assert generate(operator, x, 2, 5, [0]).tokens.shape[0] == 2


def test_start_is_truncated_normal_whatever_the_dtype(tmp_path):
    folder = str(write(tmp_path / "model", tensors()))
    x = TextInput(torch.ones(1, 24, dtype=torch.int64), torch.tensor([24]))
    starts = []
    for dtype in ("float32", "bfloat16"):
        operator = HuginnTransformer(folder, dtype=dtype, seed=4)
        starts.append(operator.init_state(operator.encode(x)))
    assert torch.equal(starts[0].bfloat16(), starts[1])
    assert starts[0].std().item() == pytest.approx(0.624, rel=0.05)


@pytest.mark.parametrize("second", [None, "copy", "other"])
def test_head_is_the_embedding_whether_or_not_a_second_copy_is_there(tmp_path, second):
    weights = tensors()
    plain = HuginnTransformer(str(write(tmp_path / "plain", weights)), dtype="float32")
    if second is not None:
        wte = weights["transformer.wte.weight"]
        weights["lm_head.weight"] = wte.clone() if second == "copy" else wte + 1
    tied = HuginnTransformer(str(write(tmp_path / "model", weights)), dtype="float32")
    hidden = torch.randn(2, 48, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tied.logits(hidden), hidden @ weights["transformer.wte.weight"].T)
    assert torch.equal(tied.logits(hidden), plain.logits(hidden))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_angles_of_the_file_are_checked_and_made_anew(tmp_path, dtype):
    weights = tensors() | {"freqs_cis": freqs_cis().to(dtype)}
    HuginnTransformer(str(write(tmp_path / "model", weights)))
    wrong = weights | {"freqs_cis": freqs_cis(CONFIG | {"rope_base": 10000}).to(dtype)}
    with pytest.raises(
        CheckpointError, match=r"`freqs_cis` .* other angles than `rope_base` 50000"
    ):
        HuginnTransformer(str(write(tmp_path / "wrong", wrong)))
    short = weights | {"freqs_cis": freqs_cis()[:, :9]}
    with pytest.raises(CheckpointError, match=r"of shape \(1, 9, 1, 6, 2\)"):
        HuginnTransformer(str(write(tmp_path / "short", short)))


def test_missing_surplus_and_unfit_tensors_are_named_in_one_line(tmp_path):
    weights = tensors()
    del weights["transformer.core_block.3.attn.qk_bias"]
    weights["transformer.core_block.4.norm_1.weight"] = torch.ones(48)
    weights["transformer.ln_f.weight"] = torch.ones(47)
    with pytest.raises(CheckpointError) as caught:
        HuginnTransformer(str(write(tmp_path / "model", weights)))
    assert "\n" not in str(caught.value)
    assert (
        "missing: transformer.core_block.3.attn.qk_bias; "
        "not known: transformer.core_block.4.norm_1.weight; "
        "unfit: transformer.ln_f.weight of shape (47,), not (48,)."
    ) in str(caught.value)


def test_many_missing_tensors_are_counted(tmp_path):
    weights = {n: t for n, t in tensors().items() if ".coda." not in n}
    with pytest.raises(CheckpointError, match=r"coda.0.attn.Wqkv.weight, .* and 10 more\. Fetch"):
        HuginnTransformer(str(write(tmp_path / "model", weights)))


def spoil(folder, how):
    file = folder / "model-00002-of-00003.safetensors"
    index = folder / "model.safetensors.index.json"
    if how == "absent":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "elsewhere":
        content = json.loads(index.read_text())
        name = next(n for n, f in content["weight_map"].items() if f == file.name)
        content["weight_map"][name] = "model-00001-of-00003.safetensors"
        index.write_text(json.dumps(content))
    elif how == "twice":
        index.unlink()
        (folder / "model-copy.safetensors").write_bytes(file.read_bytes())
    elif how == "no index":
        index.write_text("{")
    elif how == "no map":
        index.write_text('{"metadata": {}}')
    elif how == "nothing":
        for path in folder.glob("model*"):
            path.unlink()
    elif how == "no config":
        (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("absent", r"^model-00002-of-00003.safetensors: missing in .* the index names 3 files"),
        ("truncated", r"model-00002-of-00003.safetensors' is cut short or broken, at [\d,]+ bytes"),
        ("empty", r"model-00002-of-00003.safetensors' is cut short or broken, at 0 bytes"),
        ("elsewhere", r"^model-00001-of-00003.safetensors in .* does not hold 'transformer\."),
        ("twice", r"model-00002-of-00003.safetensors and model-copy.safetensors in .* both hold"),
        ("no index", r"model.safetensors.index.json' cannot be read: .*Fetch it again"),
        ("no map", r"model.safetensors.index.json' has no `weight_map`"),
        ("nothing", r"holds no \*.safetensors"),
        ("no config", r"config.json' cannot be read: No such file"),
    ],
)
def test_broken_folders_are_told_in_one_line(tmp_path, how, said):
    folder = write(tmp_path / "model", tensors())
    spoil(folder, how)
    with pytest.raises(CheckpointError, match=said) as caught:
        HuginnTransformer(str(folder))
    assert "\n" not in str(caught.value)


def test_shards_need_no_index(tmp_path):
    weights = tensors()
    with_index = HuginnTransformer(str(write(tmp_path / "a", weights)))
    without = HuginnTransformer(str(write(tmp_path / "b", weights, index=False)))
    for one, two in zip(with_index.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (renamed(CONFIG, n_heads=None), "has no number `n_heads` or `num_attention_heads`"),
        (renamed(CONFIG, rope_base=None), "has no number `rope_base` or `rope_theta`"),
        (CONFIG | {"tie_embeddings": False}, "`tie_embeddings` False, where only True is known"),
        (CONFIG | {"injection_type": "add"}, "`injection_type` 'add', where only 'linear'"),
        (CONFIG | {"num_key_value_heads": 2}, "`num_key_value_heads` 2, where only 4 is known"),
    ],
)
def test_other_architectures_are_refused(tmp_path, config, said):
    with pytest.raises(CheckpointError, match=said):
        HuginnTransformer(str(write(tmp_path / "model", tensors(), config)))


def test_name_without_a_network_says_what_to_fetch_and_where_to_put_it(monkeypatch):
    import huggingface_hub

    def offline(*args, **kwargs):
        raise huggingface_hub.errors.LocalEntryNotFoundError("Cannot find it.\nMore lines.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError) as caught:
        HuginnTransformer("tomg-group-umd/huginn-0125")
    message = str(caught.value)
    assert "\n" not in message
    assert "(Cannot find it)" in message
    assert "`hf download tomg-group-umd/huginn-0125 --local-dir FOLDER`" in message
    assert "config.json and *.safetensors; bring FOLDER here and give it" in message


def test_name_on_the_hub_fetches_weights_and_config_alone(tmp_path, monkeypatch):
    import huggingface_hub

    folder, asked = write(tmp_path / "model", tensors()), []

    def fetch(name, **options):
        asked.append((name, options))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    HuginnTransformer("owner/model", revision="v1")
    ((name, options),) = asked
    assert (name, options["revision"]) == ("owner/model", "v1")
    assert options["allow_patterns"] == [
        "config.json", "*.safetensors", "*.safetensors.index.json"
    ]  # fmt: skip


def test_predict_answers_prompts_with_a_folder(tmp_path, monkeypatch, capsys):
    from lit_implicit.cli import main

    sizes = CONFIG | {"vocab_size": 300, "padded_vocab_size": 300, "block_size": 64}
    folder = write(tmp_path / "model", tensors(sizes), sizes)
    monkeypatch.chdir(tmp_path)
    config = Path(__file__).parents[2] / "configs" / "paper" / "text_huginn.yaml"
    options = {
        "model.operator.init_args.path": str(folder), "model.operator.init_args.dtype": "float32",
        "model.objective.init_args.max_new_tokens": "5", "model.test_max_iter": "3",
        "data.tokenizer": "bytes", "data.stop_tokens": "[]", "data.context": "64",
        "data.prompts": '["Explain charge.", "Bus?"]', "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false",
    }  # fmt: skip
    given = [f"--{key}={value}" for key, value in options.items()]
    assert main(["predict", "--config", str(config), *given]) == 0
    assert "untrained" not in "".join(capsys.readouterr())
    (file,) = tmp_path.glob("runs/text/*/predictions/answers_*.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["Explain charge.", "Bus?"]
    assert all(row["iterations"] == 3 for row in rows)


@pytest.mark.parametrize("path", ["missing", "/missing/model", "a/b/c", "./model"])
def test_what_is_neither_folder_nor_name_is_refused_without_a_network(path):
    with pytest.raises(CheckpointError, match=r"is no folder\. Give the folder that holds"):
        HuginnTransformer(path)


def test_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(ValueError, match="dtype` must be bfloat16, float32 or null, got 'half'"):
        HuginnTransformer(str(tmp_path), dtype="half")


@pytest.mark.parametrize("file", [3, None, "", "../model.safetensors", "/model.safetensors"])
def test_an_index_names_files_of_its_folder_alone(tmp_path, file):
    text = json.dumps({"weight_map": {"a": file}})
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"puts 'a' into .* no name of a file in its folder"):
        Shards(tmp_path)


def test_a_config_without_end_is_refused_in_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"a": ' + "[" * 100_000)
    with pytest.raises(CheckpointError, match=r"config.json' is nested too deeply"):
        HuginnTransformer(str(tmp_path))


def test_a_null_in_the_config_is_no_number(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"mean_recurrence": None}))
    with pytest.raises(CheckpointError, match="no number `mean_recurrence`"):
        HuginnConfig.read(tmp_path)
