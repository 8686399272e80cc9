"""From training over questions of one's own to pairs of prompts, by the command line."""

import csv
import json

import pytest
import torch

import lit_implicit
from lit_implicit.cli import main
from lit_implicit_text.answers import generate_answers
from lit_implicit_text.encoding import encode_sample, make_batch
from lit_implicit_text.find_tokenizer import tokenizer_in
from lit_implicit_text.samples import TextSample

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
NO_CURVES = [f"--{m}=null" for m in ("test_time_curve", "lipschitz_curve", "regularity", "audit")]


@pytest.mark.slow
def test_a_model_answers_prompts_and_pairs_with_the_tokenizer_of_its_checkpoint(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    lines = [{"prompt": f"what is {i}?", "answer": f"it is {i}."} for i in range(60)]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, lines)))
    operator = {
        "class_path": "lit_implicit_text.operator.LoopedTransformer",
        "init_args": {"vocab_size": 280, "width": 16, "heads": 2, "core": 1, "context": 40},
    }
    config = {
        "task": "text",
        "model": {
            "class_path": "lit_implicit.ImplicitLightningModule",
            "init_args": {
                "operator": operator,
                "objective": {"init_args": {"max_new_tokens": 4}},
                "solver": {"class_path": "lit_implicit.Picard", "init_args": {"max_iter": 3}},
                "adjoint": {"class_path": "lit_implicit.Unrolled"},
            },
        },
        "data": {"root": "q.jsonl", "vocab_size": 280, "context": 40},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "log_every_n_steps": 1},
    }
    (tmp_path / "text.yaml").write_text(json.dumps(config))
    times = "--rollout_curve.times=[1,2]"
    assert main(["fit", "--config=text.yaml", "--run_dir=run", times, *NO_CURVES, *QUIET]) == 0
    trained = ["--config=run/config.yaml", "--ckpt_path=run/checkpoints/best.ckpt", *QUIET]
    capsys.readouterr()

    # Without the texts that the tokenizer was trained on: the checkpoint has it.
    asked = ["--data.root=null", '--data.prompts=["what is 7?", "who?"]']
    assert main(["predict", *trained, *asked, "--run_dir=asked", "--model.test_max_iter=2"]) == 0
    (path,) = (tmp_path / "asked/predictions").glob("*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    tokenizer = tokenizer_in("run/checkpoints/best.ckpt")
    assert tokenizer.vocab_size == 280
    model = lit_implicit.load("run/checkpoints/best.ckpt")
    samples = [encode_sample(TextSample(p), tokenizer, 40) for p in ("what is 7?", "who?")]
    with torch.no_grad():
        expected = generate_answers(
            model.test_equilibrium, make_batch(samples, [0, 1], tokenizer), 2, 4
        )
    assert [row["answer"] for row in rows] == [answer.text for answer in expected.own]
    assert all(row["iterations"] <= 2 for row in rows)

    (tmp_path / "pairs.csv").write_text("index,input 1,input 2\n1,what is 7?,what is 8?\n")
    pairs = ["--data.pairs=pairs.csv", "--run_dir=pairs", times, *NO_CURVES[1:]]
    assert main(["curve", *trained, *pairs, "--test_time_curve.n_iter=2"]) == 0
    assert "rollout: levenshtein ratio, mean:" in capsys.readouterr().out
    with (tmp_path / "pairs/figures/test_rollout_curve.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["t"], second["t"]) == ("1.0", "2.0")
    assert float(first["levenshtein_ratio_n"]) == 1
    assert first["exact_match_n"] == "0.0"  # nobody knows an answer

    (tmp_path / "pairs.csv").write_text("index,input 1,input 2,note\n1,a,b,c\n")
    assert main(["curve", *trained, *pairs, "--run_dir=again"]) != 0
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "'pairs.csv' has an unknown column 'note'" in message
