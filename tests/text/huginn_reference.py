"""Huginn's formulas on a dictionary of its public tensors: slow, plain, and no code of ours."""

import math

import torch


class Reference:
    """One text at a time, in the dtype of the tensors."""

    def __init__(self, tensors, heads, rope_base, norm_eps):
        self.w = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        self.heads, self.base, self.eps = heads, rope_base, norm_eps
        self.width = self.w["wte.weight"].shape[1]

    def norm(self, x, name):
        return x / torch.sqrt((x**2).mean(-1, keepdim=True) + self.eps) * self.w[name]

    def turned(self, x):
        """Rotary embedding of (length, head_dim), by complex multiplication."""
        length, dim = x.shape
        pairs = torch.complex(x[:, 0::2], x[:, 1::2])
        angles = torch.tensor(
            [[m * self.base ** (-2 * i / dim) for i in range(dim // 2)] for m in range(length)],
            dtype=x.dtype,
        )
        pairs = pairs * torch.polar(torch.ones_like(angles), angles)
        return torch.stack((pairs.real, pairs.imag), -1).reshape(length, dim)

    def attention(self, x, name):
        length, dim = len(x), self.width // self.heads
        rows = self.w[f"{name}.Wqkv.weight"]
        wq, wk, wv = rows[: self.width], rows[self.width : 2 * self.width], rows[2 * self.width :]
        bias = self.w[f"{name}.qk_bias"]
        gathered = torch.zeros_like(x)
        for head in range(self.heads):
            own = slice(head * dim, (head + 1) * dim)
            q = self.turned((x @ wq.T)[:, own] + bias[0, 0, head])
            k = self.turned((x @ wk.T)[:, own] + bias[1, 0, head])
            v = (x @ wv.T)[:, own]
            for position in range(length):
                seen = slice(position + 1)
                scores = k[seen] @ q[position] / math.sqrt(dim)
                gathered[position, own] = torch.softmax(scores, 0) @ v[seen]
        return gathered @ self.w[f"{name}.proj.weight"].T

    def mlp(self, x, name):
        mixed = x @ self.w[f"{name}.fc.weight"].T
        u, v = mixed[:, : mixed.shape[1] // 2], mixed[:, mixed.shape[1] // 2 :]
        return (u * torch.sigmoid(u) * v) @ self.w[f"{name}.proj.weight"].T

    def blocks(self, x, name):
        layer = 0
        while f"{name}.{layer}.norm_1.weight" in self.w:
            at = f"{name}.{layer}"
            a = self.attention(self.norm(x, f"{at}.norm_1.weight"), f"{at}.attn")
            x = self.norm(a + x, f"{at}.norm_2.weight")
            m = self.mlp(self.norm(x, f"{at}.norm_3.weight"), f"{at}.mlp")
            x = self.norm(m + x, f"{at}.norm_4.weight")
            layer += 1
        return x

    def embedding(self, tokens, offset=0.0):
        scaled = self.w["wte.weight"][tokens] * math.sqrt(self.width)
        return self.blocks(scaled + offset, "prelude")

    def step(self, s, e):
        return self.blocks(torch.cat((s, e), -1) @ self.w["adapter.weight"].T, "core_block")

    def logits(self, s):
        hidden = self.blocks(self.norm(s, "ln_f.weight"), "coda")
        return self.norm(hidden, "ln_f.weight") @ self.w["wte.weight"].T
