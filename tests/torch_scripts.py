"""Small PyTorch scripts, as tutorials have them, whose imports are all that changes.

Each is source text with ``{torch}`` where the library is named. It leaves what is compared in
`result`. Random numbers are NumPy's: both libraries start with the same weights and data.

(Above 500 lines: a dozen scripts, whole as people write them.)
"""

from __future__ import annotations

from typing import Any

HEAD = """
import numpy as np
import {torch} as torch
from {torch} import nn, optim
import {torch}.nn.functional as F
from {torch}.utils.data import DataLoader, Dataset, TensorDataset

rng = np.random.default_rng(0)


def same(model):
    rng = np.random.default_rng(1)
    model = model.float()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.from_numpy((rng.normal(size=tuple(p.shape)) * 0.3).astype(np.float32)))
    return model


def real(*shape):
    return torch.from_numpy(rng.normal(size=shape).astype(np.float32))


def whole(high, *shape):
    return torch.from_numpy(rng.integers(0, high, shape))


result = []
"""

XOR = """
X = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])


class XOR(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(2, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        x = torch.tanh(self.hidden(x))
        return torch.sigmoid(self.out(x))


device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = same(XOR()).to(device)
criterion = nn.BCELoss()
optimizer = optim.Adam(model.parameters(), lr=0.05)
for epoch in range(300):
    optimizer.zero_grad()
    outputs = model(X.to(device))
    loss = criterion(outputs, y)
    loss.backward()
    optimizer.step()
    if epoch % 50 == 0:
        result.append(loss.item())
with torch.no_grad():
    predicted = (model(X) > 0.5).float()
    accuracy = (predicted == y).float().mean()
result.append(accuracy.item())
print(f"loss {loss.item():.4f}, accuracy {accuracy:.2f}")
"""

LINEAR = """
x = torch.linspace(0, 1, 50).view(-1, 1)
noise = 0.05 * real(50, 1)
y = 3 * x + 2 + noise
w = torch.zeros(1, requires_grad=True)
b = torch.zeros(1, requires_grad=True)
lr = 0.3
for epoch in range(100):
    y_hat = x * w + b
    loss = ((y_hat - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        w -= lr * w.grad
        b -= lr * b.grad
    w.grad = None
    b.grad = None
    result.append(loss.item())
result += [w.item(), b.item()]

# the same in float64, with a product and a polynomial
A = torch.tensor(np.random.default_rng(3).normal(size=(40, 3)))
target = A @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + 0.1
v = torch.zeros(3, dtype=torch.float64, requires_grad=True)
for step in range(20):
    error = A @ v - target
    loss = error.pow(2).sum() / len(A)
    loss.backward()
    with torch.no_grad():
        v.sub_(0.1 * torch.as_tensor(v.grad))
    v.grad = None
    result.append(loss.item())
result += v.tolist()
"""

MNIST = """
images = whole(256, 96, 1, 12, 12).float() / 255.0
labels = whole(10, 96)
images = (images - images.mean()) / images.std()
train_set = TensorDataset(images[:64], labels[:64])
train_loader = DataLoader(train_set, batch_size=16, shuffle=False)
test_loader = DataLoader(TensorDataset(images[64:], labels[64:]), batch_size=20)


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(8 * 2 * 2, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), (2, 2))
        x = self.dropout(x)
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc1(x))
        return F.log_softmax(self.fc2(x), dim=1)


model = same(Net())
model.dropout.p = 0.0  # the two libraries draw other numbers
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)


def train(epoch):
    model.train()
    for batch_idx, (data, target) in enumerate(train_loader):
        optimizer.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        optimizer.step()
        result.append(loss.item())


def test():
    model.eval()
    test_loss = 0
    correct = 0
    with torch.no_grad():
        for data, target in test_loader:
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
    test_loss /= len(test_loader.dataset)
    result.append(test_loss)
    result.append(correct)
    print("average loss: {:.4f}, accuracy: {}/{}".format(test_loss, correct, 32))


for epoch in range(1, 4):
    train(epoch)
    test()
    scheduler.step()
"""

MLP = """
X, Y = real(60, 1, 6, 6), whole(4, 60)


class Digits(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i].item()


loader = DataLoader(Digits(X, Y), batch_size=20)
model = same(
    nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Dropout(0.0), nn.Linear(16, 4))
)
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
for t in range(5):
    size = len(loader.dataset)
    for batch, (x, y) in enumerate(loader):
        pred = model(x)
        loss = loss_fn(pred, y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    result.append(loss.item())
correct, total = 0, 0
with torch.no_grad():
    for x, y in loader:
        outputs = model(x)
        _, predicted = torch.max(outputs.data, 1)
        total += y.size(0)
        correct += (predicted == y).sum().item()
result.append(correct / total)
result.append(sum(p.numel() for p in model.parameters() if p.requires_grad))
"""

CHAR_RNN = """
text = "hello world, hello moon, hello stars. " * 4
chars = sorted(set(text))
stoi = {c: i for i, c in enumerate(chars)}
data = torch.tensor([stoi[c] for c in text], dtype=torch.long)


class CharRNN(nn.Module):
    def __init__(self, vocab, hidden):
        super().__init__()
        self.hidden = hidden
        self.embed = nn.Embedding(vocab, 8)
        self.lstm = nn.LSTM(8, hidden, num_layers=2, batch_first=True)
        self.fc = nn.Linear(hidden, vocab)

    def forward(self, x, state):
        out, state = self.lstm(self.embed(x), state)
        out = out.contiguous().view(-1, self.hidden)
        return self.fc(out), state

    def init_hidden(self, batch):
        return (torch.zeros(2, batch, self.hidden), torch.zeros(2, batch, self.hidden))


model = same(CharRNN(len(chars), 16))
optimizer = optim.Adam(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()
seq = 12
for epoch in range(2):
    h = model.init_hidden(2)
    for i in range(0, 60, seq):
        x = torch.stack([data[i : i + seq], data[i + 60 : i + 60 + seq]])
        y = torch.stack([data[i + 1 : i + seq + 1], data[i + 61 : i + 61 + seq]])
        h = tuple(each.detach() for each in h)
        model.zero_grad()
        output, h = model(x, h)
        loss = criterion(output, y.view(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimizer.step()
        result.append(loss.item())

model.eval()
with torch.no_grad():
    h = model.init_hidden(1)
    x = torch.tensor([[stoi["h"]]])
    written = "h"
    for _ in range(20):
        logits, h = model(x, h)
        p = F.softmax(logits[-1], dim=0)
        k = torch.argmax(p).item()
        written += chars[k]
        x = torch.tensor([[k]])
result.append(written)
"""

NAMES = """
# a recurrent network by hand over one-hot letters, step by step
letters = "abcdefgh"


def line_to_tensor(line):
    tensor = torch.zeros(len(line), 1, len(letters))
    for i, letter in enumerate(line):
        tensor[i, 0, letters.index(letter)] = 1
    return tensor


class RNN(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
        self.i2o = nn.Linear(input_size + hidden_size, output_size)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, input, hidden):
        combined = torch.cat((input, hidden), 1)
        hidden = torch.tanh(self.i2h(combined))
        output = self.softmax(self.i2o(combined))
        return output, hidden

    def init_hidden(self):
        return torch.zeros(1, self.hidden_size)


rnn = same(RNN(len(letters), 12, 3))
criterion = nn.NLLLoss()
optimizer = optim.SGD(rnn.parameters(), lr=0.1)
for epoch in range(10):
    for category, line in enumerate(["abc", "fade", "headache"]):
        hidden = rnn.init_hidden()
        category_tensor = torch.tensor([category], dtype=torch.long)
        for letter in line_to_tensor(line):
            output, hidden = rnn(letter, hidden)
        loss = criterion(output, category_tensor)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        top_value, top_index = output.topk(1)
        result.append(loss.item())
        result.append(top_index[0].item())
"""

SEQ2SEQ = """
PAD, SOS = 0, 1
source = whole(8, 5, 7) + 2
source[0, 5:] = PAD
target = torch.cat([torch.full((5, 1), SOS), source.flip(1)[:, :6]], dim=1)


class Encoder(nn.Module):
    def __init__(self, vocab, hidden):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)

    def forward(self, x):
        return self.gru(self.embedding(x))


class BahdanauAttention(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.Wa = nn.Linear(hidden, hidden)
        self.Ua = nn.Linear(hidden, hidden)
        self.Va = nn.Linear(hidden, 1)

    def forward(self, query, keys, mask):
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys)))
        scores = scores.squeeze(2).unsqueeze(1)
        scores = scores.masked_fill(mask.unsqueeze(1) == 0, -1e9)
        weights = F.softmax(scores, dim=-1)
        return torch.bmm(weights, keys), weights


class Decoder(nn.Module):
    def __init__(self, vocab, hidden):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.attention = BahdanauAttention(hidden)
        self.gru = nn.GRU(2 * hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, vocab)

    def forward(self, outputs, hidden, target, mask):
        collected = torch.zeros(target.size(0), target.size(1), 10)
        token = target[:, 0].unsqueeze(1)
        for i in range(target.size(1)):
            query = hidden.permute(1, 0, 2)
            context, weights = self.attention(query, outputs, mask)
            step = torch.cat((self.embedding(token), context), dim=2)
            output, hidden = self.gru(step, hidden)
            collected[:, i] = self.out(output).squeeze(1)
            if i % 2:
                token = collected[:, i].argmax(1, keepdim=True).detach()
            elif i + 1 < target.size(1):
                token = target[:, i + 1].unsqueeze(1)
        return collected, weights


encoder, decoder = same(Encoder(10, 12)), same(Decoder(10, 12))
parameters = list(encoder.parameters()) + list(decoder.parameters())
optimizer = optim.Adam(parameters, lr=0.02)
criterion = nn.CrossEntropyLoss(ignore_index=PAD)
mask = source != PAD
for epoch in range(6):
    optimizer.zero_grad()
    outputs, hidden = encoder(source)
    scores, weights = decoder(outputs, hidden, target, mask)
    loss = criterion(scores.view(-1, scores.size(-1)), target.reshape(-1))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, max_norm=1.0)
    optimizer.step()
    result.append(loss.item())
result.append(weights[0, 0].sum().item())
result.append(weights[0, 0, 5:].max().item())
"""

ENCODER = """
import math


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, max_len=50):
        super().__init__()
        pe = torch.zeros(max_len, d_model)
        position = torch.arange(0, max_len, dtype=torch.float).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2).float() * (-math.log(10000.0) / d_model))
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(0))

    def forward(self, x):
        return x + self.pe[:, : x.size(1)]


class Classifier(nn.Module):
    def __init__(self, vocab, d_model):
        super().__init__()
        self.d_model = d_model
        self.embedding = nn.Embedding(vocab, d_model, padding_idx=0)
        self.positions = PositionalEncoding(d_model)
        layer = nn.TransformerEncoderLayer(d_model, 4, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.fc = nn.Linear(d_model, 3)

    def forward(self, x):
        padding = x == 0
        h = self.positions(self.embedding(x) * math.sqrt(self.d_model))
        h = self.encoder(h, src_key_padding_mask=padding)
        kept = (~padding).unsqueeze(-1).float()
        pooled = (h * kept).sum(dim=1) / kept.sum(dim=1)
        return self.fc(pooled)


tokens, labels = whole(19, 12, 9) + 1, whole(3, 12)
tokens[:4, 6:] = 0
model = same(Classifier(20, 16))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98))
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
for epoch in range(8):
    model.train()
    logits = model(tokens)
    loss = criterion(logits, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    scheduler.step()
    result += [loss.item(), scheduler.get_last_lr()[0]]
model.eval()
with torch.no_grad():
    probabilities = torch.softmax(model(tokens), dim=-1)
    result.append((probabilities.argmax(-1) == labels).float().mean().item())
"""

GPT = """
import math
from dataclasses import dataclass


@dataclass
class Config:
    block_size: int = 8
    vocab_size: int = 11
    n_layer: int = 2
    n_head: int = 2
    n_embd: int = 16
    dropout: float = 0.0


class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        assert config.n_embd % config.n_head == 0
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_dropout = nn.Dropout(config.dropout)
        self.n_head, self.n_embd = config.n_head, config.n_embd
        size = config.block_size
        self.register_buffer("bias", torch.tril(torch.ones(size, size)).view(1, 1, size, size))

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        att = F.softmax(att, dim=-1)
        y = self.attn_dropout(att) @ v
        y = y.transpose(1, 2).contiguous().view(B, T, C)
        return self.c_proj(y)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = nn.ModuleDict(
            dict(
                c_fc=nn.Linear(config.n_embd, 4 * config.n_embd),
                act=nn.GELU(),
                c_proj=nn.Linear(4 * config.n_embd, config.n_embd),
            )
        )

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        m = self.mlp
        x = x + m["c_proj"](m["act"](m["c_fc"](self.ln_2(x))))
        return x


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)

    def forward(self, idx, targets=None):
        device = idx.device
        b, t = idx.size()
        assert t <= self.config.block_size
        pos = torch.arange(0, t, dtype=torch.long, device=device)
        x = self.wte(idx) + self.wpe(pos)
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
        return logits, loss

    @torch.no_grad()
    def generate(self, idx, max_new_tokens):
        for _ in range(max_new_tokens):
            idx_cond = idx if idx.size(1) <= 8 else idx[:, -self.config.block_size :]
            logits, _ = self(idx_cond)
            logits = logits[:, -1, :] / 0.8
            v, _ = torch.topk(logits, min(3, logits.size(-1)))
            logits[logits < v[:, [-1]]] = -float("Inf")
            probs = F.softmax(logits, dim=-1)
            _, idx_next = torch.topk(probs, k=1, dim=-1)
            idx = torch.cat((idx, idx_next), dim=1)
        return idx


data = whole(11, 200)
model = same(GPT(Config()))
decay = [p for p in model.parameters() if p.dim() >= 2]
others = [p for p in model.parameters() if p.dim() < 2]
groups = [{"params": decay, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95))
for it in range(6):
    ix = whole(200 - 8, 4)
    x = torch.stack([data[i : i + 8] for i in ix])
    y = torch.stack([data[i + 1 : i + 1 + 8] for i in ix])
    logits, loss = model(x, y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    result.append(loss.item())
model.eval()
result += model.generate(torch.zeros((1, 1), dtype=torch.long), 12)[0].tolist()
"""

SKIPGRAM = """
corpus = "the king loves the queen and the queen loves the king and the man walks".split()
vocab = sorted(set(corpus))
ids = torch.tensor([vocab.index(w) for w in corpus])
pairs = [
    (ids[i].item(), ids[j].item())
    for i in range(len(ids))
    for j in range(max(0, i - 2), min(len(ids), i + 3))
    if i != j
]
centers = torch.LongTensor([c for c, _ in pairs])
contexts = torch.LongTensor([o for _, o in pairs])
negatives = whole(len(vocab), len(pairs), 4)


class SkipGram(nn.Module):
    def __init__(self, vocab_size, dim):
        super().__init__()
        self.center = nn.Embedding(vocab_size, dim)
        self.context = nn.Embedding(vocab_size, dim)

    def forward(self, center, context, negative):
        v = self.center(center)
        u = self.context(context)
        n = self.context(negative)
        positive = F.logsigmoid(torch.sum(u * v, dim=1))
        neg = F.logsigmoid(-torch.bmm(n, v.unsqueeze(2)).squeeze(2)).sum(1)
        return -(positive + neg).mean()


model = same(SkipGram(len(vocab), 10))
optimizer = optim.Adagrad(model.parameters(), lr=0.1)
for epoch in range(10):
    optimizer.zero_grad()
    loss = model(centers, contexts, negatives)
    loss.backward()
    optimizer.step()
    result.append(loss.item())
E = model.center.weight.detach()
E = E / E.norm(dim=1, keepdim=True)
similar = E @ E.T
result.append(similar[0, 1].item())
values, order = similar[0].sort(descending=True)
result += values.tolist()

# bigrams by counting, and as one layer over one-hot letters
N = torch.zeros((len(vocab), len(vocab)), dtype=torch.int64)
for a, b in zip(ids[:-1], ids[1:]):
    N[a, b] += 1
P = (N + 1).float()
P /= P.sum(1, keepdim=True)
log_likelihood = 0.0
for a, b in zip(ids[:-1], ids[1:]):
    log_likelihood += torch.log(P[a, b])
result.append(-log_likelihood.item() / (len(ids) - 1))
W = real(len(vocab), len(vocab)).requires_grad_()
for k in range(5):
    xenc = F.one_hot(ids[:-1], num_classes=len(vocab)).float()
    logits = xenc @ W
    counts = logits.exp()
    probs = counts / counts.sum(1, keepdim=True)
    loss = -probs[torch.arange(len(ids) - 1), ids[1:]].log().mean() + 0.01 * (W**2).mean()
    W.grad = None
    loss.backward()
    with torch.no_grad():
        W -= 10 * W.grad
    result.append(loss.item())
"""

AUTOENCODER = """
import os
import tempfile

data = torch.sigmoid(real(40, 20))


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 4))
        self.decoder = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 20), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x))


model = same(Autoencoder())
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-5)
scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, factor=0.5)
criterion = nn.MSELoss()


def epochs(model, optimizer, n):
    for epoch in range(n):
        running_loss = 0.0
        for i in range(0, len(data), 10):
            batch = data[i : i + 10]
            loss = criterion(model(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * batch.size(0)
        scheduler.step(running_loss)
        result.append(running_loss / len(data))


epochs(model, optimizer, 3)
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.pt")
    torch.save(model.state_dict(), path)
    other = same(Autoencoder())
    other.load_state_dict(torch.load(path, map_location=torch.device("cpu")))
    result.append(criterion(other(data), data).item())
    torch.save(
        {
            "epoch": 3,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "loss": result[-1],
        },
        path,
    )
    checkpoint = torch.load(path)
again = same(Autoencoder())
again.load_state_dict(checkpoint["model_state_dict"])
optimizer2 = torch.optim.Adam(again.parameters(), lr=1e-2, weight_decay=1e-5)
optimizer2.load_state_dict(checkpoint["optimizer_state_dict"])
epochs(model, optimizer, 1)
epochs(again, optimizer2, 1)
assert result[-1] == result[-2]
result.append(checkpoint["epoch"])
"""

BY_HAND = """
# a norm, dropout masks and attention written out, a batch of mixed features
class LayerNorm(nn.Module):
    def __init__(self, features, eps=1e-6):
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(features))
        self.b_2 = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        std = x.std(-1, keepdim=True)
        return self.a_2 * (x - mean) / (std + self.eps) + self.b_2


def attention(query, key, value, mask=None):
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / d_k**0.5
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    p_attn = scores.softmax(dim=-1)
    return torch.matmul(p_attn, value), p_attn


def subsequent_mask(size):
    return torch.triu(torch.ones(1, size, size), diagonal=1).type_as(torch.ones(1).long()) == 0


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = LayerNorm(8)
        self.q, self.k, self.v = (nn.Linear(8, 8, bias=False) for _ in range(3))
        self.gate = nn.Parameter(torch.zeros(1))
        self.scale = nn.Parameter(torch.ones(6, 1))

    def forward(self, x):
        h = self.norm(x)
        y, p = attention(self.q(h), self.k(h), self.v(h), subsequent_mask(x.size(1)))
        wei = torch.tril(torch.ones(6, 6))
        wei = wei / wei.sum(1, keepdim=True)
        bag = wei @ x
        out = x + torch.sigmoid(self.gate) * y * self.scale + bag.clamp(-1, 1)
        return torch.where(out > 0, out, 0.1 * out).mean(dim=(1, 2))


model = same(Tiny())
x = real(5, 6, 8)
optimizer = optim.RMSprop(model.parameters(), lr=0.01)
for step in range(6):
    out = model(x)
    loss = torch.abs(out - 0.3).sum() + 0.01 * sum(p.pow(2).sum() for p in model.parameters())
    loss += F.smooth_l1_loss(out, torch.ones_like(out))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    result.append(loss.item())

# the last steps that count of each sequence, and Q values of the actions taken
q = nn.Linear(8, 3)
same(q)
actions = whole(3, 5, 1)
taken = q(x[:, -1]).gather(1, actions).squeeze(1)
best = q(x[:, 0]).max(1)[0].detach()
loss = F.mse_loss(taken, 0.9 * best + 1)
loss.backward()
result.append(loss.item())
result += torch.as_tensor(q.weight.grad).flatten().tolist()
lengths = torch.tensor([6, 3, 4, 1, 2])
last = x[torch.arange(5), lengths - 1]
result += last.sum(1).tolist()
result += x[x > 2].tolist()
segmented = F.cross_entropy(real(2, 3, 7), whole(3, 2, 7))
result.append(segmented.item())
"""

# float64 is not the default of either library, so it is that of the name `torch` here
DOUBLE = """
library = torch


class Double:
    def __getattr__(self, name):
        found = getattr(library, name)
        if name == "float":
            return library.float64
        if name not in ("tensor", "zeros", "ones", "linspace"):
            return found

        def made(*arguments, **named):
            dtype = found(*arguments, **named).dtype
            dtype = library.float64 if dtype == library.float32 else dtype
            return found(*arguments, **{**named, "dtype": dtype})

        return made


torch = Double()
"""

SCRIPTS = {
    "xor": XOR,
    "linear": LINEAR,
    "mnist": MNIST,
    "mlp": MLP,
    "char_rnn": CHAR_RNN,
    "names": NAMES,
    "seq2seq": SEQ2SEQ,
    "encoder": ENCODER,
    "gpt": GPT,
    "skipgram": SKIPGRAM,
    "autoencoder": AUTOENCODER,
    "by_hand": BY_HAND,
}


def run(name: str, library: str, dtype: str = "float32") -> list[Any]:
    """What a script leaves in `result`, of the library named.

    In float64 the same text computes in float64: the words that say the dtype change.
    """
    source = HEAD + SCRIPTS[name]
    if dtype == "float64":
        source = (
            (HEAD + DOUBLE + SCRIPTS[name])
            .replace("np.float32", "np.float64")
            .replace(".float()", ".double()")
        )
    source = source.replace("{torch}", library)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, f"{name} with {library}", "exec"), names)
    result: list[Any] = names["result"]
    return result
