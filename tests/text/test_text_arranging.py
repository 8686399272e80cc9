"""Batches of like length: the same samples, less padding, and always the same order."""

from lit_implicit_text.arranging import by_length
from lit_implicit_text.data import TextDataModule


class Lengths:
    def n_tokens(self, index, epoch):
        return (index * 7 + epoch) % 13


def test_windows_are_sorted_into_batches_and_nothing_is_lost():
    numbers = list(range(23))
    found = list(by_length(Lengths(), 2, 5, 0, 1, numbers))
    assert sorted(found[:10]) == numbers[:10]
    assert sorted(found[10:20]) == numbers[10:20]
    assert sorted(found[20:]) == numbers[20:]
    lengths = [Lengths().n_tokens(number, 1) for number in found]
    for first in (0, 10):  # batches in some order, each of neighbors by length
        batches = sorted(lengths[i : i + 2] for i in range(first, first + 10, 2))
        assert [n for batch in batches for n in batch] == sorted(lengths[first : first + 10])
    assert lengths[22] == max(lengths[20:])  # the smaller batch is the last
    assert found == list(by_length(Lengths(), 2, 5, 0, 1, numbers))
    assert found != list(by_length(Lengths(), 2, 5, 1, 1, numbers))  # the seed moves batches


def padding(data, epoch):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    batches = list(loader)
    index = [i for batch in batches for i in batch.index.tolist()]
    return index, sum(batch.x.tokens.numel() for batch in batches), loader


def test_a_corpus_takes_fewer_positions_and_a_stopped_epoch_goes_on():
    settings = {"tokenizer": "bytes", "context": 256, "n_train": 96, "batch_size": 8}
    index, drawn, _ = padding(TextDataModule(**settings), 3)
    by_window, narrow, loader = padding(TextDataModule(**settings, sorted_batches=6), 3)
    assert sorted(by_window) == sorted(index)
    assert by_window != index
    assert narrow < 0.9 * drawn
    loader.load_state_dict({"epoch": 3, "n_batches": 5})
    rest = [i for batch in loader for i in batch.index.tolist()]
    assert rest == by_window[40:]
