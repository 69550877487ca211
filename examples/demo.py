"""A sentence encoder, compiled: `make demo`.

Fetches MiniLM (BERT, 6 layers, 8-bit weights) and its tokenizer, compiles it, checks it against onnxruntime, embeds a
few sentences, and shows what each kernel does and how fast the whole is beside onnxruntime.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

import tilewright as tw
from examples.model_zoo import FetchError, feeds, fetch
from tilewright.timing import compare

SENTENCES = (
    "A man plays guitar on stage.",
    "Someone makes music for a crowd.",
    "Stocks fell sharply on Monday.",
    "Share prices dropped this week.",
    "My cat sleeps on the sofa.",
)
ALIKE = ((0, 1), (2, 3))  # pairs that say the same thing in other words
MODEL = "minilm-l6-v2-int8"
Feed = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float32]


def main() -> int:
    console = Console()
    try:
        path = fetch(MODEL)["model.onnx"]
        tokenizer = Tokenizer.from_file(str(fetch("minilm-tokenizer")["tokenizer.json"]))
        model = timed(console, "Compiling and checking", lambda say: tw.compile(path, progress=say))
    except (FetchError, tw.errors.CompilerError) as error:
        print(f"error: {error}")
        return 1
    print(model.check_report)

    feed = tokenize(tokenizer, SENTENCES)
    likeness = similarities(embed(model.run(feed)["last_hidden_state"], feed["attention_mask"]))
    console.print(similarity_table(likeness))
    print("Where the time goes, for one text of 128 tokens:")
    print(model.report(feeds(MODEL)[0]))
    print(speed(model, path))
    return verdict(likeness)


def timed(console: Console, title: str, work: Callable[[Callable[[str], None]], Any]) -> Any:
    """Do the work, which may say what it is at, behind a spinner; then print how long it took."""
    start = time.perf_counter()
    with console.status(f"{title} ...") as status:
        result = work(lambda line: status.update(f"{title}: {line} ..."))
    print(f"{title} took {time.perf_counter() - start:.1f} s.")
    return result


def tokenize(tokenizer: Tokenizer, texts: tuple[str, ...]) -> Feed:
    """The model's inputs, int64[texts, tokens], padded to the longest text."""
    tokenizer.enable_padding()
    tokenizer.enable_truncation(256)
    encodings = tokenizer.encode_batch(list(texts))
    ids = np.array([e.ids for e in encodings], np.int64)
    mask = np.array([e.attention_mask for e in encodings], np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def embed(hidden: Floats, mask: NDArray[np.int64]) -> Floats:
    """One unit vector a text: the mean over its tokens, as this model was trained (sentence-transformers)."""
    weights = mask[:, :, None].astype(np.float32)
    means = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def similarities(embeddings: Floats) -> Floats:
    """The cosine of each pair of texts."""
    return embeddings @ embeddings.T


def similarity_table(likeness: Floats) -> Table:
    table = Table(title="How alike the sentences are", title_justify="left")
    table.add_column("")
    table.add_column("sentence")
    for number in range(len(SENTENCES)):
        table.add_column(str(number + 1), justify="right")
    for number, (sentence, row) in enumerate(zip(SENTENCES, likeness, strict=True), start=1):
        table.add_row(str(number), sentence, *(f"{value:.2f}" for value in row))
    return table


def speed(model: Any, path: Path) -> str:
    """The compiled model against onnxruntime with as many threads, run in turn in this process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = model.threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = feeds(MODEL)[0]
    compared = compare(lambda: model.run(feed), lambda: session.run(None, feed))
    return f"Tilewright beside onnxruntime, {model.threads} threads each, runs in turn: {compared}."


def verdict(likeness: Floats) -> int:
    """The sentences that mean the same must be more alike than all others."""
    pairs = combinations(range(len(SENTENCES)), 2)
    others = max(likeness[pair] for pair in pairs if pair not in ALIKE)
    if min(likeness[pair] for pair in ALIKE) > others:
        print("The compiled encoder agrees with onnxruntime and finds the sentences that say the same.")
        return 0
    print("error: the encoder does not find the sentences that say the same.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
